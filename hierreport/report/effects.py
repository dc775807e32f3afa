"""Fixed effects in units that a person uses: what a change of a predictor goes with, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .context import Context, rung_pointer
from .numbers import Num, finite, prose_decimals
from .parts import Sentence

STEP = 0.10  # relative change of a predictor that stands as a logarithm


@dataclass(frozen=True)
class Effect:
    """One fixed effect in words.

    Attributes:
        term: its name in the formula.
        change: the change of the predictor, in words ("a 10 % increase in wage").
        value, low, high: what goes with it; in per cent of the outcome, or in the outcome's unit.
        percent: whether it is in per cent.
        unit: of value, low, high, where not in per cent.
        clear: whether the interval excludes no change.
        opposite: the direction is the other way in the interval's other end.
    """

    term: str
    change: str
    value: float
    low: float | None
    high: float | None
    percent: bool
    unit: str
    outcome: str

    @property
    def clear(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def se(self) -> float | None:
        """About the standard error on this scale, for rounding."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 3.92

    def to_dict(self) -> dict[str, Any]:
        return {
            "term": self.term,
            "change": self.change,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": "%" if self.percent else self.unit,
            "excludes_zero": self.clear,
        }


def involved(context: Context) -> set[str]:
    """Terms whose effect cannot be read alone: their column is part of an interaction, a power or a spline too."""
    names = context.names
    simple = {t: names.parse(t) for t in context.fixed()}
    blocked = set()
    for term, parsed in simple.items():
        if parsed.kind not in ("log", "linear", "factor"):
            continue
        for other, p in simple.items():
            if other != term and p.kind in ("interaction", "other") and _mentions(other, term, parsed.column):
                blocked.add(term)
    return blocked


def _mentions(text: str, term: str, column: str) -> bool:
    import re

    # lag(x), mean(x, by = g) and within(x) are predictors of their own, not functions of today's x
    if re.match(r"(lag|diff|mean|within)\(", text) and ":" not in text:
        return False
    return term in text or re.search(rf"(?<![\w.]){re.escape(column)}(?![\w.])", text) is not None


def effect_of(context: Context, term: str, fixed: dict[str, Any] | None = None) -> Effect | None:
    """A fixed effect in units; None for the intercept and for terms that have no reading alone."""
    fixed = fixed or context.fixed().get(term)
    if fixed is None or not finite(fixed.get("estimate")):
        return None
    names, parsed = context.names, context.names.parse(term)
    outcome = names.parse(context.outcome)
    if parsed.kind == "intercept":
        return None
    if parsed.kind == "log":
        step, change = math.log(1 + STEP) / math.log(parsed.base), relative(context, names.variable(parsed.column))
    elif parsed.kind == "factor":
        reference = context.reference_level(parsed.column)
        against = f" against {reference}" if reference else ""
        step, change = 1.0, f"{names.variable(parsed.column)} {parsed.level}{against}"
    else:
        step = round_step(context.variable_info(term)) if parsed.kind == "linear" else 1.0
        unit = names.unit(parsed.column) if parsed.kind == "linear" else ""
        amount = f"{context.num.significant(step, 3)} {unit or 'units'}" if unit or step != 1 else "one unit"
        change = f"an increase of {amount} in {names.term(term)}"
    ends = [fixed["estimate"], fixed.get("ci_low"), fixed.get("ci_high")]
    if outcome.kind == "log":
        values = [
            None if not finite(e) else 100 * math.expm1(min(e * step * math.log(outcome.base), 700)) for e in ends
        ]
        return Effect(term, change, values[0], values[1], values[2], True, "%", names.variable(outcome.column))  # type: ignore[arg-type]
    values = [None if not finite(e) else e * step for e in ends]
    unit = names.unit(outcome.column) if outcome.kind == "linear" else ""
    return Effect(term, change, values[0], values[1], values[2], False, unit, names.term(context.outcome))  # type: ignore[arg-type]


