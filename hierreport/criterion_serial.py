"""The criterion under AR(1) errors and its gradient at many θ at once, as ``criterion_stack`` for independent errors.

A whitened row's moments are lagged sums times rational functions of ρ (``errors_structure``): with the kinds of sums
(first rows, then three for each gap) beside the group, one product of matrices gives them for all θ. Arrays carry the
θ (D) before the group, (…, D, G). Everything accepts complex θ.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from .batch_inner import real_product
from .batch_levels import times
from .criterion import Criterion
from .criterion_stack import _eliminate, _eliminate_adjoint, _top, stacked_factors
from .errors_structure import AutoregressiveErrors
from .smallmat import cholesky_lower, solve_lower

# Lengths of steps whose sums are held for every group, groups of the level above, and numbers in all.
GAPS, PARENTS, SMALL = 3, 60, 400_000


def serial_stack(criterion: Criterion) -> SerialStack | None:
    """What evaluates a model at many θ at once, where it has AR(1) errors and groups so few that this pays."""
    if type(criterion.errors) is not AutoregressiveErrors or not criterion.levels:
        return None
    inner: Any = criterion._rows
    size = inner.first.size * (1 + 3 * len(inner.parts))
    if len(inner.parts) > GAPS or len(criterion.factored.starts) > PARENTS or size > SMALL:
        return None
    return SerialStack(criterion)


@dataclass
class Sums:
    """Lagged sums of one view of the moments, kinds before the group.

    Attributes:
        shape: rows and columns of the products.
        stored: (rows · columns, W, G); zeros for the outcome where every θ has its own.
        own: of the outcome's column then. (rows, D, W, G) or None
    """

    shape: tuple[int, int]
    stored: np.ndarray
    own: np.ndarray | None = None

    @classmethod
    def of(cls, view: AutoregressiveErrors) -> Sums:
        rows, columns, groups = view.first.shape
        stored = np.zeros((rows, columns, 1 + 3 * len(view.parts), groups))
        stored[:, :, 0] = view.first
        for number, part in enumerate(view.parts):
            at = 1 + 3 * number
            stored[:, :, at : at + 3, part.group] = np.moveaxis(part.sums, 0, 2)
        return cls((rows, columns), stored.reshape(rows * columns, *stored.shape[2:]))

    def weighted(self, weights: np.ndarray) -> np.ndarray:
        """Moments at every θ, of the weights of each kind (D, W). (rows, columns, D, G)"""
        out = real_product(weights, self.stored).reshape(*self.shape, len(weights), -1)
        if self.own is not None:
            out[:, -1] = np.einsum("dw,adwg->adg", weights, self.own)
            if self.shape[0] == self.shape[1]:
                out[-1] = out[:, -1]
        return out

    def against(self, adjoint: np.ndarray) -> np.ndarray:
        """Σ adjoint · the sums of each kind; adjoint (rows, columns, D, G). (D, W)"""
        flat = adjoint.reshape(len(self.stored), *adjoint.shape[2:])
        out = real_product(flat, self.stored.transpose(0, 2, 1)).sum(axis=0)
        if self.own is None:
            return out
        by_own = adjoint[:, -1]
        if self.shape[0] == self.shape[1]:
            by_own = by_own + adjoint[-1]
            by_own[-1] = adjoint[-1, -1]
        return out + np.einsum("adg,adwg->dw", by_own, self.own)

    def with_outcomes(self, own: np.ndarray) -> Sums:
        """The same with an outcome of its own for every θ; nothing is left of the one that was observed."""
        stored = self.stored.reshape(*self.shape, *self.stored.shape[1:]).copy()
        stored[:, -1] = 0.0
        if self.shape[0] == self.shape[1]:
            stored[-1] = 0.0
        return Sums(self.shape, stored.reshape(self.stored.shape), own)


class SerialStack:
    """A criterion under AR(1) errors, prepared for many θ.

    Args:
        criterion: with at least one nested level.
        rows, whole: the sums of Z's rows per innermost group and of all rows per group above; the criterion's own.
    """

    def __init__(self, criterion: Criterion, rows: Sums | None = None, whole: Sums | None = None) -> None:
        view: Any = criterion._all
        self.levels, self.starts = criterion.levels, criterion.factored.starts
        self.rows = Sums.of(criterion._rows) if rows is None else rows  # type: ignore[arg-type]
        self.whole = Sums.of(view) if whole is None else whole
        self.errors = view
        self.gaps = np.array([part.gap for part in view.parts])
        self.steps = np.array([part.count for part in view.parts])
        starts = [level.starts for level in self.levels]
        self.runs = [np.searchsorted(lower, upper) for lower, upper in pairwise(starts[1:])]
        self.counts = [np.diff(np.append(r, len(lo))) for r, lo in zip(self.runs, starts[1:-1], strict=True)]
        edges = [*self.starts.tolist(), self.levels[0].groups]
        self.slices = [slice(a, b) for a, b in pairwise(edges)]

    def with_outcomes(self, rows: np.ndarray, whole: np.ndarray) -> SerialStack:
        """The same design with an outcome of its own for every θ: the sums of its column. (k or q, D, W, groups)"""
        out = copy(self)
        out.rows, out.whole = self.rows.with_outcomes(rows), self.whole.with_outcomes(whole)
        return out

    def outcomes(self, which: np.ndarray) -> SerialStack:
        """The same for some of these outcomes, or some several times."""
        assert self.rows.own is not None and self.whole.own is not None
        out = copy(self)
        out.rows = replace(self.rows, own=self.rows.own[:, which])
        out.whole = replace(self.whole, own=self.whole.own[:, which])
        return out

    def evaluate(self, criterion: Criterion, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``criterion.many``. (D, m) → (D,), (D, m)"""
        parameters = criterion.parameters
        factors = stacked_factors(parameters, thetas)
        weights, slopes, logdet, log_slope = self._weights(thetas[:, parameters.n_lambda])
        total, log_levels, kept = self._forward(factors, weights)
        value, adjoint = _top(criterion, total, logdet + log_levels)
        by_t, by_sums = self._reverse(factors, adjoint, kept)
        gradient = np.empty_like(thetas)
        by_factor = [2.0 * np.matmul(t, f) for t, f in zip(by_t, factors, strict=True)]
        for i, (number, row, column) in enumerate(parameters.entries):
            gradient[:, i] = by_factor[number][:, row, column]
        gradient[:, parameters.n_lambda] = (slopes * by_sums).sum(axis=1) + log_slope
        return value, gradient

    def _weights(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weights of the kinds of sums and their derivatives in φ (D, W), log|V_e| and its derivative (D,)."""
        rho = self.errors._rho(phi)[:, None]
        s = rho**self.gaps
        ds = self.gaps * rho ** (self.gaps - 1.0) * self.errors.by_phi(rho)
        d = 1.0 - s * s
        ones, zeros = np.ones_like(rho), np.zeros_like(rho)
        kinds = np.stack([1.0 / d, -s / d, s * s / d], axis=2).reshape(len(phi), -1)
        twice = 2.0 * s * ds / d**2
        slopes = np.stack([twice, -(1.0 + s * s) * ds / d**2, twice], axis=2).reshape(len(phi), -1)
        log = np.log(d) @ self.steps
        return np.hstack([ones, kinds]), np.hstack([zeros, slopes]), log, (-2.0 * s * ds / d) @ self.steps

    def _forward(self, factors: list[np.ndarray], weights: np.ndarray):
        """W'V⁻¹W (D, q, q), Σ log|LL'| of the levels (D,), and what ``_reverse`` needs."""
        index = self.levels[0].index
        left = factors[0].transpose(2, 1, 0)  # Λ' as (k, k, D)
        rows = self.rows.weighted(weights)
        scaled = times(left, rows)
        h = times(left, scaled[:, index].transpose(1, 0, 2, 3))
        for i in range(len(h)):
            h[i, i] += 1.0
        lower = cholesky_lower(h)
        logdet = 2.0 * sum(np.log(lower[i, i]).sum(axis=1) for i in range(len(h)))
        k = solve_lower(lower, scaled)
        c = self.whole.weighted(weights)
        blocks = np.ascontiguousarray(k.transpose(2, 1, 0, 3))  # (D, q, k, G)
        for p, run in enumerate(self.slices):
            block = blocks[..., run].reshape(*blocks.shape[:2], -1)
            c[..., p] -= np.matmul(block, block.transpose(0, 2, 1)).transpose(1, 2, 0)
        tape = []
        for number in range(1, len(self.levels)):
            if number > 1:
                c = np.add.reduceat(c, self.runs[number - 2], axis=3)
            c, log_level, entry = _eliminate(c, self.levels[number].index, factors[number])
            logdet = logdet + log_level
            tape.append(entry)
        return c.sum(axis=3).transpose(2, 0, 1), logdet, (left, rows, lower, k, tape)

    def _reverse(self, factors: list[np.ndarray], adjoint: np.ndarray, kept) -> tuple[list[np.ndarray], np.ndarray]:
        """∂/∂T of every level (D, k, k) and ∂/∂weights of the sums (D, W), from the derivative in W'V⁻¹W (D, q, q).

        The adjoint of the innermost groups' moments is that of ``criterion._errors_adjoint``.
        """
        left, rows, lower, k, tape = kept
        index = self.levels[0].index
        a = adjoint.transpose(1, 2, 0)[:, :, :, None]
        by_t: list[np.ndarray] = [np.zeros(0)] * len(self.levels)
        for number in range(len(self.levels) - 1, 0, -1):
            a, by_t[number] = _eliminate_adjoint(a, tape[number - 1], self.levels[number].index, factors[number])
            if number > 1:
                a = np.repeat(a, self.counts[number - 2], axis=3)
        by_sums = self.whole.against(np.ascontiguousarray(a))
        d = rows
        for row in k:
            d = d - row[index][:, None] * row
        half = np.empty(d.shape, dtype=np.result_type(d, a))
        by_draw = d.transpose(2, 0, 1, 3)  # (D, k, q, G)
        for p, run in enumerate(self.slices):
            part = np.matmul(a[..., p].transpose(2, 1, 0)[:, None], by_draw[..., run])
            half[..., run] = part.transpose(1, 2, 0, 3)
        inner = np.einsum("ijdg,ljdg->ildg", half, d)
        by_t[0] = (d[:, index] - inner).sum(axis=3).transpose(2, 0, 1)
        t = np.matmul(factors[0], factors[0].transpose(0, 2, 1)).transpose(1, 2, 0)
        root = solve_lower(lower, np.broadcast_to(left[:, :, :, None], lower.shape))
        weight = times(t, times(t, inner).transpose(1, 0, 2, 3))
        weight = weight + np.einsum("aidg,ajdg->ijdg", root, root)
        by_rows = times(-2.0 * t, half)
        by_rows[:, index] += weight
        return by_t, by_sums + self.rows.against(by_rows)
