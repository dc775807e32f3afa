"""Builds the checked model frame of a formula over a source."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import DataError
from hierreport.formula import INTERCEPT, Call, Formula, Name, Node, parse, strip, text
from hierreport.formula.functions import argument, canonical, constant
from hierreport.frame import Column, Frame
from hierreport.reduce import one_thread
from hierreport.spec import LevelSpec

from .checks import Missing, find_missing, refuse_bad_sample, refuse_bad_values
from .design import Variable, code
from .factors import order_levels, reference_level, refuse_number_like, refuse_too_many
from .kinds import kind_of, spoken
from .relation import Relation, column_type, identifier, uses_sample
from .sample import Sample
from .scan import Scan, scan
from .structure import Hierarchy, hierarchy, level_terms, reorder
from .timeaxis import TimeAxis, TimeFacts, duplicate_examples, open_axis, time_facts

if TYPE_CHECKING:
    from hierreport.source import Source

_serial = itertools.count(1)


def build_frame(
    source: Source,
    formula: Formula | str,
    *,
    time: str | None = None,
    weights: str | None = None,
    time_step: float | None = None,
    where: str = "formula",
    reproducible: bool = False,
) -> Frame:
    """Check a panel against a formula and describe the model frame as a view over it.

    A plain formula costs one pass of aggregates over the rows; nothing is copied. Lags, and nothing else, are
    materialised in DuckDB.

    Args:
        source: the panel.
        formula: the richest model, in lme4's notation.
        time: time column: numbers, dates or text like 2020-01.
        weights: column of weights, as in ``lmer(weights=)``.
        time_step: length of one time step in the time column's unit; by default the smallest step seen.
        where: config key of the formula, for messages.
        reproducible: run every sum on one thread, so that all figures have the same bits each time.

    Raises:
        FormulaError: the formula and the data do not fit together.
        DataError: the data break a requirement of the model.
    """
    if isinstance(formula, str):
        formula = parse(formula, where)
    with one_thread(source.con) if reproducible else nullcontext():
        return Builder(source, formula, time, weights, time_step).build()


def sibling(where: str, key: str) -> str:
    """The config key beside the formula's: ``analyses.uk.formula`` gives ``analyses.uk.time``."""
    head, _, _ = where.rpartition(".")
    return f"{head}.{key}" if head else key


