"""How well the order of the groups is known: each group's rank with its 95 % range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..report.names import INTERCEPT
from .axes import Axes, nice_ticks
from .caterpillar import NAMED, SINGLE
from .rows import Row, draw_rows
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.artifacts import LevelEffects
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    effects = context.data.effects(context.chosen)
    found: list[Picture] = []
    for level in reversed(context.levels):
        if level in effects and len(effects[level].labels) > 1 and np.nanmax(np.abs(effects[level].estimate[0])) > 0:
            found.append(_picture(context, effects[level], "ranks" if not found else f"ranks_{len(found) + 1}"))
    return found


def _picture(context: Context, effects: LevelEffects, name: str) -> Picture:
    names, told = context.names, context.told
    many = names.level(effects.level, 2)
    term = effects.terms[0]
    what = "baseline" if term == INTERCEPT else f"slope of {names.term(term)}"
    order = np.argsort(-effects.estimate[0], kind="stable")
    low, high = (v[order] for v in context.ranks(effects))
    labels = [effects.labels[g] for g in order]
    count = len(order)
    rank = np.arange(1, count + 1)
    # a group can be told from the middle of the list where its range lies on one side of it
    clear = (high < (count + 1) / 2) | (low > (count + 1) / 2)

    def draw(width: float) -> Svg:
        axis = f"rank by {what}, 1 is the largest"
        if count <= NAMED:
            rows = [
                Row(labels[i], rank[i], float(low[i]), float(high[i]), bool(clear[i]), f"{low[i]} to {high[i]}")
                for i in range(count)
            ]
            return draw_rows(rows, width, context.num, axis, (count + 1) / 2)
        svg = Svg(width, min(340.0, width))
        axes = Axes(svg, context.num, (0.0, count + 1.0), (count + 1.0, 0.0), left=50)
        ends = [1.0, *[t for t in nice_ticks(1, count, 5) if 0.04 * count < t < 0.96 * count], float(count)]
        axes.y_axis("95 % range of the rank", ticks=ends)
        x = axes.x.pixels(rank)
        if count <= SINGLE:
            for mask, line, dot in ((~clear, "lr hair see", "pr"), (clear, "la hair", "pa")):
                at = np.flatnonzero(mask).tolist()
                svg.lines(((x[i], axes.y(low[i]), x[i], axes.y(high[i])) for i in at), line)
                svg.dots([x[i] for i in at], [axes.y(rank[i]) for i in at], max(2.0, min(5.0, 480 / count)), dot)
        else:
            keep = np.unique(np.linspace(0, count - 1, 400).astype(int))
            xs = [x[i] for i in keep]
            svg.band(xs, axes.y.pixels(low[keep]), axes.y.pixels(high[keep]), "ft")
            svg.polyline(xs, axes.y.pixels(rank[keep]), "la")
        svg.line(axes.left, axes.bottom, axes.right, axes.bottom, "ax")
        for tick in ends:
            svg.text(axes.x(tick), axes.bottom + 16, context.num.count(tick), "s", "middle")
        axes.x_title(axis)
        axes.marks(context.groups_table(effects.level), ("value", "rank", 0.0), ("value", "rank", 0.0))
        return svg

    width = np.asarray(high - low)
    alt = (
        f"{told.count(count)} {many} in order of their {what}, each with the 95 % range of its rank. The range of the "
        f"first, {labels[0]}, is {told.count(int(low[0]))} to {told.count(int(high[0]))}; half of the ranges span "
        f"{told.count(round(float(np.median(width))))} places or more. {told.count(int(clear.sum()))} lie in one half "
        "of the list."
    )
    key = "line: 95 % range of the rank; coloured where it lies in one half of the list"
    return Picture(name, f"How well the order of {many} is known", alt, draw, key)
