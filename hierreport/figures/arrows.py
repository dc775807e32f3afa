"""Baselines and slopes together: where each group stands alone, where the model puts it, and the estimated ellipse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.names import INTERCEPT
from .axes import Axes
from .shrinkage import draw_cloud, pairs, window
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context

ARROWS = 160
REGION95 = 5.991464547107979  # chi-squared, 2 degrees of freedom


def pictures(context: Context) -> list[Picture]:
    data = pairs(context)
    if data is None or len(data["terms"]) < 2:
        return []
    first, second = list(data["terms"])[:2]
    a, b = data["terms"][first], data["terms"][second]
    if len(a["label"]) != len(b["label"]):
        return []
    return [_picture(context, data["level"], (first, second), a, b)]


def _ellipse(context: Context, level: str, terms: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, float] | None:
    """95 % region of the model's normal distribution of (first, second) term, and their correlation."""
    block = next((r for r in context.random if r["level"] == level and all(t in r["terms"] for t in terms)), None)
    fixed = context.fixed()
    if block is None or not all(t in fixed for t in terms):
        return None
    at = [block["terms"].index(t) for t in terms]
    cov = np.asarray(block["cov"], dtype=float)[np.ix_(at, at)]
    values, vectors = np.linalg.eigh(cov)
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = np.sqrt(REGION95) * np.vstack([np.cos(angle), np.sin(angle)])
    points = vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * circle)
    corr = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]) if cov[0, 0] > 0 and cov[1, 1] > 0 else float("nan")
    return points[0] + fixed[terms[0]]["estimate"], points[1] + fixed[terms[1]]["estimate"], float(corr)


def _picture(context: Context, level: str, terms: tuple[str, str], a: dict[str, Any], b: dict[str, Any]) -> Picture:
    names, num = context.names, context.num
    told = context.told
    ellipse = _ellipse(context, level, terms)
    many = names.level(level, 2)
    titles = ["baseline" if t == INTERCEPT else f"slope of {names.term(t)}" for t in terms]
    ex, ey = (ellipse[0], ellipse[1]) if ellipse else (a["pooled"], b["pooled"])
    xr = window(a["separate"], np.concatenate([a["pooled"], ex]))
    yr = window(b["separate"], np.concatenate([b["pooled"], ey]))
    inside = (a["separate"] >= xr[0]) & (a["separate"] <= xr[1]) & (b["separate"] >= yr[0]) & (b["separate"] <= yr[1])
    with_arrows = len(a["n"]) <= ARROWS

    def draw(width: float) -> Svg:
        svg = Svg(width, min(480.0, width * 1.05))
        axes = Axes(svg, num, xr, yr, left=50)
        axes.y_axis(titles[1])
        axes.x_axis(titles[0])
        if with_arrows:
            at = np.flatnonzero(inside)
            sx, sy = axes.x.pixels(a["separate"][at]), axes.y.pixels(b["separate"][at])
            px, py = axes.x.pixels(a["pooled"][at]), axes.y.pixels(b["pooled"][at])
            svg.lines(zip(sx, sy, px, py, strict=True), "lr hair see")
            svg.dots(sx, sy, 5.4, "pr")
            svg.dots(sx, sy, 3.0, "pp")
            svg.dots(axes.x.pixels(a["pooled"]), axes.y.pixels(b["pooled"]), 5.0, "pa")
        else:
            draw_cloud(svg, axes, a["pooled"], b["pooled"], a["n"])
        table = context.groups_table(level)
        shared = [float(v["population"]) for v in (a, b)]
        axes.marks(table, *(("value", f"{t}_effect", s) for t, s in zip(terms, shared, strict=True)))
        if ellipse:
            svg.polyline(axes.x.pixels(ellipse[0]), axes.y.pixels(ellipse[1]), "l2 th")
            svg.text(axes.right, axes.top - 13, f"ellipse: 95 % of {many}", "t2", "end")
        return svg

    alt = f"{told.count(len(a['n']))} {many} by {titles[0]} and {titles[1]}."
    if ellipse:
        alt += (
            f" The model's correlation of the two is {told.fixed(ellipse[2], 2)}; the ellipse holds 95 % of {many} if "
            "they are normally distributed."
        )
    if with_arrows and not inside.all():
        alt += f" {told.count(int((~inside).sum()))} {many} whose separate estimates are far out have no line."
    key = "hollow: the group's own rows alone; line to filled: in the model" if with_arrows else "the model's values"
    return Picture("arrows", f"{titles[0].capitalize()} and {titles[1]} together", alt, draw, key)
