"""Moments of some of a panel's groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .clusters import check_products
from .moments import LagMoments, Moments, PanelMoments, PeriodMoments, StratumMoments


class KeptMoments:
    """The moments of the groups that stay, made when something first asks for them (a refit does not)."""

    def __init__(self, moments: Moments, keep: np.ndarray) -> None:
        self._source, self._keep = moments, keep

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        made = self.__dict__.get("_made")
        if made is None:
            made = self.__dict__["_made"] = kept_moments(self._source, self._keep)
        return getattr(made, name)


def kept_moments(moments: Moments, keep: np.ndarray) -> Moments:
    """Moments of some of the innermost groups.

    The sum of log weights, known for the panel only, is shared out by rows.

    Args:
        keep: True for the groups that stay. (G,)

    Raises:
        ModelError: a wide panel of which a parent would stay in part.
    """
    depth = len(moments.levels) - 2
    parents = moments.starts(depth) if depth >= 0 else np.array([0])
    kept_of_parent = np.add.reduceat(keep.astype(int), parents)
    sizes = np.diff(np.append(parents, len(keep)))
    whole = kept_of_parent == sizes
    if moments.products.shape[0] != moments.products.shape[1]:
        if not np.all(whole | (kept_of_parent == 0)):
            check_products(moments, np.flatnonzero(keep))
        parent_products = moments.parent_products[:, :, whole]
    else:
        alive = kept_of_parent > 0
        parent_products = moments.parent_products[:, :, alive].copy()
        for p in np.flatnonzero(alive & ~whole):
            run = slice(parents[p], parents[p] + sizes[p])
            place = int(np.count_nonzero(alive[:p]))
            parent_products[:, :, place] = moments.products[:, :, run][:, :, keep[run]].sum(axis=2)
    n = moments.n[keep]
    share = float(n.sum()) / moments.n_obs
    return replace(
        moments,
        labels=tuple(ids[keep] for ids in moments.labels),
        n=n,
        products=moments.products[:, :, keep],
        parent_products=parent_products,
        sum_log_weight=moments.sum_log_weight * share,
        unweighted=None if moments.unweighted is None else moments.unweighted * share,
    )


def kept_panel(panel: PanelMoments, keep: np.ndarray) -> PanelMoments:
    """All moments of some of the innermost groups, for models that ``without_groups`` does not cover.

    Periods and strata that lose all their rows go too.

    Args:
        keep: True for the groups that stay. (G,)
    """
    place = np.cumsum(keep) - 1
    strata = {}
    for name, stratum in panel.strata.items():
        some = keep[stratum.group]
        alive, index = np.unique(stratum.stratum[some], return_inverse=True)
        number = np.full(len(stratum.strata), -1)
        number[alive] = np.arange(len(alive))
        lags = None if stratum.lags is None else kept_lags(stratum.lags, keep, number)
        cells = None if stratum.cells is None else kept_periods(stratum.cells, keep, number)
        strata[name] = StratumMoments(
            stratum.strata[alive],
            place[stratum.group[some]],
            index,
            stratum.n[some],
            stratum.products[..., some],
            lags,
            cells,
        )
    lags = None if panel.lags is None else kept_lags(panel.lags, keep)
    periods = None if panel.periods is None else kept_periods(panel.periods, keep)
    return PanelMoments(kept_moments(panel.moments, keep), lags, periods, strata)


def kept_lags(lags: LagMoments, keep: np.ndarray, number: np.ndarray | None = None) -> LagMoments:
    """Lagged moments of some of the innermost groups; ``number``: what strata are called among those that stay."""
    some = keep[lags.group]

    def called(strata: np.ndarray | None, chosen: np.ndarray) -> np.ndarray | None:
        return None if strata is None or number is None else number[strata[chosen]]

    return replace(
        lags,
        group=(np.cumsum(keep) - 1)[lags.group[some]],
        gap=lags.gap[some],
        count=lags.count[some],
        now=lags.now[..., some],
        cross=lags.cross[..., some],
        before=lags.before[..., some],
        first=lags.first[..., keep],
        stratum=called(lags.stratum, some),
        stratum_before=called(lags.stratum_before, some),
        stratum_first=called(lags.stratum_first, keep),
    )


def kept_periods(periods: PeriodMoments, keep: np.ndarray, number: np.ndarray | None = None) -> PeriodMoments:
    """Sums by period of some of the innermost groups, the periods without rows left out; ``number``: as above."""
    some = keep[periods.group]
    alive, index = np.unique(periods.period[some], return_inverse=True)
    cell, cell_count = periods.cell[:, some], periods.cell_count[some]
    return replace(
        periods,
        periods=periods.periods[alive],
        total=np.stack([np.bincount(index, weights=row) for row in cell]),
        count=np.bincount(index, weights=cell_count).astype(int),
        group=(np.cumsum(keep) - 1)[periods.group[some]],
        period=index,
        cell=cell,
        cell_count=cell_count,
        times=None if periods.times is None else periods.times[alive],
        stratum=None if periods.stratum is None or number is None else number[periods.stratum[some]],
    )
