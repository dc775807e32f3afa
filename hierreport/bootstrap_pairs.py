"""Fits of a null and an alternative to the same simulated outcomes."""

from __future__ import annotations

import numpy as np

from .batch_fit import BatchFit, Fits
from .bootstrap_pooled import closed_form
from .criterion import Parameters
from .mixed import State
from .parallel import chunks, in_threads
from .problem import Problem
from .resample import Simulator, Transfer, in_terms_of


def simulated_pairs(null: State, alternative: State, n: int, seed: int, workers: int | None) -> tuple[Fits, Fits]:
    """Fits of both models to n outcomes simulated from the null: the null's, the alternative's.

    Outcomes are drawn on the alternative's design; its optimum is checked against the null's, which lies in its reach.
    """
    problem, small, reml = alternative.criterion.problem, null.criterion.problem, null.criterion.reml
    factored, factored_null = alternative.criterion.factored, null.criterion.factored
    assert factored is not None
    simulator = Simulator(problem, factored, small, null.factors, null.sigma / problem.basis.y_scale)
    transfer = Transfer(problem, factored, small, factored_null)
    wide = BatchFit(problem, factored, reml, embedded(problem, small, [f @ f.T for f in null.factors]))
    narrow = BatchFit(small, factored_null, reml, null.theta, null.optimum.hessian) if small.levels else None
    first = simulator.draw(seed, range(min(8, n)))
    wide.prepare(first)
    if narrow is not None and narrow.metric is None:
        narrow.prepare(transfer(first))

    def pair(chunk: range) -> tuple[Fits, Fits]:
        outcomes = simulator.draw(seed, chunk)
        upper = wide(outcomes)
        if narrow is not None:
            lower = narrow(transfer(outcomes))
        else:
            lower = closed_form(null, *transfer.pooled(outcomes))
        for d in np.flatnonzero(upper.value > lower.value + 1e-6 * max(1.0, 1e-6 * abs(lower.value[0]))):
            wide.refit(upper, outcomes, int(d), embedded(problem, small, [t[d] for t in lower.covariances]))
        return lower, upper

    pairs = in_threads(pair, chunks(n, wide.batch.draws_at_once), workers)
    return Fits.join([p[0] for p in pairs]), Fits.join([p[1] for p in pairs])


def embedded(problem: Problem, model: Problem, covariances: list[np.ndarray]) -> np.ndarray:
    """θ of the wide problem at a nested model's T (innermost level first), zeros where the wide one has more."""
    out = []
    known = {level.name: (level, t) for level, t in zip(model.levels, covariances, strict=True)}
    for level in problem.levels:
        t = np.zeros((level.size, level.size))
        if level.name in known:
            small, t = known[level.name]
            change = in_terms_of(problem.basis.transform[:, level.index], model.basis.transform[:, small.index])
            t = change @ t @ change.T * (level.block[:, None] == level.block[None, :])
        out.append(t)
    return Parameters(problem.levels).from_covariances(out)
