"""Tail probabilities from scipy.special (scipy.stats costs over a second to import)."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc, fdtrc, ndtr, ndtri, stdtr


def normal_two_sided(z: float) -> float:
    """P(|Z| > |z|)."""
    return float(2.0 * ndtr(-abs(z)))


def normal_upper(z: float) -> float:
    """P(Z > z)."""
    return float(ndtr(-z))


def t_two_sided(t: float, df: float) -> float:
    """P(|T_df| > |t|)."""
    return float(2.0 * stdtr(df, -abs(t)))


def chi2_upper(x: float, df: float) -> float:
    """P(χ²_df > x)."""
    return float(chdtrc(df, max(x, 0.0)))


def chi2_mixture_upper(x: float, weights: np.ndarray) -> float:
    """P(Σ w_i χ²_1 > x) by matching three moments (Hall 1983; Buckley & Eagleson 1988), weights positive."""
    k1, k2, k3 = weights.sum(), 2.0 * np.sum(weights**2), 8.0 * np.sum(weights**3)
    if not k2 > 0:
        return 1.0
    df = 8.0 * k2**3 / k3**2
    return chi2_upper(df + (x - k1) * np.sqrt(2.0 * df / k2), df)


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
