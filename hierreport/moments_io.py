"""Moments as Parquet files: exact doubles, the same bytes for the same moments, and a light import to read them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import DataError
from hierreport.moments import LagMoments, Moments, PanelMoments, PeriodMoments, StratumMoments

if TYPE_CHECKING:
    import pyarrow as pa

GROUPS, PARENTS, LAGS, FIRST, PERIODS, CELLS = (
    "moments.parquet",
    "moments_parent.parquet",
    "moments_lag.parquet",
    "moments_first.parquet",
    "moments_period.parquet",
    "moments_cell.parquet",
)
KEY = b"hierreport"


def write_panel_moments(directory: str | Path, panel: PanelMoments) -> list[Path]:
    """Write every part that is there; see ``moments.write``.

    moments.parquet has a row per innermost group: its ids, n, and a column per sum of products ("a × b"). The other
    files are moments_parent (only for wide models), moments_lag with moments_first, moments_period with moments_cell,
    and moments_by_<number> of a column of strata, with moments_lag_of_<number> … where the strata are kept apart there
    too; arrays over (q, q) are stored as their upper triangle.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    m = panel.moments
    written = [write_groups(directory / GROUPS, m)]
    if len(m.z_index) < len(m.columns):
        columns = {"parent": np.repeat(np.arange(m.parent_products.shape[2]), len(m.columns))}
        columns["column"] = np.tile(np.array(m.columns, dtype=object), m.parent_products.shape[2])
        rows = m.parent_products.transpose(2, 0, 1).reshape(-1, len(m.columns))
        columns |= {f"× {name}": rows[:, k] for k, name in enumerate(m.columns)}
        written.append(save(directory / PARENTS, columns, {}))
    if panel.lags is not None:
        written += write_lags(directory, panel.lags, m.columns)
    if panel.periods is not None:
        written += write_periods(directory, panel.periods, m.columns)
    for number, (column, stratum) in enumerate(sorted(panel.strata.items())):
        columns = {"group": stratum.group, "stratum": stratum.stratum, "n": stratum.n}
        columns |= triangle(stratum.products, m.columns)
        meta = {"column": column, "strata": [str(s) for s in stratum.strata]}
        written.append(save(directory / f"moments_by_{number}.parquet", columns, meta))
        if stratum.lags is not None:
            written += write_lags(directory, stratum.lags, m.columns, number)
        if stratum.cells is not None:
            written += write_periods(directory, stratum.cells, m.columns, number)
    for old in stale(directory, {p.name for p in written}):
        old.unlink()
    return written


def by(name: str, number: int | None) -> str:
    """Name of a file, and of the same by the strata of a column."""
    return name if number is None else name.replace(".parquet", f"_of_{number}.parquet")


def write_lags(directory: Path, lag: LagMoments, names: Sequence[str], number: int | None = None) -> list[Path]:
    """moments_lag.parquet and moments_first.parquet; ``number``: of the column whose strata are kept apart."""
    columns: dict[str, np.ndarray] = {"group": lag.group, "gap": lag.gap, "count": lag.count}
    for part in ("now", "cross", "before"):
        columns |= triangle(getattr(lag, part), names, f"{part}: ")
    first = triangle(lag.first, names)
    if lag.stratum is not None and lag.stratum_before is not None and lag.stratum_first is not None:
        columns |= {"stratum": lag.stratum, "stratum before": lag.stratum_before}
        first |= {"stratum": lag.stratum_first}
    return [
        save(directory / by(LAGS, number), columns, {"step": lag.step, "unit": lag.unit}),
        save(directory / by(FIRST, number), first, {}),
    ]


def write_periods(directory: Path, per: PeriodMoments, names: Sequence[str], number: int | None = None) -> list[Path]:
    """moments_period.parquet and moments_cell.parquet; ``number``: of the column whose strata are kept apart."""
    columns: dict[str, np.ndarray] = {"period": per.periods.astype(object), "count": per.count}
    columns |= {name: per.total[k] for k, name in enumerate(names)}
    columns |= {} if per.times is None else {"time of the period": per.times}
    cells: dict[str, np.ndarray] = {"group": per.group, "period": per.period, "count": per.cell_count}
    cells |= {f"Σ {name}": per.cell[k] for k, name in enumerate(names)}
    cells |= {} if per.stratum is None else {"stratum": per.stratum}
    return [save(directory / by(PERIODS, number), columns, {}), save(directory / by(CELLS, number), cells, {})]


