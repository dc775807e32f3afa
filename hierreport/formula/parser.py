"""Parses a formula into a tree by operator precedence, as R does."""

from __future__ import annotations

import math

from .lexer import Token, fault, tokens
from .nodes import Call, Name, Node, Number, Op, Paren, Sign, Text

# R's precedence, loosest first: ~ | & ! comparison + - * / : sign ^
_INFIX = {"~": 1, "|": 2, "||": 2, "&": 3, "==": 5, "!=": 5, "<": 5, "<=": 5, ">": 5, ">=": 5}
_INFIX |= {"+": 6, "-": 6, "*": 7, "/": 7, ":": 8, "^": 10}
_PREFIX = {"!": 4, "-": 9, "+": 9}
_COMPARISON = 5
_POWER = 10
_MAX_DEPTH = 60
_MAX_LOGIC = 50
_MAX_LENGTH = 100_000


def parse_tree(source: str, where: str = "formula") -> Node:
    """The syntax tree of a whole formula or expression.

    Raises:
        FormulaError: the text breaks the grammar; the message shows where.
    """
    if len(source) > _MAX_LENGTH:
        raise fault(source[:80], 0, f"The formula has {len(source)} characters, more than {_MAX_LENGTH}.", where)
    return _Parser(source, where).whole()


class _Parser:
    def __init__(self, source: str, where: str) -> None:
        self.source, self.where = source, where
        self.tokens = tokens(source, where)
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        if self.peek().kind == "end":
            raise fault(self.source, 0, "The formula is empty.", self.where, "Write for example y ~ x + (1 | group).")
        node = self.expression(0)
        if self.peek().kind != "end":
            raise self.unexpected(self.peek())
        return node

    def peek(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def is_op(self, value: str) -> bool:
        token = self.peek()
        return token.kind == "op" and token.value == value

    def expression(self, min_power: int) -> Node:
        # The depth bounds recursion here and in everything that walks the tree later.
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise fault(self.source, self.peek().pos, "The formula is nested too deeply.", self.where)
        left = self.operand()
        logic = 0
        while (token := self.peek()).kind == "op" and token.value in _INFIX:
            power = _INFIX[token.value]
            # ^ is right-associative, everything else left-associative.
            if power < min_power or (power == min_power and power != _POWER):
                break
            self.next()
            logic += token.value in ("&", "|", "||")
            if logic > _MAX_LOGIC:  # other chains are not recursed along
                raise fault(self.source, token.pos, f"More than {_MAX_LOGIC} truth values are joined.", self.where)
            left = Op(token.value, left, self.expression(power), token.pos)
            if power == _COMPARISON and self.peek().kind == "op" and _INFIX.get(self.peek().value) == _COMPARISON:
                raise self.unexpected(self.peek(), "Comparisons cannot be chained.")
        self.depth -= 1
        return left

    def operand(self) -> Node:
        token = self.next()
        if token.kind == "number":
            value = float(token.value.rstrip("L"))
            if not math.isfinite(value):
                raise fault(self.source, token.pos, f"The number {token.value} is too large.", self.where)
            return Number(value, token.value, token.pos)
        if token.kind == "text":
            return Text(token.value, token.pos)
        if token.kind in ("name", "quoted"):
            if token.kind == "name" and self.is_op("("):
                return self.call(token)
            return Name(token.value, token.pos)
        if token.kind == "op" and token.value == "(":
            inner = self.expression(0)
            self.close(token)
            return Paren(inner, token.pos)
        if token.kind == "op" and token.value in _PREFIX:
            return Sign(token.value, self.expression(_PREFIX[token.value]), token.pos)
        raise self.unexpected(token)

    def call(self, function: Token) -> Node:
        opening = self.next()
        args: list[Node] = []
        named: list[tuple[str, Node]] = []
        while not self.is_op(")"):
            token, following = self.peek(), self.tokens[min(self.at + 1, len(self.tokens) - 1)]
            if token.kind in ("name", "quoted") and following.kind == "op" and following.value == "=":
                self.at += 2
                if any(key == token.value for key, _ in named):
                    raise fault(self.source, token.pos, f"{token.value}= is given twice.", self.where)
                named.append((token.value, self.expression(0)))
            elif named:
                raise fault(self.source, token.pos, "A plain argument cannot follow a named one.", self.where)
            else:
                args.append(self.expression(0))
            if not self.is_op(","):
                break
            comma = self.next()
            if self.is_op(")"):
                raise fault(self.source, comma.pos, "An argument is missing after this comma.", self.where)
        self.close(opening)
        return Call(function.value, tuple(args), tuple(named), function.pos)

    def close(self, opening: Token) -> None:
        if self.is_op(")"):
            self.next()
        elif self.peek().kind == "end":
            raise fault(self.source, opening.pos, "This parenthesis is never closed.", self.where)
        else:
            raise self.unexpected(self.peek())

    def unexpected(self, token: Token, hint: str = "") -> Exception:
        if token.kind == "end":
            return fault(self.source, token.pos, "The formula ends too early.", self.where, hint)
        shown = token.value if token.kind in ("op", "number", "name") else repr(token.value)
        return fault(self.source, token.pos, f"Unexpected {shown}.", self.where, hint)
