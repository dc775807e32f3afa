"""What a crossed random intercept and nested levels share, before the parameters are known.

One factor, whose products Z'Z are small blocks, is eliminated first: the periods, or the innermost level. All other
random coefficients are columns of a dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .criterion import Factored, group_products, spanned
from .crossed_rows import DenseRows, Rows, SparseRows, count_pairs
from .moments import PeriodMoments
from .problem import Level, Problem
from .smallmat import solve_upper_transposed


@dataclass
class Design:
    """The factor e that is eliminated first, the dense rest d, and W.

    Attributes:
        first: number of e among ``problem.components``.
        dense: numbers of the components in d, in the order of their columns, each coefficient by coefficient.
        offsets: first column of each of them, and the number of columns.
        root: R with R'R = Z_e'Z_e per block, zero rows where it is deficient. (k, k, G)
        rows: R⁻ᵀZ_e'Z_d.
        cross: R⁻ᵀZ_e'W. (k, q, G)
        dd, dw, ww: products of [Z_d W] less those of ``rows`` and ``cross``. (n, n), (n, q), (q, q)
        last: the last factors and what was computed at them, shared by ML and REML.
    """

    first: int
    dense: tuple[int, ...]
    offsets: np.ndarray
    root: np.ndarray
    rows: Rows
    cross: np.ndarray
    dd: np.ndarray
    dw: np.ndarray
    ww: np.ndarray
    last: tuple[bytes, Any] = field(default=(b"", None), repr=False)


@dataclass(frozen=True)
class Cells:
    """The period sums in the working columns: which nested group each cell belongs to is asked of ``owner``.

    group, period: innermost group of the moments and period of each cell. values: Σ w W. (q, cells)
    """

    group: np.ndarray
    period: np.ndarray
    values: np.ndarray
    weight: np.ndarray
    periods: int

    def owner(self, level: Level) -> np.ndarray:
        """Group of a level that each cell belongs to."""
        return np.searchsorted(level.starts, self.group, side="right") - 1


def cells_of(problem: Problem, periods: PeriodMoments) -> Cells:
    """The period sums of a problem."""
    count = len(periods.periods)
    weight = np.bincount(periods.period, weights=periods.cell[0], minlength=count)
    return Cells(periods.group, periods.period, problem.basis.transform.T @ periods.cell, weight, count)


def periods_first(problem: Problem, cells: Cells) -> Design:
    """The design in which the periods are eliminated first and all nested coefficients are dense."""
    dense = tuple(range(len(problem.levels)))
    gram, with_w, offsets = _nested_products(problem, dense)
    columns = np.zeros((cells.periods, len(gram)))
    for number in dense:
        level = problem.levels[number]
        place = offsets[number] + cells.owner(level)
        for a, column in enumerate(level.index):
            flat = cells.period * len(gram) + place + a * level.groups
            columns += np.bincount(flat, cells.values[column], columns.size).reshape(columns.shape)
    by_period = _sum_by(cells.period, cells.values, cells.periods)
    root = np.sqrt(cells.weight)
    rows = DenseRows.classed((columns / root[:, None])[None], cells.weight)
    cross = (by_period / root)[None]
    return _less(
        problem, problem.components[-1], len(dense), dense, offsets, root[None, None], rows, cross, gram, with_w
    )


def innermost_first(problem: Problem, cells: Cells, factored: Factored, sparse: bool) -> Design:
    """The design in which the innermost level is eliminated first; upper levels and periods are dense."""
    inner, upper = problem.levels[0], tuple(range(1, len(problem.levels)))
    gram, with_w, offsets = _nested_products(problem, upper, extra=cells.periods)
    n, begin = len(gram), int(offsets[-2])
    period = np.arange(begin, n)
    gram[period, period] = cells.weight
    with_w[period] = _sum_by(cells.period, cells.values, cells.periods).T
    for number in upper:
        level = problem.levels[number]
        place = offsets[number - 1] + cells.owner(level)
        for a, column in enumerate(level.index):
            flat = (place + a * level.groups) * cells.periods + cells.period
            block = np.bincount(flat, cells.values[column], begin * cells.periods).reshape(begin, cells.periods)
            gram[:begin, begin:] += block
            gram[begin:, :begin] += block.T
    group, column, values = _inner_cells(problem, cells, inner, upper, offsets)
    solved = solve_upper_transposed(factored.root[:, :, group], values[:, None, :])[:, 0]
    rows: Rows
    if sparse:
        rows = SparseRows(solved, group, column, (inner.groups, n))
    else:
        full = np.zeros((inner.size, inner.groups, n))
        full[:, group, column] = solved
        rows = DenseRows.classed(full, factored.root[0, 0])
    dense = (*upper, len(problem.levels))
    return _less(problem, inner, 0, dense, offsets, factored.root, rows, factored.cross, gram, with_w)


def _less(problem, eliminated, first, dense, offsets, root, rows, cross, gram, with_w) -> Design:
    """Take the eliminated factor's part out of the products; what it spans is left as zero, not as rounding."""
    dd = gram - rows.gram()
    dw = with_w - rows.transposed_times(cross)
    flat = cross.transpose(1, 0, 2).reshape(cross.shape[1], -1)
    ww = problem.total - flat @ flat.T
    zero = spanned(problem, eliminated)
    ww[zero] = 0.0
    ww[:, zero] = 0.0
    dw[:, zero] = 0.0
    if first == 0:
        for number, offset in zip(dense[:-1], offsets, strict=False):
            level = problem.levels[number]
            for a in np.flatnonzero(np.isin(level.index, zero)):
                part = slice(offset + a * level.groups, offset + (a + 1) * level.groups)
                dd[part] = 0.0
                dd[:, part] = 0.0
                dw[part] = 0.0
    return Design(first, dense, offsets, root, rows, cross, dd, dw, ww)


