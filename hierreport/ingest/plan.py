"""What a formula needs of the rows: its columns, lags, factors, time and weights, registered before any row is read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from hierreport.errors import DataError
from hierreport.formula import Call, Formula, Name, Node, Op, strip, text, walk
from hierreport.formula.functions import argument, canonical

from .kinds import kind_of, spoken
from .names import column_type
from .relation import Relation, uses_sample
from .timeaxis import open_axis, set_step
from .timefacts import duplicate_examples, time_facts

if TYPE_CHECKING:
    from hierreport.source import Source


@dataclass
class Plan:
    """A formula over a source, before its rows were looked at.

    Attributes:
        relation: the rows, with everything that the formula needs of them as columns.
        factors: column of the relation with the labels of each factor, by variable.
        outcome: column of the relation with the outcome; None where it needs sample statistics first.
        weight: column of the relation with the weights, and their name.
        strata: name of the column that residual variances differ by, where rows must have it, and its column of the
            relation.
        warnings: (code, message) pairs; notes: sentences.
    """

    source: Source
    formula: Formula
    relation: Relation
    factors: dict[str, str] = field(default_factory=dict)
    outcome: str | None = None
    weight: str | None = None
    weight_name: str | None = None
    strata: tuple[str, str] | None = None
    warnings: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def where(self, key: str) -> str:
        """The config key beside the formula's: ``analyses.uk.formula`` gives ``analyses.uk.time``."""
        head, _, _ = self.formula.where.rpartition(".")
        return f"{head}.{key}" if head else key


def make_plan(
    source: Source,
    formula: Formula,
    time: str | None,
    weights: str | None,
    step: float | str | None,
    variances: str | None = None,
) -> Plan:
    """Register what a formula needs.

    Raises:
        FormulaError or DataError: a column does not exist or is of the wrong type.
    """
    for name in formula.grouping_columns:
        kind = column_type(source, name, formula.where, formula, _group_node(formula, name))
        if kind_of(kind) == "other":
            raise formula.fault(
                _group_node(formula, name), f"The column {name} is {spoken(kind)}.", "It is no grouping."
            )
    plan = Plan(source, formula, Relation(source, formula, formula.grouping_columns))
    plan.notes += [*source.notes, *formula.notes]
    if time is not None:
        axis = set_step(source, open_axis(source, time, plan.where("time")), step, plan.where("time_step"))
        plan.relation.axis = axis
        plan.notes += [axis.note] if axis.note else []
    if weights is not None:
        _need_weights(plan, weights)
    if variances in source.columns:  # else a term or a group of the formula, or nothing: known with the table
        assert variances is not None
        kind = source.columns[variances]
        if kind_of(kind) == "other":
            do = "Name a column of categories."
            raise DataError(f"The column {variances} is {spoken(kind)}.", plan.where("variances"), do)
        plan.strata = variances, plan.relation.need(Name(variances), "text").alias
    for variable in formula.variables:
        _need_variable(plan, variable)
    _need_outcome(plan)
    if plan.relation.windows:
        _prepare_lags(plan)
    return plan


def is_call(node: Node, name: str) -> TypeGuard[Call]:
    """Whether a node calls a function."""
    return isinstance(node, Call) and canonical(node.function) == name


def factor_source(plan: Plan, variable: Node) -> Node | None:
    """The expression whose values are a factor's levels; None for a numeric variable."""
    if is_call(variable, "C"):
        return strip(variable.args[0])
    if isinstance(variable, Name):
        kind = column_type(plan.source, variable.name, plan.formula.where, plan.formula, variable)
        if kind_of(kind) in ("text", "truth"):
            return variable
        if kind_of(kind) == "other":
            what = f"The column {variable.name} is {spoken(kind)}."
            raise plan.formula.fault(variable, what, "It cannot be used in a model.")
    return None


