"""Assumptions: the checks, and the residuals and random effects they look at."""

from __future__ import annotations

from typing import Any

from ...figures import pictures
from ...figures.influence import influential, moved
from ...said import quote
from ..context import Context
from ..limits import serial
from ..names import listing
from ..numbers import Num, finite
from ..parts import Column, Content, Sentence, Table, data_element, words

TITLE = "Assumptions"
ORDER = ("problem", "look", "ok", "not applicable")


def build(context: Context) -> Content | None:
    drawn = [
        p
        for n in (
            "residual_fitted",
            "predictor_residuals",
            "residual_qq",
            "residual_time",
            "random_qq",
            "residual_groups",
            "influence",
        )
        for p in pictures(n, context)
    ]
    checks = status(context)
    sentence = serial(context)
    if not drawn and not checks and sentence is None:
        return None
    content = Content(pictures=drawn)
    if checks:
        content.findings.append(summary(context))
        content.extra["checks"] = _listed(context)
        content.tables += [t for t in (_table(context), _outliers(context), _influence(context)) if t]
    if sentence:
        content.findings.append(sentence)
    return content


def status(context: Context) -> dict[str, list[str]]:
    """Titles of the checks by status, most serious first."""
    checks = (context.data.checks or {}).get("checks") or []
    found = {s: [str(c.get("title") or c.get("name")) for c in checks if c.get("status") == s] for s in ORDER}
    return {s: titles for s, titles in found.items() if titles}


def summary(context: Context) -> Sentence:
    """How many checks ended how."""
    found = status(context)
    ran = sum(len(v) for s, v in found.items() if s != "not applicable")
    values = {"ran": context.whole(ran), "noun": "checks" if ran != 1 else "check"}
    parts = []
    for state, verdict in (("problem", "found a problem"), ("look", "worth a look"), ("ok", "in order")):
        if state in found:
            count = len(found[state])
            values[state] = context.whole(count)
            verb = "" if state == "problem" else "is " if count == 1 else "are "
            parts.append(f"{{{state}}} {verb}{verdict}")
    if list(found) in (["ok"], ["ok", "not applicable"]):
        return Sentence("All {ran} {noun} are in order." if ran > 1 else "The one check is in order.", **values)
    return Sentence("Of {ran} {noun}, " + listing(parts) + ".", **values)


NOTHING = "Nothing to do."


def _ordered(context: Context) -> list[tuple[int, dict[str, Any]]]:
    """(place in checks.json, check), most serious first."""
    checks = list(enumerate((context.data.checks or {}).get("checks") or []))
    return sorted(checks, key=lambda ic: ORDER.index(ic[1]["status"]) if ic[1].get("status") in ORDER else len(ORDER))


def _statistic(context: Context, i: int, check: dict[str, Any]) -> Num | str | None:
    value = check.get("statistic")
    if finite(value):
        return Num(value, context.num.significant(value, 3), f"checks.json#/checks/{i}/statistic")
    return str(value) if isinstance(value, str) else None


def _consequences(i: int, check: dict[str, Any]) -> str:
    """How far the conclusions move when a check's advice is taken."""
    found = enumerate(check.get("consequences") or [])
    return " ".join(quote(c, "text", f"checks.json#/checks/{i}/consequences/{k}") for k, c in found)


def _listed(context: Context) -> list[dict[str, Any]]:
    """The checks as the page lists them."""
    found = []
    for i, check in _ordered(context):
        text: dict[str, Any] = {k: str(check.get(k) or "") for k in ("status", "rule", "source")}
        for k in ("meaning", "action", "reference"):
            text[k] = words(_quoted(i, check, k), "")
        text["action"] = "" if text["action"] == NOTHING else text["action"]
        statistic = _statistic(context, i, check)
        value = data_element(statistic) if isinstance(statistic, Num) else statistic or ""
        title = str(check.get("title") or check.get("name"))
        text["then"] = words(_consequences(i, check), "")
        found.append(
            {
                **text,
                "key": str(check.get("name")),
                "title": title,
                "statistic": value,
                "name": str(check.get("statistic_name") or "statistic"),
            }
        )
    return found


