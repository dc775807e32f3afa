"""Splits a formula into tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import FormulaError

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?L?")
_NAME = re.compile(r"(?:[^\W\d]|\.(?![0-9]))[\w.]*")
_OPERATORS = ("||", "&&", "==", "!=", "<=", ">=", "**", *"~+-*/^:(),|&=<>!")  # longest first
_SAME = {"**": "^", "&&": "&"}
_UNESCAPE = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class Token:
    """kind: "number", "name", "quoted" (a name in backticks), "text", "op" or "end"; pos: offset in the formula."""

    kind: str
    value: str
    pos: int


def fault(source: str, pos: int, what: str, where: str, do: str = "") -> FormulaError:
    """A refusal that shows the formula with a caret under the offending place."""
    start = source.rfind("\n", 0, pos) + 1
    end = source.find("\n", pos)
    line = source[start : end if end >= 0 else len(source)].replace("\t", " ")
    offset = pos - start
    if len(line) > 110:  # a window around the fault, so that the caret stays on the screen
        left = max(0, offset - 60)
        cut = line[left : left + 110]
        line = ("…" if left else "") + cut + ("…" if left + 110 < len(line) else "")
        offset = offset - left + (1 if left else 0)
    return FormulaError(what, where, f"{do}\n    {line}\n    {' ' * offset}^")


def tokens(source: str, where: str = "formula") -> list[Token]:
    """All tokens of a formula, an ``end`` token last.

    Raises:
        FormulaError: a character that no formula has, or a quote that is not closed.
    """
    found: list[Token] = []
    pos = 0
    while pos < len(source):
        char = source[pos]
        if char.isspace():
            pos += 1
        elif char in "`'\"":
            value, end = _quoted(source, pos, where)
            found.append(Token("quoted" if char == "`" else "text", value, pos))
            pos = end
        elif match := _NUMBER.match(source, pos):
            found.append(Token("number", match.group(), pos))
            pos = match.end()
        elif match := _NAME.match(source, pos):
            found.append(Token("name", match.group(), pos))
            pos = match.end()
        elif op := next((o for o in _OPERATORS if source.startswith(o, pos)), None):
            found.append(Token("op", _SAME.get(op, op), pos))
            pos += len(op)
        else:
            raise fault(
                source, pos, f"A formula cannot contain {char!r}.", where, "Put unusual column names in `backticks`."
            )
    found.append(Token("end", "", len(source)))
    return found


def _quoted(source: str, start: int, where: str) -> tuple[str, int]:
    mark = source[start]
    out: list[str] = []
    pos = start + 1
    while pos < len(source):
        char = source[pos]
        if char == mark:
            if mark == "`" and not out:
                raise fault(source, start, "The name between the backticks is empty.", where)
            return "".join(out), pos + 1
        if char == "\\" and pos + 1 < len(source):
            pos += 1
            char = _UNESCAPE.get(source[pos], source[pos])
        out.append(char)
        pos += 1
    raise fault(source, start, f"The quote {mark} is opened here and never closed.", where)
