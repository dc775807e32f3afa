"""Group moments of the reference cases, summed by NumPy straight from the CSV rows (no package code involved)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import reference_cases as references

from hierreport.moments import LagMoments, Moments, PeriodMoments, StratumMoments


@dataclass(frozen=True)
class Panel:
    """Rows of a case in the order of its groups, and their moments.

    Attributes:
        w: raw columns, ``(Intercept)`` first, the outcome last. (n, q)
        keys: joined group ids of every row, by level path.
        code: index of each row's innermost group. (n,)
        time: the time column, where the case has one.
    """

    moments: Moments
    w: np.ndarray
    keys: dict[str, np.ndarray]
    code: np.ndarray
    time: np.ndarray | None

    def columns(self, names: tuple[str, ...]) -> np.ndarray:
        return self.w[:, [self.moments.columns.index(name) for name in names]]

    @property
    def y(self) -> np.ndarray:
        return self.w[:, -1]


def reduce_rows(
    w: np.ndarray,
    names: tuple[str, ...],
    ids: list[np.ndarray],
    levels: tuple[str, ...],
    weights: np.ndarray | None = None,
) -> Moments:
    """Moments of rows that are sorted by their groups."""
    n = len(w)
    shift, scale = w.mean(axis=0) * 1.001, w.std(axis=0)
    shift[0], scale[0], scale[scale == 0] = 0.0, 1.0, 1.0
    stored = (w - shift) / scale
    stored[:, 0] = 1.0
    root = np.ones(n) if weights is None else np.sqrt(weights)
    stored = stored * root[:, None]
    starts = run_starts(ids, n)
    products = np.add.reduceat(stored[:, :, None] * stored[:, None, :], starts, axis=0).transpose(1, 2, 0).copy()
    labels = tuple(i[starts].astype(object) for i in ids)
    parents = run_starts(list(labels[:-1]), len(starts)) if len(labels) > 1 else np.array([0])
    unweighted = None if weights is None else (stored / root[:, None]).T @ (stored / root[:, None])
    return Moments(
        names,
        shift,
        scale,
        levels,
        labels,
        np.diff(np.append(starts, n)),
        products,
        np.arange(len(names)),
        np.add.reduceat(products, parents, axis=2),
        0.0 if weights is None else float(np.log(weights).sum()),
        unweighted,
    )


def run_starts(ids: list[np.ndarray], n: int) -> np.ndarray:
    change = np.zeros(n, dtype=bool)
    change[:1] = True
    for i in ids:
        change[1:] |= i[1:] != i[:-1]
    return np.flatnonzero(change)


@cache
def panel(name: str) -> Panel:
    """A case's panel: all columns that any of its models uses."""
    case = references.case(name)
    names = ["(Intercept)"]
    for model in case.spec["models"]:
        names += case.fixed_columns(model["id"])
        names += [t for part in model["random"] for t in part["terms"] if t != "1"]
    names = list(dict.fromkeys(names))
    w = np.column_stack([case.matrix(tuple(names)), case.matrix((case.spec["outcome"],))])
    groups = case.spec["groups"]
    ids = [np.array(case.columns[g])[case.used] for g in groups]
    order = np.lexsort(ids[::-1]) if ids else np.arange(len(w))
    w, ids = w[order], [i[order] for i in ids]
    levels = tuple("/".join(groups[: d + 1]) for d in range(len(groups)))
    moments = reduce_rows(w, (*names, case.spec["outcome"]), ids, levels)
    starts = run_starts(ids, len(w))
    code = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(w))))
    time = None
    if case.spec["time"]:
        time = np.array(case.columns[case.spec["time"]])[case.used][order].astype(float)
    keys = {level: case.keys(level)[order] for level in levels}
    return Panel(moments, w, keys, code, time)


def stored_rows(p: Panel) -> np.ndarray:
    """The rows in the moments' own location and scale. (n, q)"""
    return (p.w - p.moments.shift) / p.moments.scale


def cells(p: Panel) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Periods, and the rows' period; (group, period) cells in order, and each row's cell."""
    periods, period = np.unique(p.time, return_inverse=True)
    pairs, cell = np.unique(np.stack([p.code, period]), axis=1, return_inverse=True)
    return periods, period, pairs, cell.ravel()


def period_moments(p: Panel) -> PeriodMoments:
    """Sums per period and per (group, period)."""
    w = stored_rows(p)
    periods, period, pairs, cell = cells(p)
    total, sums = np.zeros((w.shape[1], len(periods))), np.zeros((w.shape[1], pairs.shape[1]))
    np.add.at(total.T, period, w)
    np.add.at(sums.T, cell, w)
    labels = np.array([f"{t:g}" for t in periods], dtype=object)
    return PeriodMoments(labels, total, np.bincount(period), pairs[0], pairs[1], sums, np.bincount(cell), periods)


def stratum_moments(p: Panel) -> StratumMoments:
    """Full products per (group, period)."""
    w = stored_rows(p)
    periods, _, pairs, cell = cells(p)
    products = np.zeros((pairs.shape[1], w.shape[1], w.shape[1]))
    np.add.at(products, cell, w[:, :, None] * w[:, None, :])
    labels = np.array([f"{t:g}" for t in periods], dtype=object)
    return StratumMoments(labels, pairs[0], pairs[1], np.bincount(cell), products.transpose(1, 2, 0).copy())


def lag_moments(p: Panel) -> LagMoments:
    """Lagged products of rows taken in time order within their innermost group."""
    order = np.lexsort([p.time, p.code])
    w, code, time = stored_rows(p)[order], p.code[order], p.time[order]
    first = np.flatnonzero(np.diff(code, prepend=-1))
    step = np.flatnonzero(np.diff(code) == 0) + 1
    gap = time[step] - time[step - 1]
    pairs, entry = np.unique(np.stack([code[step], gap]), axis=1, return_inverse=True)
    entry, size, q = entry.ravel(), pairs.shape[1], w.shape[1]
    now, cross, before = np.zeros((3, size, q, q))
    late, early = w[step], w[step - 1]
    np.add.at(now, entry, late[:, :, None] * late[:, None, :])
    np.add.at(cross, entry, late[:, :, None] * early[:, None, :] + early[:, :, None] * late[:, None, :])
    np.add.at(before, entry, early[:, :, None] * early[:, None, :])
    stacks = [m.transpose(1, 2, 0).copy() for m in (now, cross, before)]
    start = (w[first][:, :, None] * w[first][:, None, :]).transpose(1, 2, 0).copy()
    return LagMoments(pairs[0].astype(int), pairs[1], np.bincount(entry), *stacks, start)
