"""Which rung was chosen, and why, in words."""

from __future__ import annotations

from typing import Any

from .context import Context, rung_pointer
from .names import listing
from .parts import Sentence

LEVEL = 0.05  # of the tests that chose


def added(context: Context, rung: str, against: str) -> str:
    """What a rung has that another has not, in words: "a baseline per sector"."""
    rungs, names = context.data.rungs, context.names
    if rung not in rungs or against not in rungs:
        return rung
    have = {(b["level"], t) for b in rungs[against]["reml"].get("random") or [] for t in b["terms"]}
    more: dict[str, list[str]] = {}
    for block in rungs[rung]["reml"].get("random") or []:
        new = [t for t in block["terms"] if (block["level"], t) not in have]
        if new:
            more.setdefault(block["level"], []).extend(new)
    parts = [f"{names.slopes(terms)} per {names.level(level)}" for level, terms in reversed(more.items())]
    if rungs[rung].get("errors") != rungs[against].get("errors"):
        parts.append("errors that carry over in time")
    return listing(parts) or f"what {rung} adds"


def choice(context: Context) -> list[Sentence]:
    """Which rung, and why."""
    return [_called_for(context), *_reasons(context)]


def _called_for(context: Context) -> Sentence:
    words = context.names.rung(context.record).split(";")[0]
    values: dict[str, Any] = {"what": words, "rung": context.chosen}
    template = "The data call for {what}"
    if correlated(context.record):
        rho = context.estimate.get("rho")
        values["rho"] = context.fixed_point(rho, 3, rung_pointer(context.chosen, "reml", "rho"))
        values["period"] = context.period
        template += ", with errors that carry over from one {period} to the next (correlation {rho})"
    return Sentence(template + ": rung {rung}.", **values)


def correlated(record: dict[str, Any]) -> bool:
    """Whether a rung has serially correlated errors."""
    return record.get("errors") in ("ar1", "car1")


def _reasons(context: Context) -> list[Sentence]:
    """What the tests asked for and what not, as one sentence; what fits better but cannot be kept, as another."""
    path = (context.data.ladder.get("choice") or {}).get("path") or []
    last = next((i for i in range(len(path) - 1, -1, -1) if path[i].get("accepted")), -1)
    values: dict[str, Any] = {}
    asked = _error_test(context, values)
    for i, step in enumerate(path):
        if step.get("accepted") and step.get("against") and step.get("p") is not None:
            asked.append(_trial(context, i, step, values))
    refused = [
        _trial(context, i, step, values)
        for i, step in _last_trials(context, path, last)
        if step["rung"] in context.data.rungs and step.get("p") is not None and step["p"] >= LEVEL
    ][:2]
    found = []
    if asked:
        parts = [*(f"for {words}" for words in asked), *(f"not for {words}" for words in refused)]
        found.append(Sentence("Likelihood-ratio tests ask " + "; ".join(parts) + ".", **values))
    elif refused:
        found.append(Sentence("Likelihood-ratio tests do not ask for " + "; nor for ".join(refused) + ".", **values))
    said = [str(values[name]) for name in values if name.startswith("adds_")]
    return found + _left_out(context, path, said) + _without_memory(context) + _set_aside(context, path)


def _left_out(context: Context, path: list[dict[str, Any]], said: list[str]) -> list[Sentence]:
    """What the chosen rung, a simpler form of a singular one, does without: variances of zero that no test named."""
    base = _base(context, context.chosen)
    richer = [s["rung"] for s in path if not s.get("accepted") and _base(context, s["rung"]) == base]
    if not richer or context.chosen in richer or richer[0] not in context.data.rungs:
        return []
    words = added(context, richer[0], context.chosen)
    if words in said or " per " not in words:
        return []
    text = "{words} {be} left out: the estimate of {its} variance is zero."
    one = " and " not in words
    return [Sentence(text, words=words, be="is" if one else "are", its="its" if one else "their")]


def _trial(context: Context, i: int, step: dict[str, Any], values: dict[str, Any]) -> str:
    """What a step of the climb adds, and its p-value, as a part of a template; fills ``values``."""
    words = added(context, step["rung"], step["against"])
    words += " together" if words.count(" per ") > 1 else ""
    values |= {f"adds_{i}": words, f"p_{i}": context.p_value(step["p"], f"ladder.json#/choice/path/{i}/p")}
    return f"{{adds_{i}}} ({{p_{i}}})"


def independent_choice(context: Context) -> str | None:
    """Where the climb ends among the rungs with independent errors; None where a test that it needs is missing."""
    rungs = context.data.rungs
    plain = [
        r
        for r in context.order
        if not (correlated(rungs[r]) or rungs[r].get("variances") or rungs[r].get("crossed"))
        and not (rungs[r].get("extra") or {}).get("step")
    ]
    tests = {(t["null"], t["alternative"]): t for t in context.data.ladder.get("comparisons") or []}
    if not plain:
        return None
    last = plain[0]
    for rung in plain[1:]:
        test = tests.get((last, rung))
        if test is None or test.get("p_boundary") is None:
            return None
        if test["p_boundary"] < LEVEL and not context.singular(rung):
            last = rung
    return last


def _without_memory(context: Context) -> list[Sentence]:
    """What independent errors would have called for, where correlated ones leave a level without effects."""
    last = independent_choice(context) if correlated(context.record) else None
    if last is None:
        return []
    kept = {r["level"] for r in context.random}
    lost = [r["level"] for r in context.data.rungs[last]["reml"].get("random") or [] if r["level"] not in kept]
    if not lost:
        return []
    return [
        Sentence(
            "With independent errors the same tests would have called for {rung} ({what}): what looks like lasting "
            "differences between {many} is, in these data, errors that fade slowly.",
            rung=last,
            what=context.names.rung(context.data.rungs[last]),
            many=listing([context.names.level(lv, 2) for lv in dict.fromkeys(lost)]),
        )
    ]


