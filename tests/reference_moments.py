"""Moments of the reference cases by numpy, without SQL: what the engine's tests start from."""

from __future__ import annotations

from functools import cache

import numpy as np
import reference_cases as references

from hierreport.moments import LagMoments, Moments, PanelMoments


@cache
def panel(name: str, lags: bool = False) -> PanelMoments:
    """Moments of all columns that a case's models use, by its innermost groups."""
    case = references.case(name)
    columns: list[str] = []
    for model in case.spec["models"]:
        columns += case.fixed_columns(model["id"])
        columns += [t for part in model["random"] for t in part["terms"] if t != "1"]
    names = (*dict.fromkeys(columns), case.spec["outcome"])
    w = case.matrix(names)
    shift, scale = w.mean(axis=0), w.std(axis=0)
    shift[0], scale[0] = 0.0, 1.0
    scale[scale == 0] = 1.0
    w = (w - shift) / scale
    groups = case.spec["groups"]
    ids = [np.array(case.columns[g])[case.used] for g in groups] or [np.full(len(w), "all")]
    time = case.matrix((case.spec["time"],))[:, 0] if lags else np.arange(len(w), dtype=float)
    order = np.lexsort((time, *reversed(ids)))
    w, ids, time = w[order], [i[order] for i in ids], time[order]
    change = np.zeros(len(w), dtype=bool)
    change[0] = True
    for i in ids:
        change[1:] |= i[1:] != i[:-1]
    starts = np.flatnonzero(change)
    products = np.add.reduceat(w[:, :, None] * w[:, None, :], starts, axis=0).transpose(1, 2, 0)
    labels = tuple(i[starts] for i in ids)
    n = np.diff(np.append(starts, len(w)))
    levels = tuple("/".join(groups[: d + 1]) for d in range(len(groups))) or ("all",)
    moments = Moments(names, shift, scale, levels, labels, n, products, np.arange(len(names)), np.empty((0, 0, 0)))
    parents = moments.starts(len(levels) - 2) if len(levels) > 1 else np.array([0])
    moments = Moments(
        names,
        shift,
        scale,
        levels,
        labels,
        n,
        products,
        np.arange(len(names)),
        np.add.reduceat(products, parents, axis=2),
        0.0,
        products.sum(axis=2),
    )
    return PanelMoments(moments, _lags(w, time, starts) if lags else None)


def _lags(w: np.ndarray, time: np.ndarray, starts: np.ndarray) -> LagMoments:
    owner = np.searchsorted(starts, np.arange(len(w)), side="right") - 1
    step = np.flatnonzero(np.arange(len(w)) != starts[owner])
    gap, group = time[step] - time[step - 1], owner[step]
    keys, where = np.unique(np.column_stack([group, gap]), axis=0, return_inverse=True)
    now = w[step][:, :, None] * w[step][:, None, :]
    cross = w[step][:, :, None] * w[step - 1][:, None, :]
    before = w[step - 1][:, :, None] * w[step - 1][:, None, :]

    def total(parts: np.ndarray) -> np.ndarray:
        out = np.zeros((len(keys), *parts.shape[1:]))
        np.add.at(out, where.ravel(), parts)
        return out.transpose(1, 2, 0)

    first = w[starts][:, :, None] * w[starts][:, None, :]
    return LagMoments(
        keys[:, 0].astype(int),
        keys[:, 1],
        np.bincount(where.ravel()),
        total(now),
        total(cross + cross.transpose(0, 2, 1)),
        total(before),
        first.transpose(1, 2, 0),
    )
