"""Which groups have rows in which periods, read from panel.parquet and binned before it leaves the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .artifacts import Artifacts, shown

if TYPE_CHECKING:
    import numpy as np

MAX_ROWS, MAX_COLUMNS = 400, 366


@dataclass(frozen=True)
class Coverage:
    """Rows of the model frame by innermost group and period.

    Attributes:
        labels: ids of every innermost group, one array per group column, groups of an ancestor contiguous.
        n: rows per innermost group.
        periods: labels of all periods in order; empty without a time column.
        cells: share of (group, period) pairs that have rows, in bins of whole groups and whole periods; None without
            a time column. (bins of groups, bins of periods)
        row_bin: bin of each innermost group in ``cells``.
        per_column: periods in one column of ``cells`` (the last may hold fewer).
        filled: (group, period) pairs that have rows.
    """

    labels: tuple[Any, ...]
    n: np.ndarray
    periods: list[str]
    cells: np.ndarray | None
    row_bin: np.ndarray
    per_column: int
    filled: int

    @property
    def possible(self) -> int:
        return len(self.n) * len(self.periods)


def read_coverage(data: Artifacts) -> Coverage | None:
    """Count rows by group and period; None where panel.parquet is not there."""
    import numpy as np

    if data.panel_file is None:
        return None
    groups = [_quoted(g) for g in data.panel["groups"]]
    relation = f"read_parquet('{str(data.panel_file).replace(chr(39), chr(39) * 2)}')"
    keys = ", ".join(f"CAST({g} AS VARCHAR) AS g{i}" for i, g in enumerate(groups))
    by = ", ".join(f"g{i}" for i in range(len(groups)))
    data.con.execute(f"CREATE OR REPLACE TEMP TABLE sizes AS SELECT {keys}, count(*) AS n FROM {relation} GROUP BY ALL")
    data.con.execute(
        f"CREATE OR REPLACE TEMP TABLE numbered AS SELECT *, row_number() OVER (ORDER BY {by}) - 1 AS i FROM sizes"
    )
    table = data.con.execute("SELECT * FROM numbered ORDER BY i").fetchnumpy()
    labels = tuple(np.array([shown(v) for v in table[f"g{i}"]], dtype=object) for i in range(len(groups)))
    n = np.asarray(table["n"], dtype=np.int64)
    per_row = max(1, -(-len(n) // MAX_ROWS))
    row_bin = np.arange(len(n)) // per_row
    time = data.panel.get("time")
    if not time:
        return Coverage(labels, n, [], None, row_bin, 1, 0)
    time = _quoted(time)
    periods = [
        str(r[0])
        for r in data.con.execute(
            f"SELECT {_period_label(data.con, relation, time)} FROM (SELECT DISTINCT {time} AS t FROM {relation}) "
            "ORDER BY t"
        ).fetchall()
    ]
    per_column = max(1, -(-len(periods) // MAX_COLUMNS))
    cells = data.con.execute(
        f"""WITH p AS (SELECT t, (row_number() OVER (ORDER BY t) - 1) // {per_column} AS c
                       FROM (SELECT DISTINCT {time} AS t FROM {relation})),
                 pair AS (SELECT DISTINCT {keys}, {time} AS t FROM {relation})
            SELECT i // {per_row} AS r, c, count(*) AS k
            FROM pair JOIN p USING (t) JOIN numbered USING ({by}) GROUP BY ALL ORDER BY r, c"""
    ).fetchnumpy()
    columns = -(-len(periods) // per_column)
    filled = np.zeros((int(row_bin[-1]) + 1, columns))
    filled[cells["r"].astype(int), cells["c"].astype(int)] = cells["k"]
    width = np.minimum(per_column, len(periods) - per_column * np.arange(columns))
    possible = np.bincount(row_bin)[:, None] * width[None, :]
    return Coverage(labels, n, periods, filled / possible, row_bin, per_column, int(filled.sum()))


def _quoted(name: str) -> str:
    return name if name.startswith('"') else '"' + name.replace('"', '""') + '"'


def _period_label(con: Any, relation: str, time: str) -> str:
    """SQL for a period's label: whole numbers without a decimal point, dates as they are."""
    kind = con.execute(f"SELECT typeof({time}) FROM {relation} LIMIT 1").fetchone()[0]
    if kind in ("DOUBLE", "FLOAT"):
        return "CASE WHEN t = floor(t) THEN CAST(CAST(t AS BIGINT) AS VARCHAR) ELSE CAST(t AS VARCHAR) END"
    return "CASE WHEN true THEN CAST(t AS VARCHAR) END"
