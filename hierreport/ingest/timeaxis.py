"""The time column as a number of years, months, quarters, days or seconds, and the length of a step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hierreport.errors import DataError
from hierreport.source import make_table

from .kinds import base_type, kind_of, spoken
from .names import column_type, identifier

if TYPE_CHECKING:
    from hierreport.source import Source


# Text forms of a period: name, pattern, SQL of its number, unit. {t} is the column.
_YEAR = "CAST(SUBSTR({t}, 1, 4) AS INTEGER)"
_LAST = "CAST(REGEXP_EXTRACT({t}, '([0-9]+)$', 1) AS INTEGER)"
_FORMS = (
    ("number", r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", "CAST({t} AS DOUBLE)", "number"),
    ("2020-01", r"[0-9]{4}[-/.](0[1-9]|1[0-2])", f"CAST({_YEAR} * 12 + {_LAST} - 1 AS DOUBLE)", "month"),
    ("2020m1", r"[0-9]{4}-?[mM](0?[1-9]|1[0-2])", f"CAST({_YEAR} * 12 + {_LAST} - 1 AS DOUBLE)", "month"),
    ("2020q1", r"[0-9]{4}[-: ]?[qQ][1-4]", f"CAST({_YEAR} * 4 + {_LAST} - 1 AS DOUBLE)", "quarter"),
)
_FORMATS = "Use a number, a date, or text like 2020, 2020-01, 2020-01-31, 2020q1 or 2020m1."


@dataclass(frozen=True)
class TimeAxis:
    """How the time column is counted.

    Attributes:
        name: the column.
        sql: its number, over the source's columns.
        unit: "number" (as in the data), "month", "quarter", "day", "second" or "period" (those that occur).
        step: length of one time step in that unit, None until it is known.
        origin: the first time.
        note: a sentence for the reader where the column was not simply a number.
        moment: SQL of the date, where the column is one.
        join: SQL that joins what ``sql`` needs beside the source.
    """

    name: str
    sql: str
    unit: str = "number"
    step: float | None = None
    origin: float = 0.0
    note: str = ""
    moment: str = ""
    join: str = ""

    @property
    def step_sql(self) -> str:
        """Whole number of steps since the origin; rounded so that steps of 0.1 meet exactly."""
        assert self.step is not None
        return f"ROUND((({self.sql}) - {self.origin!r}) / {self.step!r}, 6)"


def open_axis(source: Source, name: str, where: str) -> TimeAxis:
    """How the time column is to be counted, told from its type and, for dates and text, its values.

    Raises:
        DataError: there is no such column, or its values are no times; with the first that is none.
    """
    kind = column_type(source, name, where)
    raw, base = identifier(name), base_type(kind)
    if kind_of(kind) == "number":
        return _coded(source, TimeAxis(name, f"CAST({raw} AS DOUBLE)"), raw)
    if kind_of(kind) == "date":
        return _dates(source, name, raw if base == "DATE" else f"CAST({raw} AS TIMESTAMP)", base)
    if kind_of(kind) == "text":
        return _text(source, name, where)
    raise DataError(f"The time column {name} is {spoken(kind)}.", where, _FORMATS)


def _one(source: Source, sql: str) -> tuple[Any, ...]:
    import duckdb

    try:
        return source.con.execute(sql).fetchone() or ()
    except duckdb.Error as error:
        raise source.unreadable(error) from error


def _coded(source: Source, axis: TimeAxis, raw: str) -> TimeAxis:
    """Numbers like 202001 or 20200131 are calendar codes: their differences are no time."""
    low, high = _one(source, f"SELECT min({raw}), max({raw}) FROM {source.view}")
    for form, least, most, digits, unit in (
        ("202001", 180001, 229912, "%Y%m", "month"),
        ("20200131", 18000101, 22991231, "%Y%m%d", "day"),
    ):
        if low is None or not (least <= low and high <= most):
            continue
        stamp = f"TRY_STRPTIME(CAST(CAST({raw} AS BIGINT) AS VARCHAR), '{digits}')"
        whole = f"bool_and({raw} IS NULL OR ({raw} = FLOOR({raw}) AND {stamp} IS NOT NULL))"
        if _one(source, f"SELECT {whole} FROM {source.view}")[0]:
            months = f"CAST(YEAR({stamp}) * 12 + MONTH({stamp}) - 1 AS DOUBLE)"
            days = f"CAST(DATE_DIFF('day', DATE '1970-01-01', CAST({stamp} AS DATE)) AS DOUBLE)"
            note = f"{axis.name} is written like {form} and counted in {unit}s."
            return TimeAxis(axis.name, months if unit == "month" else days, unit, note=note, moment=stamp)
    return axis


def _months(moment: str) -> str:
    return f"CAST(YEAR({moment}) * 12 + MONTH({moment}) - 1 AS DOUBLE)"


def _days(moment: str) -> str:
    return f"CAST(DATE_DIFF('day', DATE '1970-01-01', CAST({moment} AS DATE)) AS DOUBLE)"


def _dates(source: Source, name: str, moment: str, base: str) -> TimeAxis:
    """Dates of one day of the month (or of the last one) are months; other dates are days; else seconds."""
    query = (
        f"SELECT min(DAY(d)), max(DAY(d)), bool_and(CAST(d AS DATE) = LAST_DAY(CAST(d AS DATE))),"
        f" bool_and(d = DATE_TRUNC('day', d)), min(d) <> max(d) FROM (SELECT {moment} AS d FROM {source.view})"
    )
    low, high, month_ends, midnights, several = _one(source, query)
    if low is not None and not midnights:
        seconds = f"CAST(EPOCH({moment}) AS DOUBLE)"
        return TimeAxis(name, seconds, "second", note=f"{name} is counted in seconds.", moment=moment)
    if (low == high or month_ends) and several:
        return TimeAxis(name, _months(moment), "month", note=f"{name} is counted in months.", moment=moment)
    return TimeAxis(name, _days(moment), "day", note=f"{name} is counted in days.", moment=moment)


def set_step(source: Source, axis: TimeAxis, step: float | str | None, where: str) -> TimeAxis:
    """Apply the user's length of a time step.

    Args:
        source: the panel.
        axis: how the time column is counted by itself.
        step: a number in the axis' unit; "day", "week", "month", "quarter" or "year"; "period" to count the periods
            that occur, such as trading days; None for the smallest step seen.
        where: config key, for messages.

    Raises:
        DataError: the step is no such thing, or does not suit the time column.
    """
    if step is None:
        return axis
    if not isinstance(step, str):
        if not (math.isfinite(step) and step > 0):
            raise DataError(f"The time step is {step}.", where, "It is a positive number.")
        return replace(axis, step=float(step))
    word = step.strip().lower().removesuffix("s")
    if word == "period":
        return _count_periods(source, axis)
    lengths = {"day": ("day", 1.0), "week": ("day", 7.0), "month": ("month", 1.0), "quarter": ("month", 3.0)}
    lengths["year"] = ("month", 12.0)
    try:
        return set_step(source, axis, float(word), where)
    except ValueError:
        pass
    if word not in lengths:
        do = "Write a number, or day, week, month, quarter, year or period."
        raise DataError(f"The time step is {step!r}.", where, do)
    unit, length = lengths[word]
    if axis.moment:
        number = _days(axis.moment) if unit == "day" else _months(axis.moment)
        return replace(axis, sql=number, unit=unit, step=length, note=f"{axis.name} is counted in {unit}s.")
    if axis.unit == unit:
        return replace(axis, step=length)
    if axis.unit == "quarter" and word in ("quarter", "year"):
        return replace(axis, step=length / 3)
    if axis.unit == "number" and word == "year":
        return replace(axis, step=1.0)
    counted = "as a plain number" if axis.unit == "number" else f"in {axis.unit}s"
    raise DataError(f"The time step is a {word}, and {axis.name} is counted {counted}.", where, "Give it as a number.")


def _count_periods(source: Source, axis: TimeAxis) -> TimeAxis:
    """Number the times that occur anywhere in the data 0, 1, 2 …"""
    times = f'SELECT DISTINCT {axis.sql} AS "__period_time" FROM {source.view}'
    number = 'CAST(ROW_NUMBER() OVER (ORDER BY "__period_time") - 1 AS DOUBLE) AS "__period"'
    table = make_table(source.con, f'SELECT *, {number} FROM ({times}) WHERE "__period_time" IS NOT NULL')
    join = f'LEFT JOIN {table} ON {axis.sql} = {table}."__period_time"'
    note = f"{axis.name} is counted in the periods that occur in the data."
    return TimeAxis(axis.name, f'{table}."__period"', "period", step=1.0, note=note, join=join)


def _text(source: Source, name: str, where: str) -> TimeAxis:
    t = f"NULLIF(TRIM(CAST({identifier(name)} AS VARCHAR)), '')"
    tests = [f"REGEXP_FULL_MATCH({t}, '{pattern}')" for _, pattern, _, _ in _FORMS]
    stamp, week = f"TRY_CAST({t} AS TIMESTAMP)", f"TRY_STRPTIME({t} || '-1', '%G-W%V-%u')"
    tests += [f"{stamp} IS NOT NULL", f"{week} IS NOT NULL"]
    counts = ", ".join(f"count(*) FILTER ({test})" for test in tests)
    total, *matched = _one(source, f"SELECT count({t}), {counts} FROM {source.view}")
    for (form, _, sql, unit), hits in zip(_FORMS, matched, strict=False):
        if hits == total:
            number = f"CASE WHEN {t} IS NOT NULL THEN {sql.format(t=t)} END"
            note = "" if unit == "number" else f"{name} is text like {form} and counted in {unit}s."
            return TimeAxis(name, number, unit, note=note)
    for moment, hits in ((stamp, matched[-2]), (week, matched[-1])):
        if hits == total:
            return _dates(source, name, moment, "TIMESTAMP")
    best = max(range(len(tests)), key=lambda i: matched[i])
    bad = f"{t} IS NOT NULL AND NOT ({tests[best]})" if matched[best] else f"{t} IS NOT NULL"
    shown = f"SELECT __row, CAST({identifier(name)} AS VARCHAR) FROM ({source.rows_sql(True)})"
    row, value = _one(source, f"{shown} WHERE {bad} ORDER BY __row LIMIT 1")
    raise DataError(f"The time column {name} holds {value!r} (row {row}), which is no time.", where, _FORMATS)
