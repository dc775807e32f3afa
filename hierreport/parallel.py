"""Threads over chunks of draws; NumPy's loops let them run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(n: int, size: int) -> list[range]:
    """0 … n − 1 in runs of a size."""
    return [range(start, min(start + size, n)) for start in range(0, n, size)]


def in_threads(function: Callable[[range], Result], parts: list[range], workers: int | None) -> list[Result]:
    """The function of every chunk, in order; NumPy lets threads run side by side."""
    if workers is None:
        workers = processors()
    if workers <= 1 or len(parts) == 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(max_workers=min(workers, len(parts))) as pool:
        return list(pool.map(function, parts))
