"""Sensitivity: the main coefficients under other models, rows and groups, and whether the conclusions stand."""

from __future__ import annotations

from typing import Any

from ...figures import pictures
from ...figures.sensitivity import by_movement
from ...said import quote
from ..context import Context
from ..numbers import Num, finite
from ..parts import Column, Content, Sentence, Table

TITLE = "Sensitivity"
MOST = 4  # coefficients in the table


def build(context: Context) -> Content | None:
    source = context.data.sensitivity or {}
    analyses = source.get("analyses") or []
    if not analyses:
        return None
    found = [
        Sentence("{text}", text=quote(source, key, "sensitivity.json#"))
        for key in ("verdict", "rule")
        if source.get(key)
    ]
    return Content(found, pictures=pictures("sensitivity", context), tables=[_table(context, analyses)])


def _table(context: Context, analyses: list[dict[str, Any]]) -> Table:
    moving = by_movement(context)
    terms = [t for t in (context.data.sensitivity or {}).get("main", []) if t in moving[:MOST]]
    columns = [
        Column("analysis", "Analysis", "text"),
        Column("what", "What was done, and what it says", "under"),
        *(Column(t, context.names.term(t), "pair") for t in terms),
        Column("rows", "Rows"),
        Column("choice", "Choice", "short", "the rung that the ladder chooses there, where it was climbed again"),
        Column("stands", "Stands", "short"),
    ]
    rows = [_row(context, i, a, terms) for i, a in enumerate(analyses)]
    caption = "The main coefficients under other analyses (standard errors below)"
    return Table("sensitivity", caption, columns, rows)


def _row(context: Context, i: int, analysis: dict[str, Any], terms: list[str]) -> list[Any]:
    cells: dict[str, Any] = {}
    for j, c in enumerate(analysis.get("coefficients") or []):
        source = f"sensitivity.json#/analyses/{i}/coefficients/{j}"
        if finite(c["estimate"]) and finite(c["se"]):
            cells[c["term"]] = (
                Num(c["estimate"], context.num.estimate(c["estimate"], c["se"]), f"{source}/estimate"),
                Num(c["se"], context.num.significant(c["se"], 2), f"{source}/se"),
            )
    done = analysis.get("status") == "done"
    told, means, why, title = (
        quote(analysis, k, f"sensitivity.json#/analyses/{i}") for k in ("what", "sentence", "reason", "title")
    )
    what = f"{told} {means}" if done else f"Not available: {why}"
    stands = {True: "yes", False: "no", None: "–"}[analysis.get("stands")]
    n = analysis.get("n_obs")
    rows = context.whole(n, f"sensitivity.json#/analyses/{i}/n_obs") if n is not None else None
    return [title, what, *(cells.get(t) for t in terms), rows, analysis.get("choice") or "–", stands]
