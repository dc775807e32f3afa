"""Mundlak's regression and the within-between model beside a random-effects model, and what the means do to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import ModelError
from .group_means import mean_name, moments_with_group_means, within_name
from .inference import wald
from .mixed import MixedFit, fit
from .moments import Moments
from .problem import INTERCEPT
from .records import FixedEffect, Record
from .robust import ClusterRobust
from .spec import LevelSpec, ModelSpec
from .tails import chi2_sf


@dataclass(frozen=True)
class Decomposition:
    """The fits behind the comparison.

    Attributes:
        unit: path of the level.
        varying: predictors that vary within and between groups: they have a mean in the models.
        within_only, between_only: predictors that vary only within, only between groups.
        random: the model as given, with a random intercept (or the random part asked for).
        mundlak: with ``mean(x)`` beside x: its coefficient is the contextual effect.
        within_between: with ``within(x)`` and ``mean(x)`` in place of x.
    """

    unit: str
    varying: tuple[str, ...]
    within_only: tuple[str, ...]
    between_only: tuple[str, ...]
    random: MixedFit
    mundlak: MixedFit
    within_between: MixedFit


@dataclass(frozen=True)
class JointTest(Record):
    """Model-based Wald test of all contextual effects (chi-squared)."""

    chisq: float
    df: int
    p: float


def decompose(
    moments: Moments, fixed: tuple[str, ...], level: str | None = None, random: tuple[LevelSpec, ...] | None = None
) -> Decomposition:
    """Fit the random-effects model, Mundlak's regression and the within-between model.

    Args:
        moments: the panel's moments.
        fixed: names of the model's fixed columns.
        level: the level whose means are taken; by default the innermost.
        random: the random part; by default an intercept per group of the level.

    Sources: Mundlak (1978), Econometrica 46; Bell, Fairbrother & Jones (2019), Qual. Quant. 53, eqs. 1 and 3.

    Raises:
        ModelError: an unknown level or column, or a model that cannot be identified.
    """
    level = moments.levels[-1] if level is None and moments.levels else level
    if level not in moments.levels:
        do = f"Its levels: {', '.join(moments.levels)}."
        raise ModelError(f"the panel has no level {level!r}.", "fixed or random effects", do)
    if INTERCEPT not in fixed:
        raise ModelError("the decomposition needs a model with an intercept.", "fixed or random effects")
    x = tuple(t for t in fixed if t != INTERCEPT)
    varying, within_only, between_only = variation(moments, x, level)
    parts = (LevelSpec(level, ((INTERCEPT,),)),) if random is None else random
    more = moments_with_group_means(moments, varying + within_only, level, within=True)
    means = tuple(mean_name(t) for t in varying)
    inside = tuple(within_name(t) for t in x if t in varying or t in within_only)
    # What varies within groups comes first: a group-level predictor that is itself a mean of one is dropped as aliased.
    own = tuple(t for t in x if t in varying or t in within_only)
    random_fit = fit(moments, ModelSpec((INTERCEPT, *x), parts))
    start = random_fit.ml_state.theta
    mundlak = fit(more, ModelSpec((INTERCEPT, *own, *means, *between_only), parts), start=start)
    split = fit(more, ModelSpec((INTERCEPT, *inside, *means, *between_only), parts), start=start)
    return Decomposition(level, varying, within_only, between_only, random_fit, mundlak, split)


def variation(
    moments: Moments, columns: tuple[str, ...], level: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Sort predictors into those that vary within and between a level's groups, only within, only between.

    A constant column counts as varying between groups only.
    """
    starts = moments.starts(moments.levels.index(level))
    constant = int(np.flatnonzero(moments.z_index == moments.columns.index(INTERCEPT))[0])
    sums = np.add.reduceat(moments.products[constant], starts, axis=1)
    total = np.einsum("iig->i", moments.parent_products)
    weight, groups = sums[0].sum(), len(starts)
    both: list[str] = []
    inside: list[str] = []
    across: list[str] = []
    for name in columns:
        j = moments.columns.index(name)
        spread = total[j] - sums[j].sum() ** 2 / weight
        means = sums[j] / sums[0]
        within = total[j] - float(np.sum(sums[j] * means))
        tolerance = 1e-12 * moments.n_obs**0.5 * max(spread, total[j])
        if within <= tolerance:
            across.append(name)
        elif groups > 1 and np.ptp(means) > 1e-7 * np.sqrt(spread / weight):
            both.append(name)
        else:
            inside.append(name)
    return tuple(both), tuple(inside), tuple(across)


def biases(parts: Decomposition, robust: ClusterRobust) -> dict[str, FixedEffect]:
    """What leaving the group means out does to each random-effects estimate, with cluster-robust tests.

    With V held at the Mundlak model's, the estimates without the means are (X_r'V⁻¹X_r)⁻¹X_r'V⁻¹X_m times those of the
    Mundlak model (the omitted-variable formula): the bias is a contrast of its coefficients.
    """
    state = parts.mundlak.reml_state
    basis, spec = state.criterion.problem.basis, parts.mundlak.spec
    names = [t for t in parts.random.problem.basis.fixed if t in spec.fixed]
    # The working columns of the fixed effects stand first, in the order of the specification, dropped ones too.
    rows, columns = [spec.fixed.index(t) for t in names], list(basis.x_index)
    c = state.evaluation.c_total.real
    matrix = np.linalg.solve(c[np.ix_(rows, rows)], c[np.ix_(rows, columns)])
    out = {}
    for t in parts.varying:
        if t not in names or t not in basis.fixed:
            continue
        own = basis.fixed.index(t)
        contrast = matrix[names.index(t)] * np.diag(basis.p_x) / basis.p_x[own, own]
        contrast[own] -= 1.0
        contrast[basis.fixed.index(INTERCEPT)] = 0.0
        estimate = float(contrast @ state.beta_raw)
        se = float(np.sqrt(max(contrast @ robust.cov @ contrast, 0.0)))
        out[t] = wald(t, estimate, se, float(robust.df(contrast)[0]), robust.df_method)
    return out


def model_wald(fitted: MixedFit, terms: list[str], method: str) -> JointTest:
    """Chi-squared Wald test that some fixed effects are zero, from the model's own covariance."""
    state = fitted.state(method)
    places = [state.criterion.problem.basis.fixed.index(t) for t in terms]
    estimate = state.beta_raw[places]
    chisq = float(estimate @ np.linalg.solve(state.fixed_cov[np.ix_(places, places)], estimate))
    return JointTest(chisq, len(terms), chi2_sf(chisq, len(terms)))
