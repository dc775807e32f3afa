"""Alert rules: what changed since the last run that a person should see.

A rule is a function of ``changes.json`` (what changed, as a dictionary) and its limit from the configuration. It gives
one sentence per finding. ``RULES`` holds all of them by the configuration key that sets their limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Changes = Mapping[str, Any]
Rule = Callable[[Changes, Any], Iterator[str]]
RULES: dict[str, Rule] = {}
_SHOWN = 5
_WORSE = {"not applicable": 0, "ok": 0, "look": 1, "problem": 2}


@dataclass(frozen=True)
class Alert:
    """A finding: the configuration key of its rule, and one sentence."""

    rule: str
    message: str


def evaluate(changes: Changes | None, limits: Mapping[str, Any]) -> list[Alert]:
    """All alerts of an analysis.

    Args:
        changes: content of changes.json; None where there is none.
        limits: limit by rule; a rule without one, or with None or False, is off.
    """
    if not changes or not changes.get("previous"):
        return []
    on = [(key, rule, limits.get(key)) for key, rule in RULES.items()]
    return [
        Alert(key, message)
        for key, rule, limit in on
        if limit is not None and limit is not False
        for message in rule(changes, limit)
    ]


def _rule(key: str) -> Callable[[Rule], Rule]:
    def enter(function: Rule) -> Rule:
        RULES[key] = function
        return function

    return enter


@_rule("columns")
def columns(changes: Changes, _: Any) -> Iterator[str]:
    """Columns of the data that came, went or changed their kind, whether the model uses them or not."""
    found = _at(changes, "data", "source")
    for key, word in (("came", "new"), ("went", "no longer there")):
        if found.get(key):
            yield f"columns {word}: {_list(found[key])}."
    for change in found.get("types") or ():
        yield f"column {change['name']} was of the kind '{change['before']}' and is now of the kind '{change['now']}'."


@_rule("groups_gone")
def groups_gone(changes: Changes, limit: Any) -> Iterator[str]:
    """Groups that are no longer there, by level."""
    for level, found in _at(changes, "data", "groups").items():
        went = found.get("went_count") or 0  # no more than a few are named
        if went > limit:
            yield f"{_count(went, 'group')} of {level} no longer there: {_list(found['went'], went)}."


@_rule("rows_fall")
def rows_fall(changes: Changes, limit: Any) -> Iterator[str]:
    """Fewer rows, by more than a share."""
    before, now = _rows(changes)
    if before and now is not None and (before - now) / before > limit:
        yield f"rows fell by {_percent((before - now) / before)}, from {before:,} to {now:,}."


@_rule("rows_rise")
def rows_rise(changes: Changes, limit: Any) -> Iterator[str]:
    """More rows, by more than a share."""
    before, now = _rows(changes)
    if before and now is not None and (now - before) / before > limit:
        yield f"rows rose by {_percent((now - before) / before)}, from {before:,} to {now:,}."


@_rule("rows_revised")
def rows_revised(changes: Changes, limit: Any) -> Iterator[str]:
    """Rows whose values were revised, as a share of the earlier rows."""
    before, _ = _rows(changes)
    revised = _at(changes, "data", "rows").get("revised")
    if before and revised and revised / before > limit:
        yield f"{revised:,} of {before:,} earlier rows were revised ({_percent(revised / before)})."


@_rule("choice")
def choice(changes: Changes, _: Any) -> Iterator[str]:
    """Another rung was chosen."""
    found = _at(changes, "choice")
    if found.get("changed"):
        yield f"the chosen model is now {found['now']}; it was {found['before']}."


@_rule("checks")
def checks(changes: Changes, _: Any) -> Iterator[str]:
    """Checks that turned for the worse."""
    for check in changes.get("checks") or ():
        if check["before"] is not None and _WORSE.get(str(check["now"]), 0) > _WORSE.get(str(check["before"]), 0):
            yield f"the check {check['name']} turned from '{check['before']}' to '{check['now']}'."


@_rule("coefficient_se")
def coefficient_se(changes: Changes, limit: Any) -> Iterator[str]:
    """Coefficients that moved by more than so many standard errors (of the new estimate)."""
    for term, before, now, error in _coefficients(changes):
        if error and abs(now - before) / error > limit:
            size = f"{abs(now - before) / error:.1f} standard errors"
            yield f"{term} moved by {size}, from {before:.4g} to {now:.4g}."


@_rule("coefficient_percent")
def coefficient_percent(changes: Changes, limit: Any) -> Iterator[str]:
    """Coefficients that moved by more than so many percent of the earlier estimate."""
    for term, before, now, _ in _coefficients(changes):
        if before and abs(now - before) / abs(before) * 100 > limit:
            yield f"{term} moved by {_percent(abs(now - before) / abs(before))}, from {before:.4g} to {now:.4g}."


@_rule("coefficient_change")
def coefficient_change(changes: Changes, limit: Any) -> Iterator[str]:
    """Coefficients that moved by more than an amount."""
    for term, before, now, _ in _coefficients(changes):
        if abs(now - before) > limit:
            yield f"{term} moved by {abs(now - before):.4g}, from {before:.4g} to {now:.4g}."


def _at(changes: Changes, *path: str) -> dict[str, Any]:
    """A part of the changes; empty where it is missing."""
    at: Any = changes
    for key in path:
        at = (at or {}).get(key)
    return at or {}


def _rows(changes: Changes) -> tuple[int | None, int | None]:
    rows = _at(changes, "data", "rows")
    return rows.get("before"), rows.get("now")


def _coefficients(changes: Changes) -> Iterator[tuple[str, float, float, float | None]]:
    """Term, estimate before and now, standard error now; terms that came or went are left out."""
    for entry in changes.get("fixed") or ():
        if entry.get("before") is not None and entry.get("now") is not None:
            yield entry["term"], entry["before"], entry["now"], entry.get("se_now")


def _list(names: list[str], total: int | None = None) -> str:
    """The first of some names, and how many more there are."""
    shown = names[:_SHOWN]
    more = (len(names) if total is None else total) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
