"""The layout of a text file: encoding, line endings, delimiter, header."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hierreport.errors import DataError
from hierreport.source import check_names

DELIMITERS = (",", ";", "\t", "|", " ")
HEAD_BYTES = 1 << 18
SNIFF_LINES = 200
COPY = "hierreport-"  # how names of UTF-8 copies begin
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


@dataclass
class Dialect:
    """How one text file is laid out. ``skip`` lines (blank, or the header too where ``header`` is False) come first."""

    delimiter: str
    names: list[str]
    skip: int
    header: bool
    notes: list[str] = field(default_factory=list)


def open_bytes(path: str) -> IO[bytes]:
    return gzip.open(path, "rb") if path.lower().endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def read_head(path: str) -> bytes:
    """The first quarter of a megabyte.

    Raises:
        DataError: the .gz file is damaged.
    """
    try:
        with open_bytes(path) as stream:
            return stream.read(HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise DataError(f"cannot be unpacked: {error}.", path) from error


def read_pieces(path: str) -> Iterator[bytes]:
    """The whole file, unpacked, in pieces."""
    with open_bytes(path) as stream:
        while piece := stream.read(1 << 24):
            yield piece


def plain_utf8(pieces: Iterable[bytes]) -> bool:
    """Whether consecutive pieces are UTF-8 with one kind of line ending (a character cut at the end is allowed)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = pairs = 0
    last = b""
    for piece in pieces:
        if b"\x00" in piece:
            return False
        lines += piece.count(b"\n")
        pairs += piece.count(b"\r\n") + (last == b"\r" and piece.startswith(b"\n"))
        last = piece[-1:]
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            return False
    return pairs in (0, lines)


def transcode(path: str, notes: list[str]) -> str:
    """Write a UTF-8 copy with uniform line endings to the temporary folder.

    Args:
        notes: gets a sentence on what was assumed.

    Returns:
        Path of the copy, to be removed by the caller.

    Raises:
        DataError: this is no text.
    """
    head = read_head(path)
    tries = {"utf-8": "mixed line endings", "cp1252": "not UTF-8; read as Windows-1252", "latin-1": "read as Latin-1"}
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        tries = {"utf-16": "read as UTF-16"}
    elif b"\x00" in head:
        raise DataError("it holds NUL bytes: this is not a text file.", path, "Save it as UTF-8 text.")
    handle, copy = tempfile.mkstemp(prefix=COPY, suffix=".csv")
    os.close(handle)
    for encoding, note in tries.items():
        try:
            with open_bytes(path) as raw, open(copy, "w", encoding="utf-8", newline="\n") as out:
                for line in io.TextIOWrapper(raw, encoding=encoding, newline=None):
                    out.write(line)
        except UnicodeError:
            continue
        except OSError:
            break
        notes.append(f"{Path(path).name}: {note}")
        return copy
    os.unlink(copy)
    raise DataError("its text cannot be decoded.", path, "Save the file as UTF-8.")


def sniff(path: str, where: str) -> Dialect:
    """Find delimiter and header from the first quarter of a megabyte.

    Args:
        path: the file to look at (perhaps a transcoded copy).
        where: the user's file, for messages.

    Raises:
        DataError: there is no header row, or nothing but blank lines.
    """
    text = read_head(path).decode("utf-8", errors="ignore").removeprefix("\ufeff")
    lines = text.splitlines()
    skip = next((i for i, line in enumerate(lines) if line.strip()), None)
    if skip is None:
        raise DataError("the file has only blank lines.", where)
    if len(text) >= HEAD_BYTES // 2 and len(lines) > 2:
        lines.pop()  # may be cut
    delimiter = ""
    if said := re.fullmatch(r"sep=(.)", lines[skip].strip('" '), re.IGNORECASE):  # a line that Excel writes and obeys
        skip, delimiter = skip + 1, said[1]
    delimiter, records = split(lines[skip:], delimiter)
    if not records:
        raise DataError("the file has only blank lines.", where)
    names = [name.strip() for name in records[0]]
    if all(NUMBER.fullmatch(n) for n in names if n) and any(names):
        raise DataError(
            f"the first line ({', '.join(names[:4])}) has no column names.", where, "Add a header row to the file."
        )
    notes = []
    ahead = len(records) > 1 and all(len(r) == len(names) + 1 for r in records[1:])
    if ahead and all(not r[-1].strip() for r in records[1:]):
        names.append("")  # a delimiter at the end of every line but the header's
    elif ahead:
        names = ["row_names", *names]
        notes.append("the first column has no name (row names as R writes them); it is called 'row_names'")
    for i, name in enumerate(names):
        if not name:
            names[i] = "row_names" if i == 0 else f"column{i + 1}"
            notes.append(f"column {i + 1} has no name; it is called '{names[i]}'")
    check_names(names, where)
    return Dialect(delimiter, names, skip + ahead, not ahead, notes)


def split(lines: list[str], delimiter: str = "") -> tuple[str, list[list[str]]]:
    """Find the delimiter that splits the lines most evenly, then into most fields.

    Returns:
        The delimiter, and the first records that are not blank.
    """
    best: tuple[float, int] = (0.0, 0)
    chosen, kept = ",", [[line] for line in lines if line.strip()]
    for candidate in (delimiter,) if delimiter else DELIMITERS:
        if candidate == " " and best[0] > 0.9:
            break  # spaces are in names and texts too
        try:
            read = csv.reader(lines[:SNIFF_LINES], delimiter=candidate)
            records = [r for r in read if any(c.strip() for c in r)]
        except csv.Error:
            continue
        width = len(records[0]) if records else 1
        if width == 1:
            continue
        body = records[1:-1] or records[1:]
        fit = sum(len(r) in (width, width + 1) for r in body) / len(body) if body else 0.5
        if (fit, width) > best:
            best, chosen, kept = (fit, width), candidate, records
    return chosen, kept
