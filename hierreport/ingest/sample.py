"""Functions of the rows that the model uses: mean, within, scale, center and poly."""

from __future__ import annotations

from dataclasses import dataclass, field

from hierreport.errors import FormulaError
from hierreport.formula import Call, Name, Node, strip, text, walk
from hierreport.formula.functions import argument, canonical, truth, whole
from hierreport.source import make_table

from .relation import SAMPLE_FUNCTIONS, Relation, uses_sample
from .sql import Arithmetic, Value, column, number, render

_TINY = 1e-13


@dataclass
class Sample:
    """Compiles expressions over the complete rows of a relation.

    Args:
        relation: the rows, with their needed expressions as columns.
        path: grouping columns, outermost first: by= is the innermost group by default.
    """

    relation: Relation
    path: tuple[str, ...]
    steps: list[str | tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    means: dict[str, str] = field(default_factory=dict)
    incomplete: bool = True

    def __post_init__(self) -> None:
        self.arithmetic = Arithmetic(self.relation.formula, self._leaf)

    def rows(self, numbered: bool = False) -> str:
        """SQL of the complete rows, with the group means and polynomials met so far as columns."""
        sql = self.relation.rows(numbered)
        if self.incomplete:
            sql = f"SELECT * FROM ({sql}) WHERE {self.relation.complete()}"
        for step in self.steps:
            if isinstance(step, str):
                sql = f"SELECT *, {step} FROM ({sql})"
            else:
                table, by, alias = step
                on = " AND ".join(f"r.{a} = {table}.{a}" for a in by) or "TRUE"
                sql = f"SELECT r.*, {table}.m AS {alias} FROM ({sql}) AS r JOIN {table} ON {on}"
        return sql

    def number(self, node: Node) -> str:
        """SQL of an expression as a number, over ``rows()``."""
        return render(self.arithmetic.number(node).sql)

    def _leaf(self, node: Node, want: str) -> Value | None:
        if not uses_sample(node):
            if not any(isinstance(n, (Name, Call)) for n in walk(node)):
                return None  # a constant
            needed = self.relation.need(node)
            return Value(column(needed.alias), "number", text(node))
        if isinstance(node, Call) and canonical(node.function) in SAMPLE_FUNCTIONS:
            return self._sample(node, canonical(node.function))
        return None

    def _sample(self, node: Call, name: str) -> Value:
        from sqlglot import exp

        inner = self.arithmetic.number(node.args[0])
        label = text(node)
        if name in ("mean", "within"):
            average = column(self._group_mean(node, render(inner.sql)))
            if name == "mean":
                return Value(average, "number", label)
            return Value(exp.Paren(this=exp.Sub(this=inner.sql, expression=average)), "number", label)
        mean, sd = self._moments(render(inner.sql))
        centred = exp.Paren(this=exp.Sub(this=exp.Paren(this=inner.sql), expression=number(mean)))
        if name == "center":
            return Value(centred, "number", label)
        if not sd > _TINY * abs(mean):
            what = f"{label} is undefined: {text(node.args[0])} is constant."
            raise self.relation.formula.fault(node, what, "Leave it out.")
        return Value(exp.Paren(this=exp.Div(this=centred, expression=number(sd))), "number", label)

    def _moments(self, sql: str) -> tuple[float, float]:
        mean, sd = self.relation.query(f"SELECT avg({sql}), stddev_samp({sql}) FROM ({self.rows()})")[0]
        return mean or 0.0, sd or 0.0

    def _group_mean(self, node: Call, sql: str) -> str:
        """Join the means of an expression by group; returns the alias of the joined column."""
        by_names = self.relation.by_columns(node, self.path)
        if not by_names:
            do = "Add by=column, or a random term whose groups are meant."
            raise self.relation.formula.fault(node, f"{node.function}() needs groups.", do)
        by = tuple(self.relation.by_alias.get(n) or self.relation.group_alias[n] for n in by_names)
        known = self.means.get(key := f"{sql} BY {by}")
        if known is not None:
            return known

        keys = "".join(f"{a}, " for a in by)
        group = f" GROUP BY {keys[:-2]}" if by else ""
        select = f"SELECT {keys}avg({sql}) AS m FROM ({self.rows()}){group}"
        table = make_table(self.relation.source.con, select)
        alias = f"m{len(self.steps)}"
        self.steps.append((table, by, alias))
        self.means[key] = alias
        return alias

    # -- polynomials -----------------------------------------------------------------------------------------------

    def poly(self, node: Call) -> list[str]:
        """SQL of the columns of poly(x, d): orthonormal over the rows as R's, or powers with raw=TRUE."""
        degree = whole(argument(node, "degree")) or 1
        x = self.number(node.args[0])
        if truth(argument(node, "raw")):
            return [" * ".join([f"({x})"] * k) for k in range(1, degree + 1)]
        return self._orthogonal(node, x, degree)

    def _orthogonal(self, node: Call, x: str, degree: int) -> list[str]:
        """Orthonormal polynomials by the three-term recurrence, one pass over the rows per degree.

        p_{k+1} = (z − a_k) p_k − b_k p_{k−1} with a_k = Σ z p_k² / Σ p_k² and b_k = Σ p_k² / Σ p_{k−1}² (Kennedy &
        Gentle 1980, 343). Each is a column of a further subquery, so that the SQL grows linearly with the degree.
        """
        mean, sd = self._moments(x)
        if not sd > _TINY * abs(mean):
            raise self._too_few(node, degree)
        stem = f"q{len(self.steps)}_"
        self.steps.append(f"(({x}) - {_sql(mean)}) / {_sql(sd)} AS {stem}z, 1e0 AS {stem}0")
        z = f"{stem}z"
        norms: list[float] = []
        for k in range(degree + 1):
            p = f"{stem}{k}"
            sums = f"SELECT sum({p} * {p}), sum({z} * {p} * {p}), count(*) FROM ({self.rows()})"
            norm, first, n = self.relation.query(sums)[0]
            if not norm > _TINY * n:
                raise self._too_few(node, degree)
            before = f" - {_sql(norm / norms[-1])} * {stem}{k - 1}" if k else ""
            norms.append(norm)
            if k < degree:
                self.steps.append(f"({z} - {_sql(first / norm)}) * {p}{before} AS {stem}{k + 1}")
        return [f"{stem}{k} * {_sql(norms[k] ** -0.5)}" for k in range(1, degree + 1)]

    def _too_few(self, node: Call, degree: int) -> FormulaError:
        what = f"{text(node)} needs more than {degree} different values of {text(strip(node.args[0]))}."
        return self.relation.formula.fault(node, what, "Use a lower degree.")


def _sql(value: float) -> str:
    return render(number(value))
