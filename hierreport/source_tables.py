"""Opens tables in memory, Arrow files, and the formats that only pandas reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierreport.errors import DataError
from hierreport.source import Source, check_names, describe, plain_columns, plain_types, quote
from hierreport.source_types import infer

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

TABLE = "hierreport_table"
_names = iter(range(1, 1 << 60))


def register(con: duckdb.DuckDBPyConnection, table: Any) -> str:
    """Give DuckDB a table without copying it; returns the quoted name."""
    import duckdb

    name = f"{TABLE}_{next(_names)}"
    try:
        con.register(name, table)
    except duckdb.NotImplementedException as error:
        what = f"it has a column of a type that no panel has: {error}."
        raise DataError(what, "the table", "Leave that column out, or make it numbers or text.") from error
    return quote(name)


def finish(con: duckdb.DuckDBPyConnection, table: Any, description: str, textual: list[str] | None = None) -> Source:
    """Register a table and put the view with uniform columns over it.

    Args:
        textual: columns whose text may stand for numbers or dates (spreadsheets).
    """
    if not len(table.schema if hasattr(table, "schema") else table.columns):
        raise DataError("there are no columns.", description)
    name = register(con, table)
    types = describe(con, name)
    body = f"SELECT {plain_columns(types)} FROM {name}"
    remarks: dict[str, str] = {}
    if textual:
        typed, remarks, _ = infer(con, name, textual)
        body = f"SELECT * REPLACE ({typed}) FROM ({body})"
    view = f"({body})"
    columns = describe(con, view) if textual else plain_types(types)
    count = len(table) if hasattr(table, "__len__") else None  # a dataset's rows are not known
    query = re.sub(rf"({TABLE})_\d+", r"\1", body)  # does not depend on how many tables were opened before
    source = Source(con, view, query, columns, description, remarks=remarks, known_count=count, keep=[table])
    if source.count() == 0:
        raise DataError("there are no rows.", description)
    return source


def open_table(data: Any, con: duckdb.DuckDBPyConnection) -> Source:
    """A pandas, Polars or Arrow table as a view.

    Raises:
        DataError: something else was given, or column names clash.
    """
    root = type(data).__module__.split(".")[0]
    kind = type(data).__name__
    if root == "pandas" and kind == "DataFrame":
        return open_pandas(data, con, "pandas table")
    if root == "polars" and kind in ("DataFrame", "LazyFrame"):
        frame = data.collect() if kind == "LazyFrame" else data
        check_names(frame.columns, "Polars table")
        import polars as pl

        levels = {
            n: tuple((t.categories if isinstance(t, pl.Enum) else frame[n].cat.get_categories()).to_list())
            for n, t in frame.schema.items()
            if isinstance(t, (pl.Enum, pl.Categorical))
        }
        source = finish(con, frame.to_arrow(), "Polars table")
        source.categories = levels
        return source
    if root == "pyarrow":
        if kind == "RecordBatchReader":
            data = data.read_all()
        elif kind == "RecordBatch":
            import pyarrow as pa

            data = pa.Table.from_batches([data])
        if hasattr(data, "schema"):
            return open_arrow(data, con, "Arrow table")
    if isinstance(data, dict):
        import pyarrow as pa

        return open_arrow(pa.table(data), con, "table")
    do = "Give a path, or a pandas, Polars or Arrow table with one row per observation."
    raise DataError(f"a {root}.{kind} is not a panel.", do=do)


def open_arrow(table: pa.Table, con: duckdb.DuckDBPyConnection, description: str) -> Source:
    """An Arrow table or dataset; levels of dictionary columns are kept."""
    import pyarrow as pa

    check_names(table.schema.names, description)
    source = finish(con, table, description)
    for f in table.schema:
        if pa.types.is_dictionary(f.type):
            if not hasattr(table, "column"):
                continue  # a dataset's dictionaries are known only after reading
            distinct: list[Any] = []  # chunks that were read one by one repeat their dictionary
            for chunk in table.column(f.name).chunks:
                if not any(chunk.dictionary.equals(known) for known in distinct):
                    distinct.append(chunk.dictionary)
            if f.type.ordered or len(distinct) <= 1:
                levels = (str(v) for known in distinct for v in known.to_pylist() if v is not None)
                source.categories[f.name] = tuple(dict.fromkeys(levels))
    return source


def open_arrow_file(path: str, con: duckdb.DuckDBPyConnection) -> Source:
    """Feather and Arrow IPC files, memory-mapped; uncompressed columns are not copied."""
    import pyarrow as pa

    description = f"Arrow file {Path(path).name}"
    try:
        mapped = pa.memory_map(path)
        try:
            table = pa.ipc.open_file(mapped).read_all()
        except pa.ArrowInvalid:
            mapped.seek(0)
            table = pa.ipc.open_stream(mapped).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"is not an Arrow file: {error}.", path, "Feather version 1 is not supported.") from error
    return open_arrow(table, con, description)


def open_pandas(frame: pd.DataFrame, con: duckdb.DuckDBPyConnection, description: str, texts: bool = False) -> Source:
    """A pandas table; its index is not read, object columns are given one type, and the table is left as it is.

    Args:
        texts: whether text columns may hold numbers (spreadsheets).
    """
    import pandas as pd

    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError("its columns have several levels.", description, "Flatten them to one name each.")
    names = [str(c) for c in frame.columns]
    check_names(names, description)
    frame = frame.set_axis(names, axis=1)  # a shallow copy under pandas 3
    changed, textual = {}, []
    for name in names:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            if not pd.api.types.is_string_dtype(column.cat.categories):
                changed[name] = column.cat.rename_categories([str(c) for c in column.cat.categories])
        elif isinstance(column.dtype, pd.PeriodDtype):
            changed[name] = column.dt.to_timestamp()
        elif isinstance(column.dtype, pd.SparseDtype):
            changed[name] = column.sparse.to_dense()
        elif column.dtype == object:
            changed[name] = settle(column)
        if texts and pd.api.types.is_string_dtype(changed.get(name, column).dtype):
            textual.append(name)
    frame = frame.assign(**changed) if changed else frame
    source = finish(con, frame, description, textual)
    for name in names:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            source.categories[name] = tuple(map(str, frame[name].cat.categories))
    index = [str(n) for n in frame.index.names if n is not None]
    if index:
        source.notes.append(f"the index ({', '.join(index)}) is not read; use reset_index() to make it columns")
    return source


def settle(column: pd.Series) -> pd.Series:
    """One type for a column of Python objects, decided by all its values."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("boolean",):
        return column.astype("boolean")
    if kind == "integer":
        try:
            return column.astype("Int64")
        except (OverflowError, TypeError, ValueError):
            return column.map(str, na_action="ignore").astype("str")
    if kind in ("floating", "mixed-integer-float", "decimal"):
        return pd.to_numeric(column.map(float, na_action="ignore"))
    if kind in ("datetime", "datetime64", "date"):
        return pd.to_datetime(column)
    if kind == "empty":
        return column.astype("float64")
    return column.map(str, na_action="ignore").astype("str")


