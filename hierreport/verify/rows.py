"""The rows that a second opinion is asked on: the whole panel, or a stated random part of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.reduce import quoted
from hierreport.variants import stratum_column, stratum_sql

if TYPE_CHECKING:
    from hierreport.frame import Frame

# Up to this many rows the whole panel is evaluated, where its top-level groups are not too large for dense matrices.
MAX_ROWS = 20_000
# Rows of a dense block, and the sum over blocks of rows cubed (a tenth of a second of Cholesky).
MAX_BLOCK = 800
MAX_WORK = 1e9
# Rows of a random part.
PART_ROWS = 3_000
INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Rows:
    """Rows of the model frame, sorted by groups and time.

    Attributes:
        y: the outcome. (n,)
        columns: model columns by name, the intercept too. (n,) each
        codes: group of every row, by level path (0, 1, …). (n,) each
        weights: case weights, or None. (n,)
        time: time in steps, or None. (n,)
        inner: chosen groups of the innermost level as tuples of ids, None for the whole panel.
        limit: rows taken from the start of each chosen group, None for all.
        total_rows, total_groups: rows and top-level groups of the whole panel.
        strata: stratum of every row, by the name that a model's unequal variances go by. (n,) of text each
    """

    y: np.ndarray
    columns: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    weights: np.ndarray | None
    time: np.ndarray | None
    inner: tuple[tuple[str, ...], ...] | None
    limit: int | None
    total_rows: int
    total_groups: int
    strata: dict[str, np.ndarray] = field(default_factory=dict)

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """Columns side by side. (n, len(names))"""
        return np.column_stack([self.columns[name] for name in names]) if names else np.empty((len(self.y), 0))

    def describe(self, seed: int) -> dict[str, Any] | None:
        """What part of the panel this is; None for the whole of it."""
        if self.inner is None:
            return None
        return {
            "rows": len(self.y),
            "groups": len(np.unique(next(iter(self.codes.values())))) if self.codes else 1,
            "innermost_groups": len(self.inner) or 1,
            "rows_per_group": self.limit,
            "of_rows": self.total_rows,
            "of_groups": self.total_groups,
            "seed": seed,
            "how": self._how(),
        }

    def _how(self) -> str:
        if not self.inner:
            return f"the first {self.limit} rows"
        cut = "" if self.limit is None else f", the first {self.limit} rows of each"
        return f"innermost groups within top-level groups, drawn at random{cut}"


def part_sql(frame: Frame, inner: Sequence[tuple[str, ...]], limit: int | None) -> tuple[str, list[Any]]:
    """SQL after FROM that keeps the rows of chosen innermost groups, and at most the first ``limit`` of each."""
    groups = [quoted(g) for g in frame.groups]
    sql, parameters = "", []
    if groups:
        picks = ", ".join(f"unnest(${i + 1}) AS p{i}" for i in range(len(groups)))
        on = " AND ".join(f"{g} = p{i}" for i, g in enumerate(groups))
        sql, parameters = f"JOIN (SELECT {picks}) ON {on}", [list(column) for column in zip(*inner, strict=True)]
    if limit is not None:
        order = f"{quoted(frame.time)}, __row" if frame.time else "__row"
        partition = f"PARTITION BY {', '.join(groups)} " if groups else ""
        sql += f" QUALIFY row_number() OVER ({partition}ORDER BY {order}) <= {limit}"
    return sql, parameters


def read(
    frame: Frame,
    *,
    step: float | None = None,
    seed: int = 1,
    strata: Iterable[str] = (),
    at_most: int | None = None,
) -> Rows:
    """Read the model frame's rows, or a random part of them where the panel is too large for dense matrices.

    Args:
        frame: the checked model frame.
        step: length of a time step in the time column's unit.
        seed: seed of the random part.
        strata: names that the unequal variances of models go by.
        at_most: rows of the random part where the panel has more than these; by default as many as one can judge.
    """
    sizes, parents = _group_sizes(frame)
    total = int(sizes.sum())
    inner: tuple[tuple[str, ...], ...] | None = None
    limit = None
    too_many = at_most is not None and total > at_most
    if not frame.groups and (too_many or total > (MAX_ROWS if frame.time is None else MAX_BLOCK)):
        inner, limit = (), MAX_BLOCK
    elif frame.groups and (too_many or _too_large(sizes, parents)):
        chosen, limit = _choose(sizes, parents, seed, at_most or PART_ROWS)
        inner = tuple(tuple(str(v) for v in row) for row in _labels(frame)[chosen])
    names = ["y", *[f"c{i}" for i in range(len(frame.columns))]]
    select = [frame.outcome.sql, *[c.sql for c in frame.columns]]
    for label, column in (("w", frame.weights), ("t", frame.time)):
        if column is not None:
            names.append(label)
            select.append(quoted(column) if label == "w" else _time_sql(frame, column))
    strata = list(dict.fromkeys(strata))
    for i, name in enumerate(strata):
        names.append(f"s{i}")
        select.append(stratum_sql(frame, stratum_column(frame, name)))
    groups = [quoted(g) for g in frame.groups]
    order = ", ".join([*groups, *([quoted(frame.time)] if frame.time else []), "__row"])
    listed = ", ".join(f"{sql} AS {name}" for name, sql in zip(names, select, strict=True))
    keys = ", ".join(f"{g} AS g{i}" for i, g in enumerate(groups))
    query = f"SELECT {', '.join(filter(None, [listed, keys]))}, __row FROM {frame.table}"
    condition, parameters = ("", []) if inner is None else part_sql(frame, inner, limit)
    found = frame.con.execute(f"{query} {condition} ORDER BY {order}", parameters).fetchnumpy()
    columns = {c.name: np.asarray(found[f"c{i}"], dtype=float) for i, c in enumerate(frame.columns)}
    columns[INTERCEPT] = np.ones(len(found["y"]))
    codes, keys_so_far = {}, np.zeros(len(found["y"]), dtype=np.int64)
    for i, path in enumerate(frame.levels):
        own = np.unique(np.asarray(found[f"g{i}"]).astype(str), return_inverse=True)[1]
        keys_so_far = np.unique(keys_so_far * (own.max() + 1 if len(own) else 1) + own, return_inverse=True)[1]
        codes[path] = keys_so_far
    time = None
    if "t" in found:
        time = np.asarray(found["t"], dtype=float) / (step or 1.0)
    return Rows(
        np.asarray(found["y"], dtype=float),
        columns,
        codes,
        np.asarray(found["w"], dtype=float) if "w" in found else None,
        time,
        inner,
        limit,
        total,
        len(np.unique(parents)),
        {name: np.asarray(found[f"s{i}"]).astype(str) for i, name in enumerate(strata)},
    )


def _time_sql(frame: Frame, column: str) -> str:
    return f"CAST({quoted(column)} AS DOUBLE)"


def _labels(frame: Frame) -> np.ndarray:
    """Ids of all innermost groups, sorted. (groups, group columns)"""
    groups = ", ".join(f"{quoted(g)} AS g{i}" for i, g in enumerate(frame.groups))
    found = frame.con.execute(f"SELECT DISTINCT {groups} FROM {frame.table} ORDER BY ALL").fetchnumpy()
    return np.column_stack([np.asarray(found[f"g{i}"]).astype(str) for i in range(len(frame.groups))])


def _group_sizes(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Rows of every innermost group, and the number of its top-level group."""
    if not frame.groups:
        counted = frame.con.execute(f"SELECT count(*) FROM {frame.table}").fetchone()
        return np.array(counted or (0,)), np.array([0])
    groups = ", ".join(quoted(g) for g in frame.groups)
    found = frame.con.execute(
        f"SELECT count(*) AS n, {quoted(frame.groups[0])} AS g FROM {frame.table} GROUP BY {groups} ORDER BY {groups}"
    ).fetchnumpy()
    return np.asarray(found["n"]), np.unique(np.asarray(found["g"]).astype(str), return_inverse=True)[1]


