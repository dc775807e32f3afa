"""Reduces the rows of a checked panel to group moments, in SQL; the same bits on every run and number of cores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import DataError
from hierreport.moments import Moments, PanelMoments

if TYPE_CHECKING:
    import duckdb

    from hierreport.frame import Column, Frame

INTERCEPT = "(Intercept)"
FULL_BYTES = 600 << 20  # full products of every innermost group are kept up to this size
PARENT_BYTES = 2 << 30  # and full products of their parents up to this one
LAG_BYTES = 1 << 30  # lagged products
PERIODS, PERIOD_BYTES = 1000, 64 << 20  # crossed effects: a dense matrix over the periods, sums per cell
SQL_COLUMNS = 16  # beyond this many columns, matrix products of streamed rows beat pairwise sums in SQL


class TooLarge(DataError):
    """Moments that would not fit into memory."""


class DuplicateTimes(DataError):
    """Rows of a group at the same time, where their order matters."""


def quoted(name: str) -> str:
    """A column name as an SQL identifier, unless it is one already."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def one_thread(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run DuckDB on one thread: its parallel sums of doubles differ in the last bits from run to run."""
    threads = con.execute("SELECT current_setting('threads')").fetchall()[0][0]
    con.execute("SET threads = 1")
    try:
        yield
    finally:
        con.execute(f"SET threads = {threads}")


@dataclass(frozen=True)
class Plan:
    """The model columns W as SQL, with the location and scale that are taken out.

    Attributes:
        names: W's columns, ``(Intercept)`` first, the outcome last. (q)
        expressions: SQL of each scaled column; the constant is "1". (q)
        shift, scale: what was taken out. (q,)
        factor: factor that a 0/1 column belongs to, None for numeric columns. (q)
        groups: quoted group columns, outermost first.
        weight: quoted weight column, or None.
        z_index: columns with a random coefficient at some level, and the constant. (r,)
    """

    table: str
    names: tuple[str, ...]
    expressions: tuple[str, ...]
    shift: np.ndarray
    scale: np.ndarray
    factor: tuple[str | None, ...]
    groups: tuple[str, ...]
    levels: tuple[str, ...]
    weight: str | None
    z_index: np.ndarray

    @property
    def q(self) -> int:
        return len(self.names)

    def pairs(self) -> list[tuple[int, int]]:
        """Index pairs of the products whose sums are not known beforehand (two levels of one factor never meet)."""
        return [
            (i, j)
            for i in range(self.q)
            for j in range(i, self.q)
            if j > 0 and not (i != j and self.factor[i] is not None and self.factor[i] == self.factor[j])
        ]

    def product(self, i: int, j: int, weighted: bool = True) -> str:
        """SQL of Σ w_i w_j over the inner query of ``rows``."""
        # The square of a 0/1 column is the column itself.
        places = [i] if i == j and self.factor[i] is not None else [i, j]
        parts = [f"c{k}" for k in places if k > 0]
        if weighted and self.weight:
            parts.insert(0, "wt")
        return f"sum({' * '.join(parts) or '1.0'})"

    def rows(self, extra: str = "") -> str:
        """Inner query: the group columns as g0, g1 …, the scaled columns as c1, c2 …, the weight as wt."""
        items = [f"{g} AS g{k}" for k, g in enumerate(self.groups)]
        items += [f"{e} AS c{k}" for k, e in enumerate(self.expressions) if k]
        items += [f"CAST({self.weight} AS DOUBLE) AS wt"] if self.weight else []
        items += [extra] if extra else []
        return f"SELECT {', '.join(items)} FROM {self.table}"

    def keys(self) -> str:
        return ", ".join(f"g{k}" for k in range(len(self.groups)))


