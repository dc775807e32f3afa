"""Columns that the variants of a rung are about: strata with variances of their own, the time of a crossed effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .reduce import TooLarge
from .reduce_plan import quoted

if TYPE_CHECKING:
    from .frame import Frame
    from .moments import PanelMoments


MOST_STRATA = 200  # each is a parameter more


def stratum_column(frame: Frame, name: str, where: str = "variances") -> str:
    """The column of the frame's table behind a name: the column itself, a factor of the formula, a group.

    A column of the data that is not in the formula is in the table where ``build_frame`` was told of it.

    Raises:
        ConfigError: there is none.
    """
    known = [row[0] for row in frame.con.execute(f"DESCRIBE SELECT * FROM {frame.table}").fetchall()]
    if name in known:
        return name
    for factor in frame.info.get("factors") or []:
        if factor["name"] == name and factor["column"] in known:
            return factor["column"]
    last = name.rsplit("/", 1)[-1]
    for path, column in zip(frame.levels, frame.groups, strict=True):
        if name in (path, column) or last == path.rsplit("/", 1)[-1]:
            return column
    columns = list((frame.info.get("source") or {}).get("columns") or (c for c in known if c != "__row"))
    near = get_close_matches(name, columns, 1, 0.6)
    shown = ", ".join(columns[:30]) + (", …" if len(columns) > 30 else "")
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ConfigError(f"there is no column {name!r} in the data.", where, f"{hint}The columns are: {shown}.")


def stratum_label(frame: Frame, name: str) -> str:
    """SQL of a row's label of its residual variance, as ``State.stratum_sigmas`` has it."""
    return f"regexp_replace(CAST({quoted(stratum_column(frame, name))} AS VARCHAR), '\\.0$', '')"


def check_strata(frame: Frame, name: str, where: str) -> None:
    """Refuse a column that gives no strata: one value, values that measure instead of naming, or too many of them.

    Args:
        frame: the described frame.
        name: as for ``stratum_column``.
        where: config key, for messages.

    Raises:
        ConfigError: it is no column of strata, or there is none of that name.
    """
    column = stratum_column(frame, name, where)
    categories = {*frame.groups, *(f["column"] for f in frame.info["factors"])}
    number = column not in categories and frame.info["source"]["columns"].get(name, "number") == "number"
    value = f"TRY_CAST({quoted(column)} AS DOUBLE)"
    broken, count = frame.con.execute(
        f"SELECT count(*) FILTER ({value} <> FLOOR({value})), count(DISTINCT {quoted(column)}) FROM {frame.table}"
    ).fetchall()[0]
    what, do = "", "Name a column of categories with several rows each."
    if number and broken:
        what = f"{name} is continuous ({broken} rows have values that are not whole numbers)"
        do = "Name a column of categories, or make one of its ranges in the data."
    elif count < 2:
        what = f"{name} has one value only in the rows used"
        do = "Leave `variances` out, or name a column that differs between rows."
    elif count > MOST_STRATA:
        what = f"{name} has {count} values, and more than {MOST_STRATA} residual variances are too many"
    if what:
        raise ConfigError(f"{what}.", where, do)


def stratum_sql(frame: Frame, column: str) -> str:
    """SQL of a row's stratum as text: 1976.0 is the stratum "1976"."""
    kind = frame.con.execute(f"SELECT typeof({quoted(column)}) FROM {frame.table} LIMIT 1").fetchall()
    text = f"CAST({quoted(column)} AS VARCHAR)"
    return f"regexp_replace({text}, '\\.0$', '')" if kind and kind[0][0] in ("DOUBLE", "FLOAT") else text


def period_columns(columns: Iterable[tuple[str, str | None]], info: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that are dummies of the time column, which a crossed effect of time takes the place of.

    Args:
        columns: name and factor of the model's columns.
        info: the panel's description, with ``time`` and ``factors``.
    """
    time = info.get("time")
    if time is None:
        return ()
    factors = {time} | {f["column"] for f in info.get("factors") or [] if f["name"] == time}
    return tuple(name for name, factor in columns if factor in factors)


def check_crossed(frame: Frame, name: str) -> None:
    """Refuse a crossed effect of anything but the time column.

    Raises:
        ConfigError: another column, or no time column.
    """
    time = frame.info.get("time")
    if name not in (time, frame.time, frame.info.get("time_column")):
        named = f"it is {time}" if time else "none is named"
        raise ConfigError(
            f"{name!r} is not the time column ({named}): only shocks shared by all groups in a period can be crossed "
            "with the groups.",
            "crossed",
            "Name the time column under `time` and under `crossed`.",
        )


def with_variants(
    frame: Frame, panel: PanelMoments, variances: str | None, crossed: str | None, needed: bool = False
) -> PanelMoments:
    """A panel's moments and those that the variants need: by strata, by period, and both of them in the order of time.

    Args:
        frame: the frame that the panel was reduced from.
        variances, crossed: columns of the variants, None where there is none.
        needed: whether lagged moments by stratum must be there; else they are left out where they are too large.

    Raises:
        ConfigError, DataError: a column that does not do, or moments too large for memory.
    """
    from . import moments

    if crossed:
        check_crossed(frame, crossed)
        if panel.periods is None:
            panel = replace(panel, periods=moments.reduce_periods(frame, panel.moments))
    if variances:
        column, step = stratum_column(frame, variances), None if panel.lags is None else panel.lags.step
        try:
            strata = moments.reduce_strata(frame, panel.moments, column, step=step, periods=bool(crossed))
        except TooLarge:
            if needed or step is None:
                raise
            strata = moments.reduce_strata(frame, panel.moments, column, periods=bool(crossed))
        panel = replace(panel, strata={variances: strata})
    return panel
