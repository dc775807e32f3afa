"""Causes of a change: data, config, code or environment, by refitting where several changed at once.

From the earlier run's estimates to the present ones there are up to three steps, each of which changes one thing: the
earlier model on the earlier rows by the present code (what differs is code or environment), the same model on the
present rows (data), the present model on the present rows (config, or the ladder's choice). A change is the sum of its
steps. Where the earlier model cannot be fitted to the present rows, the present one is fitted to the earlier rows
instead; where neither can be, the rest of the change stays undivided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .run import Run

Cause = dict[str, Any]
Point = dict[tuple[str, ...], float]
# Keys of the configuration that decide which rows are used and what stands in them.
ROW_KEYS = ("formula", "time", "time_step", "weights", "sheet", "variances", "crossed")
# A part below this share of the largest value on the way is the optimizer's last digits.
ROUNDING = 1e-7


@dataclass(frozen=True)
class Step:
    """One step between two sets of estimates, and what it changes.

    Attributes:
        cause: data, config, code or environment, several joined by " or " where they cannot be told apart; choice where
            the ladder took another rung.
        what: how the estimates at its ends came about.
        before, now: estimates by (part, …) keys.
    """

    cause: str
    what: str
    before: Point
    now: Point

    def to_dict(self) -> dict[str, str]:
        return {"cause": self.cause, "what": self.what}


def causes(before: Run, now: Run) -> dict[str, Cause]:
    """What differs in data, config, code and environment: ``changed``, and ``what`` [{name, before, now}]."""
    found: dict[str, Cause] = {}
    for name, key in (("data", "files"), ("config", "config"), ("code", "code"), ("environment", "environment")):
        old, new = before.about.get(key) or {}, now.about.get(key) or {}
        if name == "data":
            old, new = ({f["name"]: f["sha256"] for f in files} for files in (old, new))
        what = [
            {"name": k, "before": old.get(k), "now": new.get(k)} for k in sorted({*old, *new}) if old.get(k) != new.get(k)
        ]
        changed = before.about["parts"][name] != now.about["parts"][name]
        found[name] = {"changed": changed, "what": what if changed else []}
    return found


def point(record: Mapping[str, Any]) -> Point:
    """The REML estimates of a rung that are compared."""
    reml = record["reml"]
    found: Point = {("fixed", f["term"]): f["estimate"] for f in reml["fixed"]}
    for block in reml.get("random") or ():
        found |= {("variance", block["level"], t, "sd"): sd for t, sd in zip(block["terms"], block["sd"], strict=True)}
    found["variance", "residual", "", "sigma"] = reml["sigma"]
    if reml.get("rho") is not None:
        found["variance", "residual", "", "rho"] = reml["rho"]
    return found | {("icc", level): share for level, share in (reml.get("icc") or {}).items()}


def path_between(before: Run, now: Run, why: Mapping[str, Cause]) -> tuple[list[Step], Any]:
    """The steps from one run's estimates to the other's, and the test of the step that the data make.

    Returns:
        at least one step, in order; the test (see ``noise``), None where it cannot be made.
    """
    start, end = point(before.record), point(now.record)
    changed = [name for name, cause in why.items() if cause["changed"]]
    code = " or ".join(name for name in ("code", "environment") if name in changed)
    rows = _rows_cause(why, code)
    same = same_model(before, now)
    if same == now.chosen:
        return [Step(rows or "data", "the same model on both runs' rows", start, end)], None
    if same is not None:
        middle = point(now.rungs[same])
        steps = [
            Step(rows or "data", f"{before.chosen} on both runs' rows", start, middle),
            Step("choice", f"from {same} to {now.chosen} on the present rows", middle, end),
        ]
        return steps, None
    return [Step(" or ".join(changed) or "nothing", "undivided", start, end)], None


def _rows_cause(why: Mapping[str, Cause], code: str) -> str:
    """What makes rows differ: the data; the configuration's part in them; else code."""
    config = any(w["name"] in ROW_KEYS for w in why["config"]["what"])
    named = [*(["data"] if why["data"]["changed"] else []), *(["config"] if config else [])]
    return " or ".join(named) or code


def same_model(before: Run, now: Run) -> str | None:
    """The present rung that is the earlier run's chosen model: same formula, errors, variances and crossed effect."""
    keys = ("formula", "errors", "variances", "crossed")
    wanted = [before.record.get(k) for k in keys]
    return next((name for name, r in now.rungs.items() if [r.get(k) for k in keys] == wanted), None)


def attribute(steps: list[Step], key: tuple[str, ...]) -> tuple[dict[str, float] | None, str]:
    """The parts of a change by cause, and the causes that matter, the largest first.

    Returns:
        parts that add to the change, None where a step lacks the quantity; a label, empty where nothing changed.
    """
    ends = [(s.cause, s.before.get(key), s.now.get(key)) for s in steps]
    if any(a is None or b is None for _, a, b in ends):
        there = [cause for cause, a, b in ends if (a is None) != (b is None)]
        return None, " or ".join(dict.fromkeys(there))
    parts: dict[str, float] = {}
    for cause, a, b in ends:
        parts[cause] = parts.get(cause, 0.0) + (b or 0.0) - (a or 0.0)
    least = ROUNDING * max(abs(v or 0.0) for _, a, b in ends for v in (a, b))
    large = sorted((c for c, v in parts.items() if abs(v) > least), key=lambda c: -abs(parts[c]))
    return parts, " and ".join(large)

