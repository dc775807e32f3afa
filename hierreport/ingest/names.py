"""Names of columns: as SQL, and as the source has them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from hierreport.errors import DataError

if TYPE_CHECKING:
    from hierreport.formula import Formula, Node
    from hierreport.source import Source


def identifier(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def day_text(raw: str) -> str:
    """A value as text; midnight is left off."""
    return f"REPLACE(CAST({raw} AS VARCHAR), ' 00:00:00', '')"


def column_type(source: Source, name: str, where: str, formula: Formula | None = None, node: Node | None = None) -> str:
    """The type of a source column.

    Raises:
        FormulaError or DataError: there is no such column; the message suggests the nearest.
    """
    found = source.columns.get(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name, source.columns, 1, 0.6)
    same = [c for c in source.columns if c.casefold() == name.casefold()]
    shown = ", ".join(list(source.columns)[:30]) + (", …" if len(source.columns) > 30 else "")
    hint = f"Did you mean {(same or near)[0]}? " if same or near else ""
    do = f"{hint}The columns are: {shown}."
    what = f"There is no column {name} in {source.description}."
    if formula is not None and node is not None:
        raise formula.fault(node, what, do)
    raise DataError(what, where, do)
