"""Replications side by side: the same results for any number of processes, and rates with their Monte-Carlo errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402


def options(about: str | None, runs: int, of: str) -> argparse.Namespace:
    """``runs``, ``workers`` and ``seed`` from the command line.

    Args:
        about: the script's docstring.
        runs: their number by default; of: what there are so many panels of.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help=f"panels per {of} (default: {runs})")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def stream(seed: int, cell: int, run: int) -> np.random.Generator:
    """Random numbers of one replication of one cell."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(cell, run))))


def replicate(
    function: Callable[[int, int, int], Any], cells: int, runs: int, seed: int, workers: int
) -> list[list[Any]]:
    """``function(seed, cell, run)`` for every cell and run; results by cell."""
    jobs = [(seed, cell, run) for cell in range(cells) for run in range(runs)]
    if workers <= 1:
        done = [function(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers) as pool:
            done = list(pool.map(function, *zip(*jobs, strict=True), chunksize=max(1, runs // 20)))
    return [done[cell * runs : (cell + 1) * runs] for cell in range(cells)]


def rate(hits: list[bool] | np.ndarray) -> dict[str, float]:
    """A share, its Monte-Carlo standard error, and how many it rests on."""
    n = len(hits)
    p = float(np.mean(hits)) if n else float("nan")
    # Agresti & Coull's shift keeps the error of a share of 0 or 1 above zero.
    q = (np.sum(hits) + 2.0) / (n + 4.0)
    return {"rate": p, "error": float(np.sqrt(q * (1 - q) / (n + 4.0))), "n": n}


def table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])
