"""Estimates over all kept runs: main coefficients with their intervals, and the shares of the variance."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..report.names import INTERCEPT
from .axes import Axes, padded, spread
from .style import Picture, level_style
from .svg import Svg, width_of

if TYPE_CHECKING:
    from ..report.context import Context

MOST = 6  # coefficients
HEIGHT = 190.0  # of a panel
MANY = 60  # runs beyond which intervals are a band


def pictures(context: Context) -> list[Picture]:
    changes = context.data.changes or {}
    runs = changes.get("trend") or []
    if len(runs) < 2:
        return []
    terms = [t for t in _moving(changes) if sum(_effect(r, t) is not None for r in runs) > 1][:MOST]
    return [*([_coefficients(context, runs, terms)] if terms else []), *_shares(context, runs)]


def _moving(changes: dict[str, Any]) -> list[str]:
    """Numeric terms, first the one that moved most for its standard error since the last run."""
    size = {
        f["term"]: abs(f["change"] or 0.0) / (f["se_now"] or f["se_before"] or 1.0)
        for f in changes.get("fixed") or ()
        if f["term"] != INTERCEPT and not f["term"].endswith("]")
    }
    return sorted(size, key=lambda t: -size[t])


def _effect(run: dict[str, Any], term: str) -> dict[str, Any] | None:
    return next((f for f in run["fixed"] or () if f["term"] == term and f["estimate"] is not None), None)


def _axis(axes: Axes, runs: list[dict[str, Any]]) -> None:
    numbers = [r["number"] for r in runs]
    step = max(1, round((numbers[-1] - numbers[0]) / max(2, int((axes.right - axes.left) / 60))))
    axes.x_axis("run", ticks=[float(n) for n in range(numbers[0], numbers[-1] + 1, step)])


def _changes_of_rung(svg: Svg, axes: Axes, runs: list[dict[str, Any]]) -> None:
    """A line where another rung was chosen than the run before."""
    for a, b in pairwise(runs):
        if a["rung"] != b["rung"]:
            at = axes.x((a["number"] + b["number"]) / 2)
            svg.line(at, axes.top, at, axes.bottom, "ref")


def _coefficients(context: Context, runs: list[dict[str, Any]], terms: list[str]) -> Picture:
    """A panel per term, two beside each other where there is room."""
    told, names = context.told, context.names
    turns = sum(p["rung"] != q["rung"] for p, q in pairwise(runs))

    def draw(width: float) -> Svg:
        across = 2 if width > 600 and len(terms) > 1 else 1
        rows = -(-len(terms) // across)
        svg = Svg(width, HEIGHT * rows)
        for k, term in enumerate(terms):
            column, row = k % across, k // across
            _panel(context, svg, runs, term, (width / across * column, HEIGHT * row, width / across * (column + 1)))
        return svg

    parts = []
    for term in terms:
        points = [(r, e) for r in runs if (e := _effect(r, term)) is not None]
        (first, a), (last, b) = points[0], points[-1]
        old, new = (told.estimate(e["estimate"], e["se"]) for e in (a, b))
        number = [told.count(r["number"]) for r in (first, last)]
        parts.append(f"{names.term(term)} {old} in run {number[0]} and {new} in run {number[1]}")
    rung = f"the chosen rung changed {told.count(turns)} times" if turns else "one rung was chosen in all"
    alt = f"Coefficients with 95 % intervals over {told.count(len(runs))} runs: {'; '.join(parts)}; {rung}."
    note = "dashed: another rung was chosen from there on" if turns else ""
    return Picture("trend", "The main coefficients, run by run", alt, draw, note)


def _panel(
    context: Context, svg: Svg, runs: list[dict[str, Any]], term: str, place: tuple[float, float, float]
) -> None:
    """One coefficient in the box (left, top, right)."""
    num = context.num
    points = [(r, e) for r in runs if (e := _effect(r, term)) is not None]
    low, high = padded(
        [v for _, e in points for v in (e["ci_low"], e["ci_high"], e["estimate"]) if v is not None], 0.06
    )
    box = (place[0], place[1], place[2], place[1] + HEIGHT)
    axes = Axes(svg, num, (runs[0]["number"] - 0.5, runs[-1]["number"] + 0.5), (low, high), left=60, box=box)
    axes.y_axis(context.names.term(term))
    _axis(axes, runs)
    if low <= 0 <= high:
        svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "ax")
    _changes_of_rung(svg, axes, runs)
    x = [axes.x(r["number"]) for r, _ in points]
    whole = [(at, e) for at, (_, e) in zip(x, points, strict=True) if e["ci_low"] is not None]
    if len(points) > MANY:
        both = [[axes.y(e[k]) for _, e in whole] for k in ("ci_low", "ci_high")]
        svg.band([at for at, _ in whole], both[0], both[1], "ft")
    else:
        svg.lines(((at, axes.y(e["ci_low"]), at, axes.y(e["ci_high"])) for at, e in whole), "la")
    svg.polyline(x, [axes.y(e["estimate"]) for _, e in points], "la th")
    if len(points) <= MANY:
        for at, (r, e) in zip(x, points, strict=True):
            text = f"run {r['number']}, {r['rung']}: {num.estimate(e['estimate'], e['se'])}"
            svg.circle(at, axes.y(e["estimate"]), 4, "fa", text)


def _shares(context: Context, runs: list[dict[str, Any]]) -> list[Picture]:
    names, num, told = context.names, context.num, context.told
    seen = {level for r in runs for level in (r["icc"] or {})}
    order = [lv for lv in reversed(context.levels) if lv in seen]
    if not order:
        return []

    def label(level: str) -> str:
        return f"between {names.level(level, 2)}"

    def draw(width: float) -> Svg:
        svg = Svg(width, 220)
        room = max(width_of(label(lv), 12.5) for lv in order) + 14
        axes = Axes(svg, num, (runs[0]["number"] - 0.5, runs[-1]["number"] + 0.5), (0, 100), right=room)
        axes.y_axis("% of the variance", ticks=[0, 25, 50, 75, 100])
        _axis(axes, runs)
        _changes_of_rung(svg, axes, runs)
        last = [100 * float((runs[-1]["icc"] or {}).get(lv) or 0.0) for lv in order]
        ends = spread([axes.y(v) for v in last], 16, axes.top + 4, axes.bottom)
        for level, end in zip(order, ends, strict=True):
            fill, line, text = level_style(list(reversed(context.levels)).index(level))
            values = [(axes.x(r["number"]), axes.y(100 * float((r["icc"] or {}).get(level) or 0.0))) for r in runs]
            svg.polyline([x for x, _ in values], [y for _, y in values], line)
            if len(runs) <= MANY:
                for x, y in values:
                    svg.circle(x, y, 3.4, fill)
            svg.text(axes.right + 6, end + 4, label(level), text)
        return svg

    parts = [
        f"{label(lv)} {told.percent((runs[0]['icc'] or {}).get(lv) or 0.0)} in the first run shown and "
        f"{told.percent((runs[-1]['icc'] or {}).get(lv) or 0.0)} in this one"
        for lv in order
    ]
    alt = f"Shares of the variance over {told.count(len(runs))} runs: {'; '.join(parts)}."
    return [Picture("trend_icc", "Where the variance lies, run by run", alt, draw)]
