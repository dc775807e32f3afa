"""Blocks of the ladder and of variance: simulated tests, criteria, missed slopes, intervals of variances."""

from __future__ import annotations

from typing import Any

from ..said import quote
from .context import Context
from .inference import LEVEL, at, found, interval_table, label, number, p_cell, reason
from .names import listing
from .numbers import Num, finite
from .parts import Block, Column, Sentence, Table

VARIANCE = ("sd", "correlation", "sigma", "rho", "icc", "r2")


def ladder_blocks(context: Context) -> list[Block]:
    """The blocks of the ladder; none where inference.json is not there."""
    if not found(context):
        return []
    made = (_tests_block(context), _criteria_block(context), _missed_block(context))
    return [b for b in made if b]


def variance_blocks(context: Context) -> list[Block]:
    """Intervals of variance components, shares and R²."""
    if not found(context):
        return []
    tables = []
    for rung in found(context).get("intervals") or {}:
        mine = rung == context.chosen
        if rung not in context.data.rungs:
            continue
        table = interval_table(
            context,
            rung,
            VARIANCE,
            "variance_intervals" if mine else "variance_intervals_iid",
            ("profile_reml", "bootstrap"),
            f"Variances, shares and R² of {rung} with 95 % intervals",
        )
        if table:
            table.folded = not mine
            tables.append(table)
    sentence = _shares_sentence(context)
    if not tables:
        return []
    return [Block("variance_intervals", "How well the variances are known", [sentence] if sentence else [], tables)]


def _shares_sentence(context: Context) -> Sentence | None:
    source = found(context)["intervals"].get(context.chosen) or {}
    values: dict[str, Any] = {}
    parts: list[str] = []
    for i, q in enumerate(source.get("quantities") or []):
        if q["kind"] != "icc" or q["level"] == "residual":
            continue
        method = next((m for m in ("profile_reml", "bootstrap") if finite((q.get(m) or {}).get("low"))), None)
        if method is None or not finite(q[method].get("high")):
            continue
        k, place = len(parts), ("intervals", context.chosen, "quantities", i)
        values |= {
            f"many_{k}": context.names.level(q["level"], 2),
            f"share_{k}": context.share(q["estimate"], at(*place, "estimate")),
            f"low_{k}": context.share(q[method]["low"], at(*place, method, "low")),
            f"high_{k}": context.share(q[method]["high"], at(*place, method, "high")),
        }
        parts.append(f"between {{many_{k}}} ({{share_{k}}}) from {{low_{k}}} to {{high_{k}}}")
    if not parts:
        return None
    return Sentence("95\u202f% intervals of the shares of the variance: " + listing(parts) + ".", **values)


def _tests_block(context: Context) -> Block | None:
    entries = found(context).get("tests") or []
    done = [(i, t) for i, t in enumerate(entries) if t.get("p_bootstrap") is not None]
    if not done:
        why = next((reason(t) for t in entries if reason(t)), "")
        return Block("simulated_tests", "Simulated tests", [Sentence("{text}", text=why)]) if why else None
    columns = [
        Column("rung", "Rung", "code"),
        Column("against", "Against", "under", lead="against "),
        Column("statistic", "Likelihood ratio"),
        Column("p_naive", "p, naive"),
        Column("p_boundary", "p, corrected"),
        Column("p_bootstrap", "p, simulated"),
        Column("p_bootstrap_error", "± Monte-Carlo error"),
        Column("draws", "Draws"),
        Column("share_zero", "Draws at zero"),
    ]
    rows = []
    for i, t in done:
        place = ("tests", i)
        rows.append(
            [
                t["alternative"],
                t["null"],
                context.fixed_point(t["statistic"], 2, at(*place, "statistic")),
                p_cell(context, t.get("p_naive"), at(*place, "p_naive")),
                p_cell(context, t.get("p_boundary"), at(*place, "p_boundary")),
                p_cell(context, t["p_bootstrap"], at(*place, "p_bootstrap")),
                context.fixed_point(t.get("p_bootstrap_error"), 4, at(*place, "p_bootstrap_error")),
                context.whole(t.get("draws"), at(*place, "draws")),
                context.share(t.get("share_zero"), at(*place, "share_zero"), 0),
            ]
        )
    note = (
        "The smallest simulated p-value is one over the number of draws plus one; a test that is clear gets fewer "
        "draws. Tests between rungs with serially correlated errors take longer: of those that the choice rests on, "
        "the ones near 5\u202f% are simulated, and all where the configuration asks for a number of draws (bootstrap)."
    )
    table = Table("simulated_tests", "Likelihood-ratio tests with simulated p-values", columns, rows, note=note)
    return Block("simulated_tests", "Simulated tests", [_tests_sentence(context, done)], [table])


def _tests_sentence(context: Context, done: list[tuple[int, dict[str, Any]]]) -> Sentence:
    def sides(key: str) -> list[tuple[int, dict[str, Any]]]:
        return [(i, t) for i, t in done if t.get(key) is not None and (t[key] < LEVEL) != (t["p_bootstrap"] < LEVEL)]

    changed, naive = sides("p_boundary"), sides("p_naive")
    if changed:
        i, t = changed[0]
        return Sentence(
            "Simulation disagrees with the corrected test of {rung} against {against}: {simulated} where the corrected "
            "one has {corrected}. Trust the simulated one.",
            rung=t["alternative"],
            against=t["null"],
            simulated=context.p_value(t["p_bootstrap"], at("tests", i, "p_bootstrap")),
            corrected=context.p_value(t["p_boundary"], at("tests", i, "p_boundary")),
        )
    template = "Tests on data simulated under the simpler rung decide at 5\u202f% as the corrected tests do"
    if naive:
        template += "; the naive p-value would have decided otherwise on {rungs}"
    return Sentence(template + ".", rungs=listing([t["alternative"] for _, t in naive]))


