"""Whether a panel's files have arrived: not there yet, half-written, or ready to be read.

A file that the last finished run has read, and that has not been touched since, is not looked into again. What cannot
be seen: text that was cut inside the last field of a line.
"""

from __future__ import annotations

import csv
import gzip
import os
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..source import ARROW_SUFFIXES, JSON_SUFFIXES, PARQUET_SUFFIXES, TEXT_SUFFIXES, kind, list_files
from .outcomes import Outcome

TAIL = 1 << 20
GZIP_LEAST = 18  # bytes of a .gz file without content
RECENT = 60.0  # seconds: only a file changed so recently can be one that still grows
Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


@dataclass(frozen=True)
class Arrival:
    """What is known of a panel before it is read.

    Attributes:
        files: path and stamp of each file.
        outcome: ABSENT or PARTIAL, with the message that says why; None: ready.
    """

    files: dict[str, Stamp]
    outcome: Outcome | None = None
    message: str = ""


def look_all(panels: Mapping[str, str], settle: float, known: Mapping[str, Mapping[str, Stamp]]) -> dict[str, Arrival]:
    """Look at the panels of several analyses, and wait once for those that may still grow.

    Args:
        panels: path of each analysis' panel.
        settle: seconds to wait before a recently changed file is looked at again.
        known: per analysis the files that its last finished run has read, as they were then.
    """
    found = {name: look(path) for name, path in panels.items()}
    now = time.time()
    stamps = [stamp for arrival in found.values() for stamp in arrival.files.values()]
    if settle > 0 and any(now - changed / 1e9 < RECENT for _, changed in stamps):
        time.sleep(settle)
    return {name: judge(panels[name], arrival, known.get(name, {})) for name, arrival in found.items()}


def look(path: str) -> Arrival:
    """The files behind a path and their stamps; ABSENT where there is none."""
    try:
        files = list_files(path)
        return Arrival({str(f): stamp(f) for f in files})
    except DataError as error:
        return Arrival({}, Outcome.ABSENT, str(error))
    except FileNotFoundError:  # renamed between listing and looking: what writes it is at work
        return Arrival({}, Outcome.PARTIAL, f"{path}: files come and go at this moment.")


def judge(path: str, before: Arrival, known: Mapping[str, Stamp]) -> Arrival:
    """Compare with what ``look`` found earlier, and look into every file that is not known."""
    if before.outcome is not None:
        return before
    now = look(path)
    if now.outcome is Outcome.ABSENT or now.outcome is Outcome.PARTIAL:
        return Arrival(before.files, Outcome.PARTIAL, f"{path}: files come and go at this moment.")
    for name, mark in now.files.items():
        if before.files.get(name) != mark:
            return Arrival(now.files, Outcome.PARTIAL, f"{name}: the file is still being written.")
    for name, mark in now.files.items():
        if known.get(name) == mark:
            continue
        fault = cut_off(Path(name))
        if fault:
            return Arrival(now.files, Outcome.PARTIAL, f"{name}: {fault}")
    return now


def stamp(path: Path) -> Stamp:
    """Size and time of the last change."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def cut_off(path: Path) -> str:
    """Why a file is not complete; empty where it is, or where that cannot be told.

    Other faults (a wrong column, a damaged page) are left to the stage that reads the panel.
    """
    if path.stat().st_size == 0:
        return "the file is empty so far."
    try:
        suffix = kind(path)
    except DataError:
        return ""
    if suffix in PARQUET_SUFFIXES:
        return _framed(path, b"PAR1", "Parquet")
    if suffix in ARROW_SUFFIXES:
        return _framed(path, b"ARROW1", "Arrow")
    if suffix in (".xlsx", ".xlsm", ".ods"):
        return "" if zipfile.is_zipfile(path) else "the workbook is cut off: its directory is missing."
    if suffix in TEXT_SUFFIXES + JSON_SUFFIXES:
        try:
            tail = _tail(path)
        except (EOFError, OSError, zlib.error) as error:
            short = isinstance(error, EOFError) or path.stat().st_size < GZIP_LEAST
            return "the .gz file is cut off: its end mark is missing." if short else ""  # else it is damaged
        return _cut_json(tail) if suffix in JSON_SUFFIXES else _cut_text(path, tail)
    return ""


def _framed(path: Path, mark: bytes, name: str) -> str:
    """A format that begins and ends with the same mark."""
    with path.open("rb") as stream:
        head = stream.read(len(mark))
        stream.seek(-min(len(mark), path.stat().st_size), os.SEEK_END)
        tail = stream.read()
    if head[: len(mark)] == mark[: len(head)] and (tail != mark or path.stat().st_size < 2 * len(mark)):
        return f"the {name} file is cut off: its end mark is missing."
    return ""


def _tail(path: Path) -> bytes:
    """The last megabyte of a text, unpacked; a .gz file is read to its end, which proves that there is one."""
    if not path.name.lower().endswith(".gz"):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - TAIL))
            return stream.read()
    last = before = b""
    with gzip.open(path, "rb") as stream:
        while piece := stream.read(TAIL):
            before, last = last, piece
    return (before + last)[-TAIL:]


def _cut_json(tail: bytes) -> str:
    """JSON that does not end with the end of an object or an array."""
    text = tail.rstrip()
    if not text:
        return "the file has only blank lines so far."
    return "" if text.endswith((b"}", b"]")) else "the last line is cut off: it is no complete JSON value."


def _cut_text(path: Path, tail: bytes) -> str:
    """A last line without a line end and with fewer fields than the header, or nothing below the header."""
    from ..source_layout import read_head, sniff

    head = read_head(str(path))
    if b"\x00" in head:  # UTF-16, or no text
        return ""
    try:
        dialect = sniff(str(path), str(path))
    except DataError:
        return "" if head.strip() else "the file has only blank lines so far."
    text = tail.decode("utf-8", errors="replace")
    lines = text.splitlines()
    rows = [line for line in lines if line.strip() and not line.lower().startswith("sep=")]
    if len(tail) < TAIL and len(rows) == 1:
        return "there is a header and no row so far."
    if text.endswith(("\n", "\r")):
        return ""
    last = lines[-1]
    if last.count('"') % 2:  # opens or closes a quote that spans lines
        return "the last line is cut off inside a quoted field." if _quotes(path) % 2 else ""
    fields = len(next(csv.reader([last], delimiter=dialect.delimiter), []))
    wanted = len(dialect.names)
    return f"the last line is cut off: {fields} of {wanted} fields." if fields < wanted else ""


def _quotes(path: Path) -> int:
    from ..source_layout import read_pieces

    return sum(piece.count(b'"') for piece in read_pieces(str(path)))
