"""Missed slopes: every numeric predictor tried as a random slope of the innermost level, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import lrt
from .bootstrap_pairs import embedded
from .errors import ModelError
from .mixed import MixedFit, State
from .ml_only import fit_ml
from .moments import PanelMoments
from .problem import INTERCEPT, build
from .records import Record, Spoken
from .said import Said, mark, whole
from .spec import LevelSpec, ModelSpec

ALPHA = 0.05
# Groups times columns squared, summed over the slopes tried: beyond this the fits would take minutes.
WORK = 3e6


@dataclass(frozen=True)
class Slope(Record):
    """One predictor tried: its test against the chosen rung; ``p_holm`` counts all that were tried (Holm 1979)."""

    term: str
    rung: str
    formula: str
    loglik: float | None = None
    statistic: float | None = None
    df: int | None = None
    p: float | None = None
    p_holm: float | None = None
    sd: float | None = None
    singular: bool | None = None
    asked: bool = False
    refused: str | None = None


@dataclass(frozen=True)
class MissedSlopes(Spoken):
    """What came of them; ``status`` is "done", or "not available" with a reason."""

    status: str
    reason: str
    rung: str
    level: str
    sentence: str
    tried: list[Slope] = field(default_factory=list)

    def register(self) -> list[dict[str, Any]]:
        """Entries of ``ladder.json``'s register."""
        out = []
        for slope in self.tried:
            if slope.refused:
                fate = f"missed slope: refused: {slope.refused}"
            else:
                verdict = "the data ask for it" if slope.asked else "not needed"
                fate = f"missed slope, tried beside {self.rung}: {verdict} (Holm-adjusted p {_p(slope.p_holm)})"
            out.append({"rung": slope.rung, "formula": slope.formula, "loglik": slope.loglik, "fate": Said(fate)})
        return out


def missed_slopes(
    panel: PanelMoments,
    rung: str,
    fitted: MixedFit,
    numeric: Sequence[str],
    formula: Callable[[ModelSpec], str],
) -> MissedSlopes:
    """Try every numeric predictor without a random slope at the innermost level as one, by ML.

    Args:
        panel: moments of the panel.
        rung, fitted: the chosen rung.
        numeric: columns that are no dummies of a factor.
        formula: gives a specification's formula.
    """
    moments, spec = panel.moments, fitted.spec
    if not moments.levels:
        return MissedSlopes("not available", "The panel has no groups.", rung, "", "")
    level = moments.levels[-1]
    own = next((s for s in spec.random if s.level == level), LevelSpec(level, ()))
    terms = [t for t in numeric if t in fitted.problem.basis.fixed and t not in own.terms and _varies(panel, t)]
    if not terms:
        why = "Every numeric predictor that varies within groups has a random slope already."
        return MissedSlopes("not available", why, rung, level, "")
    work = len(terms) * len(moments.n) * len(moments.columns) ** 2
    if work > WORK:
        why = (
            f"{whole(len(terms))} more fits of {whole(len(moments.n))} groups would take long; the checks have "
            f"score tests."
        )
        return MissedSlopes("not available", why, rung, level, "")
    null = _ml(fitted.ml_state)
    tried = [_try(panel, rung, fitted, null, own, term, formula) for term in terms]
    tried = _holm(tried)
    asked = [s for s in tried if s.asked]
    name = level.rsplit("/", 1)[-1]
    if asked:
        parts = [f"{s.term} (statistic {_fixed(s.statistic)}, Holm-adjusted p {_p(s.p_holm)})" for s in asked]
        sentence = (
            f"The data ask for random slopes by {name} that {rung} does not have: {', '.join(parts)}. Without them the "
            "standard errors of these effects are too small."
        )
    else:
        sentence = f"No further predictor asks for a random slope by {name} (tried: {', '.join(terms)})."
    return MissedSlopes("done", "", rung, level, sentence, tried)