def _nested_products(problem: Problem, numbers: tuple[int, ...], extra: int = 0):
    """Z'Z and Z'W of some nested levels, innermost first, with room for further columns. (n, n), (n, q), offsets"""
    levels = [problem.levels[number] for number in numbers]
    sizes = [level.size * level.groups for level in levels] + ([extra] if extra else [])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    gram, with_w = np.zeros((offsets[-1], offsets[-1])), np.zeros((offsets[-1], len(problem.total)))
    for i, level in enumerate(levels):
        rows = group_products(problem, level)
        own = offsets[i] + np.arange(level.size)[:, None] * level.groups + np.arange(level.groups)
        with_w[own] = rows.transpose(0, 2, 1)
        for j in range(i, len(levels)):
            other = levels[j]
            ancestor = np.searchsorted(other.starts, level.starts, side="right") - 1
            for b, column in enumerate(other.index):
                place = offsets[j] + b * other.groups + ancestor
                gram[own, place] = rows[:, column]
                gram[place, own] = rows[:, column]
    return gram, with_w, offsets


def _inner_cells(problem, cells: Cells, inner: Level, upper: tuple[int, ...], offsets: np.ndarray):
    """Z_e'Z_d of the innermost level by its nonzero cells: group, column, values (k, cells), sorted by group."""
    rows = group_products(problem, inner)
    every = np.arange(inner.groups)
    group, column, values = [], [], []
    for number in upper:
        level = problem.levels[number]
        ancestor = np.searchsorted(level.starts, inner.starts, side="right") - 1
        for b, index in enumerate(level.index):
            group.append(every)
            column.append(offsets[number - 1] + b * level.groups + ancestor)
            values.append(rows[:, index])
    flat = cells.owner(inner) * cells.periods + cells.period
    found, place = np.unique(flat, return_inverse=True)
    group.append(found // cells.periods)
    column.append(offsets[-2] + found % cells.periods)
    values.append(np.stack([np.bincount(place, cells.values[index], len(found)) for index in inner.index]))
    owner = np.concatenate(group)
    order = np.argsort(owner, kind="stable")
    return owner[order], np.concatenate(column)[order], np.concatenate(values, axis=1)[:, order]


def _sum_by(key: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    return np.stack([np.bincount(key, row, size) for row in values])


def sparse_pairs(problem: Problem, cells: Cells) -> int:
    """Pairs of nonzero columns within the innermost groups: what the sparse form of ``innermost_first`` costs."""
    inner = problem.levels[0]
    found = np.unique(cells.owner(inner) * cells.periods + cells.period) // cells.periods
    above = sum(level.size for level in problem.levels[1:])
    return count_pairs(np.concatenate([found, np.repeat(np.arange(inner.groups), above)]), inner.groups)
