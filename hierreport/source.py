"""Opens any panel (file, files or table) as one DuckDB view, without reading it into memory where possible."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierreport.errors import DataError

if TYPE_CHECKING:
    import duckdb

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
PARQUET_SUFFIXES = (".parquet", ".pq")
ARROW_SUFFIXES = (".feather", ".arrow", ".ipc")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PANDAS_SUFFIXES = (".dta", ".sas7bdat", ".xpt", ".xlsx", ".xlsm", ".xls", ".ods")
KNOWN = TEXT_SUFFIXES + PARQUET_SUFFIXES + ARROW_SUFFIXES + JSON_SUFFIXES + PANDAS_SUFFIXES

# A Parquet file of as many rows is summed in two halves, side by side.
HALVED = 1_000_000

_serial = itertools.count(1)
_instance = threading.local()


def quote(name: str) -> str:
    """A column or table name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@dataclass
class Source:
    """A panel as a view in DuckDB.

    Attributes:
        con: the connection that holds the view.
        view: what stands after FROM: a quoted table, or a query in brackets.
        query: the SELECT that reads the data, as the panel's record has it.
        columns: DuckDB type of each column, in the data's order.
        categories: levels in their declared order, for categorical columns of tables and labelled Stata columns.
        description: one line for the report ("CSV file uk_firms.csv").
        files: the files read, empty for a table.
        suffix: kind of file (".csv"), "" for a table.
        remarks: per column, why it was read as it was ("text, because row 20001 holds 'n.a.'").
        notes: what else the reader should know ("not UTF-8: read as Windows-1252").
    """

    con: duckdb.DuckDBPyConnection
    view: str
    query: str
    columns: dict[str, str]
    description: str
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    suffix: str = ""
    remarks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    numbered: str = ""
    known_count: int | None = None
    keep: list[Any] = field(default_factory=list, repr=False)

    def rows_sql(self, with_row_number: bool = False) -> str:
        """A SELECT over all rows; with ``__row``, the 1-based position of the row in the data, only when asked for."""
        if not with_row_number:
            return f"SELECT * FROM {self.view}"
        return self.numbered or f"SELECT row_number() OVER () AS __row, * FROM {self.view}"

    def halves(self) -> list[str]:
        """SELECTs over the first and the second half of the rows that any connection can run; none for small panels.

        Only of a single Parquet file: it skips what lies outside by itself.
        """
        rows = self.known_count or 0
        if self.suffix not in PARQUET_SUFFIXES or not self.numbered or rows < HALVED:
            return []
        return [f"{self.numbered} WHERE file_row_number {part} {rows // 2}" for part in ("<", ">=")]

    def count(self) -> int:
        """Number of rows.

        Raises:
            DataError: the data turn out to be unreadable.
        """
        import duckdb

        if self.known_count is not None:
            return self.known_count
        try:
            self.known_count = int(one_row(self.con, f"SELECT count(*) FROM {self.view}")[0])
            return self.known_count
        except duckdb.Error as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> DataError:
        """The refusal to raise when DuckDB fails while it scans this source (a damaged page, a ragged line)."""
        return unreadable(error, self.description)


def unreadable(error: Exception, where: str) -> DataError:
    """Turn a reader's error into one sentence; the dump of options that DuckDB adds is left out."""
    text = str(error).split("Possible ")[0].split("\n\nLINE")[0].split("LINE 1:")[0]
    text = " ".join(text.split()).removeprefix("Invalid Input Error: ").rstrip(".")
    return DataError(f"cannot be read: {text or type(error).__name__}.", where, "Is the file complete and undamaged?")


def one_row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The only row of a query; ``fetchone`` would leave the connection busy."""
    (row,) = con.execute(sql).fetchall()
    return row


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that never loads extensions from the network and spills to the system's temporary folder.

    Starting one costs more than reading a small panel: each thread keeps its own and gives out connections to it, whose
    temporary tables and views are theirs alone.
    """
    pid, con = getattr(_instance, "kept", (0, None))
    if con is not None and pid == os.getpid():  # after a fork its threads are gone
        return con.cursor()
    con = new_instance()
    _instance.kept = (os.getpid(), con)
    return con.cursor()


