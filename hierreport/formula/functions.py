"""The functions that a formula may call, and what each takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FormulaError
from .nodes import Call, Name, Node, Number, Op, Sign, Text, strip, text

Fault = Callable[..., FormulaError]


@dataclass(frozen=True)
class Function:
    """A known function.

    Attributes:
        kind: "row" (a value of its own row), "time" (of other rows of the group), "sample" (of the rows that the model
            uses) or "coding" (gives several columns, so it stands alone or in an interaction, not in arithmetic).
        usage: how it is written, for messages.
        args: most plain arguments it takes (the first is always needed).
        named: the arguments that may be given by name, and at which plain position they may stand instead (or None).
    """

    kind: str
    usage: str
    args: int = 1
    named: tuple[tuple[str, int | None], ...] = ()


FUNCTIONS: dict[str, Function] = {
    **{f: Function("row", f"{f}(x)") for f in ("log", "log2", "log10", "log1p", "exp", "sqrt", "abs", "I")},
    "C": Function("coding", "C(x) or C(x, ref='level')", 1, (("ref", None),)),
    "poly": Function("coding", "poly(x, 2) or poly(x, 2, raw=TRUE)", 3, (("degree", 1), ("raw", 2))),
    "lag": Function("time", "lag(x) or lag(x, 2)", 2, (("k", 1),)),
    "diff": Function("time", "diff(x) or diff(x, 2)", 2, (("k", 1),)),
    "scale": Function("sample", "scale(x)"),
    "center": Function("sample", "center(x)"),
    "mean": Function("sample", "mean(x) or mean(x, by=group)", 1, (("by", None),)),
    "within": Function("sample", "within(x) or within(x, by=group)", 1, (("by", None),)),
}
_SYNONYMS = {"factor": "C", "as.factor": "C", "centre": "center"}
_HINTS = {
    "ln": "log() is the natural logarithm.",
    "offset": "An offset is not supported; subtract it from the outcome.",
    "cbind": "One outcome at a time.",
    "s": "Smooth terms are not supported; poly(x, 3) gives a polynomial.",
    "lead": "lag(x, k) looks back; to look ahead, lag the outcome's side instead.",
    "Treatment": "Write C(x, ref='level').",
}
_TRUE, _FALSE = ("TRUE", "True", "true", "T"), ("FALSE", "False", "false", "F")


def canonical(name: str) -> str:
    """The name under which a function is known (``factor`` is ``C``)."""
    return _SYNONYMS.get(name, name)


def argument(call: Call, name: str) -> Node | None:
    """A named argument of a call, given by name or by position; None where it is left out."""
    for key, value in call.named:
        if key == name:
            return value
    for key, place in FUNCTIONS[canonical(call.function)].named:
        if key == name and place is not None and place < len(call.args):
            return call.args[place]
    return None


def whole(node: Node | None) -> int | None:
    """A node's value if it is a whole number, else None."""
    value = number(node)
    return int(value) if value is not None and value == int(value) else None


def number(node: Node | None) -> float | None:
    """A node's value if it is a constant with or without a sign, else None."""
    match strip(node) if node is not None else None:
        case Number(value=value):
            return value
        case Sign(op=("+" | "-") as op, operand=operand):
            inner = number(operand)
            return None if inner is None else (-inner if op == "-" else inner)
    return None


def truth(node: Node | None) -> bool | None:
    """A node's value if it is TRUE or FALSE (also as Python writes them), else None."""
    if isinstance(node, Name):
        return True if node.name in _TRUE else False if node.name in _FALSE else None
    value = number(node)
    return bool(value) if value in (0.0, 1.0) else None


def constant(node: Node) -> str | float | bool | None:
    """The value of a string, number or truth constant, else None."""
    node = strip(node)
    if isinstance(node, Text):
        return node.value
    return truth(node) if isinstance(node, Name) else number(node)


def columns_of(node: Node) -> tuple[str, ...] | None:
    """The columns of a grouping ``a``, ``a/b``, ``a:b`` (or ``C(a)``), outermost first; None if it is anything else."""
    node = strip(node)
    match node:
        case Name(name=name):
            return (name,)
        case Call(args=(Name(name=name),), named=()) if canonical(node.function) == "C":
            return (name,)
        case Op(op="/" | ":", left=left, right=right):
            first, second = columns_of(left), columns_of(right)
            if first is None or second is None:
                return None
            return first + tuple(c for c in second if c not in first)
    return None


def check(call: Call, fault: Fault) -> None:
    """Refuse a call of an unknown function or with arguments that it does not take.

    Args:
        call: the call.
        fault: makes the error from (node, what, do).
    """
    name = canonical(call.function)
    function = FUNCTIONS.get(name)
    if function is None:
        near = difflib.get_close_matches(call.function, [*FUNCTIONS, *_SYNONYMS], 1)
        hint = _HINTS.get(call.function) or (f"Did you mean {near[0]}()?" if near else "")
        known = "Known functions: " + ", ".join(FUNCTIONS) + "."
        raise fault(call, f"The function {call.function}() is not known.", f"{hint} {known}".strip())
    usage = f"It is written {function.usage}."
    if not call.args:
        raise fault(call, f"{call.function}() needs an argument.", usage)
    if len(call.args) > function.args:
        extra = call.args[function.args]
        raise fault(extra, f"{call.function}() takes no argument {text(extra)}.", usage)
    places = dict(function.named)
    for key, value in call.named:
        if key not in places:
            raise fault(value, f"{call.function}() takes no argument {key}=.", usage)
        place = places[key]
        if place is not None and place < len(call.args):
            raise fault(value, f"{key}= is given twice.", usage)
    _check_values(call, name, fault)


def _check_values(call: Call, name: str, fault: Fault) -> None:
    if name in ("lag", "diff") and (k := argument(call, "k")) is not None:
        steps = whole(k)
        if steps is None or not 1 <= steps <= 1_000_000:
            raise fault(k, f"The number of steps of {call.function}() is a whole number of at least 1.", "")
    if name == "poly":
        degree = argument(call, "degree")
        if degree is not None and not 1 <= (whole(degree) or 0) <= 20:
            raise fault(degree, "The degree of poly() is a whole number from 1 to 20.", "")
        raw = argument(call, "raw")
        if raw is not None and truth(raw) is None:
            raise fault(raw, "raw= is TRUE or FALSE.", "")
    if (by := argument(call, "by") if name in ("mean", "within") else None) is not None and columns_of(by) is None:
        raise fault(by, "by= takes a column, or several as a/b.", "")
    if name == "C" and (ref := argument(call, "ref")) is not None and constant(ref) is None:
        raise fault(ref, "ref= takes a level of the column, in quotes or as a number.", "")
