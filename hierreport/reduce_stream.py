"""Moments of wide designs: rows are streamed in batches of fixed size and multiplied as matrices.

Nothing of the size rows × columns is ever held. Factors with many levels travel as one code per row, and their sums are
scattered into place instead of multiplying columns of zeros.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hierreport.errors import DataError
from hierreport.gram import grams, mirror, run_starts
from hierreport.moments import Moments
from hierreport.reduce import FULL_BYTES, Plan, assemble, check_bytes, fetch, parent_starts, quoted, text_array

if TYPE_CHECKING:
    import duckdb

    from hierreport.frame import Frame

BATCH_BYTES = 32 << 20
SPARSE_LEVELS = 8  # factors with fewer levels, or with random coefficients, are treated as ordinary columns


@dataclass
class Batch:
    """Consecutive rows, sorted by innermost group: scaled columns times the root of the weight."""

    group: np.ndarray
    dense: np.ndarray
    codes: dict[str, np.ndarray]
    root: np.ndarray | None


@dataclass
class Layout:
    """Which of W's columns are streamed as numbers, and which as a factor's code (its k-th column has code k + 1)."""

    dense: np.ndarray
    factors: dict[str, np.ndarray]

    @classmethod
    def of(cls, p: Plan) -> Layout:
        members: dict[str, list[int]] = {}
        for k, factor in enumerate(p.factor):
            if factor is not None:
                members.setdefault(factor, []).append(k)
        random = set(p.z_index.tolist())
        sparse = {f: np.array(m) for f, m in members.items() if len(m) >= SPARSE_LEVELS and not random & set(m)}
        taken = {k for m in sparse.values() for k in m.tolist()}
        return cls(np.array([k for k in range(p.q) if k not in taken]), sparse)


@dataclass
class Sums:
    """Running sums of products by key (innermost groups, parents or everything).

    Attributes:
        keys: number of keys.
        q: number of W's columns.
        rows: positions among the dense columns of those that get a row of products. (a,)
        full: whether all products are wanted, those between factors too; ``rows`` are then all dense columns.
        dense: products of the rows with all dense columns, by key. (keys, a, d)
        out: the products; dense ones are filled in by ``products``, the others as rows are added. (a or q, q, keys)
    """

    keys: int
    q: int
    rows: np.ndarray
    layout: Layout
    full: bool
    dense: np.ndarray = field(init=False)
    out: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.dense = np.zeros((self.keys, len(self.rows), len(self.layout.dense)))
        self.out = np.zeros((self.q if self.full else len(self.rows), self.q, self.keys))

    @property
    def place(self) -> np.ndarray:
        """Where ``rows`` are in ``out``."""
        return self.layout.dense if self.full else np.arange(len(self.rows))

    def add(self, key: np.ndarray, dense: np.ndarray, codes: dict[str, np.ndarray], root: np.ndarray | None) -> None:
        """Add rows sorted by key; ``root`` is the square root of their weights, already in ``dense``."""
        starts = run_starts(key)
        left = dense if len(self.rows) == dense.shape[1] else np.ascontiguousarray(dense[:, self.rows])
        self.dense[key[starts]] += grams(left, dense, starts)
        columns = {}
        for factor, members in self.layout.factors.items():
            on = np.flatnonzero(codes[factor])
            columns[factor] = members[codes[factor][on] - 1], on
            where = columns[factor][0] * self.keys + key[on]
            for a, column in zip(self.place, self.rows, strict=True):
                values = dense[on, column] if root is None else dense[on, column] * root[on]
                np.add.at(self.out[a].reshape(-1), where, values)
        if self.full:
            self.add_pairs(key, codes, root)

    def add_pairs(self, key: np.ndarray, codes: dict[str, np.ndarray], root: np.ndarray | None) -> None:
        """Sums of weights by the levels of two factors."""
        names = list(codes)
        for k, f in enumerate(names):
            for g in names[k + 1 :]:
                on = np.flatnonzero((codes[f] > 0) & (codes[g] > 0))
                one = self.layout.factors[f][codes[f][on] - 1]
                two = self.layout.factors[g][codes[g][on] - 1]
                where = (np.minimum(one, two) * self.q + np.maximum(one, two)) * self.keys + key[on]
                np.add.at(self.out.reshape(-1), where, 1.0 if root is None else root[on] ** 2)

    def products(self) -> np.ndarray:
        """The sums as (rows, q, keys), or as symmetric (q, q, keys) where all products were summed."""
        out, dense = self.out, self.layout.dense
        for a, row in enumerate(self.place):
            out[row, dense] = self.dense[:, a].T
        if not self.full:
            return out
        for members in self.layout.factors.values():
            for c in members:
                # The constant's sums are the counts, and so the squares of 0/1 columns.
                out[c, c] = out[0, c]
                for row in dense[dense > c]:
                    out[c, row] = out[row, c]
        return mirror(out)


def reduce_streamed(frame: Frame, p: Plan) -> Moments:
    """Moments by streaming: full products per innermost group where they fit, or else only the rows of ``z_index``."""
    labels, n = group_table(frame.con, p)
    layout = Layout.of(p)
    starts = parent_starts(labels, len(n))
    full = p.q * p.q * len(n) * 8 <= FULL_BYTES
    check_bytes(p.q * p.q * 8 * (len(n) if full else len(starts)), p)
    every = np.arange(len(layout.dense))
    chosen = every if full else np.flatnonzero(np.isin(layout.dense, p.z_index))
    check_bytes(len(chosen) * p.q * 8 * len(n), p)
    inner = Sums(len(n), p.q, chosen, layout, full)
    outer = None if full else Sums(len(starts), p.q, every, layout, True)
    whole = Sums(1, p.q, every, layout, True) if p.weight else None
    parent = np.zeros(len(n), dtype=np.int64)
    parent[starts[1:]] = 1
    parent = np.cumsum(parent)
    seen, sum_log = 0, 0.0
    for batch in stream(frame.con, p, layout):
        seen += len(batch.group)
        if batch.root is not None and whole is not None:
            nothing = np.zeros(len(batch.group), dtype=np.int64)
            whole.add(nothing, batch.dense, batch.codes, None)
            batch.dense *= batch.root[:, None]
            sum_log += 2 * float(np.sum(np.log(batch.root)))
        inner.add(batch.group, batch.dense, batch.codes, batch.root)
        if outer is not None:
            outer.add(parent[batch.group], batch.dense, batch.codes, batch.root)
    if seen != n.sum():
        raise DataError(f"{int(n.sum()) - seen} rows have no group.", "model frame")
    unweighted = whole.products()[:, :, 0] if whole else None
    z_index = np.arange(p.q) if full else layout.dense[chosen]
    parents = outer.products() if outer else None
    return assemble(p, labels, n, inner.products(), z_index, parents, sum_log, unweighted)


def group_table(con: duckdb.DuckDBPyConnection, p: Plan) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Ids and sizes of the innermost groups, sorted.

    Leaves their codes in the temporary table ``hierreport_groups``, whose names cannot be those of the panel.
    """
    keys = ", ".join(f"{g} AS g{k}" for k, g in enumerate(p.groups))
    if not p.groups:
        found = fetch(con, f"SELECT count(*) AS n FROM {p.table}")
        return (), found["n"].astype(np.int64)
    ids = ", ".join(f"g{k} AS hierreport_g{k}" for k in range(len(p.groups)))
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE hierreport_groups AS SELECT {ids}, count(*) AS hierreport_n, "
        f"row_number() OVER (ORDER BY {p.keys()}) - 1 AS hierreport_code "
        f"FROM (SELECT {keys} FROM {p.table}) GROUP BY {p.keys()}"
    )
    found = fetch(con, "SELECT * FROM hierreport_groups ORDER BY hierreport_code")
    labels = tuple(text_array(found[f"hierreport_g{k}"]) for k in range(len(p.groups)))
    return labels, found["hierreport_n"].astype(np.int64)