def _too_large(sizes: np.ndarray, parents: np.ndarray) -> bool:
    tops = np.bincount(parents, weights=sizes)
    return bool(sizes.sum() > MAX_ROWS or tops.max() > MAX_BLOCK or (tops.astype(float) ** 3).sum() > MAX_WORK)


def _choose(sizes: np.ndarray, parents: np.ndarray, seed: int, at_most: int) -> tuple[np.ndarray, int | None]:
    """Innermost groups to take: top-level groups in random order, each filled with random groups up to a block.

    Returns:
        Indices of innermost groups, and the rows to take of each at most (None where all are taken whole).
    """
    rng = np.random.default_rng(seed)
    limit = MAX_BLOCK // 4 if sizes.max() > MAX_BLOCK // 2 else None
    capped = sizes if limit is None else np.minimum(sizes, limit)
    chosen: list[int] = []
    used = 0
    for top in rng.permutation(parents.max() + 1):
        block = 0
        for group in rng.permutation(np.flatnonzero(parents == top)):
            if block + capped[group] > MAX_BLOCK // 2 or used + block + capped[group] > at_most:
                break
            chosen.append(int(group))
            block += int(capped[group])
        used += block
        if used > 0.9 * at_most:
            break
    return np.sort(np.array(chosen)), limit


def group_filter(rows: Rows, labels: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the moments' innermost groups belong to a random part. (G,) of bool"""
    assert rows.inner is not None
    wanted = set(rows.inner)
    return np.array([key in wanted for key in zip(*(ids.astype(str) for ids in labels), strict=True)])


def random_terms(estimate: Mapping[str, Any]) -> list[tuple[str, list[str], np.ndarray]]:
    """Levels of an estimate: path, terms, covariance matrix."""
    return [(r["level"], list(r["terms"]), np.asarray(r["cov"], dtype=float)) for r in estimate["random"]]
