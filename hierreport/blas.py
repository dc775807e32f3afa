"""One thread for the linear algebra of a fit from Python, where the environment left BLAS all cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .spd import LARGE

# Matrices of fewer rows go to one thread anyway.
SMALL = 32
NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads")


@contextmanager
def one_thread(rows: int) -> Iterator[None]:
    """BLAS on one thread within, and as many as before after it.

    Args:
        rows: of the largest matrix that is to be inverted.

    Matrices of a few hundred rows between other work gain little from threads; where cores are busy, threads that wait
    for each other take twenty times the processor time. Nothing happens where OpenBLAS is not a wheel's own.
    """
    packages = () if rows < SMALL else ("numpy",) if rows < LARGE else ("numpy", "scipy")
    before = [(put, get()) for package in packages for get, put in _controls(package)]
    for put, _ in before:
        put(1)
    try:
        yield
    finally:
        for put, count in before:
            put(count)


@cache
def _controls(package: str) -> list[tuple[Any, Any]]:
    """Functions that tell and set the number of threads of the OpenBLAS in a package's wheel."""
    import ctypes

    out: list[tuple[Any, Any]] = []
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return out
    for path in sorted(Path(spec.origin).parents[1].joinpath(f"{package}.libs").glob("*openblas*")):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in NAMES:
            if hasattr(library, name.format("get")) and hasattr(library, name.format("set")):
                out.append((getattr(library, name.format("get")), getattr(library, name.format("set"))))
                break
    return out
