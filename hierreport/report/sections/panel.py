"""The panel: its structure, coverage, and what was left out."""

from __future__ import annotations

from typing import Any

from ...figures import pictures
from ..context import Context
from ..names import listing
from ..numbers import Num
from ..parts import Column, Content, Sentence, Table

TITLE = "The panel"
MOST = 20  # groups listed of those that lost rows


def build(context: Context) -> Content:
    panel = context.panel
    content = Content(findings=[_size(context), *_lost(context)])
    content.pictures = pictures("nesting", context) + pictures("coverage", context)
    content.tables = [t for t in (_structure(context), _variables(context), _missing(context), _losers(context)) if t]
    content.extra["warnings"] = [
        str(w.get("message", w)) if isinstance(w, dict) else str(w) for w in panel.get("warnings") or []
    ]
    content.extra["notes"] = [
        str(n.get("message", n)) if isinstance(n, dict) else str(n) for n in panel.get("notes") or []
    ]
    for aliased in panel.get("aliased") or []:
        by = aliased.get("explained_by") or []
        why = f" (explained by {listing([str(b) for b in by])})" if by else ""
        content.extra["warnings"].append(
            f"{aliased['term']} was left out of the model: it is collinear with other terms{why}."
        )
    for name in panel.get("constant") or []:
        content.extra["warnings"].append(f"{name} was left out of the model: it is the same in every row.")
    return content


def _size(context: Context) -> Sentence:
    panel, names = context.panel, context.names
    inner = panel["structure"][context.innermost]
    rows = inner["rows_per_group"]
    values: dict[str, Any] = {"n": context.whole(panel["n_obs"], "panel.json#/n_obs")}
    template, parts = "{n} rows of ", []
    for i, level in enumerate(reversed(context.levels)):
        count = panel["structure"][level]["groups"]
        values[f"groups_{i}"] = context.whole(count, f"panel.json#/structure/{level.replace('/', '~1')}/groups")
        values[f"noun_{i}"] = names.level(level, count)
        parts.append(f"{{groups_{i}}} {{noun_{i}}}")
    template += " within ".join(parts)
    periods = panel.get("periods")
    if periods:
        values |= {
            "first": _period(periods["first"]),
            "last": _period(periods["last"]),
            "count": context.whole(periods["count"], "panel.json#/periods/count"),
        }
        template += ", {first} to {last} ({count} periods)"
    values["one"] = names.level(context.innermost)
    pointer = f"panel.json#/structure/{context.innermost.replace('/', '~1')}/rows_per_group"
    values["low"] = context.whole(rows["min"], f"{pointer}/min")
    if inner.get("balanced"):
        template += "; balanced, {low} rows per {one}."
    else:
        values["high"] = context.whole(rows["max"], f"{pointer}/max")
        values["median"] = context.figure(rows["median"], 3, f"{pointer}/median")
        template += "; unbalanced, {low} to {high} rows per {one} (median {median})."
    return Sentence(template, **values)


