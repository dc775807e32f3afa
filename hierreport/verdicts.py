"""Verdicts in words: whether each predictor's random-effects estimate can be defended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decomposition import Decomposition
from .panel_estimators import PanelEstimators
from .records import FixedEffect, Spoken
from .robust import RobustTest
from .said import mark

ALPHA = 0.05
FEW_DF = 4.0
NEGLIGIBLE = 0.1


@dataclass(frozen=True)
class Verdict(Spoken):
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
        f"one more unit of {term} goes with {_num(within.estimate)} within the same {unit} and with "
        f"{_num(between.estimate)} between different ones"
    )
    largest = max(abs(bias.ci_low), abs(bias.ci_high))
    margin = 0.5 * (random.ci_high - random.ci_low)
    name = f"{term}'s random-effects estimate ({_num(random.estimate)})"
    if largest <= NEGLIGIBLE * abs(random.estimate):
        return "defended", (
            f"{name} can be defended: {facts}, but it follows the within estimate; leaving the group means out moves "
            f"it by {_share(largest / abs(random.estimate))} at most."
        )
    if bias.df is not None and bias.df < FEW_DF:
        return "undecided", (
            f"It cannot be decided whether {name} can be defended: {facts}, and too few groups inform the difference "
            f"to test it ({mark(bias.df, f'{bias.df:.1f}')} degrees of freedom)."
        )
    if bias.p < ALPHA:
        return "not defended", (
            f"{name} cannot be defended: {facts}, and it mixes the two: it differs from the within estimate by more "
            f"than chance (by {_num(bias.estimate)}, p {_p(bias.p)}). Report the within estimate, "
            f"{_num(within.estimate)} "
            f"({_num(within.ci_low)} to {_num(within.ci_high)})."
        )
    if largest <= max(abs(random.estimate), margin):
        return "defended", (
            f"{name} can be defended: {facts}; its difference from the within estimate ({_num(bias.estimate)}) can be "
            f"chance (p {_p(bias.p)}), and is at most {_num(largest)}."
        )
    return "undecided", (
        f"It cannot be decided whether {name} can be defended: {facts}; its difference from the within estimate "
        f"({_num(bias.estimate)}) can be chance (p {_p(bias.p)}), but may be as large as {_num(largest)}."
    )


def summary(unit: str, joint: RobustTest | None, verdicts: list[Verdict], panel: PanelEstimators | None) -> str:
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


def _p(p: float) -> str:
    if p < 0.001:
        return mark(p, "< 0.001")
    return f"= {mark(p, f'{p:.3f}' if p < 0.1 else f'{p:.2f}')}"


def _num(x: float) -> str:
    return mark(x, f"{x:.3g}")


def _share(x: float) -> str:
    return mark(x, f"{100.0 * x:.2g} %")
