"""Forest plot: each effect with its interval, rung by rung; one panel per term, each on its own scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .axes import Axes, padded
from .style import Picture
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 12  # panels


def panel_terms(context: Context) -> list[str]:
    """Terms that get a panel: neither the intercept nor one of a factor's many dummies."""
    factors: dict[str, int] = {}
    for term in context.fixed():
        parsed = context.names.parse(term)
        if parsed.kind == "factor":
            factors[parsed.column] = factors.get(parsed.column, 0) + 1
    chosen = []
    for term in context.fixed():
        parsed = context.names.parse(term)
        if parsed.kind == "intercept" or (parsed.kind == "factor" and factors[parsed.column] > 2):
            continue
        chosen.append(term)
    return chosen[:MOST]


def pictures(context: Context) -> list[Picture]:
    terms, rungs = panel_terms(context), context.shown
    if not terms:
        return []
    names, told = context.names, context.told
    lines: list[tuple[str, str]] = []  # (heading, rung): one of the two
    for heading, members in context.blocks:
        lines += [(heading, "")] * (len(context.blocks) > 1) + [("", r) for r in members]
    values = {t: [context.fixed(r).get(t) if r else None for _, r in lines] for t in terms}

    def draw(width: float) -> Svg:
        row, head, foot = 21.0, 26.0, 30.0
        wide = width > 500
        left = min(max(width_of(context.short(r), 13, r == context.chosen) for r in rungs) + 18, width * 0.4)
        columns = min(3, len(terms)) if wide else 1
        per_column = (width - left) / columns
        block = head + row * len(lines) + foot
        svg = Svg(width, block * -(-len(terms) // columns) + 4)
        for k, term in enumerate(terms):
            at, column = divmod(k, columns)
            top = at * block
            box = (left + column * per_column, top, left + (column + 1) * per_column, top + block)
            if column == 0:
                for i, (heading, rung) in enumerate(lines):
                    y = top + head + row * (i + 0.5) + 4
                    if heading:
                        svg.text(2, y, shorten(heading, left, 12), "s", "", heading)
                    else:
                        name = context.short(rung)
                        kind = "b" if rung == context.chosen else "s"
                        svg.text(left - 8, y, shorten(name, left - 10, 14 if kind == "b" else 12.5), kind, "end", name)
            _panel(svg, context, term, values[term], [r for _, r in lines], box, head, foot, row)
        return svg

    alts = []
    for term in terms:
        found = [(r, f) for (_, r), f in zip(lines, values[term], strict=True) if f]
        listed = ", ".join(f"{r} {told.estimate(f['estimate'], f['se'])}" for r, f in found)
        alts.append(f"{names.term(term)}: {listed}")
    alt = "Estimates with 95 % intervals by rung. " + "; ".join(alts) + f". Chosen: {context.chosen}."
    return [Picture("forest", "The effects across rungs, with 95 % intervals", alt, draw)]


def _panel(
    svg: Svg,
    context: Context,
    term: str,
    fixed: list[dict[str, Any] | None],
    rungs: list[str],
    box: tuple[float, float, float, float],
    head: float,
    foot: float,
    row: float,
) -> None:
    found = [f for f in fixed if f]
    ends = [v for f in found for v in (f["ci_low"], f["ci_high"], f["estimate"]) if v is not None]
    low, high = padded(ends, 0.08)
    if low > 0 and low < 0.6 * (high - low):
        low = -0.05 * (high - low)
    if high < 0 and -high < 0.6 * (high - low):
        high = 0.05 * (high - low)
    axes = Axes(svg, context.num, (low, high), (0, len(rungs)), 10, head, 10, foot, box)
    axes.x_axis(room=56)
    if low <= 0 <= high:
        svg.line(axes.x(0), axes.top, axes.x(0), axes.bottom, "ref")
    title = context.names.term(term)
    svg.text(axes.left, box[1] + 15, shorten(title, box[2] - box[0] - 14, 13.5), "b", "", title)
    for i, (rung, f) in enumerate(zip(rungs, fixed, strict=True)):
        if not f:
            continue
        y = axes.top + row * (i + 0.5)
        mine = rung == context.chosen
        if f["ci_low"] is not None and f["ci_high"] is not None:
            svg.line(axes.x(f["ci_low"]), y, axes.x(f["ci_high"]), y, "la" if mine else "lr")
        text = f"{rung}: {context.num.estimate(f['estimate'], f['se'])}"
        kind = "fa" if mine else "fo lr th" if context.singular(rung) else "fr"
        svg.circle(axes.x(f["estimate"]), y, 4.6 if mine else 3.8, kind, text)