def error_test(context: Context) -> int | None:
    """Place in ladder.json's comparisons of the test of the error structure, on the rung that the choice names, else
    on the richest; None where the errors are independent."""
    if not correlated(context.record):
        return None
    rungs = context.data.rungs
    tests: dict[int, dict[str, Any]] = {}
    for i, test in enumerate(context.data.ladder.get("comparisons") or []):
        null, alternative = rungs.get(test.get("null")), rungs.get(test.get("alternative"))
        if null and alternative and correlated(alternative) > correlated(null) and test.get("p_boundary") is not None:
            tests[i] = test
    reason = str((context.data.ladder.get("choice") or {}).get("errors_reason") or "")
    named = [i for i, test in tests.items() if f"on {test['null']} " in reason]
    candidates = named or list(tests)
    return candidates[-1] if candidates else None


def _error_test(context: Context, values: dict[str, Any]) -> list[str]:
    i = error_test(context)
    if i is None:
        return []
    test = context.data.ladder["comparisons"][i]
    values["error_p"] = context.p_value(test["p_boundary"], f"ladder.json#/comparisons/{i}/p_boundary")
    return ["correlated errors ({error_p})"]


def _last_trials(context: Context, path: list[dict[str, Any]], last: int) -> list[tuple[int, dict[str, Any]]]:
    """The last trial of each rung of the ladder that was not accepted, those above the accepted one first."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    accepted = _base(context, path[last]["rung"]) if last >= 0 else ""
    for i, step in enumerate(path):
        base = _base(context, step["rung"])
        if step.get("against") and not step.get("accepted") and base != accepted:
            found[base] = (i, step)
    return sorted(found.values(), key=lambda e: (e[0] < last, e[0]))


def _base(context: Context, rung: str) -> str:
    extra = (context.data.rungs.get(rung) or {}).get("extra") or {}
    return str(extra.get("base") or rung)


def _set_aside(context: Context, path: list[dict[str, Any]]) -> list[Sentence]:
    """The best fitting rung that the test asked for but that is singular or did not converge."""
    rungs, better = context.data.rungs, []
    for step in path:
        if step.get("accepted") or step["rung"] not in rungs or step.get("p") is None or step["p"] >= LEVEL:
            continue
        gain = _gain(context, step["rung"], context.chosen)
        if gain is not None and gain > 2:
            better.append((rungs[step["rung"]]["ml"]["aic"], step["rung"], gain))
    if not better:
        return []
    _, rung, gain = min(better)
    return [
        Sentence(
            "Rung {rung} ({what}) fits better, by {gain} in log-likelihood, but its fit {why}.",
            rung=rung,
            what=context.names.rung(rungs[rung]).split(";")[0],
            gain=context.fixed_point(gain, 1),
            why="is singular: these data cannot support it" if context.singular(rung) else "did not converge",
        )
    ]


def _gain(context: Context, rung: str, against: str) -> float | None:
    """Gain in log-likelihood (ML) of one rung over another."""
    rungs = context.data.rungs
    if rung not in rungs or against not in rungs:
        return None
    a, b = rungs[rung]["ml"].get("loglik"), rungs[against]["ml"].get("loglik")
    return None if a is None or b is None else a - b


def criteria(context: Context) -> Sentence | None:
    """Where AIC or BIC would choose another rung."""
    picked = context.data.ladder.get("choice") or {}
    aic, bic = picked.get("aic"), picked.get("bic")
    if not aic or not bic:
        return None
    if aic == bic == context.chosen:
        return Sentence("AIC and BIC choose {rung} too.", rung=context.chosen)
    if aic == bic:
        return Sentence("AIC and BIC both prefer {aic}.", aic=aic)
    others = [(n, r) for n, r in (("AIC", aic), ("BIC", bic)) if r != context.chosen]
    if len(others) == 1:
        agree = "BIC" if others[0][0] == "AIC" else "AIC"
        return Sentence(
            "{agree} chooses the same rung, {name} prefers {rung}.", agree=agree, name=others[0][0], rung=others[0][1]
        )
    return Sentence("AIC prefers {aic}, BIC {bic}.", aic=aic, bic=bic)


def beside(context: Context) -> list[Sentence]:
    """Whether the data ask for unequal variances or a crossed effect, which stand beside the climb."""
    out = []
    for i, test in enumerate(context.data.ladder.get("comparisons") or []):
        record = context.data.rungs.get(test["alternative"]) or {}
        if test["null"] != context.chosen or not (record.get("variances") or record.get("crossed")):
            continue
        p = test.get("p_boundary")
        if p is not None and p < LEVEL and record.get("variances"):
            out.append(
                Sentence(
                    "Beside the climb, the data ask for a residual variance per {by} ({p}): rung {rung}. How far the "
                    "coefficients move with it stands under Sensitivity.",
                    by=context.names.variable(record["variances"]),
                    p=context.p_value(p, f"ladder.json#/comparisons/{i}/p_boundary"),
                    rung=test["alternative"],
                )
            )
        elif p is None and record.get("crossed"):
            own, other = context.data.rungs[context.chosen]["ml"]["aic"], record["ml"]["aic"]
            if other < own - 2.0:
                out.append(
                    Sentence(
                        "Beside the climb, AIC prefers shocks drawn from one distribution per {time} to fixed effects: "
                        "{rung} is lower by {gain}.",
                        time=context.names.variable(record["crossed"]),
                        rung=test["alternative"],
                        gain=context.fixed_point(own - other, 1),
                    )
                )
    return out