def stale(directory: Path, current: set[str]) -> list[Path]:
    """Parts of earlier moments that the present ones do not have."""
    return [p for p in sorted(directory.glob("moments*.parquet")) if p.name not in current]


def write_groups(path: Path, m: Moments) -> Path:
    """moments.parquet itself."""
    columns: dict[str, np.ndarray] = {f"group {k + 1}": ids for k, ids in enumerate(m.labels)}
    columns["n"] = m.n
    if len(m.z_index) == len(m.columns):
        columns |= triangle(m.products, m.columns)
    else:
        names = [(a, j) for a in range(len(m.z_index)) for j in range(len(m.columns))]
        columns |= {f"{m.columns[m.z_index[a]]} × {m.columns[j]}": m.products[a, j] for a, j in unique(names, m)}
    meta = {
        "columns": m.columns,
        "shift": m.shift.tolist(),
        "scale": m.scale.tolist(),
        "levels": m.levels,
        "z_index": m.z_index.tolist(),
        "sum_log_weight": m.sum_log_weight,
        "unweighted": None if m.unweighted is None else m.unweighted.tolist(),
    }
    return save(path, columns, meta)


def unique(pairs: list[tuple[int, int]], m: Moments) -> list[tuple[int, int]]:
    """Drop the second of two entries that symmetry makes equal."""
    where = {int(j): a for a, j in enumerate(m.z_index)}
    return [(a, j) for a, j in pairs if where.get(j, a) >= a]


def triangle(products: np.ndarray, names: Sequence[str], prefix: str = "") -> dict[str, np.ndarray]:
    """Upper triangle of symmetric (q, q, K) products as named columns."""
    q = len(names)
    return {f"{prefix}{names[i]} × {names[j]}": products[i, j] for i in range(q) for j in range(i, q)}


def square(table: Columns, q: int, first: int) -> np.ndarray:
    """Undo ``triangle``: symmetric (q, q, K) products from q(q+1)/2 columns that start at position ``first``."""
    out = np.empty((q, q, table.rows))
    k = first
    for i in range(q):
        for j in range(i, q):
            out[i, j] = table.array(k)
            if i != j:
                out[j, i] = out[i, j]
            k += 1
    return out


def save(path: Path, columns: dict[str, np.ndarray], meta: dict[str, Any]) -> Path:
    """Write one file under a temporary name and move it into place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [arrow_array(v) for v in columns.values()]
    texts = [name for name, v in columns.items() if v.dtype == object]
    table = pa.Table.from_arrays(arrays, names=list(columns))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(
            temporary,
            table.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=texts,
            write_statistics=False,
            store_schema=False,
        ) as writer:
            writer.write_table(table, row_group_size=1 << 20)
            # json writes doubles by repr, which reads back exactly
            writer.add_key_value_metadata({KEY: json.dumps(meta, ensure_ascii=False)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def arrow_array(values: np.ndarray) -> pa.Array:
    """An Arrow array from its buffers: ``pa.array`` would import pandas."""
    import pyarrow as pa

    if values.dtype == object:
        texts = [str(v).encode() for v in values]
        offsets = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum([len(t) for t in texts], out=offsets[1:])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(pa.string(), len(texts), buffers)
    kind = pa.float64() if values.dtype.kind == "f" else pa.int64()
    values = np.ascontiguousarray(values, dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


class Columns:
    """A Parquet file read whole, by column position."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                self.table: pa.Table = file.read(use_threads=False)
                meta = (file.metadata.metadata or {}).get(KEY)
        except FileNotFoundError as error:
            do = "Run the ingest step first."
            raise DataError("there are no moments.", str(path), do) from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot be read: {error}.", str(path), "Delete it and run again.") from error
        if meta is None:
            raise DataError("this file was not written by hierreport.", str(path))
        self.meta: dict[str, Any] = json.loads(meta)
        self.rows = self.table.num_rows

    def array(self, position: int) -> np.ndarray:
        """A column of numbers, from the buffers: ``to_numpy`` would import pandas."""
        parts = []
        for chunk in self.table.column(position).chunks:
            kind = np.float64 if str(chunk.type) == "double" else np.int64
            parts.append(np.frombuffer(chunk.buffers()[1], kind, len(chunk), chunk.offset * 8))
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)

    def texts(self, position: int) -> np.ndarray:
        """A column of texts as an array of ``str``."""
        out: list[str] = []
        for chunk in self.table.column(position).chunks:
            _, places, data = chunk.buffers()
            offsets = np.frombuffer(places, np.int32, len(chunk) + 1, chunk.offset * 4).tolist()
            raw = data.to_pybytes() if data is not None else b""
            out += [raw[i:j].decode() for i, j in itertools.pairwise(offsets)]
        return np.array(out, dtype=object)


