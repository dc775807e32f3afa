"""Profile of a factor's effects, level by level, for the chosen rung (years, say)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .axes import Axes, padded
from .style import Picture
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    factors: dict[str, list[dict[str, Any]]] = {}
    for term, effect in context.fixed().items():
        parsed = context.names.parse(term)
        if parsed.kind == "factor":
            factors.setdefault(parsed.column, []).append({**effect, "level": parsed.level})
    found: list[Picture] = []
    for column, effects in factors.items():
        if len(effects) > 2:
            name = "profile" if not found else f"profile_{len(found) + 1}"
            found.append(_picture(context, column, effects, name))
    return found


def _picture(context: Context, column: str, effects: list[dict[str, Any]], name: str) -> Picture:
    names, num = context.names, context.num
    told = context.told
    reference = context.reference_level(column)
    against = f"against {reference}" if reference else "against the reference level"
    outcome = context.outcome

    def draw(width: float) -> Svg:
        svg = Svg(width, 250)
        ends = [v for e in effects for v in (e["ci_low"], e["ci_high"], e["estimate"]) if v is not None]
        count = len(effects)
        axes = Axes(svg, num, (-0.5, count - 0.5), padded(ends, 0.06, (0.0,)), left=56)
        axes.y_axis(f"{names.axis(outcome)}, {against}")
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ref")
        svg.lines(
            (
                (axes.x(i), axes.y(e["ci_low"]), axes.x(i), axes.y(e["ci_high"]))
                for i, e in enumerate(effects)
                if e["ci_low"] is not None
            ),
            "la" if count < 60 else "la hair dim",
        )
        svg.dots(
            axes.x.pixels(range(count)), axes.y.pixels([e["estimate"] for e in effects]), 8 if count < 60 else 3, "pa"
        )
        widest = min(max(width_of(e["level"], 12) for e in effects), 120.0) + 12
        every = max(1, int(-(-widest * count // (axes.right - axes.left))))
        for i in range(0, count, every):
            svg.text(axes.x(i), axes.bottom + 16, shorten(effects[i]["level"], 120, 12), "s", "middle")
        axes.x_title(names.variable(column))
        return svg

    low = min(effects, key=lambda e: e["estimate"])
    high = max(effects, key=lambda e: e["estimate"])
    clear = sum(1 for e in effects if e["ci_low"] is not None and (e["ci_low"] > 0 or e["ci_high"] < 0))
    alt = (
        f"Effects of {told.count(len(effects))} levels of {names.variable(column)} {against}, in "
        f"{names.term(outcome)}: lowest "
        f"{told.estimate(low['estimate'], low['se'])} ({low['level']}), highest "
        f"{told.estimate(high['estimate'], high['se'])} ({high['level']}); the 95 % intervals of "
        f"{told.count(clear)} of "
        f"{told.count(len(effects))} exclude zero."
    )
    title = f"Effect of each level of {names.variable(column)}, {against}, with 95 % intervals"
    return Picture(name, title, alt, draw)
