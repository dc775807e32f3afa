"""Observed against predicted means by group: what the predictors reach, and what the groups' effects add."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .axes import Axes, padded
from .shrinkage import DOTS, draw_cloud
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context

BOTH = 400  # groups for which both predictions are drawn


def pictures(context: Context) -> list[Picture]:
    lines = context.lines
    if lines is None or len(lines.labels) < 2:
        return []
    names, num = context.names, context.num
    told = context.told
    one, many, count = names.level(lines.level), names.level(lines.level, 2), len(lines.labels)
    both = count <= BOTH
    shown = [lines.observed, lines.by_model] + ([lines.by_predictors] if both else [])
    limits = padded(np.concatenate(shown), 0.03)
    outcome = names.axis(context.outcome)

    def draw(width: float) -> Svg:
        side = min(460.0, width)
        svg = Svg(width, side * 0.92)
        axes = Axes(svg, num, limits, limits, left=50)
        axes.y_axis(f"observed mean, {outcome}")
        axes.x_axis(f"predicted mean, {outcome}")
        svg.line(axes.left, axes.bottom, axes.right, axes.top, "ref")
        if both:
            p, m, y = (axes.x.pixels(lines.by_predictors), axes.x.pixels(lines.by_model), axes.y.pixels(lines.observed))
            svg.lines(zip(p, y, m, y, strict=True), "lr hair dim")
            svg.dots(p, y, 5.2, "pr")
            svg.dots(p, y, 2.8, "pp")
            svg.dots(m, y, 4.6, "pa")
        else:
            draw_cloud(svg, axes, lines.by_model, lines.observed, lines.n if count <= DOTS else None)
        return svg

    def miss(predicted: np.ndarray) -> str:
        return told.significant(float(np.sqrt(np.mean((lines.observed - predicted) ** 2))), 2)

    alt = (
        f"Observed against predicted means of {told.count(count)} {many}. The typical distance (root mean square) is "
        f"{miss(lines.by_predictors)} with the predictors alone and {miss(lines.by_model)} with the groups' effects."
    )
    key = "dashed: prediction equals observation"
    if both:
        key = f"hollow: by the predictors alone; filled: with the {one}'s own effects; {key}"
    return [Picture("observed", f"Observed and predicted means, by {one}", alt, draw, key)]