def _varies(panel: PanelMoments, term: str) -> bool:
    """Whether a column varies within innermost groups."""
    moments = panel.moments
    rows = {int(j): a for a, j in enumerate(moments.z_index)}
    j = moments.columns.index(term)
    if j not in rows or 0 not in rows:
        return True
    constant = moments.products[rows[0]]
    within = moments.products[rows[j], j].sum() - float(np.sum(constant[j] ** 2 / constant[0]))
    return within > 1e-9 * moments.n_obs


def _ml(state: State) -> dict[str, Any]:
    criterion = state.criterion
    n_par = len(criterion.problem.basis.x_index) + criterion.parameters.size + 1
    return {
        "loglik": -0.5 * state.optimum.value,
        "n_par": n_par,
        "singular": state.singular,
        "converged": state.optimum.converged,
    }


def _try(
    panel: PanelMoments,
    rung: str,
    fitted: MixedFit,
    null: Mapping[str, Any],
    own: LevelSpec,
    term: str,
    formula: Callable[[ModelSpec], str],
) -> Slope:
    spec = fitted.spec
    with_intercept = next((i for i, block in enumerate(own.blocks) if INTERCEPT in block), None)
    blocks = list(own.blocks)
    if not blocks:
        # A slope without an intercept would be a slope through the predictor's zero, wherever that is.
        blocks.append((INTERCEPT, term))
    elif with_intercept is None or len(own.blocks) > 1:
        blocks.append((term,))
    else:
        blocks[with_intercept] = (*blocks[with_intercept], term)
    random = (*(s for s in spec.random if s.level != own.level), LevelSpec(own.level, tuple(blocks)))
    wider = ModelSpec(spec.fixed, random, spec.errors, spec.variances, spec.crossed)
    name, text = f"{rung}+slope[{term}]", formula(wider)
    try:
        state = _fit_ml(panel, wider, fitted.ml_state)
    except (ModelError, np.linalg.LinAlgError) as refusal:
        return Slope(term, name, text, refused=str(refusal))
    ml = _ml(state)
    found = lrt.test((rung, spec, null), (name, wider, ml))
    place = next(i for i, c in enumerate(state.components) if c.name == own.level)
    member = state.components[place].terms.index(term)
    sd = float(np.sqrt(max(state.covariance(place)[member, member], 0.0)))
    return Slope(
        term, name, text, ml["loglik"], found.statistic, found.df, found.p_boundary, None, sd, bool(ml["singular"])
    )


def _fit_ml(panel: PanelMoments, spec: ModelSpec, null: State) -> State:
    """The ML optimum, from the smaller model's; from all starts where that falls short of the smaller model."""
    if spec.crossed is not None:
        return fit_ml(panel, spec)
    problem = build(panel.moments, spec)
    head = embedded(problem, null.criterion.problem, [f @ f.T for f in null.factors])
    warm = np.concatenate([head, null.theta[null.criterion.parameters.n_lambda :]])
    state = fit_ml(panel, spec, warm)
    if state.optimum.value > null.optimum.value + 1e-6:
        state = fit_ml(panel, spec, warm, None)
    return state


def _holm(tried: list[Slope]) -> list[Slope]:
    """Adjusted p-values, and which of them ask for the slope."""
    known = sorted(((s.p, s) for s in tried if s.p is not None), key=lambda pair: pair[0])
    running, adjusted = 0.0, {}
    for i, (p, s) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - i)))
        adjusted[s.term] = running
    return [
        replace(s, p_holm=adjusted[s.term], asked=adjusted[s.term] < ALPHA) if s.term in adjusted else s for s in tried
    ]


def _p(p: float | None) -> str:
    return "unknown" if p is None else mark(p, "< 0.001") if p < 0.001 else f"= {mark(p, f'{p:.3f}')}"


def _fixed(value: float | None) -> str:
    return "–" if value is None else mark(value, f"{value:.1f}")
