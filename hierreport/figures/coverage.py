"""Coverage map: which group has rows in which period."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .axes import wrap
from .style import Picture
from .svg import Svg, png_mask, shorten, width_of

if TYPE_CHECKING:
    from ..report.context import Context
    from ..report.coverage import Coverage

BLUE = "#3c84c6"  # at least 3:1 on the light and on the dark paper: a raster cannot follow the page's colours
FEW = 45  # groups that get a row with a name each


def pictures(context: Context) -> list[Picture]:
    coverage = context.coverage
    if coverage is None or coverage.cells is None or len(coverage.periods) < 2:
        return []
    names, told = context.names, context.told
    cells, groups = coverage.cells, len(coverage.n)
    noun = names.level(context.innermost, groups)
    order = _order(coverage)

    def draw(width: float) -> Svg:
        few = groups <= FEW
        named = [
            str(v)
            for v in (coverage.labels[-1] if few else set(coverage.labels[0]) if len(coverage.labels) > 1 else ())
        ]
        row = 15.0 if few else max(1.0, min(4.0, 480.0 / len(cells)))
        left = min(max(width_of(v, 12) for v in named) + 20, width * 0.36) if named else 4.0
        top = 26.0
        svg = Svg(width, top + row * len(cells) + 24)
        column = (width - left - 2) / cells.shape[1]
        shown = cells[order]
        if few or (coverage.per_column == 1 and coverage.row_bin[-1] == groups - 1 and shown.size <= 9000):
            gap = 1.5 if row > 5 else 0.0
            svg.rects(_runs(shown > 0, left, top, column, row, gap), "fa see", ' shape-rendering="crispEdges"')
        else:
            svg.image(left, top, width - left - 2, row * len(cells), png_mask(shown, BLUE))
        _period_labels(svg, coverage, left, column, top - 8)
        if few:
            for i, g in enumerate(order):
                label = "/".join(str(v[g]) for v in coverage.labels[-1:])
                svg.text(left - 6, top + row * i + row - 4, shorten(label, left - 10, 12), "s", "end", label)
        elif len(coverage.labels) > 1:
            _parents(svg, coverage, left, top, row)
        missing = coverage.possible - coverage.filled
        per_row = int(np.ceil(groups / len(cells)))
        text = (
            f"one row per {names.level(context.innermost)}"
            if per_row == 1
            else (f"each row of the picture is {per_row} {noun}; darker means more of them present")
        )
        for i, part in enumerate(wrap(f"{text}; blank: no row" if missing else text, width, 12)):
            svg.height += 15 * (i > 0)
            svg.text(0, svg.height - 5, part, "s")
        return svg

    full = int(np.sum(np.all(cells >= 1 - 1e-12, axis=1))) if coverage.row_bin[-1] == groups - 1 else None
    alt = (
        f"{told.count(groups)} {noun} by {told.count(len(coverage.periods))} periods, {coverage.periods[0]} to "
        f"{coverage.periods[-1]}: {told.percent(coverage.filled / coverage.possible)} of the cells have a row."
    )
    if full is not None:
        alt += (
            f" {told.count(full)} {names.level(context.innermost, full)} {'has' if full == 1 else 'have'} every period."
        )
    by_period = cells.T @ np.bincount(coverage.row_bin) / groups
    low, high = int(np.argmin(by_period)), int(np.argmax(by_period))
    if by_period[high] - by_period[low] > 0.01:
        alt += (
            f" Coverage is lowest in {_period(coverage, low)} ({told.percent(by_period[low])} of {noun}) and "
            f"highest in "
            f"{_period(coverage, high)} ({told.percent(by_period[high])})."
        )
    return [Picture("coverage", f"Coverage: which {noun} have rows when", alt, draw)]


def _order(coverage: Coverage) -> np.ndarray:
    """Rows of the picture: outer groups in order; within them by first, then last period."""
    cells = coverage.cells
    assert cells is not None
    if coverage.row_bin[-1] != len(coverage.n) - 1:
        return np.arange(len(cells))
    present = cells > 0
    first = np.argmax(present, axis=1)
    last = cells.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1)
    outer = np.unique(coverage.labels[0].astype(str), return_inverse=True)[1]
    keys = (last, first, outer) if len(coverage.labels) > 1 else (last, first)
    return np.lexsort(keys)


def _runs(present: np.ndarray, left: float, top: float, column: float, row: float, gap: float) -> list[tuple]:
    """One box per run of consecutive periods; without a gap, one for rows below each other with the same run."""
    edge = np.zeros((len(present), 1), dtype=np.int8)
    change = np.diff(np.concatenate([edge, present.astype(np.int8), edge], axis=1), axis=1)
    r1, begin = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    boxes: dict[tuple[int, int, int], int] = {}  # (begin, end, last row) -> rows
    for r, b, e in zip(r1.tolist(), begin.tolist(), end.tolist(), strict=True):
        boxes[b, e, r] = 1 + (boxes.pop((b, e, r - 1), 0) if gap == 0 else 0)
    return [
        (left + column * b, top + row * (r + 1 - k), column * (e - b) - min(1.0, column / 4), row * k - gap)
        for (b, e, r), k in boxes.items()
    ]


def _period(coverage: Coverage, column: int) -> str:
    return coverage.periods[column * coverage.per_column]


def _period_labels(svg: Svg, coverage: Coverage, left: float, column: float, y: float) -> None:
    assert coverage.cells is not None
    widest = 7.0 * max(len(p) for p in coverage.periods[:: coverage.per_column]) + 14
    every = max(1, int(np.ceil(widest / column)))
    for i in range(0, coverage.cells.shape[1], every):
        x = left + column * (i + 0.5)
        if x + widest / 2 < svg.width + 8:
            svg.text(max(x, left + widest / 2 - 7) if i == 0 else x, y, _period(coverage, i), "s", "middle")


def _parents(svg: Svg, coverage: Coverage, left: float, top: float, row: float) -> None:
    """Names of the outermost groups beside their rows, where there is room."""
    assert coverage.cells is not None
    outer = coverage.labels[0].astype(str)
    begin = np.flatnonzero(np.concatenate([[True], outer[1:] != outer[:-1]]))
    per_row = len(outer) / len(coverage.cells)
    edges = np.concatenate([begin, [len(outer)]]) / per_row
    free = top
    for name, a, b in zip(outer[begin], edges, edges[1:], strict=False):
        y0, y1 = top + row * a, top + row * b
        middle = (y0 + y1) / 2
        if y1 - y0 >= 8 and middle - 7 >= free:
            svg.line(left - 4, y0 + 0.5, left - 4, y1 - 0.5, "ax")
            svg.text(left - 9, middle + 4, shorten(name, left - 14, 12), "s", "end", name)
            free = middle + 7
