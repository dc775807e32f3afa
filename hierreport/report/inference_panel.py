"""Block of the section on effects: fixed or random effects, predictor by predictor."""

from __future__ import annotations

from typing import Any

from ..said import quote
from .context import Context
from .inference import LEVEL, at, found, label, main_rows, number, p_cell, reason
from .names import listing
from .parts import Block, Column, Sentence, Table


def fixed_or_random_block(context: Context) -> Block | None:
    section = found(context).get("fixed_or_random")
    if not section:
        return None
    if not section.get("verdicts"):
        why = reason(section)
        return Block("fixed_or_random", "Fixed or random effects", [Sentence("{text}", text=why)]) if why else None
    tables = [_verdicts(context, section["verdicts"])]
    tests = _tests(context, section)
    if tests:
        tables.append(tests)
    sentences = _verdict_sentences(context, section)
    sentences += [
        Sentence("{text}", text=quote(section, f"notes/{k}", at("fixed_or_random")))
        for k in range(len(section.get("notes") or []))
    ]
    return Block("fixed_or_random", "Fixed or random effects", sentences, tables)


def _verdict_sentences(context: Context, section: dict[str, Any]) -> list[Sentence]:
    """Which estimates can be defended, what the joint test says, and whether Hausman's statistic can be used."""
    verdicts = section["verdicts"]
    kept = main_rows(context, [v["term"] for v in verdicts])
    by_verdict: dict[str, list[str]] = {}
    for i in range(len(verdicts)) if kept is None else kept:
        by_verdict.setdefault(str(verdicts[i]["verdict"]), []).append(context.names.term(verdicts[i]["term"]))
    parts = []
    for verdict, words in (
        ("defended", "can be defended for {terms}"),
        ("not defended", "cannot be defended for {terms}: the effect within groups differs from that between them"),
        ("undecided", "is undecided for {terms}"),
    ):
        if by_verdict.get(verdict):
            parts.append(words.format(terms=listing(by_verdict[verdict])))
    found_sentences = [Sentence("{text}", text=f"The random-effects estimate {'; it '.join(parts)}.")] if parts else []
    joint = section.get("joint") or {}
    if joint.get("p") is not None:
        template = "Taken together, effects within {many} and between them "
        template += "differ" if joint["p"] < LEVEL else "differ by no more than chance would give"
        found_sentences.append(
            Sentence(
                template + " (cluster-robust, {p}).",
                many=context.names.level(section.get("unit") or context.innermost, 2),
                p=context.p_value(joint["p"], at("fixed_or_random", "joint", "p")),
            )
        )
    elif joint:
        found_sentences.append(Sentence("Too few groups inform a joint test of effects within against between."))
    hausman = (section.get("panel") or {}).get("hausman") or {}
    if hausman.get("statistic") is not None and not hausman.get("informative", True):
        found_sentences.append(Sentence("Hausman's own statistic cannot be used here; its note below says why."))
    return found_sentences


def _verdicts(context: Context, verdicts: list[dict[str, Any]]) -> Table:
    columns = [
        Column("term", "Predictor", "name"),
        Column("random", "Random effects", "pair"),
        Column("within", "Within", "pair"),
        Column("between", "Between", "pair"),
        Column("bias_p", "p, no bias"),
        Column("verdict", "Verdict", "short"),
        Column("sentence", "In words", "file"),
    ]
    rows = []
    for i, v in enumerate(verdicts):
        row: list[Any] = [label(context, v["term"])]
        for key in ("random", "within", "between"):
            f, place = v.get(key), ("fixed_or_random", "verdicts", i, key)
            row.append(tuple(number(context, f[k], f["se"], at(*place, k)) for k in ("estimate", "se")) if f else None)
        bias = v.get("bias")
        row.append(p_cell(context, bias["p"], at("fixed_or_random", "verdicts", i, "bias", "p")) if bias else None)
        rows.append([*row, str(v.get("verdict") or ""), quote(v, "sentence", at("fixed_or_random", "verdicts", i))])
    shown = main_rows(context, [v["term"] for v in verdicts])
    caption = "Can the random-effects estimate be defended? Predictor by predictor"
    return Table("fixed_or_random", caption, columns, rows, shown)


TESTS = {
    "f_test": "F test: no differences between groups",
    "breusch_pagan": "Breusch-Pagan: no variance between groups",
    "hausman": "Hausman: random and within estimates agree",
}


def _tests(context: Context, section: dict[str, Any]) -> Table | None:
    columns = [
        Column("test", "Test", "text"),
        Column("statistic", "Statistic"),
        Column("df", "Df"),
        Column("p", "p"),
        Column("note", "Note", "under"),
    ]
    rows: list[list[Any]] = []
    panel = section.get("panel") or {}
    for key, title in TESTS.items():
        t, place = panel.get(key), ("fixed_or_random", "panel", key)
        if t and t.get("statistic") is not None:
            usable = t.get("informative", True)
            rows.append(
                [
                    title,
                    context.fixed_point(t["statistic"], 2, at(*place, "statistic")),
                    context.figure(t.get("df1"), 3, at(*place, "df1")),
                    p_cell(context, t["p"], at(*place, "p")) if usable else None,
                    str(t.get("note") or ""),
                ]
            )
    joint = section.get("joint") or {}
    if joint.get("statistic") is not None:
        at_joint = ("fixed_or_random", "joint")
        rows.append(
            [
                "Mundlak's, cluster-robust: within and between effects agree",
                context.fixed_point(joint["statistic"], 2, at(*at_joint, "statistic")),
                context.figure(joint.get("df1"), 3, at(*at_joint, "df1")),
                p_cell(context, joint["p"], at(*at_joint, "p")),
                str(joint.get("method") or ""),
            ]
        )
    return Table("panel_tests", "Tests of the panel estimators", columns, rows, folded=True) if rows else None
