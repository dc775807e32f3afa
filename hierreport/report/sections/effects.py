"""The effects: in units that a person uses, across rungs, and in full."""

from __future__ import annotations

from typing import Any

from ...figures import pictures
from .. import effects, inference, verdict
from ..context import Context, rung_pointer
from ..names import INTERCEPT
from ..numbers import Num, decimals_for
from ..parts import Column, Content, Sentence, Table

TITLE = "The effects"


def build(context: Context) -> Content:
    findings = verdict.effect_sentences(context) + _moves(context) + verdict.slopes(context) + _alone(context)
    if not findings:
        findings = [Sentence("The model has no predictors besides its baseline.")]
    content = Content(findings, pictures("forest", context) + pictures("profile", context))
    content.tables = [_chosen(context)]
    if len(context.compared) > 1:
        content.tables.append(_across(context))
    found = [effects.effect_of(context, t) for t in effects.main_terms(context)]
    content.blocks = inference.effect_blocks(context)
    content.numbers["in_units"] = [e.to_dict() for e in found if e]
    return content


def _moves(context: Context) -> list[Sentence]:
    """The main effect whose estimate moves most between rungs, in its own standard errors."""
    most: tuple[float, str, str] | None = None
    chosen = context.fixed()
    for term in effects.main_terms(context):
        mine = chosen[term]
        for rung in context.shown:
            other = context.fixed(rung).get(term)
            if rung == context.chosen or not other or not mine["se"]:
                continue
            move = abs(other["estimate"] - mine["estimate"]) / mine["se"]
            if most is None or move > most[0]:
                most = (move, term, rung)
    if most is None or most[0] < 2:
        return []
    move, term, rung = most
    at = [f["term"] for f in context.estimate["fixed"]].index(term)
    place = [f["term"] for f in context.data.rungs[rung]["reml"]["fixed"]].index(term)
    se = chosen[term]["se"]
    digits = min(9, decimals_for(se))
    return [
        Sentence(
            "The choice of rung matters most for {term}: its coefficient is {theirs} under {rung} and {mine} here, "
            "{move} standard errors apart.",
            term=context.names.term(term),
            rung=rung,
            move=context.figure(move, 2),
            theirs=context.fixed_point(
                context.fixed(rung)[term]["estimate"], digits, rung_pointer(rung, "reml", "fixed", place, "estimate")
            ),
            mine=context.fixed_point(
                chosen[term]["estimate"], digits, rung_pointer(context.chosen, "reml", "fixed", at, "estimate")
            ),
        )
    ]


def _alone(context: Context) -> list[Sentence]:
    from ..names import listing

    blocked = sorted(effects.involved(context))
    if not blocked:
        return []
    return [
        Sentence(
            "The effects of {terms} cannot be read alone: the model has interactions or powers of them.",
            terms=listing([context.names.term(t) for t in blocked]),
        )
    ]


def _chosen(context: Context) -> Table:
    blocked = effects.involved(context)
    columns = [
        Column("term", "Term", "name"),
        Column("estimate", "Estimate"),
        Column("se", "Std. error"),
        Column("df", "Df"),
        Column("statistic", "t"),
        Column("p", "p"),
        Column("ci_low", "95 % from"),
        Column("ci_high", "to"),
        Column("change", "For", "under"),
        Column("in_units", _outcome_title(context)),
    ]
    rows = []
    for i, f in enumerate(context.estimate["fixed"]):
        at = ("reml", "fixed", i)

        def cell(key: str, text: str, at: tuple = at, f: dict[str, Any] = f) -> Num:
            return Num(f.get(key), text, rung_pointer(context.chosen, *at, key))

        effect = None if f["term"] in blocked else effects.effect_of(context, f["term"], f)
        se, num = f["se"], context.num
        rows.append(
            [
                "(Intercept)" if f["term"] == INTERCEPT else context.names.labels.get(f["term"], f["term"]),
                cell("estimate", num.estimate(f["estimate"], se)),
                cell("se", num.estimate(se, se)),
                cell("df", num.fixed(f.get("df"), 1) if f.get("df") is not None else "∞"),
                cell("statistic", num.fixed(f["statistic"], 2)),
                cell("p", num.p(f["p"])),
                cell("ci_low", num.estimate(f["ci_low"], se)),
                cell("ci_high", num.estimate(f["ci_high"], se)),
                _change(context, effect) if effect else "",
                effects.amount(context, effect) if effect else None,
            ]
        )
    method = (context.estimate["fixed"] or [{}])[0].get("df_method") or ""
    note = {
        "satterthwaite": "Degrees of freedom by Satterthwaite's method.",
        "kenward-roger": "Degrees of freedom and standard errors by Kenward and Roger's method.",
        "normal": "Normal intervals: degrees of freedom taken as infinite.",
    }.get(method, "")
    return Table("effects", f"Fixed effects of {context.chosen} (REML)", columns, rows, note=note)


def _change(context: Context, effect: effects.Effect) -> str:
    """What the change is; for a level of a factor only what it is compared with."""
    parsed = context.names.parse(effect.term)
    if parsed.kind != "factor":
        return effect.change
    reference = context.reference_level(parsed.column)
    return f"against {reference}" if reference else ""


def _outcome_title(context: Context) -> str:
    parsed = context.names.parse(context.outcome)
    if parsed.kind == "log":
        return f"{context.names.variable(parsed.column)} changes by (%)"
    unit = context.names.unit(parsed.column) if parsed.kind == "linear" else ""
    return f"{context.names.term(context.outcome)} changes by" + (f" ({unit})" if unit else "")


def _across(context: Context) -> Table:
    terms: dict[str, None] = {}
    for rung in context.compared:
        terms.update(dict.fromkeys(context.fixed(rung)))
    columns = [Column("term", "Term", "name")]
    for rung in context.compared:
        columns.append(Column(rung, rung, "pair"))
    rows = []
    for term in terms:
        row: list[Any] = ["(Intercept)" if term == INTERCEPT else context.names.labels.get(term, term)]
        for rung in context.compared:
            listed = context.data.rungs[rung]["reml"]["fixed"]
            at = next((i for i, f in enumerate(listed) if f["term"] == term), None)
            if at is None:
                row.append(None)
                continue
            f = listed[at]
            row.append(
                tuple(
                    Num(f[key], context.num.estimate(f[key], f["se"]), rung_pointer(rung, "reml", "fixed", at, key))
                    for key in ("estimate", "se")
                )
            )
        rows.append(row)
    return Table("effects_by_rung", "Fixed effects across rungs, standard errors in brackets (REML)", columns, rows)