def relative(context: Context, noun: str) -> str:
    """ "a 10 % increase in wage": right for one wage, for highways, and for employment, which has no number."""
    return f"a {context.num.percent(STEP)} increase in {noun}"


def round_step(info: dict[str, Any]) -> float:
    """A step of a numeric predictor that is a power of ten near its spread: 1 for a rate in per cent."""
    sd = float(info.get("sd") or 0.0)
    if not math.isfinite(sd) or sd <= 0 or 0.3 <= sd <= 30:
        return 1.0
    return 10.0 ** math.floor(math.log10(sd))


def sentence(context: Context, effect: Effect, rung: str | None = None) -> Sentence:
    """ "A 10 % increase in wage goes with 2.8 % lower employment (95 % interval −4.1 % to −1.5 %)." """
    rung = rung or context.chosen
    terms = [f["term"] for f in context.data.rungs[rung]["reml"]["fixed"]]
    at = terms.index(effect.term)
    decimals = decimals_of(effect)
    suffix = "\u202f%" if effect.percent else (f" {effect.unit}" if effect.unit else "")

    def number(value: float | None, part: str, signed: bool) -> Num:
        shown = value if signed or value is None else abs(value)
        return Num(shown, context.num.fixed(shown, decimals), rung_pointer(rung, "reml", "fixed", at, part))

    direction = "lower" if effect.value < 0 else "higher"
    none = not any(c in "123456789" for c in context.num.fixed(effect.value, decimals))
    values: dict[str, Any] = {
        "change": effect.change,
        "value": number(effect.value, "estimate", False),
        "outcome": effect.outcome,
        "direction": direction,
        "unit": suffix,
        "each": suffix if effect.percent else "",
    }
    factor = context.names.parse(effect.term).kind == "factor"
    what = "{value}{unit} {direction} {outcome}" if effect.percent else "{outcome} {direction} by {value}{unit}"
    verb = f": {what}" if factor else f" goes with {what}"
    if none:
        verb = ": the same {outcome}" if factor else " goes with the same {outcome}"
    template = "{change}" + verb
    if effect.low is None or effect.high is None:
        return Sentence(template + ".", **values)
    values |= {"low": number(effect.low, "ci_low", True), "high": number(effect.high, "ci_high", True)}
    if effect.clear:
        template += " (95\u202f% interval {low}{each} to {high}{each})."
    else:
        template += ", but the 95\u202f% interval, {low}{each} to {high}{each}, includes no difference."
    return Sentence(template, **values)


def decimals_of(effect: Effect) -> int:
    """Decimals for an effect and its interval: what the standard error supports, but at most three digits, as long as
    the interval's ends can be told apart."""
    if not effect.se or effect.low is None or effect.high is None:
        return 2
    supported = min(9, prose_decimals(effect.se))
    largest = max(abs(effect.low), abs(effect.high))
    enough = 2 - math.floor(math.log10(largest))
    while enough < supported and round(effect.low, enough) == round(effect.high, enough):
        enough += 1
    return min(supported, enough)


def amount(context: Context, effect: Effect) -> Num:
    """The change of the outcome with its sign, for a table; per cent where ``effect.percent``."""
    decimals = decimals_of(effect)
    text = context.num.fixed(effect.value, decimals)
    return Num(effect.value, text)


def main_terms(context: Context) -> list[str]:
    """Terms that the verdict reads out: numeric predictors that have a reading of their own, then single dummies."""
    blocked = involved(context)
    counts: dict[str, int] = {}
    for term in context.fixed():
        parsed = context.names.parse(term)
        if parsed.kind == "factor":
            counts[parsed.column] = counts.get(parsed.column, 0) + 1
    numeric, single = [], []
    for term in context.fixed():
        parsed = context.names.parse(term)
        if term in blocked:
            continue
        if parsed.kind in ("log", "linear"):
            numeric.append(term)
        elif parsed.kind == "factor" and counts[parsed.column] <= 2:
            single.append(term)
    return numeric + single