def read_panel_moments(directory: str | Path) -> PanelMoments:
    """Read all parts; see ``moments.read``."""
    directory = Path(directory)
    m = read_groups(directory)
    q = len(m.columns)
    strata = {}
    for number in range(len(list(directory.glob("moments_by_*.parquet")))):
        t = Columns(directory / f"moments_by_{number}.parquet")
        strata[t.meta["column"]] = StratumMoments(
            np.array(t.meta["strata"], dtype=object),
            t.array(0),
            t.array(1),
            t.array(2),
            square(t, q, 3),
            read_lags(directory, q, number),
            read_periods(directory, q, number),
        )
    return PanelMoments(m, read_lags(directory, q), read_periods(directory, q), strata)


def read_lags(directory: Path, q: int, number: int | None = None) -> LagMoments | None:
    """What ``write_lags`` wrote; None where it wrote nothing."""
    if not (directory / by(LAGS, number)).exists():
        return None
    t, f = Columns(directory / by(LAGS, number)), Columns(directory / by(FIRST, number))
    size = q * (q + 1) // 2
    now, cross, before = (square(t, q, 3 + k * size) for k in range(3))
    strata = (t.array(3 + 3 * size), t.array(4 + 3 * size), f.array(size)) if number is not None else ()
    return LagMoments(
        t.array(0), t.array(1), t.array(2), now, cross, before, square(f, q, 0), t.meta["step"], t.meta["unit"], *strata
    )


def read_periods(directory: Path, q: int, number: int | None = None) -> PeriodMoments | None:
    """What ``write_periods`` wrote; None where it wrote nothing."""
    if not (directory / by(PERIODS, number)).exists():
        return None
    t, c = Columns(directory / by(PERIODS, number)), Columns(directory / by(CELLS, number))
    total = np.stack([t.array(2 + k) for k in range(q)])
    cell = np.stack([c.array(3 + k) for k in range(q)])
    times = t.array(2 + q) if t.table.num_columns > 2 + q else None
    stratum = c.array(3 + q) if number is not None else None
    return PeriodMoments(t.texts(0), total, t.array(1), c.array(0), c.array(1), cell, c.array(2), times, stratum)


def read_groups(directory: Path) -> Moments:
    """moments.parquet, and the parents' file of a wide model."""
    t = Columns(directory / GROUPS)
    names, levels = tuple(t.meta["columns"]), tuple(t.meta["levels"])
    q, depth = len(names), len(levels)
    labels = tuple(t.texts(k) for k in range(depth))
    n = t.array(depth)
    z_index = np.array(t.meta["z_index"], dtype=np.int64)
    if len(z_index) == q:
        products = square(t, q, depth + 1)
        from hierreport.reduce import sum_parents

        parents = sum_parents(products, labels)
    else:
        products = np.empty((len(z_index), q, t.rows))
        shell = Moments(names, n, n, levels, labels, n, products, z_index, products)
        where = {int(j): a for a, j in enumerate(z_index)}
        pairs = unique([(a, j) for a in range(len(z_index)) for j in range(q)], shell)
        for k, (a, j) in enumerate(pairs, start=depth + 1):
            products[a, j] = t.array(k)
            if j in where:
                products[where[j], z_index[a]] = products[a, j]
        rows = Columns(directory / PARENTS)
        flat = np.stack([rows.array(2 + k) for k in range(q)], axis=1)
        parents = np.ascontiguousarray(flat.reshape(-1, q, q).transpose(1, 2, 0))
    unweighted = t.meta["unweighted"]
    return Moments(
        names,
        np.array(t.meta["shift"]),
        np.array(t.meta["scale"]),
        levels,
        labels,
        n,
        products,
        z_index,
        parents,
        t.meta["sum_log_weight"],
        None if unweighted is None else np.array(unweighted),
    )
