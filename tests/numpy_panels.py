"""Moments computed from rows by NumPy alone, for tests of the engine that must not rest on the SQL path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hierreport.moments import LagMoments, Moments, PanelMoments, PeriodMoments, StratumMoments


def panel_moments(
    columns: dict[str, np.ndarray],
    outcome: np.ndarray,
    groups: dict[str, np.ndarray],
    *,
    time: np.ndarray | None = None,
    strata: dict[str, np.ndarray] | None = None,
    weights: np.ndarray | None = None,
    shift: bool = True,
) -> PanelMoments:
    """Sums of products by group.

    Args:
        columns: numeric columns without the constant.
        outcome: the outcome, named ``y``.
        groups: ids per row, outermost level first.
        time: numeric time per row, for lagged and period sums.
        strata: further keys for ``StratumMoments``.
        weights: prior weights.
        shift: centre and scale the stored columns (roughly, as the SQL path may).
    """
    ids = [np.asarray(g).astype(str) for g in groups.values()]
    keys = list(zip(*ids, strict=True))
    when = np.zeros(len(outcome)) if time is None else np.asarray(time, float)
    order = sorted(range(len(outcome)), key=lambda i: (*keys[i], when[i]))
    names = ("(Intercept)", *columns, "y")
    raw = np.column_stack([np.ones(len(outcome)), *columns.values(), outcome])[order]
    location, scale = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
    if shift:
        location[1:], scale[1:] = raw[:, 1:].mean(axis=0) * 1.001, raw[:, 1:].std(axis=0)
        scale[scale == 0] = 1.0
    w = (raw - location) / scale
    w[:, 0] = 1.0
    root = np.ones(len(w)) if weights is None else np.sqrt(np.asarray(weights, float)[order])
    u = w * root[:, None]
    ids = [g[order] for g in ids]
    when = when[order]
    starts = _changes(ids)
    q = w.shape[1]
    products = np.add.reduceat(u[:, :, None] * u[:, None, :], starts, axis=0).transpose(1, 2, 0).copy()
    labels = tuple(g[starts] for g in ids)
    parents = _changes(labels[:-1]) if len(labels) > 1 else np.array([0])
    paths = tuple("/".join(list(groups)[: i + 1]) for i in range(len(groups)))
    moments = Moments(
        names, location, scale, paths, labels, np.diff(np.append(starts, len(w))), products, np.arange(q),
        np.add.reduceat(products, parents, axis=2),
        0.0 if weights is None else float(2 * np.log(root).sum()), w.T @ w,
    )  # fmt: skip
    group = np.searchsorted(starts, np.arange(len(w)), side="right") - 1
    lags = periods = None
    if time is not None:
        lags = _lags(u, when, starts, group)
        labels_t = np.unique(when)
        position = np.searchsorted(labels_t, when)
        weighted = u * root[:, None]
        periods = PeriodMoments(
            labels_t,
            np.stack([weighted[position == t].sum(axis=0) for t in range(len(labels_t))], axis=1),
            np.bincount(position), group, position, weighted.T.copy(), np.ones(len(w)),
        )  # fmt: skip
    by_stratum = {name: _strata(u, np.asarray(key).astype(str)[order], group) for name, key in (strata or {}).items()}
    return PanelMoments(moments, lags, periods, by_stratum)


def _changes(ids: Sequence[np.ndarray]) -> np.ndarray:
    change = np.zeros(len(ids[0]), dtype=bool)
    change[0] = True
    for column in ids:
        change[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(change)


def _lags(u: np.ndarray, when: np.ndarray, starts: np.ndarray, group: np.ndarray) -> LagMoments:
    q = u.shape[1]
    entries: dict[tuple[int, float], list] = {}
    for row in range(1, len(u)):
        if group[row] != group[row - 1]:
            continue
        entry = entries.setdefault((int(group[row]), when[row] - when[row - 1]), [0, *np.zeros((3, q, q))])
        cross = np.outer(u[row], u[row - 1])
        entry[0] += 1
        entry[1] = entry[1] + np.outer(u[row], u[row])
        entry[2] = entry[2] + cross + cross.T
        entry[3] = entry[3] + np.outer(u[row - 1], u[row - 1])
    keys = sorted(entries)
    stacks = [np.stack([entries[k][i] for k in keys], axis=-1) if keys else np.zeros((q, q, 0)) for i in (1, 2, 3)]
    first = np.stack([np.outer(u[s], u[s]) for s in starts], axis=-1)
    return LagMoments(
        np.array([k[0] for k in keys], dtype=int), np.array([k[1] for k in keys]),
        np.array([entries[k][0] for k in keys]), *stacks, first,
    )  # fmt: skip


def _strata(u: np.ndarray, key: np.ndarray, group: np.ndarray) -> StratumMoments:
    names = np.unique(key)
    cells: dict[tuple[int, int], list[int]] = {}
    for row, (g, k) in enumerate(zip(group, np.searchsorted(names, key), strict=True)):
        cells.setdefault((int(g), int(k)), []).append(row)
    keys = sorted(cells)
    return StratumMoments(
        names, np.array([k[0] for k in keys]), np.array([k[1] for k in keys]),
        np.array([len(cells[k]) for k in keys]),
        np.stack([u[cells[k]].T @ u[cells[k]] for k in keys], axis=-1),
    )  # fmt: skip