def spill_folder() -> str:
    """Where this process' databases put what does not fit into memory."""
    return os.path.join(tempfile.gettempdir(), f"hierreport-{os.getpid()}")


def remove_spilled() -> None:
    """Remove that folder, where a process ends without closing its databases."""
    shutil.rmtree(spill_folder(), ignore_errors=True)


def new_instance() -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own; see ``connect``.

    On one thread (but see ``all_threads``): sums of doubles shared among several differ in the last bits from run to
    run and machine to machine.
    """
    import duckdb

    config: dict[str, Any] = {
        "threads": 1,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "temp_directory": spill_folder(),
    }
    con = duckdb.connect(config=config)
    con.execute("SET enable_progress_bar = false")
    return con


@contextmanager
def all_threads(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let DuckDB use all processors, for what parses and counts and adds up no doubles."""
    from hierreport.parallel import processors

    con.execute(f"SET threads = {processors()}")
    try:
        yield
    finally:
        con.execute("SET threads = 1")


def open_source(data: Any, *, sheet: str | int | None = None, con: duckdb.DuckDBPyConnection | None = None) -> Source:
    """Open a panel.

    Args:
        data: path of a file, directory or glob; or a pandas, Polars or Arrow table (a pandas index is not read).
        sheet: name or position (from 0) of an Excel sheet; the first one by default.
        con: a connection to put the view into; a new one by default.

    Returns:
        The source. Nothing but schemas and, for text files, the column types has been read.

    Raises:
        DataError: there is no such file, it is empty or damaged, its kind is unknown, or its column names clash.
    """
    if isinstance(data, (str, os.PathLike)):
        return open_files(os.fspath(data), sheet, con or connect())
    from hierreport.source_tables import open_table

    return open_table(data, con or connect())


def open_files(path: str, sheet: str | int | None, con: duckdb.DuckDBPyConnection) -> Source:
    """Open a path; see ``open_source``."""
    files = list_files(path)
    suffix = kind(files[0])
    odd = [f for f in files if kind(f) != suffix]
    if odd:
        what = f"files of different kinds ({files[0].name}, {odd[0].name}) cannot be one panel."
        raise DataError(what, path, "Name one kind with a glob such as 'panel/*.parquet'.")
    if len(files) > 1 and suffix not in TEXT_SUFFIXES + PARQUET_SUFFIXES:
        raise DataError(f"{len(files)} {suffix} files cannot be read as one panel.", path, "Use Parquet or CSV files.")
    for f in files:
        try:
            with open(f, "rb") as stream:
                empty = not stream.read(1)
        except OSError as error:
            raise DataError(f"cannot be opened: {error.strerror or error}.", str(f)) from error
        if empty:
            raise DataError("the file is empty.", str(f))
    names = [str(f) for f in files]
    if suffix in TEXT_SUFFIXES:
        from hierreport.source_text import open_text

        source = open_text(names, path, con)
    elif suffix in PARQUET_SUFFIXES:
        from hierreport.source_parquet import open_parquet

        source = open_parquet(names, path, con)
    elif suffix in JSON_SUFFIXES:
        from hierreport.source_json import open_json

        source = open_json(names[0], con)
    elif suffix in ARROW_SUFFIXES:
        from hierreport.source_tables import open_arrow_file

        source = open_arrow_file(names[0], con)
    else:
        from hierreport.source_tables import open_with_pandas

        source = open_with_pandas(names[0], suffix, sheet, con)
    source.files, source.suffix = names, suffix
    return source


def kind(path: Path) -> str:
    """The suffix that says how to read the file, without .gz."""
    name = path.name.lower()
    if name.endswith(".gz"):
        name = name[:-3]
    suffix = Path(name).suffix
    if suffix not in KNOWN or (path.name.lower().endswith(".gz") and suffix not in TEXT_SUFFIXES + JSON_SUFFIXES):
        packed = suffix in (".zip", ".bz2", ".xz", ".zst", ".7z", ".rar")
        do = "Unpack it first." if packed else f"Known kinds: {', '.join(KNOWN)}; text files also as .gz."
        raise DataError(f"files of the kind '{path.suffix}' cannot be read.", str(path), do)
    return suffix


