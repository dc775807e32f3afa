"""The model columns as SQL expressions, centred and scaled: what every reduction starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hierreport.errors import DataError
from hierreport.moments import Moments

if TYPE_CHECKING:
    from hierreport.frame import Column, Frame

INTERCEPT = "(Intercept)"


def quoted(name: str) -> str:
    """A column name as an SQL identifier, unless it is one already."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Plan:
    """The model columns W as SQL, with the location and scale that are taken out.

    Attributes:
        names: W's columns, ``(Intercept)`` first, the outcome last. (q)
        expressions: SQL of each scaled column; the constant is "1". (q)
        shift, scale: what was taken out. (q,)
        factor: factor that a 0/1 column belongs to, None for numeric columns. (q)
        groups: quoted group columns, outermost first.
        weight: quoted weight column, or None.
        z_index: columns with a random coefficient at some level, and the constant. (r,)
    """

    table: str
    names: tuple[str, ...]
    expressions: tuple[str, ...]
    shift: np.ndarray
    scale: np.ndarray
    factor: tuple[str | None, ...]
    groups: tuple[str, ...]
    levels: tuple[str, ...]
    weight: str | None
    z_index: np.ndarray

    @property
    def q(self) -> int:
        return len(self.names)

    def pairs(self) -> list[tuple[int, int]]:
        """Index pairs of the products whose sums are not known beforehand (two levels of one factor never meet)."""
        return [
            (i, j)
            for i in range(self.q)
            for j in range(i, self.q)
            if j > 0 and not (i != j and self.factor[i] is not None and self.factor[i] == self.factor[j])
        ]

    def product(self, i: int, j: int, weighted: bool = True) -> str:
        """SQL of Σ w_i w_j over the inner query of ``rows``."""
        # The square of a 0/1 column is the column itself.
        places = [i] if i == j and self.factor[i] is not None else [i, j]
        parts = [f"c{k}" for k in places if k > 0]
        if weighted and self.weight:
            parts.insert(0, "wt")
        return f"sum({' * '.join(parts) or '1.0'})"

    def rows(self, extra: str = "") -> str:
        """Inner query: the group columns as g0, g1 …, the scaled columns as c1, c2 …, the weight as wt."""
        items = [f"{g} AS g{k}" for k, g in enumerate(self.groups)]
        items += [f"{e} AS c{k}" for k, e in enumerate(self.expressions) if k]
        items += [f"CAST({self.weight} AS DOUBLE) AS wt"] if self.weight else []
        items += [extra] if extra else []
        return f"SELECT {', '.join(items)} FROM {self.table}"

    def keys(self) -> str:
        return ", ".join(f"g{k}" for k in range(len(self.groups)))


def plan(frame: Frame, moments: Moments | None = None, grid: int = 16) -> Plan:
    """Columns, location and scale of a frame; taken from ``moments`` where they exist already.

    Args:
        grid: locations are multiples of this part of the scale.
    """
    columns: list[Column] = [*frame.columns, frame.outcome]
    names = (INTERCEPT, *(c.name for c in columns))
    if moments is not None:
        if moments.columns != names:
            raise DataError("the moments belong to another model: their columns differ.", "moments")
        shift, scale = moments.shift, moments.scale
    else:
        shift, scale = location_and_scale(frame, columns, grid)
    expressions = ["1"]
    for k, column in enumerate(columns, start=1):
        moved = f"({column.sql})" if shift[k] == 0 else f"(({column.sql}) - {sql_number(shift[k])})"
        # A power of two is exact, so that multiplying by its inverse is too.
        expressions.append(moved if scale[k] == 1 else f"({moved} * {sql_number(1 / scale[k])})")
    random = {term for level in frame.random for block in level.blocks for term in block} | {INTERCEPT}
    return Plan(
        frame.table,
        names,
        tuple(expressions),
        shift,
        scale,
        (None, *(c.factor for c in frame.columns), None),
        tuple(quoted(g) for g in frame.groups),
        tuple(frame.levels),
        quoted(frame.weights) if frame.weights else None,
        np.array([k for k, name in enumerate(names) if name in random]),
    )


def sql_number(value: float) -> str:
    """A double as an SQL literal of the same value (a plain decimal would become a DECIMAL)."""
    return f"{float(value)!r}::DOUBLE" if "e" in repr(float(value)) else f"{float(value)!r}e0"


def location_and_scale(frame: Frame, columns: list[Column], grid: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of W's columns: near the mean and standard deviation, but few-bit numbers.

    The scale is a power of two, so that scaling rounds nothing, and the shift a multiple of a sixteenth of it, so that
    last-bit differences of the frame's means (which may come from a parallel query) do not reach the moments. Factor
    columns are left as 0/1. Without a fixed and a random intercept nothing is shifted: there is no constant that could
    take the shift up.
    """
    numeric = [c for c in columns if c.factor is None]
    means, sds = dict(frame.means), dict(frame.sds)
    unknown = [c for c in numeric if c.name not in means or c.name not in sds]
    if unknown:
        sums = ", ".join(f"avg({c.sql}), stddev_pop({c.sql})" for c in unknown)
        row = frame.con.execute(f"SELECT {sums} FROM {frame.table}").fetchall()[0]
        for k, c in enumerate(unknown):
            means[c.name], sds[c.name] = row[2 * k], row[2 * k + 1]
    terms = {term for level in frame.random for block in level.blocks for term in block}
    centred = INTERCEPT in frame.fixed or INTERCEPT in terms
    shift, scale = np.zeros(len(columns) + 1), np.ones(len(columns) + 1)
    for k, c in enumerate(columns, start=1):
        if c.factor is not None:
            continue
        mean, sd = float(means[c.name] or 0.0), float(sds[c.name] or 0.0)
        if not (math.isfinite(mean) and math.isfinite(sd)):
            raise DataError("its values are infinite or too large for their variance.", f"column {c.name}")
        if sd <= 1e-13 * abs(mean):  # constant: its location is all there is
            sd = abs(mean) if not centred else 1.0
        scale[k] = 2.0 ** round(math.log2(sd)) if sd > 0 else 1.0
        if centred:
            # The odd offset keeps the rounding boundary away from means that are simple fractions.
            shift[k] = math.floor(mean / scale[k] * grid + 0.637) / grid * scale[k]
    return shift, scale
