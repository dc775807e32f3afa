"""The criterion of many fits on one design at once: a θ for each, an outcome for each (or one for all).

What does not depend on the draw is prepared once, and the sums over groups become products of matrices: with
H = I + RTR' of an innermost group (``criterion.Factored``), F_AA = Σ G'H⁻¹G is linear in the entries of H⁻¹, so that
[draws × groups] times [groups × products of G] gives it for all draws. H is taken relative to its Cholesky factor at a
reference point, which keeps H⁻¹ near the identity: nothing cancels where the groups' variance is large.

Arrays carry the draw before the group, (…, D, G); D is 1 where all draws share a θ (or an outcome).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .batch_levels import Step, eliminate, step_back
from .criterion import Factored
from .problem import Problem
from .smallmat import cholesky_lower, solve_lower

PAIR_BYTES = 400_000_000
# Parents are stacked with others that have at least this share of their groups.
FILL = 0.85


@dataclass(frozen=True)
class Outcomes:
    """The outcome's part of the moments, for D draws.

    Attributes:
        cross: R⁻ᵀZ'y of the innermost groups. (k, D, G)
        rest_a: what remains of W'y after projection on Z, per group of the level above, without y itself. (a, D, P)
        rest_y: what remains of y'y, over all groups. (D,)
    """

    cross: np.ndarray
    rest_a: np.ndarray
    rest_y: np.ndarray

    def take(self, draws: np.ndarray | slice) -> Outcomes:
        """Some of the draws."""
        return Outcomes(self.cross[:, draws], self.rest_a[:, draws], self.rest_y[draws])


@dataclass
class Pass:
    """A forward pass: W'V⁻¹W without its yy entry split into parts, log|V|, and what the reverse pass needs.

    Attributes:
        logdet: (D,)
        aa, ay, yy: A'V⁻¹A (D, a, a), A'V⁻¹y (D, a), y'V⁻¹y (D,), A all working columns but the outcome.
    """

    logdet: np.ndarray
    aa: np.ndarray
    ay: np.ndarray
    yy: np.ndarray
    inverse: np.ndarray
    cross: np.ndarray
    tape: list[Step]


class Batch:
    """A design, factored once, on which many fits are evaluated together.

    Args:
        problem: a model with at least one level.
        factored: its innermost level, from ``criterion.factor``.
        reference: Λ of the innermost level near which the fits will be. (k, k)
    """

    def __init__(self, problem: Problem, factored: Factored, reference: np.ndarray) -> None:
        self.problem, self.factored, self.levels = problem, factored, problem.levels
        self.a = len(problem.total) - 1
        self.k = self.levels[0].size
        self._sort_groups(np.diff(np.append(factored.starts, factored.root.shape[2])), factored.starts)
        self._prepare(self._sorted(factored.root), self._sorted(factored.cross[:, : self.a]), reference)
        self.rest_aa = np.ascontiguousarray(factored.rest[: self.a, : self.a][:, :, None, :])
        starts = [level.starts for level in self.levels]
        self.runs = [np.searchsorted(lower, upper) for lower, upper in pairwise(starts[1:])]
        self.counts = [np.diff(np.append(r, len(lo))) for r, lo in zip(self.runs, starts[1:-1], strict=True)]

    def _sort_groups(self, sizes: np.ndarray, starts: np.ndarray) -> None:
        """Parents of about one size become a stack of equal matrices, filled up with empty groups."""
        self.parent_order = np.argsort(-sizes, kind="stable")
        self.parent_place = np.argsort(self.parent_order)
        ordered = sizes[self.parent_order]
        self.slabs: list[tuple[slice, slice, int]] = []
        members: list[np.ndarray] = []
        parent = group = 0
        empty = int(sizes.sum())
        while parent < len(ordered):
            count = int(ordered[parent])
            size = int(np.count_nonzero(ordered[parent:] >= FILL * count))
            inside = self.parent_order[parent : parent + size]
            index = starts[inside][:, None] + np.arange(count)
            members.append(np.where(np.arange(count) < sizes[inside][:, None], index, empty).ravel())
            self.slabs.append((slice(parent, parent + size), slice(group, group + size * count), count))
            parent, group = parent + size, group + size * count
        self.group_order = np.concatenate(members)

    def _sorted(self, array: np.ndarray) -> np.ndarray:
        """Groups (last axis) in the order of the slabs, zeros for empty ones."""
        padded = np.concatenate([array, np.zeros((*array.shape[:-1], 1))], axis=-1)
        return padded[..., self.group_order]

    def _prepare(self, root: np.ndarray, cross: np.ndarray, reference: np.ndarray) -> None:
        k, groups = self.k, root.shape[2]
        scaled = np.einsum("ijg,jl->ilg", root, reference)
        h = np.einsum("iag,jag->ijg", scaled, scaled) + np.eye(k)[:, :, None]
        self.lower = cholesky_lower(h)
        self.log_reference = 2.0 * sum(np.log(self.lower[i, i]).sum() for i in range(k))
        whitened = solve_lower(self.lower, root)
        eye = solve_lower(self.lower, np.broadcast_to(np.eye(k)[:, :, None], root.shape))
        base = np.einsum("iag,jag->ijg", eye, eye)
        self.cross_a = np.ascontiguousarray(solve_lower(self.lower, cross).transpose(0, 2, 1))  # (k, G, a)
        self.pairs = [(i, j) for i in range(k) for j in range(i, k)]
        self.times = np.array([1.0 if i == j else 2.0 for i, j in self.pairs])
        s = len(self.pairs)
        # H is linear in T: a row for each entry of T, the last one for what does not depend on it.
        self.h_rows = np.empty((s + 1, s, groups))
        for m, (i, j) in enumerate(self.pairs):
            for t, (b, c) in enumerate(self.pairs):
                value = whitened[i, b] * whitened[j, c]
                self.h_rows[t, m] = value if b == c else value + whitened[i, c] * whitened[j, b]
            self.h_rows[s, m] = base[i, j]
        columns = [(b, c) for b in range(self.a) for c in range(b, self.a)]
        self.columns = columns
        self.upper = np.array(columns, dtype=int).reshape(-1, 2).T
        self.column_times = np.where(self.upper[0] == self.upper[1], 1.0, 2.0)
        self._products = None
        if s * len(columns) * groups * 8 <= PAIR_BYTES:
            self._products = self._column_products(slice(0, groups))

    def _column_products(self, part: slice) -> np.ndarray:
        """Products of G's columns that multiply an entry of H⁻¹. (s, groups of the part, pairs of columns)"""
        out = np.empty((len(self.pairs), part.stop - part.start, len(self.columns)))
        left, right = self.upper
        for m, (i, j) in enumerate(self.pairs):
            a, b = self.cross_a[i, part], self.cross_a[j, part]
            np.multiply(a[:, left], b[:, right], out=out[m])
            if i != j:
                out[m] += b[:, left] * a[:, right]
        return out

    @property
    def draws_at_once(self) -> int:
        """How many draws fill the processor's cache, not more."""
        return int(np.clip(48_000 // max(self.lower.shape[2], 1), 4, 256))

    def place(self, outcomes: Outcomes) -> tuple[np.ndarray, Outcomes]:
        """Outcomes in the order and scale of the prepared groups: the form that ``forward`` takes."""
        cross = self._sorted(outcomes.cross)
        lower = self.lower[:, :, None, :]
        return np.ascontiguousarray(solve_lower(lower, cross)), outcomes

    # ------------------------------------------------------------------ forward

    def forward(self, factors: list[np.ndarray], cross: np.ndarray, outcomes: Outcomes) -> Pass:
        """W'V⁻¹W and log|V|.

        Args:
            factors: Λ of every level, innermost first; any T = ΛΛ' is meant. (D, k, k) each
            cross, outcomes: from ``place``.
        """
        inverse, logdet = self._inverse(factors[0])
        s_y = self._apply(inverse, cross)
        d, dt = s_y.shape[1], inverse.shape[1]
        parents = len(self.parent_order)
        aa = np.empty((len(self.columns), dt, parents))
        ay = np.empty((self.a, d, parents))
        for p, g, count in self.slabs:
            size = p.stop - p.start
            products = self._products[:, g] if self._products is not None else self._column_products(g)
            total: np.ndarray | float = 0.0
            for m in range(len(self.pairs)):
                total = total + np.matmul(
                    _stack(inverse[m, :, g], size, count), products[m].reshape(size, count, len(self.columns))
                )
            aa[:, :, p] = np.asarray(total).transpose(2, 1, 0)
            total = 0.0
            for i in range(self.k):
                shared = self.cross_a[i, g].reshape(size, count, self.a)
                total = total + np.matmul(_stack(s_y[i, :, g], size, count), shared)
            ay[:, :, p] = np.asarray(total).transpose(2, 1, 0)
        full = np.empty((self.a, self.a, dt, parents))
        left, right = self.upper
        full[left, right] = full[right, left] = aa[:, :, self.parent_place]
        c_aa = full + self.rest_aa
        c_ay = ay[:, :, self.parent_place] + outcomes.rest_a
        yy = outcomes.rest_y + np.einsum("idg,idg->d", s_y, np.broadcast_to(cross, s_y.shape))
        tape = []
        for number in range(1, len(self.levels)):
            if number > 1:
                c_aa = np.add.reduceat(c_aa, self.runs[number - 2], axis=3)
                c_ay = np.add.reduceat(c_ay, self.runs[number - 2], axis=2)
            c_aa, c_ay, less, log_level, entry = eliminate(c_aa, c_ay, self.levels[number].index, factors[number])
            logdet = logdet + log_level
            yy = yy - less
            tape.append(entry)
        return Pass(logdet, c_aa.sum(axis=3).transpose(2, 0, 1), c_ay.sum(axis=2).T, yy, inverse, cross, tape)

    def _inverse(self, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Entries of H⁻¹ (s, D, G) and log|H| (D,), both relative to the reference."""
        t = factor @ factor.transpose(0, 2, 1)
        rows = np.array([t[:, b, c] for b, c in self.pairs] + [np.ones(len(t))])
        s, groups = len(self.pairs), self.h_rows.shape[2]
        h = (rows.T @ self.h_rows.reshape(s + 1, s * groups)).reshape(len(t), s, groups)
        if self.k == 1:
            det = h[:, 0]
            out = (1.0 / det)[None]
        elif self.k == 2:
            h00, h01, h11 = h[:, 0], h[:, 1], h[:, 2]
            det = h00 * h11 - h01 * h01
            out = np.empty((3, len(t), groups))
            np.divide(h11, det, out=out[0])
            np.divide(h01, det, out=out[1])
            np.negative(out[1], out=out[1])
            np.divide(h00, det, out=out[2])
        else:
            full = np.empty((self.k, self.k, len(t), groups))
            for m, (i, j) in enumerate(self.pairs):
                full[i, j] = full[j, i] = h[:, m]
            lower = cholesky_lower(full)
            det = np.ones((len(t), groups))
            for i in range(self.k):
                det *= lower[i, i] ** 2
            half = solve_lower(lower, np.broadcast_to(np.eye(self.k)[:, :, None, None], full.shape))
            out = np.array([np.einsum("adg,adg->dg", half[:, i], half[:, j]) for i, j in self.pairs])
        return out, np.log(det).sum(axis=1) + self.log_reference

    def _apply(self, inverse: np.ndarray, right: np.ndarray) -> np.ndarray:
        """H⁻¹ times vectors of the groups. (k, D, G)"""
        place = {pair: m for m, pair in enumerate(self.pairs)}
        out = np.empty((self.k, *np.broadcast_shapes(inverse.shape[1:], right.shape[1:])))
        for i in range(self.k):
            np.multiply(inverse[place[0, i]], right[0], out=out[i])
            for j in range(1, self.k):
                out[i] += inverse[place[min(i, j), max(i, j)]] * right[j]
        return out

    # ------------------------------------------------------------------ reverse

    def reverse(self, run: Pass, factors: list[np.ndarray], v_a: np.ndarray, v_y: np.ndarray) -> list[np.ndarray]:
        """∂/∂T of log|V| + Σ_r v_r'(W'V⁻¹W)v_r at fixed v, innermost level first. (D, k, k) each

        Args:
            v_a, v_y: the vectors' entries at A and at the outcome. (D, r, a), (D, r)
        """
        v = np.ascontiguousarray(v_a.transpose(2, 1, 0))[:, :, :, None]  # (a, r, D, P)
        v_y = v_y.T  # (r, D)
        by_t: list[np.ndarray] = [np.zeros(0)] * len(self.levels)
        for number in range(len(self.levels) - 1, 0, -1):
            step = run.tape[number - 1]
            by_t[number], v, v_y = step_back(step, self.levels[number].index, factors[number], v, v_y)
            if number > 1:
                v = np.repeat(v, self.counts[number - 2], axis=3)
        by_t[0] = self._innermost(run, v, v_y)
        return by_t

    def _innermost(self, run: Pass, v: np.ndarray, v_y: np.ndarray) -> np.ndarray:
        parents, groups = len(self.parent_order), self.h_rows.shape[2]
        draws, a = v_y.shape[1], self.a
        v = np.broadcast_to(v, (a, v.shape[1], draws, v.shape[3]))
        # The first vector meets the outcome, the others are summed into a matrix that the shared products meet.
        first = np.broadcast_to(v[:, 0], (a, draws, parents))[:, :, self.parent_order]
        first = np.ascontiguousarray(first.transpose(2, 1, 0))
        left, right = self.upper
        others = np.einsum("crdp,crdp->dpc", v[left, 1:], v[right, 1:]) * self.column_times
        others = np.broadcast_to(others, (draws, parents, len(self.columns)))[:, self.parent_order].transpose(1, 0, 2)
        others = np.ascontiguousarray(others)
        t = np.empty((self.k, draws, groups))
        q = np.empty((len(self.pairs), draws, groups))
        for p, g, count in self.slabs:
            size = p.stop - p.start
            for i in range(self.k):
                shared = self.cross_a[i, g].reshape(size, count, a).transpose(0, 2, 1)
                np.matmul(first[p], shared, out=_stack(t[i, :, g], size, count))
            products = self._products[:, g] if self._products is not None else self._column_products(g)
            for m in range(len(self.pairs)):
                shared = products[m].reshape(size, count, len(self.columns)).transpose(0, 2, 1)
                np.matmul(others[p], shared, out=_stack(q[m, :, g], size, count))
        t += run.cross * v_y[0][:, None]
        place = {pair: m for m, pair in enumerate(self.pairs)}
        for m, (i, j) in enumerate(self.pairs):
            if i != j:
                q[m] *= 0.5
            q[m] += t[i] * t[j]
        # H⁻¹ − H⁻¹QH⁻¹, one column of QH⁻¹ at a time.
        weights = np.empty_like(q)
        for j in range(self.k):
            column = run.inverse[[place[min(i, j), max(i, j)] for i in range(self.k)]]
            q_h = self._apply(q, column)
            for i in range(j + 1):
                m = place[i, j]
                np.multiply(run.inverse[place[0, i]], q_h[0], out=weights[m])
                for n in range(1, self.k):
                    weights[m] += run.inverse[place[min(i, n), max(i, n)]] * q_h[n]
                np.subtract(run.inverse[m], weights[m], out=weights[m])
        flat = sum(self.times[m] * (weights[m] @ self.h_rows[: len(self.pairs), m].T) for m in range(len(self.pairs)))
        out = np.empty((draws, self.k, self.k))
        for n, (b, c) in enumerate(self.pairs):
            out[:, b, c] = out[:, c, b] = flat[:, n] / self.times[n]
        return out


def _stack(array: np.ndarray, size: int, count: int) -> np.ndarray:
    """(D, size·count) as a stack of matrices (size, D, count), without a copy."""
    return array.reshape(len(array), size, count).transpose(1, 0, 2)
