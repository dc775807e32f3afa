"""The verdict: what was chosen and why, what the effects are, where the variance lies, what limits the conclusion."""

from __future__ import annotations

from typing import Any

from . import effects
from .choice import choice, correlated, criteria
from .context import Context, rung_pointer
from .limits import limits
from .names import INTERCEPT, listing
from .parts import Sentence

READ_OUT = 4  # effects and limits that the verdict reads out; other effects stand in their section, limits folded


def variance(context: Context) -> Sentence:
    """How the variance that the fixed effects leave divides between levels."""
    names, icc = context.names, context.estimate.get("icc") or {}
    levels = [lv for lv in reversed(context.levels) if lv in icc]
    if not levels:
        return Sentence(
            "The chosen rung has no group levels: all of the variance that the predictors leave lies between rows."
        )
    values: dict[str, Any] = {}
    parts = []
    for i, level in enumerate(levels):
        values[f"level_{i}"] = names.level(level, 2)
        values[f"share_{i}"] = context.share(icc[level], rung_pointer(context.chosen, "reml", "icc", level))
        parts.append(f"{{share_{i}}} lies between {{level_{i}}}" if i == 0 else f"{{share_{i}}} between {{level_{i}}}")
    values["rest"] = context.share(icc.get("residual"), rung_pointer(context.chosen, "reml", "icc", "residual"))
    if correlated(context.record):
        rest, values["period"] = "{rest} in errors that carry over from {period} to {period}", context.period
    elif context.innermost in levels:
        rest, values["inner"] = "{rest} within {inner}, from row to row", names.level(context.innermost, 2)
    else:
        rest, values["inner"] = "{rest} within {inner}", names.level(levels[0], 2)
    template = "Of the variance that the predictors leave, " + listing([*parts, rest])
    if context.slope_terms:
        values["slopes"] = listing([names.term(t) for t in context.slope_terms])
        template += " (averaged over the data, as it changes with {slopes})"
    return Sentence(template + ".", **values)


def slopes(context: Context) -> list[Sentence]:
    """How far the groups' slopes lie apart, level by level."""
    found, fixed, names = [], context.fixed(), context.names
    for r, block in enumerate(context.random):
        for k, term in enumerate(block["terms"]):
            sd = block["sd"][k]
            if term == INTERCEPT or term not in fixed or not sd:
                continue
            middle = fixed[term]["estimate"]
            low, high = middle - 1.959963984540054 * sd, middle + 1.959963984540054 * sd
            at = [f["term"] for f in context.estimate["fixed"]].index(term)
            found.append(
                Sentence(
                    "The slope of {term} differs between {many}: it is {middle} on average, with a standard "
                    "deviation of {sd}, so that 95\u202f% of {many} would lie between {low} and {high}.",
                    term=names.term(term),
                    many=names.level(block["level"], 2),
                    middle=context.fixed_point(
                        middle, _digits(sd), rung_pointer(context.chosen, "reml", "fixed", at, "estimate")
                    ),
                    sd=context.fixed_point(sd, _digits(sd), rung_pointer(context.chosen, "reml", "random", r, "sd", k)),
                    low=context.fixed_point(low, _digits(sd)),
                    high=context.fixed_point(high, _digits(sd)),
                )
            )
    return found


def _digits(sd: float) -> int:
    from .numbers import decimals_for

    return min(9, decimals_for(sd))


def effect_sentences(context: Context) -> list[Sentence]:
    """The main effects, at most ``READ_OUT``; clear ones first where there are more."""
    found = [e for e in (effects.effect_of(context, t) for t in effects.main_terms(context)) if e is not None]
    if len(found) > READ_OUT:
        order = sorted(range(len(found)), key=lambda i: (not found[i].clear, i))[:READ_OUT]
        found = [found[i] for i in sorted(order)]
    return [effects.sentence(context, e) for e in found]


def second_opinions(verify: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(rung, JSON pointer, entry) of verify.json: a list of entries, or one or several by rung."""
    rungs = verify.get("rungs") or []
    if isinstance(rungs, list):
        return [(entry["rung"], f"verify.json#/rungs/{i}", entry) for i, entry in enumerate(rungs)]
    found = []
    for rung, value in rungs.items():
        at = "verify.json#/rungs/" + rung.replace("~", "~0").replace("/", "~1")
        if isinstance(value, list):
            found += [(rung, f"{at}/{i}", entry) for i, entry in enumerate(value)]
        else:
            found.append((rung, at, value))
    return found


def alerts(context: Context) -> list[Sentence]:
    """Errors that stand before everything else: a second engine that disagrees, a fit that did not converge."""
    found = []
    verify = context.data.verify
    if verify is not None and not verify.get("ok", True):
        for name, at, one in second_opinions(verify):
            if one.get("ok") is False:
                found.append(
                    Sentence(
                        "The second opinion disagrees on rung {rung}: log-likelihood {ours} here, {theirs} by "
                        "{method}. Do not use these results before this is resolved.",
                        rung=name,
                        method=str(one.get("method", "the second engine")),
                        ours=context.figure(one.get("ours"), 8, f"{at}/ours"),
                        theirs=context.figure(one.get("theirs"), 8, f"{at}/theirs"),
                    )
                )
        if not found:
            found.append(
                Sentence("The second opinion disagrees with these fits. Do not use them before this is resolved.")
            )
    if not context.estimate.get("converged", True):
        found.append(
            Sentence(
                "The fit of the chosen rung {rung} did not converge: its numbers are not estimates.",
                rung=context.chosen,
            )
        )
    return found


def build(context: Context) -> dict[str, Any]:
    """The verdict's parts, each a list of sentences: alerts, choice, effects, variance, changes, limits."""
    from .sections import changes

    other = criteria(context)
    agrees = (context.data.ladder.get("choice") or {}).get("agrees", True)
    return {
        "alerts": alerts(context),
        "choice": choice(context) + ([other] if other and not agrees else []),
        "effects": effect_sentences(context),
        "variance": [variance(context), *slopes(context)[:2]],
        "changes": changes.lead(context),
        "limits": limits(context),
    }
