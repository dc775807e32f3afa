"""How well a model predicts data it has not seen: groups left out, periods ahead. Scores are log densities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .criterion import Criterion, factor
from .deletion import refit, without_groups
from .densities import log_density, plain_parameters
from .errors import ModelError
from .kept import kept_panel
from .mixed import MixedFit, fit
from .ml_only import fit_ml
from .moments import Moments, PanelMoments, PeriodMoments, StratumMoments
from .problem import build
from .records import Spoken
from .said import whole
from .spec import ModelSpec

EXACT_GROUPS = 200
FOLDS = 10
HORIZONS = 5


@dataclass(frozen=True)
class PredictiveScore(Spoken):
    """A predictive log score: Σ over folds of log p(left-out rows | the other rows), estimates from the other rows.

    Attributes:
        scheme: what was left out, in words.
        level: grouping level of the folds; None for periods.
        total: the score (larger is better), over the folds where it is defined.
        folds, rows: number of folds and rows that it covers.
        values: the score of each fold in order; None where it is undefined there.
        note: why folds are undefined; empty where none is.
    """

    scheme: str
    level: str | None
    total: float | None
    folds: int
    rows: int
    values: list[float | None]
    note: str = ""


def folds_of(moments: Moments, level: str, k: int | None = None, seed: int = 0) -> list[np.ndarray]:
    """Masks over the innermost groups, one per fold: every group of a level alone, or k random parts of them.

    Args:
        k: number of folds; None for one per group.
        seed: of the random partition, which depends on the number of groups and on nothing else.

    Raises:
        ModelError: an unknown level, or more folds than groups.
    """
    if level not in moments.levels:
        raise ModelError(f"the panel has no level {level!r}.", "log score", f"Its levels: {', '.join(moments.levels)}.")
    starts = moments.starts(moments.levels.index(level))
    groups = len(starts)
    if k is not None and not 2 <= k <= groups:
        raise ModelError(
            f"{k} folds of {groups} groups.", "log score", "Use at least 2 folds and at most one per group."
        )
    owner = np.repeat(np.arange(groups), np.diff(np.append(starts, len(moments.n))))
    if k is None:
        return [owner == g for g in range(groups)]
    order = np.random.default_rng(seed).permutation(groups)
    fold = np.empty(groups, dtype=int)
    for number, members in enumerate(np.array_split(order, k)):
        fold[members] = number
    return [fold[owner] == number for number in range(k)]


def left_out_score(
    fitted: MixedFit,
    level: str | None = None,
    *,
    k: int | None = None,
    seed: int = 0,
    panel: PanelMoments | None = None,
) -> PredictiveScore:
    """Predictive log score of groups left out, the model refitted by ML without them each time (exact).

    The density is that of the left-out rows given all others: a firm that is left out is predicted with its sector's
    effect as the sector's other firms tell it. Estimates are plugged in.

    Args:
        fitted: the model.
        level: level whose groups are left out; by default the panel's outermost.
        k: folds; by default one per group up to ``EXACT_GROUPS`` groups, else ``FOLDS`` random ones.
        seed: of the random folds; the same folds for every model of a panel.
        panel: the panel's moments, needed for models with structured errors or a crossed effect.

    Raises:
        ModelError: an unknown level; a model that needs ``panel``.
    """
    moments, spec = fitted.problem.moments, fitted.spec
    if not moments.levels:
        raise ModelError("the panel has no groups to leave out.", "log score")
    structured = spec.errors != "iid" or spec.variances is not None or spec.crossed is not None
    if structured and panel is None:
        raise ModelError("this model's log score needs the panel's moments.", "log score", "Pass panel.")
    level = moments.levels[0] if level is None else level
    if level not in moments.levels:
        raise ModelError(f"the panel has no level {level!r}.", "log score", f"Its levels: {', '.join(moments.levels)}.")
    groups = len(moments.starts(moments.levels.index(level)))
    if k is None and groups > EXACT_GROUPS:
        k = FOLDS
    masks = folds_of(moments, level, k, seed)
    values, rows, notes = [], 0, []
    for mask in masks:
        value = None
        try:
            value = _fold(fitted, mask, panel if structured else None)
            if value is None:
                notes.append("the left-out rows alone identify a fixed effect or a variance.")
            else:
                rows += int(moments.n[mask].sum())
        except ModelError as error:
            notes.append(str(error))
        values.append(value)
    scheme = f"every {level} left out in turn" if k is None else f"{k} folds of {level}"
    return _score(scheme, level, values, rows, notes)


def _score(scheme: str, level: str | None, values: list[float | None], rows: int, notes: list[str]) -> PredictiveScore:
    values = [None if v is None else float(v) for v in values]
    defined = [v for v in values if v is not None]
    total = float(np.sum(defined)) if defined else None
    lost = len(values) - len(defined)
    note = f"{whole(lost)} of {whole(len(values))} folds are undefined: {notes[0]}" if lost else ""
    return PredictiveScore(scheme, level, total, len(values), rows, values, note)


def _fold(fitted: MixedFit, drop: np.ndarray, panel: PanelMoments | None) -> float | None:
    state = fitted.ml_state
    if panel is None:
        small = refit(state, *without_groups(state.criterion.problem, state.criterion.factored, drop), curvature=False)
    else:
        small = fit_ml(kept_panel(panel, ~drop), fitted.spec, state.theta)
    whole = log_density(state.criterion, plain_parameters(small))
    return None if whole is None else whole + 0.5 * small.optimum.value


def held_score(fitted: MixedFit, level: str | None = None) -> PredictiveScore:
    """Leave-one-group-out log score with θ held at the whole panel's estimate, β and σ² estimated anew: one pass.

    Args:
        fitted: a model with independent errors.
        level: the outermost random level or a coarser one; by default the panel's outermost.

    Raises:
        ModelError: see ``clusters.cluster_starts``.
    """
    from .clusters import ClusterPass, cluster_starts

    state = fitted.ml_state
    criterion, problem = state.criterion, state.criterion.problem
    if criterion.errors is not None:
        raise ModelError("the log score with θ held is for independent errors.", "log score")
    level, starts = cluster_starts(
        state, problem.moments.levels[0] if level is None and problem.moments.levels else level
    )
    c, logs = ClusterPass(criterion, starts)(state.factors)
    assert logs is not None
    basis = problem.basis
    x, y = list(basis.x_index), basis.y_index
    rows = np.add.reduceat(problem.n, starts)
    total = c.sum(axis=2)
    values: list[float | None] = []
    for g in range(len(starts)):
        rest = total - c[:, :, g]
        gram = rest[np.ix_(x, x)]
        b = np.zeros(len(total))
        b[y] = 1.0
        if len(x):
            if np.linalg.cond(gram) > 1e13:
                values.append(None)
                continue
            b[x] = -np.linalg.solve(gram, rest[x, y])
        variance = float(b @ rest @ b) / (problem.n_obs - rows[g])
        own = rows[g] * (np.log(2.0 * np.pi * variance) + 2.0 * np.log(basis.y_scale)) + logs[g]
        weights = problem.sum_log_weight * rows[g] / problem.n_obs
        values.append(float(-0.5 * (own + b @ c[:, :, g] @ b / variance - weights)))
    covered = int(sum(r for r, v in zip(rows, values, strict=True) if v is not None))
    notes = ["the left-out rows alone identify a fixed effect."]
    return _score(f"every {level} left out in turn, θ held", level, values, covered, notes)


def forward_score(
    moments: Moments, cells: PeriodMoments | StratumMoments, spec: ModelSpec, horizons: int = HORIZONS
) -> PredictiveScore:
    """One-period-ahead log score: each of the last periods predicted from all before it, the model refitted by ML.

    Args:
        moments: the panel's moments (the groups that the cells refer to).
        cells: period moments where every cell has one row, or the panel's moments by stratum of the time column.
        spec: a model with independent errors.
        horizons: number of periods predicted; at most half of them.

    Raises:
        ModelError: structured errors or a crossed effect; too few periods; period moments with several rows in a cell.
    """
    if spec.errors != "iid" or spec.variances is not None or spec.crossed is not None:
        raise ModelError("the score ahead in time is for independent errors.", "log score ahead")
    steps = list(moments_by_time(moments, cells))
    horizons = min(horizons, len(steps) // 2)
    if horizons < 1:
        raise ModelError(f"{len(steps)} periods are too few to predict one from those before it.", "log score ahead")
    values: list[float | None] = []
    rows, notes, theta = 0, [], None
    for before, after in zip(steps[-horizons - 1 : -1], steps[-horizons:], strict=True):
        value = None
        try:
            past = fit(before, spec, start=theta, restarts=None if theta is None else 0).ml_state
            theta = past.theta
            problem = build(after, spec)
            criterion = Criterion(problem, False, factor(problem) if problem.levels else None)
            whole = log_density(criterion, plain_parameters(past))
            if whole is None:
                notes.append("the fixed part has an effect of the period itself, which the past cannot tell.")
            else:
                value = whole + 0.5 * past.optimum.value
                rows += after.n_obs - before.n_obs
        except ModelError as error:
            notes.append(str(error))
        values.append(value)
    return _score(f"last {len(values)} periods, each from those before it", None, values, rows, notes)


def moments_by_time(moments: Moments, cells: PeriodMoments | StratumMoments):
    """Moments of all rows up to each period, in time order.

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
    parents_of = moments.starts(len(moments.levels) - 2) if len(moments.levels) > 1 else np.array([0])
    for period in np.unique(when):
        chosen = np.flatnonzero(when == period)
        owner = cells.group[chosen]
        if isinstance(cells, PeriodMoments):
            w = cells.cell[:, chosen]
            added = w[:, None, :] * w[None, :, :] / w[0]
        else:
            added = cells.products[:, :, chosen]
        products[:, :, owner] += added
        n[owner] += counts[chosen]
        keep = n > 0
        alive = np.add.reduceat(keep.astype(int), parents_of) > 0
        before = np.concatenate([[0], np.cumsum(keep)])
        kept = products[:, :, keep]
        share = float(n.sum()) / moments.n_obs
        yield Moments(
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
