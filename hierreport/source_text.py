"""Reads delimited text; what type a column has is decided by every row, not by the first ones."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hierreport.errors import DataError
from hierreport.source import Source, all_threads, as_pattern, describe, literal, make_table, quote, unreadable
from hierreport.source_layout import COPY, Dialect, plain_utf8, read_head, read_pieces, sniff, transcode
from hierreport.source_types import infer

if TYPE_CHECKING:
    import duckdb

KEEP_BYTES = 128 << 20  # text up to this size is parsed once and kept typed in memory
LARGE_BYTES = 4 << 20  # text from this size on is parsed on all processors


def open_text(files: list[str], path: str, con: duckdb.DuckDBPyConnection) -> Source:
    """Delimited text files with a header as one view.

    Raises:
        DataError: no header or no rows, ragged lines, clashing column names, files with different columns.
    """
    import duckdb

    copies: dict[str, str] = {}
    notes: list[str] = []
    try:
        for f in files:
            if not plain_utf8([read_head(f)]):
                copies[f] = transcode(f, notes)
        try:
            source = parse(files, copies, path, notes, con)
        except duckdb.Error as error:
            # The beginning was UTF-8 with one kind of line ending; what comes later need not be.
            textual = "unicode" in str(error) or "invalid state" in str(error)
            odd = [f for f in files if f not in copies and not plain_utf8(read_pieces(f))] if textual else []
            if not odd:
                raise ragged(error, path) from error
            copies |= {f: transcode(f, notes) for f in odd}
            try:
                source = parse(files, copies, path, notes, con)
            except duckdb.Error as error:
                raise ragged(error, path) from error
    finally:
        for copy in copies.values():
            os.unlink(copy)
    if source.count() == 0:
        raise DataError("there is a header but no rows.", path)
    return source


def parse(
    files: list[str], copies: dict[str, str], path: str, notes: list[str], con: duckdb.DuckDBPyConnection
) -> Source:
    """Scan the files (or their UTF-8 copies), find the columns' types, and make the view.

    Panels of moderate size are parsed once and kept in memory, typed; larger ones are scanned again by every query.
    """
    notes = list(notes)
    selects: list[str] = []
    names: list[str] = []
    dialects: list[Dialect] = []
    for f in files:
        dialect = sniff(copies.get(f, f), f)
        dialects.append(dialect)
        notes += dialect.notes
        if names and set(names) != set(dialect.names):
            lacking = sorted(set(names) ^ set(dialect.names))
            what = f"its columns differ from those of {Path(files[0]).name}: {', '.join(map(repr, lacking[:5]))}."
            raise DataError(what, f, "Files of one panel must have the same columns.")
        names = names or dialect.names
        selects.append(f"SELECT {', '.join(map(quote, names))} FROM {text_relation(copies.get(f, f), dialect)}")
    size = sum(os.path.getsize(f) * (6 if f.lower().endswith(".gz") else 1) for f in files)
    in_memory = bool(copies) or size <= KEEP_BYTES
    read = " UNION ALL ".join(selects)
    with all_threads(con) if size > LARGE_BYTES else nullcontext():
        raw = make_table(con, read) if in_memory else f"({read})"
        typed, remarks, count = infer(con, raw, names, any(d.delimiter == "," for d in dialects))
        query = f"SELECT {typed} FROM ({read})"
        view = f"({query})"
        if in_memory:
            view = make_table(con, f"SELECT {typed} FROM {raw}")
            con.execute(f"DROP TABLE {raw}")
    noun = f"{'tab-separated' if dialect.delimiter == chr(9) else 'CSV'} file"
    noun = f"{len(files)} {noun}s in {path}" if len(files) > 1 else f"{noun} {Path(files[0]).name}"
    source = Source(con, view, query, describe(con, view), noun, remarks=remarks, notes=notes, known_count=count)
    if in_memory:
        source.numbered = f"SELECT rowid + 1 AS __row, * FROM {view}"
    return source


def text_relation(path: str, dialect: Dialect) -> str:
    """The scan of one file with every column as text; nothing is left for DuckDB to guess."""
    columns = ", ".join(f"{literal(n)}: 'VARCHAR'" for n in dialect.names)
    return (
        f"read_csv({as_pattern(path)}, auto_detect = false, header = {str(dialect.header).lower()}, "
        f"skip = {dialect.skip}, delim = {literal(dialect.delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}, strict_mode = true, max_line_size = 16777216)"
    )


def ragged(error: Exception, where: str) -> DataError:
    """The refusal for a line that does not have the header's number of fields, or any other parser error."""
    text = str(error)
    file = re.search(r"^ *file = (.+)$", text, re.MULTILINE)
    if file and not Path(file[1]).name.startswith(COPY):
        where = file[1]  # one of several
    line = re.search(r"on Line: (\d+)", text)
    fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
    if line and fields:
        what = f"line {line[1]} has {fields[2]} field{'s' * (fields[2] != '1')} where the header has {fields[1]}."
        return DataError(what, where, "Mend the line, or quote the field that holds the delimiter.")
    if line and "unterminated quote" in text:
        return DataError(f"a quote that opens on line {line[1]} is never closed properly.", where, "Mend the line.")
    return unreadable(error, where)
