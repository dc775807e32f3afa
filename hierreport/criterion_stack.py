"""The criterion and its gradient at many θ at once: what descents from several starts and exact Hessians ask for.

Several θ cost little more than one where NumPy's calls cost more than their arithmetic, and less than one at a time
where the sums over groups become products of large matrices. The passes are those of ``criterion``, with the θ (D)
before the group in every array.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .batch_inner import Inner, real_product
from .criterion import Criterion, Factored, Parameters
from .problem import Problem
from .smallmat import cholesky_lower, solve_lower

WELL_CONDITIONED = 1e5


def work(problem: Problem) -> int:
    """Numbers that the innermost level keeps: multiplications for each θ."""
    k, q = problem.levels[0].size, len(problem.total)
    return k * (k + 1) // 2 * q * (q + 1) // 2 * problem.levels[0].groups


class Stack(Inner):
    """A design prepared for many θ.

    Args:
        problem: a model with at least one nested level and no other random part.
        factored: its innermost level.
        reference: Λ of the innermost level near which the θ will be. (k, k)
    """

    def __init__(self, problem: Problem, factored: Factored, reference: np.ndarray) -> None:
        self.levels = problem.levels
        q = len(problem.total)
        super().__init__(factored, q, reference)
        # The largest diagonal entries of Z'Z among the groups.
        self.largest = np.square(factored.root).sum(axis=0).max(axis=1)
        self.rest = factored.rest[:, :, None, :]
        self.whole = np.empty((q, q), dtype=int)
        self.whole[self.upper[0], self.upper[1]] = self.whole[self.upper[1], self.upper[0]] = np.arange(
            self.upper.shape[1]
        )
        self.index = [_span(level.index) for level in self.levels]
        starts = [level.starts for level in self.levels]
        self.runs = [np.searchsorted(lower, upper) for lower, upper in pairwise(starts[1:])]
        self.counts = [np.diff(np.append(r, len(lo))) for r, lo in zip(self.runs, starts[1:-1], strict=True)]
        # The products of each slab, parents first, entries of H⁻¹ beside the groups: (parents, s · groups, columns).
        self.by_slab = []
        assert self.products is not None
        for p, g, count in self.slabs:
            part = self.products[:, g].reshape(len(self.pairs), p.stop - p.start, count, -1)
            self.by_slab.append(
                np.ascontiguousarray(part.transpose(1, 0, 2, 3)).reshape(p.stop - p.start, -1, part.shape[3])
            )
        self.sorted_parents = np.array_equal(self.parent_order, np.arange(len(self.parent_order)))

    def evaluate(self, criterion: Criterion, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """``criterion.many``: (D, m) → (D,), (D, m); None where an H of the innermost level is so ill conditioned that
        its inverse loses digits. Its eigenvalues are between 1 and 1 + tr(RTR')."""
        factors = stacked_factors(criterion.parameters, thetas)
        if not self.conditioned(factors[0]):
            return None
        total, logdet, kept = self.forward(factors)
        value, adjoint = _top(criterion, total, logdet)
        by_t = self.reverse(factors, adjoint, kept)
        by_factor = [2.0 * np.matmul(t, f) for t, f in zip(by_t, factors, strict=True)]
        gradient = np.empty_like(thetas)
        for i, (number, row, column) in enumerate(criterion.parameters.entries):
            gradient[:, i] = by_factor[number][:, row, column]
        return value, gradient

    def conditioned(self, factor: np.ndarray) -> bool:
        """Whether no H of the innermost level has an inverse that loses digits, at Λ (D, k, k)."""
        return bool(self.k * (np.square(factor.real).sum(axis=2) @ self.largest).max() < WELL_CONDITIONED)

    def forward(self, factors: list[np.ndarray]):
        """W'V⁻¹W and log|V|.

        Args:
            factors: Λ of every level, innermost first. (D, k, k) each

        Returns:
            (D, q, q), (D,), and what ``reverse`` needs.
        """
        draws = len(factors[0])
        inverse, logdet = self.inverse(factors[0])
        parts = []
        for (p, g, count), products in zip(self.slabs, self.by_slab, strict=True):
            size = p.stop - p.start
            weights = inverse[:, :, g].reshape(len(self.pairs), draws, size, count).transpose(2, 1, 0, 3)
            parts.append(real_product(weights.reshape(size, draws, -1), products))
        summed = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not self.sorted_parents:
            summed = summed[self.parent_place]
        c = summed.transpose(2, 1, 0)[self.whole] + self.rest
        tape = []
        for number in range(1, len(self.levels)):
            if number > 1:
                c = np.add.reduceat(c, self.runs[number - 2], axis=3)
            c, log_level, entry = _eliminate(c, self.index[number], factors[number])
            logdet = logdet + log_level
            tape.append(entry)
        return c.sum(axis=3).transpose(2, 0, 1), logdet, (inverse, tape)

    def reverse(self, factors: list[np.ndarray], adjoint: np.ndarray, kept) -> list[np.ndarray]:
        """∂/∂T of every level, innermost first, from the derivative in W'V⁻¹W (D, q, q). (D, k, k) each"""
        inverse, tape = kept
        a = adjoint.transpose(1, 2, 0)[:, :, :, None]
        by_t: list[np.ndarray] = [np.zeros(0)] * len(self.levels)
        for number in range(len(self.levels) - 1, 0, -1):
            a, by_t[number] = _eliminate_adjoint(a, tape[number - 1], self.index[number], factors[number])
            if number > 1:
                a = np.repeat(a, self.counts[number - 2], axis=3)
        left, right = self.upper
        by_column = (a[left, right] * self.column_times[:, None, None]).transpose(2, 1, 0)
        if not self.sorted_parents and len(by_column) > 1:
            by_column = by_column[self.parent_order]
        s, draws = len(self.pairs), len(adjoint)
        q = np.empty((s, draws, inverse.shape[2]), dtype=by_column.dtype)
        for (p, g, count), products in zip(self.slabs, self.by_slab, strict=True):
            size = p.stop - p.start
            part = real_product(by_column[p] if len(by_column) > 1 else by_column, products.transpose(0, 2, 1))
            q[:, :, g] = part.reshape(size, draws, s, count).transpose(2, 1, 0, 3).reshape(s, draws, -1)
        for m, (i, j) in enumerate(self.pairs):
            if i != j:
                q[m] *= 0.5
        by_t[0] = self.by_t(inverse, q)
        return by_t


def _top(criterion: Criterion, total: np.ndarray, logdet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Criterion (D,), and its derivative in W'V⁻¹W (D, q, q)."""
    basis, nu = criterion.problem.basis, criterion.nu
    p, y = len(basis.x_index), basis.y_index
    x = _span(basis.x_index) if p else slice(0)
    block: Any = (slice(None), x, x) if isinstance(x, slice) else (slice(None), *np.ix_(x, x))
    xx = total[block]
    b = np.zeros(total.shape[:2], dtype=total.dtype)
    b[:, y] = 1.0
    if p:
        b[:, x] = -np.linalg.solve(xx, total[:, x, y, None])[:, :, 0]
    r2 = np.matmul(np.matmul(b[:, None], total), b[:, :, None])[:, 0, 0]
    value = logdet + nu * (1.0 + np.log(2.0 * np.pi * r2 / nu)) + criterion.constant
    adjoint = (nu / r2)[:, None, None] * b[:, :, None] * b[:, None]
    if criterion.reml and p:
        sign, size = np.linalg.slogdet(xx)
        value = value + size + (np.log(sign) if np.iscomplexobj(xx) else 0.0)
        adjoint[block] += np.linalg.inv(xx)
    return value, adjoint


def _span(index: np.ndarray) -> slice | np.ndarray:
    """Consecutive columns as a slice, which costs less to take."""
    first, last = int(index[0]), int(index[-1])
    return slice(first, last + 1) if np.array_equal(index, np.arange(first, last + 1)) else index


def stacked_factors(parameters: Parameters, thetas: np.ndarray) -> list[np.ndarray]:
    """Λ of every level, innermost first, from θ (D, m). (D, k, k) each"""
    out = [np.zeros((len(thetas), level.size, level.size), dtype=thetas.dtype) for level in parameters.levels]
    for i, (number, row, column) in enumerate(parameters.entries):
        out[number][:, row, column] = thetas[:, i]
    return out


def _eliminate(c: np.ndarray, index: slice | np.ndarray, factor: np.ndarray):
    """Eliminate an upper level as ``criterion`` does.

    Returns:
        C after (q, q, D, P), Σ log|LL'| (D,), and C after with N = Λ(I + Λ'FΛ)⁻¹Λ'.
    """
    k, q = factor.shape[1], len(c)
    left = factor.transpose(2, 1, 0)  # Λ' as (k, k, D)
    rows = np.empty((k, q + k, *c.shape[2:]), dtype=c.dtype)
    np.einsum("ijd,jmdp->imdp", left, c[index], out=rows[:, :q])
    rows[:, q:] = left[:, :, :, None]
    h = np.einsum("ijd,mjdp->imdp", left, rows[:, index])
    for i in range(len(h)):
        h[i, i] += 1.0
    lower = cholesky_lower(h)
    pivots = lower[0, 0]
    for i in range(1, len(h)):
        pivots = pivots * lower[i, i]
    solved = solve_lower(lower, rows)
    for row in solved[:, :q]:
        c = c - row[:, None] * row[None, :]
    half = solved[:, q:]
    return c, 2.0 * np.log(pivots).sum(axis=1), (c, np.einsum("aidp,ajdp->ijdp", half, half))


def _eliminate_adjoint(
    a: np.ndarray, kept: tuple[np.ndarray, np.ndarray], index: slice | np.ndarray, factor: np.ndarray
):
    """The adjoint of C before a level, and ∂F/∂T, as ``criterion`` has them."""
    c_after, n_matrix = kept
    u = c_after[:, index]
    a_u = np.einsum("ij...,jk...->ki...", a, u)
    u_a_u = np.einsum("jadp,bjdp->abdp", u, a_u)
    by_t = (u[index] - u_a_u).sum(axis=3).transpose(2, 0, 1)
    t = np.matmul(factor, factor.transpose(0, 2, 1)).transpose(1, 2, 0)
    out = np.empty_like(c_after)
    out[...] = a
    t_u_a = np.einsum("ijd,jmdp->imdp", t, a_u)
    out[index] -= t_u_a
    out[:, index] -= t_u_a.transpose(1, 0, 2, 3)
    half = np.einsum("ijd,jmdp->imdp", t, u_a_u)
    block: Any = (index, index) if isinstance(index, slice) else np.ix_(index, index)
    out[block] += np.einsum("ijd,mjdp->imdp", t, half) + n_matrix
    return out, by_t
