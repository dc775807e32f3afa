"""Moments by period and by stratum within the innermost groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hierreport.errors import DataError
from hierreport.gram import run_starts
from hierreport.moments import Moments, PeriodMoments, StratumMoments
from hierreport.reduce import PARENT_BYTES, SQL_COLUMNS, TooLarge, fetch, plan, quoted, reduce_pairwise
from hierreport.reduce_lags import Strata, reduce_lagged, time_label
from hierreport.reduce_stream import group_table, reduce_streamed
from hierreport.variants import stratum_sql

if TYPE_CHECKING:
    from hierreport.frame import Frame


def reduce_by_period(frame: Frame, moments: Moments, strata: Strata | None = None) -> PeriodMoments:
    """Sums per period and per cell, by stratum too where given; see ``moments.reduce_periods``."""
    if frame.time is None:
        raise DataError("there is no time column.", "time", "Name the panel's time column.")
    p = plan(frame, moments)
    con = frame.con
    time = f"CAST({quoted(frame.time)} AS DOUBLE)"
    _, n = group_table(con, p)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE hierreport_periods AS "
        "SELECT time, label, row_number() OVER (ORDER BY time) - 1 AS period "
        f"FROM (SELECT t AS time, min(label) AS label FROM "
        f"(SELECT {time} AS t, {time_label(frame)} AS label FROM {p.table}) GROUP BY t)"
    )
    known = fetch(con, "SELECT label, time FROM hierreport_periods ORDER BY period")
    labels = known["label"]
    if (most := min(int(n.sum()), len(n) * len(labels))) * p.q * 8 > PARENT_BYTES:
        what = f"up to {most} cells of group and period are too many."
        raise TooLarge(what, "crossed time effect", "Use a coarser time column.")
    weight = "wt" if p.weight else "1.0"
    sums = [f"sum({weight}) AS s0"]
    sums += [f"sum({f'wt * c{k}' if p.weight else f'c{k}'}) AS s{k}" for k in range(1, p.q)]
    keys = ", ".join([*(f"g{k}" for k in range(len(p.groups))), "time", *(["stratum"] if strata else [])])
    extra = f"{time} AS time" + (f", {strata.number} AS stratum" if strata else "")
    cells = f"SELECT {keys}, count(*) AS n, {', '.join(sums)} FROM ({p.rows(extra)}) GROUP BY {keys}"
    on = " AND ".join(f"g{k} = hierreport_g{k}" for k in range(len(p.groups)))
    join = f"JOIN hierreport_groups ON {on}" if on else ""
    code = "hierreport_code" if on else "CAST(0 AS BIGINT)"
    found = fetch(
        con,
        f"SELECT {code} AS code, period, {'stratum' if strata else '0'} AS stratum, n, "
        f"{', '.join(f's{k}' for k in range(p.q))} FROM ({cells}) {join} "
        "JOIN hierreport_periods USING (time) ORDER BY code, period, stratum",
    )
    cell = np.stack([np.asarray(found[f"s{k}"], dtype=np.float64) for k in range(p.q)])
    period, count = found["period"].astype(np.int64), found["n"].astype(np.int64)
    order = np.argsort(period, kind="stable")
    starts = run_starts(period[order])
    return PeriodMoments(
        np.array([str(v) for v in labels], dtype=object),
        np.add.reduceat(cell[:, order], starts, axis=1),
        np.add.reduceat(count[order], starts),
        found["code"].astype(np.int64),
        period,
        cell,
        count,
        np.asarray(known["time"], dtype=np.float64),
        found["stratum"].astype(np.int64) if strata else None,
    )


def reduce_by_stratum(
    frame: Frame, moments: Moments, column: str, step: float | None = None, periods: bool = False
) -> StratumMoments:
    """Moments by (innermost group, stratum): the same reduction with the stratum as one more grouping."""
    known = [row[0] for row in frame.con.execute(f"DESCRIBE SELECT * FROM {frame.table}").fetchall()]
    if column not in known:
        do = f"The columns are {', '.join(known)}."
        raise DataError(f"there is no column '{column}'.", "variances", do)
    p = plan(frame, moments)
    view = f"(SELECT *, {stratum_sql(frame, column)} AS hierreport_stratum FROM {p.table})"
    every = np.arange(p.q)
    p = replace(p, table=view, groups=(*p.groups, '"hierreport_stratum"'), levels=(*p.levels, column), z_index=every)
    found = reduce_streamed(frame, p) if p.q > SQL_COLUMNS else reduce_pairwise(frame, p)
    if found.products.shape[0] < p.q:
        raise DataError(f"{len(found.n)} cells of group and {column} are too many.", "variances", "Use fewer columns.")
    labels = found.labels[-1]
    strata = sorted(set(labels.tolist()), key=natural)
    place = {s: k for k, s in enumerate(strata)}
    start = run_starts(*found.labels[:-1]) if len(found.labels) > 1 else np.zeros(1, dtype=np.int64)
    group = np.zeros(len(labels), dtype=np.int64)
    group[start[1:]] = 1
    apart = Strata(stratum_sql(frame, column), strata)
    return StratumMoments(
        np.array(strata, dtype=object),
        np.cumsum(group),
        np.array([place[s] for s in labels.tolist()], dtype=np.int64),
        found.n,
        found.products,
        None if step is None else reduce_lagged(frame, moments, step, apart),
        reduce_by_period(frame, moments, apart) if periods else None,
    )


def natural(label: str) -> tuple[int, float, str]:
    """Numbers in their order, before text."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)
