"""Assumptions: the checks, and the residuals and random effects they look at."""

from __future__ import annotations

from ...figures import pictures
from ..context import Context
from ..limits import serial
from ..names import listing
from ..numbers import Num, finite
from ..parts import Column, Content, Sentence, Table

TITLE = "Assumptions"
ORDER = ("problem", "look", "ok", "not applicable")


def build(context: Context) -> Content | None:
    drawn = [
        p for n in ("residual_fitted", "residual_qq", "random_qq", "residual_groups") for p in pictures(n, context)
    ]
    checks = status(context)
    sentence = serial(context)
    if not drawn and not checks and sentence is None:
        return None
    content = Content(pictures=drawn)
    if checks:
        content.findings.append(summary(context))
        content.tables.append(_table(context))
    if sentence:
        content.findings.append(sentence)
    return content


def status(context: Context) -> dict[str, list[str]]:
    """Titles of the checks by status, most serious first."""
    checks = (context.data.checks or {}).get("checks") or []
    found = {s: [str(c.get("title") or c.get("name")) for c in checks if c.get("status") == s] for s in ORDER}
    return {s: titles for s, titles in found.items() if titles}


def summary(context: Context) -> Sentence:
    """How many checks ended how."""
    found = status(context)
    ran = sum(len(v) for s, v in found.items() if s != "not applicable")
    values = {"ran": context.whole(ran), "noun": "checks" if ran != 1 else "check"}
    parts = []
    for state, words in (("problem", "found a problem"), ("look", "worth a look"), ("ok", "in order")):
        if state in found:
            count = len(found[state])
            values[state] = context.whole(count)
            verb = "" if state == "problem" else "is " if count == 1 else "are "
            parts.append(f"{{{state}}} {verb}{words}")
    return Sentence("Of {ran} {noun}, " + listing(parts) + ".", **values)


def _table(context: Context) -> Table:
    columns = [
        Column("status", "Status", "status"),
        Column("check", "Check", "text"),
        Column("statistic", "Statistic"),
        Column("rule", "Rule", "text"),
        Column("meaning", "What it means here", "text"),
        Column("action", "What to do", "text"),
    ]
    checks = list(enumerate((context.data.checks or {}).get("checks") or []))
    checks.sort(key=lambda ic: ORDER.index(ic[1].get("status")) if ic[1].get("status") in ORDER else 9)
    rows = []
    for i, c in checks:
        value = c.get("statistic")
        statistic = (
            Num(value, context.num.significant(value), f"checks.json#/checks/{i}/statistic")
            if finite(value)
            else (str(value) if isinstance(value, str) else None)
        )
        rows.append(
            [
                str(c.get("status")),
                str(c.get("title") or c.get("name")),
                statistic,
                str(c.get("rule") or ""),
                str(c.get("meaning") or ""),
                str(c.get("action") or ""),
            ]
        )
    return Table("checks", "The checks", columns, rows)
