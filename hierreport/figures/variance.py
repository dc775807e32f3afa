"""Variance partition: the share of each level, rung by rung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .style import Picture, level_style
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context


def shares(context: Context, rung: str) -> list[tuple[str, float]]:
    """(level, share) of a rung's variance, innermost level first and the residual last."""
    icc = context.data.rungs[rung]["reml"].get("icc") or {}
    levels = [lv for lv in reversed(context.levels) if lv in icc]
    levels += [lv for lv in icc if lv not in levels and lv != "residual"]
    return [(lv, float(icc[lv] or 0.0)) for lv in levels] + [("residual", float(icc.get("residual", 1.0) or 0.0))]


def pictures(context: Context) -> list[Picture]:
    shown = [r for r in context.shown if context.data.rungs[r]["reml"].get("random")]
    if not shown:
        return []
    names, num = context.names, context.num
    told = context.told
    parts = {rung: shares(context, rung) for rung in shown}

    def label(level: str) -> str:
        return "residual" if level == "residual" else f"between {names.level(level, 2)}"

    def kinds(level: str) -> tuple[str, str, str]:
        if level == "residual":
            return ("fr", "lr", "tr")
        return level_style(list(reversed(context.levels)).index(level) if level in context.levels else 3)

    def draw(width: float) -> Svg:
        row, bar = (54.0, 26.0) if len(shown) < 6 else (46.0, 21.0)
        svg = Svg(width, row * len(shown) + 34)
        for i, rung in enumerate(shown):
            top = row * i + 18
            svg.text(0, top - 5, shorten(rung, width * 0.8), "b" if rung == context.chosen else "t", "", rung)
            if rung == context.chosen:
                svg.text(width_of(rung, 13, True) + 10, top - 5, "chosen", "ta")
            x = 0.0
            for level, share in parts[rung]:
                w = share * width
                if w < 0.3:
                    continue
                svg.rect(x, top, max(w - 1, 0.5), bar, kinds(level)[0], f"{label(level)}: {num.percent(share)}")
                text = f"{label(level)} {num.percent(share)}"
                for option in (text, num.percent(share)):
                    if width_of(option, 12.5) < w - 10:
                        svg.text(x + 6, top + bar / 2 + 4.5, option, "w")
                        break
                x += w
        y = svg.height - 8
        x = 0.0
        present = {lv for rung in shown for lv, _ in parts[rung]}
        for level in [*(lv for lv in reversed(context.levels) if lv in present), "residual"]:
            svg.rect(x, y - 10, 11, 11, kinds(level)[0])
            svg.text(x + 16, y, label(level), "s")
            x += 30 + width_of(label(level), 12)
        return svg

    alts = []
    for rung in shown:
        listed = ", ".join(f"{label(level)} {told.percent(share)}" for level, share in parts[rung])
        alts.append(f"{rung}: {listed}")
    alt = "Shares of the variance that the fixed effects leave. " + ". ".join(alts) + "."
    return [Picture("variance", "Where the variance lies, by rung", alt, draw)]
