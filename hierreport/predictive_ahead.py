"""How well a model predicts the next period: log densities of the last periods, each from all before it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .criterion import Criterion, factor
from .densities import log_density, plain_parameters
from .errors import ModelError
from .mixed import error_structure
from .ml_only import fit_ml
from .moments import LagMoments, Moments, PanelMoments, PeriodMoments, StratumMoments
from .predictive import PredictiveScore, score_of
from .problem import build
from .spec import ModelSpec

HORIZONS = 5


def forward_score(
    moments: Moments,
    cells: PeriodMoments | StratumMoments,
    spec: ModelSpec,
    horizons: int = HORIZONS,
    step: float | None = None,
) -> PredictiveScore:
    """One-period-ahead log score: each of the last periods predicted from all before it, the model refitted by ML.

    Args:
        moments: the panel's moments (the groups that the cells refer to).
        cells: period moments where every cell has one row, or the panel's moments by stratum of the time column.
        spec: the model.
        horizons: number of periods predicted; at most half of them.
        step: length of a time step in the time column's unit; needed under serially correlated errors.

    Raises:
        ModelError: unequal variances or a crossed effect; serial correlation without the times of period moments; too
            few periods; period moments with several rows in a cell.
    """
    if spec.variances is not None or spec.crossed is not None:
        raise ModelError(
            "the score ahead in time is not available with unequal variances or a crossed effect.", "log score ahead"
        )
    serial = spec.errors != "iid"
    if serial and (step is None or not isinstance(cells, PeriodMoments) or cells.times is None):
        raise ModelError("the score ahead under serial correlation needs the times of the periods.", "log score ahead")
    periods = len(np.unique(cells.period if isinstance(cells, PeriodMoments) else cells.stratum))
    horizons = min(horizons, periods // 2)
    if horizons < 1:
        raise ModelError(f"{periods} periods are too few to predict one from those before it.", "log score ahead")
    steps = list(_by_time(moments, cells, step if serial else None, horizons + 1))
    values: list[float | None] = []
    rows, notes, theta = 0, [], None
    for before, after in pairwise(steps):
        value = None
        try:
            past = fit_ml(before, spec, theta, None if theta is None else 0)
            theta = past.theta
            problem = build(after.moments, spec)
            factored = factor(problem) if problem.levels else None
            criterion = Criterion(problem, False, factored, error_structure(problem, after))
            whole = log_density(criterion, plain_parameters(past))
            if whole is None:
                notes.append("the fixed part has an effect of the period itself, which the past cannot tell.")
            else:
                value = whole + 0.5 * past.optimum.value
                rows += after.moments.n_obs - before.moments.n_obs
        except ModelError as error:
            notes.append(str(error))
        values.append(value)
    return score_of(f"last {len(values)} periods, each from those before it", None, values, rows, notes)


def _by_time(
    moments: Moments, cells: PeriodMoments | StratumMoments, step: float | None, last: int
) -> Iterator[PanelMoments]:
    """Moments of all rows up to each of the last periods, in time order.

    Args:
        step: length of a time step; None without lagged moments.
        last: number of periods.

    Raises:
        ModelError: period moments with several rows in a cell, whose products their sums do not tell.
    """
    if isinstance(cells, PeriodMoments):
        if np.any(cells.cell_count > 1):
            raise ModelError(
                "cells of group and period have several rows, whose products their sums do not tell.",
                "log score ahead",
                "Reduce the panel by strata of its time column and pass those moments.",
            )
        when, counts = cells.period, cells.cell_count
    else:
        when, counts = cells.stratum, cells.n
    q, groups = len(moments.columns), len(moments.n)
    products, n = np.zeros((q, q, groups)), np.zeros(groups, dtype=int)
    serial = None if step is None or not isinstance(cells, PeriodMoments) else _Steps(cells, step)
    parents_of = moments.starts(len(moments.levels) - 2) if len(moments.levels) > 1 else np.array([0])
    periods = np.unique(when)
    for number, period in enumerate(periods, start=last - len(periods)):
        chosen = np.flatnonzero(when == period)
        owner = cells.group[chosen]
        if isinstance(cells, PeriodMoments):
            w = cells.cell[:, chosen]
            added = w[:, None, :] * w[None, :, :] / w[0]
        else:
            added = cells.products[:, :, chosen]
        products[:, :, owner] += added
        n[owner] += counts[chosen]
        if number < 0:
            continue
        keep = n > 0
        alive = np.add.reduceat(keep.astype(int), parents_of) > 0
        before = np.concatenate([[0], np.cumsum(keep)])
        kept = products[:, :, keep]
        share = float(n.sum()) / moments.n_obs
        until = Moments(
            moments.columns,
            moments.shift,
            moments.scale,
            moments.levels,
            tuple(ids[keep] for ids in moments.labels),
            n[keep],
            kept,
            np.arange(q),
            np.add.reduceat(kept, before[parents_of[alive]], axis=2),
            moments.sum_log_weight * share,
            None if moments.unweighted is None else kept.sum(axis=2) * (n.sum() / kept[0, 0].sum()),
        )
        yield PanelMoments(until, None if serial is None else serial.until(int(period), keep))


class _Steps:
    """Every row joined to the one before it in its group, from cells of one row each.

    Args:
        cells: rows by group and period, times known.
        step: length of a time step.
    """

    def __init__(self, cells: PeriodMoments, step: float) -> None:
        assert cells.times is not None
        order = np.lexsort((cells.period, cells.group))
        self.group, self.period = cells.group[order], cells.period[order]
        # A cell holds w·row: over the root of w that is the row as the moments have it.
        self.rows = cells.cell[:, order] / np.sqrt(cells.cell[0, order])
        self.time = np.asarray(cells.times, dtype=float)[self.period] / step
        self.now = np.flatnonzero(np.diff(self.group, prepend=-1) == 0)
        self.first = np.flatnonzero(np.diff(self.group, prepend=-1))

    def until(self, period: int, keep: np.ndarray) -> LagMoments:
        """Lagged moments of the rows up to a period; ``keep``: the groups that have some. (G,)"""
        now = self.now[self.period[self.now] <= period]
        group = np.cumsum(keep)[self.group[now]] - 1
        gap = np.round(self.time[now] - self.time[now - 1], 9)
        order = np.lexsort((gap, group))
        now, group, gap = now[order], group[order], gap[order]
        entry = np.flatnonzero((np.diff(group, prepend=-1) != 0) | (np.diff(gap, prepend=-1.0) != 0))
        late, early = self.rows[:, now], self.rows[:, now - 1]
        start = self.rows[:, self.first[self.period[self.first] <= period]]
        return LagMoments(
            group[entry],
            gap[entry],
            np.diff(np.append(entry, len(now))),
            _sums(late, late, entry),
            _sums(late, early, entry) + _sums(early, late, entry),
            _sums(early, early, entry),
            start[:, None, :] * start[None, :, :],
        )


def _sums(left: np.ndarray, right: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Outer products of columns, summed over runs. (q, q, entries)"""
    q = len(left)
    out = np.zeros((q, q, len(entry)))
    for i in range(q if len(entry) else 0):
        out[i] = np.add.reduceat(left[i] * right, entry, axis=1)
    return out
