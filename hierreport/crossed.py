"""A crossed random intercept (shocks that all groups share in a period) beside the nested levels.

The crossed factor's indicator columns Z_t stand beside the working columns W through the nested elimination; what is
left of them, C_tt = Z_t'V₀⁻¹Z_t, is a dense matrix of as many rows as there are periods, eliminated last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .criterion import Criterion, Factored, factor, spanned
from .errors import ModelError
from .moments import PeriodMoments
from .problem import Problem
from .smallmat import solve_upper_transposed, sum_of_outer

LIMIT = 2e9


def augment(problem: Problem, periods: PeriodMoments) -> tuple[Factored | None, np.ndarray]:
    """The innermost level prepared with the crossed factor's columns appended to W.

    Returns:
        The augmented ``Factored`` (None without nested levels), and the total products of [W Z_t]. (q + T, q + T)

    Raises:
        ModelError: more periods and groups than a dense elimination can hold.
    """
    q, t = len(problem.total), len(periods.periods)
    cell = problem.basis.transform.T @ periods.cell
    whole = np.zeros((q + t, q + t))
    whole[:q, :q] = problem.total
    by_period = np.zeros((q, t))
    np.add.at(by_period.T, periods.period, cell.T)
    whole[:q, q:], whole[q:, :q] = by_period, by_period.T
    weight = np.bincount(periods.period, weights=periods.cell[0], minlength=t)
    whole[q:, q:] = np.diag(weight)
    if not problem.levels:
        return None, whole
    level = problem.levels[0]
    parents = problem.levels[1].groups if len(problem.levels) > 1 else 1
    if 8.0 * max(level.size * t * level.groups, parents * (q + t) ** 2) > LIMIT:
        raise ModelError(
            f"a crossed effect of {t} periods with {level.groups} groups needs a dense matrix too large for memory.",
            "crossed",
            "Use coarser periods (months for days), or period dummies.",
        )
    inner = factor(problem)
    owner = np.searchsorted(level.starts, periods.group, side="right") - 1
    zt = np.zeros((level.size, t, level.groups))
    for row, column in enumerate(level.index):
        np.add.at(zt[row], (periods.period, owner), cell[column])
    cross = np.concatenate([inner.cross, solve_upper_transposed(inner.root, zt)], axis=1)
    run = np.searchsorted(inner.starts, owner, side="right") - 1
    rest = np.zeros((q + t, q + t, parents))
    rest[:q, :q] = inner.rest
    shared = np.zeros((t, parents, q))
    np.add.at(shared, (periods.period, run), cell.T)
    rest[:q, q:] = shared.transpose(2, 0, 1)
    counts = np.zeros((t, parents))
    np.add.at(counts, (periods.period, run), periods.cell[0])
    rest[q + np.arange(t), q + np.arange(t)] = counts
    outer = sum_of_outer(cross, inner.starts)
    rest[:q, q:] -= outer[:q, q:]
    rest[q:, :q] = rest[:q, q:].transpose(1, 0, 2)
    rest[q:, q:] -= outer[q:, q:]
    for j in spanned(problem, level):
        rest[j] = 0.0
        rest[:, j] = 0.0
    return Factored(inner.root, cross, rest, inner.starts, inner.rank), whole


class CrossedCriterion(Criterion):
    """The criterion of a model with a crossed random intercept; its relative sd λ is the last entry of θ.

    Args:
        problem: with ``problem.crossed`` set.
        reml: REML instead of ML.
        augmented: from ``augment``.
    """

    def __init__(self, problem: Problem, reml: bool, augmented: tuple[Factored | None, np.ndarray]) -> None:
        super().__init__(problem, reml, augmented[0])
        self.augmented = augmented
        self.whole = augmented[1]

    def again(self, reml: bool) -> CrossedCriterion:
        """The same model under the other criterion."""
        return CrossedCriterion(self.problem, reml, self.augmented)

    def _top(self, theta, factors, logdet, total, tape, start, gradient):
        q = len(self.problem.total)
        t = factors[-1][0, 0] ** 2
        c_tt, c_tw = total[q:, q:], total[q:, :q]
        inverse, log = _inverse(np.eye(len(c_tt)) + t * c_tt)
        logdet = logdet + log
        half = inverse @ c_tw
        reduced = total[:q, :q] - t * (c_tw.T @ half)
        if gradient:
            tape = [*tape, (half, inverse, c_tt, t)]
        return super()._top(theta, factors, logdet, reduced, tape, start, gradient)

    def _reverse(self, theta, factors, adjoint, tape, start):
        *tape, (half, inverse, c_tt, t) = tape
        k = t * half
        by_t = np.sum(inverse * c_tt) - np.sum((half @ adjoint) * half)
        ka = k @ adjoint
        whole = np.block([[adjoint, -ka.T], [-ka, ka @ k.T + t * inverse]])
        gradient, by_level = super()._reverse(theta, factors, whole, tape, start)
        # The nested pass left zeros for λ, the last level in the parameters.
        by_level[-1] = np.array([[by_t]])
        gradient[-1] = 2.0 * by_t * factors[-1][0, 0]
        return gradient, by_level


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray, Any]:
    """Inverse and log-determinant of a symmetric positive definite matrix; of a complex step to first order, which its
    imaginary part of 1e-20 makes exact."""
    real = np.ascontiguousarray(matrix.real)
    log = 2.0 * float(np.log(np.diag(np.linalg.cholesky(real))).sum())
    inverse = np.linalg.inv(real)
    if not np.iscomplexobj(matrix):
        return inverse, log
    step = inverse @ matrix.imag
    return inverse - 1j * (step @ inverse), log + 1j * float(np.trace(step))