def _need_weights(plan: Plan, name: str) -> None:
    kind = column_type(plan.source, name, plan.where("weights"))
    if kind_of(kind) != "number":
        raise DataError(f"The column {name} is {spoken(kind)}.", plan.where("weights"), "Weights are positive numbers.")
    alias = plan.relation.numeric(name)
    plan.weight, plan.weight_name = plan.relation.need_plain(f"weights {name}", alias).alias, name


def _need_variable(plan: Plan, variable: Node) -> None:
    source = factor_source(plan, variable)
    if source is not None:
        if uses_sample(source):
            raise plan.formula.fault(source, f"{text(source)} cannot be a category.", "C() takes a column.")
        plan.factors[text(variable)] = plan.relation.need(source, "text").alias
        return
    for part in plan.relation.parts(variable.args[0] if is_call(variable, "poly") else variable):
        plan.relation.need(part)
    _need_by(plan, variable)


def _need_by(plan: Plan, variable: Node) -> None:
    """Columns of by= arguments that are not groups are needed too."""
    for node in walk(variable):
        if isinstance(node, Call) and argument(node, "by") is not None:
            for name in plan.relation.by_columns(node, ()):
                if name not in plan.relation.group_alias:
                    label = plan.relation.label(name)
                    plan.relation.by_alias[name] = plan.relation.need_plain(f"by {name}", label, "text").alias


def _need_outcome(plan: Plan) -> None:
    formula, outcome = plan.formula, plan.formula.outcome
    if isinstance(outcome, Name):
        kind = column_type(plan.source, outcome.name, formula.where, formula, outcome)
        if kind_of(kind) not in ("number", "truth"):
            remark = plan.source.remarks.get(outcome.name)
            do = (f"It was read as {remark}. " if remark else "") + "A Gaussian model needs a numeric outcome."
            what = f"The outcome {outcome.name} is {spoken(kind)}{plan.relation.first_text(outcome.name)}."
            raise formula.fault(outcome, what, do)
    parts = [plan.relation.need(part) for part in plan.relation.parts(outcome)]
    _need_by(plan, outcome)
    if not any(isinstance(n, Name) for n in walk(outcome)):
        raise formula.fault(outcome, f"The outcome {text(outcome)} is a constant.")
    plan.outcome = None if uses_sample(outcome) else parts[0].alias


def _prepare_lags(plan: Plan) -> None:
    """Find the time step over the rows as read; order must be known, so keys must not repeat."""
    relation, axis = plan.relation, plan.relation.axis
    assert axis is not None
    bare = replace(relation, windows={}, needed={})  # the rows as read need neither
    keys = list(relation.group_alias.values())
    there = " AND ".join(f"{a} IS NOT NULL" for a in [*keys, "tm"])
    rows = f"SELECT * FROM ({bare.rows()}) WHERE {there}"
    distinct = f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(keys)} FROM ({rows}))"
    facts = time_facts(relation, rows, relation.query(distinct)[0][0] if keys else 1, axis.step)
    if facts is not None and facts.duplicates:
        example = first_duplicates(relation, rows)[0]
        at = f"{example['group']} has {example['rows']} rows at {example['time']}"
        do = "A lag needs one row per group and time."
        raise DataError(f"{facts.duplicates} rows repeat a key: {at}.", plan.where("time"), do)
    step = axis.step or (facts.step if facts else None) or 1.0
    relation.axis = replace(axis, step=step, origin=facts.first if facts else 0.0)


def first_duplicates(relation: Relation, rows: str) -> list[dict[str, Any]]:
    """The first duplicate (group, time) keys, for messages and panel.json."""
    found = duplicate_examples(relation, rows)
    return [{"group": "/".join(row[:-2]) or "the panel", "time": row[-2], "rows": row[-1]} for row in found]


def _group_node(formula: Formula, name: str) -> Node:
    """Where a grouping column stands in the formula, for messages."""
    from hierreport.formula.parser import parse_tree

    for node in walk(parse_tree(formula.source, formula.where)):
        if isinstance(node, Op) and node.op in ("|", "||"):
            for inner in walk(node.right):
                if isinstance(inner, Name) and inner.name == name:
                    return inner
    return formula.outcome
