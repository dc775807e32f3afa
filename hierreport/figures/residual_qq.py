"""Normal quantile plot of the residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .qq import draw_qq, outside
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context


def pictures(context: Context) -> list[Picture]:
    source = (context.data.residuals or {}).get("qq")
    if not source or len(source["theoretical"]) < 3:
        return []
    num = context.num
    told = context.told
    x, y = np.asarray(source["theoretical"], float), np.asarray(source["sample"], float)
    n = int((context.data.residuals or {}).get("n") or len(x))

    what = "innovations" if context.record.get("errors") != "iid" else "residuals"
    unit = ", in standard deviations" if (context.data.residuals or {})["qq"].get("scaled") else ""

    def draw(width: float) -> Svg:
        svg = Svg(width, min(340.0, width))
        titles = (f"observed quantile{unit}", "normal quantile")
        draw_qq(svg, num, x, y, n, titles, (0, 0, svg.width, svg.height))
        return svg

    out = outside(x, y, n)
    alt = (
        f"Quantiles of the {what} against a normal distribution's: {told.count(out)} of {told.count(len(x))} "
        f"points lie "
        f"outside of the 95 % envelope; the extremes are {told.significant(float(y[0]))} and "
        f"{told.significant(float(y[-1]))}."
    )
    return [Picture("residual_qq", f"Are the {what} normal?", alt, draw, "band: pointwise 95 % envelope")]
