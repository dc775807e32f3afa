"""Estimates of another method beside the chosen rung's: a sentence on what moves, a table, absorbed effects."""

from __future__ import annotations

from typing import Any

from ..said import quote
from .context import Context, rung_pointer
from .inference import LEVEL, at, found, label, main_rows, number, p_cell, reason
from .names import INTERCEPT, listing
from .parts import Block, Column, Sentence, Table


def outside(context: Context, section: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(place, effect of the other method) whose interval does not hold the chosen rung's estimate."""
    chosen = context.fixed()
    return [
        (i, f)
        for i, f in enumerate(section["fixed"])
        if f["term"] in chosen
        and f["term"] != INTERCEPT
        and not f["ci_low"] <= chosen[f["term"]]["estimate"] <= f["ci_high"]
    ]


def moved(context: Context, key: str, lead: str, aside: str, depends: str, **values: Any) -> Sentence:
    """What becomes of the effects by the other method.

    Args:
        key: the section of inference.json, with ``fixed``.
        lead: how the sentence begins: "In first differences".
        aside: what follows where nothing moves.
        depends: on what it depends whether an effect matters that loses significance.
        values: fill the lead.
    """
    section = found(context)[key]
    apart = outside(context, section)
    if not apart:
        return Sentence(f"{lead},{aside} every effect stays within its 95\u202f% interval.", **values)
    parts = []
    terms = [f["term"] for f in context.estimate["fixed"]]
    for k, (i, f) in enumerate(apart[:3]):
        mine, place = context.fixed()[f["term"]], (key, "fixed", i)
        values |= {
            f"term_{k}": context.names.term(f["term"]),
            f"new_{k}": number(context, f["estimate"], f["se"], at(*place, "estimate")),
            f"low_{k}": number(context, f["ci_low"], f["se"], at(*place, "ci_low")),
            f"high_{k}": number(context, f["ci_high"], f["se"], at(*place, "ci_high")),
            f"old_{k}": number(
                context,
                mine["estimate"],
                f["se"],
                rung_pointer(context.chosen, "reml", "fixed", terms.index(f["term"]), "estimate"),
            ),
        }
        parts.append(
            f"of {{term_{k}}} is {{new_{k}}} (95\u202f% interval {{low_{k}}} to {{high_{k}}}), not {{old_{k}}}"
        )
    more = len(apart) - len(parts)
    tail = f", and {more} more" if more > 0 else ""
    zero = [f for _, f in apart if f["ci_low"] <= 0 <= f["ci_high"] and context.fixed()[f["term"]]["p"] < LEVEL]
    template = f"{lead} the coefficient " + "; that ".join(parts) + tail + "."
    if zero:
        values["lost"] = listing([context.names.term(f["term"]) for f in zero])
        template += f" Whether {{lost}} {{verb}} at all therefore depends on {depends}."
        values["verb"] = "matters" if len(zero) == 1 else "matter"
    return Sentence(template, **values)


def beside(context: Context, key: str, other: Column, caption: str, note: str, constant: str = "") -> Table:
    """The chosen rung's effects and the other method's, row by row.

    Args:
        key: the section of inference.json, and the table's name.
        other: the column of the other method's estimates.
        caption, note: of the table.
        constant: what the other method's intercept is called.
    """
    section = found(context)[key]
    columns = [
        Column("term", "Term", "name"),
        Column("levels", f"{context.chosen}: estimate"),
        Column("levels_low", "95 % from", "file"),
        Column("levels_high", "to", "file"),
        other,
        Column("se", "Std. error"),
        Column("low", "95 % from"),
        Column("high", "to"),
        Column("p", "p"),
        Column("inside", "Estimate inside", "short"),
    ]
    chosen = {f["term"]: (i, f) for i, f in enumerate(context.estimate["fixed"])}
    apart = {f["term"] for _, f in outside(context, section)}
    rows: list[list[Any]] = []
    for i, f in enumerate(section["fixed"]):
        row: list[Any] = [label(context, f["term"]) if f["term"] != INTERCEPT else constant]
        if f["term"] in chosen and f["term"] != INTERCEPT:
            j, mine = chosen[f["term"]]
            for part in ("estimate", "ci_low", "ci_high"):
                pointer = rung_pointer(context.chosen, "reml", "fixed", j, part)
                row.append(number(context, mine[part], mine["se"], pointer))
        else:
            row += [None, None, None]
        for part in ("estimate", "se", "ci_low", "ci_high"):
            row.append(number(context, f[part], f["se"], at(key, "fixed", i, part)))
        row.append(p_cell(context, f["p"], at(key, "fixed", i, "p")))
        row.append("" if row[1] is None else "no" if f["term"] in apart else "yes")
        rows.append(row)
    shown = main_rows(context, [f["term"] for f in section["fixed"]])
    return Table(key, caption, columns, rows, shown, note=note)


def absorbed_block(context: Context) -> Block | None:
    """Least squares with the fixed effects that the configuration asks for; None where it asks for none."""
    section, title = found(context).get("absorbed"), "Absorbed fixed effects"
    if not section:
        return None
    if why := reason(section):
        return Block("absorbed", title, [Sentence("{text}", text=why)])
    which = listing([context.names.level(name) for name in section["absorbed"]])
    ((level, count),) = section["clusters"].items()
    sentence = moved(
        context, "absorbed", "With a fixed effect for every {which}", "", "which effects are fixed", which=which
    )
    size = context.told.count(count, source=at("absorbed", "clusters", level))
    note = f"Least squares; standard errors are clustered by {size} {context.names.level(level, count)} (CR1)."
    own = {context.names.variable(name) for name in section["absorbed"]}  # their dummies go without saying
    if left := [t for t in section["dropped"] if context.names.variable(context.names.parse(t).column) not in own]:
        note += f" Explained by the fixed effects and left out: {', '.join(left)}."
    said = [str(quote(section, f"notes/{k}", at("absorbed"))) for k in range(len(section.get("notes") or []))]
    caption = f"The effects of {context.chosen} and those beside a fixed effect for every {which}"
    other = Column("absorbed", "Fixed effects: estimate")
    return Block("absorbed", title, [sentence], [beside(context, "absorbed", other, caption, " ".join([note, *said]))])
