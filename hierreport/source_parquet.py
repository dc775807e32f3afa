"""Parquet files as one view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hierreport.errors import DataError
from hierreport.source import Source, as_pattern, check_names, describe, plain_columns, unreadable

if TYPE_CHECKING:
    import duckdb


def open_parquet(files: list[str], path: str, con: duckdb.DuckDBPyConnection) -> Source:
    """Parquet files as one view; the files must have the same columns."""
    import duckdb

    listed = ", ".join(map(as_pattern, files))
    options = "binary_as_string = true"
    if len(files) > 1:
        options += ", union_by_name = true, hive_partitioning = " + str(any("=" in Path(f).parent.name for f in files))
    reader = f"read_parquet([{listed}], {options})"
    try:
        by_file = top_columns(con, listed)
        first = by_file.get(files[0]) or next(iter(by_file.values()))
        check_names(first, files[0])
        for name_, found in by_file.items():
            if set(found) != set(first):
                lacking = sorted(set(first) ^ set(found))
                what = f"its columns differ from those of {Path(files[0]).name}: {', '.join(map(repr, lacking[:5]))}."
                raise DataError(what, name_, "Files of one panel must have the same columns.")
        types = describe(con, reader)
        check_names(types, path)
        body = plain_columns(types)
        query = f"SELECT {body} FROM {reader}"
        columns = describe(con, f"({query})")
    except duckdb.Error as error:
        raise unreadable(error, path) from error
    numbered = ""
    if len(files) == 1:  # unlike row_number() OVER () this lets a scan start anywhere
        reader = f"read_parquet([{listed}], {options}, file_row_number = true)"
        numbered = f"SELECT file_row_number + 1 AS __row, {body} FROM {reader}"
    noun = f"{len(files)} Parquet files in {path}" if len(files) > 1 else f"Parquet file {Path(files[0]).name}"
    source = Source(con, f"({query})", query, columns, noun, numbered=numbered)
    if source.count() == 0:
        raise DataError("there are no rows.", path)
    return source


def top_columns(con: duckdb.DuckDBPyConnection, listed: str) -> dict[str, list[str]]:
    """Names of each file's columns; fields inside nested columns are left out."""
    found: dict[str, list[str]] = {}
    inside: dict[str, int] = {}
    query = f"SELECT file_name, name, num_children FROM parquet_schema([{listed}])"
    for file, column, children in con.execute(query).fetchall():
        if file not in inside:  # the first element is the root
            inside[file], found[file] = 0, []
        elif inside[file]:
            inside[file] += (children or 0) - 1
        else:
            found[file].append(column)
            inside[file] = children or 0
    return found
