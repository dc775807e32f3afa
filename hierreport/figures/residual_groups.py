"""Residuals by group: the groups whose residuals lie furthest from zero on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Row, draw_rows
from .style import Picture
from .svg import Svg

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 20


def pictures(context: Context) -> list[Picture]:
    source = (context.data.residuals or {}).get("by_group") or []
    levels = {g["level"] for g in source}
    names, num = context.names, context.num
    told = context.told
    found: list[Picture] = []
    for level in [lv for lv in reversed(context.levels) if lv in levels]:
        groups = sorted((g for g in source if g["level"] == level), key=lambda g: -abs(g["mean"]))[:MOST]
        groups.sort(key=lambda g: -g["mean"])
        rows = [
            Row(
                str(g["label"]),
                g["median"],
                g["q25"],
                g["q75"],
                g["q25"] > 0 or g["q75"] < 0,
                f"{g['label']}: median {num.significant(g['median'], 2)}, mean {num.significant(g['mean'], 2)}, "
                f"{g['n']} rows",
            )
            for g in groups
        ]

        def draw(width: float, rows: list[Row] = rows) -> Svg:
            return draw_rows(rows, width, num, f"residual, in {names.axis(context.outcome)}")

        top, bottom = groups[0], groups[-1]
        one = names.level(level)
        total = (context.record.get("groups") or {}).get(level) or context.panel["structure"][level]["groups"]
        few = f"the {told.count(len(groups))} {names.level(level, 2)} with the largest mean residual"
        if len(groups) >= total:
            few = f"all {told.count(len(groups))} {names.level(level, 2)}"
        alt = (
            f"Median and quartiles of the residuals of {few}: the highest mean is {told.significant(top['mean'], 2)} "
            f"({top['label']}), the lowest {told.significant(bottom['mean'], 2)} ({bottom['label']})."
        )
        name = "residual_groups" if not found else f"residual_groups_{len(found) + 1}"
        key = "point: median; line: quartiles; coloured where the middle half lies on one side of zero"
        found.append(Picture(name, f"Residuals by {one}: {few}", alt, draw, key))
    return found