@dataclass
class Builder:
    source: Source
    formula: Formula
    time: str | None
    weights: str | None
    time_step: float | None
    table: dict[str, str] = field(default_factory=dict)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    level_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    weight_alias: str | None = None
    outcome_whole: bool = False

    def build(self) -> Frame:
        formula = self.formula
        self.notes += [*self.source.notes, *formula.notes]
        for name in formula.grouping_columns:
            column_type(self.source, name, formula.where, formula, _group_node(formula, name))
        self.relation = relation = Relation(self.source, formula, formula.grouping_columns, self.open_time())
        if self.weights is not None:
            self.need_weights(self.weights)
        self.factors = self.need_variables()
        self.outcome_alias = self.need_outcome()
        if relation.windows:
            self.prepare_lags()

        used, missing = self.scan_rows()
        self.missing = missing
        self.tree = tree = hierarchy(formula, used) if formula.random else Hierarchy((), {})
        used = reorder(used, tree.columns)
        self.sample = Sample(relation, tree.columns, incomplete=missing.dropped > 0)
        # Without a missing value anywhere, the tests for one are left out of the view.
        relation.clean = missing.dropped > 0 or _has_logic(formula)

        variables = {text(v): self.variable(v) for v in formula.variables}
        outcome = self.outcome()
        refuse_bad_sample(self.sample)
        self.facts = self.time_facts(used)
        columns, fixed, random, terms = self.design(variables)
        frame = self.create(outcome, columns, fixed, random)
        return self.describe(frame, used, variables, terms)

    # -- what the model needs --------------------------------------------------------------------------------------

    def open_time(self) -> TimeAxis | None:
        if self.time is None:
            return None
        where = sibling(self.formula.where, "time")
        if self.time_step is not None and not self.time_step > 0:
            raise DataError(f"The time step is {self.time_step}.", sibling(self.formula.where, "time_step"), "It is positive.")
        axis = open_axis(self.source, self.time, where)
        if axis.note:
            self.notes.append(axis.note)
        return axis

    def need_weights(self, name: str) -> None:
        where = sibling(self.formula.where, "weights")
        kind = column_type(self.source, name, where)
        if kind_of(kind) != "number":
            raise DataError(f"The column {name} is {spoken(kind)}.", where, "Weights are positive numbers.")
        self.weight_alias = self.relation.need_plain(f"weights {name}", self.relation.numeric(name)).alias

    def need_variables(self) -> dict[str, str]:
        """Register what the right-hand side needs; returns the alias of each factor's labels by variable."""
        factors = {}
        for variable in self.formula.variables:
            name = text(variable)
            source = self.factor_source(variable)
            if source is not None:
                if uses_sample(source):
                    raise self.formula.fault(source, f"{text(source)} cannot be a category.", "C() takes a column.")
                factors[name] = self.relation.need(source, "text").alias
                continue
            inner = variable.args[0] if _is_call(variable, "poly") else variable
            for part in self.relation.parts(inner):
                self.relation.need(part)
            self.need_by(variable)
        return factors

    def need_by(self, variable: Node) -> None:
        """Columns of by= arguments that are not groups are needed too."""
        from hierreport.formula import walk

        for node in walk(variable):
            if isinstance(node, Call) and argument(node, "by") is not None and canonical(node.function) != "C":
                for name in self.relation.by_columns(node, ()):
                    if name not in self.relation.group_alias:
                        base = self.relation.label(name)
                        self.relation.by_alias[name] = self.relation.need_plain(f"by {name}", base, "text").alias

    def factor_source(self, variable: Node) -> Node | None:
        """The expression whose values are a factor's levels; None for a numeric variable."""
        if _is_call(variable, "C"):
            return strip(variable.args[0])
        if isinstance(variable, Name):
            kind = column_type(self.source, variable.name, self.formula.where, self.formula, variable)
            if kind_of(kind) in ("text", "truth"):
                return variable
            if kind_of(kind) == "other":
                what = f"The column {variable.name} is {spoken(kind)}."
                raise self.formula.fault(variable, what, "It cannot be used in a model.")
        return None

    def need_outcome(self) -> str | None:
        """Register the outcome; returns its alias where it needs no sample statistics."""
        outcome = self.formula.outcome
        if isinstance(outcome, Name):
            kind = column_type(self.source, outcome.name, self.formula.where, self.formula, outcome)
            if kind_of(kind) not in ("number", "truth"):
                what = f"The outcome {outcome.name} is {spoken(kind)}."
                remark = self.source.remarks.get(outcome.name)
                do = f"It was read as {remark}." if remark else "A Gaussian model needs a numeric outcome."
                raise self.formula.fault(outcome, what, do)
        for part in self.relation.parts(outcome):
            alias = self.relation.need(part).alias
        self.need_by(outcome)
        if not any(True for _ in self.relation.parts(outcome)):
            raise self.formula.fault(outcome, f"The outcome {text(outcome)} is a constant.")
        return None if uses_sample(outcome) else alias

    def prepare_lags(self) -> None:
        """Find the time step over the rows as read; order must be known, so keys must not repeat."""
        relation, axis = self.relation, self.relation.axis
        assert axis is not None
        windows, needed = relation.windows, relation.needed
        relation.windows, relation.needed = {}, {}  # the rows as read need neither
        there = " AND ".join(f"{a} IS NOT NULL" for a in [*relation.group_alias.values(), "tm"])
        rows = f"SELECT * FROM ({relation.rows()}) WHERE {there}"
        keys = ", ".join(relation.group_alias.values())
        groups = relation.query(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM ({rows}))")[0][0] if keys else 1
        facts = time_facts(relation, rows, groups, self.time_step)
        if facts is not None and facts.duplicates:
            example = self.duplicate_examples(rows)[0]
            what = f"{facts.duplicates} rows repeat a key: {example['group']} has {example['rows']} rows at {example['time']}."
            do = "A lag needs one row per group and time."
            raise DataError(what, sibling(self.formula.where, "time"), do)
        step = self.time_step or (facts.step if facts else None) or 1.0
        relation.axis = replace(axis, step=step, origin=facts.first if facts else 0.0)
        relation.windows, relation.needed = windows, needed

    # -- rows ------------------------------------------------------------------------------------------------------

    def scan_rows(self) -> tuple[Scan, Missing]:
        """Aggregate the complete rows; refuse impossible values; count what is missing."""
        relation = self.relation
        numbers = [n.alias for n in relation.needed.values() if n.kind == "number"]
        others = [n.alias for n in relation.needed.values() if n.kind != "number"]
        others += ["tm"] if relation.axis is not None else []
        weight = self.weight_alias
        y = self.outcome_alias
        extra = {"whole": f"bool_and({y} = FLOOR({y}))"} if y else {}
        found, more = scan(relation, relation.rows(), numbers, others, extra)
        if found.rows == 0:
            raise DataError("There are no rows.", self.source.description)
        if _all_fine(found, numbers, weight):
            missing = Missing(rows=found.rows)
        else:
            refuse_bad_values(relation, weight, self.weights, sibling(self.formula.where, "weights"))
            missing = find_missing(relation, weight)
            if missing.dropped == missing.rows:
                counts = ", ".join(f"{c}: {k}" for c, k in missing.columns.items() if k)
                what = f"No row of {missing.rows} is complete; missing values by column: {counts}."
                raise DataError(what, self.source.description, "Leave such columns out, or fill them in.")
            if missing.dropped:
                if missing.zero_weights:
                    message = f"{missing.zero_weights} rows with weight 0 are left out: they carry no information."
                    self.warnings.append(("zero_weights", message))
                    relation.extra_condition = f"{weight} > 0"
                complete = f"SELECT * FROM ({relation.rows()}) WHERE {relation.complete()}"
                found, more = scan(relation, complete, numbers, others, extra)
        self.outcome_whole = bool(np.all(np.asarray(more["whole"], dtype=bool))) if y else False
        return found, missing

    # -- variables -------------------------------------------------------------------------------------------------

    def put(self, name: str, sql: str) -> str:
        """A column of the frame's table; another expression of the same name gets a suffix. Returns its name."""
        wanted = name
        for attempt in itertools.count(2):
            taken = {n.casefold(): n for n in self.table}.get(name.casefold())
            if taken is None:
                self.table[name] = sql
                return name
            if self.table[taken] == sql:
                return taken
            name = f"{wanted} ({attempt})"
        raise AssertionError

    def variable(self, node: Node) -> Variable:
        """A variable of the right-hand side, its columns put into the table."""
        name = text(node)
        if name in self.factors:
            return self.factor(node, self.factors[name])
        if _is_call(node, "poly"):
            names = [f"{name}[{k}]" for k in range(1, 21)]
            return Variable(name, tuple((n, self.put(n, sql)) for n, sql in zip(names, self.sample.poly(node), strict=False)))
        return Variable(name, ((name, self.put(name, self.value(node))),))

    def value(self, node: Node) -> str:
        """SQL of a numeric expression over the sample's rows."""
        return self.sample.number(node) if uses_sample(node) else self.relation.need(node).alias

    def factor(self, node: Node, alias: str) -> Variable:
        source = self.factor_source(node)
        assert source is not None
        rows = self.sample.rows()
        counts = dict(self.relation.query(f"SELECT {alias}, count(*) FROM ({rows}) GROUP BY {alias}"))
        column = source.name if isinstance(source, Name) else None
        if isinstance(node, Name):
            refuse_number_like(self.relation, node, counts)
        refuse_too_many(self.formula, node, len(counts))
        levels = order_levels(counts, self.source.categories.get(column or ""), self.source.columns.get(column or ""))
        ref = argument(node, "ref") if isinstance(node, Call) else None
        reference = reference_level(self.formula, ref, constant(ref) if ref is not None else None, levels)
        table = self.put(column if column and isinstance(node, Name) else text(node), alias)
        self.level_counts[table] = {level: int(counts[level]) for level in levels}
        if len(levels) == 1:
            self.warnings.append(("one_level", f"{text(node)} has a single level, {levels[0]}, in the rows used."))
        return Variable(text(source), (), table, levels, reference)

    def outcome(self) -> Column:
        name = self.formula.outcome_name
        self.outcome_column = self.put(name, self.value(self.formula.outcome))
        return Column(name, identifier(self.outcome_column))

    def design(
        self, variables: dict[str, Variable]
    ) -> tuple[tuple[Column, ...], tuple[str, ...], tuple[LevelSpec, ...], dict[str, str]]:
        """The columns of all terms; the fixed part; the random part by level; the term of each column."""
        formula = self.formula
        columns: dict[str, Column] = {}
        terms: dict[str, str] = {}
        fixed = [INTERCEPT] if formula.intercept else []
        for term, coded in code(formula.terms, formula.intercept, variables):
            for column in coded:
                columns.setdefault(column.name, column)
                terms.setdefault(column.name, term.name)
                fixed.append(column.name)
        blocks: dict[str, list[tuple[str, ...]]] = {}
        for level, random in level_terms(formula, self.tree):
            plain = tuple(t for t in random.terms if t.factors)
            with_intercept = len(plain) < len(random.terms)
            names = [INTERCEPT] if with_intercept else []
            for term, coded in code(plain, with_intercept, variables):
                for column in coded:
                    columns.setdefault(column.name, column)
                    terms.setdefault(column.name, term.name)
                    names.append(column.name)
            taken = [t for block in blocks.get(level, []) for t in block]
            twice = next((n for n in names if n in taken), None)
            if twice is not None:
                what = f"{twice} has two random coefficients at the level {level}."
                raise DataError(what, formula.where, "Give each column one.")
            mine = [tuple(names)] if random.correlated else [(n,) for n in names]
            blocks.setdefault(level, []).extend(mine)
        if len(columns) > 5_000:
            raise DataError(f"The model has {len(columns)} columns.", formula.where, "Use fewer levels or interactions.")
        levels = [level for level in self.tree.levels if level in blocks]
        random_part = tuple(LevelSpec(level, tuple(blocks[level])) for level in levels)
        return tuple(columns.values()), tuple(dict.fromkeys(fixed)), random_part, terms

    # -- time ------------------------------------------------------------------------------------------------------

    def time_facts(self, used: Scan) -> TimeFacts | None:
        if self.relation.axis is None:
            return None
        facts = time_facts(self.relation, self.sample.rows(), len(used.n), self.time_step)
        if facts is not None:
            step = self.relation.axis.step or self.time_step or facts.step
            self.relation.axis = replace(self.relation.axis, step=step, origin=self.relation.axis.origin)
        return facts

    def duplicate_examples(self, rows: str) -> list[dict[str, Any]]:
        found = duplicate_examples(self.relation, rows)
        return [{"group": "/".join(row[:-2]), "time": row[-2], "rows": row[-1]} for row in found]

    # -- the frame -------------------------------------------------------------------------------------------------

    def create(
        self, outcome: Column, columns: tuple[Column, ...], fixed: tuple[str, ...], random: tuple[LevelSpec, ...]
    ) -> Frame:
        """Create the view (a table where there are lags) and the frame over it."""
        relation = self.relation
        labels = {c: relation.needed.get(f"text:{text(Name(c))}") for c in self.tree.columns}
        # A column that is a group and a factor is stored once.
        groups = tuple(self.put(c, n.alias if (n := labels[c]) else relation.group_alias[c]) for c in self.tree.columns)
        weights = self.put(str(self.weights), self.weight_alias) if self.weight_alias else None
        time = label = None
        if relation.axis is not None:
            if relation.axis.unit == "number":
                time = label = self.put_time(relation.axis.name)
            else:
                time, label = self.put("__time", "tm"), self.put(relation.axis.name, "tl")
        items = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in self.table.items())
        name = identifier(f"hierreport_frame_{next(_serial)}")
        kind = "TEMP TABLE" if relation.windows else "TEMP VIEW"
        relation.query(f"CREATE {kind} {name} AS SELECT __row, {items} FROM ({self.sample.rows(numbered=True)})")
        return Frame(
            self.source.con, name, outcome, columns, fixed, random, groups, self.tree.levels, time, weights, {}, {}, {},
            time_label=label, keep=self.source,
        )  # fmt: skip

    def put_time(self, name: str) -> str:
        """The time column under its own name; a numeric variable of that name is the same column."""
        have = self.table.get(name)
        needed = self.relation.needed.get(f"number:{name}")
        if have is not None and needed is not None and have == needed.alias:
            return name
        return self.put(name if have is None else "__time", "tm")

    def describe(self, frame: Frame, used: Scan, variables: dict[str, Variable], terms: dict[str, str]) -> Frame:
        from .describe import describe

        return describe(self, frame, used, variables, terms)


