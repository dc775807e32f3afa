"""Variance explained: by the predictors at every level, and by each rung over the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .describe import variance_shares
from .mixed import MixedFit, State, fit
from .moments import Moments
from .problem import INTERCEPT
from .records import Record
from .spec import LevelSpec, ModelSpec

ROWS = "rows"


def snijders_bosker(moments: Moments, spec: ModelSpec) -> dict[str, float] | None:
    """Proportional reduction of prediction error by the predictors, for single rows and for group means at each level.

    With random intercepts at the model's levels (slopes left out, as the source advises) the mean squared error of a
    group mean at level l is σ²·mean(1/n_g) + Σ τ²_m·mean(Σ(n_c/n_g)²) over finer levels m + Σ τ²_m over l and coarser
    ones; R² is one minus its ratio to the model without predictors. It can be negative where the model is misspecified.

    Source: Snijders & Bosker (2012), Multilevel Analysis, 2nd ed., sec. 7.1.1 and 7.2.2; for three levels the same
    definition with the groups' real sizes.

    Returns:
        ``{"rows": R², level: R², …}``, levels outermost first; None for a model without an intercept.
    """
    states = intercept_fits(moments, spec)
    return None if states is None else explained_errors(moments, states)


def intercept_fits(moments: Moments, spec: ModelSpec) -> tuple[State, State] | None:
    """ML fits with random intercepts alone at the model's levels, with its predictors and without; None where it has no
    intercept."""
    if INTERCEPT not in spec.fixed:
        return None
    parts = tuple(LevelSpec(level.level, ((INTERCEPT,),)) for level in spec.random)
    full, null = (fit(moments, ModelSpec(fixed, parts)).ml_state for fixed in (spec.fixed, (INTERCEPT,)))
    return full, null


def explained_errors(moments: Moments, states: tuple[State, State]) -> dict[str, float]:
    """One minus the ratio of the prediction errors of two models."""
    full, null = (prediction_errors(moments, state) for state in states)
    return {name: 1.0 - full[name] / null[name] for name in full}


def prediction_errors(moments: Moments, state: State) -> dict[str, float]:
    """Mean squared prediction error of a row and of group means, of a model with random intercepts."""
    names = [level.name for level in reversed(state.components)]
    between = {level.name: float(state.covariance(i)[0, 0]) for i, level in enumerate(state.components)}
    out = {ROWS: state.residual_variance + sum(between.values())}
    for depth, name in enumerate(names):
        starts = moments.starts(moments.levels.index(name))
        rows = np.add.reduceat(moments.n, starts).astype(float)
        error = state.residual_variance * float(np.mean(1.0 / rows)) + sum(between[m] for m in names[: depth + 1])
        for finer in names[depth + 1 :]:
            inner = moments.starts(moments.levels.index(finer))
            sizes = np.add.reduceat(moments.n, inner).astype(float)
            squares = np.add.reduceat(sizes**2, np.searchsorted(inner, starts))
            error += between[finer] * float(np.mean(squares / rows**2))
        out[name] = error
    return out


@dataclass(frozen=True)
class Explained(Record):
    """What a rung explains beyond the rung before it (REML, variances averaged over the rows).

    Attributes:
        rung, over: the two rungs.
        residual_variance: σ², averaged over the rows.
        residual_explained: the share of the other rung's residual variance that is gone (negative: it grew).
        levels: variance of each level's random part here; levels_over: in the other rung.
        marginal_gain, conditional_gain: differences of Nakagawa's R².
    """

    rung: str
    over: str
    residual_variance: float
    residual_explained: float
    levels: dict[str, float]
    levels_over: dict[str, float]
    marginal_gain: float
    conditional_gain: float


def explained_by_rungs(fits: Mapping[str, MixedFit]) -> list[Explained]:
    """Variance explained by each rung over the one before it in the order given, among those of the same structure.

    The first rung with an error structure is set against its twin with independent errors, where that is there.
    """
    last: dict[tuple, str] = {}
    pairs = []
    for rung, fitted in fits.items():
        spec = fitted.spec
        structure = (spec.errors, spec.variances, spec.crossed)
        twin = replace(spec, errors="iid", variances=None, crossed=None)
        before = last.get(structure) or next((n for n, f in fits.items() if f.spec == twin and n != rung), None)
        if before is not None:
            pairs.append((before, rung))
        last[structure] = rung
    out = []
    for before, rung in pairs:
        (own, own_r2), (other, other_r2) = (_variances(fits[name].reml_state) for name in (rung, before))
        residual, was = own.pop("residual"), other.pop("residual")
        gains = (own_r2[key] - other_r2[key] for key in ("marginal", "conditional"))
        out.append(Explained(rung, before, residual, 1.0 - residual / was, own, other, *gains))
    return out


def _variances(state: State) -> tuple[dict[str, float], dict[str, float]]:
    shares, r2 = variance_shares(state)
    total = state.residual_variance / shares["residual"]
    return {name: share * total for name, share in shares.items()}, r2
