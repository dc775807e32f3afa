"""What limits the conclusion, most serious first."""

from __future__ import annotations

import math
from typing import Any

from .context import Context
from .names import listing
from .parts import Sentence

MOST = 4
FEW_GROUPS = 10


def serial(context: Context) -> Sentence | None:
    """Neighbouring residuals of a group that are alike, where the errors were taken to be independent."""
    source = context.data.residuals or {}
    lag = source.get("lag1") or {}
    r, expected, pairs = lag.get("r"), lag.get("expected_under_independence"), lag.get("pairs") or 0
    if r is None or pairs < 3:
        return None
    values: dict[str, Any] = {
        "one": context.names.level(context.innermost),
        "r": context.fixed_point(r, 2, "residuals.json#/lag1/r"),
        "pairs": context.whole(pairs, "residuals.json#/lag1/pairs"),
    }
    template = "residuals of one {one} in neighbouring periods correlate by {r}"
    if expected is not None:
        values["expected"] = context.fixed_point(expected, 2, "residuals.json#/lag1/expected_under_independence")
        template += " ({expected} would be expected of independent errors; {pairs} pairs)"
    if not _far(r, expected, pairs):
        return Sentence(template + ": no sign of serial correlation.", **values)
    if context.record.get("errors") in ("ar1", "car1"):
        return Sentence(template + ", which the model's correlated errors take into account.", **values)
    if r > (expected or 0.0):
        template += (
            ". The errors are not independent, though this rung takes them to be: its intervals are "
            "probably too narrow "
            "and its p-values too small"
        )
    else:
        template += ". The errors are not independent, though this rung takes them to be"
    return Sentence(template + ".", **values)


def serially_correlated(context: Context) -> bool:
    lag = (context.data.residuals or {}).get("lag1") or {}
    return lag.get("r") is not None and _far(lag["r"], lag.get("expected_under_independence"), lag.get("pairs") or 0)


def _far(r: float, expected: float | None, pairs: float) -> bool:
    return pairs >= 3 and abs(r - (expected or 0.0)) > max(0.1, 3.0 / math.sqrt(pairs))


def limits(context: Context) -> list[Sentence]:
    """At most ``MOST`` sentences; the last says how many more there are."""
    names, found = context.names, []
    checks = (context.data.checks or {}).get("checks") or []
    if serially_correlated(context) and context.record.get("errors") == "iid":
        sentence = serial(context)
        if sentence:
            found.append(sentence)
    if context.estimate.get("singular"):
        found.append(
            Sentence(
                "The chosen fit is singular: a variance was estimated as zero or a correlation as ±1, so "
                "that its random part "
                "is richer than these data can support."
            )
        )
    elif any(r.get("singular") for r in _above(context)):
        which = [n for n in context.order if context.data.rungs[n]["reml"].get("singular")]
        found.append(
            Sentence(
                "Richer rungs ({which}) end in a singular fit: these data cannot tell their variances apart.",
                which=listing(which),
            )
        )
    for level, groups in (context.record.get("groups") or {}).items():
        if groups < FEW_GROUPS:
            found.append(
                Sentence(
                    "There are only {groups} {many}: the variance between them rests on few observations.",
                    groups=context.whole(groups, f"rungs/{context.chosen}.json#/groups/{level.replace('/', '~1')}"),
                    many=names.level(level, 2),
                )
            )
    problems = [
        c
        for c in checks
        if c.get("status") == "problem" and not (found and "serial" in f"{c.get('name')}{c.get('title')}".lower())
    ]
    for check in problems:
        text = " ".join(str(check.get(k) or "").strip() for k in ("meaning", "action")).strip()
        found.append(
            Sentence("{title}: {text}", title=str(check.get("title") or check.get("name")), text=text or "problem")
        )
    lost = context.panel.get("rows_dropped") or 0
    read = context.panel.get("rows_read") or 0
    if read and lost / read > 0.05:
        found.append(
            Sentence(
                "{lost} of {read} rows ({share}) were left out because a value is missing.",
                lost=context.whole(lost, "panel.json#/rows_dropped"),
                read=context.whole(read, "panel.json#/rows_read"),
                share=context.share(lost / read),
            )
        )
    if len(found) > MOST:
        more = len(found) - MOST + 1
        found = [
            *found[: MOST - 1],
            Sentence("{more} further points stand under Assumptions.", more=context.whole(more)),
        ]
    return found


def _above(context: Context) -> list[dict[str, Any]]:
    """Estimates of the rungs above the chosen one."""
    at = context.order.index(context.chosen)
    return [context.data.rungs[n]["reml"] for n in context.order[at + 1 :]]
