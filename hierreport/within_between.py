"""Fixed or random effects: what differences within and between groups say, and which estimate can be defended."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import chdtrc

from .errors import ModelError
from .group_means import mean_name, moments_with_group_means, within_name
from .inference import wald
from .mixed import MixedFit, fit
from .moments import Moments
from .panel_estimators import PanelEstimators, panel_estimators
from .problem import INTERCEPT
from .records import FixedEffect, Record
from .robust import ClusterRobust, RobustTest, cluster_robust
from .spec import LevelSpec, ModelSpec

ALPHA = 0.05
FEW_DF = 4.0
NEGLIGIBLE = 0.1


@dataclass(frozen=True)
class Verdict(Record):
    """Whether a predictor's random-effects estimate can be defended.

    Attributes:
        term: the predictor.
        verdict: "defended", "not defended", "undecided", "untestable" (no variation within groups) or "no difference"
            (no variation between groups: nothing to be confounded with).
        random: the random-effects estimate; within, between: the decomposition's; contextual: between minus within;
            bias: random-effects minus within estimate, what the contextual effects of all predictors do to it. All
            tests are cluster-robust. None where they do not exist.
        sentence: the verdict in words.
    """

    term: str
    verdict: str
    random: FixedEffect | None
    within: FixedEffect | None
    between: FixedEffect | None
    contextual: FixedEffect | None
    bias: FixedEffect | None
    sentence: str


@dataclass(frozen=True)
class JointTest(Record):
    """Model-based Wald test of all contextual effects (chi-squared)."""

    chisq: float
    df: int
    p: float


@dataclass(frozen=True)
class FixedOrRandom(Record):
    """The whole comparison of one model at one level.

    Attributes:
        unit: path of the level; cluster: level that the robust tests are clustered by.
        panel: classical estimators and tests; None where they do not exist (weights), with the reason in ``notes``.
        joint: cluster-robust joint test of the contextual effects; wald_ml, wald_reml: the same from the model's
            covariance. None where no predictor varies both within and between groups.
        verdicts: one per predictor; sentence: the whole in words.
    """

    unit: str
    cluster: str
    panel: PanelEstimators | None
    joint: RobustTest | None
    wald_ml: JointTest | None
    wald_reml: JointTest | None
    verdicts: list[Verdict]
    sentence: str
    notes: list[str] = field(default_factory=list)


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


def fixed_or_random(
    moments: Moments,
    fixed: tuple[str, ...],
    level: str | None = None,
    random: tuple[LevelSpec, ...] | None = None,
    cluster: str | None = None,
    kind: str = "auto",
) -> FixedOrRandom:
    """Classical tests, the Mundlak regression with cluster-robust tests, and a verdict for every predictor.

    Args:
        moments, fixed, level, random: see ``decompose``.
        cluster: level to cluster by; by default the outermost random level of the model.
        kind: kind of cluster-robust covariance.

    Raises:
        ModelError: see ``decompose`` and ``robust.cluster_robust``.
    """
    parts = decompose(moments, fixed, level, random)
    robust = cluster_robust(parts.mundlak, cluster, kind)
    contextual = {f.term: f for f in robust.fixed()}
    split = {f.term: f for f in cluster_robust(parts.within_between, cluster, kind).fixed()}
    plain = {f.term: f for f in cluster_robust(parts.random, cluster, kind).fixed()}
    tested = [mean_name(t) for t in parts.varying if mean_name(t) in contextual]
    joint = robust.test(tested) if tested else None
    shifts = biases(parts, robust)
    verdicts = []
    for term in (t for t in fixed if t != INTERCEPT):
        found = (
            plain.get(term),
            split.get(within_name(term)),
            split.get(mean_name(term)),
            contextual.get(mean_name(term)),
        )
        status, sentence = verdict(term, parts, found, shifts.get(term))
        verdicts.append(Verdict(term, status, *found, shifts.get(term), sentence))
    notes = []
    try:
        panel = panel_estimators(moments, fixed, parts.unit)
    except ModelError as error:
        panel = None
        notes.append(str(error))
    wald_ml, wald_reml = (model_wald(parts.mundlak, tested, m) if tested else None for m in ("ml", "reml"))
    sentence = _summary(parts.unit, joint, verdicts, panel)
    return FixedOrRandom(parts.unit, robust.level, panel, joint, wald_ml, wald_reml, verdicts, sentence, notes)


def model_wald(fitted: MixedFit, terms: list[str], method: str) -> JointTest:
    """Chi-squared Wald test that some fixed effects are zero, from the model's own covariance."""
    state = fitted.state(method)
    places = [state.criterion.problem.basis.fixed.index(t) for t in terms]
    estimate = state.beta_raw[places]
    chisq = float(estimate @ np.linalg.solve(state.fixed_cov[np.ix_(places, places)], estimate))
    return JointTest(chisq, len(terms), float(chdtrc(len(terms), chisq)))


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


