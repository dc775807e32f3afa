"""What the rows say about time: steps, gaps and duplicate keys."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hierreport.errors import DataError

if TYPE_CHECKING:
    from .relation import Relation

_BITS = 200 << 20


@dataclass(frozen=True)
class TimeFacts:
    """What the rows say about time: first and last time, number of periods and rows beyond one per (group, time)."""

    first: float
    last: float
    periods: int
    duplicates: int
    step: float | None
    groups_with_gaps: int
    missing_periods: int


def time_facts(relation: Relation, rows: str, groups: int, step: float | None = None) -> TimeFacts | None:
    """Steps, gaps and duplicates of rows that have ``tm`` and the group columns; None where there are no rows.

    Args:
        relation: for its group columns and queries.
        rows: SQL of the rows.
        groups: about how many innermost groups there are.
        step: length of a time step; the smallest one within a group by default.
    """
    low, high, whole = relation.query(f"SELECT min(tm), max(tm), bool_and(tm = FLOOR(tm)) FROM ({rows})")[0]
    if low is None:
        return None
    if not (math.isfinite(low) and math.isfinite(high)):
        assert relation.axis is not None
        raise DataError(f"The time column {relation.axis.name} has infinite values.", relation.formula.where)
    span = high - low
    if whole and 1 <= span <= 100_000 and groups * span / 8 <= _BITS and step in (None, 1):
        facts = _bit_facts(relation, rows, low, int(span))
        if facts is not None:
            return replace(facts, first=low, last=high)
    return replace(_window_facts(relation, rows, step), first=low, last=high)


def _keys(relation: Relation) -> str:
    return "".join(f"{a}, " for a in relation.group_alias.values())


def _bit_facts(relation: Relation, rows: str, low: float, span: int) -> TimeFacts | None:
    """A bit per period and group: counts distinct times without sorting; None where the step is not 1."""
    keys = _keys(relation)
    per = (
        f"SELECT {keys}count(*) AS n, max(tm) - min(tm) + 1 AS width,"
        f" bitstring_agg(CAST(tm - {low!r} AS INTEGER), 0, {span}) AS bits FROM ({rows})"
        f"{f' GROUP BY {keys[:-2]}' if keys else ''}"
    )
    query = (
        "SELECT sum(n), sum(bit_count(bits)), bit_count(bit_or(bits)), bool_or(bit_count(bits & (bits << 1)) > 0),"
        f" count(*) FILTER (width > bit_count(bits)), sum(width - bit_count(bits)) FROM ({per})"
    )
    n, distinct, periods, adjacent, gaps, missing = relation.query(query)[0]
    if not adjacent:
        return None
    return TimeFacts(0.0, 0.0, int(periods), int(n - distinct), 1.0, int(gaps), int(missing))


def _window_facts(relation: Relation, rows: str, given: float | None) -> TimeFacts:
    keys = _keys(relation)
    names = keys[:-2]
    distinct = f"SELECT {keys}tm, count(*) AS n FROM ({rows}) GROUP BY {keys}tm"
    steps = (
        f"SELECT {keys}tm, n, tm - LAG(tm) OVER ({f'PARTITION BY {names} ' if names else ''}ORDER BY tm) AS d"
        f" FROM ({distinct})"
    )
    duplicates, periods, step = relation.query(f"SELECT sum(n - 1), count(DISTINCT tm), min(d) FROM ({steps})")[0]
    gaps = missing = 0
    step = given or step
    if step:
        per = (
            f"SELECT sum(ROUND(d / {step!r}) - 1) AS m FROM ({steps}) WHERE d > 1.5 * {step!r}"
            f"{f' GROUP BY {names}' if names else ''}"
        )
        gaps, missing = relation.query(f"SELECT count(m), COALESCE(sum(m), 0) FROM ({per})")[0]
    return TimeFacts(0.0, 0.0, int(periods), int(duplicates), step, int(gaps), int(missing))


def duplicate_examples(relation: Relation, rows: str, limit: int = 5) -> list[tuple[Any, ...]]:
    """The first duplicate keys: group labels, the time's label, and the number of rows."""
    keys = _keys(relation)
    query = (
        f"SELECT {keys}min(tl), count(*) AS n FROM ({rows}) GROUP BY {keys}tm HAVING count(*) > 1"
        f" ORDER BY {keys}tm LIMIT {limit}"
    )
    return relation.query(query)
