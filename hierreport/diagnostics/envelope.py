"""Normality judged against simulation: what quantile plots of this many normal values look like.

Samples are centred and scaled by their own standard deviation first, as predicted effects are by estimation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .distributions import normal_scores, normal_two_sided

DRAWS = 1999
EXACT_LIMIT = 1000  # above, the tail weights' normal approximations are accurate
SEED = 20240501


@dataclass(frozen=True)
class Reference:
    """Simulated samples of n normal values, standardised and sorted.

    Attributes:
        correlation: their correlation with the normal scores, sorted. (draws,)
        low, high: 95 % simultaneous envelope of the sorted values. (n,)
    """

    correlation: np.ndarray
    low: np.ndarray
    high: np.ndarray


@lru_cache(maxsize=32)
def reference(n: int) -> Reference:
    """Simulate the reference for samples of size n, always with the same seed."""
    rng = np.random.default_rng([SEED, n])
    draws = np.sort(rng.standard_normal((DRAWS, n)), axis=1)
    draws = standardised(draws)
    scores = standardised(normal_scores(n))
    correlation = np.sort(draws @ scores / (n - 1))
    # Simultaneous: each draw's most extreme pointwise rank; the 5 % most extreme draws stay outside.
    ranks = np.argsort(np.argsort(draws, axis=0), axis=0) + 1
    extreme = np.minimum(ranks, DRAWS + 1 - ranks).min(axis=1)
    cut = max(int(np.quantile(extreme, 0.05)), 1)
    columns = np.sort(draws, axis=0)
    return Reference(correlation, columns[cut - 1], columns[DRAWS - cut])


def standardised(x: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 along the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    sd = np.sqrt((x**2).sum(axis=-1, keepdims=True) / (x.shape[-1] - 1))
    return x / np.where(sd > 0, sd, 1.0)


@dataclass(frozen=True)
class Normality:
    """How a sample departs from the normal.

    Attributes:
        n: values used.
        p: share of normal samples that look as far from normal, simulated (n ≤ ``EXACT_LIMIT``) or by moments.
        correlation: of the sorted sample with the normal scores, None for large samples.
        skewness, excess_kurtosis: moments of the sample.
        outside: values outside the 95 % simultaneous envelope, None for large samples.
    """

    n: int
    p: float
    correlation: float | None
    skewness: float
    excess_kurtosis: float
    outside: int | None


def normality(sample: np.ndarray) -> Normality:
    """Judge a sample; at least four values."""
    x = np.sort(standardised(np.asarray(sample, float)))
    n = len(x)
    m2 = np.mean(x**2)
    skew, kurt = float(np.mean(x**3) / m2**1.5), float(np.mean(x**4) / m2**2 - 3.0)
    if n > EXACT_LIMIT:
        p = min(1.0, 2.0 * min(normal_two_sided(skew / np.sqrt(6 / n)), normal_two_sided(kurt / np.sqrt(24 / n))))
        return Normality(n, p, None, skew, kurt, None)
    ref = reference(n)
    r = float(x @ standardised(normal_scores(n)) / (n - 1))
    as_far = int(np.searchsorted(ref.correlation, r, side="right"))
    outside = int(np.sum((x < ref.low - 1e-12) | (x > ref.high + 1e-12)))
    return Normality(n, (1 + as_far) / (DRAWS + 1), r, skew, kurt, outside)
