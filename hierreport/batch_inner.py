"""The innermost level of a design for many θ at once: sums over its groups become products of matrices.

With H = I + RTR' of an innermost group (``criterion.Factored``), F_AA = Σ G'H⁻¹G is linear in the entries of H⁻¹, so
that [θ × groups] times [groups × products of G] gives it for all θ. H is taken relative to its Cholesky factor at a
reference point, which keeps H⁻¹ near the identity: nothing cancels where the groups' variance is large.

Arrays carry the θ (or draw) before the group, (…, D, G). Everything accepts complex T.
"""

from __future__ import annotations

import numpy as np

from .criterion import Factored
from .smallmat import cholesky_lower, solve_lower

PAIR_BYTES = 400_000_000
# Parents are stacked with others that have at least this share of their groups.
FILL = 0.85


class Inner:
    """The innermost level, prepared once.

    Args:
        factored: from ``criterion.factor``.
        columns: how many of the leading working columns take part.
        reference: Λ near which T will be. (k, k)

    Attributes:
        pairs, times: entries (i, j) of a symmetric H⁻¹, i ≤ j, and how often each stands in it. (s)
        h_rows: what an entry of T adds to an entry of H; the last row for what does not depend on T. (s + 1, s, G)
        upper, column_times: the same as ``pairs`` for the columns' products. (2, c), (c,)
        slabs: parents, groups and groups per parent of each stack of equal matrices.
    """

    def __init__(self, factored: Factored, columns: int, reference: np.ndarray) -> None:
        self.a, self.k = columns, len(reference)
        self._sort_groups(np.diff(np.append(factored.starts, factored.root.shape[2])), factored.starts)
        self._prepare(self.sorted(factored.root), self.sorted(factored.cross[:, :columns]), reference)

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

    def sorted(self, array: np.ndarray) -> np.ndarray:
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
        self.place_of = {pair: m for m, pair in enumerate(self.pairs)}
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
        self.products = None
        if s * len(columns) * groups * 8 <= PAIR_BYTES:
            self.products = self.column_products(slice(0, groups))

    def column_products(self, part: slice) -> np.ndarray:
        """Products of G's columns that multiply an entry of H⁻¹. (s, groups of the part, pairs of columns)"""
        out = np.empty((len(self.pairs), part.stop - part.start, len(self.columns)))
        left, right = self.upper
        for m, (i, j) in enumerate(self.pairs):
            a, b = self.cross_a[i, part], self.cross_a[j, part]
            np.multiply(a[:, left], b[:, right], out=out[m])
            if i != j:
                out[m] += b[:, left] * a[:, right]
        return out

    def inverse(self, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Entries of H⁻¹ (s, D, G) and log|H| (D,), both relative to the reference."""
        t = factor @ factor.transpose(0, 2, 1)
        s, groups = len(self.pairs), self.h_rows.shape[2]
        rows = np.ones((len(t), s + 1), dtype=t.dtype)
        for m, (b, c) in enumerate(self.pairs):
            rows[:, m] = t[:, b, c]
        h = real_product(rows, self.h_rows.reshape(s + 1, s * groups)).reshape(len(t), s, groups)
        if self.k == 1:
            det = h[:, 0]
            out = (1.0 / det)[None]
        elif self.k == 2:
            h00, h01, h11 = h[:, 0], h[:, 1], h[:, 2]
            det = h00 * h11 - h01 * h01
            out = np.empty((3, len(t), groups), dtype=h.dtype)
            np.divide(h11, det, out=out[0])
            np.divide(h01, det, out=out[1])
            np.negative(out[1], out=out[1])
            np.divide(h00, det, out=out[2])
        else:
            full = np.empty((self.k, self.k, len(t), groups), dtype=h.dtype)
            for m, (i, j) in enumerate(self.pairs):
                full[i, j] = full[j, i] = h[:, m]
            lower = cholesky_lower(full)
            det = np.ones((len(t), groups), dtype=h.dtype)
            for i in range(self.k):
                det *= lower[i, i] ** 2
            half = solve_lower(lower, np.broadcast_to(np.eye(self.k)[:, :, None, None], full.shape))
            out = np.array([np.einsum("adg,adg->dg", half[:, i], half[:, j]) for i, j in self.pairs])
        return out, np.log(det).sum(axis=1) + self.log_reference

    def apply(self, inverse: np.ndarray, right: np.ndarray) -> np.ndarray:
        """H⁻¹ times vectors of the groups. (k, D, G)"""
        place = self.place_of
        shape = np.broadcast_shapes(inverse.shape[1:], right.shape[1:])
        out = np.empty((self.k, *shape), dtype=np.result_type(inverse, right))
        for i in range(self.k):
            np.multiply(inverse[place[0, i]], right[0], out=out[i])
            for j in range(1, self.k):
                out[i] += inverse[place[min(i, j), max(i, j)]] * right[j]
        return out

    def by_t(self, inverse: np.ndarray, q: np.ndarray) -> np.ndarray:
        """∂/∂T of log|H| + Σ tr(QH⁻¹) over the groups, from H⁻¹ and Q (s, D, G). (D, k, k)"""
        if self.k == 2:
            return self._from_weights(_by_h_of_two(inverse, q))
        place = self.place_of
        # H⁻¹ − H⁻¹QH⁻¹, one column of QH⁻¹ at a time.
        weights = np.empty_like(q)
        for j in range(self.k):
            column = inverse[[place[min(i, j), max(i, j)] for i in range(self.k)]]
            q_h = self.apply(q, column)
            for i in range(j + 1):
                m = place[i, j]
                np.multiply(inverse[place[0, i]], q_h[0], out=weights[m])
                for n in range(1, self.k):
                    weights[m] += inverse[place[min(i, n), max(i, n)]] * q_h[n]
                np.subtract(inverse[m], weights[m], out=weights[m])
        return self._from_weights(weights)

    def _from_weights(self, weights: np.ndarray) -> np.ndarray:
        """∂/∂T from ∂/∂H (s, D, G). (D, k, k)"""
        flat = sum(self.times[m] * (weights[m] @ self.h_rows[: len(self.pairs), m].T) for m in range(len(self.pairs)))
        out = np.empty((weights.shape[1], self.k, self.k), dtype=weights.dtype)
        for n, (b, c) in enumerate(self.pairs):
            out[:, b, c] = out[:, c, b] = flat[:, n] / self.times[n]
        return out


def _by_h_of_two(inverse: np.ndarray, q: np.ndarray) -> np.ndarray:
    """H⁻¹ − H⁻¹QH⁻¹ = (1 − tr QH⁻¹)H⁻¹ + adj(Q)/|H|, for two by two. (3, D, G)"""
    trace = np.einsum("mdg,mdg->dg", q, inverse) + q[1] * inverse[1]
    det = inverse[0] * inverse[2] - inverse[1] * inverse[1]
    out = inverse * (1.0 - trace)
    out[0] += det * q[2]
    out[1] -= det * q[1]
    out[2] += det * q[0]
    return out


def stacked(array: np.ndarray, size: int, count: int) -> np.ndarray:
    """(D, size·count) as a stack of matrices (size, D, count), without a copy."""
    return array.reshape(len(array), size, count).transpose(1, 0, 2)


def real_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right for a real right; a complex left by its parts, without a complex copy of right."""
    if not np.iscomplexobj(left):
        return np.matmul(left, right)
    real = np.matmul(left.real, right)
    out = np.empty(real.shape, dtype=complex)
    out.real = real
    out.imag = np.matmul(left.imag, right)
    return out
