"""Sensitivity: shown where its artifact is there."""

from __future__ import annotations

from ..context import Context
from ..numbers import Num, finite
from ..parts import Column, Content, Sentence, Table

TITLE = "Sensitivity"


def build(context: Context) -> Content | None:
    source = context.data.sensitivity
    analyses = (source or {}).get("analyses") or []
    if not analyses:
        return None
    found = [Sentence("{text}", text=str(source["sentence"]))] if source and source.get("sentence") else []
    keys = list(dict.fromkeys(k for a in analyses for k, v in a.items() if finite(v) and k != "name"))
    columns = [Column("analysis", "Analysis", "text"), *(Column(k, k) for k in keys)]
    rows = [
        [
            str(a.get("title") or a.get("name")),
            *(Num(a.get(k), context.num.significant(a.get(k)), f"sensitivity.json#/analyses/{i}/{k}") for k in keys),
        ]
        for i, a in enumerate(analyses)
    ]
    return Content(found, tables=[Table("sensitivity", "The same model under other choices", columns, rows)])
