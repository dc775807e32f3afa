"""W'V⁻¹W and log|V| cluster by cluster: what robust covariances, log scores and influence read of a fitted model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .criterion import Criterion, Factored, _eliminate, full_products, group_products, spanned
from .errors import ModelError
from .moments import Moments
from .problem import Problem
from .smallmat import cholesky_lower, solve_lower, sum_of_outer

if TYPE_CHECKING:
    from .mixed import State


def check_products(moments: Moments, starts: np.ndarray) -> None:
    """Refuse runs of groups that a wide panel has no full sums of products for.

    Raises:
        ModelError: the panel's moments keep full products of the next coarser groups only.
    """
    if moments.products.shape[0] == moments.products.shape[1]:
        return
    parents = moments.starts(len(moments.levels) - 2) if len(moments.levels) > 1 else np.array([0])
    if not np.isin(starts, parents).all():
        raise ModelError(
            f"with {len(moments.columns)} columns the moments keep no full sums of products of single groups.",
            "moments",
            "Use a coarser level, or a formula with fewer columns.",
        )


class ClusterPass:
    """The forward pass of the criterion, stopped at a level of clusters.

    Args:
        criterion: the model.
        starts: first innermost group (of the moments) of each cluster; every group of the model's outermost random
            level lies within one cluster.

    Raises:
        ModelError: a wide panel without full products of these clusters.
    """

    def __init__(self, criterion: Criterion, starts: np.ndarray) -> None:
        self.criterion, self.starts = criterion, starts
        problem, levels = criterion.problem, criterion.levels
        self.factored: Factored | None = None
        if criterion.errors is not None:
            return
        if not levels:
            check_products(problem.moments, starts)
            self.whole = full_products(problem, starts)
        elif len(levels) > 1 or len(starts) == 1:
            self.factored = criterion.factored
        else:
            check_products(problem.moments, starts)
            if criterion.factored is not None:
                self.factored = split_rest(problem, criterion.factored, starts)

    def __call__(
        self, factors: list[np.ndarray], errors: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """W'V⁻¹W per cluster in working columns (q, q, clusters), and log|V| (None under structured errors).

        Args:
            factors: Λ of every level, innermost first; may be complex.
            errors: parameters of the error structure, where the model has one.
        """
        levels = self.criterion.levels
        if self.criterion.errors is not None:
            c, _ = self.criterion.errors.moments(np.zeros(0) if errors is None else errors)
            logs, below, start = None, np.arange(c.shape[2]), 0
        elif self.factored is None:
            return self.whole, np.zeros(len(self.starts))
        else:
            f = self.factored
            scaled = np.einsum("ijg,jl->ilg", f.root, factors[0])
            h = np.einsum("iag,jag->ijg", scaled, scaled)
            for i in range(len(h)):
                h[i, i] += 1.0
            lower = cholesky_lower(h)
            c = f.rest + sum_of_outer(solve_lower(lower, f.cross), f.starts)
            logs = np.add.reduceat(_log_diagonal(lower), f.starts)
            below, start = levels[0].starts[f.starts], 1
        for number in range(start, len(levels)):
            level = levels[number]
            runs = np.searchsorted(below, level.starts)
            if len(runs) != c.shape[2]:
                c = np.add.reduceat(c, runs, axis=2)
                logs = None if logs is None else np.add.reduceat(logs, runs)
            if logs is not None:
                logs = logs + level_logdet(c, level.index, factors[number])
            c, _, _ = _eliminate(c, level.index, factors[number])
            below = level.starts
        runs = np.searchsorted(below, self.starts)
        if len(runs) != c.shape[2]:
            c = np.add.reduceat(c, runs, axis=2)
            logs = None if logs is None else np.add.reduceat(logs, runs)
        return c, logs

    def shifted(self, factors: list[np.ndarray], z: complex) -> np.ndarray:
        """W'(V + zI)⁻¹W per cluster for complex z: V + zI = (1 + z)(I + ZTZ'/(1 + z)). Independent errors only."""
        c, _ = self([f / np.sqrt(1.0 + z) for f in factors])
        return c / (1.0 + z)


def split_rest(problem: Problem, factored: Factored, starts: np.ndarray) -> Factored:
    """A one-level ``Factored`` with its remainders summed by cluster instead of over the whole panel."""
    level = problem.levels[0]
    runs = np.searchsorted(level.starts, starts)
    rest = full_products(problem, starts) - sum_of_outer(factored.cross, runs)
    for j in spanned(problem, level):
        rest[j] = 0.0
        rest[:, j] = 0.0
    return replace(factored, rest=rest, starts=runs)


def level_logdet(c: np.ndarray, index: np.ndarray, factor_: np.ndarray) -> np.ndarray:
    """log|I + Λ'FΛ| per group, F = Z's rows and columns of C. (groups,)"""
    half = np.tensordot(factor_.T, c[np.ix_(index, index)], axes=1)
    h = np.tensordot(half, factor_, axes=([1], [0])).transpose(0, 2, 1)
    return _log_diagonal(cholesky_lower(h + np.eye(len(index))[:, :, None]))


def _log_diagonal(lower: np.ndarray) -> np.ndarray:
    return 2.0 * sum(np.log(lower[i, i]) for i in range(len(lower)))


def largest_variance(state: State) -> float:
    """An upper bound of V's eigenvalues, in units of σ²: 1 + Σ over levels of the largest trace of Λ'Z'ZΛ."""
    criterion = state.criterion
    bound = 1.0
    for level, lam in zip(criterion.levels, state.factors, strict=True):
        gram = group_products(criterion.problem, level)[:, level.index]
        bound += float(np.einsum("ai,abg,bi->g", lam, gram, lam, optimize=True).max())
    return bound


def cluster_starts(state: State, level: str | None) -> tuple[str, np.ndarray]:
    """The clusters of a level, checked against the model.

    Args:
        level: path of a grouping level of the panel; by default the model's outermost random level, and the panel's
            innermost level for pooled OLS.

    Returns:
        The level's name and the first innermost group of each cluster.

    Raises:
        ModelError: an unknown level; one finer than the outermost random level, whose clusters are not independent
            under the model; a crossed effect, under which no groups are independent; a single cluster.
    """
    problem = state.criterion.problem
    moments, random = problem.moments, problem.spec.random
    if not moments.levels:
        raise ModelError("the panel has no groups to cluster by.", "cluster", "Name a group in the formula.")
    if level is None:
        level = random[0].level if random else moments.levels[-1]
    if level not in moments.levels:
        raise ModelError(
            f"the panel has no level {level!r}.",
            "cluster",
            f"Its levels: {', '.join(moments.levels)}. A coarser column is one where the formula names it, as in "
            "(1 | coarse:fine), which has an effect of the finer alone.",
        )
    if problem.spec.crossed is not None:
        raise ModelError(
            f"the crossed effect of {problem.spec.crossed} ties all groups together: no clusters are independent.",
            "cluster",
            "Use the rung without the crossed effect.",
        )
    if random and moments.levels.index(level) > moments.levels.index(random[0].level):
        raise ModelError(
            f"clusters by {level} are finer than the random effects of {random[0].level}: rows of different clusters "
            "are correlated under the model, and the covariance would be invalid.",
            "cluster",
            f"Cluster by {random[0].level} or a coarser level.",
        )
    starts = moments.starts(moments.levels.index(level))
    if len(starts) < 2:
        raise ModelError(f"level {level} has a single cluster.", "cluster", "Cluster by a level with several groups.")
    return level, starts
