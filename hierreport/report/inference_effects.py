"""Blocks of the section on effects: first differences, cluster-robust errors."""

from __future__ import annotations

from typing import Any

from ..said import quote
from . import effects
from .context import Context, rung_pointer
from .inference import LEVEL, at, found, label, main_rows, number, p_cell, reason
from .inference_beside import beside, moved
from .names import listing
from .parts import Block, Column, Sentence, Table

NOTABLE = 1.25  # a robust standard error this many times the model's is worth a word


def differences(context: Context) -> dict[str, Any] | None:
    """The section on first differences where it was computed."""
    section = found(context).get("first_differences") or {}
    return section if section.get("status") == "done" and section.get("fixed") else None


def differences_sentence(context: Context) -> Sentence | None:
    """What becomes of the effects in first differences; None where that model was not called for."""
    if differences(context) is None:
        return None
    aside = " whatever groups differ by for good,"
    return moved(context, "first_differences", "In first differences", aside, "how the errors are modelled")


def differences_block(context: Context) -> Block | None:
    section = found(context).get("first_differences")
    if not section:
        return None
    sentences = []
    if section.get("rho") is not None:
        sentences.append(
            Sentence(
                "With a correlation of {rho} from one {period} to the next the errors are nearly a random walk, which "
                "differencing takes out: each {period}'s change of the outcome is regressed on the changes of the "
                "predictors.",
                rho=context.fixed_point(section["rho"], 3, at("first_differences", "rho")),
                period=context.period,
            )
        )
    own = differences_sentence(context)
    if own is None:
        why = reason(section)
        return Block("first_differences", "First differences", [Sentence("{text}", text=why)]) if why else None
    note = "Standard errors of the differences are clustered"
    clusters = section.get("clusters") or {}
    note += f" by {' and '.join(context.names.level(c) for c in clusters)}." if clusters else "."
    if section.get("dropped"):
        note += f" Constant in differences and left out: {', '.join(section['dropped'])}."
    other = Column("differences", "First differences: estimate")
    caption = "The effects in levels and in first differences"
    table = beside(context, "first_differences", other, caption, note, "drift per step")
    return Block("first_differences", "First differences", [*sentences, own], [table])


def robust_block(context: Context) -> Block | None:
    entries = list(enumerate(found(context).get("robust") or []))
    tables: list[Table] = []
    notes: list[str] = []
    for rung in dict.fromkeys([context.chosen, *(e["rung"] for _, e in entries)]):
        mine = [(i, e) for i, e in entries if e["rung"] == rung and e.get("fixed")]
        refused = [f"{e['kind']}: {reason(e)}" for _, e in entries if e["rung"] == rung and reason(e)]
        if rung not in context.data.rungs or not mine:
            notes += refused
            continue
        tables.append(_robust_table(context, rung, mine))
        found_notes = {
            n: quote(e, f"notes/{k}", at("robust", i)) for i, e in mine for k, n in enumerate(e.get("notes") or [])
        }
        tables[-1].note = " ".join([*found_notes.values(), *refused])
        tables[-1].folded = rung != context.chosen
    if not tables:
        why = notes[0] if notes else ""
        return Block("robust", "Cluster-robust standard errors", [Sentence("{text}", text=why)]) if why else None
    sentence = _robust_sentence(context, entries)
    return Block("robust", "Cluster-robust standard errors", [sentence] if sentence else [], tables)


