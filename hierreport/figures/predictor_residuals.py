"""Residuals along each numeric predictor, in bins: a bend means that the predictor acts in a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import Axes, padded
from .style import Picture
from .svg import Svg, shorten

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 9


def pictures(context: Context) -> list[Picture]:
    checks = (context.data.checks or {}).get("checks") or []
    details: dict[str, Any] = next((c.get("details") or {} for c in checks if c.get("name") == "nonlinearity"), {})
    binned = details.get("binned") or {}
    names, num = context.names, context.num
    told = context.told
    panels = []
    for term, bins in list(binned.items())[:MOST]:
        x, mean = (np.array([np.nan if v is None else v for v in bins[k]], float) for k in ("x", "mean"))
        sd = np.array([np.nan if v is None else v for v in bins.get("sd") or [None] * len(x)], float)
        n = np.array(bins.get("n") or [1] * len(x), float)
        if len(x) > 2:
            panels.append((names.term(term), names.axis(term), x, mean, 2 * sd / np.sqrt(np.maximum(n, 1))))
    if not panels:
        return []
    limits = padded([v for p in panels for v in (*(p[3] - p[4]), *(p[3] + p[4]))], 0.05, (0.0,))

    def draw(width: float) -> Svg:
        columns = min(3, len(panels)) if width > 500 else 1
        w, h = width / columns, 230.0
        svg = Svg(width, (h + 8) * -(-len(panels) // columns))
        for i, (name, axis, x, mean, half) in enumerate(panels):
            row, column = divmod(i, columns)
            box = (column * w, row * (h + 8) + 14, (column + 1) * w - 6, row * (h + 8) + h)
            axes = Axes(svg, num, padded(x), limits, left=46, top=16, box=box)
            axes.y_axis()
            axes.x_axis(axis, room=64)
            svg.text(box[0] + 4, box[1], shorten(name, w - 12, 13.5), "b", "", name)
            svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ref")
            low, high = np.clip(mean - half, *limits), np.clip(mean + half, *limits)
            px = axes.x.pixels(x)
            svg.lines(zip(px, axes.y.pixels(low), px, axes.y.pixels(high), strict=True), "la th see")
            svg.dots(px, axes.y.pixels(mean), 5, "pa")
        return svg

    parts = []
    for name, _, x, mean, _ in panels:
        i, j = int(np.nanargmin(mean)), int(np.nanargmax(mean))
        parts.append(
            f"{name}: lowest mean {told.significant(float(mean[i]), 2)} near {told.significant(float(x[i]))}, highest "
            f"{told.significant(float(mean[j]), 2)} near {told.significant(float(x[j]))}"
        )
    alt = f"Means of the residuals in bins of each predictor, with two standard errors. {'; '.join(parts)}."
    key = "point: mean of the residuals in a bin; line: two standard errors, taking rows as independent"
    return [Picture("predictor_residuals", "Residuals along each predictor", alt, draw, key)]
