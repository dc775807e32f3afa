"""Influence: how far the most sensitive coefficient moves when one group is left out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .axes import Axes, padded
from .style import Picture
from .svg import Svg, shorten, shorten_label, width_of

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 15


def influential(context: Context) -> list[dict[str, Any]]:
    """The levels of the influence check, each with its most influential groups; empty where it was not made."""
    checks = (context.data.checks or {}).get("checks") or []
    found: dict[str, Any] = next((c for c in checks if c.get("name") == "influence"), {})
    levels = (found.get("details") or {}).get("levels") or []
    return [lv for lv in levels if lv.get("groups")]


def moved(group: dict[str, Any]) -> float:
    """Change of the coefficient without the group, in standard errors, with the sign of the change."""
    return math.copysign(abs(group["shift"]), group["without"] - group["with"])


def pictures(context: Context) -> list[Picture]:
    found: list[Picture] = []
    for k, level in enumerate(influential(context)):
        found.append(_picture(context, level, "influence" if k == 0 else f"influence_{k + 1}"))
    return found


def _picture(context: Context, level: dict[str, Any], name: str) -> Picture:
    names, num = context.names, context.num
    told = context.told
    groups = sorted(level["groups"], key=lambda g: -abs(g["shift"]))[:MOST]
    threshold = level.get("threshold")
    one, many = names.level(level["level"]), names.level(level["level"], 2)

    def draw(width: float) -> Svg:
        above = width <= 500  # names stand above the lines where there is no room beside them
        step = 38.0 if above else 21.0
        left = min(max(width_of(str(g["label"]), 12) for g in groups) + 14, width * 0.3)
        right = min(max(width_of(names.term(g["term"]), 12) for g in groups) + 16, width * 0.36)
        if above:
            left, right = 22.0, 16.0
        svg = Svg(width, step * len(groups) + 68)
        limits = padded([moved(g) for g in groups], 0.05, (0.0,))
        axes = Axes(svg, num, limits, (0, len(groups)), left, 22, right, 46)
        axes.x_axis("change of the coefficient without the group, in standard errors")
        svg.line(axes.x(0), axes.top, axes.x(0), axes.bottom, "ax")
        for mark in (-threshold, threshold) if threshold else ():
            if limits[0] <= mark <= limits[1]:
                svg.line(axes.x(mark), axes.top, axes.x(mark), axes.bottom, "ref")
        if not above:
            svg.text(axes.right + 8, axes.top - 8, "coefficient", "s")
        for i, g in enumerate(groups):
            y = axes.top + step * (i + 0.5)
            strong = threshold is not None and abs(g["shift"]) > threshold
            term = names.term(g["term"])
            change = f"{num.significant(g['with'])} → {num.significant(g['without'])}"
            if above:
                y += 9
                label = f"{shorten_label(g['label'], width * 0.5, 12)}: {term}"
                svg.text(2, y - 11, shorten(label, width - 4, 12), "s halo", "", f"{g['label']}: {term}")
            else:
                svg.text(left - 8, y + 4, shorten_label(g["label"], left - 10, 12), "s", "end", str(g["label"]))
                svg.text(axes.right + 8, y + 4, shorten(term, right - 10, 12), "s", "", term)
            svg.line(axes.x(0), y, axes.x(moved(g)), y, "la" if strong else "lr")
            svg.circle(axes.x(moved(g)), y, 4.2, "fa" if strong else "fr", f"{g['label']}: {term} {change}")
        return svg

    first = groups[0]
    alt = (
        f"The {told.count(len(groups))} {many} whose leaving out moves a coefficient most, of "
        f"{told.count(level.get('count'))}. "
        f"Without {first['label']}, the coefficient of {names.term(first['term'])} goes from "
        f"{told.significant(first['with'])} to {told.significant(first['without'])}, "
        f"{told.significant(abs(first['shift']), 2)} standard errors."
    )
    key = "each group's most sensitive coefficient"
    if threshold:
        beyond = sum(abs(g["shift"]) > threshold for g in groups)
        alt += f" {told.count(beyond)} of those shown move one by more than {told.significant(threshold, 2)}."
        key += f"; dashed: ±{told.significant(threshold, 2)} standard errors, where a look is due"
    return Picture(name, f"What leaving out one {one} would change", alt, draw, key)
