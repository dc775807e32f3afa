"""One pass of aggregates over the rows, by innermost group: counts, means, variances, ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .relation import Relation

_FIRST = 2_000


@dataclass(frozen=True)
class Stats:
    """A number's statistics by group: count of values, mean, population variance, least and largest. (G,) each"""

    count: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def total(self) -> tuple[float, float, float, float]:
        """Mean, standard deviation (n − 1), least and largest of all rows."""
        n = self.count.sum()
        if n == 0:
            return (np.nan,) * 4
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float((self.count * self.mean).sum() / n)
            square = float((self.count * (self.var + (self.mean - mean) ** 2)).sum())
        sd = float(np.sqrt(square / (n - 1))) if n > 1 else 0.0
        return mean, sd, float(self.low.min()), float(self.high.max())


@dataclass(frozen=True)
class Scan:
    """Aggregates of rows by combination of group ids.

    Attributes:
        keys: ids of each combination by grouping column, None for missing. {column: (G,)}
        n: rows. (G,)
        counts: values that are not missing, by alias. (G,)
        stats: of the numeric expressions, by alias.
    """

    keys: dict[str, np.ndarray]
    n: np.ndarray
    counts: dict[str, np.ndarray]
    stats: dict[str, Stats]

    @property
    def rows(self) -> int:
        return int(self.n.sum())


def scan(
    relation: Relation, rows: str, numbers: list[str], others: list[str], extra: dict[str, str] | None = None
) -> tuple[Scan, dict[str, np.ndarray]]:
    """Aggregate rows by group.

    Args:
        relation: for its group columns and queries.
        rows: SQL of the rows.
        numbers: aliases or expressions with full statistics.
        others: aliases that are only counted.
        extra: further aggregates by name.

    Returns:
        The scan, and the further aggregates. (G,) each
    """
    keys = relation.group_alias
    shifts = _shifts(relation, rows, numbers)
    items = [f"{alias} AS {alias}" for alias in keys.values()] + ["count(*) AS n"]
    for i, (v, shift) in enumerate(zip(numbers, shifts, strict=True)):
        # Sums of shifted squares cost half of what var_pop does, and lose nothing that matters here.
        moved = f"({v} - {shift!r}::DOUBLE)" if shift else v
        items += [f"count({v}) AS c{i}", f"sum({moved}) AS a{i}", f"sum({moved} * {moved}) AS s{i}"]
        items += [f"min({v}) AS l{i}", f"max({v}) AS h{i}"]
    items += [f"count({v}) AS o{i}" for i, v in enumerate(others)]
    items += [f"{sql} AS x_{name}" for name, sql in (extra or {}).items()]
    by = f" GROUP BY {', '.join(keys.values())} ORDER BY {', '.join(keys.values())}" if keys else ""
    found = relation.arrays(f"SELECT {', '.join(items)} FROM ({rows}){by}")
    ids = {name: _ids(found[alias]) for name, alias in keys.items()}
    stats, counts = {}, {}
    for i, (v, shift) in enumerate(zip(numbers, shifts, strict=True)):
        counts[v] = found[f"c{i}"]
        total, square, low, high = (_filled(found[f"{letter}{i}"]) for letter in "aslh")
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = total / counts[v]
            var = np.maximum(square / counts[v] - mean**2, 0.0)
        stats[v] = Stats(counts[v], mean + shift, np.where(low == high, 0.0, var), low, high)
    counts |= {v: found[f"o{i}"] for i, v in enumerate(others)}
    return Scan(ids, found["n"], counts, stats), {name: found[f"x_{name}"] for name in extra or {}}


def _shifts(relation: Relation, rows: str, numbers: list[str]) -> list[float]:
    """A typical value of each expression, from the first rows."""
    if not numbers:
        return []
    items = ", ".join(f"avg({v})" for v in numbers)
    first = relation.query(f"SELECT {items} FROM (SELECT * FROM ({rows}) LIMIT {_FIRST})")[0]
    return [float(f"{m:.3g}") if m is not None and math.isfinite(m) else 0.0 for m in first]


def _ids(column: Any) -> np.ndarray:
    """Group ids as an object array with None for missing ones."""
    if isinstance(column, np.ma.MaskedArray):
        out = np.array(column.data, dtype=object)
        out[np.ma.getmaskarray(column)] = None
        return out
    return np.asarray(column, dtype=object)


def _filled(column: Any) -> np.ndarray:
    """A float column, NaN where a group has no value."""
    if isinstance(column, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(column), np.nan, column.data.astype(float))
    return np.asarray(column, dtype=float)
