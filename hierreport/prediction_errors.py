"""How well a prediction is known: its error variance, for groups that the fit knows and for new ones."""

from __future__ import annotations

import numpy as np

from .effects import _forward
from .errors import ModelError
from .mixed import State

CHUNK = 10_000


def fixed_variance(cov: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Variance of x'β̂ per row, from the covariance of β̂. x (n, p)"""
    return np.einsum("ni,ij,nj->n", x, cov, x)


def random_variance(state: State, columns: dict[str, np.ndarray], numbers: list[int]) -> np.ndarray:
    """Variance of the random part of some levels (innermost first) for groups nothing is known of, per row."""
    total = np.zeros(len(next(iter(columns.values()))))
    for number in numbers:
        z = np.column_stack([columns[t] for t in state.components[number].terms])
        total += np.einsum("ni,ij,nj->n", z, state.covariance(number), z)
    return total


def conditional_variance(state: State, columns: dict[str, np.ndarray], at: list[np.ndarray]) -> np.ndarray:
    """Variance of x'β̂ + z'û − x'β − z'u per row (Henderson 1975); levels whose group is new add their variance.

    Σ, the error covariance of the coefficients that a group's fitted values have, is passed down the levels as for the
    standard errors of the random effects: Σ ← B own B' + (I − BTD)Σ(I − BTD)', own = σ²(T − TFT⁺).

    Args:
        state: the optimum.
        columns: the model's columns per row by name, the intercept too. (n,) each
        at: per level, innermost first, the position of each row's group, -1 for a new one. (n,) each

    Raises:
        ModelError: a model with a crossed effect.
    """
    criterion = state.criterion
    problem = criterion.problem
    if problem.crossed is not None:
        raise ModelError(
            "errors of conditional predictions are not available with a crossed effect of time.",
            "predict",
            "Use effects=False, or the rung without the crossed effect.",
        )
    moments, basis = problem.moments, problem.basis
    n = len(columns["(Intercept)"])
    stored = np.zeros((n, len(moments.columns)))
    for j, name in enumerate(moments.columns[:-1]):
        if name in columns:
            stored[:, j] = (columns[name] - moments.shift[j]) / moments.scale[j]
    rows = stored @ basis.transform
    rows[:, basis.y_index] = 0.0
    q = rows.shape[1]
    steps = _forward(state)
    noise = (state.sigma / basis.y_scale) ** 2
    start = np.zeros((q, q))
    if len(basis.x_index):
        start[np.ix_(basis.x_index, basis.x_index)] = noise * np.linalg.inv(state.evaluation.xx.real)
    out = np.einsum("ni,ij,nj->n", rows, start, rows)
    covariance, groups = start[None], np.zeros(n, dtype=int)
    for number in range(len(problem.levels) - 1, -1, -1):
        known = np.flatnonzero(at[number] >= 0)
        if not len(known):
            break
        level = problem.levels[number]
        wanted, place = np.unique(at[number][known], return_inverse=True)
        first = np.zeros(len(wanted), dtype=int)
        first[place] = groups[known]
        d, n_matrix = steps[number]
        t = state.factors[number] @ state.factors[number].T
        keep = np.broadcast_to(np.eye(q), (len(wanted), q, q)).copy()
        keep[:, level.index, :] -= np.einsum("ij,jqg->giq", t, d[:, :, wanted])
        covariance = keep @ covariance[first] @ keep.transpose(0, 2, 1)
        grid = np.ix_(np.arange(len(wanted)), level.index, level.index)
        covariance[grid] += noise * n_matrix[:, :, wanted].transpose(2, 0, 1)
        groups = np.full(n, -1)
        groups[known] = place
        for begin in range(0, len(known), CHUNK):  # a matrix per row at a time
            some = slice(begin, begin + CHUNK)
            x = rows[known[some]]
            out[known[some]] = np.einsum("ni,ni->n", x, (covariance[place[some]] @ x[:, :, None])[:, :, 0])
    out *= basis.y_scale**2
    for number in range(len(problem.levels)):
        new = at[number] < 0
        if new.any():
            part = {name: values[new] for name, values in columns.items()}
            out[new] += random_variance(state, part, [number])
    return out
