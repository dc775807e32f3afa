"""Residuals against fitted values, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .axes import Axes, padded
from .shrinkage import draw_cells
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    source = context.data.residuals
    if not source or not (source.get("points") or source.get("bins2d")):
        return []
    names, num = context.names, context.num
    points, bins, smooth = source.get("points"), source.get("bins2d"), source.get("smooth") or {}
    outcome = names.axis(context.panel["outcome"])
    if points:
        x, y = np.asarray(points["fitted"], float), np.asarray(points["residual"], float)
        xr, yr = padded(x), padded(y, 0.04, (0.0,))
    else:
        x = y = np.array([])
        xr, yr = padded(bins["x_edges"], 0.01), padded(bins["y_edges"], 0.01, (0.0,))
    sm = [np.array([np.nan if v is None else v for v in smooth.get(k) or []], float) for k in ("fitted", "mean", "sd")]

    def against(width: float) -> Svg:
        svg = Svg(width, min(340.0, width))
        axes = Axes(svg, num, xr, yr, left=52)
        axes.y_axis(f"residual, in {outcome}" if width > 500 else "residual")
        axes.x_axis(f"fitted {outcome}")
        if points:
            svg.dots(axes.x.list(x), axes.y.list(y), 3.2 if len(x) < 2000 else 2.2, "pr see")
        else:
            draw_cells(
                svg, axes, np.asarray(bins["counts"], float), np.asarray(bins["x_edges"]), np.asarray(bins["y_edges"])
            )
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ref")
        if len(sm[0]) > 1:
            svg.polyline(axes.x.list(sm[0]), axes.y.list(sm[1]), "under")
            svg.polyline(axes.x.list(sm[0]), axes.y.list(sm[1]), "l2")
        return svg

    found = []
    n = source.get("n") or len(x)
    alt = f"{num.count(n)} residuals against fitted values"
    if len(sm[0]) > 1:
        i, j = int(np.nanargmin(sm[1])), int(np.nanargmax(sm[1]))
        alt += (
            f"; their mean in bins of the fitted value lies between {num.significant(sm[1][i], 2)} (near fitted "
            f"{num.significant(sm[0][i])}) and {num.significant(sm[1][j], 2)} (near {num.significant(sm[0][j])})"
        )
    key = "line: mean of the residuals in bins of the fitted value"
    if not points:
        key += "; darker cells hold more rows"
    found.append(Picture("residual_fitted", "Residuals against fitted values", alt + ".", against, key))
    if len(sm[0]) > 2 and np.isfinite(sm[2]).sum() > 2:
        found.append(_spread(context, sm[0], sm[2], outcome))
    return found


def _spread(context: Context, fitted: np.ndarray, sd: np.ndarray, outcome: str) -> Picture:
    num = context.num
    keep = np.isfinite(sd)
    fitted, sd = fitted[keep], sd[keep]
    sigma = context.estimate["sigma"]

    def draw(width: float) -> Svg:
        svg = Svg(width, 220)
        axes = Axes(svg, num, padded(fitted), (0.0, padded(sd, 0.1, (sigma,))[1]), left=52)
        axes.y_axis("standard deviation of the residuals")
        axes.x_axis(f"fitted {outcome}")
        svg.line(axes.left, axes.y(sigma), axes.right, axes.y(sigma), "ref")
        svg.text(axes.right, axes.y(sigma) - 5, f"model {num.significant(sigma)}", "s halo", "end")
        svg.polyline(axes.x.list(fitted), axes.y.list(sd), "la")
        svg.dots(axes.x.list(fitted), axes.y.list(sd), 6, "pa")
        return svg

    alt = (
        f"Standard deviation of the residuals in bins of the fitted value: from "
        f"{num.significant(float(sd.min()), 2)} to "
        f"{num.significant(float(sd.max()), 2)}; the model assumes {num.significant(sigma, 2)} throughout."
    )
    return Picture("residual_spread", "Spread of the residuals along the fitted values", alt, draw)
