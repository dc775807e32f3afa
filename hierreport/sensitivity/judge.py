"""One analysis of the sensitivity table: its numbers, and whether the conclusion stands under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..diagnostics.words import fixed, listed
from ..records import FixedEffect, Spoken
from ..said import mark, marked, whole

MOVED = 2.0
RULE = (
    "The conclusion does not stand where a main coefficient changes sign (its interval excluding zero before or "
    f"after), its interval newly includes or excludes zero, or it moves by more than {mark(MOVED, f'{MOVED:g}')} of "
    "the chosen rung's standard errors."
)


@dataclass(frozen=True)
class Coefficient(Spoken):
    """A main coefficient under one analysis; ``change_in_se`` in standard errors of the chosen rung."""

    term: str
    estimate: float
    se: float
    ci_low: float
    ci_high: float
    change_in_se: float
    broken: str = ""


@dataclass(frozen=True)
class Analysis(Spoken):
    """One row of the sensitivity table.

    Attributes:
        name, title: identifier, and what the reader sees.
        what: what was done, a sentence.
        rung: whose specification was fitted.
        status, reason: "done", or "not available" and why.
        n_obs: rows used.
        coefficients: the main terms that the model has.
        icc: share of variance by level.
        loglik: ML log-likelihood of the rows used; None where the estimates do not come from a likelihood.
        choice: the rung that the ladder would choose, where it was asked.
        stands: whether the conclusion stands (``RULE``); None where that cannot be said.
        sentence: what it means.
        details: what else is known: groups left out, rows down-weighted.
        register: its entry in the register of ladder.json.
    """

    name: str
    title: str
    what: str
    rung: str
    status: str
    reason: str
    n_obs: int | None = None
    coefficients: list[Coefficient] = field(default_factory=list)
    icc: dict[str, float] | None = None
    loglik: float | None = None
    choice: str | None = None
    stands: bool | None = None
    sentence: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    register: str = ""


def effect(value: FixedEffect | Mapping[str, Any]) -> dict[str, Any]:
    """A fixed effect's record as a mapping, from a fit or from JSON."""
    return dict(value) if isinstance(value, Mapping) else value.to_dict()


def compare(main: Mapping[str, Mapping[str, Any]], found: Sequence[Any]) -> list[Coefficient]:
    """The main coefficients of another analysis beside those of the chosen rung, in the main terms' order."""
    others = {e["term"]: e for e in map(effect, found)}
    out = []
    for term, mine in main.items():
        if term not in others:
            continue
        e = others[term]
        estimate, se, low, high = (e[k] for k in ("estimate", "se", "ci_low", "ci_high"))
        if None in (estimate, se, low, high):
            continue
        change = (estimate - mine["estimate"]) / mine["se"] if mine["se"] else 0.0
        out.append(Coefficient(term, estimate, se, low, high, float(change), broken(mine, e, change)))
    return out


def broken(mine: Mapping[str, Any], other: Mapping[str, Any], change: float) -> str:
    """Why the conclusion on one coefficient does not stand; empty where it does."""
    before, after = excludes_zero(mine), excludes_zero(other)
    reasons = []
    if (before or after) and mine["estimate"] * other["estimate"] < 0:
        reasons.append("changes sign")
    if before != after:
        reasons.append("can no longer be told from zero" if before else "is now told from zero")
    if abs(change) > MOVED:
        reasons.append(f"moves by {fixed(abs(change), 1)} standard errors")
    return " and ".join(reasons)


def excludes_zero(effect: Mapping[str, Any]) -> bool:
    """Whether an interval excludes zero."""
    return effect["ci_low"] > 0 or effect["ci_high"] < 0


def sentence(main: Mapping[str, Mapping[str, Any]], coefficients: Sequence[Coefficient]) -> str:
    """What an analysis does to the main coefficients."""
    wrong = [c for c in coefficients if c.broken]

    def move(c: Coefficient) -> str:
        before = main[c.term]
        # Two digits of the standard error.
        decimals = min(max(1 - int(np.floor(np.log10(before["se"]))), 0), 12)
        if abs(c.change_in_se) < 0.005:
            return "same estimate, another standard error"
        return f"from {fixed(before['estimate'], decimals)} to {fixed(c.estimate, decimals)}"

    if wrong:
        said = [f"{c.term} {marked(c.broken)} ({move(c)})" for c in wrong]
        return f"The conclusion does not stand: {listed(said)}."
    if not coefficients:
        return "No main coefficient is in this model."
    top = max(coefficients, key=lambda c: abs(c.change_in_se))
    if abs(top.change_in_se) < 0.005:
        ratios = {c.term: c.se / main[c.term]["se"] for c in coefficients}
        widest = max(ratios, key=lambda t: abs(np.log(ratios[t])))
        if abs(ratios[widest] - 1.0) < 0.05:
            return "The estimates and their standard errors are the same."
        return (
            f"The conclusion stands: estimates are the same, but the standard error of {widest} is "
            f"{fixed(ratios[widest], 1)} times the model's."
        )
    return (
        f"The conclusion stands: {top.term} moves most, {move(top)}, {fixed(abs(top.change_in_se), 1)} standard errors."
    )


def verdict(analyses: Sequence[Analysis]) -> str:
    """The analyses in which the conclusion does not stand, by title."""
    asked = [a for a in analyses if a.stands is not None]
    wrong = [a for a in asked if not a.stands]
    if not asked:
        return "No other analysis could be made: nothing is known of how far the conclusions depend on the model."
    if not wrong:
        return f"The conclusions stand in all {whole(len(asked))} other analyses."
    return (
        f"The conclusions stand in {whole(len(asked) - len(wrong))} of {whole(len(asked))} other analyses; they "
        f"do not in {whole(len(wrong))}: {listed([marked(a.title) for a in wrong], len(wrong))}."
    )
