"""What limits the conclusion, most serious first."""

from __future__ import annotations

import math
from typing import Any

from ..said import quote
from .context import Context, rung_pointer
from .inference_effects import differences_sentence, robust_limit
from .inference_ladder import missed_limit
from .names import INTERCEPT, listing
from .parts import Sentence

FEW_GROUPS = 10
NEAR_ONE = 0.95
IN_STEP = 0.9995  # a correlation that is shown as 1
# checks that say most about the conclusion come first
OVERTURN = ("influence", "within_between", "shared_shocks")
ORDER = ("influence", "within_between", "shared_shocks", "missed_slopes", "nonlinearity", "constant_variance")


def neighbours(context: Context) -> tuple[float, float | None, float, str, str] | None:
    """(correlation of neighbouring residuals, what independent errors would show, pairs, JSON pointers of the two).

    Under correlated errors these are the innovations, which are independent if the model holds.
    """
    lag = (context.data.residuals or {}).get("lag1") or {}
    pairs = lag.get("pairs") or 0
    if context.record.get("errors") != "iid":
        inner = lag.get("innovations") or {}
        if inner.get("r") is None:
            return None
        at = "residuals.json#/lag1/innovations"
        return inner["r"], inner.get("expected"), pairs, f"{at}/r", f"{at}/expected"
    if lag.get("r") is None or pairs < 3:
        return None
    at = "residuals.json#/lag1"
    return lag["r"], lag.get("expected_under_independence"), pairs, f"{at}/r", f"{at}/expected_under_independence"


def serial(context: Context) -> Sentence | None:
    """Whether neighbouring residuals of a group are alike, and what that means for the intervals."""
    found = neighbours(context)
    if found is None:
        return None
    r, expected, pairs, at_r, at_expected = found
    what = "residuals" if context.record.get("errors") == "iid" else "innovations"
    values: dict[str, Any] = {
        "what": what,
        "one": context.names.level(context.innermost),
        "periods": context.period + "s",
        "r": context.fixed_point(r, 2, at_r),
        "pairs": context.whole(pairs, "residuals.json#/lag1/pairs"),
    }
    template = "{what} of one {one} in neighbouring {periods} correlate by {r}"
    if expected is not None:
        values["expected"] = context.fixed_point(expected, 2, at_expected)
        template += " ({expected} would be expected of independent errors; {pairs} pairs)"
    if not _far(r, expected, pairs):
        left = (
            "no sign of serial correlation" if what == "residuals" else "the AR(1) errors leave no serial correlation"
        )
        return Sentence(template + f": {left}.", **values)
    if what == "innovations":
        return Sentence(template + ": the AR(1) errors do not take up all of the serial correlation.", **values)
    template += ". The errors are not independent, though this rung takes them to be"
    if r > (expected or 0.0):
        template += ": its intervals are probably too narrow and its p-values too small"
    return Sentence(template + ".", **values)


def serially_correlated(context: Context) -> bool:
    """Whether the model leaves serial correlation."""
    found = neighbours(context)
    return found is not None and _far(*found[:3])


def _far(r: float, expected: float | None, pairs: float) -> bool:
    return pairs >= 3 and abs(r - (expected or 0.0)) > max(0.1, 3.0 / math.sqrt(pairs))


def limits(context: Context) -> list[Sentence]:
    """Everything that limits the conclusion, a sentence each: first what may overturn an effect, then what makes the
    model doubtful, then what makes single numbers inexact."""
    checks = (context.data.checks or {}).get("checks") or []
    singular, missed = bool(context.estimate.get("singular")), missed_limit(context)
    said = {"serial_correlation", "adequacy"}  # in sentences of their own
    said |= ({"random_part"} if singular else set()) | ({"missed_slopes"} if missed else set())
    problems = [c for c in checks if c.get("status") == "problem" and c.get("name") not in said]
    problems.sort(key=lambda c: ORDER.index(c["name"]) if c.get("name") in ORDER else len(ORDER))

    def told(found: list[dict[str, Any]]) -> list[Sentence]:
        texts = [quote(c, "meaning", f"checks.json#/checks/{checks.index(c)}") or str(c.get("title")) for c in found]
        return [Sentence("{text}", text=text) for text in texts]

    rho = context.estimate.get("rho")
    parts: list[Sentence | None] = [serial(context) if serially_correlated(context) else None, robust_limit(context)]
    parts += told([c for c in problems if c.get("name") in OVERTURN])
    if rho is not None and rho >= NEAR_ONE:
        parts += [_near_one(context, rho), differences_sentence(context)]
    parts += [_close_choice(context, checks), missed]
    parts += _singular(context) if singular else []
    parts += _few_groups(context)
    parts += told([c for c in problems if c.get("name") not in OVERTURN])
    parts += [_lost_rows(context)]
    return [part for part in parts if part is not None]


