"""How far the conclusions move when what a check advises is done: the matching analyses of sensitivity.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from ..said import quote
from .record import LOOK, PROBLEM, Check

# Names of the analyses (patterns) that do what each check advises. Checks that are not here advise what none of them
# does: other columns, another scale of the outcome, other data.
DONE_BY: dict[str, tuple[str, ...]] = {
    "serial_correlation": ("errors:ar1", "errors:car1", "cluster_robust"),
    "shared_shocks": ("crossed",),
    "constant_variance": ("variances", "cluster_robust"),
    "variance_across_groups": ("variances", "cluster_robust"),
    "residuals_normal": ("outlying_rows", "robust"),
    "random_effects_normal": ("robust",),
    "outlying_rows": ("outlying_rows", "robust"),
    "outlying_groups": ("groups:*", "robust"),
    "influence": ("groups:*", "robust"),
    "within_between": ("within_between",),
}


def with_consequences(
    checks: list[Check], sensitivity: Mapping[str, Any] | None, rungs: Mapping[str, Mapping[str, Any]]
) -> list[Check]:
    """The checks that ask for something, with what happens when it is done.

    Args:
        checks: all checks.
        sensitivity: sensitivity.json of the same rung; None where there is none.
        rungs: records of the rungs by name, of which the advised one may be one.
    """
    if sensitivity is None:
        return checks
    analyses = list(enumerate(sensitivity.get("analyses") or []))
    out = []
    for check in checks:
        if check.status in (LOOK, PROBLEM):
            patterns = DONE_BY.get(check.name, ()) + _rungs(check, sensitivity["rung"], rungs)
            found = [(i, a) for p in patterns for i, a in analyses if fnmatchcase(a["name"], p)]
            check = replace(check, consequences=[_consequence(i, a, sensitivity["rung"]) for i, a in found])
        out.append(check)
    return out


def _rungs(check: Check, chosen: str, rungs: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Rungs of the ladder that are what a check advises: the next simpler form, or one with the missed slope."""
    rungs = {name: r for name, r in rungs.items() if not r.get("refused")}
    if check.name == "random_part":
        mine = rungs[chosen].get("extra") or {}
        wanted = (mine.get("base"), rungs[chosen].get("errors"), int(mine.get("step") or 0) + 1)
        simpler = [
            name
            for name, r in rungs.items()
            if (extra := r.get("extra") or {}) and (extra.get("base"), r.get("errors"), extra.get("step")) == wanted
        ]
        return tuple(f"rung:{name}" for name in simpler[:1])
    if check.name == "missed_slopes" and check.details.get("slopes"):
        slope = check.details["slopes"][0]
        richer = [
            name
            for name, r in rungs.items()
            if any(b["level"] == slope["level"] and slope["term"] in b["terms"] for b in r["reml"].get("random") or [])
        ]
        return tuple(f"rung:{name}" for name in richer)
    return ()


def _consequence(place: int, analysis: Mapping[str, Any], chosen: str) -> dict[str, Any]:
    """One analysis in short: whether the conclusion stands, what moves most, the choice, and all that in words."""
    moves = [c for c in analysis.get("coefficients") or [] if c.get("change_in_se") is not None]
    most = max(moves, key=lambda c: abs(c["change_in_se"]), default=None)
    if analysis.get("status") == "done":
        said = quote(analysis, "sentence", f"sensitivity.json#/analyses/{place}")
        said = said[:1].lower() + said[1:].replace("stands: ", "stands; ").replace("not stand: ", "not stand; ")
        if analysis.get("choice") not in (None, chosen):
            said += f" The ladder would then choose {analysis['choice']}."
    else:
        said = f"not available ({str(analysis.get('reason') or 'it could not be made').rstrip('.')})."
    return {
        "analysis": analysis["name"],
        "title": analysis["title"],
        "stands": analysis.get("stands"),
        "term": most["term"] if most else None,
        "change_in_se": most["change_in_se"] if most else None,
        "choice": analysis.get("choice"),
        "text": f"{analysis['title']}: {said}",
    }
