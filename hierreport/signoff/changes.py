"""The change log: the runs that were kept, and what changed since the last other one (changes.json)."""

from __future__ import annotations

from typing import Any

from ..history.words import sentence
from ..report.artifacts import read_json
from ..report.context import Context
from ..report.numbers import Num
from ..report.parts import Column, Sentence, Table

FILE = "changes.json"


def changes(context: Context) -> tuple[list[Sentence], list[Table]]:
    """What changed since the last other run in words, and the runs, the last one this."""
    if not (context.data.path / FILE).exists():
        return [Sentence("Earlier runs were not looked for: there is nothing to compare with.")], []
    found = read_json(context.data.path / FILE)
    if found.get("previous") is None:
        return [Sentence("This is the first run of the analysis that is kept.")], [_runs(context, found)]
    said = sentence(found)
    numbers: dict[str, Any] = {}
    for name, (value, pointer) in said.numbers.items():
        text = context.num.significant(value, 3)
        numbers[name] = Num(value, text, f"{FILE}#{pointer}") if pointer else text
    lead = [
        Sentence("Compared with run {run}:", run=str(found["previous"]["run_id"])),
        Sentence(said.template, **numbers, **said.words),
    ]
    tables = [_runs(context, found), _checks(found), _coefficients(context, found)]
    return lead, [t for t in tables if t]


def _runs(context: Context, found: dict[str, Any]) -> Table:
    columns = [
        Column("run", "Run", "code"),
        Column("last_period", "Last period", "short"),
        Column("n_obs", "Rows"),
        Column("rung", "Chosen rung", "code"),
    ]
    listed = found.get("trend") or []
    rows: list[list[Any]] = []
    for i, run in enumerate(listed):
        period = run.get("last_period")
        period = int(period) if isinstance(period, float) and period.is_integer() else period
        rows.append(
            [
                str(run["run_id"]),
                "–" if period is None else str(period),
                context.whole(run.get("n_obs"), f"{FILE}#/trend/{i}/n_obs"),
                str(run.get("rung")),
            ]
        )
    note = "When each was kept stands in history/, with its configuration and the digest of its manifest."
    return Table("runs", "The runs that are kept, this one last", columns, rows, emphasis=len(rows) - 1, note=note)


def _checks(found: dict[str, Any]) -> Table | None:
    turned = found.get("checks") or []
    columns = [
        Column("check", "Check", "text"),
        Column("before", "Was", "short"),
        Column("now", "Is", "short"),
        Column("attributed_to", "Because of", "text"),
    ]
    rows = [
        [str(c["title"] or c["name"]), c["before"] or "absent", c["now"] or "absent", c["attributed_to"]]
        for c in turned
    ]
    return Table("checks_turned", "Checks that turned", columns, rows) if rows else None


def _coefficients(context: Context, found: dict[str, Any]) -> Table | None:
    moved = [(i, f) for i, f in enumerate(found.get("fixed") or []) if f["change"] != 0]
    if not moved:
        return None
    columns = [
        Column("term", "Term", "name"),
        Column("before", "Was"),
        Column("now", "Is"),
        Column("change", "Change"),
        Column("p", "p", note="of no more than sampling noise"),
        Column("attributed_to", "Because of", "text"),
    ]
    rows: list[list[Any]] = []
    for i, f in moved:
        se = f["se_now"] or f["se_before"]
        row: list[Any] = [str(f["term"])]
        row += [
            Num(f[k], context.num.estimate(f[k], se), f"{FILE}#/fixed/{i}/{k}") for k in ("before", "now", "change")
        ]
        row += [Num(f.get("p"), context.num.p(f.get("p")), f"{FILE}#/fixed/{i}/p"), str(f["attributed_to"] or "")]
        rows.append(row)
    return Table("coefficients_moved", "Coefficients of the chosen rungs", columns, rows)
