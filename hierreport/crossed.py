"""A crossed random intercept (shocks that all groups share in a period) beside the nested levels.

Its criterion has several forms of the same value, and ``crossed_criterion`` takes the one that costs least. In the form
here the crossed factor's indicator columns Z_t stand beside the working columns W through the nested elimination; what
is left of them, C_tt = Z_t'V₀⁻¹Z_t, is a dense matrix with a row per period, eliminated last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .criterion import Criterion, Factored, factor, spanned
from .crossed_dense import DenseCrossedCriterion
from .crossed_design import Cells, cells_of, innermost_first, periods_first, sparse_pairs
from .errors import ModelError
from .moments import PeriodMoments
from .problem import Problem
from .smallmat import solve_upper_transposed, sum_of_outer
from .spd import LARGE

# Bytes that a criterion's arrays may take.
LIMIT = 6e9


def augment(problem: Problem, periods: PeriodMoments) -> tuple[Factored | None, np.ndarray]:
    """The innermost level prepared with the crossed factor's columns appended to W.

    Returns:
        The augmented ``Factored`` (None without nested levels), and the total products of [W Z_t]. (q + T, q + T)
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


def crossed_criterion(problem: Problem, reml: bool, periods: PeriodMoments, form: str | None = None) -> Criterion:
    """The criterion of a model with a crossed random intercept and independent errors.

    Args:
        problem: with ``problem.crossed`` set.
        reml: REML instead of ML.
        periods: the panel's sums by group and period, in the problem's stored columns.
        form: one of the forms of ``form_costs``; the cheapest by default. All have the same value.

    Raises:
        ModelError: more periods and groups than memory holds.
    """
    costs = form_costs(problem, cells := cells_of(problem, periods))
    form = form or min(costs, key=lambda name: costs[name])
    if costs[form] == np.inf:
        raise ModelError(
            f"a crossed effect of {cells.periods} periods with {len(problem.n)} groups needs a dense matrix too large "
            "for memory.",
            "crossed",
            "Use coarser periods (months for days), or period dummies.",
        )
    if form == "columns":
        return CrossedCriterion(problem, reml, augment(problem, periods))
    factored = factor(problem) if problem.levels else None
    if form == "periods":
        design = periods_first(problem, cells)
    else:
        assert factored is not None
        design = innermost_first(problem, cells, factored, sparse=form == "sparse")
    return DenseCrossedCriterion(problem, reml, factored, design)


def form_costs(problem: Problem, cells: Cells) -> dict[str, float]:
    """Nanoseconds that an evaluation takes in each form, roughly; infinite where it does not fit into memory.

    Forms: ``columns`` (``CrossedCriterion``), ``periods`` first, ``innermost`` first, and the latter by its nonzeros.
    """
    t, q, levels = cells.periods, len(problem.total), problem.levels
    nested = sum(level.size * level.groups for level in levels)
    # Per multiplication in BLAS, in an inverse, and per number in an elementwise operation; beside them the calls.
    blas, loop, calls = 0.02, 2.0, 2e5

    def dense(n: int) -> float:
        return (0.03 if n >= LARGE else 0.12) * n**3 + 10.0 * loop * n**2 + calls

    out = {"periods": dense(nested) + t * nested * (2.0 * blas * nested + loop)}
    # Numbers held at once; most of them in the Hessian, which takes three more matrices for each pair of coefficients.
    memory = {"periods": 12.0 * nested**2 + 3.0 * nested * t}
    wide = float(t + q)
    # Its complex Hessian takes as long as all evaluations before it, that of the others next to nothing.
    out["columns"] = 6.0 * blas * t**3 + 2.0 * loop * t**2
    memory["columns"] = 4.0 * wide**2
    if levels:
        k, groups = levels[0].size, levels[0].groups
        n = t + nested - k * groups
        pairs = sparse_pairs(problem, cells)
        out["innermost"] = dense(n) + k * groups * n * (2.0 * blas * n + k * loop)
        out["sparse"] = dense(n) + 12.0 * loop * pairs * k**2
        matrices = (9.0 + 1.5 * k * (k + 1)) * n**2
        memory["innermost"] = matrices + 3.0 * k * groups * n
        memory["sparse"] = matrices + (6.0 + k) * pairs
        parents = levels[1].groups if len(levels) > 1 else 1
        above = sum(4.0 * (level.size + 2) * level.groups for level in levels[1:])
        out["columns"] += 6.0 * blas * k * groups * wide**2 + 2.0 * loop * wide * (4.0 * k * groups + wide * above)
        memory["columns"] += 3.0 * k * groups * wide + 4.0 * (parents - 1) * wide**2
    return {form: cost if 8.0 * memory[form] <= LIMIT else np.inf for form, cost in out.items()}


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
        self.dense = problem.components[-1].groups

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
        # The nested pass left zeros for λ, the last entry of Λ's in the parameters.
        by_level[-1] = np.array([[by_t]])
        gradient[self.parameters.n_lambda - 1] = 2.0 * by_t * factors[-1][0, 0]
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
