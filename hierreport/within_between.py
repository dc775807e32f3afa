"""Fixed or random effects: what differences within and between groups say, and which estimate can be defended."""

from __future__ import annotations

from dataclasses import dataclass, field

from .decomposition import Decomposition, JointTest, biases, decompose, model_wald
from .errors import ModelError
from .group_means import mean_name, within_name
from .moments import Moments
from .panel_estimators import PanelEstimators, panel_estimators
from .problem import INTERCEPT
from .records import Spoken
from .robust import RobustTest, cluster_robust
from .spec import LevelSpec
from .verdicts import Verdict, summary, verdict

__all__ = ["Decomposition", "FixedOrRandom", "Verdict", "biases", "decompose", "fixed_or_random", "model_wald"]


@dataclass(frozen=True)
class FixedOrRandom(Spoken):
    """The whole comparison of one model at one level.

    Attributes:
        unit: path of the level; cluster: level that the robust tests are clustered by.
        panel: classical estimators and tests; None where they do not exist (weights), with the reason in ``notes``.
        joint: cluster-robust joint test of the contextual effects; wald_ml, wald_reml: the same from the model's
            covariance. None where no predictor varies both within and between groups.
        verdicts: one per predictor; sentence: the whole in words.
        logliks: ML log-likelihoods of the three models: random_effects, mundlak, within_between.
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
    logliks: dict[str, float] = field(default_factory=dict)


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
    sentence = summary(parts.unit, joint, verdicts, panel)
    fits = {"random_effects": parts.random, "mundlak": parts.mundlak, "within_between": parts.within_between}
    logliks = {name: -0.5 * fitted.ml_state.optimum.value for name, fitted in fits.items()}
    return FixedOrRandom(parts.unit, robust.level, panel, joint, wald_ml, wald_reml, verdicts, sentence, notes, logliks)
