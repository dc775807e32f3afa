"""Normal quantile plots with a pointwise envelope: shared by residuals and random effects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .axes import Axes, padded

if TYPE_CHECKING:
    from ..report.numbers import Numbers
    from .svg import Svg

Z95 = 1.959963984540054


def line_and_envelope(theoretical: np.ndarray, sample: np.ndarray, n: int) -> tuple[float, float, np.ndarray]:
    """Line through the quartiles (Tukey's), and the half-width of the pointwise 95 % envelope around it.

    The order statistic at probability p has standard error sqrt(p(1-p)/n) / phi(z), times the line's slope.
    """
    lo, hi = np.interp([-0.6744897501960817, 0.6744897501960817], theoretical, sample)
    slope = (hi - lo) / (2 * 0.6744897501960817) or float(np.std(sample)) or 1.0
    middle = (hi + lo) / 2
    p = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in theoretical])
    density = np.exp(-(theoretical**2) / 2) / math.sqrt(2 * math.pi)
    half = Z95 * slope * np.sqrt(p * (1 - p) / max(n, 1)) / np.maximum(density, 1e-12)
    return middle, slope, half


def outside(theoretical: np.ndarray, sample: np.ndarray, n: int) -> int:
    """Points outside of the envelope."""
    middle, slope, half = line_and_envelope(theoretical, sample, n)
    return int((np.abs(sample - middle - slope * theoretical) > half).sum())


def draw_qq(
    svg: Svg,
    num: Numbers,
    theoretical: np.ndarray,
    sample: np.ndarray,
    n: int,
    titles: tuple[str, str],
    box: tuple[float, float, float, float],
    band: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """One plot in ``box``; titles are those of the vertical and of the horizontal axis; ``band`` is an envelope that
    was simulated, the pointwise one where it is not given."""
    middle, slope, half = line_and_envelope(theoretical, sample, n)
    low, high = band if band else (middle + slope * theoretical - half, middle + slope * theoretical + half)
    if len(sample) > 600:  # the middle is dense: keep both tails in full
        last = len(sample) - 100
        thin = np.unique(
            np.concatenate([np.arange(100), np.linspace(100, last, 300).astype(int), np.arange(last, len(sample))])
        )
        theoretical, sample, low, high = theoretical[thin], sample[thin], low[thin], high[thin]
    line = middle + slope * theoretical
    show = (high - low) < 3 * (np.ptp(sample) or 1.0)
    ends = np.concatenate([sample, low[show], high[show]])
    axes = Axes(svg, num, padded(theoretical), padded(ends, 0.02), left=52, box=box)
    axes.y_axis(titles[0])
    axes.x_axis(titles[1])
    xs = axes.x.pixels(theoretical)
    svg.band(
        xs,
        axes.y.pixels(np.clip(low, axes.y.low, axes.y.high)),
        axes.y.pixels(np.clip(high, axes.y.low, axes.y.high)),
        "ft",
    )
    svg.line(xs[0], axes.y(line[0]), xs[-1], axes.y(line[-1]), "ref")
    svg.dots(xs, axes.y.pixels(sample), 4.0 if len(sample) < 400 else 3.2, "pa")
