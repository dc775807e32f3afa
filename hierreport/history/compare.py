"""What changed from one run to another: rows, estimates, choice, checks, each with its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .attribution import Cause, Step, attribute, causes, path_between
from .rows import compare_rows
from .run import Run
from .schema import source_columns
from .words import sentence


def compare(before: Run, now: Run) -> dict[str, Any]:
    """What changed between two runs of an analysis.

    Args:
        before, now: kept runs or results.

    Returns:
        ``identical``: nothing below differs; ``causes``: what differs in data, config, code and environment; ``data``:
        see ``rows.compare_rows`` (``source``: see ``schema``); ``steps``: how changes of estimates are divided, and what
        was refitted for it; ``noise``: independent groups of the test, and why there is none; ``fixed``: [{term, before,
        now, change, se_before, se_now, se_change, z, df, p, method, parts, attributed_to}] of the chosen rungs by REML
        (z and p: of the part that the rows make, see ``noise``); ``variance``: [{level, term, what, before, now, change,
        parts, attributed_to}] (standard deviations; ``what`` is sd, sigma or rho); ``icc``: [{level, …}]; ``choice``:
        {before, now, changed, reason, attributed_to}; ``checks``: those whose status turned [{name, title, before, now,
        attributed_to}]; ``sentence``: all in one.
    """
    why = causes(before, now)
    data = {**compare_rows(before, now), "source": source_columns(before.panel, now.panel)}
    rows = data["rows"]
    moved = any(rows[k] != 0 for k in ("added", "removed", "revised"))
    path = path_between(before, now, why, moved, _nested(data))
    steps, test = path.steps, path.test
    fixed = [_fixed(term, before, now, steps, test) for term in _union(_terms(before), _terms(now))]
    variance = [
        {"level": level, "term": term, "what": what, **_change(steps, ("variance", level, term, what))}
        for level, term, what in _union(_components(before), _components(now))
    ]
    icc = [
        {"level": level, **_change(steps, ("icc", level))}
        for level in _union(before.record["reml"].get("icc") or {}, now.record["reml"].get("icc") or {})
    ]
    found: dict[str, Any] = {
        "causes": why,
        "data": data,
        "steps": [s.to_dict() for s in steps],
        "noise": {**(test.about if test else {"level": None, "groups": None}), "not_available": path.not_available or None},
        "fixed": fixed,
        "variance": variance,
        "icc": icc,
        "choice": _choice(before, now, why),
        "checks": _checks(before, now, why),
    }
    found = {"identical": _identical(found), **found}
    return {**found, "sentence": sentence(found).text}


def _fixed(term: str, before: Run, now: Run, steps: list[Step], test: Any) -> dict[str, Any]:
    entry = {"term": term, **_change(steps, ("fixed", term))}
    for name, run in (("se_before", before), ("se_now", now)):
        entry[name] = next((f["se"] for f in run.record["reml"]["fixed"] if f["term"] == term), None)
    tested = test.terms.get(term) if test else None
    return entry | (tested or {"se_change": None, "z": None, "df": None, "p": None, "method": "not available"})


def _nested(data: Mapping[str, Any]) -> str:
    """Whether the present rows are the earlier ones and more ("now"), or fewer ("before"); "" otherwise."""
    rows = data["rows"]
    if rows["revised"] != 0:
        return ""
    return "now" if not rows["removed"] else "before" if not rows["added"] else ""


def _change(steps: list[Step], key: tuple[str, ...]) -> dict[str, Any]:
    first, last = steps[0].before.get(key), steps[-1].now.get(key)
    change = None if first is None or last is None else last - first
    parts, label = attribute(steps, key)
    return {"before": first, "now": last, "change": change, "parts": parts, "attributed_to": label}


def _choice(before: Run, now: Run, why: Mapping[str, Cause]) -> dict[str, Any]:
    changed = before.chosen != now.chosen or before.record["formula"] != now.record["formula"]
    return {
        "before": before.chosen,
        "now": now.chosen,
        "changed": changed,
        "formula_before": before.record["formula"],
        "formula_now": now.record["formula"],
        "reason": now.ladder["choice"].get("reason"),
        "attributed_to": _any_of(why) if changed else "",
    }


def _checks(before: Run, now: Run, why: Mapping[str, Cause]) -> list[dict[str, Any]]:
    old, new = ({c["name"]: c for c in r.checks.get("checks") or ()} for r in (before, now))
    found = []
    for name in _union(old, new):
        was, is_ = ((d.get(name) or {}).get("status") for d in (old, new))
        if was != is_:
            title = (new.get(name) or old[name]).get("title")
            found.append({"name": name, "title": title, "before": was, "now": is_, "attributed_to": _any_of(why)})
    return found


def _any_of(why: Mapping[str, Cause]) -> str:
    """The causes that differ; where several do, which of them it was is not known."""
    return " or ".join(name for name, cause in why.items() if cause["changed"])


def _identical(found: Mapping[str, Any]) -> bool:
    data = found["data"]
    rows = [data["rows"].get(k) for k in ("added", "removed", "revised")]
    moved = [e for part in ("fixed", "variance", "icc") for e in found[part] if e["change"] != 0]
    columns = [*data["columns"]["came"], *data["columns"]["went"]]
    return not (any(r != 0 for r in rows) or columns or moved or found["choice"]["changed"] or found["checks"])


def _terms(run: Run) -> list[str]:
    return [f["term"] for f in run.record["reml"]["fixed"]]


def _components(run: Run) -> list[tuple[str, str, str]]:
    """Levels' standard deviations, the residual one, rho."""
    reml = run.record["reml"]
    found = [(r["level"], term, "sd") for r in reml.get("random") or () for term in r["terms"]]
    return [*found, ("residual", "", "sigma"), *([("residual", "", "rho")] if reml.get("rho") is not None else [])]


def _union(first: Any, second: Any) -> list[Any]:
    return list(dict.fromkeys([*second, *first]))
