"""JSON lines as a view."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hierreport.errors import DataError
from hierreport.source import Source, as_pattern, check_names, describe, make_table, plain_columns, quote, unreadable
from hierreport.source_types import infer

if TYPE_CHECKING:
    import duckdb

KEEP_BYTES = 128 << 20  # files up to this size are parsed once and kept in memory


def open_json(path: str, con: duckdb.DuckDBPyConnection) -> Source:
    """JSON lines (or one JSON array of records) as a view; types are taken from all rows."""
    import duckdb

    reader = f"read_json({as_pattern(path)}, format = 'auto', sample_size = -1, maximum_object_size = 16777216)"
    try:
        types = describe(con, reader)
        check_names(types, path)
        mixed = [n for n, t in types.items() if t == "JSON"]
        body = f"SELECT {plain_columns(types)} FROM {reader}"
        remarks: dict[str, str] = {}
        if mixed:
            texts = ", ".join(f"json_extract_string({quote(n)}, '$') AS {quote(n)}" for n in mixed)
            raw = f"(SELECT * REPLACE ({texts}) FROM {reader})"
            typed, remarks, _ = infer(con, raw, mixed)
            body = f"SELECT * REPLACE ({typed}) FROM (SELECT {plain_columns(types)} FROM {raw})"
        small = os.path.getsize(path) <= KEEP_BYTES
        view = make_table(con, body) if small else f"({body})"
    except duckdb.Error as error:
        raise unreadable(error, path) from error
    source = Source(con, view, body, describe(con, view), f"JSON file {Path(path).name}", remarks=remarks)
    if small:
        source.numbered = f"SELECT rowid + 1 AS __row, * FROM {view}"
    if source.count() == 0:
        raise DataError("there are no rows.", path)
    return source
