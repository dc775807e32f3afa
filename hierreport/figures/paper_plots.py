"""One function per figure for papers: the data come from the modules that draw the report's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from ..report.names import INTERCEPT
from . import caterpillar as cat
from . import forest as forest_data
from . import qq
from . import residual_fitted as fitted_data
from . import shrinkage as shrinkage_data
from . import variance as variance_data
from .axes import padded
from .style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..report.context import Context

WIDTH = 6.5  # inches: the text of a page
LEVELS = ("accent", "level2", "level3", "level4")
Found = list[tuple[str, Figure]]


def _figure(height: float, **options: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(**options)


def _plain(axes: Axes, axis: str) -> None:
    """No grid along one axis."""
    axes.grid(False, axis=axis)  # type: ignore[arg-type]


def variance(context: Context) -> Found:
    """Shares of the variance by rung, one bar each."""
    shown = [r for r in context.shown if context.data.rungs[r]["reml"].get("random")]
    if not shown:
        return []
    figure, axes = _figure(0.9 + 0.42 * len(shown))
    levels = list(reversed(context.levels))
    seen: set[str] = set()
    for i, rung in enumerate(shown):
        left = 0.0
        for level, share in variance_data.shares(context, rung):
            rest = level == "residual"
            label = "residual" if rest else f"between {context.names.level(level, 2)}"
            index = levels.index(level) if level in levels else 3
            colour = LIGHT["rest"] if rest else LIGHT[LEVELS[min(index, 3)]]
            axes.barh(i, share, left=left, height=0.62, color=colour, label=None if label in seen else label)
            if share > 0.08:
                text = context.num.percent(share)
                axes.text(left + share / 2, i, text, ha="center", va="center", color="white", fontsize=8.5)
            seen.add(label)
            left += share
    axes.set_yticks(range(len(shown)), shown)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: context.num.percent(value, 0))
    axes.set_xlabel("share of the variance that the predictors leave")
    _plain(axes, "y")
    figure.legend(loc="outside upper left", ncols=len(seen))
    _embolden(axes, shown, context.chosen)
    return [("variance", figure)]


def _embolden(axes: Axes, names: list[str], chosen: str) -> None:
    for text, name in zip(axes.get_yticklabels(), names, strict=True):
        if name == chosen:
            text.set_fontweight("bold")


def forest(context: Context) -> Found:
    """Each effect with its 95 % interval, rung by rung."""
    terms, rungs = forest_data.panel_terms(context), context.shown
    if not terms:
        return []
    columns = min(3, len(terms))
    rows = -(-len(terms) // columns)
    figure, grid = _figure(rows * (0.75 + 0.2 * len(rungs)), nrows=rows, ncols=columns, squeeze=False, sharey=True)
    for k, axes in enumerate(grid.flat):
        if k >= len(terms):
            axes.set_visible(False)
            continue
        for i, rung in enumerate(rungs):
            f = context.fixed(rung).get(terms[k])
            if not f:
                continue
            mine = rung == context.chosen
            colour = LIGHT["accent"] if mine else LIGHT["rest"]
            if f["ci_low"] is not None and f["ci_high"] is not None:
                axes.plot([f["ci_low"], f["ci_high"]], [i, i], color=colour, linewidth=1.8 if mine else 1.2)
            hollow = context.singular(rung) and not mine
            axes.plot(f["estimate"], i, "o", color=colour, ms=4.5, mfc=LIGHT["paper"] if hollow else colour)
        low, high = axes.get_xlim()
        if low < 0 < high:
            axes.axvline(0, color=LIGHT["rule"], linestyle="--", linewidth=0.9, zorder=0.5)
        axes.set_title(context.names.term(terms[k]))
        axes.locator_params(axis="x", nbins=4)
        _plain(axes, "y")
    first = grid[0][0]
    first.set_yticks(range(len(rungs)), rungs)
    first.set_ylim(len(rungs) - 0.4, -0.6)
    for row in grid:
        _embolden(row[0], rungs, context.chosen)
    figure.supxlabel("estimate with 95 % interval", fontsize=9)
    return [("forest", figure)]


def shrinkage(context: Context) -> Found:
    """Each group on its own against its value in the model, term by term."""
    data = shrinkage_data.pairs(context)
    if data is None:
        return []
    found: Found = []
    one = context.names.level(data["level"])
    for k, (term, v) in enumerate(data["terms"].items()):
        what = "baseline" if term == INTERCEPT else f"slope of {context.names.term(term)}"
        low, high = shrinkage_data.window(v["separate"], v["pooled"])
        figure, axes = _figure(3.6)
        order = np.argsort(v["separate"], kind="stable")
        separate, pooled = np.clip(v["separate"][order], low, high), v["pooled"][order]
        rank, size = np.arange(len(order)), 18 * v["n"][order] / v["n"].max()
        axes.vlines(rank, separate, pooled, color=LIGHT["rest"], linewidth=0.6, alpha=0.6)
        axes.scatter(
            rank,
            separate,
            size,
            facecolors=LIGHT["paper"],
            edgecolors=LIGHT["rest"],
            linewidths=0.8,
            label=f"the {one}'s own rows alone",
        )
        axes.scatter(rank, pooled, size, color=LIGHT["accent"], label="in the model")
        label = f"population {context.num.significant(float(v['population']))}"
        axes.axhline(float(v["population"]), color=LIGHT["level2"], linewidth=1.2, label=label)
        axes.set_ylim(low, high)
        axes.set_xticks([])
        axes.set_xlabel(f"{context.names.level(data['level'], 2)}, in order of their separate estimates")
        axes.set_ylabel(what)
        figure.legend(loc="outside upper left", ncols=3)
        found.append((f"shrinkage_{k + 1}", figure))
    return found


def caterpillars(context: Context) -> Found:
    """Random effects in order, with 95 % conditional intervals."""
    found: Found = []
    effects = context.data.effects(context.chosen)
    for level in reversed(context.levels):
        if level not in effects:
            continue
        e = effects[level]
        for k, term in enumerate(e.terms):
            if not np.nanmax(np.abs(e.estimate[k]), initial=0.0) > 0:
                continue
            order = np.argsort(e.estimate[k], kind="stable")
            value, half = e.estimate[k][order], cat.Z95 * e.sd[k][order]
            labels = e.own if len(set(e.own)) == len(e.own) else e.labels
            names = [labels[i] for i in order]
            found.append((f"caterpillar_{len(found) + 1}", _caterpillar(context, level, term, value, half, names)))
    return found


def _caterpillar(
    context: Context, level: str, term: str, value: np.ndarray, half: np.ndarray, names: list[str]
) -> Figure:
    what = "baseline" if term == INTERCEPT else f"slope of {context.names.term(term)}"
    one, many = context.names.level(level), context.names.level(level, 2)
    clear = np.abs(value) > half
    rank = np.arange(len(value))
    named = len(value) <= cat.NAMED
    figure, axes = _figure(0.9 + 0.17 * len(value) if named else 3.4)
    for mask, colour in ((~clear, LIGHT["rest"]), (clear, LIGHT["accent"])):
        ends, at = (value[mask] - half[mask], value[mask] + half[mask]), rank[mask]
        width = 1.4 if named else max(0.3, min(1.2, 240 / len(value)))
        dot = 4.0 if named else max(1.0, min(3.5, 400 / len(value)))
        if named:
            axes.hlines(at, *ends, color=colour, linewidth=width)
            axes.plot(value[mask], at, "o", color=colour, ms=dot)
        else:
            axes.vlines(at, *ends, color=colour, linewidth=width, alpha=0.8)
            axes.plot(at, value[mask], "o", color=colour, ms=dot)
    title = f"{what}:{' ' if named else chr(10)}difference from the average {one}"
    if named:
        axes.axvline(0, color=LIGHT["rule"], linestyle="--", linewidth=0.9)
        axes.set_yticks(rank, names)
        axes.set_xlabel(title)
        _plain(axes, "y")
    else:
        axes.axhline(0, color=LIGHT["rule"], linestyle="--", linewidth=0.9)
        axes.set_xticks([])
        axes.set_ylabel(title)
        axes.set_xlabel(f"{many} in order of their {what}")
    return figure


def residual_fitted(context: Context) -> Found:
    """Residuals (innovations under correlated errors) against fitted values."""
    data = fitted_data.residuals(context)
    if data is None:
        return []
    figure, axes = _figure(3.6)
    if data.cells:
        counts, xe, ye = (np.asarray(data.cells[k], float) for k in ("counts", "x_edges", "y_edges"))
        shown = np.ma.masked_less_equal(counts.T, 0)
        mesh = axes.pcolormesh(xe, ye, np.ma.log10(shown), cmap="Blues", vmin=-0.5, rasterized=True)
        bar = figure.colorbar(mesh, ax=axes, label="rows")
        bar.ax.yaxis.set_major_formatter(lambda v, _: context.num.significant(10.0**v, 2))
    else:
        axes.plot(data.x, data.y, "o", color=LIGHT["rest"], ms=2.2, alpha=0.55, mew=0)
    axes.axhline(0, color=LIGHT["rule"], linestyle="--", linewidth=0.9)
    if len(data.middle) > 1:
        axes.plot(data.middle, data.mean, color=LIGHT["level2"], linewidth=1.8, label="mean in bins")
        figure.legend(loc="outside upper left")
    axes.set_xlabel(f"fitted {context.names.axis(context.outcome)}")
    axes.set_ylabel(data.axis)
    return [("residual_fitted", figure)]


def residual_qq(context: Context) -> Found:
    """Normal quantiles of the residuals with the pointwise envelope."""
    source = (context.data.residuals or {}).get("qq")
    if not source or len(source["theoretical"]) < 3:
        return []
    x, y = np.asarray(source["theoretical"], float), np.asarray(source["sample"], float)
    n = int((context.data.residuals or {}).get("n") or len(x))
    middle, slope, half = qq.line_and_envelope(x, y, n)
    figure, axes = _figure(3.6)
    line = middle + slope * x
    axes.fill_between(x, line - half, line + half, color=LIGHT["tint"], linewidth=0, label="pointwise 95 % envelope")
    axes.plot(x, line, color=LIGHT["rule"], linestyle="--", linewidth=1)
    axes.plot(x, y, "o", color=LIGHT["accent"], ms=2.6, mew=0)
    axes.set_ylim(*padded(y, 0.08))
    axes.set_xlabel("normal quantile")
    unit = ", in standard deviations" if source.get("scaled") else ""
    axes.set_ylabel(f"observed quantile{unit}")
    figure.legend(loc="outside upper left")
    return [("residual_qq", figure)]
