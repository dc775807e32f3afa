"""Residuals over time, and their autocorrelation within groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import Axes, padded
from .residual_fitted import residuals
from .style import Picture
from .svg import Svg, width_of

if TYPE_CHECKING:
    from ..report.context import Context

Z95 = 1.959963984540054


def pictures(context: Context) -> list[Picture]:
    source = context.data.residuals or {}
    found = []
    if source.get("by_period") and len(source["by_period"]["first"]) > 1:
        found.append(_by_period(context, source["by_period"]))
    if source.get("autocorrelation"):
        found.append(_autocorrelation(context, source["autocorrelation"]))
    return found


def _labels(context: Context, data: dict[str, Any]) -> list[str]:
    """A label per bin of periods: its first period."""
    known = context.coverage.periods if context.coverage else []
    if len(known) != data["periods"]:
        return [context.num.count(k + 1) for k in data["first"]]
    return [known[k] for k in data["first"]]


def _by_period(context: Context, data: dict[str, Any]) -> Picture:
    num, labels = context.num, _labels(context, data)
    told = context.told
    scaled = data["value"] == "scaled"
    what = "innovation" if scaled else "residual"
    like = residuals(context)
    axis = f"{what}, in standard deviations" if scaled or like is None else like.axis
    mean, low, q1, median, q3, high = (np.asarray(data[k], float) for k in ("mean", "q05", "q25", "q50", "q75", "q95"))
    count = len(mean)

    def draw(width: float) -> Svg:
        svg = Svg(width, 280)
        axes = Axes(svg, num, (-0.6, count - 0.4), padded([low, high], 0.05, (0.0,)), left=52)
        axes.y_axis(axis if width > 500 else what)
        step = (axes.right - axes.left) / count
        x = axes.x.pixels(np.arange(count))
        half = min(7.0, 0.32 * step)
        svg.lines(((x[i], axes.y(low[i]), x[i], axes.y(high[i])) for i in range(count)), "lr th see")
        svg.rects(((x[i] - half, axes.y(q3[i]), 2 * half, axes.y(q1[i]) - axes.y(q3[i])) for i in range(count)), "ft")
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ref")
        svg.lines(((x[i] - half, axes.y(median[i]), x[i] + half, axes.y(median[i])) for i in range(count)), "la")
        svg.dots(x, axes.y.pixels(mean), min(6.0, max(2.5, step * 0.6)), "p2")
        svg.line(axes.left, axes.bottom, axes.right, axes.bottom, "ax")
        every = max(1, int(np.ceil((max(width_of(v, 12) for v in labels) + 10) / step)))
        for i in range(0, count, every):
            svg.text(x[i], axes.bottom + 16, labels[i], "s", "middle")
        axes.x_title(context.period)
        return svg

    i, j = int(np.argmin(mean)), int(np.argmax(mean))
    alt = (
        f"{what.capitalize()}s in each {context.period}: their mean lies between {told.significant(float(mean[i]), 2)} "
        f"({labels[i]}) and {told.significant(float(mean[j]), 2)} ({labels[j]}); the middle half spans from "
        f"{told.significant(float((q3 - q1).min()), 2)} to {told.significant(float((q3 - q1).max()), 2)}."
    )
    key = "box: middle half, with the median; line: 5 % to 95 %; orange point: mean"
    if data["periods"] > count:
        joined = f"{told.count(-(-data['periods'] // count))} neighbouring {context.period}s"
        key += f"; each box: {joined}, named by the first"
        alt += f" Each box joins {joined}."
    return Picture("residual_time", f"{what.capitalize()}s over time", alt, draw, key)


def _autocorrelation(context: Context, data: dict[str, Any]) -> Picture:
    num = context.num
    told = context.told
    lags, r, expected = (np.asarray(data[k], float) for k in ("lag", "r", "expected"))
    half = Z95 / np.sqrt(np.asarray(data["pairs"], float))
    raw = None if data.get("raw") is None else np.asarray(data["raw"], float)
    what = "residuals" if raw is None else "innovations"
    one = context.names.level(context.innermost)

    def draw(width: float) -> Svg:
        svg = Svg(width, 250)
        values = [r, expected - half, expected + half, *([raw] if raw is not None else [])]
        named = 92.0 if raw is not None and width > 500 else 12.0
        axes = Axes(
            svg, num, (lags[0] - 0.6, lags[-1] + 0.6), padded(np.concatenate(values), 0.06, (-0.1, 0.1)), right=named
        )
        axes.y_axis("correlation")
        x = axes.x.pixels(lags)
        wide = 0.5 * (axes.x(1.0) - axes.x(0.0))
        edges = np.concatenate([[x[0] - wide], np.repeat(x[1:], 2) - wide, [x[-1] + wide]])
        band = [axes.y.pixels(np.repeat(expected + s * half, 2)) for s in (-1, 1)]
        svg.band(edges.tolist(), band[0], band[1], "ft")
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ax")
        if raw is not None:
            y = axes.y.pixels(raw)
            svg.polyline(x, y, "lr th")
            svg.dots(x, y, 6.4, "pr")
            svg.dots(x, y, 3.6, "pp")
            if width > 500:
                svg.text(axes.right + 2, y[-1] + 4, "residuals", "tr")
        y = axes.y.pixels(r)
        svg.lines(((a, axes.y(0), a, b) for a, b in zip(x, y, strict=True)), "la")
        svg.dots(x, y, 7, "pa")
        if raw is not None and width > 500:
            svg.text(axes.right + 2, y[-1] + 4, "innovations", "ta")
        for a, lag in zip(x, data["lag"], strict=True):
            svg.text(a, axes.bottom + 16, num.count(lag), "s", "middle")
        axes.x_title(f"{context.period}s apart")
        return svg

    far = int(np.argmax(np.abs(r - expected) / half))
    beyond = [told.count(k) for k, a, e, h in zip(data["lag"], r, expected, half, strict=True) if abs(a - e) > h]
    alt = (
        f"Autocorrelation of the {what} of one {one}, {told.count(1)} to {told.count(data['lag'][-1])} "
        f"{context.period}s apart: "
        f"{told.fixed(float(r[0]), 2)} between neighbours"
    )
    alt += f", {told.fixed(float(r[far]), 2)} at {told.count(data['lag'][far])}, the furthest from what is expected. "
    alt += (
        f"Outside of the band: {', '.join(beyond)}."
        if beyond
        else "None lies outside of the band of independent errors."
    )
    if raw is not None:
        alt += (
            f" The residuals themselves, which carry over in time, correlate by {told.fixed(float(raw[0]), 2)} at "
            f"{told.count(1)} and "
            f"{told.fixed(float(raw[-1]), 2)} at {told.count(data['lag'][-1])}."
        )
    key = f"band: where 95 % of such correlations lie if {what} are independent"
    if raw is not None:
        key += "; hollow: residuals; filled: innovations"
    if data["rows"] < (context.data.residuals or {}).get("n", 0):
        key += f"; from {told.count(data['rows'])} rows of whole {context.names.level(context.innermost, 2)}"
    return Picture("residual_acf", f"Do {what} of one {one} resemble each other?", alt, draw, key)
