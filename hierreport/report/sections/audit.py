"""Audit: the files that this page was made from."""

from __future__ import annotations

from ..context import Context
from ..numbers import Num
from ..parts import Column, Content, Sentence, Table

TITLE = "Audit"


def build(context: Context) -> Content:
    sources = context.data.sources
    source = context.panel.get("source") or {}
    files = source.get("files") or []
    sentence = Sentence(
        "Every number on this page was read from {count} files; it carries its full value and, where it stands in a "
        "file as it is, its address there.",
        count=context.whole(len(sources)),
    )
    columns = [Column("file", "File", "code"), Column("bytes", "Bytes"), Column("sha256", "SHA-256", "code")]
    rows = [[s.name, Num(s.size, context.num.count(s.size)), s.sha256 or "in the manifest"] for s in sources]
    content = Content([sentence], tables=[Table("sources", "The artifacts behind this page", columns, rows)])
    content.extra["source"] = {
        "description": str(source.get("description") or ""),
        "files": [str(f) for f in files],
        "formula": str(context.panel.get("formula") or ""),
    }
    return content
