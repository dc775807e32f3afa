"""What each rung adds: gain in log-likelihood over the rung before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .axes import Scale, nice_ticks, tick_texts
from .style import Picture
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    rungs = context.data.ladder.get("rungs", {})
    shown = [r for r in context.data.ladder.get("order", []) if r in rungs and rungs[r].get("aic") is not None]
    if len(shown) < 2:
        return []
    num = context.num
    best = min(rungs[r]["aic"] for r in shown)
    excess = {r: rungs[r]["aic"] - best for r in shown}
    most = max(excess.values()) or 1.0
    texts = {r: "lowest" if excess[r] == 0 else "+" + num.fixed(excess[r], 1 if excess[r] < 100 else 0) for r in shown}

    def draw(width: float) -> Svg:
        row = 30.0
        left = min(max(width_of(r, 13) for r in shown) + 24, width * 0.42)
        svg = Svg(width, row * len(shown) + 48)
        scale = Scale(0, most, left, width - 78)
        ticks = nice_ticks(0, most, int((width - left) / 90))
        bottom = row * len(shown) + 6
        svg.lines(((scale(t), 4, scale(t), bottom) for t in ticks), "gr")
        for tick, text in zip(ticks, tick_texts(ticks, num), strict=True):
            svg.text(scale(tick), bottom + 16, text, "s", "middle")
        svg.text((left + width - 78) / 2, bottom + 34, "AIC above the lowest (lower is better)", "s", "middle")
        for i, rung in enumerate(shown):
            y = row * i + 20
            is_chosen = rung == context.chosen
            name = shorten(rung, left - 20, 13)
            svg.text(left - 10, y + 4, name, "b" if is_chosen else "t", "end", rung)
            svg.line(left, y, scale(excess[rung]), y, "la" if is_chosen else "lr")
            svg.circle(scale(excess[rung]), y, 5.5, "fa" if is_chosen else "fr")
            label = texts[rung] + (" · chosen" if is_chosen else "")
            x = scale(excess[rung]) + 11
            if x + width_of(label, 13) > width:
                svg.text(scale(excess[rung]) - 10, y - 8, label, "ta" if is_chosen else "s", "end")
            else:
                svg.text(x, y + 4, label, "ta halo" if is_chosen else "s halo")
        return svg

    parts = [f"{r}: {'the lowest' if excess[r] == 0 else num.fixed(excess[r], 1) + ' above'}" for r in shown]
    alt = f"AIC of each rung against the lowest: {'; '.join(parts)}. The chosen rung is {context.chosen}."
    return [Picture("ladder", "How well each rung fits, by AIC", alt, draw)]
