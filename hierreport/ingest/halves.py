"""Aggregates of a large Parquet file in two halves, side by side: the same bits on any number of processors.

A database that shares a scan among threads adds in an order of its own. Two that have one thread and half of the rows
each do not, and two sums can be added in either order.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .relation import Relation


def in_halves(relation: Relation, query: str, items: list[str], keys: int) -> dict[str, Any] | None:
    """Run a query of aggregates by group on both halves and put them together.

    Args:
        relation: whose source is read.
        query: over ``relation.rows()``.
        items: what it selects: the keys, then aggregates as ``function(…) AS name``, of count, sum, min, max, bool_and.
        keys: how many keys there are.

    Returns:
        One NumPy array per column, as ``Relation.arrays``; None where the rows cannot be halved, or some aggregate is
        missing in one half.
    """
    import duckdb

    from hierreport.source import new_instance

    whole = relation.source.rows_sql()
    halves = relation.source.halves()
    if not halves or relation.windows or relation.axis is not None or query.count(whole) != 1:
        return None
    found: list[Any] = [None, None]

    def run(half: int) -> None:
        con = new_instance()
        try:
            found[half] = con.execute(
                query.replace(whole, f"SELECT * EXCLUDE (__row) FROM ({halves[half]})")
            ).fetchnumpy()
        except duckdb.Error as error:
            found[half] = error
        finally:
            con.close()

    thread = threading.Thread(target=run, args=(1,))
    thread.start()
    run(0)
    thread.join()
    for part in found:
        if isinstance(part, duckdb.Error):
            raise relation.source.unreadable(part) from part
        if any(hasattr(column, "mask") for column in part.values()):
            return None
    con = relation.source.con
    for half, part in enumerate(found):
        con.register(f"hr_half_{half}", part)
    names = list(found[0])
    merged = [f"{_merged(item)} AS {name}" for item, name in zip(items[keys:], names[keys:], strict=True)]
    by = f" GROUP BY {', '.join(names[:keys])} ORDER BY {', '.join(names[:keys])}" if keys else ""
    both = "SELECT * FROM hr_half_0 UNION ALL SELECT * FROM hr_half_1"
    try:
        return relation.arrays(f"SELECT {', '.join([*names[:keys], *merged])} FROM ({both}){by}")
    finally:
        for half in range(2):
            con.unregister(f"hr_half_{half}")


def _merged(item: str) -> str:
    """The aggregate of two aggregates."""
    function, name = item.partition("(")[0], item.rpartition(" AS ")[2]
    return f"CAST(sum({name}) AS BIGINT)" if function == "count" else f"{function}({name})"