def _all_fine(found: Scan, numbers: list[str], weight: str | None) -> bool:
    """Whether every row is complete and every value finite, so that no second look is needed."""
    if any((c != found.n).any() for c in found.counts.values()):
        return False
    if any(None in ids for ids in found.keys.values()):
        return False
    for alias in numbers:
        s = found.stats[alias]
        if not (np.isfinite(s.mean).all() and np.isfinite(s.low).all() and np.isfinite(s.high).all()):
            return False
    return weight is None or bool((found.stats[weight].low > 0).all())


def _is_call(node: Node, name: str) -> bool:
    return isinstance(node, Call) and canonical(node.function) == name


def _has_logic(formula: Formula) -> bool:
    from hierreport.formula import Op, Sign, walk

    nodes = (n for v in (*formula.variables, formula.outcome) for n in walk(v))
    return any(isinstance(n, (Op, Sign)) and n.op in ("|", "||", "&", "!") for n in nodes)


def _group_node(formula: Formula, name: str) -> Node:
    """Where a grouping column stands in the formula, for messages."""
    from hierreport.formula import Op, walk
    from hierreport.formula.parser import parse_tree

    for node in walk(parse_tree(formula.source, formula.where)):
        if isinstance(node, Op) and node.op in ("|", "||"):
            for inner in walk(node.right):
                if isinstance(inner, Name) and inner.name == name:
                    return inner
    return formula.outcome