def plan(frame: Frame, moments: Moments | None = None) -> Plan:
    """Columns, location and scale of a frame; taken from ``moments`` where they exist already."""
    columns: list[Column] = [*frame.columns, frame.outcome]
    names = (INTERCEPT, *(c.name for c in columns))
    if moments is not None:
        if moments.columns != names:
            raise DataError("the moments belong to another model: their columns differ.", "moments")
        shift, scale = moments.shift, moments.scale
    else:
        shift, scale = location_and_scale(frame, columns)
    expressions = ["1"]
    for k, column in enumerate(columns, start=1):
        moved = f"({column.sql})" if shift[k] == 0 else f"(({column.sql}) - {sql_number(shift[k])})"
        # A power of two is exact, so that multiplying by its inverse is too.
        expressions.append(moved if scale[k] == 1 else f"({moved} * {sql_number(1 / scale[k])})")
    random = {term for level in frame.random for block in level.blocks for term in block} | {INTERCEPT}
    return Plan(
        frame.table,
        names,
        tuple(expressions),
        shift,
        scale,
        (None, *(c.factor for c in frame.columns), None),
        tuple(quoted(g) for g in frame.groups),
        tuple(frame.levels),
        quoted(frame.weights) if frame.weights else None,
        np.array([k for k, name in enumerate(names) if name in random]),
    )


def sql_number(value: float) -> str:
    """A double as an SQL literal of the same value (a plain decimal would become a DECIMAL)."""
    return f"{float(value)!r}::DOUBLE" if "e" in repr(float(value)) else f"{float(value)!r}e0"


def location_and_scale(frame: Frame, columns: list[Column]) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of W's columns: near the mean and standard deviation, but few-bit numbers.

    The scale is a power of two, so that scaling rounds nothing, and the shift a multiple of a sixteenth of it, so that
    last-bit differences of the frame's means (which may come from a parallel query) do not reach the moments. Factor
    columns are left as 0/1. Without a fixed and a random intercept nothing is shifted: there is no constant that could
    take the shift up.
    """
    numeric = [c for c in columns if c.factor is None]
    means, sds = dict(frame.means), dict(frame.sds)
    unknown = [c for c in numeric if c.name not in means or c.name not in sds]
    if unknown:
        sums = ", ".join(f"avg({c.sql}), stddev_pop({c.sql})" for c in unknown)
        with one_thread(frame.con):
            row = frame.con.execute(f"SELECT {sums} FROM {frame.table}").fetchall()[0]
        for k, c in enumerate(unknown):
            means[c.name], sds[c.name] = row[2 * k], row[2 * k + 1]
    terms = {term for level in frame.random for block in level.blocks for term in block}
    centred = INTERCEPT in frame.fixed or INTERCEPT in terms
    shift, scale = np.zeros(len(columns) + 1), np.ones(len(columns) + 1)
    for k, c in enumerate(columns, start=1):
        if c.factor is not None:
            continue
        mean, sd = float(means[c.name] or 0.0), float(sds[c.name] or 0.0)
        if not (math.isfinite(mean) and math.isfinite(sd)):
            raise DataError("its values are infinite or too large for their variance.", f"column {c.name}")
        if sd <= 1e-13 * abs(mean):  # constant: its location is all there is
            sd = abs(mean) if not centred else 1.0
        scale[k] = 2.0 ** round(math.log2(sd)) if sd > 0 else 1.0
        if centred:
            # The odd offset keeps the rounding boundary away from means that are simple fractions.
            shift[k] = math.floor(mean / scale[k] * 16 + 0.637) / 16 * scale[k]
    return shift, scale


def reduce_frame(frame: Frame) -> Moments:
    """Group moments of a frame; see ``moments.reduce``."""
    p = plan(frame)
    with one_thread(frame.con):
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


def reduce_panel(frame: Frame) -> PanelMoments:
    """All moments that a panel allows; see ``moments.reduce_all``."""
    moments = reduce_frame(frame)
    if frame.time is None:
        return PanelMoments(moments)
    from hierreport.reduce_cells import reduce_by_period
    from hierreport.reduce_lags import reduce_lagged

    try:
        lags = reduce_lagged(frame, moments, None)
    except (TooLarge, DuplicateTimes):
        lags = None
    periods = (frame.info.get("periods") or {}).get("count")
    if periods is None:
        found = fetch(frame.con, f"SELECT count(DISTINCT {quoted(frame.time)}) AS k FROM {frame.table}")
        periods = int(found["k"][0])
    cells = min(moments.n_obs, periods * len(moments.n))
    small = periods <= PERIODS and cells * len(moments.columns) * 8 <= PERIOD_BYTES
    return PanelMoments(moments, lags, reduce_by_period(frame, moments) if small else None)


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
    if isinstance(ids, np.ma.MaskedArray):
        ids = ids.filled("")
    return np.array([str(v) for v in ids], dtype=object) if len(ids) and not isinstance(ids[0], str) else ids
