"""Variance by level: ICC by rung, and along the covariate of a random slope."""

from __future__ import annotations

from typing import Any

from ...figures import pictures
from .. import inference_ladder, verdict
from ..context import Context, rung_pointer
from ..names import INTERCEPT
from ..numbers import Num
from ..parts import Column, Content, Sentence, Table

TITLE = "Variance by level"


def build(context: Context) -> Content | None:
    if not any(context.data.rungs[r]["reml"].get("random") for r in context.order):
        return None
    findings = [verdict.variance(context), *_explained(context)]
    content = Content(findings, pictures("variance", context) + pictures("icc_curve", context))
    content.tables = [_shares(context), _components(context)]
    content.blocks = inference_ladder.variance_blocks(context)
    return content


def _explained(context: Context) -> list[Sentence]:
    r2 = context.estimate.get("r2") or {}
    if r2.get("marginal") is None:
        return []
    values: dict[str, Any] = {
        "marginal": context.share(r2["marginal"], rung_pointer(context.chosen, "reml", "r2", "marginal"))
    }
    template = "The predictors account for {marginal} of the variance of the outcome"
    if context.random and r2.get("conditional") is not None:
        values["conditional"] = context.share(
            r2["conditional"], rung_pointer(context.chosen, "reml", "r2", "conditional")
        )
        template += "; with the groups it is {conditional}"
    return [Sentence(template + " (Nakagawa's R²).", **values)]


def _shares(context: Context) -> Table:
    levels = [
        lv
        for lv in context.levels
        if any(lv in (context.data.rungs[r]["reml"].get("icc") or {}) for r in context.shown)
    ]
    columns = [Column("rung", "Rung", "code")]
    columns += [Column(f"icc_{lv}", f"Between {context.names.level(lv, 2)}") for lv in levels]
    columns.append(Column("icc_residual", "Residual"))
    rows = []
    for rung in context.shown:
        icc = context.data.rungs[rung]["reml"].get("icc") or {}
        row: list[Any] = [rung]
        for level in [*levels, "residual"]:
            value = icc.get(level, 1.0 if level == "residual" and not icc else None)
            row.append(Num(value, context.num.percent(value, 1), rung_pointer(rung, "reml", "icc", level)))
        rows.append(row)
    emphasis = context.shown.index(context.chosen)
    return Table("icc", "Share of the variance at each level", columns, rows, emphasis=emphasis)


def _components(context: Context) -> Table:
    columns = [
        Column("level", "Level", "name"),
        Column("term", "Coefficient", "name"),
        Column("sd", "Std. deviation"),
        Column("variance", "Variance"),
        Column("corr", "Correlation with the baseline"),
    ]
    rows: list[list[Any]] = []
    for r, block in enumerate(context.random):
        for k, term in enumerate(block["terms"]):
            at = ("reml", "random", r)
            has_baseline = INTERCEPT in block["terms"] and term != INTERCEPT
            j = block["terms"].index(INTERCEPT) if has_baseline else 0
            corr = block["corr"][k][j] if has_baseline else None
            rows.append(
                [
                    context.names.level(block["level"], 2),
                    context.names.term(term),
                    context.figure(block["sd"][k], 3, rung_pointer(context.chosen, *at, "sd", k)),
                    context.figure(block["cov"][k][k], 3, rung_pointer(context.chosen, *at, "cov", k, k)),
                    context.fixed_point(corr, 2, rung_pointer(context.chosen, *at, "corr", k, j))
                    if has_baseline
                    else None,
                ]
            )
    sigma = context.estimate["sigma"]
    rows.append(
        [
            "residual",
            "each row",
            context.figure(sigma, 3, rung_pointer(context.chosen, "reml", "sigma")),
            context.figure(sigma**2, 3),
            None,
        ]
    )
    return Table("variance_components", f"Variance components of {context.chosen} (REML)", columns, rows)
