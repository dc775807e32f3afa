"""Names of rungs, from what they add."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .lrt import term_label
from .spec import LevelSpec

POOLED = "pooled"
INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Step:
    """A random term that a rung adds: its level, the term's label and its columns."""

    level: str
    label: str
    columns: tuple[str, ...]


def terms_of(spec: LevelSpec) -> list[Step]:
    """The terms of a level, the intercept first, then in the formula's order; a factor's dummies are one term."""
    columns: dict[str, list[str]] = {}
    for column in spec.terms:
        columns.setdefault(term_label(column), []).append(column)
    return [
        Step(spec.level, label, tuple(columns[label])) for label in sorted(columns, key=lambda name: name != INTERCEPT)
    ]


def slug(text: str) -> str:
    """A term's text as part of a name: ``log(capital)`` becomes ``log_capital``."""
    return re.sub(r"\W+", "_", text).strip("_") or "term"


def numbered(name: str) -> Iterator[str]:
    """The name, then the name with _2, _3, …"""
    yield name
    count = 2
    while True:
        yield f"{name}_{count}"
        count += 1


def _slopes(spec: LevelSpec) -> int:
    return sum(step.label != INTERCEPT for step in terms_of(spec))


def inner_name(step: Step, spec: LevelSpec) -> str:
    """Name of the rung that adds a term of the innermost level."""
    if step.label == INTERCEPT:
        return "random_intercept"
    return "random_slope" if _slopes(spec) == 1 else f"random_slope_{slug(step.label)}"


def outer_name(step: Step, spec: LevelSpec, above: Sequence[LevelSpec]) -> str:
    """Name of the rung that adds a term of one of the levels above."""
    name = "multilevel" if len(above) == 1 else f"multilevel_{slug(spec.level.rsplit('/', 1)[-1])}"
    if step.label == INTERCEPT:
        return name
    return f"{name}_slopes" if _slopes(spec) == 1 else f"{name}_slopes_{slug(step.label)}"
