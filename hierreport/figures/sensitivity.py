"""Sensitivity: a main coefficient under every analysis, the chosen rung's interval as a band behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..said import quote
from .axes import Axes, padded
from .style import Picture
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 4  # terms; those that move most come first


def compared(context: Context) -> list[dict[str, Any]]:
    """The analyses that were made, in the table's order."""
    analyses = (context.data.sensitivity or {}).get("analyses") or []
    return [a for a in analyses if a.get("status") == "done" and a.get("coefficients")]


def by_movement(context: Context) -> list[str]:
    """Main terms, first the one that most analyses break or move most."""
    largest: dict[str, float] = {}
    for a in compared(context):
        for c in a["coefficients"]:
            size = abs(c["change_in_se"]) + (1000.0 if c.get("broken") else 0.0)
            largest[c["term"]] = largest.get(c["term"], 0.0) + size
    return sorted(largest, key=lambda term: -largest[term])


def pictures(context: Context) -> list[Picture]:
    source = context.data.sensitivity or {}
    chosen = {c["term"]: c for c in (source.get("chosen") or {}).get("coefficients") or []}
    terms = [t for t in by_movement(context) if t in chosen][:MOST]
    return [
        _picture(context, t, chosen[t], "sensitivity" if not k else f"sensitivity_{k + 1}") for k, t in enumerate(terms)
    ]


def _picture(context: Context, term: str, mine: dict[str, Any], name: str) -> Picture:
    num, title = context.num, context.names.term(term)
    told = context.told
    rows = [(a, c) for a in compared(context) for c in a["coefficients"] if c["term"] == term]

    def draw(width: float) -> Svg:
        above = width <= 500  # names stand above their intervals where there is no room beside them
        step = 34.0 if above else 20.0
        left = min(max(width_of(str(a["title"]), 13, bool(c.get("broken"))) for a, c in rows) + 14, width * 0.46)
        left = 20.0 if above else left
        svg = Svg(width, step * len(rows) + 58)
        ends = [v for _, c in rows for v in (c["ci_low"], c["ci_high"])] + [mine["ci_low"], mine["ci_high"]]
        low, high = padded(ends, 0.06)
        if low > 0 and low < 0.6 * (high - low):
            low = -0.05 * (high - low)
        if high < 0 and -high < 0.6 * (high - low):
            high = 0.05 * (high - low)
        axes = Axes(svg, num, (low, high), (0, len(rows)), left, 8, 14, 46)
        box = (axes.x(mine["ci_low"]), axes.top, axes.x(mine["ci_high"]) - axes.x(mine["ci_low"]), step * len(rows))
        svg.rect(*box, "ft see")
        axes.x_axis(f"coefficient of {title}, with 95 % interval")
        if low <= 0 <= high:
            svg.line(axes.x(0), axes.top, axes.x(0), axes.bottom, "ax")
        svg.line(axes.x(mine["estimate"]), axes.top, axes.x(mine["estimate"]), axes.bottom, "la th")
        for i, (a, c) in enumerate(rows):
            y = axes.top + step * (i + 0.5)
            wrong = bool(c.get("broken"))
            label = str(a["title"])
            kind = "b" if wrong else "s"
            if above:
                y += 9
                svg.text(1, y - 10, shorten(label, width - 4, 13.5 if wrong else 12), f"{kind} halo", "", label)
            else:
                svg.text(left - 8, y + 4, shorten(label, left - 10, 13.5 if wrong else 12), kind, "end", label)
            svg.line(axes.x(c["ci_low"]), y, axes.x(c["ci_high"]), y, "l2" if wrong else "lr")
            text = f"{label}: {num.estimate(c['estimate'], c['se'])}" + (f"; {c['broken']}" if wrong else "")
            svg.circle(axes.x(c["estimate"]), y, 4.2, "f2" if wrong else "fr", text)
        return svg

    listed = (context.data.sensitivity or {}).get("analyses") or []
    titles = {a["name"]: quote(a, "title", f"sensitivity.json#/analyses/{i}") for i, a in enumerate(listed)}
    broken = [f"{titles[a['name']]} ({told.estimate(c['estimate'], c['se'])})" for a, c in rows if c.get("broken")]
    alt = (
        f"{title} under {told.count(len(rows))} other analyses; {told.estimate(mine['estimate'], mine['se'])} in "
        f"{context.chosen}. "
        + (
            f"The conclusion does not stand in {told.count(len(broken))}: {', '.join(broken)}."
            if broken
            else "It stands in all."
        )
    )
    note = f"band: 95 % interval of {context.chosen}; orange: the conclusion does not stand"
    return Picture(name, f"{title} under other models, rows and groups", alt, draw, note)
