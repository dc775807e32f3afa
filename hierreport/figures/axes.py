"""Scales and axes: round ticks, thin grid, titles that name the unit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .svg import Svg, escape, shorten, width_of

if TYPE_CHECKING:
    from ..report.numbers import Numbers


@dataclass(frozen=True)
class Scale:
    """A linear map from data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: Any) -> Any:
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)

    def pixels(self, values: Any) -> list[float]:
        """Pixels of many values."""
        import numpy as np

        return self(np.asarray(values, dtype=float)).tolist()

    def ticks(self, room: float = 70.0) -> list[float]:
        """Round numbers inside the scale, about ``room`` pixels apart."""
        count = max(2, int(abs(self.end - self.start) / room))
        ticks = nice_ticks(self.low, self.high, count)
        for more in range(1, 4):  # one tick alone does not make a scale
            if len(ticks) > 2 or (len(ticks) == 2 and count == 2):
                break
            ticks = nice_ticks(self.low, self.high, count + more)
        return ticks


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """At most about ``count`` multiples of 1, 2 or 5 times a power of ten within [low, high].

    >>> nice_ticks(0.1, 1.04, 5)
    [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(k * step, decimals) + 0.0 for k in range(first, last + 1)]


def padded(values: Any, share: float = 0.04, include: tuple[float, ...] = ()) -> tuple[float, float]:
    """The range of the finite values, widened by a share of itself."""
    import numpy as np

    array = np.concatenate([np.ravel(np.asarray(values, dtype=float)), np.asarray(include, dtype=float)])
    array = array[np.isfinite(array)]
    if not array.size:
        return -1.0, 1.0
    low, high = float(array.min()), float(array.max())
    if high == low:
        gap = abs(low) * 0.1 or 1.0
        return low - gap, high + gap
    return low - share * (high - low), high + share * (high - low)


def tick_texts(ticks: list[float], num: Numbers) -> list[str]:
    """Labels with equal decimals."""
    if len(ticks) < 2:
        return [num.significant(t, 3) for t in ticks]
    step = ticks[1] - ticks[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if max(abs(t) for t in ticks) >= 1e7 or step < 1e-6:
        return [num.significant(t, 3) if t else "0" for t in ticks]
    return [num.fixed(t, decimals) for t in ticks]


class Axes:
    """A plotting area with its scales.

    The title of the vertical axis stands level above the axis, where it can be read without turning the head.
    """

    def __init__(
        self,
        svg: Svg,
        num: Numbers,
        x: tuple[float, float],
        y: tuple[float, float],
        left: float = 52,
        top: float = 30,
        right: float = 12,
        bottom: float = 44,
        box: tuple[float, float, float, float] | None = None,
    ) -> None:
        x0, y0, x1, y1 = box or (0, 0, svg.width, svg.height)
        self.svg, self.num = svg, num
        self.left, self.right, self.top, self.bottom = x0 + left, x1 - right, y0 + top, y1 - bottom
        self.x = Scale(*x, self.left, self.right)
        self.y = Scale(*y, self.bottom, self.top)

    def x_axis(self, title: str = "", grid: bool = True, room: float = 74, ticks: list[float] | None = None) -> None:
        ticks = self.x.ticks(room) if ticks is None else ticks
        if grid:
            self.svg.lines(((self.x(t), self.top, self.x(t), self.bottom) for t in ticks), "gr")
        self.svg.line(self.left, self.bottom, self.right, self.bottom, "ax")
        for tick, text in zip(ticks, tick_texts(ticks, self.num), strict=True):
            self.svg.text(self.x(tick), self.bottom + 16, text, "s", "middle")
        self.x_title(title)

    def marks(self, table: str, x: tuple[str, str, float], y: tuple[str, str, float]) -> None:
        """Say where a group of a table's file stands here, so that the page can mark it when it is looked for.

        Args:
            table: name of the report's table.
            x, y: "value" or "rank" (from 0, smallest first); the column of the file; what is added to it.
        """
        ends = []
        for scale, (kind, column, added) in ((self.x, x), (self.y, y)):
            start, unit = scale(added), scale(added + 1.0) - scale(added)
            ends.append([kind, column, round(float(start), 2), round(float(unit), 4)])
        self.svg.place = f' data-marks="{escape(json.dumps([table, *ends], ensure_ascii=False))}"'

    def x_title(self, title: str) -> None:
        if title:
            rows = wrap(title, self.right - self.left + 20, 12)
            self.svg.height = max(self.svg.height, self.bottom + 26 + 15 * len(rows))
            for i, row in enumerate(rows):
                self.svg.text((self.left + self.right) / 2, self.bottom + 34 + 15 * i, row, "s", "middle")

    def y_axis(self, title: str = "", grid: bool = True, room: float = 42, ticks: list[float] | None = None) -> None:
        ticks = self.y.ticks(room) if ticks is None else ticks
        if grid:
            self.svg.lines(((self.left, self.y(t), self.right, self.y(t)) for t in ticks), "gr")
        for tick, text in zip(ticks, tick_texts(ticks, self.num), strict=True):
            self.svg.text(self.left - 7, self.y(tick) + 4, text, "s", "end")
        if title:
            start = max(self.left - 44, 2)
            self.svg.text(start, self.top - 13, fit_title(title, self.right - start), "s", "", title)


def fit_title(title: str, room: float) -> str:
    """A title without the parts after its commas that have no room."""
    while width_of(title, 12) > room and ", " in title:
        title = title.rsplit(", ", 1)[0]
    return shorten(title, room, 12)


def wrap(text: str, room: float, size: float = 13) -> list[str]:
    """Break a text into rows that fit ``room`` pixels, at blanks."""
    rows: list[str] = []
    for word in text.split(" "):
        if rows and width_of(f"{rows[-1]} {word}", size) <= room:
            rows[-1] += f" {word}"
        else:
            rows.append(word)
    return rows


def spread(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions apart to at least ``gap``, keeping their order, inside [low, high]."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [0.0] * len(positions)
    last = low - gap
    for i in order:
        placed[i] = last = max(positions[i], last + gap)
    excess = last - high
    limit = high
    if order and excess > 0:
        for i in reversed(order):
            placed[i] = min(placed[i], limit)
            limit = placed[i] - gap
    return placed
