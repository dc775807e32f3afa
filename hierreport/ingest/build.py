"""Builds the checked model frame of a formula over a source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hierreport.formula import Formula, parse, text
from hierreport.frame import Frame
from hierreport.variants import check_strata

from .checks import refuse_bad_sample
from .describe import Findings, describe
from .plan import Plan, make_plan
from .rows import scan_rows
from .sample import Sample
from .scanned import products_suffice, scanned_moments
from .structure import Hierarchy, hierarchy, reorder
from .table import Table, make_design
from .timefacts import time_facts

if TYPE_CHECKING:
    from hierreport.source import Source


def build_frame(
    source: Source,
    formula: Formula | str,
    *,
    time: str | None = None,
    weights: str | None = None,
    time_step: float | str | None = None,
    variances: str | None = None,
    where: str = "formula",
    moments: bool = False,
) -> Frame:
    """Check a panel against a formula and describe the model frame as a query over it.

    A plain formula costs one pass of aggregates over the rows; nothing is copied. Lags, and nothing else, are
    materialised in DuckDB.

    Args:
        source: the panel.
        formula: the richest model, in lme4's notation.
        time: time column: numbers, dates or text like 2020-01.
        weights: column of weights, as in ``lmer(weights=)``; rows of weight 0 are left out with a warning.
        time_step: length of one time step: a number in the time column's unit; "day", "week", "month", "quarter" or
            "year"; or "period" to count the periods that occur. By default the smallest step seen.
        variances: column of the source (a term or a group of the formula too) that residual variances will differ by.
        where: config key of the formula, for messages.
        moments: make the frame's group moments in the same pass, where the formula is plain enough; a pass less.

    Raises:
        FormulaError: the formula and the data do not fit together.
        DataError: the data break a requirement of the model.
        ConfigError: there is no column ``variances``, or it gives no strata.
    """
    if isinstance(formula, str):
        formula = parse(formula, where)
    plan = make_plan(source, formula, time, weights, time_step, variances)
    frame = _build(plan, moments)
    if variances is not None:
        check_strata(frame, variances, plan.where("variances"))
    return frame


def _build(plan: Plan, moments: bool) -> Frame:
    formula, relation = plan.formula, plan.relation
    moments = moments and products_suffice(plan)
    used, missing, whole = scan_rows(plan, moments)
    tree = hierarchy(formula, used) if formula.random else Hierarchy((), {})
    used = reorder(used, tree.columns)
    # Without a missing value anywhere, the tests for one are left out of the query.
    relation.clean = missing.dropped > 0
    sample = Sample(relation, tree.columns, incomplete=missing.dropped > 0)

    table = Table(plan, sample, tree, len(used.n))
    variables = {text(v): table.variable(v) for v in formula.variables}
    outcome = table.outcome()
    refuse_bad_sample(sample)
    facts = None
    if relation.axis is not None:
        facts = time_facts(relation, sample.rows(), len(used.n), relation.axis.step)
        relation.axis = replace(relation.axis, step=relation.axis.step or (facts.step if facts else None))
    design = make_design(plan, tree, variables)
    frame = table.create(outcome, design)
    frame = describe(frame, Findings(plan, table, used, missing, facts, variables, design, whole))
    return replace(frame, moments=scanned_moments(frame, table, used)) if moments else frame