def verdict(
    term: str,
    parts: Decomposition,
    found: tuple[FixedEffect | None, FixedEffect | None, FixedEffect | None, FixedEffect | None],
    bias: FixedEffect | None,
) -> tuple[str, str]:
    """The verdict on one predictor and its sentence.

    Let m be the largest bias inside its 95 % interval. m at most a tenth of the estimate: defended. Else fewer than
    four degrees of freedom: undecided. Else a bias that differs from zero at 5 %: not defended. Else m at most the
    estimate itself or its margin of error: defended; beyond that the data cannot tell.
    """
    unit = parts.unit.rsplit("/", 1)[-1]
    random, within, between, contextual = found
    if term in parts.between_only:
        return "untestable", (
            f"{term} does not change within the same {unit}: its estimate rests on differences between {unit} groups "
            "alone, and these data cannot show whether something else that differs between them drives it."
        )
    if term in parts.within_only:
        return "no difference", (
            f"{term} has the same mean in every {unit}: its estimate rests on changes within the same {unit} alone, "
            "and differences between them cannot bias it."
        )
    if random is None or within is None or between is None or contextual is None or bias is None:
        return "undecided", (
            f"{term} or its {unit} mean is a combination of other predictors: effects within and between cannot be "
            "told apart."
        )
    facts = (
        f"one more unit of {term} goes with {within.estimate:.3g} within the same {unit} and with "
        f"{between.estimate:.3g} between different ones"
    )
    largest = max(abs(bias.ci_low), abs(bias.ci_high))
    margin = 0.5 * (random.ci_high - random.ci_low)
    name = f"{term}'s random-effects estimate ({random.estimate:.3g})"
    if largest <= NEGLIGIBLE * abs(random.estimate):
        return "defended", (
            f"{name} can be defended: {facts}, but it follows the within estimate; leaving the group means out moves "
            f"it by {100.0 * largest / abs(random.estimate):.2g} % at most."
        )
    if bias.df is not None and bias.df < FEW_DF:
        return "undecided", (
            f"It cannot be decided whether {name} can be defended: {facts}, and too few groups inform the difference "
            f"to test it ({bias.df:.1f} degrees of freedom)."
        )
    if bias.p < ALPHA:
        return "not defended", (
            f"{name} cannot be defended: {facts}, and it mixes the two: it differs from the within estimate by more "
            f"than chance (by {bias.estimate:.3g}, p {_p(bias.p)}). Report the within estimate, {within.estimate:.3g} "
            f"({within.ci_low:.3g} to {within.ci_high:.3g})."
        )
    if largest <= max(abs(random.estimate), margin):
        return "defended", (
            f"{name} can be defended: {facts}; its difference from the within estimate ({bias.estimate:.3g}) can be "
            f"chance (p {_p(bias.p)}), and is at most {largest:.3g}."
        )
    return "undecided", (
        f"It cannot be decided whether {name} can be defended: {facts}; its difference from the within estimate "
        f"({bias.estimate:.3g}) can be chance (p {_p(bias.p)}), but may be as large as {largest:.3g}."
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def _summary(unit: str, joint: RobustTest | None, verdicts: list[Verdict], panel: PanelEstimators | None) -> str:
    name = unit.rsplit("/", 1)[-1]
    if joint is None:
        return (
            f"No predictor varies both within the same {name} and between different ones: there is nothing to choose."
        )
    lost = [v.term for v in verdicts if v.verdict == "not defended"]
    open_ = [v.term for v in verdicts if v.verdict == "undecided"]
    if not np.isfinite(joint.p):
        head = f"Too few groups of {name} inform a joint test of effects within against effects between."
    elif joint.p < ALPHA:
        head = (
            f"Effects within the same {name} and between different ones differ (cluster-robust test, p {_p(joint.p)}): "
            "a model of random effects needs the group means."
        )
    else:
        head = (
            f"Taken together, effects within the same {name} and between different ones do not differ by more than "
            f"chance (cluster-robust test, p {_p(joint.p)})."
        )
    tail = f" Random-effects estimates that cannot be defended: {', '.join(lost)}." if lost else ""
    tail += f" Undecided: {', '.join(open_)}." if open_ else ""
    if panel is not None and panel.hausman is not None and not panel.hausman.informative:
        tail += " Hausman's own statistic is not informative here: " + panel.hausman.note
    return head + tail