def _robust_table(context: Context, rung: str, entries: list[tuple[int, dict[str, Any]]]) -> Table:
    columns = [Column("term", "Term", "name"), Column("model_se", "Model's std. error"), Column("model_p", "p")]
    for _, e in entries:
        columns += [Column(f"{e['kind']}_se", f"{e['kind']}: std. error")]
        if e["kind"] == "CR2":
            columns.append(Column("CR2_df", "df"))
        columns.append(Column(f"{e['kind']}_p", "p"))
    rows = []
    for j, f in enumerate(context.data.rungs[rung]["reml"]["fixed"]):
        row: list[Any] = [label(context, f["term"])]
        row.append(number(context, f["se"], f["se"], rung_pointer(rung, "reml", "fixed", j, "se")))
        row.append(p_cell(context, f["p"], rung_pointer(rung, "reml", "fixed", j, "p")))
        for i, e in entries:
            k = next((k for k, g in enumerate(e["fixed"]) if g["term"] == f["term"]), None)
            if k is None:
                row += [None] * (3 if e["kind"] == "CR2" else 2)
                continue
            g, place = e["fixed"][k], ("robust", i, "fixed", k)
            row.append(number(context, g["se"], g["se"], at(*place, "se")))
            if e["kind"] == "CR2":
                row.append(context.fixed_point(g["df"], 1, at(*place, "df")))
            row.append(p_cell(context, g["p"], at(*place, "p")))
        rows.append(row)
    clusters = entries[0][1].get("clusters") or {}
    first = entries[0][0]
    by = " and ".join(
        f"{context.told.count(n, source=at('robust', first, 'clusters', c))} {context.names.level(c, n)}"
        for c, n in clusters.items()
    )
    name = "robust" if rung == context.chosen else "robust_pooled"
    caption = f"Standard errors of {rung}, clustered by {by}" if by else f"Robust errors of {rung}"
    shown = main_rows(context, [f["term"] for f in context.data.rungs[rung]["reml"]["fixed"]])
    return Table(name, caption, columns, rows, shown)


def robust_limit(context: Context) -> Sentence | None:
    """What clustering does to the effects, where one of them gains or loses significance at 5 %."""
    sentence = _robust_sentence(context, list(enumerate(found(context).get("robust") or [])))
    return sentence if sentence and "changed" in sentence.values else None


def _robust_sentence(context: Context, entries: list[tuple[int, dict[str, Any]]]) -> Sentence | None:
    """CR2 against the model's own standard errors for the effects that the page reads out."""
    own = next(
        ((i, e) for i, e in entries if e["rung"] == context.chosen and e["kind"] == "CR2" and e.get("fixed")), None
    )
    if own is None:
        return None
    _, entry = own
    chosen, main = context.fixed(), effects.main_terms(context)
    robust = {g["term"]: g for g in entry["fixed"]}
    ratios = [(robust[t]["se"] / chosen[t]["se"], t) for t in main if t in robust and chosen[t]["se"]]
    if not ratios:
        return None
    changed = [t for _, t in ratios if (robust[t]["p"] < LEVEL) != (chosen[t]["p"] < LEVEL)]
    clusters = entry.get("clusters") or {}
    level, count = next(iter(clusters.items()), (context.levels[0], None))
    ratio, term = max(ratios)
    values: dict[str, Any] = {
        "level": context.names.level(level),
        "ratio": context.figure(ratio, 2),
        "term": context.names.term(term),
    }
    template = "Standard errors that allow any dependence within a {level}"
    if count is not None:
        i = own[0]
        values["count"] = context.whole(count, at("robust", i, "clusters", level))
        values["many"] = context.names.level(level, int(count))
        template += " ({count} {many})"
    if ratio >= NOTABLE:
        template += " are up to {ratio} times the model's ({term})"
    elif ratio < 1:
        template += " are no larger than the model's (at most {ratio} times, {term})"
    else:
        template += " hardly differ from the model's (at most {ratio} times, {term})"
    if changed:
        lost = [t for t in changed if chosen[t]["p"] < LEVEL]
        won = [t for t in changed if t not in lost]
        values["changed"] = listing([context.names.term(t) for t in lost or won])
        template += "; with them {changed} {are} " + ("no longer" if lost else "now") + " significant at 5\u202f%"
        values["are"] = "is" if len(lost or won) == 1 else "are"
        if lost and won:
            values |= {"won": listing([context.names.term(t) for t in won]), "be": "is" if len(won) == 1 else "are"}
            template += ", and {won} {be}"
    return Sentence(template + ".", **values)
