"""Sums of products of matrix rows by runs of equal keys, with BLAS; the order of additions is fixed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LONG_RUN = 1024


def batches_by_run(starts: np.ndarray, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray | slice]]:
    """Split runs into stacks of equal length.

    Args:
        starts: first row of each run, ascending from 0.
        rows: number of rows.

    Yields:
        Numbers of the runs, and either their rows as an index (runs, length) or, for one long run, a slice.
    """
    lengths = np.diff(starts, append=rows)
    for run in np.flatnonzero(lengths > LONG_RUN):
        yield np.array([run]), slice(int(starts[run]), int(starts[run] + lengths[run]))
    for length in np.unique(lengths[lengths <= LONG_RUN]):
        runs = np.flatnonzero(lengths == length)
        yield runs, starts[runs][:, None] + np.arange(length)


def grams(left: np.ndarray, right: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """left' right per run of rows.

    Args:
        left: (rows, a); right: (rows, b); the same object where the products are symmetric.
        starts: first row of each run, ascending from 0.

    Returns:
        (runs, a, b).
    """
    out = np.empty((len(starts), left.shape[1], right.shape[1]))
    for runs, place in batches_by_run(starts, len(left)):
        if isinstance(place, slice):
            out[runs[0]] = left[place].T @ right[place]
        else:
            out[runs] = np.matmul(left[place].transpose(0, 2, 1), right[place])
    return out


def run_starts(*keys: np.ndarray) -> np.ndarray:
    """First row of each run of rows with equal keys."""
    change = np.zeros(len(keys[0]), dtype=bool)
    change[:1] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(change)


def mirror(products: np.ndarray) -> np.ndarray:
    """Make (q, q, K) products exactly symmetric by copying the upper triangle to the lower one, in place."""
    for i in range(products.shape[0]):
        products[i + 1 :, i] = products[i, i + 1 :]
    return products
