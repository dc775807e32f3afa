"""Tail probabilities from scipy.special (scipy.stats costs over a second to import)."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc, fdtrc, ndtr, ndtri, stdtr


def normal_two_sided(z: float) -> float:
    """P(|Z| > |z|)."""
    return float(2.0 * ndtr(-abs(z)))


def t_two_sided(t: float, df: float) -> float:
    """P(|T_df| > |t|)."""
    return float(2.0 * stdtr(df, -abs(t)))


def chi2_upper(x: float, df: float) -> float:
    """P(χ²_df > x)."""
    return float(chdtrc(df, max(x, 0.0)))


def f_upper(f: float, df1: float, df2: float) -> float:
    """P(F > f)."""
    return float(fdtrc(df1, df2, max(f, 0.0)))


def normal_scores(n: int) -> np.ndarray:
    """Expected normal order statistics, Blom's approximation: Φ⁻¹((i − 3/8)/(n + 1/4)). (n,)"""
    return ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))


def any_of(p: float, tests: float) -> float:
    """Chance that the smallest of several independent p-values is this small (Šidák)."""
    if p <= 0.0:
        return 0.0
    return float(-np.expm1(tests * np.log1p(-min(p, 1.0 - 1e-16))))
