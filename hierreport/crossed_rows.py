"""Rows of products between the blocks of an eliminated factor and dense columns: stored dense or by cells.

Both kinds hold x, with x_g (k, columns) the rows of block g, and answer for maps B_g (k, k) applied to them from the
left. Symmetric pairs (a, b) of the k coefficients stand in the order of ``pairs(k)``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

# As many different scales (numbers of rows per period, say) have their sums of products stored, within so many bytes.
CLASSES, CLASS_BYTES = 8, 2.5e8


def pairs(k: int) -> list[tuple[int, int]]:
    """Index pairs of a symmetric (k, k) matrix, the diagonal's included."""
    return [(a, b) for a in range(k) for b in range(a, k)]


class Rows(Protocol):
    """What both kinds of storage offer; G blocks of k rows, n columns."""

    def mapped(self, maps: np.ndarray) -> Rows:
        """The rows B_g x_g; maps (k, k, G)."""
        ...

    def grams(self) -> list[np.ndarray]:
        """½ Σ_g (x_ga x_gb' + x_gb x_ga') of every pair. (n, n) each"""
        ...

    def gram(self) -> np.ndarray:
        """Σ_g x_g' x_g. (n, n)"""
        ...

    def times(self, right: np.ndarray) -> np.ndarray:
        """x_g right; right (n, m). (k, m, G)"""
        ...

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Σ_g x_g' right_g; right (k, m, G). (n, m)"""
        ...

    def quadratic(self, matrix: np.ndarray) -> np.ndarray:
        """x_g matrix x_g' of every block, for a symmetric matrix (n, n). (k, k, G)"""
        ...

    def quadratic_sum(self, matrix: np.ndarray) -> np.ndarray:
        """Sum of ``quadratic`` over the blocks. (k, k)"""
        ...


class DenseRows:
    """All columns of every block.

    Args:
        values: (k, G, n).
        scaled: for k = 1, what these rows are a multiple of: (sums of products per class of blocks, a block of each
            class, the multiple per block); blocks of a class are always scaled alike.
    """

    def __init__(self, values: np.ndarray, scaled: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None) -> None:
        self.values, self.scaled = values, scaled

    @classmethod
    def classed(cls, values: np.ndarray, kinds: np.ndarray) -> DenseRows:
        """Rows of one coefficient whose maps will depend on the block's kind alone."""
        found, first, kind = np.unique(kinds, return_index=True, return_inverse=True)
        n = values.shape[2]
        if len(values) != 1 or len(found) > CLASSES or 8.0 * n * n * len(found) > CLASS_BYTES:
            return cls(values)
        sums = np.stack([values[0, kind == c].T @ values[0, kind == c] for c in range(len(found))])
        return cls(values, (sums, first, np.ones(len(kinds))))

    def mapped(self, maps):
        if len(self.values) == 1:
            scaled = None if self.scaled is None else (*self.scaled[:2], self.scaled[2] * maps[0, 0])
            return DenseRows(self.values * maps[0, 0][None, :, None], scaled)
        out = np.empty_like(self.values)
        for a, row in enumerate(out):
            np.multiply(self.values[0], maps[a, 0][:, None], out=row)
            for b in range(1, len(out)):
                row += self.values[b] * maps[a, b][:, None]
        return DenseRows(out)

    def gram(self):
        if self.scaled is not None:
            return np.tensordot(self.scaled[2][self.scaled[1]] ** 2, self.scaled[0], axes=1)
        flat = self.values.reshape(self.values.shape[0] * self.values.shape[1], self.values.shape[2])
        return flat.T @ flat

    def grams(self):
        if self.scaled is not None:
            return [self.gram()]
        out = []
        for a, b in pairs(len(self.values)):
            one = self.values[a].T @ self.values[b]
            out.append(one if a == b else 0.5 * (one + one.T))
        return out

    def times(self, right):
        return (self.values @ right).transpose(0, 2, 1)

    def transposed_times(self, right):
        k, m, groups = right.shape
        return self.values.reshape(k * groups, self.values.shape[2]).T @ right.transpose(0, 2, 1).reshape(k * groups, m)

    def quadratic(self, matrix):
        half = self.values @ matrix
        out = np.empty((len(half), *half.shape[:2]))
        for a, b in pairs(len(half)):
            out[a, b] = out[b, a] = np.einsum("gn,gn->g", half[a], self.values[b])
        return out

    def quadratic_sum(self, matrix):
        if self.scaled is not None:
            return np.array([[np.vdot(self.gram(), matrix)]])
        half = self.values @ matrix
        return np.array([[np.vdot(one, two) for two in self.values] for one in half])


