"""One thread for the linear algebra of a fit from Python, where the environment left BLAS all cores."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scipy")
NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads")


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS on one thread within, and as many as before after it.

    Matrices of a few hundred rows between other work gain little from threads; where cores are busy, threads that wait
    for each other take twenty times the processor time. Nothing happens where OpenBLAS is not a wheel's own.
    """
    before = [(put, get()) for get, put in _controls()]
    for put, _ in before:
        put(1)
    try:
        yield
    finally:
        for put, count in before:
            put(count)


@cache
def _controls() -> list[tuple[Any, Any]]:
    """Functions that tell and set the number of threads of every OpenBLAS that comes with NumPy's and SciPy's wheels."""
    out = []
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in sorted(Path(spec.origin).parents[1].joinpath(f"{package}.libs").glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for name in NAMES:
                if hasattr(library, name.format("get")):
                    out.append((getattr(library, name.format("get")), getattr(library, name.format("set"))))
                    break
    return out
