"""What a column of the source can be used as, told from its DuckDB type."""

from __future__ import annotations

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
NUMBERS = (*_WHOLE, *("U" + t for t in _WHOLE), "FLOAT", "DOUBLE", "DECIMAL", "BIGNUM", "VARINT")
FLOATING = ("FLOAT", "DOUBLE")


def base_type(duckdb_type: str) -> str:
    """``DECIMAL(18,3)`` is ``DECIMAL``."""
    return duckdb_type.upper().split("(")[0].strip()


def kind_of(duckdb_type: str) -> str:
    """What it holds: "number", "truth", "text", "date" or "other"."""
    base = base_type(duckdb_type)
    if duckdb_type.endswith("]"):
        return "other"
    if base in NUMBERS:
        return "number"
    if base == "BOOLEAN":
        return "truth"
    if base in ("VARCHAR", "ENUM", "UUID", "CHAR", "TEXT", "STRING"):
        return "text"
    if base == "DATE" or base.startswith("TIMESTAMP"):
        return "date"
    return "other"


def spoken(duckdb_type: str) -> str:
    """A type in words for messages: "text", "a truth value"."""
    base = base_type(duckdb_type)
    words = {"text": "text", "truth": "a truth value", "date": "a date", "number": "a number"}
    known = words.get(kind_of(duckdb_type))
    if known:
        return f"{known} ({base})"
    return f"of type {duckdb_type if len(duckdb_type) <= 60 else duckdb_type[:57] + '...'}"
