"""Small multiples: the fitted line of chosen groups over their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .axes import Axes, padded, wrap
from .influence import influential
from .style import Picture
from .svg import Svg, shorten, shorten_label

if TYPE_CHECKING:
    from ..report.context import Context
    from ..report.lines import GroupLines


def chosen(lines: GroupLines, influential: list[str]) -> list[tuple[str, int]]:
    """(why, group): the most influential, the largest, the smallest and the most extreme, each group once."""
    slopes = np.ptp(lines.slope) > 0
    place = {label.replace("\x1f", "/"): g for g, label in enumerate(lines.labels)}
    wanted = [("most influential", place[label]) for label in influential if label in place]
    wanted += [("most rows", int(np.argmax(lines.n))), ("fewest rows", int(np.argmin(lines.n)))]
    if slopes:
        wanted += [("steepest", int(np.argmax(lines.slope))), ("flattest", int(np.argmin(lines.slope)))]
    middle = 0.5 * (lines.low + lines.high)
    away = lines.baseline + lines.slope * middle - lines.population[0] - lines.population[1] * middle
    wanted += [("furthest above", int(np.argmax(away))), ("furthest below", int(np.argmin(away)))]
    if not slopes:
        wanted.append(("in the middle", int(np.argsort(away)[len(away) // 2])))
    found: dict[int, str] = {}
    for why, group in wanted:
        found[group] = f"{found[group]}, {why}" if group in found else why
    return [(why, group) for group, why in found.items()][:6]


def _ends(lines: GroupLines, g: int) -> list[float]:
    """The fitted line at both ends of the group's range."""
    return [float(lines.baseline[g] + lines.slope[g] * x) for x in (lines.low[g], lines.high[g])]


def pictures(context: Context) -> list[Picture]:
    lines = context.lines
    if lines is None or len(lines.labels) < 2:
        return []
    names, num = context.names, context.num
    told = context.told
    most = [max(lv["groups"], key=lambda g: abs(g["shift"]))["label"] for lv in influential(context)][:1]
    picked = chosen(lines, most)
    rows = lines.rows(context, [g for _, g in picked])
    a, b = lines.population
    ranges = {g: (padded(x, 0.1), padded([*y, *_ends(lines, g)], 0.1)) for g, (x, y) in rows.items()}
    # the same span in every panel, so that slopes compare; each panel is centred on its own group
    spans = [max(r[k][1] - r[k][0] for r in ranges.values()) for k in (0, 1)]

    def limits(g: int, k: int) -> tuple[float, float]:
        middle = sum(ranges[g][k]) / 2
        return middle - spans[k] / 2, middle + spans[k] / 2

    def draw(width: float) -> Svg:
        columns = 3 if width > 500 else 2
        w = width / columns
        tall = max(len(wrap(f"{why}, {num.count(lines.n[g])} rows", w - 8, 12)[:2]) for why, g in picked)
        h = 186.0 + 14 * tall
        lines_of_panels = -(-len(picked) // columns)
        svg = Svg(width, h * lines_of_panels + 22)
        for i, (why, g) in enumerate(picked):
            row, column = divmod(i, columns)
            box = (column * w, row * h, (column + 1) * w - 4, (row + 1) * h)
            xs, ys = limits(g, 0), limits(g, 1)
            axes = Axes(svg, num, xs, ys, left=40, top=26 + 14 * tall, right=6, bottom=30, box=box)
            axes.y_axis(room=50)
            axes.x_axis(room=60)
            label = lines.labels[g].replace("\x1f", "/")
            svg.text(box[0] + 4, box[1] + 15, shorten_label(label, w - 14, 14.5), "b", "", label)
            note = f"{why}, {num.count(lines.n[g])} rows"
            for j, part in enumerate(wrap(note, w - 8, 12)[:2]):
                svg.text(box[0] + 4, box[1] + 31 + 14 * j, shorten(part, w - 8, 12), "s", "", note)
            x, y = rows[g]
            grid = np.linspace(*xs, 60)
            grid = grid[(a + b * grid >= ys[0]) & (a + b * grid <= ys[1])]
            svg.polyline(axes.x.pixels(grid), axes.y.pixels(a + b * grid), "ref")
            svg.dots(axes.x.pixels(x), axes.y.pixels(y), 5, "pr see")
            ends = _ends(lines, g)
            svg.line(axes.x(lines.low[g]), axes.y(ends[0]), axes.x(lines.high[g]), axes.y(ends[1]), "la")
        title = f"{names.axis(lines.term)} (across), {names.axis(context.outcome)} (up)"
        title = title if width > 500 else f"across: {names.term(lines.term)}; up: {names.term(context.outcome)}"
        svg.text(width / 2, svg.height - 6, shorten(title, width, 12), "s", "middle", title)
        return svg

    parts = []
    for why, g in picked:
        label = lines.labels[g].replace("\x1f", "/")
        parts.append(
            f"{label} ({why}): slope {told.significant(float(lines.slope[g]))} over {told.count(lines.n[g])} rows"
        )
    alt = f"Rows and fitted lines of {told.count(len(picked))} {names.level(lines.level, 2)}. {'; '.join(parts)}."
    key = "points: rows, other predictors at their means; line: the group's fit; dashed: the population; equal spans"
    if context.record.get("errors") != "iid":
        key += "; distances from the line carry over in time"
    return [Picture("group_fits", f"Chosen {names.level(lines.level, 2)}: rows and fitted lines", alt, draw, key)]
