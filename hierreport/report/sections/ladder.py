"""The ladder: every rung, the tests between them, and the choice."""

from __future__ import annotations

from typing import Any

from ...figures import pictures
from ...said import quote
from .. import choice, inference, inference_ladder
from ..context import Context, rung_pointer
from ..numbers import Num
from ..parts import Column, Content, Sentence, Table

TITLE = "The ladder"


def build(context: Context) -> Content:
    findings = choice.choice(context)
    other = choice.criteria(context)
    if other:
        findings.append(other)
    findings += choice.beside(context)
    content = Content([*findings, *_refused(context)], pictures("ladder", context))
    content.tables = [t for t in (_rungs(context), _tests(context), _register(context)) if t]
    content.blocks = inference_ladder.ladder_blocks(context)
    return content


def _rungs(context: Context) -> Table:
    columns = [
        Column("rung", "Rung", "code"),
        Column("allows", "What it allows", "under"),
        Column("parameters", "Para\u00admeters"),
        Column("loglik", "Log-likelihood"),
        Column("aic", "AIC"),
        Column("bic", "BIC"),
        Column("sigma", "Residual sd"),
        Column("r2_marginal", "R² of predictors"),
        Column("r2_conditional", "with groups"),
        Column("trouble", "Trouble of the fit", "under", lead="fit: "),
    ]
    rows = []
    for rung in context.shown:
        record = context.data.rungs[rung]
        ml, reml = record["ml"], record["reml"]
        r2 = reml.get("r2") or {}
        state = "singular" if reml.get("singular") or ml.get("singular") else ""
        if not (ml.get("converged", True) and reml.get("converged", True)):
            state = "did not converge"
        rows.append(
            [
                rung,
                context.names.rung(record),
                context.whole(ml["n_par"], rung_pointer(rung, "ml", "n_par")),
                context.fixed_point(ml["loglik"], 2, rung_pointer(rung, "ml", "loglik")),
                context.fixed_point(ml["aic"], 1, rung_pointer(rung, "ml", "aic")),
                context.fixed_point(ml["bic"], 1, rung_pointer(rung, "ml", "bic")),
                context.figure(reml["sigma"], 3, rung_pointer(rung, "reml", "sigma")),
                context.fixed_point(r2.get("marginal"), 2, rung_pointer(rung, "reml", "r2", "marginal")),
                context.fixed_point(r2.get("conditional"), 2, rung_pointer(rung, "reml", "r2", "conditional")),
                state,
            ]
        )
    emphasis = context.shown.index(context.chosen)
    note = "Log-likelihood, AIC and BIC by maximum likelihood; residual standard deviation and R² by REML."
    return Table("ladder", "The rungs, from the simplest", columns, rows, emphasis=emphasis, note=note)


def _tests(context: Context) -> Table | None:
    comparisons = context.data.ladder.get("comparisons") or []
    if not comparisons:
        return None
    columns = [
        Column("rung", "Rung", "code"),
        Column("against", "Against", "under", lead="against "),
        Column("adds", "What is tested", "under"),
        Column("statistic", "Likelihood ratio"),
        Column("df", "Df"),
        Column("p_naive", "p, naive"),
        Column("p_boundary", "p, corrected"),
        Column("mixture", "Reference distribution", "code"),
    ]
    rows = []
    for i, test in enumerate(comparisons):
        at = f"ladder.json#/comparisons/{i}"
        rows.append(
            [
                test["alternative"],
                test["null"],
                choice.added(context, test["alternative"], test["null"]),
                context.fixed_point(test["statistic"], 2, f"{at}/statistic"),
                context.whole(test["df"], f"{at}/df"),
                _p(context, test.get("p_naive"), f"{at}/p_naive"),
                _p(context, test.get("p_boundary"), f"{at}/p_boundary"),
                str(test.get("mixture") or "–"),
            ]
        )
    decisive = _decisive(context, comparisons)
    shown = decisive if 0 < len(decisive) < len(rows) else None
    caption = "Likelihood-ratio tests that decided" if shown else "Likelihood-ratio tests between rungs"
    return Table("ladder_tests", caption, columns, rows, shown)


def _decisive(context: Context, comparisons: list[dict[str, Any]]) -> list[int]:
    """The tests that the choice went by: that of the error structure, then those of the climb."""
    pairs = [(t["null"], t["alternative"]) for t in comparisons]
    found = [i for i in [choice.error_test(context)] if i is not None]
    for step in (context.data.ladder.get("choice") or {}).get("path") or []:
        pair = (step.get("against"), step.get("rung"))
        if pair in pairs and pairs.index(pair) not in found:
            found.append(pairs.index(pair))
    return found


def _p(context: Context, value: float | None, source: str) -> Num:
    return Num(value, context.num.p(value), source)


def _register(context: Context) -> Table | None:
    register = context.data.ladder.get("register") or []
    if not register:
        return None
    columns = [
        Column("rung", "Rung", "code"),
        Column("formula", "Formula", "formula"),
        Column("loglik", "Log-likelihood"),
        Column("fate", "What became of it", "text"),
    ]
    rows = []
    for i, r in enumerate(register):
        at = f"ladder.json#/register/{i}"
        loglik, fate = _of_later_stage(context, r, at) if r.get("file") else (None, None)
        loglik = loglik or context.fixed_point(r.get("loglik"), 2, f"{at}/loglik")
        rows.append([str(r.get("rung")), str(r.get("formula")), loglik, fate or quote(r, "fate", at)])
    note = (
        "What later stages tried was entered before they ran. The log-likelihood of other rows cannot be set against "
        "the rungs'; there is none where an estimate does not come from a likelihood."
    )
    later = any(r.get("file") for r in register)
    return Table("register", "Every specification that was fitted", columns, rows, folded=True, note=note * later)


def _of_later_stage(context: Context, entry: dict[str, Any], at: str) -> tuple[Num | None, str | None]:
    """Log-likelihood and fate of a specification that a later stage tried; None where its file is not there."""
    file, name = str(entry["file"]), str(entry["name"])
    content = getattr(context.data, file.removesuffix(".json"), None) or {}
    if file == inference.FILE:
        source, record = inference.at("further", name), (content.get("further") or {}).get(name)
    else:
        key = "analyses" if file == "sensitivity.json" else "checks"
        place, record = next(((k, r) for k, r in enumerate(content.get(key) or []) if r["name"] == name), (0, None))
        source = f"{file}#/{key}/{place}"
    if record is None:
        return None, None
    if record.get("status") == "not available":
        result = f"Not available: {quote(record, 'reason', source)}"
    else:
        said = next((k for k in ("sentence", "meaning", "note") if record.get(k)), None)
        result = "Fitted." if said is None else quote(record, said, source)
    holder, inside = (record.get("details") or {}, "/details") if file == "checks.json" else (record, "")
    loglik = context.fixed_point(holder.get("loglik"), 2, f"{source}{inside}/loglik")
    return loglik, f"{quote(entry, 'what', at)} {result[:1].upper()}{result[1:]}"


def _refused(context: Context) -> list[Sentence]:
    """Specifications that could not be fitted, and why."""
    register = context.data.ladder.get("register") or []
    missing = [
        r for r in register if r.get("loglik") is None and r.get("rung") not in context.data.rungs and not r.get("file")
    ]
    return [
        Sentence(
            "Rung {rung} could not be fitted ({why}).",
            rung=str(r["rung"]),
            why=quote(r, "fate", f"ladder.json#/register/{register.index(r)}"),
        )
        for r in missing
    ]