def open_with_pandas(path: str, suffix: str, sheet: str | int | None, con: duckdb.DuckDBPyConnection) -> Source:
    """Stata, SAS and Excel files.

    Raises:
        DataError: the file is damaged, the sheet is not there, or the reader's package is not installed.
    """
    name = Path(path).name
    try:
        if suffix == ".dta":
            return open_pandas(read_stata(path), con, f"Stata file {name}")
        if suffix in (".sas7bdat", ".xpt"):
            import pandas as pd

            frame = pd.read_sas(path, encoding="infer" if suffix == ".sas7bdat" else "utf-8")
            return open_pandas(frame, con, f"SAS file {name}")
        frame, label = read_excel(path, sheet)
        return open_pandas(frame, con, f"sheet '{label}' of {name}", texts=True)
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"a package is needed to read it: {error}.", path, "Install it, or save as CSV.") from error
    except Exception as error:  # pandas' readers raise anything on damaged files
        raise DataError(f"cannot be read: {type(error).__name__}: {error}.", path, "Is the file undamaged?") from error


def read_stata(path: str) -> pd.DataFrame:
    """A Stata file; value labels become categories where every value has one."""
    import pandas as pd

    frame = pd.read_stata(path, convert_categoricals=False)
    try:
        labelled = pd.read_stata(path, convert_categoricals=True)
    except ValueError:  # labels that occur twice
        return frame
    for column in frame.columns:
        labels = getattr(labelled[column].dtype, "categories", ())
        if len(labels) and all(isinstance(c, str) for c in labels):
            frame[column] = labelled[column]
    return frame


def read_excel(path: str, sheet: str | int | None) -> tuple[pd.DataFrame, str]:
    """One sheet with cells as they are typed (007 stays 007), blank columns and trailing blank rows dropped."""
    import pandas as pd

    with pd.ExcelFile(path) as book:
        sheets = [str(s) for s in book.sheet_names]
        label = sheet if isinstance(sheet, str) else sheets[sheet or 0] if abs(sheet or 0) < len(sheets) else str(sheet)
        if label not in sheets:
            raise DataError(f"there is no sheet '{label}'.", path, f"The sheets are {', '.join(sheets)}.")
        frame = pd.read_excel(book, sheet_name=label, dtype=object, header=None, keep_default_na=False, na_values=[""])
    frame = frame.dropna(how="all", axis=0).dropna(how="all", axis=1)
    if len(frame) == 0:
        raise DataError(f"the sheet '{label}' is empty.", path)
    header = ["" if pd.isna(c) else str(c).strip() for c in frame.iloc[0]]
    header = [name or ("row_names" if i == 0 else f"column{i + 1}") for i, name in enumerate(header)]
    check_names(header, path)
    return frame.iloc[1:].set_axis(header, axis=1).reset_index(drop=True), label
