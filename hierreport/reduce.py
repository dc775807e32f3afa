"""Reduces the rows of a checked panel to group moments, in SQL; the same bits on every run and number of cores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import DataError
from hierreport.moments import Moments, PanelMoments
from hierreport.reduce_plan import Plan, plan, quoted

if TYPE_CHECKING:
    import duckdb

    from hierreport.frame import Frame

FULL_BYTES = 600 << 20  # full products of every innermost group are kept up to this size
PARENT_BYTES = 2 << 30  # and full products of their parents up to this one
LAG_BYTES = 1 << 30  # lagged products
PERIODS, PERIOD_BYTES = 1000, 64 << 20  # crossed effects nobody asked for: periods, sums per cell
SQL_COLUMNS = 16  # beyond this many columns, matrix products of streamed rows beat pairwise sums in SQL


class TooLarge(DataError):
    """Moments that would not fit into memory."""


class DuplicateTimes(DataError):
    """Rows of a group at the same time, where their order matters."""


def reduce_frame(frame: Frame, like: Moments | None = None) -> Moments:
    """Group moments of a frame; see ``moments.reduce``. ``like``: see ``moments.reduce_all``."""
    if frame.moments is not None and like is None:
        return frame.moments
    p = plan(frame, like)
    if p.q > SQL_COLUMNS:
        from hierreport.reduce_stream import reduce_streamed

        moments = reduce_streamed(frame, p)
    else:
        moments = reduce_pairwise(frame, p)
    if len(moments.n) == 0:
        raise DataError("there are no rows.", "model frame")
    total = moments.parent_products.sum(axis=2)
    if not np.isfinite(total).all() or not math.isfinite(moments.sum_log_weight):
        worst = p.names[int(np.argmin(np.isfinite(total).all(axis=0)))]
        what = "zero or negative weights." if not math.isfinite(moments.sum_log_weight) else "infinite values."
        raise DataError(f"{what[:-1]} reached the moments.", f"column {worst}")
    return moments


def reduce_panel(frame: Frame, like: Moments | None = None) -> PanelMoments:
    """All moments that a panel allows; see ``moments.reduce_all``."""
    moments = reduce_frame(frame, like)
    if frame.time is None:
        return PanelMoments(moments)
    from hierreport.reduce_cells import reduce_by_period
    from hierreport.reduce_lags import reduce_lagged

    try:
        lags = reduce_lagged(frame, moments, None)
    except (TooLarge, DuplicateTimes):
        lags = None
    return PanelMoments(moments, lags, reduce_by_period(frame, moments) if small_periods(frame, moments) else None)


def small_periods(frame: Frame, moments: Moments) -> bool:
    """Whether sums by group and period are few enough to be computed unasked."""
    periods = (frame.info.get("periods") or {}).get("count")
    if periods is None:
        found = fetch(frame.con, f"SELECT count(DISTINCT {quoted(str(frame.time))}) AS k FROM {frame.table}")
        periods = int(found["k"][0])
    cells = min(moments.n_obs, periods * len(moments.n))
    return periods <= PERIODS and cells * len(moments.columns) * 8 <= PERIOD_BYTES


def reduce_pairwise(frame: Frame, p: Plan) -> Moments:
    """Moments by one GROUP BY with a sum per pair of columns."""
    pairs = p.pairs()
    sums = [f"{p.product(i, j)} AS s{k}" for k, (i, j) in enumerate(pairs)]
    if p.weight:
        sums += ["sum(wt) AS s_wt", "sum(ln(wt)) AS s_ln"]
    by = f"GROUP BY {p.keys()} ORDER BY {p.keys()}" if p.groups else ""
    items = [*(f"g{k}" for k in range(len(p.groups))), "count(*) AS n", *sums]
    found = fetch(frame.con, f"SELECT {', '.join(items)} FROM ({p.rows()}) {by}")
    n = found["n"].astype(np.int64)
    labels = tuple(text_array(found.pop(f"g{k}")) for k in range(len(p.groups)))
    check_bytes(p.q * p.q * len(n) * 8, p)
    products = np.zeros((p.q, p.q, len(n)))
    products[0, 0] = found["s_wt"] if p.weight else n
    for k, (i, j) in enumerate(pairs):
        products[i, j] = products[j, i] = found.pop(f"s{k}")
    sum_log, unweighted = 0.0, None
    if p.weight:
        sum_log = float(np.sum(found["s_ln"]))
        unweighted = whole(frame, p)
    return assemble(p, labels, n, products, np.arange(p.q), None, sum_log, unweighted)


def whole(frame: Frame, p: Plan) -> np.ndarray:
    """Sums of products over all rows without weights. (q, q)"""
    pairs = p.pairs()
    sums = ", ".join(p.product(i, j, weighted=False) for i, j in pairs)
    row = frame.con.execute(f"SELECT count(*), {sums} FROM ({p.rows()})").fetchall()[0]
    out = np.zeros((p.q, p.q))
    out[0, 0] = row[0]
    for (i, j), value in zip(pairs, row[1:], strict=True):
        out[i, j] = out[j, i] = value
    return out


def assemble(
    p: Plan,
    labels: tuple[np.ndarray, ...],
    n: np.ndarray,
    products: np.ndarray,
    z_index: np.ndarray,
    parent_products: np.ndarray | None,
    sum_log: float,
    unweighted: np.ndarray | None,
) -> Moments:
    """Put moments together; parents' products are summed from full products where they are not given."""
    if parent_products is None:
        parent_products = sum_parents(products, labels)
    return Moments(
        p.names, p.shift, p.scale, p.levels, labels, n, products, z_index, parent_products, sum_log, unweighted
    )


def sum_parents(products: np.ndarray, labels: tuple[np.ndarray, ...]) -> np.ndarray:
    """Full products summed to the groups of the level above the innermost one. (q, q, P)"""
    return np.add.reduceat(products, parent_starts(labels, products.shape[2]), axis=2)


def parent_starts(labels: tuple[np.ndarray, ...], groups: int) -> np.ndarray:
    """First innermost group of each parent; one parent where there is no level above."""
    change = np.zeros(groups, dtype=bool)
    change[:1] = True
    for ids in labels[:-1]:
        change[1:] |= ids[1:] != ids[:-1]
    return np.flatnonzero(change)


def check_bytes(size: int, p: Plan) -> None:
    if size > PARENT_BYTES:
        what = f"{p.q} model columns need {size / 2**30:.1f} GB of sums of products."
        do = "Use fewer columns: a factor with hundreds of levels is better a random or a crossed effect."
        raise DataError(what, "formula", do)


def fetch(con: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """Run a query; one NumPy array per column.

    Raises:
        DataError: the data cannot be read to their end.
    """
    import duckdb

    try:
        return dict(con.execute(sql).fetchnumpy())
    except duckdb.Error as error:
        from hierreport.source import unreadable

        raise unreadable(error, "model frame") from error


def text_array(ids: np.ndarray) -> np.ndarray:
    """Group ids as an array of ``str`` objects."""
    if hasattr(ids, "filled"):  # a masked array: np.ma is not imported where nothing is missing
        ids = ids.filled("")
    return np.array([str(v) for v in ids], dtype=object) if len(ids) and not isinstance(ids[0], str) else ids
