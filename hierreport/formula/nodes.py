"""The syntax tree of a formula, and its text with normalised spaces (which names the model's columns)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

_PLAIN_NAME = re.compile(r"(?:[^\W\d]|\.(?!\d))[\w.]*\Z")
_TIGHT = frozenset({"^", ":", "/"})  # as R writes them
_QUOTE_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True)
class Number:
    """A constant; ``digits`` is as written."""

    value: float
    digits: str
    pos: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Text:
    """A quoted string."""

    value: str
    pos: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str
    pos: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Call:
    """``function(args, name=value)``."""

    function: str
    args: tuple[Node, ...]
    named: tuple[tuple[str, Node], ...] = ()
    pos: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Sign:
    """A prefix operator: ``-``, ``+`` or ``!``."""

    op: str
    operand: Node
    pos: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Op:
    """An infix operator; what it means depends on where it stands (terms or arithmetic)."""

    op: str
    left: Node
    right: Node
    pos: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Paren:
    """A parenthesis, kept so that the text can be written back as it was."""

    inner: Node
    pos: int = field(default=0, compare=False)


Node: TypeAlias = "Number | Text | Name | Call | Sign | Op | Paren"


def quote(name: str) -> str:
    """A column name as a formula writes it: in backticks where it is not a plain identifier."""
    if _PLAIN_NAME.match(name):
        return name
    return "`" + _escape(name, "`") + "`"


def text(node: Node) -> str:
    """The formula text of a node, with normalised spaces: ``I(x^2)``, ``I(x/z)``, ``mean(x, by=firm)``."""
    match node:
        case Number(digits=digits):
            return digits
        case Text(value=value):
            return "'" + _escape(value, "'") + "'"
        case Name(name=name):
            return quote(name)
        case Call(function=function, args=args, named=named):
            inner = [text(a) for a in args] + [f"{quote(key)}={text(value)}" for key, value in named]
            return f"{function}({', '.join(inner)})"
        case Sign(op=op, operand=operand):
            return op + text(operand)
        case Op():
            first, rest = spine(node)
            spaced = ((op.op if op.op in _TIGHT else f" {op.op} ") + text(op.right) for op in rest)
            return text(first) + "".join(spaced)
        case Paren(inner=inner):
            return f"({text(inner)})"


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below a node."""
    match node:
        case Call(args=args, named=named):
            return args + tuple(value for _, value in named)
        case Sign(operand=operand):
            return (operand,)
        case Op(left=left, right=right):
            return (left, right)
        case Paren(inner=inner):
            return (inner,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and all nodes below it, depth first and in the order of the text."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(children(top)))


def spine(node: Op) -> tuple[Node, list[Op]]:
    """A chain ``a + b - c`` as its first operand and its operations from left to right.

    Chains are as long as the formula, so that nothing may recurse along them.
    """
    rest: list[Op] = []
    first: Node = node
    while isinstance(first, Op):
        rest.append(first)
        first = first.left
    return first, rest[::-1]


def strip(node: Node) -> Node:
    """A node without the parentheses around it."""
    while isinstance(node, Paren):
        node = node.inner
    return node


def _escape(value: str, mark: str) -> str:
    return "".join(_QUOTE_ESCAPES.get(c, "\\" + c if c == mark else c) for c in value)