def list_files(path: str) -> list[Path]:
    """The files behind a path, directory or glob, sorted by name.

    Raises:
        DataError: there is none.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        found = [f for f in place.rglob("*") if f.is_file() and not hidden(f.relative_to(place))]
        found = sorted(f for f in found if known(f))
        if not found:
            raise DataError("the directory has no data files.", path, f"Known kinds: {', '.join(KNOWN)}.")
        return found
    if any(c in path for c in "*?["):
        import glob

        found = sorted(Path(f) for f in glob.glob(os.path.expanduser(path), recursive=True) if os.path.isfile(f))
        if not found:
            raise DataError("no file matches.", path)
        return found
    near = [f.name for f in place.parent.iterdir() if known(f)][:5] if place.parent.is_dir() else []
    do = f"Beside it are: {', '.join(sorted(near))}." if near else ""
    if not do and not place.is_absolute():
        do = f"It was looked for from {os.getcwd()}."
    raise DataError("there is no such file.", path, do)


def hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def known(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(KNOWN)


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse column names that SQL cannot tell apart.

    Raises:
        DataError: two equal names, two that differ only in case, or the reserved name ``__row``.
    """
    names = list(names)
    twice = [n for n, k in Counter(names).items() if k > 1]
    if twice:
        what = f"the column name {', '.join(map(repr, twice[:5]))} occurs more than once."
        raise DataError(what, where, "Rename the columns so that every name is unique.")
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise DataError(f"the columns '{other}' and '{name}' differ only in case.", where, "Rename one of them.")
    if "__row" in folded:
        raise DataError("the column name '__row' is reserved.", where, "Rename the column.")


def make_table(con: duckdb.DuckDBPyConnection, select: str) -> str:
    """Create a temporary table under a new name and return the quoted name."""
    name = quote(f"hierreport_source_{next(_serial)}")
    con.execute(f"CREATE TEMP TABLE {name} AS {select}")
    return name


def as_pattern(path: str) -> str:
    """A real file's path as DuckDB's readers want it: brackets and stars in it would be read as a pattern."""
    return literal(path.translate({91: "[[]", 42: "[*]", 63: "[?]"}))


def describe(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names and DuckDB types of a relation, in order."""
    return {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def plain_columns(types: dict[str, str]) -> str:
    """The SELECT list that makes columns uniform: no NaN, decimals as doubles, times without a zone, no JSON."""
    return ", ".join(sql if sql == (q := quote(n)) else f"{sql} AS {q}" for n, (sql, _) in _plain(types).items())


def plain_types(types: dict[str, str]) -> dict[str, str]:
    """DuckDB types of what ``plain_columns`` selects."""
    return {name: kind_ for name, (_, kind_) in _plain(types).items()}


def _plain(types: dict[str, str]) -> dict[str, tuple[str, str]]:
    """SQL and type of every column once it is uniform."""
    out = {}
    for name, kind_ in types.items():
        q = quote(name)
        if kind_ in ("DOUBLE", "FLOAT"):
            # Not nullif: a file's statistics leave NaN out, and DuckDB then believes that there is none.
            out[name] = f"CASE WHEN NOT isnan({q}) THEN CAST({q} AS DOUBLE) END", "DOUBLE"
        elif kind_.startswith("DECIMAL"):
            out[name] = f"CAST({q} AS DOUBLE)", "DOUBLE"
        elif kind_ == '"NULL"':
            out[name] = "CAST(NULL AS DOUBLE)", "DOUBLE"
        elif kind_ == "TIMESTAMP WITH TIME ZONE":
            out[name] = f"make_timestamp(epoch_us({q}))", "TIMESTAMP"
        elif kind_ == "TIMESTAMPTZ_NS":
            out[name] = f"make_timestamp(epoch_ns({q}) // 1000)", "TIMESTAMP"
        elif kind_.startswith("TIMESTAMP_"):
            out[name] = f"CAST({q} AS TIMESTAMP)", "TIMESTAMP"
        else:
            out[name] = q, kind_
    return out
