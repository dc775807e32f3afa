"""Caterpillar plots: each group's random effect with its conditional interval, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..report.names import INTERCEPT
from .axes import Axes, padded
from .rows import Row, draw_rows
from .style import Picture
from .svg import Svg, shorten_label

if TYPE_CHECKING:
    from ..report.artifacts import LevelEffects
    from ..report.context import Context

NAMED, SINGLE = 45, 900  # groups that get a name each; groups that get an interval each
Z95 = 1.959963984540054


def pictures(context: Context) -> list[Picture]:
    found: list[Picture] = []
    effects = context.data.effects(context.chosen)
    for level in reversed(context.levels):
        if level not in effects:
            continue
        for k, term in enumerate(effects[level].terms):
            if np.nanmax(np.abs(effects[level].estimate[k]), initial=0.0) > 0:
                found.append(_picture(context, effects[level], k, term, f"caterpillar_{len(found) + 1}"))
    return found


def _picture(context: Context, effects: LevelEffects, k: int, term: str, name: str) -> Picture:
    names, num = context.names, context.num
    told = context.told
    order = np.argsort(effects.estimate[k], kind="stable")
    value, sd = effects.estimate[k][order], effects.sd[k][order]
    low, high = value - Z95 * sd, value + Z95 * sd
    labels = np.array(effects.labels, dtype=object)[order]
    clear = (low > 0) | (high < 0)
    noun, one = names.level(effects.level, 2), names.level(effects.level)
    what = "baseline" if term == INTERCEPT else f"slope of {names.term(term)}"
    axis = f"{what}: difference from the average {one}"
    if term == INTERCEPT:
        axis += f", in {names.axis(context.outcome)}"

    def tip(i: int) -> str:
        ends = f"{num.estimate(low[i], sd[i])} to {num.estimate(high[i], sd[i])}"
        return f"{labels[i]}: {num.estimate(value[i], sd[i])} ({ends})"

    def draw(width: float) -> Svg:
        if len(value) <= NAMED:
            rows = [Row(str(labels[i]), value[i], low[i], high[i], bool(clear[i]), tip(i)) for i in range(len(value))][
                ::-1
            ]
            return draw_rows(rows, width, num, axis)
        svg = Svg(width, 320)
        axes = Axes(svg, num, (-0.01 * len(value), 1.01 * len(value) - 1), padded([low, high], 0.08), left=50)
        axes.y_axis(axis if width > 500 else what)
        rank = np.arange(len(value))
        x = axes.x.pixels(rank)
        if len(value) <= SINGLE:
            for mask, line, dot in ((~clear, "lr hair see", "pr"), (clear, "la hair", "pa")):
                at = np.flatnonzero(mask).tolist()
                svg.lines(((x[i], axes.y(low[i]), x[i], axes.y(high[i])) for i in at), line)
                svg.dots([x[i] for i in at], [axes.y(value[i]) for i in at], max(2.0, min(5.0, 480 / len(value))), dot)
        else:
            keep = np.unique(np.linspace(0, len(value) - 1, 400).astype(int))
            xs = axes.x.pixels(keep)
            smooth_low, smooth_high = _blocks(low, keep), _blocks(high, keep)
            svg.band(xs, axes.y.pixels(smooth_low), axes.y.pixels(smooth_high), "ft")
            svg.polyline(xs, axes.y.pixels(value[keep]), "la")
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ref")
        svg.line(axes.left, axes.bottom, axes.right, axes.bottom, "ax")
        svg.text(axes.left, axes.bottom + 17, "1", "s", "middle")
        svg.text(axes.right, axes.bottom + 17, num.count(len(value)), "s", "end")
        axes.x_title(f"{noun} in order of their {what}")
        column = f"{term}_effect"
        axes.marks(context.groups_table(effects.level), ("rank", column, 0.0), ("value", column, 0.0))
        _extremes(svg, axes, [str(v) for v in labels], 3 if width > 500 else 1)
        return svg

    alt = (
        f"{told.count(len(value))} {noun} in order of their {what}, with 95 % conditional intervals: from "
        f"{told.estimate(value[0], sd[0])} ({labels[0]}) to {told.estimate(value[-1], sd[-1])} ({labels[-1]}). The "
        f"intervals of {told.count(int(clear.sum()))} exclude zero, the average {one}."
    )
    head = "Baseline" if term == INTERCEPT else f"Slope of {names.term(term)}"
    return Picture(name, f"{head} of each {one}, with 95 % conditional intervals", alt, draw)


def _blocks(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Medians around the kept positions, so that single wide intervals do not make the band ragged."""
    half = max(1, int(len(values) / len(keep) / 2) + 1)
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in keep])


def _extremes(svg: Svg, axes: Axes, labels: list[str], k: int) -> None:
    """Name the first and last few groups where the curve leaves room: above its low end, below its high end."""
    room = 0.45 * (axes.right - axes.left)
    for j in range(k):
        first, last = labels[j], labels[-1 - j]
        svg.text(axes.left + 8, axes.top + 28 + 16 * j, shorten_label(first, room, 12), "s halo", "", first)
        svg.text(
            axes.right - 2, axes.bottom - 8 - 16 * (k - 1 - j), shorten_label(last, room, 12), "s halo", "end", last
        )
    svg.text(axes.left + 8, axes.top + 12, "lowest", "ta halo")
    svg.text(axes.right - 2, axes.bottom - 8 - 16 * k, "highest", "ta halo", "end")
