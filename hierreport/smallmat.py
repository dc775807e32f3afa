"""Linear algebra on stacks of tiny matrices, stored (rows, columns, group) with the group index last.

NumPy's batched routines want the stack first, copy for other layouts, and ``cholesky`` drops the imaginary part that
complex-step derivatives live in; for matrices of two to five rows these loops over rows are faster too.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def cholesky_semidefinite(matrix: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Upper triangular R with R'R = matrix, a zero row where the pivot is at rounding level.

    Args:
        matrix: symmetric positive semidefinite. (k, k, G)
        tolerance: a pivot below this share of its diagonal counts as zero. (G,)

    Returns:
        R. (k, k, G)
    """
    k = matrix.shape[0]
    upper = np.zeros_like(matrix)
    for j in range(k):
        pivot = matrix[j, j] - np.sum(upper[:j, j] ** 2, axis=0)
        good = pivot > tolerance * matrix[j, j]
        root = np.sqrt(np.where(good, pivot, 1.0))
        upper[j, j] = np.where(good, root, 0.0)
        for m in range(j + 1, k):
            rest = matrix[j, m] - np.sum(upper[:j, j] * upper[:j, m], axis=0)
            upper[j, m] = np.where(good, rest / root, 0.0)
    return upper


def cholesky_lower(matrix: np.ndarray) -> np.ndarray:
    """Lower triangular L with LL' = matrix (no conjugation: works for complex steps). (k, k, G)"""
    k = matrix.shape[0]
    lower = np.zeros_like(matrix)
    for j in range(k):
        pivot = matrix[j, j]
        for i in range(j):
            pivot = pivot - lower[j, i] ** 2
        lower[j, j] = np.sqrt(pivot)
        for m in range(j + 1, k):
            rest = matrix[m, j]
            for i in range(j):
                rest = rest - lower[m, i] * lower[j, i]
            lower[m, j] = rest / lower[j, j]
    return lower


def solve_lower(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """L⁻¹ right by forward substitution; lower (k, k, G), right (k, m, G)."""
    k = lower.shape[0]
    out = np.empty(right.shape, dtype=np.result_type(lower, right))
    for j in range(k):
        row = right[j]
        for i in range(j):
            row = row - lower[j, i] * out[i]
        out[j] = row / lower[j, j]
    return out


def solve_upper_transposed(upper: np.ndarray, right: np.ndarray) -> np.ndarray:
    """R⁻ᵀ right with zero rows of R giving zero rows; upper (k, k, G), right (k, m, G)."""
    k = upper.shape[0]
    out = np.zeros(right.shape, dtype=np.result_type(upper, right))
    for j in range(k):
        good = upper[j, j] != 0
        row = right[j].copy()
        for i in range(j):
            row -= upper[i, j] * out[i]
        out[j] = np.where(good, row / np.where(good, upper[j, j], 1.0), 0.0)
    return out


def sum_of_outer(stack: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Σ over each run of groups of stack[:, :, g]' stack[:, :, g].

    Args:
        stack: (k, q, G).
        starts: first group of each run. (P,)

    Returns:
        (q, q, P)
    """
    k, q, groups = stack.shape
    if len(starts) == 1:
        block = stack.transpose(1, 0, 2).reshape(q, -1)
        return (block @ block.T)[:, :, None]
    out = np.empty((q, q, len(starts)), dtype=stack.dtype)
    if 8.0 * len(starts) < 0.5 * q * (q + 1) * (k + 1) * (1.0 + 1e-3 * groups):
        # One BLAS call per run costs about 8 µs; the loop below about 1 µs and 1 ns per group for each product.
        rows = np.ascontiguousarray(stack.transpose(1, 0, 2))
        edges = [*starts.tolist(), groups]
        for p, (a, b) in enumerate(pairwise(edges)):
            block = rows[:, :, a:b].reshape(q, -1)
            out[:, :, p] = block @ block.T
        return out
    for i in range(q):
        for j in range(i, q):
            product = stack[0, i] * stack[0, j]
            for a in range(1, k):
                product = product + stack[a, i] * stack[a, j]
            out[i, j] = out[j, i] = np.add.reduceat(product, starts)
    return out
