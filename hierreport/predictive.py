"""How well a model predicts data it has not seen: groups left out. Scores are log densities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .deletion import criterion_without, refit
from .densities import log_density, plain_parameters
from .errors import ModelError
from .kept import kept_panel
from .mixed import MixedFit
from .ml_only import fit_ml
from .moments import Moments, PanelMoments
from .records import Spoken
from .said import whole

EXACT_GROUPS = 200
FOLDS = 10


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
    return score_of(scheme, level, values, rows, notes)


def score_of(
    scheme: str, level: str | None, values: list[float | None], rows: int, notes: list[str]
) -> PredictiveScore:
    """The record of a score from its folds' values, the rows that they cover and why folds are undefined."""
    values = [None if v is None else float(v) for v in values]
    defined = [v for v in values if v is not None]
    total = float(np.sum(defined)) if defined else None
    lost = len(values) - len(defined)
    note = f"{whole(lost)} of {whole(len(values))} folds are undefined: {notes[0]}" if lost else ""
    return PredictiveScore(scheme, level, total, len(values), rows, values, note)


def _fold(fitted: MixedFit, drop: np.ndarray, panel: PanelMoments | None) -> float | None:
    state = fitted.ml_state
    spec, smaller = fitted.spec, None
    if spec.variances is None and spec.crossed is None:
        smaller = criterion_without(state.criterion, drop)
    if smaller is not None:
        small = refit(state, smaller, curvature=False)
    else:
        assert panel is not None  # checked by the caller for structured models
        small = fit_ml(kept_panel(panel, ~drop), spec, state.theta, near=state)
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
    return score_of(f"every {level} left out in turn, θ held", level, values, covered, notes)
