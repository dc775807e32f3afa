"""The algebra of terms: expands ``a * b``, ``(a + b)^2``, ``a / b``, ``- 1`` as R's ``terms`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import FormulaError
from .nodes import Call, Name, Node, Number, Op, Paren, Sign, Text, spine, strip, text

_MAX_TERMS = 5_000
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_ARITHMETIC = "Arithmetic goes into I(), for example I(x/100)."


@dataclass(frozen=True)
class Term:
    """A product of variables; the intercept is the empty product."""

    factors: tuple[Node, ...]

    @property
    def name(self) -> str:
        return ":".join(text(f) for f in self.factors) or "(Intercept)"


@dataclass
class Expansion:
    """What a sum of terms amounts to: terms as sets of variables (by text), the intercept, and the random parts."""

    terms: dict[frozenset[str], None] = field(default_factory=dict)
    intercept: bool | None = None
    bars: list[Op] = field(default_factory=list)


class Expander:
    """Expands the right-hand sides of one formula, keeping its variables in the order in which they appear.

    Args:
        fault: makes the error from (node, what, do).
    """

    def __init__(self, fault: Callable[..., FormulaError]) -> None:
        self.fault = fault
        self.variables: dict[str, Node] = {}
        self.notes: list[str] = []

    def expand(self, node: Node) -> Expansion:
        """Expand a sum of terms; random parts ``(… | g)`` are collected unexpanded."""
        out = Expansion()
        for sign, part in self._summands(node):
            inner = strip(part)
            if isinstance(inner, Op) and inner.op in ("|", "||"):
                self._bar(out, sign, part, inner)
            elif isinstance(inner, Number):
                self._number(out, sign, inner)
            elif sign == "+" and isinstance(part, Paren) and _is_sum(inner):
                nested = self.expand(inner)
                out.terms |= nested.terms
                out.bars += nested.bars
                out.intercept = nested.intercept if nested.intercept is not None else out.intercept
            elif sign == "+":
                out.terms |= dict.fromkeys(self._product(part))
            else:
                for term in self._product(part):
                    if term not in out.terms:
                        self.notes.append(f"- {text(part)} removes a term that the formula does not have.")
                    out.terms.pop(term, None)
            if len(out.terms) > _MAX_TERMS:
                raise self.fault(part, f"The formula has more than {_MAX_TERMS} terms.", "")
        return out

    def ordered(self, terms: dict[frozenset[str], None]) -> tuple[Term, ...]:
        """Terms as R orders them: main effects first, then two-way interactions, each in the order of appearance."""
        place = {name: i for i, name in enumerate(self.variables)}
        return tuple(
            Term(tuple(self.variables[v] for v in sorted(term, key=place.__getitem__)))
            for term in sorted(terms, key=len)
        )

    def _summands(self, node: Node) -> list[tuple[str, Node]]:
        """The parts of a chain of + and - with their signs."""
        if isinstance(node, Op) and node.op in "+-":
            first, rest = spine(node)
            # The spine may go on below the sum (a * b + c): only its + and - part is a sum.
            start = max((i + 1 for i, op in enumerate(rest) if op.op not in "+-"), default=0)
            head = rest[start].left if start < len(rest) else first
            return self._summands(head) + [_signed(op.op, op.right) for op in rest[start:]]
        return [_signed("+", node)]

    def _number(self, out: Expansion, sign: str, node: Number) -> None:
        if node.value not in (0.0, 1.0):
            raise self.fault(node, f"{node.digits} is not a term.", "Only 0, 1 and -1 are. " + _ARITHMETIC)
        out.intercept = (node.value == 1.0) == (sign == "+")

    def _bar(self, out: Expansion, sign: str, part: Node, bar: Op) -> None:
        if not isinstance(part, Paren):
            raise self.fault(bar, "A random term needs parentheses.", "Write y ~ x + (1 | group).")
        if sign == "-":
            raise self.fault(bar, "A random term cannot be subtracted.", "Leave it out instead.")
        out.bars.append(bar)

    def _product(self, node: Node) -> list[frozenset[str]]:
        """The terms of one summand."""
        node = strip(node)
        if isinstance(node, Op) and node.op in "+-":
            inner = self.expand(node)
            if inner.bars:
                raise self.fault(inner.bars[0], "A random term stands on its own, added to the others.", "")
            return list(inner.terms)
        if isinstance(node, Op) and node.op in ("*", ":", "/", "^"):
            return self._combine(node)
        return [frozenset([self._variable(node)])]

    def _combine(self, node: Op) -> list[frozenset[str]]:
        if node.op == "^":
            return self._power(node)
        first, rest = spine(node)
        start = max((i + 1 for i, op in enumerate(rest) if op.op != node.op), default=0)
        left = self._product(rest[start].left if start < len(rest) else first)
        for op in rest[start:]:
            right = self._product(op.right)
            if op.op == ":":
                left = self._cross(left, right, op)
            elif op.op == "*":
                left = list(dict.fromkeys(left + right + self._cross(left, right, op)))
            else:  # a/b: b within all of a
                nest = frozenset().union(*left)
                left = list(dict.fromkeys(left + [nest | term for term in right]))
        return left

    def _cross(self, left: list[frozenset[str]], right: list[frozenset[str]], op: Op) -> list[frozenset[str]]:
        if len(left) * len(right) > _MAX_TERMS:
            raise self.fault(op, f"The formula has more than {_MAX_TERMS} terms.", "")
        return list(dict.fromkeys(a | b for a in left for b in right))

    def _power(self, node: Op) -> list[frozenset[str]]:
        exponent = strip(node.right)
        if not isinstance(exponent, Number) or exponent.value != int(exponent.value) or exponent.value < 1:
            raise self.fault(node.right, "The power of a sum of terms is a whole number.", _ARITHMETIC)
        base = self._product(node.left)
        if len(base) == 1 and exponent.value > 1:
            shown = text(node)
            self.notes.append(f"{shown} is the same as {text(node.left)} in this notation; a square is I({shown}).")
        out = base
        for _ in range(min(int(exponent.value), len(base)) - 1):
            out = list(dict.fromkeys(out + self._cross(out, base, node)))
        return out

    def _variable(self, node: Node) -> str:
        """Register a variable and return its text, by which it is known."""
        match node:
            case Number(digits=digits):
                raise self.fault(node, f"{digits} is not a term.", _ARITHMETIC)
            case Text():
                raise self.fault(node, f"{text(node)} is a string, not a term.", "Put column names in `backticks`.")
            case Name(name="."):
                raise self.fault(node, "The dot (all other columns) is not supported.", "Name the columns.")
            case Op(op="|" | "||" as op):
                raise self.fault(node, f"A random term with {op} stands on its own, added to the others.", "")
            case Op(op="~"):
                raise self.fault(node, "A formula has one ~.", "")
            case Name() | Call():
                pass
            case Op(op=op) if op in _COMPARISONS:
                pass
            case Op() | Sign() | Paren():
                raise self.fault(node, f"{text(node)} is not a term.", _ARITHMETIC)
        name = text(node)
        self.variables.setdefault(name, node)
        return name


def _is_sum(node: Node) -> bool:
    return isinstance(node, (Op, Sign)) and node.op in "+-"


def _signed(op: str, node: Node) -> tuple[str, Node]:
    """A summand and its sign, prefix signs multiplied in: ``+ -1`` is ``- 1``."""
    while isinstance(node, Sign) and node.op in "+-":
        op = "+" if node.op == op else "-"
        node = node.operand
    return op, node