INFORMATION = (("aic", "AIC"), ("aicc", "AICc"), ("bic", "BIC"), ("caic", "Conditional AIC"))


def _criteria_block(context: Context) -> Block | None:
    section = found(context).get("criteria")
    if not section:
        return None
    rows_in = section.get("table") or []
    if not rows_in:
        why = reason(section)
        return Block("criteria", "Other criteria", [Sentence("{text}", text=why)]) if why else None
    scores = list(dict.fromkeys(k for r in rows_in for k in r.get("scores") or {}))
    known = [(k, t) for k, t in INFORMATION if any(r.get(k) is not None for r in rows_in)]
    columns = [Column("rung", "Rung", "code"), Column("best", "Best by", "under", lead="best by ")]
    columns += [Column(k, t) for k, t in known]
    for key in scores:
        title = (
            "Log score, next period: behind the best"
            if key == "ahead"
            else f"Log score, new {context.names.level(key, 2)}: behind the best"
        )
        columns.append(Column(f"score_{key}", title, "pair"))
    best: dict[str, list[str]] = {}
    titles = dict(INFORMATION) | {
        k: "next period" if k == "ahead" else f"new {context.names.level(k, 2)}" for k in scores
    }
    for key, rung in (section.get("best") or {}).items():
        best.setdefault(rung, []).append(titles.get(key, key))
    rows = []
    for i, r in enumerate(rows_in):
        place = ("criteria", "table", i)
        row: list[Any] = [r["rung"], listing(best.get(r["rung"], []))]
        row += [context.fixed_point(r.get(k), 1, at(*place, k)) if r.get(k) is not None else None for k, _ in known]
        for key in scores:
            s = (r.get("scores") or {}).get(key) or {}
            if s.get("behind") is None:
                row.append(None)
                continue
            pointer = at(*place, "scores", key, "behind")
            row.append(
                (
                    context.fixed_point(s["behind"], 1, pointer),
                    Num(s.get("behind_se"), context.num.fixed(s.get("behind_se"), 1), f"{pointer}_se"),
                )
            )
        rows.append(row)
    emphasis = next((i for i, r in enumerate(rows_in) if r["rung"] == context.chosen), None)
    note = " ".join(quote(section, f"notes/{k}", at("criteria")) for k in range(len(section.get("notes") or [])))
    table = Table("criteria", "What each criterion says of the rungs", columns, rows, emphasis=emphasis, note=note)
    sentences = [Sentence("{text}", text=quote(section, "sentence", at("criteria")))] if section.get("sentence") else []
    return Block("criteria", "Other criteria", sentences, [table])


def missed_limit(context: Context) -> Sentence | None:
    """Slopes that the data ask for and the formula does not have."""
    section = found(context).get("missed_slopes") or {}
    asked = [(i, t) for i, t in enumerate(section.get("tried") or []) if t.get("asked")]
    if not asked:
        return None
    i, worst = max(asked, key=lambda it: it[1].get("p_holm") or 0.0)
    return Sentence(
        "The data also ask for a slope per {one} of {terms} ({p}{most}), which the formula does not allow: the "
        "standard errors of {these} are too small.",
        one=context.names.level(section.get("level") or context.innermost),
        terms=listing([context.names.term(t["term"]) for _, t in asked]),
        p=context.p_value(worst.get("p_holm"), at("missed_slopes", "tried", i, "p_holm")),
        most=" or less" if len(asked) > 1 and (worst.get("p_holm") or 0.0) >= 0.001 else "",
        these="these effects" if len(asked) > 1 else "this effect",
    )


def _missed_block(context: Context) -> Block | None:
    section = found(context).get("missed_slopes")
    if not section:
        return None
    tried = section.get("tried") or []
    text = section.get("sentence") or reason(section)
    if not text and not tried:
        return None
    said = quote(section, "sentence", at("missed_slopes"))
    sentences = [Sentence("{text}", text=said or str(text))] if text else []
    if not tried:
        return Block("missed_slopes", "Slopes that were not in the formula", sentences)
    columns = [
        Column("term", "Predictor", "name"),
        Column("statistic", "Likelihood ratio"),
        Column("p", "p"),
        Column("p_holm", "p, for all tried"),
        Column("sd", "Sd of the slopes"),
        Column("verdict", "Verdict", "text"),
    ]
    rows = []
    for i, t in enumerate(tried):
        place = ("missed_slopes", "tried", i)
        verdict = "the data ask for it" if t.get("asked") else "not needed"
        verdict = f"refused: {t['refused']}" if t.get("refused") else verdict
        if t.get("singular") and not t.get("refused"):
            verdict += " (its fit is singular)"
        rows.append(
            [
                label(context, t["term"]),
                context.fixed_point(t.get("statistic"), 2, at(*place, "statistic")),
                p_cell(context, t.get("p"), at(*place, "p")),
                p_cell(context, t.get("p_holm"), at(*place, "p_holm")),
                number(context, t.get("sd"), None, at(*place, "sd")),
                verdict,
            ]
        )
    many = context.names.level(section.get("level") or context.innermost)
    table = Table("missed_slopes", f"Each predictor tried with a slope per {many}", columns, rows)
    return Block("missed_slopes", "Slopes that were not in the formula", sentences, [table])
