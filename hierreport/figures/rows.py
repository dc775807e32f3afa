"""Rows of points with intervals and a name each: the small form of caterpillars and residuals by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .axes import Axes, padded
from .svg import Svg, shorten_label, width_of

if TYPE_CHECKING:
    from ..report.numbers import Numbers


@dataclass(frozen=True)
class Row:
    label: str
    value: float
    low: float
    high: float
    strong: bool
    tip: str = ""


def draw_rows(rows: list[Row], width: float, num: Numbers, title: str, zero: float = 0.0) -> Svg:
    """One row per entry, from top to bottom; strong rows in the accent, a reference line at ``zero``."""
    step = 18.0
    left = min(max((width_of(r.label, 12) for r in rows), default=40) + 14, width * 0.4)
    svg = Svg(width, step * len(rows) + 58)
    values = [v for r in rows for v in (r.low, r.high, r.value)]
    axes = Axes(svg, num, padded(values, 0.04, (zero,)), (0, max(len(rows), 1)), left, 10, 12, 46)
    axes.x_axis(title)
    svg.line(axes.x(zero), axes.top, axes.x(zero), axes.bottom, "ref")
    for i, row in enumerate(rows):
        y = axes.top + step * (i + 0.5) if len(rows) > 1 else (axes.top + axes.bottom) / 2
        svg.text(left - 8, y + 4, shorten_label(row.label, left - 10, 12), "s", "end", row.label)
        svg.line(axes.x(row.low), y, axes.x(row.high), y, "la th" if row.strong else "lr th")
        svg.circle(axes.x(row.value), y, 3.6, "fa" if row.strong else "fr", row.tip)
    return svg
