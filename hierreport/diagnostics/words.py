"""Wording that several checks share."""

from __future__ import annotations

from collections.abc import Sequence

from ..said import mark, whole
from .record import P_LOOK

NOTHING = "Nothing to do."
NO_PRODUCTS = "The panel is too wide for this check, or the rung's crossed effect or unequal variances do not allow it."


def pval(p: float) -> str:
    """A p-value as text: three digits, or a bound."""
    if p < 0.0005:
        return f"p {mark(p, '< 0.001')}"
    return f"p = {mark(p, f'{p:.3f}' if p < 0.1 else f'{p:.2f}')}"


def share(x: float, digits: int = 1) -> str:
    """A proportion as a percentage."""
    return mark(x, f"{100 * x:.{digits}f} %")


def num(x: float, digits: int = 3) -> str:
    """A number with so many significant digits, with a true minus sign."""
    return mark(x, f"{x:.{digits}g}".replace("-", "−"))


def fixed(x: float, digits: int = 2) -> str:
    """A number with so many decimals, with a true minus sign."""
    text = f"{x:.{digits}f}"
    return mark(x, (text if text.strip("-0.") else text.lstrip("-")).replace("-", "−"))


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``2 rows``."""
    return f"{whole(n)} {one if n == 1 else many or one + 's'}"


def why_ok(p: float) -> str:
    """Why a departure does not count: chance may have brought it, or it is too small."""
    return "not clearly more than chance brings" if p >= P_LOOK else "clear, but too small to matter"


def listed(items: Sequence[str], most: int = 4) -> str:
    """``a, b and c``; ``a, b, c and 7 more``."""
    items = list(items)
    if len(items) > most:
        return f"{', '.join(items[: most - 1])} and {whole(len(items) - most + 1)} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def one_of(level: str) -> str:
    """What one group of a level is called: ``firm`` of ``sector/firm``."""
    return level.rsplit("/", 1)[-1]


def coefficient(term: str, many: bool = False) -> str:
    """A random coefficient in words: ``baseline``, ``slope of log(wage)``."""
    s = "s" if many else ""
    return f"baseline{s}" if term == "(Intercept)" else f"slope{s} of {term}"
