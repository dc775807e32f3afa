"""Residuals against fitted values, and their spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import Axes, padded
from .shrinkage import draw_cells
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context

BINS = 20


@dataclass(frozen=True)
class Residuals:
    """What is drawn: single points or counts in cells, and means and sds in bins of the fitted value.

    ``name`` and ``axis`` say what kind of residual it is; ``model`` is the standard deviation that the model assumes.
    """

    name: str
    axis: str
    model: float
    x: np.ndarray
    y: np.ndarray
    cells: dict[str, Any] | None
    middle: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def residuals(context: Context) -> Residuals | None:
    """Residuals as they are drawn; under correlated errors the innovations, which are independent if "
    "the model holds."""
    source = context.data.residuals or {}
    points, cells, smooth = source.get("points"), source.get("bins2d"), source.get("smooth") or {}
    if points and context.record.get("errors") != "iid" and points.get("scaled"):
        x, y = np.asarray(points["fitted"], float), np.asarray(points["scaled"], float)
        axis = "innovation, in standard deviations"
        return Residuals("innovations", axis, 1.0, x, y, None, *in_bins(x, y))
    sigma = float(context.estimate["sigma"])
    binned = [
        np.array([np.nan if v is None else v for v in smooth.get(k) or []], float) for k in ("fitted", "mean", "sd")
    ]
    axis = f"residual, in {context.names.axis(context.outcome)}"
    if points:
        x, y = np.asarray(points["fitted"], float), np.asarray(points["residual"], float)
        return Residuals("residuals", axis, sigma, x, y, None, *binned)
    if cells:
        return Residuals("residuals", axis, sigma, np.array([]), np.array([]), cells, *binned)
    return None


def in_bins(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of x, mean and sd of y in bins of x of equal size."""
    parts = [p for p in np.array_split(np.argsort(x, kind="stable"), min(BINS, max(1, len(x) // 20))) if len(p) > 1]
    found = [(x[p].mean(), y[p].mean(), y[p].std(ddof=1)) for p in parts]
    middle, mean, sd = np.array(found).reshape(-1, 3).T
    return middle, mean, sd


def pictures(context: Context) -> list[Picture]:
    data = residuals(context)
    if data is None:
        return []
    names, num = context.names, context.num
    told = context.told
    fitted = f"fitted {names.axis(context.outcome)}"
    if data.cells:
        xr, yr = padded(data.cells["x_edges"], 0.01), padded(data.cells["y_edges"], 0.01, (0.0,))
    else:
        xr, yr = padded(data.x), padded(data.y, 0.04, (0.0,))

    def draw(width: float) -> Svg:
        svg = Svg(width, min(340.0, width))
        axes = Axes(svg, num, xr, yr, left=52)
        axes.y_axis(data.axis if width > 500 else data.axis.split(",")[0])
        axes.x_axis(fitted)
        if data.cells:
            edges = [np.asarray(data.cells[k], float) for k in ("counts", "x_edges", "y_edges")]
            draw_cells(svg, axes, *edges)
        else:
            svg.dots(axes.x.pixels(data.x), axes.y.pixels(data.y), 3.2 if len(data.x) < 2000 else 2.2, "pr see")
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ref")
        if len(data.middle) > 1:
            svg.polyline(axes.x.pixels(data.middle), axes.y.pixels(data.mean), "under")
            svg.polyline(axes.x.pixels(data.middle), axes.y.pixels(data.mean), "l2")
        return svg

    n = (context.data.residuals or {}).get("n") or len(data.x)
    alt = f"{told.count(n)} {data.name} against fitted values"
    if len(data.middle) > 1:
        i, j = int(np.nanargmin(data.mean)), int(np.nanargmax(data.mean))
        alt += (
            f"; their mean in bins of the fitted value lies between {told.significant(float(data.mean[i]), 2)} (near "
            f"{told.significant(float(data.middle[i]))}) and {told.significant(float(data.mean[j]), 2)} (near "
            f"{told.significant(float(data.middle[j]))})"
        )
    key = f"line: mean of the {data.name} in bins of the fitted value"
    if data.cells:
        key += "; darker cells hold more rows"
    if data.name == "innovations":
        key = f"innovations: what is left of a row after its neighbour in time is taken into account; {key}"
    found = [Picture("residual_fitted", f"{data.name.capitalize()} against fitted values", alt + ".", draw, key)]
    if np.isfinite(data.sd).sum() > 2:
        found.append(_spread(context, data, fitted))
    return found


def _spread(context: Context, data: Residuals, fitted: str) -> Picture:
    num = context.num
    told = context.told
    keep = np.isfinite(data.sd)
    x, sd = data.middle[keep], data.sd[keep]

    def draw(width: float) -> Svg:
        svg = Svg(width, 220)
        axes = Axes(svg, num, padded(x), (0.0, padded(sd, 0.1, (data.model,))[1]), left=52)
        axes.y_axis(f"standard deviation of the {data.name}")
        axes.x_axis(fitted)
        svg.line(axes.left, axes.y(data.model), axes.right, axes.y(data.model), "ref")
        svg.polyline(axes.x.pixels(x), axes.y.pixels(sd), "la")
        svg.dots(axes.x.pixels(x), axes.y.pixels(sd), 6, "pa")
        return svg

    alt = (
        f"Standard deviation of the {data.name} in bins of the fitted value: from "
        f"{told.significant(float(sd.min()), 2)} to {told.significant(float(sd.max()), 2)}; the model assumes "
        f"{told.significant(data.model, 2)} throughout."
    )
    key = f"point: one bin of fitted values; dashed: what the model assumes, {told.significant(data.model)}"
    return Picture("residual_spread", f"Spread of the {data.name} along the fitted values", alt, draw, key)