def _period(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _lost(context: Context) -> list[Sentence]:
    panel, found = context.panel, []
    dropped, read = panel.get("rows_dropped") or 0, panel.get("rows_read") or 0
    if dropped:
        missing = {k: v for k, v in (panel.get("missing") or {}).items() if v}
        listed = listing(
            [f"{k} in {context.num.count(v)}" for k, v in sorted(missing.items(), key=lambda kv: -kv[1])[:4]]
        )
        values: dict[str, Any] = {
            "dropped": context.whole(dropped, "panel.json#/rows_dropped"),
            "read": context.whole(read, "panel.json#/rows_read"),
            "share": context.share(dropped / read if read else None),
            "listed": listed,
        }
        template = "{dropped} of {read} rows ({share}) were left out because a value is missing"
        found.append(Sentence(template + (": {listed}." if listed else "."), **values))
    lost = panel.get("groups_lost") or []
    if lost:
        many = context.names.level(context.innermost, len(lost))
        found.append(
            Sentence("{lost} {many} lost every row and are not in the model.", lost=context.whole(len(lost)), many=many)
        )
    periods = panel.get("periods")
    gaps = (periods or {}).get("gaps") or {}
    if gaps.get("groups_with_gaps"):
        values = {
            "groups": context.whole(gaps["groups_with_gaps"], "panel.json#/periods/gaps/groups_with_gaps"),
            "many": context.names.level(context.innermost, gaps["groups_with_gaps"]),
            "verb": "has" if gaps["groups_with_gaps"] == 1 else "have",
        }
        template = "{groups} {many} {verb} gaps in time"
        if gaps.get("missing_periods"):
            values["periods"] = context.whole(gaps["missing_periods"], "panel.json#/periods/gaps/missing_periods")
            template += " ({periods} missing periods in all)"
        found.append(Sentence(template + ".", **values))
    duplicates = (panel.get("duplicates") or {}).get("count") or 0
    if duplicates:
        found.append(
            Sentence(
                "{count} rows share their group and period with another.",
                count=context.whole(duplicates, "panel.json#/duplicates/count"),
            )
        )
    return found


def _structure(context: Context) -> Table:
    columns = [
        Column("level", "Level", "name"),
        Column("groups", "Groups"),
        Column("rows_min", "Fewest rows"),
        Column("rows_median", "Median"),
        Column("rows_mean", "Mean"),
        Column("rows_max", "Most rows"),
        Column("singletons", "Groups of one row"),
        Column("balanced", "Balanced", "short"),
    ]
    rows = []
    for level in context.levels:
        s = context.panel["structure"][level]
        at = f"panel.json#/structure/{level.replace('/', '~1')}"
        r = s["rows_per_group"]
        rows.append(
            [
                context.names.level(level, 2),
                context.whole(s["groups"], f"{at}/groups"),
                context.whole(r["min"], f"{at}/rows_per_group/min"),
                context.figure(r["median"], 4, f"{at}/rows_per_group/median"),
                context.figure(r["mean"], 4, f"{at}/rows_per_group/mean"),
                context.whole(r["max"], f"{at}/rows_per_group/max"),
                context.whole(s.get("singletons"), f"{at}/singletons"),
                "yes" if s.get("balanced") else "no",
            ]
        )
    return Table("panel_structure", "Rows per group at each level", columns, rows)


def _variables(context: Context) -> Table | None:
    variables = context.panel.get("variables") or []
    dummies = set(context.names.columns)
    kept = [(i, v) for i, v in enumerate(variables) if v["name"] not in dummies]
    if not kept:
        return None
    levels = [lv for lv in context.levels if any(lv in (v.get("share_between") or {}) for _, v in kept)]
    within = any(v.get("share_within") is not None for _, v in kept)
    columns = [
        Column("variable", "Variable", "name"),
        Column("mean", "Mean"),
        Column("sd", "Std. deviation"),
        Column("min", "Smallest"),
        Column("max", "Largest"),
    ]
    columns += [Column(f"between_{lv}", f"Between {context.names.level(lv, 2)}") for lv in levels]
    if within:
        columns.append(
            Column("within", f"Within {context.names.level(context.innermost, 2)}", note="share of the variance")
        )
    rows = []
    for i, v in kept:
        at = f"panel.json#/variables/{i}"
        sd = v.get("sd")
        row: list[Any] = [context.names.term(v["name"])]
        row += [Num(v.get(k), context.num.estimate(v.get(k), sd, 3), f"{at}/{k}") for k in ("mean", "sd", "min", "max")]
        between = v.get("share_between") or {}
        row += [context.share(between.get(lv), f"{at}/share_between/{lv.replace('/', '~1')}", 1) for lv in levels]
        if within:
            row.append(context.share(v.get("share_within"), f"{at}/share_within", 1))
        rows.append(row)
    return Table("panel_variables", "The variables, and where their variance lies", columns, rows)


def _missing(context: Context) -> Table | None:
    missing = context.panel.get("missing") or {}
    if not any(missing.values()):
        return None
    columns = [Column("variable", "Variable", "name"), Column("missing", "Rows with a missing value")]
    rows = [[k, context.whole(v, f"panel.json#/missing/{k.replace('/', '~1')}")] for k, v in missing.items() if v]
    return Table("panel_missing", "Missing values", columns, rows)


def _losers(context: Context) -> Table | None:
    lost = context.panel.get("dropped_by_group") or []
    lost = lost.get("groups", []) if isinstance(lost, dict) else lost
    if not lost:
        return None
    columns = [
        Column("group", context.names.level(context.innermost).capitalize(), "name"),
        Column("rows", "Rows left out"),
    ]
    rows = [[str(g.get("group")), context.whole(g.get("rows"))] for g in lost]
    shown = list(range(MOST)) if len(rows) > MOST else None
    return Table("panel_dropped", "Where rows were left out", columns, rows, shown)
