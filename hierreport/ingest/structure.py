"""Groups: which grouping is nested in which, how large the groups are, and where the variance lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hierreport.errors import DataError
from hierreport.formula import Formula, RandomTerm, quote

from .scan import Scan, Stats


@dataclass(frozen=True)
class Hierarchy:
    """The grouping columns from outermost to innermost, and the depth (0 = outermost) of each grouping.

    Attributes:
        columns: grouping columns, outermost first.
        depths: depth of each of the formula's groupings.
    """

    columns: tuple[str, ...]
    depths: dict[tuple[str, ...], int]

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple("/".join(self.columns[: i + 1]) for i in range(len(self.columns)))


def codes(columns: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Whole numbers 0 … k−1 that tell combinations of ids apart, and k."""
    if not columns:
        return np.zeros(0, dtype=np.int64), 0
    out = np.zeros(len(columns[0]), dtype=np.int64)
    for ids in columns:
        listed = ids.tolist()
        table = {v: i for i, v in enumerate(dict.fromkeys(listed))}
        part = np.fromiter(map(table.__getitem__, listed), dtype=np.int64, count=len(listed))
        out = np.unique(out * max(len(table), 1) + part, return_inverse=True)[1]
    return out, int(out.max()) + 1 if len(out) else 0


def hierarchy(formula: Formula, scan: Scan) -> Hierarchy:
    """Order the formula's groupings from outermost to innermost, by the data where the formula does not say.

    Args:
        formula: the formula.
        scan: aggregates of the rows that the model uses.

    Raises:
        DataError: two groupings are crossed, or are the same groups under two names.
    """
    groupings = list(dict.fromkeys(r.groups for r in formula.random))
    written = _written_order(groupings)
    if written is not None:
        return written
    parts = {g: codes([scan.keys[c] for c in g]) for g in groupings}
    order = sorted(groupings, key=lambda g: (parts[g][1], len(g), groupings.index(g)))
    path: list[str] = []
    depths: dict[tuple[str, ...], int] = {}
    previous: tuple[str, ...] | None = None
    for grouping in order:
        if previous is not None:
            _check_nested(formula, scan, parts, previous, grouping)
        new = [c for c in grouping if c not in path]
        same = previous is not None and parts[grouping][1] == parts[previous][1]
        # The same groups: fine where one name says more (firm, sector:firm), a mistake where names are unrelated.
        if same and not set(previous or ()) <= set(grouping) and not set(grouping) <= set(path):
            what = f"{_spoken(previous or ())} and {_spoken(grouping)} are the same groups."
            raise DataError(what, formula.where, "Keep one of them.")
        path += new
        depths[grouping] = len(path) - 1
        previous = grouping
    return Hierarchy(tuple(path), depths)


def _written_order(groupings: list[tuple[str, ...]]) -> Hierarchy | None:
    """The hierarchy where each grouping's columns hold those of the one before, so that the data need not be asked."""
    path: list[str] = []
    depths: dict[tuple[str, ...], int] = {}
    for grouping in sorted(groupings, key=len):
        if not set(path) <= set(grouping):
            return None
        path += [c for c in grouping if c not in path]
        depths[grouping] = len(path) - 1
    return Hierarchy(tuple(path), depths)


def _spoken(grouping: tuple[str, ...]) -> str:
    return ":".join(quote(c) for c in grouping)


def _check_nested(
    formula: Formula,
    scan: Scan,
    parts: dict[tuple[str, ...], tuple[np.ndarray, int]],
    outer: tuple[str, ...],
    inner: tuple[str, ...],
) -> None:
    """Refuse where a group of ``inner`` lies in more than one group of ``outer``."""
    outside, inside = parts[outer][0], parts[inner][0]
    pairs = np.unique(np.stack([inside, outside]), axis=1)
    count = np.bincount(pairs[0], minlength=parts[inner][1])
    torn = int((count > 1).sum())
    if not torn:
        return
    worst = int(np.argmax(count))
    rows = np.flatnonzero(inside == worst)
    where = list(dict.fromkeys("/".join(str(scan.keys[c][r]) for c in outer) for r in rows))
    label = "/".join(str(scan.keys[c][rows[0]]) for c in inner)
    shown = ", ".join(where[:4]) + (", …" if len(where) > 4 else "")
    what = (
        f"The groups of {_spoken(inner)} are not nested in {_spoken(outer)}: {torn} of {parts[inner][1]} lie in more"
        f" than one; {label} lies in {len(where)} ({shown})."
    )
    do = (
        f"If ids are used again in other groups, write (… | {'/'.join(map(quote, outer))}/{_spoken(inner)})."
        " Crossed groupings are not supported."
    )
    raise DataError(what, formula.where, do)


