"""Tail probabilities that every fit reports, from the standard library.

Importing scipy.special takes longer than fitting the whole ladder; a job that only fits must not wait for it. Each
function is tested against scipy to 1e-11 relative (1e-9 for more than ten thousand degrees of freedom).
"""

from __future__ import annotations

import math

LARGEST_LOG = 300.0  # squares of exp(300) are still finite
_TINY = 1e-300


def normal_sf(z: float) -> float:
    """P(Z > z) of the standard normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def chi2_sf(x: float, df: int) -> float:
    """P(X > x) of chi-squared with a whole number of degrees of freedom (0 is the point mass at zero).

    Source: the recurrence Q(x | ν + 2) = Q(x | ν) + (x/2)^{ν/2} e^{−x/2} / Γ(ν/2 + 1); Abramowitz & Stegun 26.4.8.
    """
    if math.isnan(x):
        return math.nan
    if df == 0:
        return 1.0 if x <= 0 else 0.0
    if x <= 0:
        return 1.0
    half = 0.5 * x
    start = 1 if df % 2 else 2
    total = math.erfc(math.sqrt(half)) if start == 1 else math.exp(-half)
    for nu in range(start, df, 2):
        total += math.exp(0.5 * nu * math.log(half) - half - math.lgamma(0.5 * nu + 1.0))
    return min(total, 1.0)


def student_sf(t: float, df: float) -> float:
    """P(T > t) of Student's t with df > 0 degrees of freedom, whole or not; of the normal where df is infinite."""
    if math.isnan(t) or math.isnan(df):
        return math.nan
    if math.isinf(df):
        return normal_sf(t)
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    ratio = t * t / df
    inside, outside = 1.0 / (1.0 + ratio), ratio / (1.0 + ratio)
    a = 0.5 * df
    # log of x^a (1 − x)^½, without the rounding of x that a large exponent would blow up.
    power = 0.5 * (math.log(ratio) if ratio > 0 else -math.inf) - (a + 0.5) * math.log1p(ratio)
    front = math.exp(_log_gamma_step(a) - 0.5 * math.log(math.pi) + power)
    # I_x(a, ½) = 1 − I_{1−x}(½, a): whichever fraction converges.
    if inside <= (a + 1.0) / (a + 2.5):
        tail = 0.5 * _beta_fraction(a, 0.5, inside, front / a)
    else:
        tail = 0.5 - 0.5 * _beta_fraction(0.5, a, outside, 2.0 * front)
    return tail if t >= 0 else 1.0 - tail


def student_quantile(p: float, df: float) -> float:
    """The t with P(T ≤ t) = p, for 0 < p < 1, by Newton steps on the log tail."""
    if not 0.0 < p < 1.0:
        raise ValueError("p must lie between 0 and 1")
    from statistics import NormalDist

    z = NormalDist().inv_cdf(p)
    if math.isinf(df) or z == 0.0:
        return z
    if p < 0.5:
        return -student_quantile(1.0 - p, df)
    upper = 1.0 - p
    # log-tail against log t is nearly straight for any df, so that Newton converges from far away.
    if df > 4:
        # Abramowitz & Stegun 26.7.5.
        square = z * z
        t = z * (
            1.0
            + (square + 1.0) / (4.0 * df)
            + ((5.0 * square + 16.0) * square + 3.0) / (96.0 * df**2)
            + (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / (384.0 * df**3)
        )
    else:
        power = -math.log(upper * 2.0) / df
        if power > LARGEST_LOG:  # beyond the floating-point range: the limits of such an interval are unknown
            return math.inf
        t = max(z, math.exp(power))
    log_constant = _log_gamma_step(0.5 * df) - 0.5 * math.log(df * math.pi)
    for _ in range(100):
        tail = student_sf(t, df)
        density = math.exp(log_constant - 0.5 * (df + 1.0) * math.log1p(t * t / df))
        step = (math.log(tail) - math.log(upper)) * tail / (t * density)
        step = min(max(step, -2.0), 2.0)
        t *= math.exp(step)
        # Newton doubles the digits: this step's error is below the rounding.
        if abs(step) < 1e-8:
            break
    return t


def f_sf(f: float, df1: float, df2: float) -> float:
    """P(F > f) of the F distribution with df1 and df2 > 0 degrees of freedom, whole or not."""
    if math.isnan(f) or math.isnan(df1) or math.isnan(df2):
        return math.nan
    if f <= 0:
        return 1.0
    if math.isinf(f):
        return 0.0
    a, b, ratio = 0.5 * df2, 0.5 * df1, df1 / df2 * f
    inside, outside = 1.0 / (1.0 + ratio), ratio / (1.0 + ratio)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(b * math.log(ratio) - (a + b) * math.log1p(ratio) - log_beta)
    # I_x(a, b) = 1 − I_{1−x}(b, a): whichever fraction converges.
    if inside <= (a + 1.0) / (a + b + 2.0):
        return _beta_fraction(a, b, inside, front / a)
    return 1.0 - _beta_fraction(b, a, outside, front / b)


def _log_gamma_step(a: float) -> float:
    """log Γ(a + ½) − log Γ(a); an expansion where the difference of two large logarithms would lose digits."""
    if a < 200.0:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return 0.5 * math.log(a) - 1.0 / (8.0 * a) + 1.0 / (192.0 * a**3) - 1.0 / (640.0 * a**5)


def _beta_fraction(a: float, b: float, x: float, front: float) -> float:
    """I_x(a, b) by its continued fraction (modified Lentz); front = x^a (1 − x)^b / (a B(a, b)).

    Source: Abramowitz & Stegun 26.5.8; Press et al., Numerical Recipes, sec. 6.4.
    """
    if x <= 0.0:
        return 0.0
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    result = d
    for m in range(1, 20_000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            result *= d * c
        if abs(d * c - 1.0) < 1e-16:
            break
    return min(front * result, 1.0)
