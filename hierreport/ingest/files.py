"""panel.parquet and panel.json: written once, read by every later stage."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hierreport.errors import DataError
from hierreport.frame import Column, Frame
from hierreport.records import plain
from hierreport.spec import LevelSpec

from ..source import describe
from .names import identifier, literal

PARQUET, JSON = "panel.parquet", "panel.json"
_ROW_GROUP = 100_000


def write_panel(frame: Frame, folder: str | os.PathLike[str], extra: dict[str, Any] | None = None) -> None:
    """Write a frame's rows, sorted by groups, time and position, and its description.

    Both files appear whole or not at all, and have the same bytes for the same rows. panel.json is written last.

    Args:
        frame: the frame.
        folder: where to; made if need be.
        extra: further entries of panel.json (analysis, title, aliased).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    time = [frame.time] if frame.time else []
    order = ", ".join(identifier(c) for c in [*frame.groups, *time, "__row"])
    path = folder / PARQUET
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # What DuckDB knows of a source decides whether it calls a column nullable: not of these.
        names = [identifier(name) for name in describe(frame.con, frame.table) if name != "__row"]
        items = ", ".join(["__row", *(f"CASE WHEN __row IS NOT NULL THEN {name} END AS {name}" for name in names)])
        frame.con.execute(
            f"COPY (SELECT {items} FROM {frame.table} ORDER BY {order}) TO {literal(str(temporary))}"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})"
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    write_json(folder / JSON, {**(extra or {}), **frame.info, **(extra or {})})


def amend_panel(folder: str | os.PathLike[str], **entries: Any) -> None:
    """Set entries of a written panel.json, such as the aliased terms, which are known only from the moments."""
    path = Path(folder) / JSON
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **entries})


def write_json(path: Path, content: Any) -> None:
    """Write JSON with full precision, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_frame(folder: str | os.PathLike[str]) -> Frame:
    """Rebuild a frame over panel.parquet.

    Raises:
        DataError: the folder has no finished panel.
    """
    from hierreport.source import connect

    folder = Path(folder)
    try:
        info = json.loads((folder / JSON).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"There is no readable {JSON}.", str(folder), "Run the ingest stage first.") from error
    if not (folder / PARQUET).is_file():
        raise DataError(f"There is no {PARQUET}.", str(folder), "Run the ingest stage first.")
    con = connect()
    con.execute(f"CREATE TEMP VIEW panel AS SELECT * FROM read_parquet({literal(str(folder / PARQUET))})")
    return Frame(
        con=con,
        table='"panel"',
        outcome=Column(**info["outcome"]),
        columns=tuple(Column(**c) for c in info["columns"]),
        fixed=tuple(info["fixed"]),
        random=tuple(LevelSpec(s["level"], tuple(tuple(b) for b in s["blocks"])) for s in info["random"]),
        groups=tuple(info["groups"]),
        levels=tuple(info["levels"]),
        time=info["time_column"],
        weights=info["weights"],
        means=info["means"],
        sds=info["sds"],
        info=info,
        time_label=info["time_label"],
    )
