"""Levels of factors: their order, the reference level, and text that was meant to be numbers."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from hierreport.formula import Formula, Name, Node

from .kinds import kind_of

if TYPE_CHECKING:
    from .relation import Relation

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*\Z")
MAX_LEVELS = 5_000


def order_levels(counts: dict[str, int], declared: tuple[str, ...] | None, kind: str | None) -> tuple[str, ...]:
    """Levels in order: as declared by a categorical column, numbers by value, all else by code point. Unused ones are
    dropped."""
    if declared and set(counts) <= set(declared):
        return tuple(dict.fromkeys(level for level in declared if level in counts))
    if kind is not None and kind.upper().startswith("ENUM(") and kind_of(kind) == "text":
        order = [v.replace("''", "'") for v in re.findall(r"'((?:[^']|'')*)'", kind)]
        if set(counts) <= set(order):
            return tuple(level for level in order if level in counts)
    if all(_NUMBER.match(level) for level in counts):
        return tuple(sorted(counts, key=lambda level: (float(level), level)))
    return tuple(sorted(counts))


def reference_level(
    formula: Formula, node: Node | None, wanted: str | float | bool | None, levels: tuple[str, ...]
) -> str:
    """The level that has no dummy: ``ref=``, or the first."""
    if node is None:
        return levels[0]
    if isinstance(wanted, bool):
        names = ["TRUE" if wanted else "FALSE"]
    elif isinstance(wanted, float):
        names = [str(int(wanted)) if wanted == int(wanted) else repr(wanted)]
    else:
        names = [str(wanted)]
    if names[0] in levels:
        return names[0]
    near = difflib.get_close_matches(names[0], levels, 1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    shown = ", ".join(levels[:20]) + (", …" if len(levels) > 20 else "")
    raise formula.fault(node, f"There is no level {names[0]!r} in the rows used.", f"{hint}The levels are: {shown}.")


def refuse_number_like(relation: Relation, node: Name, counts: dict[str, int]) -> None:
    """Refuse a text column that is numbers but for a few values, which would become a factor of hundreds of levels."""
    like = [level for level in counts if _NUMBER.match(level)]
    if len(like) > 10 and len(like) < len(counts) and len(like) >= 0.8 * len(counts):
        raise relation.not_a_number(node)


def refuse_too_many(formula: Formula, node: Node, levels: int) -> None:
    """Refuse a factor with thousands of levels."""
    if levels > MAX_LEVELS:
        what = f"{levels} levels are too many for a categorical predictor."
        raise formula.fault(node, what, "Use it as a grouping, (1 | column).")
