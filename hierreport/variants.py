"""Columns that the variants of a rung are about: strata with variances of their own, the time of a crossed effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .reduce_plan import quoted

if TYPE_CHECKING:
    from .frame import Frame


def stratum_column(frame: Frame, name: str) -> str:
    """The column of the frame's table behind a name: the column itself, a factor of the formula, a group.

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
    raise ConfigError(
        f"there is no column {name!r} in the model frame.",
        "variances",
        f"Use a column of the formula or of its groups: {', '.join(c for c in known if c != '__row')}.",
    )


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
