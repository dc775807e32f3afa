"""The change log: the runs that were kept, and what the report says has changed since the last other one."""

from __future__ import annotations

from typing import Any

from ..report.context import Context
from ..report.parts import Column, Content, Sentence, Table


def changes(context: Context, section: Content | None) -> tuple[list[Sentence], list[Table]]:
    """Sentences and tables of the change log.

    Args:
        section: the report's "Since last time", where there was another run before.
    """
    found = context.data.changes
    if not found:
        return [Sentence("Earlier runs were not looked for: there is nothing to compare with.")], []
    if section is None:
        return [Sentence("This is the first run of the analysis that is kept.")], [_runs(context, found)]
    return section.findings, [_runs(context, found), *section.tables]


def _runs(context: Context, found: dict[str, Any]) -> Table:
    columns = [
        Column("run", "Run", "code"),
        Column("last_period", "Last period", "short"),
        Column("n_obs", "Rows"),
        Column("rung", "Chosen rung", "code"),
    ]
    rows: list[list[Any]] = []
    for i, run in enumerate(found.get("trend") or []):
        period = run.get("last_period")
        period = int(period) if isinstance(period, float) and period.is_integer() else period
        count = context.whole(run.get("n_obs"), f"changes.json#/trend/{i}/n_obs")
        rows.append([str(run["run_id"]), "–" if period is None else str(period), count, str(run.get("rung"))])
    note = "When each was kept stands in history/, with its configuration and the digest of its manifest."
    return Table("runs", "The runs that are kept, this one last", columns, rows, emphasis=len(rows) - 1, note=note)