def _quoted(i: int, check: dict[str, Any], key: str) -> str:
    """A sentence of a check, its numbers marked with their places in checks.json."""
    return quote(check, key, f"checks.json#/checks/{i}")


def _table(context: Context) -> Table:
    keys = ("statistic_name", "reference", "rule", "meaning", "action", "consequences", "source")
    columns = [Column("status", "Status", "status"), Column("check", "Check", "text"), Column("statistic", "Statistic")]
    columns += [Column(k, k, "text") for k in keys]
    rows = [
        [str(c.get("status")), str(c.get("title") or c.get("name")), _statistic(context, i, c)]
        + [_consequences(i, c) if k == "consequences" else _quoted(i, c, k) for k in keys]
        for i, c in _ordered(context)
    ]
    return Table("checks", "The checks", columns, rows, listed=True)


def _outliers(context: Context) -> Table | None:
    """The rows that the model cannot explain."""
    checks = (context.data.checks or {}).get("checks") or []
    at = next((i for i, c in enumerate(checks) if c.get("name") == "outlying_rows"), None)
    found = [] if at is None else (checks[at].get("details") or {}).get("rows") or []
    if at is None or not found or checks[at].get("status") in ("ok", "not applicable"):
        return None
    outcome = context.names.term(context.outcome)
    columns = [
        Column("row", "Row"),
        Column("group", context.names.level(context.innermost).capitalize(), "name"),
        Column("time", context.period.capitalize(), "short"),
        Column("fitted", f"Fitted {outcome}"),
        Column("residual", "Residual"),
        Column("scaled", "In standard deviations"),
        Column("p", "p, of all rows"),
    ]
    rows = []
    for k, row in enumerate(found):
        source = f"checks.json#/checks/{at}/details/rows/{k}"
        cells: list[Any] = [context.whole(row.get("row"), f"{source}/row"), str(row.get("group") or "")]
        time = row.get("time")
        cells.append(str(int(time)) if finite(time) and float(time).is_integer() else "" if time is None else str(time))
        for key, decimals in (("fitted", 2), ("residual", 2), ("scaled", 1)):
            cells.append(context.fixed_point(row.get(key), decimals, f"{source}/{key}"))
        cells.append(Num(row.get("p"), context.num.p(row.get("p")), f"{source}/p"))
        rows.append(cells)
    return Table("outlying_rows", "The rows furthest from what the model expects", columns, rows)


def _influence(context: Context) -> Table | None:
    """What leaving out each of the most influential groups would change."""
    levels = influential(context)
    if not levels:
        return None
    checks = (context.data.checks or {}).get("checks") or []
    at = next(i for i, c in enumerate(checks) if c.get("name") == "influence")
    columns = [
        Column("group", "Group left out", "name"),
        Column("rows", "Rows"),
        Column("term", "Coefficient moved most", "name"),
        Column("with", "With the group"),
        Column("without", "Without it"),
        Column("shift", "Change in standard errors"),
        Column("cook", "Cook's distance"),
        Column("sd_of", "Standard deviation changed most", "name"),
        Column("sd_change", "By"),
        Column("choice", "Choice", "short", "the rung that the ladder would choose without the group"),
    ]
    rows: list[list[Any]] = []
    for k, level in enumerate((checks[at].get("details") or {})["levels"]):
        for g, group in enumerate(level.get("groups") or []):
            source = f"checks.json#/checks/{at}/details/levels/{k}/groups/{g}"
            se = abs(group["with"] - group["without"]) / abs(group["shift"]) if group["shift"] else None
            rows.append(
                [
                    str(group["label"]),
                    context.whole(group["n"], f"{source}/n"),
                    context.names.term(group["term"]),
                    Num(group["with"], context.num.estimate(group["with"], se), f"{source}/with"),
                    Num(group["without"], context.num.estimate(group["without"], se), f"{source}/without"),
                    context.fixed_point(moved(group), 2, ""),  # derived: the artifact's with its sign changed
                    context.figure(group.get("cook"), 2, f"{source}/cook"),
                    str(group.get("sd_of") or "–"),
                    context.share(group.get("sd_change"), f"{source}/sd_change") if group.get("sd_of") else None,
                    str(group.get("choice") or "–"),
                ]
            )
    return Table("influence", "The groups whose leaving out changes most", columns, rows)