class SparseRows:
    """The nonzero columns of every block alone.

    Args:
        values: (k, cells).
        group, column: of each cell, sorted by group; a column occurs once in a group. (cells,)
        shape: number of blocks, number of columns.
        among: pairs of cells of the same block, the first not after the second, each once; made if not given.
    """

    def __init__(self, values, group, column, shape, among=None) -> None:
        self.values, self.group, self.column, self.shape = values, group, column, shape
        self.among = _pairs_within(group) if among is None else among

    def mapped(self, maps):
        values = np.einsum("abc,bc->ac", maps[:, :, self.group], self.values)
        return SparseRows(values, self.group, self.column, self.shape, self.among)

    def _sum(self, a: int, b: int) -> np.ndarray:
        """½ Σ_g (x_ga x_gb' + x_gb x_ga')."""
        n = self.shape[1]
        i, j, place, share = self._places()
        value = self.values[a][i] * self.values[b][j]
        if a != b:
            value = 0.5 * (value + self.values[b][i] * self.values[a][j])
        half = np.bincount(place, value * share, n * n).reshape(n, n)
        return half + half.T

    def _places(self):
        i, j = self.among
        return i, j, self.column[i] * self.shape[1] + self.column[j], np.where(i == j, 0.5, 1.0)

    def grams(self):
        return [self._sum(a, b) for a, b in pairs(len(self.values))]

    def gram(self):
        n = self.shape[1]
        i, j, place, share = self._places()
        value = sum(row[i] * row[j] for row in self.values)
        half = np.bincount(place, value * share, n * n).reshape(n, n)
        return half + half.T

    def times(self, right):
        k, m = len(self.values), right.shape[1]
        out = np.empty((k, m, self.shape[0]))
        for column in range(m):
            picked = right[self.column, column]
            for a in range(k):
                out[a, column] = np.bincount(self.group, self.values[a] * picked, self.shape[0])
        return out

    def transposed_times(self, right):
        k, m, _ = right.shape
        out = np.zeros((self.shape[1], m))
        for column in range(m):
            value = sum(self.values[a] * right[a, column][self.group] for a in range(k))
            out[:, column] = np.bincount(self.column, value, self.shape[1])
        return out

    def quadratic(self, matrix):
        k, groups = len(self.values), self.shape[0]
        i, j, place, share = self._places()
        weight = matrix.ravel()[place] * share
        owner = self.group[i]
        out = np.empty((k, k, groups))
        for a, b in pairs(k):
            value = self.values[a][i] * self.values[b][j] + self.values[b][i] * self.values[a][j]
            out[a, b] = out[b, a] = np.bincount(owner, value * weight, groups)
        return out

    def quadratic_sum(self, matrix):
        i, j, place, share = self._places()
        weight = matrix.ravel()[place] * share
        half = (self.values[:, i] * weight) @ self.values[:, j].T
        return half + half.T


def count_pairs(group: np.ndarray, groups: int) -> int:
    """Number of pairs that ``SparseRows`` would hold."""
    sizes = np.bincount(group, minlength=groups)
    return int((sizes * (sizes + 1) // 2).sum())


def _pairs_within(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cells = len(group)
    end = np.searchsorted(group, group, side="right")
    later = end - np.arange(cells)
    i = np.repeat(np.arange(cells), later)
    offset = np.cumsum(later) - later
    return i, i + np.arange(len(i)) - offset[i]
