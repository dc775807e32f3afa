"""Assumptions: the checks, and the residuals and random effects they look at."""

from __future__ import annotations

from ...figures import pictures
from ..context import Context
from ..limits import serial
from ..numbers import Num, finite
from ..parts import Column, Content, Sentence, Table

TITLE = "Assumptions"
WORDS = {"ok": "ok", "look": "look", "problem": "problem", "not applicable": "not applicable"}
ORDER = ("problem", "look", "ok", "not applicable")


def build(context: Context) -> Content | None:
    drawn = [p for n in ("residual_fitted", "residual_qq", "random_qq", "residual_groups") for p in pictures(n, context)]
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
    for state, words in (("problem", "a problem"), ("look", "something to look at"), ("ok", "nothing")):
        if state in found:
            values[state] = context.whole(len(found[state]))
            parts.append(f"{{{state}}} found {words}")
    return Sentence("Of {ran} {noun}, " + ", ".join(parts) + ".", **values)


def _table(context: Context) -> Table:
    columns = [
        Column("status", "Status", "status"), Column("check", "Check", "text"), Column("statistic", "Statistic"),
        Column("rule", "Rule", "text"), Column("meaning", "What it means here", "text"), Column("action", "What to do", "text"),
    ]  # fmt: skip
    checks = list(enumerate((context.data.checks or {}).get("checks") or []))
    checks.sort(key=lambda ic: ORDER.index(ic[1].get("status")) if ic[1].get("status") in ORDER else 9)
    rows = []
    for i, c in checks:
        value = c.get("statistic")
        statistic = Num(value, context.num.significant(value), f"checks.json#/checks/{i}/statistic") if finite(value) else (
            str(value) if isinstance(value, str) else None
        )  # fmt: skip
        rows.append([
            str(c.get("status")), str(c.get("title") or c.get("name")), statistic, str(c.get("rule") or ""),
            str(c.get("meaning") or ""), str(c.get("action") or ""),
        ])  # fmt: skip
    return Table("checks", "The checks", columns, rows)
