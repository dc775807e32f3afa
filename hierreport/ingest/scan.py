"""One pass of aggregates over the rows, by innermost group: counts, means, variances, ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from .halves import in_halves

if TYPE_CHECKING:
    from .relation import Relation

_FIRST = 2_000
_BATCH = 24


@dataclass(frozen=True)
class Stats:
    """A number's statistics: count of values, mean and population variance by group (G,); least and largest of all."""

    count: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    low: float
    high: float

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.mean).all()) and math.isfinite(self.low) and math.isfinite(self.high)

    def total(self) -> tuple[float, float, float, float]:
        """Mean, standard deviation (n − 1), least and largest of all rows."""
        n = self.count.sum()
        if n == 0:
            return (np.nan,) * 4
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float((self.count * self.mean).sum() / n)
            square = float((self.count * (self.var + (self.mean - mean) ** 2)).sum())
        sd = float(np.sqrt(square / (n - 1))) if n > 1 else 0.0
        return mean, sd, self.low, self.high


@dataclass(frozen=True)
class Scan:
    """Aggregates of rows by combination of group ids.

    Attributes:
        keys: ids of each combination by grouping column, None for missing. {column: (G,)}
        n: rows. (G,)
        counts: values that are not missing, by alias. (G,)
        stats: of the numeric expressions, by alias.
        products: Σ (a − shift)(b − shift) over the rows by pair of aliases, ("", a) for the plain sums, where they were
            asked for. (G,)
        shifts: the shift of each alias.
    """

    keys: dict[str, np.ndarray]
    n: np.ndarray
    counts: dict[str, np.ndarray]
    stats: dict[str, Stats]
    products: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    shifts: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.n.sum())


def scan(
    relation: Relation,
    rows: str,
    numbers: list[str],
    others: list[str],
    extra: dict[str, str] | None = None,
    products: bool = False,
) -> tuple[Scan, dict[str, np.ndarray]]:
    """Aggregate rows by group.

    Args:
        relation: for its group columns and queries.
        rows: SQL of the rows.
        numbers: aliases or expressions with full statistics.
        others: aliases that are only counted.
        extra: further aggregates by name.
        products: sums of products of all pairs of numbers too (few of them: one batch).

    Returns:
        The scan, and the further aggregates. (G,) each
    """
    keys = list(relation.group_alias.values())
    by = f" GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}" if keys else ""
    items = [*keys, "count(*) AS n"]
    items += [f"count({v}) AS o{i}" for i, v in enumerate(others)]
    items += [f"{sql} AS x_{name}" for name, sql in (extra or {}).items()]
    stats: dict[str, Stats] = {}
    found_products: dict[tuple[str, str], np.ndarray] = {}
    found_shifts: dict[str, float] = {}
    n = np.zeros(0)
    for start in range(0, len(numbers), _BATCH):  # wide models in several passes, to bound memory
        batch = numbers[start : start + _BATCH]
        shifts = _shifts(relation, rows, batch)
        sums = [s for i, v in enumerate(batch) for s in _sums(i, v)]
        moved = ", ".join(
            f"({v}) - {shift!r}::DOUBLE AS moved{i}" for i, (v, shift) in enumerate(zip(batch, shifts, strict=True))
        )
        pairs = list(combinations_with_replacement(range(len(batch)), 2)) if products else []
        sums += [f"sum(moved{i} * moved{j}) AS p{i}_{j}" for i, j in pairs if i != j]
        wanted = [*(items if start == 0 else keys), *sums]
        query = f"SELECT {', '.join(wanted)} FROM (SELECT *, {moved} FROM ({rows})){by}"
        found = (in_halves(relation, query, wanted, len(keys)) if products else None) or relation.arrays(query)
        if start == 0:
            head, n = found, found["n"]
        if products:
            found_shifts.update(zip(batch, shifts, strict=True))
            found_products.update({("", v): found[f"a{i}"] for i, v in enumerate(batch)})
            for i, j in pairs:
                found_products[batch[i], batch[j]] = found[f"s{i}" if i == j else f"p{i}_{j}"]
        for i, (v, shift) in enumerate(zip(batch, shifts, strict=True)):
            stats[v] = _stats(found, i, shift, n)
    if not numbers:
        head = relation.arrays(f"SELECT {', '.join(items)} FROM ({rows}){by}")
        n = head["n"]
    ids = {name: _ids(head[alias]) for name, alias in relation.group_alias.items()}
    counts = {v: s.count for v, s in stats.items()} | {v: head[f"o{i}"] for i, v in enumerate(others)}
    return (
        Scan(ids, n, counts, stats, found_products, found_shifts),
        {name: head[f"x_{name}"] for name in extra or {}},
    )


def _sums(i: int, v: str) -> list[str]:
    # Sums of shifted squares cost half of what var_pop does, and lose nothing that matters here.
    return [
        f"count({v}) AS c{i}",
        f"sum(moved{i}) AS a{i}",
        f"sum(moved{i} * moved{i}) AS s{i}",
        f"min({v}) AS l{i}",
        f"max({v}) AS h{i}",
    ]


def _stats(found: dict[str, Any], i: int, shift: float, n: np.ndarray) -> Stats:
    count = found.pop(f"c{i}")
    count = n if np.array_equal(count, n) else count
    total, square, low, high = (_filled(found.pop(f"{letter}{i}")) for letter in "aslh")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = total / count
        var = np.maximum(square / count - mean**2, 0.0)
        mean += shift
    var[low == high] = 0.0
    # A NaN of a computed value must show: min and max of NumPy pass it on, where a group has values at all.
    there = np.asarray(count) > 0
    least, largest = (low[there].min(), high[there].max()) if there.any() else (np.nan, np.nan)
    return Stats(count, mean, var, float(least), float(largest))


def _shifts(relation: Relation, rows: str, numbers: list[str]) -> list[float]:
    """A typical value of each expression, from the first rows."""
    if not numbers:
        return []
    items = ", ".join(f"avg({v})" for v in numbers)
    first = relation.query(f"SELECT {items} FROM (SELECT * FROM ({rows}) LIMIT {_FIRST})")[0]
    return [float(f"{m:.3g}") if m is not None and math.isfinite(m) else 0.0 for m in first]


def _ids(column: Any) -> np.ndarray:
    """Group ids as an object array with None for missing ones."""
    if hasattr(column, "mask"):  # a masked array: np.ma is not imported where nothing is missing
        out = np.array(column.data, dtype=object)
        out[np.ma.getmaskarray(column)] = None
        return out
    return np.asarray(column, dtype=object)


def _filled(column: Any) -> np.ndarray:
    """A float column, NaN where a group has no value."""
    if hasattr(column, "mask"):
        return np.where(np.ma.getmaskarray(column), np.nan, column.data.astype(float))
    return np.asarray(column, dtype=float)
