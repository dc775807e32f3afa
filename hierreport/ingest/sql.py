"""Arithmetic of formulas as SQL expressions, through sqlglot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hierreport.formula import Call, Formula, Name, Node, Number, Op, Sign, Text, strip, text

if TYPE_CHECKING:
    from sqlglot import exp

DIALECT = "duckdb"
_LOGS = {"log2": 2, "log10": 10}
_LEAVE_OUT = "Leave such rows out."
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Value:
    """A compiled expression; kind: "number", "truth", "text" or "date"; label: its formula text, for messages."""

    sql: exp.Expr
    kind: str
    label: str


@dataclass(frozen=True)
class Guard:
    """A condition under which an expression has no value (the logarithm of zero).

    Attributes:
        node: the function or operation.
        bad: SQL condition, true for the offending rows.
        value: SQL of the offending argument.
        what: the sentence's end: ``wage <= 0``.
        do: what may mend it.
    """

    node: Node
    bad: str
    value: str
    what: str
    do: str


def render(expression: exp.Expr) -> str:
    """SQL text in DuckDB's dialect."""
    return expression.sql(DIALECT)


def column(name: str) -> exp.Expr:
    """A quoted column."""
    from sqlglot import exp

    return exp.column(exp.to_identifier(name, quoted=True))


def number(value: float) -> exp.Expr:
    """A double constant; the exponent keeps it from being read as a decimal."""
    from sqlglot import exp

    digits = repr(float(value))
    return exp.Literal.number(digits if "e" in digits else digits + "e0")


