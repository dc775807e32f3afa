"""Codes terms as numeric columns, as R's ``model.matrix`` does with treatment contrasts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hierreport.formula import Term, text
from hierreport.frame import Column

from .names import identifier, literal


@dataclass(frozen=True)
class Variable:
    """A variable of the formula as it stands in the frame's table.

    Attributes:
        name: its text; for a factor the text of its column: the stem of the dummies' names.
        columns: table columns of a numeric variable (several for poly()), with their names.
        factor: table column of a factor, else None.
        levels: the factor's levels in order; reference: the one left out.
    """

    name: str
    columns: tuple[tuple[str, str], ...] = ()
    factor: str | None = None
    levels: tuple[str, ...] = ()
    reference: str | None = None

    def coded(self, full: bool) -> list[Column]:
        """Its columns; with ``full``, a dummy for every level, else all but the reference."""
        if self.factor is None:
            return [Column(name, identifier(alias)) for name, alias in self.columns]
        return [
            Column(
                f"{self.name}[{level}]",
                f"CAST({identifier(self.factor)} = {literal(level)} AS DOUBLE)",
                self.factor,
                level,
            )
            for level in self.levels
            if full or level != self.reference
        ]


def code(terms: tuple[Term, ...], intercept: bool, variables: dict[str, Variable]) -> list[tuple[Term, list[Column]]]:
    """Columns of each term.

    A factor in a term has a dummy for every level unless the term without the factor is contained in an earlier term
    (R's ``TermCode``); without an intercept, the first factor met has one for every level too.

    Args:
        terms: terms in R's order, without the intercept.
        intercept: whether there is one.
        variables: the variables by their text.
    """
    sets = [frozenset(text(f) for f in term.factors) for term in terms]
    first_factor = None
    if not intercept:
        found = ((i, text(f)) for i, t in enumerate(terms) for f in t.factors if variables[text(f)].factor is not None)
        first_factor = next(found, None)
    out = []
    for i, term in enumerate(terms):
        parts = []
        for node in term.factors:
            name = text(node)
            rest = sets[i] - {name}
            contrasts = not rest or any(rest <= earlier for earlier in sets[:i])
            parts.append(variables[name].coded(full=not contrasts or (i, name) == first_factor))
        out.append((term, [_product(c) for c in _combinations(parts)]))
    return out


def _combinations(parts: list[list[Column]]) -> list[tuple[Column, ...]]:
    """All combinations, the first part running fastest, as in R."""
    return [tuple(reversed(c)) for c in itertools.product(*reversed(parts))]


def _product(columns: tuple[Column, ...]) -> Column:
    if len(columns) == 1:
        return columns[0]
    return Column(":".join(c.name for c in columns), " * ".join(c.sql for c in columns))