def _few_groups(context: Context) -> list[Sentence]:
    """Levels of the chosen rung whose variance rests on few groups."""
    return [
        Sentence(
            "There are only {groups} {many}: the variance between them rests on as few values.",
            groups=context.whole(groups, f"rungs/{context.chosen}.json#/groups/{level.replace('/', '~1')}"),
            many=context.names.level(level, 2),
        )
        for level, groups in (context.record.get("groups") or {}).items()
        if groups < FEW_GROUPS
    ]


def _lost_rows(context: Context) -> Sentence | None:
    """How many rows were left out, where they are more than a twentieth."""
    lost, read = context.panel.get("rows_dropped") or 0, context.panel.get("rows_read") or 0
    if not read or lost / read <= 0.05:
        return None
    return Sentence(
        "{lost} of {read} rows ({share}) were left out because a value is missing.",
        lost=context.whole(lost, "panel.json#/rows_dropped"),
        read=context.whole(read, "panel.json#/rows_read"),
        share=context.share(lost / read),
    )


def _close_choice(context: Context, checks: list[dict[str, Any]]) -> Sentence | None:
    """Whether leaving out one group would change the choice; a problem of influence says so itself."""
    check = next((c for c in checks if c.get("name") == "influence" and c.get("status") == "look"), {})
    levels = (check.get("details") or {}).get("levels") or []
    changes = [c for level in levels for c in (level.get("choice") or {}).get("changes") or []]
    if not changes:
        return None
    rungs = list(dict.fromkeys(str(c["rung"]) for c in changes))
    return Sentence(
        "The choice of the rung is a close one: leaving out any one of {count} of {all} groups gives {rungs}."
        if len(changes) > 1
        else "The choice of the rung is a close one: leaving out one of {all} groups ({name}) gives {rungs}.",
        count=context.whole(len(changes)),
        all=context.whole(sum((level.get("choice") or {}).get("examined") or 0 for level in levels)),
        name=str(changes[0].get("label", "")),
        rungs=listing(rungs[:3], "or"),
    )


def _singular(context: Context) -> list[Sentence]:
    """Which variances are zero and which coefficients move in step, in the chosen fit."""
    names, found = context.names, []
    for r, block in enumerate(context.random):
        many = names.level(block["level"], 2)
        for k, (term, sd) in enumerate(zip(block["terms"], block["sd"], strict=True)):
            what = "baselines" if term == INTERCEPT else f"slopes of {names.term(term)}"
            if not sd:
                template = "The chosen fit is singular: the variance of the {what} of {many} is estimated as zero."
                found.append(Sentence(template, what=what, many=many))
            for j in range(k):
                corr = block["corr"][k][j]
                if corr is None or abs(corr) < IN_STEP:
                    continue
                other, at = block["terms"][j], ("reml", "random", r, "corr")
                found.append(
                    Sentence(
                        "The chosen fit is singular: the {first} and {second} of {many} are estimated as perfectly "
                        "correlated ({corr}), so that these data tell one quantity per {one}, not two.",
                        first="baselines" if other == INTERCEPT else f"slopes of {names.term(other)}",
                        second=what,
                        many=many,
                        one=names.level(block["level"]),
                        corr=context.fixed_point(corr, 2, rung_pointer(context.chosen, *at, k, j)),
                    )
                )
    if not found:
        found.append(Sentence("The chosen fit is singular: its random part is richer than these data can support."))
    return found[:2]


def _near_one(context: Context, rho: float) -> Sentence:
    """Errors that hardly forget: the model is close to one of first differences."""
    rows = context.panel["structure"][context.innermost]["rows_per_group"]
    return Sentence(
        "The correlation of errors from one {period} to the next, {rho}, is close to 1. Over {median} {period}s such "
        "errors look like a baseline of each {one}'s own, and these data can hardly tell the two apart; the effects "
        "rest on changes over time more than on differences between {many}.",
        period=context.period,
        rho=context.fixed_point(rho, 3, f"rungs/{context.chosen}.json#/reml/rho"),
        median=context.figure(rows["median"], 3),
        one=context.names.level(context.innermost),
        many=context.names.level(context.innermost, 2),
    )
