"""Variance at each level as a function of a random slope's covariate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.names import INTERCEPT
from .axes import Axes, spread
from .style import Picture, level_style
from .svg import Svg, width_of

if TYPE_CHECKING:
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    found = []
    for k, term in enumerate(context.slope_terms):
        curve = share_curve(context, term)
        if curve is not None:
            found.append(_picture(context, term, curve, "icc_curve" if k == 0 else f"icc_curve_{k + 1}"))
    return found


def share_curve(context: Context, term: str) -> dict[str, Any] | None:
    """Shares of the variance at ``term`` = x, other slope covariates at their means: z(x)'Σz(x) over the total.

    Returns: x (grid over the observed range), shares {level: array, "residual": array}, mean of the covariate;
    None where its range is not recorded.
    """
    info = context.variable_info(term)
    ready = ((context.data.ladder.get("icc_curves") or {}).get(context.chosen) or {}).get(term)
    if ready and ready.get("icc"):
        found = {level: np.asarray(v, dtype=float) for level, v in ready["icc"].items()}
        found["residual"] = 1.0 - np.sum(list(found.values()), axis=0)
        return {"x": np.asarray(ready["x"], dtype=float), "shares": found, "mean": info.get("mean")}
    low, high = info.get("min"), info.get("max")
    if low is None or high is None or not high > low:
        return None
    x = np.linspace(low, high, 61)
    variance: dict[str, np.ndarray] = {}
    for block in context.random:
        z = np.array(
            [
                np.ones_like(x)
                if t == INTERCEPT
                else x
                if t == term
                else np.full_like(x, context.variable_info(t).get("mean") or 0.0)
                for t in block["terms"]
            ]
        )
        value = np.einsum("ix,ij,jx->x", z, np.asarray(block["cov"], dtype=float), z)
        variance[block["level"]] = variance.get(block["level"], np.zeros_like(x)) + value
    total = sum(variance.values()) + context.estimate["sigma"] ** 2
    shares = {level: v / total for level, v in variance.items()}
    shares["residual"] = context.estimate["sigma"] ** 2 / total
    return {"x": x, "shares": shares, "mean": info.get("mean")}


def _picture(context: Context, term: str, curve: dict[str, Any], name: str) -> Picture:
    names, num = context.names, context.num
    told = context.told
    x, shares = curve["x"], curve["shares"]
    order = [lv for lv in reversed(context.levels) if lv in shares] + ["residual"]

    def label(level: str) -> str:
        return "residual" if level == "residual" else f"between {names.level(level, 2)}"

    def kinds(level: str) -> tuple[str, str, str]:
        return ("fr", "lr", "tr") if level == "residual" else level_style(list(reversed(context.levels)).index(level))

    def draw(width: float) -> Svg:
        svg = Svg(width, 300)
        room = max(width_of(label(lv), 12.5) for lv in order) + 14
        axes = Axes(svg, num, (float(x[0]), float(x[-1])), (0, 100), right=room)
        axes.y_axis("% of the variance", ticks=[0, 25, 50, 75, 100])
        axes.x_axis(names.axis(term))
        if curve["mean"] is not None:
            px = axes.x(curve["mean"])
            svg.line(px, axes.top, px, axes.bottom, "ref")
            svg.text(px, axes.top - 5, "mean", "s", "middle")
        ends = spread([axes.y(100 * shares[lv][-1]) for lv in order], 16, axes.top + 4, axes.bottom)
        for level, end in zip(order, ends, strict=True):
            svg.polyline(axes.x.pixels(x), axes.y.pixels(100 * shares[level]), kinds(level)[1])
            svg.text(axes.right + 6, end + 4, label(level), kinds(level)[2])
        return svg

    parts = []
    for level in order:
        at = [int(np.argmin(np.abs(x - curve["mean"])))] if curve["mean"] is not None else []
        values = [context.told.percent(float(shares[level][i])) for i in (0, *at, -1)]
        middle = f" over {values[1]} at the mean" if at else ""
        parts.append(f"{label(level)} from {values[0]}{middle} to {values[-1]}")
    alt = (
        f"Share of the variance by {names.term(term)}, from {told.significant(float(x[0]))} to "
        f"{told.significant(float(x[-1]))}, the observed range: {'; '.join(parts)}."
    )
    return Picture(name, f"Where the variance lies depends on {names.term(term)}", alt, draw)
