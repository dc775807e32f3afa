"""The files of a panel as typed columns, kept as Parquet beside the results while they are unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..digest import stage_digests
from ..errors import HierreportError
from ..formula import Name, walk
from ..formula.parser import parse_tree
from ..source import (
    PARQUET_SUFFIXES,
    TEXT_SUFFIXES,
    Source,
    connect,
    describe,
    kind,
    list_files,
    literal,
    open_files,
    quote,
)

EMPTY = "NULL"  # type of a column without a value
_WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NUMBERS = (*_WHOLE_NUMBERS, "DOUBLE")


class Whole(Exception):
    """The panel is read and reduced as a whole; the text says why."""


@dataclass(frozen=True)
class Part:
    """One file: its key, its kept copy, its rows, all its columns with their types, and how it was read."""

    file: str
    key: str
    copy: Path
    rows: int
    columns: dict[str, str]
    noun: str
    notes: tuple[str, ...]
    query: str


@dataclass
class Kept:
    """A panel opened file by file.

    Attributes:
        source: a view over the kept copies; ``files`` are the user's.
        parts: the files, in the order of their names.
        folder: where copies and sums are kept.
        code: digest of the code that made them.
        fresh: files that had to be read.
    """

    source: Source
    parts: list[Part]
    folder: Path
    code: str
    fresh: list[str]
    sums: set[str] = field(default_factory=set)

    def tidy(self) -> None:
        """Remove what neither this run nor the next one can use."""
        used = {p.copy.name for p in self.parts} | {p.copy.with_suffix(".json").name for p in self.parts} | self.sums
        for path in self.folder.iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)


def open_parts(path: str, options: dict[str, Any], folder: Path) -> Kept:
    """Open a panel file by file.

    Args:
        path: folder, pattern or file.
        options: of the stage ingest: formula, time, weights, variances, crossed; columns named there are kept.
        folder: where copies are kept; made if need be.

    Raises:
        Whole: the files cannot be taken one by one.
    """
    files = [str(f) for f in list_files(path)]
    kinds = {kind(Path(f)) for f in files}
    if not (len(kinds) == 1 and kinds <= {*TEXT_SUFFIXES, *PARQUET_SUFFIXES}):
        raise Whole("only text and Parquet files can be read one by one")
    if any("=" in Path(f).parent.name for f in files):
        raise Whole("folders named column=value are a column of the panel")
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".*"):
        stale.unlink()
    wanted, code = (
        _named(options),
        stage_digests(["ingest"])["ingest"],
    )  # another version of the code reads everything again
    parts, fresh = [], []
    for file in files:
        part = _kept_part(file, wanted, folder, code)
        if part is None:
            fresh.append(file)
            part = _read_part(file, wanted, folder, code)
        parts.append(part)
    return Kept(_joined(parts, path, kinds.pop(), set(wanted)), parts, folder, code, fresh)


def _named(options: dict[str, Any]) -> list[str]:
    """Every name in the options that may be a column."""
    tree = parse_tree(options["formula"], "formula")
    names = {node.name for node in walk(tree) if isinstance(node, Name)}
    names |= {str(options[k]) for k in ("time", "weights", "variances", "crossed") if options.get(k)}
    return sorted(names)


def _key(file: str, wanted: Sequence[str], code: str) -> str:
    """Digest of everything that a copy depends on: name and content of the file, columns, code."""
    with open(file, "rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(json.dumps([file, content, list(wanted), code]).encode()).hexdigest()[:32]


def _kept_part(file: str, wanted: Sequence[str], folder: Path, code: str) -> Part | None:
    """The kept copy of a file; None where there is none, or where it is damaged."""
    key = _key(file, wanted, code)
    copy = folder / f"{key}.parquet"
    try:
        note = json.loads(copy.with_suffix(".json").read_text(encoding="utf-8"))
        with copy.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != note["sha256"]:
                return None
        return Part(file, key, copy, note["rows"], note["columns"], note["noun"], tuple(note["notes"]), note["query"])
    except (OSError, ValueError, KeyError):
        return None


def _read_part(file: str, wanted: Sequence[str], folder: Path, code: str) -> Part:
    """Read a file and keep its columns."""
    key = _key(file, wanted, code)
    copy = folder / f"{key}.parquet"
    con = connect()
    try:
        try:
            source = open_files(file, None, con)
        except HierreportError as error:
            raise Whole(f"{file} cannot be read on its own ({error.what})") from error
        types = dict(source.columns)
        if kind(Path(file)) in TEXT_SUFFIXES:
            types |= dict.fromkeys(_empty(source), EMPTY)
        columns = [quote(c) for c, t in types.items() if c in set(wanted) and t != EMPTY]
        if not columns:
            raise Whole(f"{file} has no column of the model")
        temporary = folder / f".{key}.{os.getpid()}"
        con.execute(
            f"COPY (SELECT {', '.join(columns)} FROM {source.view}) TO {literal(str(temporary))}"
            " (FORMAT parquet, COMPRESSION zstd)"
        )
        rows = source.count()
        note: dict[str, Any] = {
            "columns": types,
            "noun": source.description.partition(" file ")[0],
            "notes": source.notes,
            "query": source.query,
            "rows": rows,
        }
    finally:
        con.close()
    with temporary.open("rb") as stream:
        note["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    if _key(file, wanted, code) != key:
        temporary.unlink()
        raise Whole(f"{file} changed while it was read")
    os.replace(temporary, copy)
    text = copy.with_name(f".{key}.json.{os.getpid()}")
    text.write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")
    os.replace(text, copy.with_suffix(".json"))  # last: a copy without its note is not used
    return Part(file, key, copy, rows, note["columns"], note["noun"], tuple(note["notes"]), note["query"])


def _joined(parts: list[Part], path: str, suffix: str, wanted: set[str]) -> Source:
    """One source over all copies."""
    first = parts[0]
    for part in parts:
        if set(part.columns) != set(first.columns):
            raise Whole(f"the columns of {part.file} differ from those of {first.file}")
    con = connect()
    copies = ", ".join(literal(str(p.copy)) for p in parts)
    reader = f"read_parquet([{copies}], union_by_name = true)"
    present = describe(con, reader)
    types = {name: _common([p.columns[name] for p in parts], name, name in wanted) for name in first.columns}
    items = []
    for name in (n for n in types if n in wanted):
        as_it_is = present.get(name) == types[name]
        value = quote(name) if name in present else "NULL"
        items.append(quote(name) if as_it_is else f"CAST({value} AS {types[name]}) AS {quote(name)}")
    query = " UNION ALL BY NAME ".join(f"({p.query})" for p in parts)
    view = f"(SELECT {', '.join(items)} FROM {reader})"
    noun = first.noun
    text = f"{len(parts)} {noun} files in {path}" if len(parts) > 1 else f"{noun} file {Path(first.file).name}"
    notes = [note for p in parts for note in p.notes]
    source = Source(con, view, query, types, text, notes=notes, known_count=sum(p.rows for p in parts))
    source.files, source.suffix = [p.file for p in parts], suffix
    return source


def _empty(source: Source) -> list[str]:
    """Columns of a text file without a value, which have no type of their own."""
    texts = [name for name, type_ in source.columns.items() if type_ == "VARCHAR"]
    if not texts:
        return []
    counts = source.con.execute(
        f"SELECT {', '.join(f'count({quote(t)})' for t in texts)} FROM {source.view}"
    ).fetchall()
    return [name for name, count in zip(texts, counts[0], strict=True) if count == 0]


def _common(types: list[str], name: str, needed: bool) -> str:
    """The type of a column that the files have as these; of one that is not needed it is only reported."""
    found = set(types) - {EMPTY}
    if len(found) <= 1:
        return found.pop() if found else "VARCHAR"
    if found <= set(_WHOLE_NUMBERS):
        return "BIGINT"
    if found <= set(_NUMBERS):
        return "DOUBLE"
    if not needed:
        return "VARCHAR"
    raise Whole(f"the column {name} is {' in some files and '.join(sorted(found))} in others")