def with_codes(p: Plan) -> tuple[str, str]:
    """The table joined to its groups' codes (after ``group_table``), and the SQL of the code."""
    if not p.groups:
        return p.table, "CAST(0 AS BIGINT)"
    on = " AND ".join(f"{g} = hierreport_g{k}" for k, g in enumerate(p.groups))
    return f"{p.table} JOIN hierreport_groups ON {on}", "CAST(hierreport_code AS BIGINT)"


def stream(con: duckdb.DuckDBPyConnection, p: Plan, layout: Layout, rows: int | None = None) -> Iterator[Batch]:
    """Batches of a fixed number of rows, in the table's order, each sorted by innermost group (stably)."""
    size = rows or int(np.clip(BATCH_BYTES // (8 * len(layout.dense)), 4096, 1 << 17))
    source, code = with_codes(p)
    items = [code]
    items += [p.expressions[k] for k in layout.dense if k]
    for number, (factor, members) in enumerate(layout.factors.items()):
        join, item = factor_code(con, p, number, factor, members)
        source += join
        items.append(item)
    items += [f"sqrt(CAST({p.weight} AS DOUBLE))"] if p.weight else []
    names = [f"{item} AS v{k}" for k, item in enumerate(items)]
    d = len(layout.dense) - 1
    for columns in numpy_batches(con, f"SELECT {', '.join(names)} FROM {source}", size):
        dense = np.empty((len(columns[0]), d + 1))
        dense[:, 0] = 1.0
        for k in range(d):
            dense[:, k + 1] = columns[k + 1]
        codes = dict(zip(layout.factors, columns[d + 1 :], strict=False))
        batch = Batch(columns[0], dense, codes, columns[-1] if p.weight else None)
        if (batch.group[1:] < batch.group[:-1]).any():
            order = np.argsort(batch.group, kind="stable")
            batch = Batch(
                batch.group[order],
                dense[order],
                {f: c[order] for f, c in codes.items()},
                None if batch.root is None else batch.root[order],
            )
        yield batch


def factor_code(
    con: duckdb.DuckDBPyConnection, p: Plan, number: int, factor: str, members: np.ndarray
) -> tuple[str, str]:
    """Code of a factor's level: k + 1 where its k-th 0/1 column is 1, else 0.

    The columns are evaluated once per level, and the rows are joined to the result.

    Returns:
        The join, and the SQL of the code.
    """
    cases = " ".join(f"WHEN ({p.expressions[c]}) = 1 THEN {k + 1}" for k, c in enumerate(members))
    table, column = f"hierreport_factor_{number}", quoted(factor)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {column} AS hierreport_f{number}, "
        f"CASE {cases} ELSE 0 END AS hierreport_c{number} FROM (SELECT DISTINCT {column} FROM {p.table})"
    )
    join = f" LEFT JOIN {table} ON {column} = hierreport_f{number}"
    return join, f"CAST(coalesce(hierreport_c{number}, 0) AS BIGINT)"


def numpy_batches(con: duckdb.DuckDBPyConnection, sql: str, rows: int) -> Generator[list[np.ndarray], None, None]:
    """A query's result in pieces of exactly ``rows`` rows (the last may be shorter); DOUBLE and BIGINT columns only.

    Raises:
        DataError: the data cannot be read to their end, or a value is missing.
    """
    import duckdb
    import pyarrow as pa

    try:
        # Closed also when the caller stops early: the connection takes no query while a result is open.
        with con.sql(sql).to_arrow_reader(rows) as reader:
            pieces: list[list[np.ndarray]] = []
            held = 0
            for part in reader:
                pieces.append([from_arrow(part.column(k)) for k in range(part.num_columns)])
                held += part.num_rows
                while held >= rows:
                    whole = joined(pieces)
                    yield [c[:rows] for c in whole]
                    held -= rows
                    pieces = [[c[rows:] for c in whole]] if held else []
            if held:
                yield joined(pieces)
    except (duckdb.Error, pa.ArrowException) as error:
        from hierreport.source import unreadable

        raise unreadable(error, "model frame") from error


def joined(pieces: list[list[np.ndarray]]) -> list[np.ndarray]:
    return pieces[0] if len(pieces) == 1 else [np.concatenate(c) for c in zip(*pieces, strict=True)]


def from_arrow(array: object) -> np.ndarray:
    """A NumPy view of an Arrow array of doubles or 64-bit integers."""
    if array.null_count:  # type: ignore[attr-defined]
        raise DataError("missing values reached the moments.", "model frame")
    kind = np.float64 if str(array.type) == "double" else np.int64  # type: ignore[attr-defined]
    return np.frombuffer(array.buffers()[1], kind, len(array), array.offset * 8)  # type: ignore
