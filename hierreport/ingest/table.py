"""The frame's table: variables as columns, terms as expressions over them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hierreport.errors import DataError
from hierreport.formula import INTERCEPT, Call, Name, Node, text
from hierreport.formula.functions import argument, constant
from hierreport.frame import Column, Frame
from hierreport.spec import LevelSpec

from .design import Variable, code
from .factors import order_levels, reference_level, refuse_number_like, refuse_too_many
from .names import identifier
from .plan import Plan, factor_source, is_call
from .relation import Relation, uses_sample
from .sample import Sample
from .structure import Hierarchy, level_terms

_serial = itertools.count(1)
_MAX_COLUMNS = 5_000
_MAX_CELLS = 1_000_000  # (group, level) pairs up to which a factor's variance is taken apart


@dataclass(frozen=True)
class Recipe:
    """How the table was made, so that its expressions can be replayed on new rows with the constants of the fit.

    Attributes:
        relation: typed columns, lags and expressions of the rows.
        sample: what was added that depends on the rows used (group means, polynomials).
        table: SQL of each table column over those.
    """

    relation: Relation
    sample: Sample
    table: dict[str, str]


@dataclass
class Table:
    """Collects the columns of the frame's table.

    Attributes:
        groups: number of innermost groups.
        columns: SQL over the sample's rows, by column name.
        level_counts: rows of each level, by factor column.
        factor_shares: where a factor varies, by factor column: as ``structure.variance_shares``.
        outcome_column: the outcome's column.
    """

    plan: Plan
    sample: Sample
    tree: Hierarchy
    groups: int
    columns: dict[str, str] = field(default_factory=dict)
    level_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    factor_shares: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcome_column: str = ""

    def put(self, name: str, sql: str) -> str:
        """Add a column; another expression of the same name gets a suffix. Returns the name it has."""
        wanted = name
        for attempt in itertools.count(2):
            taken = {n.casefold(): n for n in self.columns}.get(name.casefold())
            if taken is None:
                self.columns[name] = sql
                return name
            if self.columns[taken] == sql:
                return taken
            name = f"{wanted} ({attempt})"
        raise AssertionError

    def variable(self, node: Node) -> Variable:
        """A variable of the right-hand side, its columns put into the table."""
        name = text(node)
        if name in self.plan.factors:
            return self._factor(node, self.plan.factors[name])
        if is_call(node, "poly"):
            columns = [(f"{name}[{k}]", sql) for k, sql in enumerate(self.sample.poly(node), start=1)]
            return Variable(name, tuple((column, self.put(column, sql)) for column, sql in columns))
        return Variable(name, ((name, self.put(name, self._value(node))),))

    def outcome(self) -> Column:
        formula = self.plan.formula
        self.outcome_column = self.put(formula.outcome_name, self._value(formula.outcome))
        return Column(formula.outcome_name, identifier(self.outcome_column))

    def _value(self, node: Node) -> str:
        """SQL of a numeric expression over the sample's rows."""
        return self.sample.number(node) if uses_sample(node) else self.plan.relation.need(node).alias

    def _factor(self, node: Node, alias: str) -> Variable:
        plan, relation = self.plan, self.plan.relation
        source = factor_source(plan, node)
        assert source is not None
        counts = dict(relation.query(f"SELECT {alias}, count(*) FROM ({self.sample.rows()}) GROUP BY {alias}"))
        column = source.name if isinstance(source, Name) else ""
        if isinstance(node, Name):
            refuse_number_like(relation, node, counts)
        refuse_too_many(plan.formula, node, len(counts))
        levels = order_levels(counts, plan.source.categories.get(column), plan.source.columns.get(column))
        ref = argument(node, "ref") if isinstance(node, Call) else None
        reference = reference_level(plan.formula, ref, constant(ref) if ref is not None else None, levels)
        levels = (reference, *(level for level in levels if level != reference))  # as R's relevel
        table = self.put(column if isinstance(node, Name) else text(node), alias)
        self.level_counts[table] = {level: int(counts[level]) for level in levels}
        self.factor_shares[table] = self._shares(alias, counts)
        if len(levels) == 1:
            plan.warnings.append(("one_level", f"{text(node)} has a single level, {levels[0]}, in the rows used."))
        return Variable(text(source), (), table, levels, reference)

    def _shares(self, alias: str, counts: dict[str, int]) -> dict[str, Any]:
        """The shares of a factor's variance, summed over its dummies, within and between groups of each level."""
        keys, levels = [self.plan.relation.group_alias[c] for c in self.tree.columns], self.tree.levels
        rows = sum(counts.values())
        total = rows - sum(n * n for n in counts.values()) / rows
        unknown = {"share_within": None, "share_between": dict.fromkeys(levels)}
        if not total > 1e-12 * rows or len(counts) * self.groups > _MAX_CELLS:
            return unknown
        cell = ", ".join([*keys, alias])
        cells = f"SELECT {cell}, count(*) AS n FROM ({self.sample.rows()}) GROUP BY {cell}"
        parts = []
        for depth in range(1, len(keys) + 1):
            group = ", ".join(keys[:depth])
            # What the groups' shares of each level explain: the sum of count² / rows over groups and levels.
            counted = f"SELECT {group}, {alias}, sum(n) AS c FROM cells GROUP BY {group}, {alias}"
            squares = f"SELECT sum(c * c) AS q, sum(c) AS r FROM ({counted}) GROUP BY {group}"
            parts.append(f"SELECT {depth} AS depth, sum(q / r) FROM ({squares})")
        explained = [rows - total]
        if parts:
            query = f"WITH cells AS MATERIALIZED ({cells}) {' UNION ALL '.join(parts)} ORDER BY depth"
            explained += [value for _, value in self.plan.relation.query(query)]
        between = {level: (explained[i + 1] - explained[i]) / total for i, level in enumerate(levels)}
        return {"share_within": (rows - explained[-1]) / total, "share_between": between}

    def create(self, outcome: Column, design: Design) -> Frame:
        """The frame over the rows: a query, and a table where there are lags, so that they are computed once."""
        plan, relation = self.plan, self.plan.relation
        labels = {c: relation.needed.get(f"text:{text(Name(c))}") for c in self.tree.columns}
        # A column that is a group and a factor is stored once.
        groups = tuple(self.put(c, n.alias if (n := labels[c]) else relation.group_alias[c]) for c in self.tree.columns)
        weights = self.put(str(plan.weight_name), plan.weight) if plan.weight else None
        time = label = None
        if relation.axis is not None:
            if relation.axis.unit == "number":
                time = label = self._number_time(relation.axis.name)
            else:
                time, label = self.put("__time", "tm"), self.put(relation.axis.name, "tl")
        if plan.strata and plan.strata[0] not in self.columns and plan.strata[1] not in self.columns.values():
            self.put(*plan.strata)
        items = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in self.columns.items())
        rows = f"SELECT __row, {items} FROM ({self.sample.rows(numbered=True)})"
        source = f"({rows})"
        if relation.windows:
            source = identifier(f"hierreport_frame_{next(_serial)}")
            relation.query(f"CREATE TEMP TABLE {source} AS {rows}")
        return Frame(
            con=plan.source.con,
            table=source,
            outcome=outcome,
            columns=design.columns,
            fixed=design.fixed,
            random=design.random,
            groups=groups,
            levels=self.tree.levels,
            time=time,
            weights=weights,
            means={},
            sds={},
            info={},
            time_label=label,
            keep=Recipe(relation, self.sample, self.columns),
        )

    def _number_time(self, name: str) -> str:
        """The time column under its own name; a numeric variable of that name is the same column."""
        have = self.columns.get(name)
        needed = self.plan.relation.needed.get(f"number:{name}")
        if have is not None and needed is not None and have == needed.alias:
            return name
        return self.put(name if have is None else "__time", "tm")


