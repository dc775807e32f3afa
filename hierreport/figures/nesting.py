"""How the groups nest: one strip per level, every block as wide as its rows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from .style import Picture
from .svg import Svg, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context

STRIP, GAP = 38.0, 24.0


def pictures(context: Context) -> list[Picture]:
    coverage = context.coverage
    if coverage is None:
        return []
    names, num = context.names, context.num
    told = context.told
    total = int(coverage.n.sum())
    blocks = []  # per level: labels, rows, groups of the next level inside
    starts = [_starts(coverage.labels, depth) for depth in range(len(coverage.labels))]
    for depth, start in enumerate(starts):
        rows = np.add.reduceat(coverage.n, start)
        inside = (
            np.add.reduceat(np.isin(np.arange(len(coverage.n)), starts[depth + 1]).astype(int), start)
            if (depth + 1 < len(starts))
            else None
        )
        blocks.append(([str(v) for v in coverage.labels[depth][start]], rows, inside))

    def draw(width: float) -> Svg:
        svg = Svg(width, len(blocks) * (STRIP + GAP) + 22)
        for depth, (labels, rows, _inside) in enumerate(blocks):
            level = context.levels[depth]
            top = depth * (STRIP + GAP) + 18
            of = context.levels[depth - 1] if depth else ""
            title = f"{num.count(len(rows))} {names.level(level, len(rows))}"
            spread = blocks[depth - 1][2] if depth else None
            if spread is not None:
                title += f", {_range(spread, num)} per {names.level(of)}"
            svg.text(0, top - 6, title, "b")
            edges = np.concatenate([[0], np.cumsum(rows)]) / total * width
            room = np.diff(edges)
            kind = "ft" if depth < len(blocks) - 1 else "fp"
            if np.median(room) > 3:
                boxes = [(float(a), top, float(max(w - 1, 0.6)), STRIP) for a, w in zip(edges, room, strict=False)]
                svg.rects(boxes, kind)
            elif depth:
                outer = np.concatenate([[0], np.cumsum(blocks[depth - 1][1])]) / total * width
                svg.rects(
                    ((float(a), top, float(max(b - a - 1, 0.6)), STRIP) for a, b in itertools.pairwise(outer)),
                    kind,
                )
            else:
                svg.rects([(0, top, width, STRIP)], kind)
            for label, a, w, k in zip(labels, edges, room, rows, strict=False):
                if w > 26:
                    text = shorten(label, w - 8, 12)
                    if text == label or len(text) > 6:
                        svg.text(
                            float(a + w / 2), top + STRIP / 2 + 4, text, "s", "middle", f"{label}: {num.count(k)} rows"
                        )
        bottom = svg.height - 6
        last = blocks[-1][1]
        noun = names.level(context.innermost)
        text = f"{num.count(total)} rows, {_range(last, num)} per {noun}; blocks are as wide as their rows"
        svg.text(0, bottom, text if width_of(text, 12) < width else f"{num.count(total)} rows", "s")
        return svg

    labels, rows, _ = blocks[0]
    big, small = int(np.argmax(rows)), int(np.argmin(rows))
    counts = [
        f"{told.count(len(b[1]))} {names.level(lv, len(b[1]))}" for lv, b in zip(context.levels, blocks, strict=True)
    ]
    each = f"{_range(blocks[-1][1], context.told)} rows per {names.level(context.innermost)}"
    alt = f"{told.count(total)} rows of {' within '.join(reversed(counts))}, {each}."
    if len(rows) > 1:
        alt += (
            f" The {names.level(context.levels[0])} with most rows is {labels[big]} ({told.count(rows[big])}, "
            f"{told.percent(rows[big] / total)}), the one with fewest {labels[small]} ({told.count(rows[small])})."
        )
    title = "Groups and how they nest"
    return [Picture("nesting", title, alt, draw)]


def _starts(labels: tuple[np.ndarray, ...], depth: int) -> np.ndarray:
    change = np.zeros(len(labels[0]), dtype=bool)
    change[:1] = True
    for ids in labels[: depth + 1]:
        change[1:] |= ids[1:] != ids[:-1]
    return np.flatnonzero(change)


def _range(counts: np.ndarray, num: object) -> str:
    low, high = int(counts.min()), int(counts.max())
    text = num.count  # type: ignore[attr-defined]
    return str(text(low)) if low == high else f"{text(low)} to {text(high)}"
