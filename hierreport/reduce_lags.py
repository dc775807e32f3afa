"""Lagged moments: rows in time order within the innermost group, each joined to the one before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hierreport.errors import DataError
from hierreport.gram import grams, run_starts
from hierreport.moments import LagMoments, Moments
from hierreport.reduce import LAG_BYTES, Plan, TooLarge, plan, quoted
from hierreport.reduce_stream import group_table, numpy_batches, with_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hierreport.frame import Frame

BATCH_BYTES = 16 << 20


class Unsorted(Exception):
    """The rows are not in the order of group and time."""


def reduce_lagged(frame: Frame, moments: Moments, step: float | None) -> LagMoments:
    """Lagged sums of products; see ``moments.reduce_lags``."""
    if frame.time is None:
        raise DataError("there is no time column.", "time", "Name the panel's time column.")
    p = plan(frame, moments)
    axis = frame.info.get("time_axis") or {}
    step = step or axis.get("step")
    _, n = group_table(frame.con, p)
    q, unit = p.q, str(axis.get("unit") or "")
    if q * q * 24 * len(n) > LAG_BYTES:
        too_large(q, len(n))
    try:
        parts = list(steps(frame, p, ordered=False, first=(first := np.zeros((q, q, len(n))))))
    except Unsorted:
        parts = list(steps(frame, p, ordered=True, first=(first := np.zeros((q, q, len(n))))))
    group = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.int64)])
    length = np.concatenate([part[1] for part in parts] or [np.zeros(0)])
    unit_step = float(step) if step else (float(length.min()) if len(length) else 1.0)
    gap = snap(length / unit_step)
    order = np.lexsort((gap, group))
    group, gap = group[order], gap[order]
    starts = run_starts(group, gap)
    if not len(starts):
        empty = np.zeros((q, q, 0))
        none = np.zeros(0, np.int64)
        return LagMoments(none, np.zeros(0), none, empty, empty, empty, first, unit_step, unit)
    count = np.add.reduceat(np.concatenate([part[2] for part in parts])[order], starts)
    sums = []
    for k in (3, 4, 5):
        stacked = np.concatenate([part[k] for part in parts])
        for part in parts:
            part[k] = stacked[:0]  # give the memory back before the next one
        sums.append(np.ascontiguousarray(np.add.reduceat(stacked[order], starts, axis=0).transpose(1, 2, 0)))
    return LagMoments(group[starts], gap[starts], count, sums[0], sums[1], sums[2], first, unit_step, unit)


def too_large(q: int, entries: int) -> None:
    what = f"lagged sums of {q} columns for {entries} groups and gaps need {q * q * entries * 24 / 2**30:.1f} GB."
    raise TooLarge(what, "AR(1) errors", "Use fewer columns, or a coarser time_step.")


def snap(gap: np.ndarray) -> np.ndarray:
    """Gaps that differ from a whole number by rounding only become whole."""
    whole = np.round(gap)
    return np.where(np.abs(gap - whole) <= 1e-6 * np.maximum(whole, 1.0), whole, gap)


def steps(frame: Frame, p: Plan, ordered: bool, first: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Sums over batches of rows in (group, time) order.

    Args:
        ordered: sort in SQL; otherwise the rows are taken as they come, and ``Unsorted`` is raised if that fails.
        first: (q, q, G), filled with the products of each group's first row.

    Yields:
        Per (group, length of step) of a batch: group, length, count, and now, cross, before as (K, q, q).
    """
    entries, before = 0, None
    for columns in numpy_batches(
        frame.con, rows_sql(p, quoted(str(frame.time)), ordered), max(4096, BATCH_BYTES // (8 * p.q))
    ):
        group, time = columns[0], columns[1]
        rows = np.empty((len(group), p.q))
        rows[:, 0] = 1.0
        for k in range(1, p.q):
            rows[:, k] = columns[k + 1]
        if p.weight:
            rows *= columns[-1][:, None]
        if before is not None:
            group, time = np.append(before[0], group), np.append(before[1], time)
            rows = np.concatenate([before[2], rows])
        opening = run_starts(group) if before is None else run_starts(group)[1:]
        first[:, :, group[opening]] = np.einsum("gi,gj->ijg", rows[opening], rows[opening])
        before = group[-1:].copy(), time[-1:].copy(), rows[-1:].copy()
        same = group[1:] == group[:-1]
        length = time[1:] - time[:-1]
        if (group[1:] < group[:-1]).any() or (length[same] < 0).any():
            raise Unsorted
        if (length[same] == 0).any():
            duplicate(frame, p)
        later = np.flatnonzero(same) + 1
        part = batch_sums(group[later], significant(length[same]), rows, later)
        entries += len(part[0])
        if entries * p.q * p.q * 24 > LAG_BYTES:
            too_large(p.q, entries)
        yield part


def significant(length: np.ndarray) -> np.ndarray:
    """Lengths without their last bits, so that 0.3 - 0.2 and 0.2 - 0.1 are one step."""
    digits = 10.0 ** (11 - np.floor(np.log10(np.maximum(length, 1e-300))))
    return np.where(length == np.round(length), length, np.round(length * digits) / digits)


def batch_sums(group: np.ndarray, length: np.ndarray, rows: np.ndarray, later: np.ndarray) -> list[np.ndarray]:
    """The sums of one batch; ``later`` are the rows that have one before them in their group."""
    order = np.lexsort((length, group))
    group, length, later = group[order], length[order], later[order]
    starts = run_starts(group, length) if len(group) else np.zeros(0, np.int64)
    now, past = rows[later], rows[later - 1]
    mixed = grams(now, past, starts)
    return [
        group[starts],
        length[starts],
        np.diff(starts, append=len(group)),
        symmetric(grams(now, now, starts)),
        mixed + mixed.transpose(0, 2, 1),
        symmetric(grams(past, past, starts)),
    ]


def symmetric(products: np.ndarray) -> np.ndarray:
    """Copy the upper triangle of (K, q, q) products to the lower one."""
    for i in range(products.shape[1]):
        products[:, i + 1 :, i] = products[:, i, i + 1 :]
    return products


def rows_sql(p: Plan, time: str, ordered: bool) -> str:
    """Group code, time, the scaled columns, and the root of the weight."""
    source, code = with_codes(p)
    items = [f"{code} AS k", f"CAST({time} AS DOUBLE) AS t"]
    items += [f"{e} AS c{k}" for k, e in enumerate(p.expressions) if k]
    items += [f"sqrt(CAST({p.weight} AS DOUBLE)) AS root"] if p.weight else []
    return f"SELECT {', '.join(items)} FROM {source}" + (" ORDER BY 1, 2" if ordered else "")


def duplicate(frame: Frame, p: Plan) -> None:
    """Refuse two rows of one group at the same time, naming the first such key.

    Raises:
        DataError: always.
    """
    time = quoted(str(frame.time))
    names = [f"g{k}" for k in range(len(p.groups))]
    items = ", ".join([*(f"{g} AS {n}" for g, n in zip(p.groups, names, strict=True)), f"{time} AS t"])
    keys = ", ".join([*names, "t"])
    row = frame.con.execute(
        f"SELECT {', '.join([*names, 'min(label)'])}, count(*) FROM (SELECT {items}, {time_label(frame)} AS label "
        f"FROM {p.table}) GROUP BY {keys} HAVING count(*) > 1 ORDER BY {keys} LIMIT 1"
    ).fetchall()[0]
    where = f"{p.levels[-1]} {'/'.join(map(str, row[:-2]))}" if p.groups else "the panel"
    raise DataError(
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