@dataclass(frozen=True)
class Design:
    """All columns of the model, the fixed part, the random part, and the term that each column belongs to."""

    columns: tuple[Column, ...]
    fixed: tuple[str, ...]
    random: tuple[LevelSpec, ...]
    terms: dict[str, str]


def make_design(plan: Plan, tree: Hierarchy, variables: dict[str, Variable]) -> Design:
    """Code the formula's terms.

    Raises:
        DataError: a column has two random coefficients at one level, or there are thousands of columns.
    """
    formula = plan.formula
    columns: dict[str, Column] = {}
    terms: dict[str, str] = {}

    def coded(part: tuple, intercept: bool) -> list[str]:
        names = [INTERCEPT] if intercept else []
        for term, found in code(part, intercept, variables):
            for column in found:
                columns.setdefault(column.name, column)
                terms.setdefault(column.name, term.name)
                names.append(column.name)
        return list(dict.fromkeys(names))

    fixed = coded(formula.terms, formula.intercept)
    blocks: dict[str, list[tuple[str, ...]]] = {}
    for level, random in level_terms(formula, tree):
        slopes = tuple(t for t in random.terms if t.factors)
        names = coded(slopes, len(slopes) < len(random.terms))
        taken = {t for block in blocks.get(level, []) for t in block}
        twice = next((n for n in names if n in taken), None)
        if twice is not None:
            what = f"{twice} has two random coefficients at the level {level}."
            raise DataError(what, formula.where, "Give each column one.")
        blocks.setdefault(level, []).extend([tuple(names)] if random.correlated else [(n,) for n in names])
    if len(columns) > _MAX_COLUMNS:
        raise DataError(f"The model has {len(columns)} columns.", formula.where, "Use fewer levels or interactions.")
    specs = tuple(LevelSpec(level, tuple(blocks[level])) for level in tree.levels if level in blocks)
    return Design(tuple(columns.values()), tuple(fixed), specs, terms)
