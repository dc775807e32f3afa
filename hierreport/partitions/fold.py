"""Moments of a panel as sums over its files, one after another; those of the first files are taken from an earlier run.

Every file's rows are summed apart, in batches of a fixed size from its first row, and added to the sums of the files
before it. A run that starts from kept sums does the very additions that a run over all files does.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..gram import grams, mirror, run_starts
from ..moments import LagMoments, PanelMoments
from ..reduce import FULL_BYTES, LAG_BYTES, assemble, small_periods
from ..reduce_cells import reduce_by_period
from ..reduce_lags import batch_rows, batch_sums, merge, significant, snap
from ..reduce_plan import Plan, plan, quoted
from ..reduce_stream import group_table, numpy_batches, with_codes
from .parts import Whole
from .sums import Sums

if TYPE_CHECKING:
    from ..frame import Frame
    from .parts import Kept

# Locations are multiples of the scale (a power of two near the standard deviation), so that new rows seldom move them.
GRID = 1
_ROWS = "hierreport_rows"
PLAN = "plan.json"  # what the kept sums were summed with, to say what changed


def reduce_kept(frame: Frame, kept: Kept) -> tuple[PanelMoments, str]:
    """Moments of a panel that was opened file by file.

    Args:
        frame: over panel.parquet.
        kept: its files.

    Returns:
        The moments, and a sentence on what was used again or why not.

    Raises:
        Whole: the files are not one stretch of time after another, or the sums are too large to be kept.
    """
    ends = np.cumsum([part.rows for part in kept.parts]).tolist()
    digests = _digests(frame, ends)
    p = plan(frame, grid=GRID)
    sums, labels, said = _sums(frame, kept, p, ends, digests)
    products = mirror(sums.products)
    weighted = (float(sums.sum_log), mirror(sums.unweighted)) if p.weight else (0.0, None)
    moments = assemble(p, labels, sums.n, products, np.arange(p.q), None, *weighted)
    periods = reduce_by_period(frame, moments) if frame.time and small_periods(frame, moments) else None
    return PanelMoments(moments, _lag_moments(frame, sums), periods), said


def _sums(
    frame: Frame, kept: Kept, p: Plan, ends: list[int], digests: list[tuple[int, int]]
) -> tuple[Sums, tuple[np.ndarray, ...], str]:
    """The sums over all files, the labels of the groups, and a sentence."""
    labels, n = group_table(frame.con, p)
    if not len(n):
        raise Whole("there are no rows")
    if p.q * p.q * len(n) * 8 > FULL_BYTES or p.q * p.q * 24 * len(n) > LAG_BYTES:
        raise Whole(f"the sums of {p.q} columns for {len(n)} groups are too large to be kept")
    chain = _chain(frame, kept, p)
    start, sums, said = _continue(kept, p, chain, digests, labels, len(n))
    if sums is None:
        sums = Sums.empty(labels, len(n), p.q, frame.time is not None)
    _ordered_rows(frame, p, [0, *ends], start)
    for k in range(start, len(ends)):
        sums = _add(sums, _part(frame, p, sums, k), p)
        sums.rows = digests[k]
        if k >= len(ends) - 2:
            sums.save(kept.folder / f"{chain[k]}.npz")
    if not (np.isfinite(sums.products).all() and np.isfinite(sums.sum_log)):
        raise Whole("the sums are not finite")
    (kept.folder / PLAN).write_text(json.dumps(_location(p)), encoding="utf-8")
    kept.sums = {PLAN} | {f"{c}{suffix}" for c in chain[-2:] for suffix in (".npz", ".sha256")}
    return sums, labels, said


def _chain(frame: Frame, kept: Kept, p: Plan) -> list[str]:
    """Digest of everything that the sums of the first k + 1 files are made of, for each k."""
    import duckdb

    plan_ = [p.names, p.expressions, p.groups, p.levels, p.weight, frame.time, kept.source.columns]
    versions = [kept.code, duckdb.__version__, np.__version__]
    digest = hashlib.sha256(repr([plan_, versions]).encode())
    out = []
    for part in kept.parts:
        digest.update(part.key.encode())
        out.append(digest.hexdigest()[:32])
    return out


def _digests(frame: Frame, ends: list[int]) -> list[tuple[int, int]]:
    """Number and digest of the model frame's rows up to the end of each file.

    They say whether the rows of closed files are still what they were: a mean over all rows, or a lag, may change them.
    """
    names = [row[0] for row in frame.con.execute(f"DESCRIBE SELECT * FROM {frame.table}").fetchall()]
    values = ", ".join(quoted(name) for name in names)
    _offsets(frame, [0, *ends])
    found = frame.con.execute(
        f"SELECT part, count(*), sum(hash({values})) FROM {frame.table} "
        "JOIN hierreport_offsets ON __row > low AND __row <= high GROUP BY part ORDER BY part"
    ).fetchall()
    by_part = {part: (count, int(total)) for part, count, total in found}
    rows = digest = 0
    out = []
    for k in range(len(ends)):
        count, total = by_part.get(k, (0, 0))
        rows, digest = rows + count, (digest + total) % 2**64
        out.append((rows, digest))
    return out


def _offsets(frame: Frame, ends: list[int]) -> None:
    values = ", ".join(f"({k}, {low}, {high})" for k, (low, high) in enumerate(pairwise(ends)))
    frame.con.execute(
        f"CREATE OR REPLACE TEMP TABLE hierreport_offsets AS SELECT * FROM (VALUES {values}) AS t(part, low, high)"
    )


def _why(kept: Kept, p: Plan) -> str:
    """Why no kept sums can be continued: what differs from the run that kept them."""
    try:
        before = json.loads((kept.folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "nothing was kept of them"
    now = _location(p)
    if list(before) != list(now):
        return "the model's columns changed"
    moved = [name for name in now if before[name] != now[name]]
    return f"the location of {', '.join(moved)} moved" if moved else "a file before the last one changed"


def _location(p: Plan) -> dict[str, list[float]]:
    """Location and scale of the columns."""
    return {name: [float(a), float(b)] for name, a, b in zip(p.names, p.shift, p.scale, strict=True)}


def _continue(
    kept: Kept,
    p: Plan,
    chain: list[str],
    digests: list[tuple[int, int]],
    labels: tuple[np.ndarray, ...],
    groups: int,
) -> tuple[int, Sums | None, str]:
    """The longest kept sums that this run can continue: number of files in them, the sums, and a sentence."""
    files = f"{len(chain)} files"
    why = _why(kept, p)
    for k in reversed(range(len(chain))):
        found = Sums.load(kept.folder / f"{chain[k]}.npz")
        if found is None:
            continue
        if found.rows != digests[k]:
            why = "their rows in the model frame changed (a mean over all rows, a lag or a category)"
            continue
        more = found.among(labels, groups)
        if more is not None:
            return k + 1, more, f"the moments of {k + 1} of {files} were used again"
    return 0, None, f"the moments of {files} were computed: {why}"


def _ordered_rows(frame: Frame, p: Plan, ends: list[int], start: int) -> None:
    """The rows of the files from ``start`` on, by file, group and time, as a temporary table."""
    source, code = with_codes(p)
    time = f"CAST({quoted(frame.time)} AS DOUBLE)" if frame.time else "0e0"
    items = ["part", f"{code} AS k", f"{time} AS t"]
    items += [f"{e} AS c{j}" for j, e in enumerate(p.expressions) if j]
    items += [f"CAST({p.weight} AS DOUBLE) AS wt"] if p.weight else []
    frame.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {_ROWS} AS SELECT {', '.join(items)} FROM {source} "
        f"JOIN hierreport_offsets ON __row > low AND __row <= high WHERE __row > {ends[start]} "
        "ORDER BY part, k, t, __row"
    )


def _part(frame: Frame, p: Plan, before: Sums, k: int) -> Sums:
    """The sums of one file's rows; its lags reach back to the last rows of the files before it."""
    out = Sums.empty(before.labels, len(before.n), p.q, before.lags is not None)
    if out.lags is not None and before.lags is not None:
        out.lags["last_row"], out.lags["last_time"] = before.lags["last_row"].copy(), before.lags["last_time"].copy()
    steps: list[list[np.ndarray]] = []
    columns = ", ".join(["k", "t", *(f"c{j}" for j in range(1, p.q)), *(["wt"] if p.weight else [])])
    batches = numpy_batches(frame.con, f"SELECT {columns} FROM {_ROWS} WHERE part = {k}", batch_rows(p.q))
    with closing(batches):
        for found in batches:
            group, time, weight = found[0], found[1], found[-1] if p.weight else None
            rows = np.empty((len(group), p.q))
            rows[:, 0] = 1.0
            for j in range(1, p.q):
                rows[:, j] = found[j + 1]
            if weight is not None:
                out.unweighted += grams(rows, rows, np.zeros(1, np.int64))[0]
                out.sum_log = out.sum_log + np.sum(np.log(weight))
                rows *= np.sqrt(weight)[:, None]
            starts = run_starts(group)
            out.products[:, :, group[starts]] += grams(rows, rows, starts).transpose(1, 2, 0)
            out.n[group[starts]] += np.diff(starts, append=len(group))
            if out.lags is not None:
                found_steps = _steps(group, time, rows, starts, out.lags)
                if found_steps is None:
                    out.lags = None  # two rows of a group at one time: their order is unknown
                else:
                    steps.append(found_steps)
    if out.lags is not None and steps:
        merged = merge(steps)
        out.lags |= dict(zip(("group", "length", "count", "now", "cross", "before"), merged, strict=True))
    return out


