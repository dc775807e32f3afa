"""Parametric bootstrap on moments: intervals for every quantity of a fit, and tests between nested fits.

Outcomes are drawn from the fitted model as moments, exactly distributed (``resample``), and fitted again all together
(``batch_fit``); the cost does not depend on the number of rows. Each draw has a random stream of its own, and draws are
worked on in chunks of a fixed size, so that results are the same for any number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .batch_fit import BatchFit, Fits
from .bootstrap_pairs import simulated_pairs
from .bootstrap_pooled import pooled_fits, pooled_pair
from .bootstrap_rows import Rows
from .bootstrap_serial import serial_fits, serial_pairs
from .errors import ModelError
from .intervals import Interval, Quantity, quantities, values
from .lrt import difference
from .mixed import MixedFit
from .parallel import chunks, in_threads
from .records import Record
from .resample import Simulator


@dataclass(frozen=True)
class BootstrapResult(Record):
    """Draws of every quantity of a model, simulated from its own estimate.

    Attributes:
        method: ``ML`` or ``REML``, for the estimate simulated from and the refits.
        n, seed: draws asked for, and their seed.
        failures: refits that did not converge; they are left out of the intervals.
        again: refits that were made once more, one by one.
        quantities, estimates: what was estimated, on the user's scale. (m)
        draws: (n, m); NaN where a quantity is not defined (a correlation with a zero standard deviation) or failed.
        deviances: of the refits, constants included. (n,)
    """

    method: str
    n: int
    seed: int
    failures: int
    again: int
    quantities: tuple[Quantity, ...]
    estimates: np.ndarray
    draws: np.ndarray = field(metadata={"json": False})
    deviances: np.ndarray = field(metadata={"json": False})

    def column(self, quantity: Quantity) -> np.ndarray:
        """Draws of one quantity. (n,)"""
        return self.draws[:, self.quantities.index(quantity)]

    def standard_errors(self) -> np.ndarray:
        """Standard deviations of the draws. (m,)"""
        out = np.full(len(self.quantities), np.nan)
        for j in range(len(out)):
            draws = self.draws[:, j][np.isfinite(self.draws[:, j])]
            out[j] = draws.std(ddof=1) if len(draws) > 1 else np.nan
        return out

    def intervals(self, kind: str = "percentile", coverage: float = 0.95) -> list[Interval]:
        """Intervals of all quantities.

        Args:
            kind: ``percentile``, or ``basic`` (2θ̂ less the opposite percentile, cut at the quantity's bounds).
            coverage: nominal coverage.

        Source: Davison & Hinkley (1997), eqs. 5.6 and 5.18, quantiles at (n + 1)p.
        """
        if kind not in ("percentile", "basic"):
            raise ModelError(f"unknown kind of bootstrap interval {kind!r}.", do="Use percentile or basic.")
        return [self._interval(j, kind, coverage) for j in range(len(self.quantities))]

    def _interval(self, j: int, kind: str, coverage: float) -> Interval:
        quantity = self.quantities[j]
        tails = (0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage))
        estimate = float(self.estimates[j]) if np.isfinite(self.estimates[j]) else None
        draws = self.draws[np.isfinite(self.draws[:, j]), j]
        low: float | None = None
        high: float | None = None
        notes = []
        if len(draws) < 2.0 / tails[0] - 1.0:
            notes.append(f"only {len(draws)} of {self.n} draws can be used, too few for this coverage")
        elif kind == "percentile":
            low, high = (float(v) for v in np.quantile(draws, tails, method="weibull"))
        elif estimate is not None:
            ends = np.clip(2.0 * estimate - np.quantile(draws, tails[::-1], method="weibull"), *quantity.bounds)
            low, high = float(ends[0]), float(ends[1])
        undefined = self.n - self.failures - len(draws)
        if undefined:
            notes.append(f"not defined in {undefined} of {self.n} draws, where a standard deviation is zero")
        return Interval(
            quantity.kind,
            quantity.level,
            quantity.terms,
            estimate,
            low,
            high,
            coverage,
            f"bootstrap {kind}",
            "; ".join(notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """The record without its draws, with the percentile and the basic intervals."""
        out = super().to_dict()
        out["se"] = [None if not np.isfinite(v) else float(v) for v in self.standard_errors()]
        out["intervals"] = [i.to_dict() for kind in ("percentile", "basic") for i in self.intervals(kind)]
        return out


@dataclass(frozen=True)
class BootstrapTest(Record):
    """A likelihood-ratio test whose distribution under the null was simulated.

    Attributes:
        statistic: observed deviance of the null less that of the alternative.
        p: (1 + number of simulated statistics at least as large) / (1 + draws used).
        p_error: Monte-Carlo standard error of p.
        n, seed, failures: draws asked for, their seed, and draws in which one of the fits did not converge (left out).
        share_zero: share of simulated statistics that are zero: the alternative's estimate lies in the null.
        statistics: the simulated ones. (n,), NaN where failed
    """

    statistic: float
    p: float
    p_error: float
    n: int
    seed: int
    failures: int
    share_zero: float
    statistics: np.ndarray = field(metadata={"json": False})


def bootstrap(
    fit: MixedFit,
    n: int = 1000,
    seed: int = 1,
    *,
    method: str = "reml",
    workers: int | None = None,
    rows: Rows | None = None,
) -> BootstrapResult:
    """Simulate outcomes from a fit and fit them again.

    Args:
        fit: a fitted model (pooled too), with independent or serially correlated errors.
        n: number of draws.
        seed: of the random numbers; the same seed gives the same draws for any number of workers.
        method: ``"reml"`` or ``"ml"``.
        workers: threads; the processors at hand by default.
        rows: for serially correlated errors the panel's rows (``bootstrap_rows.read_rows``); moments do not suffice.

    Raises:
        ModelError: the model has unequal variances, a crossed effect, or serial correlation without ``rows``; n is too
            small.
    """
    refuse_rows(fit, rows)
    _check(n)
    state = fit.state(method)
    problem = fit.problem
    scale = problem.basis.y_scale
    quantity = quantities(problem)
    estimates = values(
        problem, [(f @ f.T)[None] for f in state.factors], np.array([state.sigma]), state.evaluation.beta.real[None]
    )[0]
    rho: np.ndarray | None = None
    if state.criterion.errors is not None:
        assert rows is not None
        fits, rho = serial_fits(state, rows, n, seed)
    elif not problem.levels:
        fits = pooled_fits(state, n, seed)
    else:
        factored = state.criterion.factored
        assert factored is not None
        simulator = Simulator(problem, factored, problem, state.factors, state.sigma / scale)
        engine = BatchFit(problem, factored, state.criterion.reml, state.theta, state.optimum.hessian)
        parts = chunks(n, engine.batch.draws_at_once)
        if engine.metric is None:
            engine.prepare(simulator.draw(seed, range(min(8, n))))
        fits = Fits.join(in_threads(lambda part: engine(simulator.draw(seed, part)), parts, workers))
    draws = values(problem, fits.covariances, fits.sigma * scale, fits.beta + state.evaluation.beta.real)
    if rho is not None and state.rho is not None:
        at = 1 + quantity.index(Quantity("sigma"))
        quantity.insert(at, Quantity("rho"))
        draws, estimates = np.insert(draws, at, rho, axis=1), np.insert(estimates, at, state.rho)
    draws[~fits.converged] = np.nan
    return BootstrapResult(
        "REML" if state.criterion.reml else "ML",
        n,
        seed,
        int(np.sum(~fits.converged)),
        fits.again,
        tuple(quantity),
        estimates,
        draws,
        fits.value,
    )


def bootstrap_lrt(
    null: MixedFit,
    alternative: MixedFit,
    n: int = 999,
    seed: int = 1,
    *,
    method: str = "ml",
    workers: int | None = None,
    rows: Rows | None = None,
) -> BootstrapTest:
    """Test ``null`` within ``alternative``: simulate from the null's fit, and fit both to what was simulated.

    Args:
        null, alternative: fits of nested models on the same moments.
        n: number of draws; 999 by default.
        seed, workers: as in ``bootstrap``.
        method: ``"ml"``, or ``"reml"`` for the restricted likelihood ratio where both have the same fixed effects.
        rows: needed where one of the models has serially correlated errors.

    Raises:
        ModelError: not on the same rows, not nested, errors that cannot be simulated, or REML with other fixed effects.
    """
    for fit in (null, alternative):
        refuse_rows(fit, rows)
    _check(n)
    if null.n_obs != alternative.n_obs or null.problem.moments is not alternative.problem.moments:
        raise ModelError("the two fits do not rest on the same moments.", do="Fit both models to the same panel.")
    if difference(null.spec, alternative.spec) is None:
        raise ModelError("the null is not a special case of the alternative.", do="Test nested models.")
    if method.lower() == "reml" and null.spec.fixed != alternative.spec.fixed:
        raise ModelError("restricted likelihoods of other fixed effects cannot be compared.", do='Use method="ml".')
    best = null.state(method).optimum.value
    statistic = max(best - alternative.state(method).optimum.value, 0.0)
    if alternative.spec.errors != "iid":
        assert rows is not None
        base, other = serial_pairs(null.state(method), alternative.state(method), rows, n, seed)
    elif not alternative.problem.levels:
        base, other = pooled_pair(null.state(method), alternative.state(method), n, seed)
    else:
        base, other = simulated_pairs(null.state(method), alternative.state(method), n, seed, workers)
    good = base.converged & other.converged
    statistics = np.where(good, np.maximum(base.value - other.value, 0.0), np.nan)
    used = int(good.sum())
    # Ties at zero, where the alternative's estimate lies in the null, are ties whatever the rounding.
    rounding = 1e-7 + 1e-13 * abs(best)
    extreme = int(np.sum(statistics[good] >= statistic - rounding))
    p = (1 + extreme) / (1 + used)
    return BootstrapTest(
        statistic,
        p,
        float(np.sqrt(p * (1 - p) / max(used, 1))),
        n,
        seed,
        n - used,
        float(np.mean(statistics[good] <= rounding)) if used else float("nan"),
        statistics,
    )


def refuse_rows(fit: MixedFit, rows: Rows | None = None) -> None:
    """Refuse models whose simulated outcomes cannot be reduced to the moments at hand.

    Raises:
        ModelError: always for unequal variances and crossed effects; for serially correlated errors without the rows.
    """
    spec = fit.spec
    why = {
        "serially correlated errors": spec.errors != "iid" and rows is None,
        "residual variances by group": spec.variances is not None,
        "a crossed effect": spec.crossed is not None,
    }
    for name, present in why.items():
        if present:
            raise ModelError(
                f"the bootstrap works on group moments, which do not suffice to simulate a model with {name}.",
                do="Use profile or Wald intervals for this variant, or bootstrap the rung without it.",
            )


def _check(n: int) -> None:
    if n < 1:
        raise ModelError(f"{n} bootstrap draws were asked for.", do="Ask for at least 1, better 1,000.")
