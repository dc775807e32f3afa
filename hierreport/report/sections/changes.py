"""Since last time: what changed since the last run that differs from this one, and the estimates over all runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...figures import pictures
from ...history import words
from ..context import Context
from ..names import listing
from ..numbers import Num, finite
from ..parts import Column, Content, Sentence, Table

TITLE = "Since last time"
FILE = "changes.json#"
FEW = "too few groups carry the change"


def build(context: Context) -> Content | None:
    changes = context.data.changes or {}
    if not changes.get("previous"):
        return None
    tables = [_estimates(context, changes), _rows(context, changes["data"])]
    if changes["data"]["revised"]["examples"]:
        tables.append(_revised(context, changes["data"]))
    if changes["checks"]:
        tables.append(_checks(changes["checks"]))
    return Content(_findings(context, changes), pictures=pictures("trend", context), tables=tables)


def lead(context: Context) -> list[Sentence]:
    """The sentence for the first screen; none where there was no run before."""
    changes = context.data.changes or {}
    return [_sentence(context, changes, "Since the last run: ")] if changes.get("previous") else []


def _sentence(context: Context, changes: dict[str, Any], head: str = "") -> Sentence:
    account = words.sentence(changes)
    values: dict[str, Any] = dict(account.words)
    if "term" in values:
        values["term"] = context.names.term(values["term"])
    for i, (level, groups) in enumerate(changes["data"]["groups"].items()):
        for way in ("came", "went"):
            if f"level_{way}_{i}" in values:
                values[f"level_{way}_{i}"] = context.names.level(level, groups[f"{way}_count"])
    for name, (value, pointer) in account.numbers.items():
        source = FILE + pointer if pointer else ""
        if isinstance(value, int):
            values[name] = context.whole(value, source)
        elif name == "p":
            values[name] = Num(value, context.num.p(value), source)
        else:
            se = next(
                (f["se_now"] or f["se_before"] for f in changes["fixed"] if f["term"] == account.words["term"]), None
            )
            values[name] = context.rounded(value, se, source)
    return Sentence(head + account.template, **values)


def _findings(context: Context, changes: dict[str, Any]) -> list[Sentence]:
    found = [_sentence(context, changes)]
    named = {"data": "files", "config": "keys", "code": "stages", "environment": "versions"}
    causes = [name for name, cause in changes["causes"].items() if cause["changed"]]
    parts = []
    for name in causes:
        what = [w["name"] for w in changes["causes"][name]["what"]]
        parts.append(f"{name} ({named[name]}: {listing(what)})" if what else name)
    found.append(
        Sentence(
            "Compared with run {number}, this run differs in {causes}.",
            number=context.whole(changes["previous"]["number"], f"{FILE}/previous/number"),
            causes=listing(parts),
        )
    )
    noise = changes["noise"]
    if noise["level"]:
        found.append(
            Sentence(
                "Whether a change is more than sampling noise is tested with the rows that both runs share taken into "
                "account, on {groups} independent groups ({level}).",
                groups=context.whole(noise["groups"], f"{FILE}/noise/groups"),
                level=noise["level"],
            )
        )
    if changes["data"]["note"]:
        found.append(Sentence("{note}", note=changes["data"]["note"]))
    return found


def _estimates(context: Context, changes: dict[str, Any]) -> Table:
    columns = [
        Column("quantity", "Quantity", "text"),
        Column("before", "Before"),
        Column("now", "Now"),
        Column("change", "Change"),
        Column("se_change", "Its standard error", "number", "given the rows that both runs share"),
        Column("p", "p", "number", "of no change but sampling noise"),
        Column("because", "Because of", "short"),
        *(Column(key, key, "file") for key in ("se_before", "se_now", "z", "df", "method")),
    ]
    rows, shown = [], []
    for name, entry, at in _quantities(context, changes):
        se = entry.get("se_now") or entry.get("se_before")

        def number(key: str, text: str, at: str = at, entry: dict[str, Any] = entry) -> Num | None:
            return Num(entry[key], text, f"{at}/{key}") if finite(entry.get(key)) else None

        def value(key: str, entry: dict[str, Any] = entry, se: float | None = se) -> str:
            return context.num.estimate(entry[key], se) if se else context.num.significant(entry[key], 3)

        rows.append(
            [
                name,
                *(number(key, value(key)) for key in ("before", "now", "change")),
                number("se_change", context.num.significant(entry.get("se_change"), 2)),
                number("p", context.num.p(entry.get("p"))),
                entry["attributed_to"] or "–",
                *(
                    number(key, context.num.significant(entry.get(key), 4))
                    for key in ("se_before", "se_now", "z", "df")
                ),
                entry.get("method"),
            ]
        )
        if entry["change"] != 0 and not str(entry.get("term") or "").endswith("]"):
            shown.append(len(rows) - 1)
    caption = "Estimates before and now"
    few = any(f["method"] == FEW for f in changes["fixed"])
    note = f"No p where {FEW}." if few else ""
    return Table("since_estimates", caption, columns, rows, shown if len(shown) < len(rows) else None, note=note)


def _quantities(context: Context, changes: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, entry and address of everything that is compared."""
    names = context.names
    for i, entry in enumerate(changes["fixed"]):
        yield names.term(entry["term"]), entry, f"{FILE}/fixed/{i}"
    for i, entry in enumerate(changes["variance"]):
        what = {"sigma": "residual sd", "rho": "correlation of neighbouring errors"}.get(entry["what"])
        yield (
            what or f"sd of {names.term(entry['term'])} per {names.level(entry['level'])}",
            entry,
            f"{FILE}/variance/{i}",
        )
    for i, entry in enumerate(changes["icc"]):
        level = "rows" if entry["level"] == "residual" else names.level(entry["level"], 2)
        yield f"share of the variance between {level}", entry, f"{FILE}/icc/{i}"