def _steps(
    group: np.ndarray, time: np.ndarray, rows: np.ndarray, starts: np.ndarray, state: dict[str, np.ndarray]
) -> list[np.ndarray] | None:
    """Sums of a batch's rows with the rows before them; None where a key repeats.

    Raises:
        Whole: a row is earlier than one of a file before.
    """
    last_row, last_time, first = state["last_row"], state["last_time"], state["first"]
    ends = np.append(starts[1:], len(group)) - 1
    before, length = np.empty_like(rows), np.empty_like(time)
    before[1:], length[1:] = rows[:-1], time[1:] - time[:-1]
    before[starts] = last_row[group[starts]]
    length[starts] = time[starts] - last_time[group[starts]]
    opening = starts[np.isnan(length[starts])]
    first[:, :, group[opening]] = np.einsum("gi,gj->ijg", rows[opening], rows[opening])
    last_row[group[ends]], last_time[group[ends]] = rows[ends], time[ends]
    if (length < 0).any():
        raise Whole("the files, in the order of their names, are not one stretch of time after another")
    if (length == 0).any():
        return None
    later = np.ones(len(group), dtype=bool)
    later[opening] = False
    return batch_sums(group[later], significant(length[later]), rows[later], before[later])


def _add(sums: Sums, part: Sums, p: Plan) -> Sums:
    """The sums of the files before and of one more."""
    out = Sums(
        sums.labels,
        sums.products + part.products,
        sums.n + part.n,
        sums.sum_log + part.sum_log,
        sums.unweighted + part.unweighted,
        None,
    )
    if sums.lags is not None and part.lags is not None:
        names = ("group", "length", "count", "now", "cross", "before")
        entries = merge([[sums.lags[n] for n in names], [part.lags[n] for n in names]])
        if len(entries[0]) * p.q * p.q * 24 <= LAG_BYTES:
            out.lags = dict(zip(names, entries, strict=True))
            out.lags["first"] = sums.lags["first"] + part.lags["first"]  # each group's is in one of them, else zero
            out.lags |= {n: part.lags[n] for n in ("last_row", "last_time")}
    return out


def _lag_moments(frame: Frame, sums: Sums) -> LagMoments | None:
    if sums.lags is None:
        return None
    axis = frame.info.get("time_axis") or {}
    s = sums.lags
    step = float(axis["step"]) if axis.get("step") else (float(s["length"].min()) if len(s["length"]) else 1.0)
    entries = [s["group"], snap(s["length"] / step), s["count"], s["now"], s["cross"], s["before"]]
    group, gap, count, *rest = merge([entries])
    now, cross, before = (np.ascontiguousarray(part.transpose(1, 2, 0)) for part in rest)
    return LagMoments(group, gap, count, now, cross, before, s["first"], step, str(axis.get("unit") or ""))
