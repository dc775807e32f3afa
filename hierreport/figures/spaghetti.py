"""Spaghetti: every group's fitted line over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .axes import Axes, padded
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 240  # lines


def pictures(context: Context) -> list[Picture]:
    lines = context.lines
    if lines is None:
        return []
    names, num = context.names, context.num
    told = context.told
    count = len(lines.labels)
    order = np.argsort(lines.slope if np.ptp(lines.slope) > 0 else lines.baseline, kind="stable")
    drawn = order if count <= MOST else order[np.linspace(0, count - 1, MOST).astype(int)]
    points = lines.all_rows(context)
    low, high = lines.baseline + lines.slope * lines.low, lines.baseline + lines.slope * lines.high
    ends = [low[drawn], high[drawn]] + ([points[1]] if points is not None else [])
    xs, ys = padded([lines.low[drawn], lines.high[drawn]], 0.02), padded(np.concatenate(ends), 0.03)
    x0, x1 = float(lines.low.min()), float(lines.high.max())
    one, many = names.level(lines.level), names.level(lines.level, 2)
    a, b = lines.population

    def draw(width: float) -> Svg:
        svg = Svg(width, min(400.0, width * 0.95))
        named = width > 500
        axes = Axes(svg, num, xs, ys, left=50, right=86 if named else 12)
        axes.y_axis(
            f"{names.axis(context.outcome)}, other predictors at their means"
            if width > 500
            else names.axis(context.outcome)
        )
        axes.x_axis(names.axis(lines.term))
        if points is not None:
            svg.dots(axes.x.pixels(points[0]), axes.y.pixels(points[1]), 2.6, "pr dim")
        kind = "la hair see" if len(drawn) > 40 else "la th see"
        svg.lines(((axes.x(lines.low[g]), axes.y(low[g]), axes.x(lines.high[g]), axes.y(high[g])) for g in drawn), kind)
        ya, yb = (float(np.clip(a + b * x, *ys)) for x in (x0, x1))
        svg.line(axes.x(x0), axes.y(ya), axes.x(x1), axes.y(yb), "l2")
        if named:
            svg.text(axes.right + 4, axes.y(yb) + 4, "population", "t2")
        else:
            svg.text(axes.right, axes.top - 13, "population", "t2", "end")
        return svg

    shallow, steep = int(np.argmin(lines.slope)), int(np.argmax(lines.slope))
    alt = f"Fitted lines of {told.count(count)} {many} against {names.term(lines.term)}, other predictors "
    alt += f"at their means; the population's slope is {told.significant(b)}"
    if np.ptp(lines.slope) > 0:
        alt += (
            f", the groups' run from {told.significant(float(lines.slope[shallow]))} ({_name(lines.labels[shallow])}) "
            f"to {told.significant(float(lines.slope[steep]))} ({_name(lines.labels[steep])})"
        )
    else:
        alt += f"; the lines are parallel, as this rung gives every {one} the same slope"
    key = f"each line: one {one}, over its own range" + (
        f" ({MOST} of {told.count(count)} drawn)" if count > MOST else ""
    )
    return [Picture("spaghetti", f"Every {one}'s fitted line", alt + ".", draw, key)]


def _name(label: str) -> str:
    return label.replace("\x1f", "/")
