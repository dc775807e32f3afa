"""What each rung adds: gain in log-likelihood over the rung before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .axes import Scale, tick_texts
from .style import Picture
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context
    from ..report.numbers import Numbers, Told


def pictures(context: Context) -> list[Picture]:
    aic = {r: context.data.rungs[r]["ml"].get("aic") for r in context.shown}
    if sum(v is not None for v in aic.values()) < 2:
        return []
    num = context.num
    best = min(v for v in aic.values() if v is not None)
    excess = {r: v - best for r, v in aic.items() if v is not None}
    most = max(excess.values()) or 1.0
    rows: list[tuple[str, str]] = []  # (heading, rung): one of the two
    for heading, rungs in context.blocks:
        rows += [(heading, "")] * (len(context.blocks) > 1) + [("", r) for r in rungs if r in excess]

    def text_of(rung: str, form: Numbers | Told = num) -> str:
        text = "lowest" if excess[rung] == 0 else "+" + form.fixed(excess[rung], 1 if excess[rung] < 100 else 0)
        text += ", singular" if context.singular(rung) else ""
        return text + (" · chosen" if rung == context.chosen else "")

    def draw(width: float) -> Svg:
        step = 25.0
        left = min(max(width_of(context.short(r), 13, r == context.chosen) for r in excess) + 20, width * 0.44)
        right = width - 96
        svg = Svg(width, step * len(rows) + 50)
        scale = Scale(0, most, left, right)
        ticks = scale.ticks(90)
        bottom = step * len(rows) + 6
        svg.lines(((scale(t), 4, scale(t), bottom) for t in ticks), "gr")
        for tick, text in zip(ticks, tick_texts(ticks, num), strict=True):
            svg.text(scale(tick), bottom + 16, text, "s", "middle")
        svg.text((left + right) / 2, bottom + 34, "AIC above the lowest (lower is better)", "s", "middle")
        for i, (heading, rung) in enumerate(rows):
            y = step * i + 17
            if heading:
                svg.text(2, y + 4, heading, "s")
                continue
            mine, x = rung == context.chosen, scale(excess[rung])
            name = context.short(rung)
            svg.text(left - 10, y + 4, shorten(name, left - 14, 13), "b" if mine else "t", "end", name)
            svg.line(left, y, x, y, "la" if mine else "lr")
            open_mark = "fo lr" if context.singular(rung) else "fr"
            svg.circle(x, y, 5, "fa" if mine else open_mark)
            label = text_of(rung)
            if x + 11 + width_of(label, 12.5) > width:
                svg.text(x - 9, y - 7, label, "ta halo" if mine else "s halo", "end")
            else:
                svg.text(x + 11, y + 4, label, "ta halo" if mine else "s halo")
        return svg

    listed = []
    for heading, rungs in context.blocks:
        parts = [f"{context.short(r)} {text_of(r, context.told)}" for r in rungs if r in excess]
        listed.append((f"With {heading}: " if len(context.blocks) > 1 else "") + ", ".join(parts))
    alt = f"AIC of each rung above the lowest. {'. '.join(listed)}."
    key = "hollow: a singular fit" if any(context.singular(r) for r in excess if r != context.chosen) else ""
    return [Picture("ladder", "How well each rung fits, by AIC", alt, draw, key)]
