"""Normal quantile plots of the random effects, one panel per level and coefficient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..report.names import INTERCEPT
from .qq import draw_qq, outside
from .style import Picture
from .svg import Svg, shorten

if TYPE_CHECKING:
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    source = (context.data.residuals or {}).get("random_qq") or {}
    names, num = context.names, context.num
    told = context.told
    panels = []
    for level in reversed(context.levels):
        for term, q in (source.get(level) or {}).items():
            x, y = np.asarray(q["theoretical"], float), np.asarray(q["sample"], float)
            if len(x) >= 3 and np.ptp(y) > 0:
                what = "baselines" if term == INTERCEPT else f"slopes of {names.term(term)}"
                band = (np.asarray(q["low"], float), np.asarray(q["high"], float)) if q.get("low") else None
                panels.append((f"{what}, {names.level(level, 2)}", x, y, band))
    if not panels:
        return []

    def draw(width: float) -> Svg:
        columns = min(2, len(panels)) if width > 500 else 1
        w, h = width / columns, 290.0
        svg = Svg(width, (h + 10) * -(-len(panels) // columns))
        for i, (title, x, y, band) in enumerate(panels):
            row, column = divmod(i, columns)
            x0, y0 = column * w, row * (h + 10)
            svg.text(x0 + 8, y0 + 15, shorten(title, w - 16, 13.5), "b", "", title)
            draw_qq(
                svg,
                num,
                x,
                y,
                len(x),
                ("observed quantile", "normal quantile"),
                (x0, y0 + 18, x0 + w - 6, y0 + h),
                band,
            )
        return svg

    key = "band: 95 % envelope of normal samples" + ("" if panels[0][3] else ", point by point")
    parts = []
    for title, x, y, band in panels:
        out = int(((y < band[0]) | (y > band[1])).sum()) if band else outside(x, y, len(x))
        parts.append(f"{title}: {told.count(out)} of {told.count(len(x))} points outside")
    alt = f"Quantiles of the random effects against a normal distribution's, with a 95 % envelope. {'; '.join(parts)}."
    return [Picture("random_qq", "Are the random effects normal?", alt, draw, key)]
