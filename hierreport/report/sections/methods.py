"""Methods: the chosen model's equations with its numbers in place, and how it was fitted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from ..context import Context, pointed, rung_pointer
from ..names import INTERCEPT
from ..numbers import Num, decimals_for
from ..parts import Content, Sentence, data_element, words

TITLE = "Methods"
LETTERS = "ijklmn"


def build(context: Context) -> Content:
    estimate, certificate = context.estimate, context.estimate.get("certificate") or {}
    values: dict[str, Any] = {
        "rung": context.chosen,
        "n": context.whole(context.record["n_obs"], f"rungs/{context.chosen}.json#/n_obs"),
    }
    template = (
        "The chosen rung {rung} was estimated from {n} rows by restricted maximum likelihood (REML); what compares "
        "rungs uses maximum likelihood."
    )
    content = Content([Sentence(template, **values)])
    facts: list[tuple[str, str]] = [("Formula", context.record["formula"])]
    if certificate:
        gradient = certificate.get("gradient_norm")
        told, at = context.told.significant, rung_pointer(context.chosen, "reml", "certificate")
        text = "converged" if estimate.get("converged") else "did not converge"
        if gradient is not None:
            text += f"; largest gradient entry {told(gradient, 2, source=f'{at}/gradient_norm')}"
        smallest = certificate.get("hessian_min_eigenvalue")
        if smallest is not None:
            text += f"; smallest eigenvalue of the Hessian {told(smallest, 2, source=f'{at}/hessian_min_eigenvalue')}"
        if certificate.get("restarts_agree") is not None:
            text += "; restarts agree" if certificate["restarts_agree"] else "; restarts disagree"
        facts.append(("Optimum", words(text, "")))
    if context.panel.get("weights"):
        facts.append(("Weights", str(context.panel["weights"])))
    content.extra |= {"facts": facts, "equations": equations(context)}
    if dummies := _dummies(context):
        content.numbers["factor_levels"] = dummies
    return content


def equations(context: Context) -> list[Markup]:
    """The model, line by line, as markup: outcome, random coefficients, errors."""
    index = "".join(LETTERS[: len(context.levels)]) + "t"
    outcome = Markup("<i>{}</i><sub>{}</sub>").format(context.outcome, index)
    lines = [
        Markup("{} = {}{} + <i>ε</i><sub>{}</sub>").format(outcome, _fixed(context), _random(context, index), index)
    ]
    for r, block in enumerate(context.random):
        lines.append(_distribution(context, r, block))
    sigma = data_element(_num(context, context.estimate["sigma"], "reml", "sigma"))
    errors = context.record.get("errors")
    if errors in ("ar1", "car1"):
        rho = data_element(
            context.fixed_point(context.estimate.get("rho"), 3, rung_pointer(context.chosen, "reml", "rho"))
        )
        lines.append(
            Markup("<i>ε</i><sub>{}</sub> ~ N(0, {}²), correlated {}<sup>|d|</sup> at a distance of d periods").format(
                index, sigma, rho
            )
        )
    else:
        lines.append(Markup("<i>ε</i><sub>{}</sub> ~ N(0, {}²), independent").format(index, sigma))
    return lines


def _num(context: Context, value: float | None, *steps: Any) -> Num:
    return context.figure(value, 3, rung_pointer(context.chosen, *steps))


def _fixed(context: Context) -> Markup:
    parts: list[Markup] = []
    for i, f in enumerate(context.estimate["fixed"]):
        parsed = context.names.parse(f["term"])
        if parsed.kind == "factor":
            continue
        digits = min(9, decimals_for(f["se"]))
        text = context.num.fixed(f["estimate"], digits)
        if parts and f["estimate"] < 0:  # a term to subtract
            text = f"− {context.num.fixed(abs(f['estimate']), digits)}"
        shown = data_element(Num(f["estimate"], text, rung_pointer(context.chosen, "reml", "fixed", i, "estimate")))
        sign = "" if not parts else " " if f["estimate"] < 0 else " + "
        term = Markup() if f["term"] == INTERCEPT else Markup("\u2009·\u2009<i>{}</i>").format(f["term"])
        parts.append(Markup("{}{}{}").format(sign, shown, term))
    for column, count in _dummies(context).items():
        levels = Num(count, str(count), f"summary.json#/sections/methods/numbers/factor_levels/{pointed(column)}")
        parts.append(
            Markup("{}<i>γ</i>[{}] <small>({} levels against the reference)</small>").format(
                " + " if parts else "", context.names.variable(column), data_element(levels)
            )
        )
    return Markup().join(parts) if parts else Markup("0")


def _dummies(context: Context) -> dict[str, int]:
    """Dummies of the model by factor."""
    parsed = [context.names.parse(f["term"]) for f in context.estimate["fixed"]]
    return dict(Counter(p.column for p in parsed if p.kind == "factor"))


def _random(context: Context, index: str) -> Markup:
    parts = []
    for block in context.random:
        depth = block["level"].count("/") + 1
        for k, term in enumerate(block["terms"]):
            name = Markup("<i>{}</i><sub>{},{}</sub>").format(_letter(context, block["level"]), k, index[:depth])
            factor = Markup() if term == INTERCEPT else Markup("\u2009·\u2009<i>{}</i>").format(term)
            parts.append(Markup(" + {}{}").format(name, factor))
    return Markup().join(parts)


def _letter(context: Context, level: str) -> str:
    return "buvwz"[min(list(reversed(context.levels)).index(level), 4)] if level in context.levels else "b"


def _distribution(context: Context, r: int, block: dict[str, Any]) -> Markup:
    letter = _letter(context, block["level"])
    names = Markup(", ").join(Markup("<i>{}</i><sub>{}</sub>").format(letter, k) for k in range(len(block["terms"])))
    sds = Markup(", ").join(
        data_element(_num(context, sd, "reml", "random", r, "sd", k)) for k, sd in enumerate(block["sd"])
    )
    if len(block["terms"]) == 1:
        return Markup("{} ~ N(0, {}²) for each {}").format(names, sds, context.names.level(block["level"]))
    text = Markup("({}) ~ N(0, Σ) for each {}: standard deviations {}").format(
        names, context.names.level(block["level"]), sds
    )
    pairs = []
    for k in range(len(block["terms"])):
        for j in range(k):
            corr = block["corr"][k][j]
            if corr is not None:
                number = context.fixed_point(corr, 2, rung_pointer(context.chosen, "reml", "random", r, "corr", k, j))
                pairs.append(
                    Markup("{} ({}, {})").format(data_element(number), j, k)
                    if len(block["terms"]) > 2
                    else data_element(number)
                )
    word = "correlation" if len(pairs) == 1 else "correlations"
    return text + (Markup(", {} {}").format(word, Markup(", ").join(pairs)) if pairs else Markup())