class Arithmetic:
    """Compiles the arithmetic of one formula.

    Args:
        formula: for messages.
        leaf: compiles what is not arithmetic: columns, and functions of other rows. Given the node and the kind that
            is wanted ("number", "any"), it returns a Value, or None to leave a call to this class.
    """

    def __init__(self, formula: Formula, leaf: Callable[[Node, str], Value | None]) -> None:
        self.formula, self.leaf = formula, leaf
        self.guards: list[Guard] = []

    def number(self, node: Node) -> Value:
        """An expression as a number; truth values become 0 and 1."""
        from sqlglot import exp

        value = self.any(node, "number")
        if value.kind == "truth":
            return Value(exp.cast(value.sql, "DOUBLE"), "number", value.label)
        if value.kind != "number":
            raise self.formula.fault(node, f"{value.label} is not a number.", "Only numbers take part in arithmetic.")
        return value

    def any(self, node: Node, want: str = "any") -> Value:
        """An expression of any kind."""
        node = strip(node)
        found = self.leaf(node, want)
        if found is not None:
            return found
        match node:
            case Number(value=value):
                return Value(number(value), "number", text(node))
            case Call():
                return self._call(node)
            case Sign(op="!"):
                return self._not(node)
            case Sign(op=op, operand=operand):
                return self._sign(node, op, operand)
            case Op(op=op) if op in _COMPARISONS:
                return self._compare(node)
            case Op(op="&" | "|" | "||"):
                return self._logic(node)
            case Op():
                return self._chain(node)
        raise self.formula.fault(node, f"{text(node)} is not a number.")

    def _call(self, node: Call) -> Value:
        from sqlglot import exp

        name, inner = node.function, self.number(node.args[0])
        if name == "I":
            return inner
        x = _paren(inner.sql)
        if name in ("log", "log2", "log10"):
            log = exp.Ln(this=x) if name == "log" else exp.Log(this=number(_LOGS[name]), expression=x)
            do = "Use log1p() or sqrt() where it can be 0, or leave such rows out."
            return self._where(node, exp.GT, exp.LTE, inner, 0.0, log, do)
        if name == "log1p":
            return self._where(node, exp.GT, exp.LTE, inner, -1.0, exp.Ln(this=_plus_one(x)), _LEAVE_OUT)
        if name == "sqrt":
            return self._where(node, exp.GTE, exp.LT, inner, 0.0, exp.Sqrt(this=x), _LEAVE_OUT)
        if name in ("lag", "diff"):
            what = f"{name}() looks at the rows as read, and {text(node.args[0])} at the rows that the model uses."
            raise self.formula.fault(node, what, f"Turn them round, for example mean({name}(x)).")
        made = {"exp": exp.Exp, "abs": exp.Abs}.get(name)
        if made is None:
            raise self.formula.fault(node, f"{text(node)} cannot be used here.")
        return Value(made(this=inner.sql), "number", text(node))

    def _where(
        self,
        node: Node,
        fine: type[exp.Binary],
        bad: type[exp.Binary],
        inner: Value,
        limit: float,
        result: exp.Expr,
        do: str,
    ) -> Value:
        """A function of ``inner`` that is NULL where it is not defined, with a record of where that is."""
        from sqlglot import exp

        x, bound = _paren(inner.sql), number(limit)
        sign = "<=" if bad is exp.LTE else "<"
        self._guard(node, bad(this=x.copy(), expression=bound), inner, f"{inner.label} {sign} {limit:g}", do)
        defined = fine(this=x.copy(), expression=bound.copy())
        return Value(exp.Case().when(defined, result), "number", text(node))

    def _guard(self, node: Node, bad: exp.Expr, argument: Value, what: str, do: str) -> None:
        self.guards.append(Guard(node, render(bad), render(argument.sql), what, do))

    def _sign(self, node: Node, op: str, operand: Node) -> Value:
        from sqlglot import exp

        inner = self.number(operand)
        sql = inner.sql if op == "+" else _paren(exp.Neg(this=_paren(inner.sql)))
        return Value(sql, "number", text(node))

    def _not(self, node: Sign) -> Value:
        from sqlglot import exp

        return Value(_paren(exp.Not(this=_paren(self._truth(node.operand)))), "truth", text(node))

    def _truth(self, node: Node) -> exp.Expr:
        from sqlglot import exp

        value = self.any(node)
        if value.kind == "truth":
            return value.sql
        if value.kind == "number":
            return exp.NEQ(this=value.sql, expression=number(0))
        raise self.formula.fault(node, f"{value.label} is not a truth value.", "Compare it with something first.")

    def _logic(self, node: Op) -> Value:
        from sqlglot import exp

        # As products and sums of 0 and 1, so that a missing value always makes the row incomplete (in SQL, as in R,
        # FALSE & missing is FALSE), and nothing stands in the SQL twice.
        left, right = (exp.cast(_paren(self._truth(side)), "DOUBLE") for side in (node.left, node.right))
        made = exp.Mul if node.op == "&" else exp.Add
        both = _paren(made(this=left, expression=right))
        return Value(_paren(exp.GT(this=both, expression=number(0))), "truth", text(node))

    def _compare(self, node: Op) -> Value:
        from sqlglot import exp

        made = {"==": exp.EQ, "!=": exp.NEQ, "<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE}[node.op]
        left, right = strip(node.left), strip(node.right)
        if isinstance(left, Text) or isinstance(right, Text):
            other = self.any(right if isinstance(left, Text) else left)
            sides = [
                self._constant(side, other) if isinstance(side, Text) else other.sql.copy() for side in (left, right)
            ]
            return Value(_paren(made(this=sides[0], expression=sides[1])), "truth", text(node))
        a, b = self.any(left), self.any(right)
        if a.kind != b.kind or (a.kind == "text" and node.op not in ("==", "!=")):
            if {a.kind, b.kind} <= {"number", "truth"}:
                a, b = self.number(left), self.number(right)
            elif a.kind != b.kind:
                what = f"{a.label} ({a.kind}) cannot be compared with {b.label} ({b.kind})."
                raise self.formula.fault(node, what, "Put text and dates in quotes.")
        return Value(_paren(made(this=_paren(a.sql), expression=_paren(b.sql))), "truth", text(node))

    def _constant(self, node: Text, other: Value) -> exp.Expr:
        """A quoted constant, of the kind that it is compared with."""
        from sqlglot import exp

        if other.kind == "text":
            return exp.Literal.string(node.value)
        if other.kind == "truth" and node.value.upper() in ("TRUE", "FALSE"):
            return exp.Boolean(this=node.value.upper() == "TRUE")
        if other.kind == "date":
            from datetime import datetime

            try:
                moment = datetime.fromisoformat(node.value)
            except ValueError:
                what = f"{text(node)} is not a date."
                raise self.formula.fault(node, what, "Dates are written '2020-01-31'.") from None
            return exp.cast(exp.Literal.string(moment.replace(tzinfo=None).isoformat(" ")), "TIMESTAMP")
        raise self.formula.fault(node, f"{other.label} is a {other.kind} and {text(node)} is text.", "Drop the quotes.")

    def _chain(self, node: Op) -> Value:
        """A chain of + - * / (which may be long), or a power."""
        from sqlglot import exp

        if node.op == "^":
            return self._power(node)
        if node.op not in ("+", "-", "*", "/"):
            raise self.formula.fault(node, f"{node.op} has no meaning inside arithmetic.")
        steps: list[Op] = []
        at: Node = node
        while isinstance(at, Op) and at.op in ("+", "-", "*", "/"):
            steps.append(at)
            at = at.left
        if len(steps) > 150:
            raise self.formula.fault(node, f"This expression has {len(steps)} operations, more than 150.")
        sql = self.number(at).sql
        for step in reversed(steps):
            right = self.number(step.right)
            if step.op == "/":
                sql = self._divide(step, sql, right)
            else:
                made = {"+": exp.Add, "-": exp.Sub, "*": exp.Mul}[step.op]
                sql = _paren(made(this=sql, expression=_paren(right.sql)))
        return Value(sql, "number", text(node))

    def _divide(self, node: Op, left: exp.Expr, right: Value) -> exp.Expr:
        from sqlglot import exp

        if isinstance(right.sql, exp.Literal) and float(right.sql.name) != 0:
            return _paren(exp.Div(this=left, expression=right.sql))
        zero = exp.EQ(this=_paren(right.sql.copy()), expression=number(0))
        self._guard(node, zero, right, f"{right.label} = 0", _LEAVE_OUT)
        return _paren(exp.Div(this=left, expression=exp.Nullif(this=right.sql, expression=number(0))))

    def _power(self, node: Op) -> Value:
        from sqlglot import exp

        base, power = self.number(node.left), self.number(node.right)
        made = exp.Pow(this=_paren(base.sql), expression=_paren(power.sql))
        return Value(made, "number", text(node))


def _plus_one(expression: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Paren(this=exp.Add(this=number(1), expression=expression))


def _paren(expression: exp.Expr) -> exp.Expr:
    """An operand in parentheses, where it is not a single token."""
    from sqlglot import exp

    if isinstance(expression, (exp.Column, exp.Literal, exp.Paren, exp.Func)):
        return expression
    return exp.Paren(this=expression)


def names_in(node: Node) -> list[Name]:
    """The columns that an expression reads."""
    from hierreport.formula import walk
    from hierreport.formula.functions import canonical

    skip: set[int] = set()
    for n in walk(node):  # names in ref=, raw=, degree= and k= are not columns
        if isinstance(n, Call):
            extra = list(n.args[1:]) + [v for key, v in n.named if key != "by"]
            skip |= {id(m) for e in extra for m in walk(e)}
            assert canonical(n.function)
    return [n for n in walk(node) if isinstance(n, Name) and id(n) not in skip]
