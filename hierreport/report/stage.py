"""The stage: reads the artifacts, writes the report's files, each in one step."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ..figures.style import WIDE
from .artifacts import load
from .context import Context
from .page import about, build_page
from .summary import Summary, markdown, summarise


def write_report(directory: Path, options: dict[str, Any]) -> Path:
    """See ``report.render``."""
    from ..signoff import write_document

    data = load(directory)
    context = Context(data, options)
    summary = summarise(context)
    _folder(
        directory / "figures",
        ".svg",
        {p.name: p.draw(WIDE).file(p.title, p.alt) for _, content in summary.contents for p in content.pictures},
    )
    _folder(
        directory / "tables", ".csv", {t.name: t.csv() for _, content in summary.contents for t in content.all_tables}
    )
    write_text(
        directory / "summary.json", json.dumps(summary.plain, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    )
    write_text(directory / "summary.md", markdown(summary.plain, about(context)))
    page = directory / "report.html"
    write_text(page, build_page(context, summary))
    write_document(directory, context, summary)
    return page


def build(directory: Path, options: dict[str, Any]) -> tuple[Context, Summary]:
    """The report's content without writing anything."""
    context = Context(load(directory), options)
    return context, summarise(context)


def _folder(folder: Path, suffix: str, files: dict[str, str]) -> None:
    """Write ``files`` and take away what an earlier run left there."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        write_text(folder / f"{name}{suffix}", text)
    for old in folder.glob(f"*{suffix}"):
        if old.stem not in files:
            old.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old one or the new one, whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