def starts(scan: Scan, columns: tuple[str, ...]) -> np.ndarray:
    """First entry of each group of ``columns`` in a scan sorted by them. (groups,)"""
    change = np.zeros(len(scan.n), dtype=bool)
    change[:1] = True
    for name in columns:
        ids = scan.keys[name]
        change[1:] |= ids[1:] != ids[:-1]
    return np.flatnonzero(change)


def reorder(scan: Scan, columns: tuple[str, ...]) -> Scan:
    """A scan sorted by group columns, outermost first (as text)."""
    if not columns or not len(scan.n):
        return scan
    order = np.lexsort([scan.keys[c].astype(str) for c in reversed(columns)])
    stats = {a: Stats(s.count[order], s.mean[order], s.var[order], s.low, s.high) for a, s in scan.stats.items()}
    keys = {c: scan.keys[c][order] for c in columns}
    counts = {a: c[order] for a, c in scan.counts.items()}
    products = {pair: p[order] for pair, p in scan.products.items()}
    return Scan(keys, scan.n[order], counts, stats, products, scan.shifts)


def all_starts(scan: Scan, columns: tuple[str, ...]) -> list[np.ndarray]:
    """``starts`` of every level, outermost first."""
    return [starts(scan, columns[: depth + 1]) for depth in range(len(columns))]


def group_sizes(n: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    """Rows per group of one level: count, smallest, median, largest, mean, groups of one row, balance.

    Args:
        n: rows per innermost group. (G,)
        first: first innermost group of each group. (groups,)
    """
    sizes = np.add.reduceat(n, first)
    return {
        "groups": len(sizes),
        "rows_per_group": {
            "min": int(sizes.min()),
            "median": float(np.median(sizes)),
            "max": int(sizes.max()),
            "mean": float(sizes.mean()),
        },
        "singletons": int((sizes == 1).sum()),
        "balanced": bool((sizes == sizes[0]).all()),
    }


def variance_shares(stats: Stats, levels: tuple[str, ...], first: list[np.ndarray]) -> dict[str, Any]:
    """The shares of a variable's sum of squares within the innermost groups and between groups of each level.

    They add to one; the share of a level is that of its groups' means around the mean of the group above.

    Args:
        stats: the variable's statistics by innermost group.
        levels: level paths, outermost first.
        first: first innermost group of each group, by level.
    """
    n = stats.count.astype(float)
    sums = n * stats.mean
    within = float((n * stats.var).sum())
    between: dict[str, float] = {}
    above, rows_above = np.array([sums.sum() / n.sum()]), [np.array([0]), *first]
    for level, start, parents in zip(levels, first, rows_above, strict=False):
        rows = np.add.reduceat(n, start)
        means = np.add.reduceat(sums, start) / rows
        parent = np.searchsorted(parents, start, side="right") - 1
        between[level] = float((rows * (means - above[parent]) ** 2).sum())
        above = means
    total = within + sum(between.values())
    if total <= 0:
        return {"share_within": None, "share_between": dict.fromkeys(levels)}
    return {"share_within": within / total, "share_between": {level: between[level] / total for level in levels}}


def check_sizes(formula: Formula, structure: dict[str, Any], used: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Refuse levels whose variance the data cannot tell; warn of few groups.

    Args:
        formula: for messages.
        structure: ``group_sizes`` by level, outermost first.
        used: terms with a random coefficient, by level that has any.

    Returns:
        Warnings as (code, message).
    """
    warnings = []
    above: tuple[str, int] | None = None
    for level, facts in structure.items():
        if level not in used:
            continue
        groups, largest = facts["groups"], facts["rows_per_group"]["max"]
        if groups < 2:
            what = f"{level} has only 1 group, so that a variance between its groups cannot be estimated."
            raise DataError(what, formula.where, f"Leave (… | {level}) out.")
        if largest == 1:
            same = "their variance and the residual one cannot be told apart"
            what = f"All {groups} groups of {level} are groups of size 1: {same}."
            raise DataError(what, formula.where, f"Leave (… | {level}) out, or choose a coarser grouping.")
        if above is not None and above[1] == groups and set(used[above[0]]) & set(used[level]):
            what = f"Every group of {above[0]} has a single group of {level}: the two levels cannot be told apart."
            raise DataError(what, formula.where, "Keep one of them.")
        if groups < 6:
            message = f"{level} has few groups ({groups}): its variance is hardly identified."
            warnings.append(("few_groups", message))
        if facts["singletons"] > 0:
            message = f"{facts['singletons']} of {groups} groups of {level} are groups of size 1."
            warnings.append(("singletons", message))
        above = (level, groups)
    return warnings


def level_terms(formula: Formula, tree: Hierarchy) -> list[tuple[str, RandomTerm]]:
    """Random terms with their level paths, outermost level first."""
    found = [(tree.depths[r.groups], i, r) for i, r in enumerate(formula.random)]
    return [(tree.levels[depth], r) for depth, _, r in sorted(found, key=lambda f: f[:2])]
