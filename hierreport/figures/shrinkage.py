"""Shrinkage: each group estimated on its own, and pulled towards the population by the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.names import INTERCEPT
from .axes import Axes
from .style import Picture
from .svg import Svg, shorten_label, width_of

if TYPE_CHECKING:
    from ..report.context import Context

NAMED, SINGLE, DOTS = (
    36,
    260,
    1500,
)  # groups with a name each; groups drawn one by one; groups drawn as points; above that they are counted in cells


def pairs(context: Context) -> dict[str, Any] | None:
    """Separate and pooled estimates by term, sizes and labels: arrays over the groups that have both."""
    source = (context.data.residuals or {}).get("no_pooling")
    if not source or not source.get("groups") or context.chosen != context.data.residuals.get("rung"):  # type: ignore[union-attr]
        return None
    groups = source["groups"]
    found: dict[str, Any] = {"level": source["level"], "terms": {}}
    for term in source["terms"]:
        separate = np.array([_number(g["separate"], term) for g in groups])
        pooled = np.array([_number(g["pooled"], term) for g in groups])
        keep = np.isfinite(separate) & np.isfinite(pooled)
        if keep.any():
            common = (source.get("common") or {}).get(term)
            found["terms"][term] = {
                "population": common
                if common is not None
                else (context.fixed().get(term) or {}).get("estimate") or 0.0,
                "separate": separate[keep],
                "pooled": pooled[keep],
                "n": np.array([g["n"] for g in groups])[keep],
                "label": [g["label"] for g, k in zip(groups, keep, strict=True) if k],
            }
    return found if found["terms"] else None


def _number(values: dict[str, float | None] | None, term: str) -> float:
    value = (values or {}).get(term)
    return float("nan") if value is None else float(value)


def pictures(context: Context) -> list[Picture]:
    data = pairs(context)
    if data is None:
        return []
    return [
        _picture(context, data["level"], term, values, f"shrinkage_{k + 1}")
        for k, (term, values) in enumerate(data["terms"].items())
    ]


def window(values: np.ndarray, core: np.ndarray) -> tuple[float, float]:
    """A range that shows ``core`` in full and ``values`` as far as they are not far out."""
    low, high = np.quantile(values, [0.02, 0.98])
    gap = 0.5 * (high - low) or 1.0
    low, high = max(values.min(), low - gap), min(values.max(), high + gap)
    low, high = min(low, core.min()), max(high, core.max())
    pad = 0.04 * (high - low) or 1.0
    return float(low - pad), float(high + pad)


def _picture(context: Context, level: str, term: str, v: dict[str, Any], name: str) -> Picture:
    names, num = context.names, context.num
    told = context.told
    separate, pooled, n = v["separate"], v["pooled"], v["n"]
    population = float(v["population"])
    order = np.argsort(separate, kind="stable")
    one, many = names.level(level), names.level(level, 2)
    what = "baseline" if term == INTERCEPT else f"slope of {names.term(term)}"
    lo, hi = window(separate, pooled)
    outside = int(((separate < lo) | (separate > hi)).sum())
    radius = 4.2 * np.sqrt(np.maximum(n, 0.06 * n.max()) / n.max())

    def each(width: float) -> Svg:
        svg = Svg(width, 340)
        axes = Axes(svg, num, (-1, len(order)), (lo, hi), left=50, right=_margin(width))
        axes.y_axis(what)
        x = axes.x.pixels(np.arange(len(order)))
        s, p = np.clip(separate[order], lo, hi), pooled[order]
        svg.lines(((x[i], axes.y(s[i]), x[i], axes.y(p[i])) for i in range(len(order))), "lr hair see")
        size = np.maximum(1.0, radius[order] * min(1.0, (width / len(order)) / 4.5))
        for r in np.unique(size).tolist():
            at = np.flatnonzero(size == r)
            svg.rings([x[i] for i in at], axes.y.pixels(s[at]), r, "fo lr th" if r > 1.3 else "fr")
        for i, g in enumerate(order):
            svg.circle(x[i], axes.y(p[i]), size[i], "fa", tip(int(g)) if width > 500 else "")
        _population(svg, axes, population, num)
        svg.line(axes.left, axes.bottom, axes.right, axes.bottom, "ax")
        axes.x_title(f"{many}, in order of their separate estimates")
        return svg

    def named(width: float) -> Svg:
        step = 20.0
        left = min(max(width_of(v, 12) for v in v["label"]) + 14, width * 0.4)
        svg = Svg(width, step * len(order) + 66)
        axes = Axes(svg, num, (lo, hi), (0, len(order)), left, 18, 12, 46)
        axes.x_axis(what)
        if lo <= population <= hi:
            px = axes.x(population)
            svg.line(px, axes.top, px, axes.bottom, "l2 th")
            svg.text(px, axes.top - 5, f"population {num.significant(population)}", "t2 halo", "middle")
        for i, g in enumerate(order[::-1]):
            y = axes.top + step * (i + 0.5)
            alone, model = axes.x(float(np.clip(separate[g], lo, hi))), axes.x(pooled[g])
            svg.text(left - 8, y + 4, shorten_label(v["label"][g], left - 10, 12), "s", "end", v["label"][g])
            svg.line(alone, y, model, y, "lr th")
            svg.circle(alone, y, 0.8 + radius[g], "fo lr th")
            svg.circle(model, y, 0.8 + radius[g], "fa", tip(g))
        return svg

    def tip(g: int) -> str:
        return (
            f"{v['label'][g]}: {num.significant(separate[g])} alone, {num.significant(pooled[g])} in the model, {n[g]} "
            "rows"
        )

    def cloud(width: float) -> Svg:
        svg = Svg(width, min(420.0, width))
        plo, phi = window(pooled, pooled)
        axes = Axes(svg, num, (lo, hi), (plo, phi), left=50, right=_margin(width))
        axes.y_axis(f"{what}, in the model")
        axes.x_axis(f"{what}, each {one} on its own")
        a, b = max(lo, plo), min(hi, phi)
        svg.line(axes.x(a), axes.y(a), axes.x(b), axes.y(b), "ref")
        keep = (separate >= lo) & (separate <= hi)
        draw_cloud(svg, axes, separate[keep], pooled[keep], n[keep])
        _population(svg, axes, population, num)
        return svg

    spread_alone, spread_model = float(np.std(separate)), float(np.std(pooled))
    nearer = int((np.abs(pooled - population) < np.abs(separate - population)).sum())
    alt = (
        f"{told.count(len(order))} {many}: {what} estimated from each {one}'s own rows (spread, as a standard "
        f"deviation, {told.significant(spread_alone)}) and in the model ({told.significant(spread_model)}). For "
        f"{told.count(nearer)} of them the model's value is nearer to the population's {told.significant(population)}."
    )
    if outside:
        alt += f" {told.count(outside)} separate estimates lie outside of the picture and are drawn at its edge."
    key = "hollow: the group's own rows alone; filled: in the model; larger: more rows"
    if len(order) > SINGLE:
        key = "dashed: no shrinkage; the flatter the cloud, the more the model pulls to the population"
        if len(order) <= DOTS:
            key += "; larger points have more rows"
    draw = named if len(order) <= NAMED else each if len(order) <= SINGLE else cloud
    return Picture(name, f"Each {one} on its own, and in the model: {what}", alt, draw, key)


def _margin(width: float) -> float:
    return 84.0 if width > 500 else 10.0


def _population(svg: Svg, axes: Axes, value: float, num: Any) -> None:
    if axes.y.low <= value <= axes.y.high:
        y = axes.y(value)
        svg.line(axes.left, y, axes.right, y, "l2 th")
        if axes.svg.width > 500:  # beside the line, where there is room, or above the plot
            svg.text(axes.right + 4, y, "population", "t2")
            svg.text(axes.right + 4, y + 15, num.significant(value), "t2")
        else:
            svg.text(axes.right, axes.top - 13, f"population {num.significant(value)}", "t2", "end")


def draw_cloud(svg: Svg, axes: Axes, x: np.ndarray, y: np.ndarray, n: np.ndarray | None = None) -> None:
    """Points in up to three sizes; above ``DOTS`` points, cells shaded by how many they hold."""
    if len(x) <= DOTS:
        if n is None or n.min() == n.max():
            svg.dots(axes.x.pixels(x), axes.y.pixels(y), 4.5, "pa see")
            return
        cuts = np.quantile(n, [1 / 3, 2 / 3])
        size = np.searchsorted(cuts, n)
        for k, diameter in enumerate((3.0, 4.6, 6.4)):
            at = size == k
            svg.dots(axes.x.pixels(x[at]), axes.y.pixels(y[at]), diameter, "pa see")
        return
    counts, xe, ye = np.histogram2d(
        x,
        y,
        bins=(int((axes.right - axes.left) / 7), int((axes.bottom - axes.top) / 7)),
        range=((axes.x.low, axes.x.high), (axes.y.low, axes.y.high)),
    )
    draw_cells(svg, axes, counts, xe, ye)


def draw_cells(svg: Svg, axes: Axes, counts: np.ndarray, xe: np.ndarray, ye: np.ndarray) -> None:
    """Counts in cells as five shades of the accent, on a logarithmic scale."""
    if not counts.size or counts.max() <= 0:
        return
    shade = np.where(
        counts > 0, 1 + np.floor(4.999 * np.log(np.maximum(counts, 1)) / max(np.log(counts.max()), 1e-9)), 0
    )
    px, py = axes.x.pixels(xe), axes.y.pixels(ye)
    for k in range(1, 6):
        at = np.argwhere(shade == k).tolist()
        boxes = ((px[i], py[j + 1], px[i + 1] - px[i] + 0.05, py[j] - py[j + 1] + 0.05) for i, j in at)
        svg.rects(boxes, "fa", f' fill-opacity="{0.14 + 0.17 * k:.2f}"')
