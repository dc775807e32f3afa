"""Criteria beyond the likelihood-ratio test, and what is left out of them where it is not cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import ModelError
from .further import with_criteria
from .infer import LIMIT, Rungs, attempt
from .ladder_record import spec_from_dict
from .mixed import MixedFit
from .moments import PanelMoments
from .predictive import PredictiveScore, left_out_score
from .predictive_ahead import forward_score
from .said import whole
from .selection import AHEAD, best_by, compare_scores, criteria_sentence, criteria_table
from .variants import period_columns

# The outermost level's groups are left out one by one up to this number, else by folds.
FOLDS, ONE_BY_ONE = 5, 20
# Variants beside the climb that a note names.
NAMED = 6
# Work (groups times columns squared, times folds) that all log scores of a rung may cost.
SCORES = 2e6


def criteria(rungs: Rungs, chosen: str, info: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The criteria of every fitted rung in one table, and what they choose in words."""

    def make() -> dict[str, Any]:
        specs = {n: spec_from_dict(rungs.records[n]["extra"]["spec"]) for n in rungs.records}
        own = with_criteria(specs, chosen)
        if max(rungs.cost(n) for n in own) > LIMIT:
            raise ModelError("with this many groups they would take minutes; AIC and BIC stand in the ladder.")
        fits: dict[str, MixedFit] = {n: rungs[n] for n in dict.fromkeys([*own, chosen])}
        table = criteria_table(fits, levels=[])
        # Scores mean many refits: of the rungs under the chosen errors, and of the chosen one's twin without them.
        twin = rungs.same(replace(specs[chosen], errors="iid"))
        scored = {n: f for n, f in fits.items() if specs[n].errors == specs[chosen].errors or n in (chosen, twin)}
        notes, scores = _scores(scored, rungs, info, seed)
        if len(scored) < len(fits):
            notes.append("Log scores are of the rungs under the chosen errors, and of the chosen rung without them.")
        for key, found in scores.items():
            compared = compare_scores(found)
            for row in table:
                if row["rung"] in compared:
                    row["scores"][key] = compared[row["rung"]]
        left = [n for n in rungs.records if n not in fits]
        if left:
            names = ", ".join(left[:NAMED]) + (f" and {whole(len(left) - NAMED)} more" if len(left) > NAMED else "")
            notes.append(f"AIC and BIC of {names} stand in the ladder; the other criteria were not computed.")
        return {"table": table, "best": best_by(table), "sentence": criteria_sentence(table), "notes": notes}

    return attempt(make)


def _scores(
    fits: Mapping[str, MixedFit], rungs: Rungs, info: Mapping[str, Any], seed: int
) -> tuple[list[str], dict[str, dict[str, PredictiveScore]]]:
    """Log scores without groups and ahead in time, as far as they are cheap."""
    panel = rungs.panel
    moments, notes = panel.moments, []
    scores: dict[str, dict[str, PredictiveScore]] = {}
    for level in dict.fromkeys([*moments.levels[:1], *moments.levels[-1:]]):
        groups = len(moments.starts(moments.levels.index(level)))
        k = None if groups <= ONE_BY_ONE else FOLDS
        folds = groups if k is None else k
        if groups < 3:
            notes.append(f"Too few groups of {level} to leave any out.")
            continue
        if max(rungs.cost(n) for n in fits) * folds > SCORES:
            notes.append(
                f"Log scores without {level} were left out: {whole(folds)} more fits of every rung are not cheap here."
            )
            continue
        for rung, fitted in fits.items():
            try:
                found = left_out_score(fitted, level, k=k, seed=seed, panel=panel)
            except ModelError as error:
                notes.append(f"{rung}: {error}")
                continue
            scores.setdefault(level, {})[rung] = found
    dummies = set(period_columns(((c["name"], c.get("factor")) for c in info.get("columns") or []), info))
    if panel.periods is None:
        notes.append("No score ahead in time: the panel has no time column, or too many periods.")
    elif any(dummies.intersection(f.spec.fixed) for f in fits.values()):
        notes.append("No score ahead in time: the model has an effect of each period, which the past cannot tell.")
    else:
        for rung, fitted in fits.items():
            ahead = _ahead(fitted, panel, notes, rung, rungs.cost(rung))
            if ahead is not None:
                scores.setdefault(AHEAD, {})[rung] = ahead
    return notes, scores


def _ahead(fitted: MixedFit, panel: PanelMoments, notes: list[str], rung: str, work: float) -> PredictiveScore | None:
    if work * 5 > SCORES:
        notes.append(f"{rung}: the score ahead in time was left out: five more fits are not cheap here.")
        return None
    try:
        assert panel.periods is not None
        step = None if panel.lags is None else panel.lags.step
        return forward_score(fitted.problem.moments, panel.periods, fitted.spec, step=step)
    except ModelError as error:
        notes.append(f"{rung}: {error}")
        return None
