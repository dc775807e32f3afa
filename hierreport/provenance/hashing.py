"""Digests, media types and moments in time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MEDIA_TYPES = {
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".parquet": "application/vnd.apache.parquet",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".md": "text/markdown",
    ".tex": "application/x-tex",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xls": "application/vnd.ms-excel",
    ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".gz": "application/gzip",
    ".r": "text/x-r",
    ".py": "text/x-python",
    ".do": "text/x-stata",
    ".sas": "text/x-sas",
    ".txt": "text/plain",
    ".smk": "text/x-snakemake",
    ".snakefile": "text/x-snakemake",
}


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """Size, digest and media type of a file."""
    kind = MEDIA_TYPES.get(path.suffix.lower() or f".{path.name.lower()}", "application/octet-stream")
    return {"size": path.stat().st_size, "sha256": sha256(path), "media_type": kind}


def instant(seconds: float | None = None) -> str:
    """A moment in UTC, ISO 8601; never later than SOURCE_DATE_EPOCH where that is set.

    Args:
        seconds: since the epoch; now where not given.
    """
    seconds = time.time() if seconds is None else seconds
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    if fixed.isdigit():
        seconds = min(seconds, int(fixed))
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name and rename it."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
