"""Lagged moments: rows in time order within the innermost group, each joined to the one before it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hierreport.errors import DataError
from hierreport.gram import grams, run_starts
from hierreport.moments import LagMoments, Moments
from hierreport.reduce import LAG_BYTES, DuplicateTimes, Plan, TooLarge, plan, quoted
from hierreport.reduce_stream import group_table, numpy_batches, with_codes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hierreport.frame import Frame
    from hierreport.moments import PanelMoments

BATCH_BYTES = 4 << 20


class Unsorted(Exception):
    """A group's rows do not come in the order of time."""


class Repeated(Exception):
    """A group has two rows at the same time."""


@dataclass(frozen=True)
class Strata:
    """Strata of a panel's rows: the SQL of a row's stratum, as text, and the strata in order."""

    sql: str
    labels: list[str]

    @property
    def number(self) -> str:
        """SQL of the stratum's number."""
        known = ", ".join("'" + label.replace("'", "''") + "'" for label in self.labels)
        return f"CAST(list_position([{known}], {self.sql}) - 1 AS BIGINT)"


def reduce_lagged(frame: Frame, moments: Moments, step: float | None, strata: Strata | None = None) -> LagMoments:
    """Lagged sums of products, by ``strata`` too where given; see ``moments.reduce_lags``."""
    if frame.time is None:
        raise DataError("there is no time column.", "time", "Name the panel's time column.")
    p = plan(frame, moments)
    axis = frame.info.get("time_axis") or {}
    step = step or axis.get("step")
    _, n = group_table(frame.con, p)
    q, unit = p.q, str(axis.get("unit") or "")
    if q * q * 24 * len(n) > LAG_BYTES:
        too_large(q, len(n))
    first = np.zeros((q, q, len(n)))
    kinds = 0 if strata is None else len(strata.labels)
    opening = np.zeros(len(n), dtype=np.int64)
    try:
        try:
            total = collect(steps(frame, p, False, first, strata, opening))
        except Unsorted:
            total = collect(steps(frame, p, True, first, strata, opening))
    except Repeated:
        raise duplicate(frame, p) from None
    group, length, count, *sums = total
    unit_step = float(step) if step else (float(length.min()) if len(length) else 1.0)
    # Lengths that differ by rounding only may have become the same gap.
    group, gap, count, *sums = merge([[group, snap(length / unit_step), count, *sums]])
    now, cross, before = (np.ascontiguousarray(part.transpose(1, 2, 0)) for part in sums)
    if not kinds:
        return LagMoments(group, gap, count, now, cross, before, first, unit_step, unit)
    pair = group % kinds**2
    own, previous = pair // kinds, pair % kinds
    return LagMoments(group // kinds**2, gap, count, now, cross, before, first, unit_step, unit, own, previous, opening)


def collect(parts: Iterator[list[np.ndarray]]) -> list[np.ndarray]:
    """Add up batches, merging whenever what is held has doubled."""
    held: list[list[np.ndarray]] = []
    size = base = 0
    for part in parts:
        held.append(part)
        size += len(part[0])
        if size > 2 * base + 10_000:
            held = [merge(held)]
            size = base = len(held[0][0])
            q = part[3].shape[1]
            if base * q * q * 24 > LAG_BYTES:
                too_large(q, base)
    return merge(held)


def merge(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Add up entries of the same group and length; sorted by group, then length."""
    group = np.concatenate([part[0] for part in parts])
    length = np.concatenate([part[1] for part in parts])
    order = np.lexsort((length, group))
    group, length = group[order], length[order]
    starts = run_starts(group, length)
    out = [group[starts], length[starts]]
    for k in range(2, 6):
        stacked = np.concatenate([part[k] for part in parts])[order]
        out.append(np.add.reduceat(stacked, starts, axis=0) if len(starts) else stacked)
    return out


def too_large(q: int, entries: int) -> None:
    what = f"lagged sums of {q} columns for {entries} groups and gaps need {q * q * entries * 24 / 2**30:.1f} GB."
    raise TooLarge(what, "AR(1) errors", "Use fewer columns, or a coarser time_step.")


def snap(gap: np.ndarray) -> np.ndarray:
    """Gaps that differ from a whole number by rounding only become whole."""
    whole = np.round(gap)
    return np.where(np.abs(gap - whole) <= 1e-6 * np.maximum(whole, 1.0), whole, gap)


def in_time_units(panel: PanelMoments, asked: Collection[str], time_step: float | str | None = None) -> PanelMoments:
    """Moments whose gaps count units of a numeric time column where errors are continuous-time AR(1).

    ρ is then that of rows one unit apart, as nlme's corCAR1 has it; on continuous times the smallest gap seen, which
    is a step otherwise, says nothing.

    Args:
        panel: the moments.
        asked: error structures asked for; ``"auto"`` where none was.
        time_step: the length of a step where one was given, which stays.
    """
    lags = panel.lags
    if lags is None or lags.unit != "number" or time_step is not None or "ar1" in asked:
        return panel
    if "car1" not in asked and not ("auto" in asked and lags.uneven):
        return panel
    return replace(panel, lags=replace(lags, gap=snap(lags.gap * lags.step), step=1.0))


def steps(
    frame: Frame,
    p: Plan,
    ordered: bool,
    first: np.ndarray,
    strata: Strata | None = None,
    first_stratum: np.ndarray | None = None,
) -> Iterator[list[np.ndarray]]:
    """Sums over batches of rows that come in time order within every group (whatever the order of the groups).

    Args:
        ordered: sort in SQL; otherwise the rows are taken as they come, and ``Unsorted`` is raised if that fails.
        first: (q, q, G), filled with the products of each group's first row.
        strata: keep S strata apart: for the group in what is yielded stands (group·S + the row's stratum)·S + that of
            the row before.
        first_stratum: (G,), filled with the stratum of each group's first row.

    Yields:
        Per (group, length of step) of a batch: group, length, count, and now, cross, before as (K, q, q).
    """
    last_row, last_time = np.zeros((first.shape[2], p.q)), np.full(first.shape[2], np.nan)
    last_stratum = np.zeros(first.shape[2], dtype=np.int64)
    batches = numpy_batches(frame.con, rows_sql(p, quoted(str(frame.time)), ordered, strata), batch_rows(p.q))
    with closing(batches):
        for columns in batches:
            group, time = columns[0], columns[1]
            rows = np.empty((len(group), p.q))
            rows[:, 0] = 1.0
            for k in range(1, p.q):
                rows[:, k] = columns[k + 1]
            if p.weight:
                rows *= columns[-1][:, None]
            own = columns[p.q + 1] if strata else np.zeros(len(group), dtype=np.int64)
            if (group[1:] < group[:-1]).any():
                order = np.argsort(group, kind="stable")
                group, time, rows, own = group[order], time[order], rows[order], own[order]
            starts = run_starts(group)
            ends = np.append(starts[1:], len(group)) - 1
            before, length = np.empty_like(rows), np.empty_like(time)
            before[1:], length[1:] = rows[:-1], time[1:] - time[:-1]
            before[starts] = last_row[group[starts]]
            length[starts] = time[starts] - last_time[group[starts]]
            last_row[group[ends]], last_time[group[ends]] = rows[ends], time[ends]
            if strata is not None and first_stratum is not None:
                previous = np.empty_like(own)
                previous[1:] = own[:-1]
                previous[starts] = last_stratum[group[starts]]
                last_stratum[group[ends]] = own[ends]
            opening = starts[np.isnan(length[starts])]
            first[:, :, group[opening]] = np.einsum("gi,gj->ijg", rows[opening], rows[opening])
            if (length < 0).any():
                raise Unsorted
            if (length == 0).any():
                raise Repeated
            if strata is not None and first_stratum is not None:
                first_stratum[group[opening]] = own[opening]
                kinds = len(strata.labels)
                group = (group * kinds + own) * kinds + previous
            if len(opening):
                later = np.ones(len(group), dtype=bool)
                later[opening] = False
                group, length, rows, before = group[later], length[later], rows[later], before[later]
            if strata is not None:
                order = np.argsort(group, kind="stable")
                group, length, rows, before = group[order], length[order], rows[order], before[order]
            yield batch_sums(group, significant(length), rows, before)


def batch_rows(q: int) -> int:
    """Rows of a batch, the same on every machine."""
    return max(4096, BATCH_BYTES // (8 * q))


def significant(length: np.ndarray) -> np.ndarray:
    """Lengths without their last bits, so that 0.3 - 0.2 and 0.2 - 0.1 are one step."""
    if (length == np.floor(length)).all():
        return length
    digits = 10.0 ** (11 - np.floor(np.log10(np.maximum(length, 1e-300))))
    return np.where(length == np.round(length), length, np.round(length * digits) / digits)


def batch_sums(group: np.ndarray, length: np.ndarray, now: np.ndarray, before: np.ndarray) -> list[np.ndarray]:
    """The sums of one batch of rows, sorted by group, with the rows before them."""
    if not len(group):
        none = np.zeros((0, now.shape[1], now.shape[1]))
        return [group, length, np.zeros(0, np.int64), none, none, none]
    if (length != length[0]).any():
        code = length.astype(np.int64)
        if (code == length).all() and code.max() < 1 << 20:
            order = np.argsort((group << 20) + code, kind="stable")
        else:
            order = np.lexsort((length, group))
        group, length, now, before = group[order], length[order], now[order], before[order]
    starts = run_starts(group, length)
    mixed = grams(now, before, starts)
    return [
        group[starts],
        length[starts],
        np.diff(starts, append=len(group)),
        symmetric(grams(now, now, starts)),
        mixed + mixed.transpose(0, 2, 1),
        symmetric(grams(before, before, starts)),
    ]


def symmetric(products: np.ndarray) -> np.ndarray:
    """Copy the upper triangle of (K, q, q) products to the lower one."""
    for i in range(products.shape[1]):
        products[:, i + 1 :, i] = products[:, i, i + 1 :]
    return products


def rows_sql(p: Plan, time: str, ordered: bool, strata: Strata | None = None) -> str:
    """Group code, time, the scaled columns, the stratum's number where rows are kept by it, the root of the weight."""
    source, code = with_codes(p)
    items = [f"{code} AS k", f"CAST({time} AS DOUBLE) AS t"]
    items += [f"{e} AS c{k}" for k, e in enumerate(p.expressions) if k]
    items += [f"{strata.number} AS s"] if strata is not None else []
    items += [f"sqrt(CAST({p.weight} AS DOUBLE)) AS root"] if p.weight else []
    return f"SELECT {', '.join(items)} FROM {source}" + (" ORDER BY 1, 2" if ordered else "")


def duplicate(frame: Frame, p: Plan) -> DuplicateTimes:
    """The refusal of two rows of one group at the same time, with the first such key."""
    time = quoted(str(frame.time))
    names = [f"g{k}" for k in range(len(p.groups))]
    items = ", ".join([*(f"{g} AS {n}" for g, n in zip(p.groups, names, strict=True)), f"{time} AS t"])
    keys = ", ".join([*names, "t"])
    row = frame.con.execute(
        f"SELECT {', '.join([*names, 'min(label)'])}, count(*) FROM (SELECT {items}, {time_label(frame)} AS label "
        f"FROM {p.table}) GROUP BY {keys} HAVING count(*) > 1 ORDER BY {keys} LIMIT 1"
    ).fetchall()[0]
    where = f"{p.levels[-1]} {'/'.join(map(str, row[:-2]))}" if p.groups else "the panel"
    return DuplicateTimes(
        f"{where} has {row[-1]} rows at time {row[-2]}: their order is unknown.",
        f"time column {axis_name(frame)}",
        "Remove the duplicates, or add the column that tells them apart to the grouping.",
    )


def axis_name(frame: Frame) -> str:
    """The time column as the user named it."""
    return str((frame.info.get("time_axis") or {}).get("name") or frame.info.get("time") or frame.time)


def time_label(frame: Frame) -> str:
    """SQL of a time's label: the data's own text, whole numbers without a decimal point."""
    column = f"CAST({quoted(frame.time_label or str(frame.time))} AS VARCHAR)"
    return f"regexp_replace({column}, '(\\.0| 00:00:00)$', '')"
