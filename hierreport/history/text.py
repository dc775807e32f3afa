"""A comparison as plain text, for a terminal or a mail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .run import Run
from .words import number


def comparison(before: Run, now: Run, found: Mapping[str, Any]) -> str:
    """What ``compare`` found, in words and aligned columns.

    Args:
        before, now: the runs.
        found: of ``compare.compare``.
    """
    lines = [f"{word:7} {_about(run)}" for word, run in (("before", before), ("now", now))]
    for name, cause in found["causes"].items():
        if cause["changed"]:
            lines.append(f"{name:7} differs: {', '.join(_cause(name, w) for w in cause['what'])}")
    lines += ["", found["sentence"]]
    if found["identical"]:
        return "\n".join(lines)
    if found["data"]["note"]:
        lines.append(found["data"]["note"])
    for block in (_rows(found["data"]), _revised(found["data"]["revised"]), _estimates(found), _checks(found["checks"])):
        table = list(block)
        if len(table) > 1:
            lines += ["", *_aligned(table)]
    return "\n".join(lines)


def _about(run: Run) -> str:
    when = f", kept {run.recorded}" if run.recorded else ""
    return f"{run.run_id}: {run.panel['n_obs']:,} rows, {run.chosen}{when}"


def _cause(name: str, what: Mapping[str, Any]) -> str:
    if name == "data" or name == "code":
        return str(what["name"])
    return f"{what['name']} ({_shown(what['before'])} -> {_shown(what['now'])})"


def _shown(value: Any) -> str:
    return "default" if value is None else str(value)


def _rows(data: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["", "before", "now", "came", "went", "revised", "names"]
    rows = data["rows"]
    yield ["rows", *(number(rows[k]) for k in ("before", "now", "added", "removed", "revised")), ""]
    for level, g in data["groups"].items():
        named = [f"{sign}{name}" for sign, way in (("+", "came"), ("-", "went")) for name in g[way]]
        more = " ..." if g["came_count"] + g["went_count"] > len(named) else ""
        counts = [number(g[k]) for k in ("before", "now", "came_count", "went_count")]
        yield [level, *counts, "", " ".join(named) + more]


def _revised(revised: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["revised", "column", "before", "now"]
    for e in revised["examples"]:
        yield ["/".join(str(v) for v in e["key"].values()), e["column"] or "", _value(e["old"]), _value(e["new"])]


def _value(value: Any) -> str:
    return number(value) if isinstance(value, (int, float)) or value is None else str(value)


def _estimates(found: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["", "before", "now", "change", "its se", "p", "because of"]
    named = [(f["term"], f) for f in found["fixed"]]
    for v in found["variance"]:
        named.append((f"sd of {v['term']} by {v['level']}" if v["what"] == "sd" else v["what"], v))
    named += [(f"ICC of {i['level']}", i) for i in found["icc"]]
    for name, e in named:
        if e["change"] != 0:
            values = [number(e.get(k)) for k in ("before", "now", "change", "se_change", "p")]
            yield [name, *values, e["attributed_to"]]


def _checks(checks: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    yield ["check", "before", "now", "because of"]
    for c in checks:
        yield [str(c["title"] or c["name"]), c["before"] or "-", c["now"] or "-", c["attributed_to"]]


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side; those whose cells below the head are all numbers to the right."""
    columns = list(zip(*table, strict=True))
    right = [all(not c or c[0] in "0123456789\u2212-" for c in column[1:]) and i > 0 for i, column in enumerate(columns)]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in table
    ]