def _rows(context: Context, data: dict[str, Any]) -> Table:
    columns = [
        Column("what", "What", "text"),
        Column("before", "Before"),
        Column("now", "Now"),
        Column("came", "Came"),
        Column("went", "Went"),
        Column("revised", "Revised"),
        Column("names", "Which came, which went", "name"),
    ]

    def whole(value: Any, at: str) -> Num | None:
        return context.whole(value, f"{FILE}/data/{at}") if finite(value) else None

    own = {"before": "before", "now": "now", "came": "added", "went": "removed", "revised": "revised"}
    rows: list[list[Any]] = [["rows", *(whole(data["rows"][k], f"rows/{k}") for k in own.values()), ""]]
    for level, groups in data["groups"].items():
        at = "groups/" + level.replace("~", "~0").replace("/", "~1")
        cells = [whole(groups[k], f"{at}/{k}") for k in ("before", "now", "came_count", "went_count")]
        named = [
            f"{way}: {', '.join(groups[way])}" + (" …" if groups[f"{way}_count"] > len(groups[way]) else "")
            for way in ("came", "went")
            if groups[way]
        ]
        rows.append([context.names.level(level, 2), *cells, None, "; ".join(named)])
    return Table("since_rows", "Rows and groups", columns, rows)


def _revised(context: Context, data: dict[str, Any]) -> Table:
    columns = [
        Column("key", "Row", "name"),
        Column("column", "Column", "code"),
        Column("old", "Before"),
        Column("new", "Now"),
    ]
    rows = []
    for i, e in enumerate(data["revised"]["examples"]):
        values = [
            Num(e[k], context.num.significant(e[k], 5), f"{FILE}/data/revised/examples/{i}/{k}")
            if finite(e[k])
            else e[k]
            for k in ("old", "new")
        ]
        rows.append([" / ".join(str(v) for v in e["key"].values()), e["column"] or "", *values])
    return Table("since_revised", "Revised values, the first of them", columns, rows)


def _checks(checks: list[dict[str, Any]]) -> Table:
    columns = [
        Column("check", "Check", "text"),
        Column("before", "Before", "status"),
        Column("now", "Now", "status"),
        Column("because", "Because of", "short"),
    ]
    rows = [
        [c["title"], c["before"] or "not applicable", c["now"] or "not applicable", c["attributed_to"]] for c in checks
    ]
    return Table("since_checks", "Checks that turned", columns, rows)
