"""Sums of the rows of consecutive files, which can be kept and continued."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_ARRAYS = ("products", "n", "sum_log", "unweighted")
_LAGS = ("group", "length", "count", "now", "cross", "before", "first", "last_row", "last_time")


@dataclass
class Sums:
    """Running sums over rows; arrays by innermost group (G), columns of W (q).

    Attributes:
        labels: ids of the groups, one array per grouping column. (G,) each
        products: Σ w w'. (q, q, G)
        n: rows. (G,)
        sum_log: Σ log weight, () ; unweighted: Σ w w' without weights. (q, q)
        lags: entries by (group, length of step) as ``reduce_lags`` has them, with ``first``, ``last_row`` (G, q) and
            ``last_time`` (G,); None where there is no time or a key repeats.
        rows: number of rows and their digest: sum of hashes modulo 2^64.
    """

    labels: tuple[np.ndarray, ...]
    products: np.ndarray
    n: np.ndarray
    sum_log: np.ndarray
    unweighted: np.ndarray
    lags: dict[str, np.ndarray] | None
    rows: tuple[int, int] = (0, 0)

    @classmethod
    def empty(cls, labels: tuple[np.ndarray, ...], groups: int, q: int, timed: bool) -> Sums:
        """Sums over no rows."""
        none = np.zeros(0, np.int64)
        nothing = np.zeros((0, q, q))
        lags = {
            "group": none,
            "length": np.zeros(0),
            "count": none,
            "now": nothing,
            "cross": nothing,
            "before": nothing,
            "first": np.zeros((q, q, groups)),
            "last_row": np.zeros((groups, q)),
            "last_time": np.full(groups, np.nan),
        }
        return cls(
            labels,
            np.zeros((q, q, groups)),
            np.zeros(groups, np.int64),
            np.zeros(()),
            np.zeros((q, q)),
            lags if timed else None,
        )

    def among(self, labels: tuple[np.ndarray, ...], groups: int) -> Sums | None:
        """The same sums among other groups; None where one that has rows is not among these."""
        place = {key: k for k, key in enumerate(zip(*labels, strict=True))} if labels else {(): 0}
        keys = list(zip(*self.labels, strict=True)) if self.labels else [()] * len(self.n)
        there = np.flatnonzero(self.n)  # the run that kept them may have met other groups only later
        if any(keys[k] not in place for k in there):
            return None
        new = np.full(len(keys), -1)
        new[there] = [place[keys[k]] for k in there]
        at, q = new[there], len(self.products)
        out = Sums.empty(labels, groups, q, self.lags is not None)
        out.products[:, :, at] = self.products[:, :, there]
        out.n[at] = self.n[there]
        out.sum_log, out.unweighted, out.rows = self.sum_log, self.unweighted, self.rows
        if self.lags is not None and out.lags is not None:
            out.lags |= {k: self.lags[k] for k in ("length", "count", "now", "cross", "before")}
            out.lags["group"] = new[self.lags["group"]]  # new groups do not change the order of the others
            out.lags["first"][:, :, at] = self.lags["first"][:, :, there]
            out.lags["last_row"][at] = self.lags["last_row"][there]
            out.lags["last_time"][at] = self.lags["last_time"][there]
        return out

    def save(self, path: Path) -> None:
        """Write them with a digest, whole or not at all."""
        content: dict[str, Any] = {k: getattr(self, k) for k in _ARRAYS}
        content["rows"] = np.array(self.rows, dtype=np.uint64)
        for k, ids in enumerate(self.labels):
            content[f"label{k}"] = ids.astype(np.str_)
        content |= self.lags or {}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
        np.savez(temporary, **content)
        with temporary.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path.with_suffix(".sha256").write_text(digest, encoding="ascii")
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Sums | None:
        """Read what ``save`` wrote; None where there is nothing, or where it is damaged."""
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if path.with_suffix(".sha256").read_text(encoding="ascii") != digest:
                return None
            with np.load(path) as found:
                content = {k: found[k] for k in found.files}
        except (OSError, ValueError):
            return None
        labels = [content[k].astype(object) for k in sorted(k for k in content if k.startswith("label"))]
        return cls(
            tuple(labels),
            content["products"],
            content["n"],
            content["sum_log"],
            content["unweighted"],
            {k: content[k] for k in _LAGS} if _LAGS[0] in content else None,
            (int(content["rows"][0]), int(content["rows"][1])),
        )
