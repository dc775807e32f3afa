"""The checked model frame: what the rows' readers (moments, diagnostics, verification) work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .spec import LevelSpec

if TYPE_CHECKING:
    import duckdb

    from .moments import Moments


@dataclass(frozen=True)
class Column:
    """One numeric column of the model.

    Attributes:
        name: the term's name: ``log(wage)``, ``year[1979]``, ``x:z``.
        sql: SQL expression over the frame's table, a double.
        factor: the table's factor column where this is a plain dummy of one factor, else None.
        level: the factor's level that the dummy stands for.
    """

    name: str
    sql: str
    factor: str | None = None
    level: str | None = None


@dataclass(frozen=True)
class Frame:
    """The rows that the model uses, complete and checked, as a DuckDB query or table.

    Attributes:
        con: connection that holds the table.
        table: what stands after FROM: a quoted name, or a query in brackets. It has ``__row`` (1-based position in the
            data), the group columns (VARCHAR), numeric variables (DOUBLE, named by their text), factors (VARCHAR), and
            ``__time``.
        outcome: the outcome.
        columns: every fixed and random column of the formula, in its order; neither intercept nor outcome.
        fixed: names of the fixed columns, ``(Intercept)`` first where there is one.
        random: random coefficients by level, outermost first.
        groups: table columns with the group ids, outermost first.
        levels: level paths, outermost first, one per group column.
        time: numeric table column in the unit of ``info["time_axis"]`` (months for monthly dates), or None.
        weights: table column, or None.
        means, sds: of the columns and the outcome.
        info: what becomes panel.json.
        time_label: table column with the time as the data have it, for labels.
        moments: the rows' group moments, where the pass that checked them made these too.
    """

    con: duckdb.DuckDBPyConnection
    table: str
    outcome: Column
    columns: tuple[Column, ...]
    fixed: tuple[str, ...]
    random: tuple[LevelSpec, ...]
    groups: tuple[str, ...]
    levels: tuple[str, ...]
    time: str | None
    weights: str | None
    means: dict[str, float]
    sds: dict[str, float]
    info: dict[str, Any]
    time_label: str | None = None
    moments: Moments | None = field(default=None, repr=False, compare=False)
    keep: Any = field(default=None, repr=False, compare=False)

    def column(self, name: str) -> Column:
        """A column by name, the outcome included."""
        for column in (*self.columns, self.outcome):
            if column.name == name:
                return column
        raise KeyError(name)
