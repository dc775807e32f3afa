"""Numbers as people read them: rounded to what their standard error supports, in the reader's locale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..errors import ConfigError
from ..said import Said, mark

MINUS = "\u2212"
THIN = "\u202f"  # narrow no-break space
FIGURE_SPACE = "\u2007"  # as wide as a digit
POINT_SPACE = "\u2008"  # as wide as a full stop

# decimal mark, mark between thousands
LOCALES = {
    "en": (".", ","),
    "de": (",", "."),
    "de-CH": (".", "\u2019"),
    "es": (",", "."),
    "fr": (",", THIN),
    "it": (",", "."),
    "nl": (",", "."),
    "pl": (",", THIN),
    "pt": (",", "."),
    "sv": (",", THIN),
    "si": (".", THIN),
}


@dataclass(frozen=True)
class Num:
    """A number on the page: its full value, the text that is shown, and the artifact and JSON pointer it came from."""

    value: float | int | None
    text: str
    source: str = ""

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        number: Any = self.value
        value = number.item() if hasattr(number, "item") else number
        entry: dict[str, Any] = {"value": value, "text": self.text}
        if self.source:
            entry["source"] = self.source
        return entry


def finite(value: Any) -> bool:
    """Whether ``value`` is a number that can be shown (JSON's null stands for NaN and infinities)."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def decimals_for(se: float | None, digits: int = 2) -> int:
    """Decimals that show ``se`` with ``digits`` significant digits; negative for standard errors above 10**digits.

    >>> decimals_for(0.0621), decimals_for(14.2), decimals_for(1234.0)
    (3, 0, -2)
    """
    if not finite(se) or se <= 0:  # type: ignore[operator]
        return 3
    return digits - 1 - math.floor(math.log10(float(f"{se:.{digits - 1}e}")))


def prose_decimals(se: float | None) -> int:
    """Decimals for running text, by the Particle Data Group's rule: two digits of 0.100-0.354, one of 0.355-0.949."""
    if not finite(se) or se <= 0:  # type: ignore[operator]
        return 2
    exponent = math.floor(math.log10(se))  # type: ignore[arg-type]
    return -exponent + 1 if se / 10**exponent < 3.55 else -exponent


class Numbers:
    """Formats numbers in one locale.

    Args:
        locale: one of ``LOCALES``; ``en-GB`` falls back to ``en``.
    Raises: ConfigError for a locale that is not known.
    """

    def __init__(self, locale: str = "en") -> None:
        key = locale if locale in LOCALES else locale.split("-")[0].split("_")[0]
        if key not in LOCALES:
            raise ConfigError(f"The locale {locale!r} is not known.", "locale", f"Use one of {', '.join(LOCALES)}.")
        self.decimal, self.group = LOCALES[key]

    def fixed(self, value: float | None, decimals: int = 2) -> str:
        """``value`` with so many decimals, a true minus sign and marks between thousands; negative decimals round
        to tens, hundreds, …; "–" where there is no number."""
        if not finite(value):
            return "–"
        if decimals < 0:
            value = round(value, decimals)  # type: ignore[arg-type]
            decimals = 0
        decimals = min(decimals, 12)
        text = f"{abs(value):,.{decimals}f}"  # type: ignore[arg-type]
        negative = value < 0 and any(c in "123456789" for c in text)  # type: ignore[operator]
        whole, _, part = text.partition(".")
        text = whole.replace(",", self.group) + (self.decimal + part if part else "")
        return MINUS + text if negative else text

    def count(self, value: float | None) -> str:
        """A whole number."""
        return self.fixed(value, 0)

    def estimate(self, value: float | None, se: float | None, digits: int = 2) -> str:
        """``value`` rounded to ``digits`` significant digits of its standard error."""
        if not finite(se) or se == 0:
            return self.significant(value, 4)
        return self.fixed(value, min(decimals_for(se, digits), 9))

    def significant(self, value: float | None, digits: int = 3) -> str:
        """``value`` with so many significant digits; whole numbers are never cut below the unit."""
        if not finite(value):
            return "–"
        if value == 0:
            return "0"
        if float(value).is_integer() and abs(value) < 1e9:  # type: ignore[arg-type]
            return self.fixed(value, 0)
        if abs(value) >= 1e12 or abs(value) < 1e-4:  # type: ignore[arg-type]
            mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
            power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
            return f"{mantissa.replace('-', MINUS).replace('.', self.decimal)}{THIN}×{THIN}10{power}"
        return self.fixed(value, max(0, decimals_for(abs(value), digits)))  # type: ignore[arg-type]

    def percent(self, share: float | None, decimals: int | None = None) -> str:
        """A share of one in per cent: "83 %", "0.4 %"; "under 0.1 %" for what would round to zero."""
        if not finite(share):
            return "–"
        value = 100 * share  # type: ignore[operator]
        if decimals is None:
            near = min(abs(value), abs(100 - value)) if 0 <= value <= 100 else abs(value)
            decimals = 0 if near >= 9.5 or near == 0 else 1
            if 0 < abs(value) < 0.05:
                return f"under {self.fixed(0.1, 1)}{THIN}%"
        return f"{self.fixed(value, decimals)}{THIN}%"

    def p(self, p: float | None) -> str:
        """A p-value for a table: two significant digits, at most three decimals, never 0."""
        if not finite(p):
            return "–"
        if p < 0.001:  # type: ignore[operator]
            return f"<{THIN}{self.fixed(0.001, 3)}"
        return self.fixed(p, 3 if p < 0.1 else 2)  # type: ignore[operator]

    def p_phrase(self, p: float | None) -> str:
        """A p-value in a sentence: "p < 0.001", "p = 0.25"."""
        text = self.p(p)
        return f"p\u00a0{text}" if text.startswith("<") else f"p\u00a0=\u00a0{text}"

    def pad(self, texts: list[str]) -> list[str]:
        """Pad on the right with blank figures, so that right-aligned texts line up at the decimal mark."""
        tails = []
        for text in texts:
            _, mark, part = text.rpartition(self.decimal)
            tails.append(len(part) if mark and part.isdigit() else 0)
        widest = max(tails, default=0)
        padded = []
        for text, tail in zip(texts, tails, strict=True):
            blank = (POINT_SPACE if widest and not tail else "") + FIGURE_SPACE * (widest - tail)
            padded.append(text + blank if any(c.isdigit() for c in text) else text)
        return padded


class Told:
    """The same formats, for sentences: each number is marked with its value (``said.mark``)."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def __getattr__(self, name: str) -> Callable[..., str]:
        form = getattr(self._numbers, name)

        def told(value: float | None, *arguments: Any, source: str = "") -> str:
            text: str = form(value, *arguments)
            return mark(value, text, source) if value is not None and finite(value) else text

        return told


def csv_value(value: Any) -> str:
    """A value for a CSV file or a ``<data>`` element: shortest text that reads back to the same double."""
    if value is None:
        return ""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        return Said(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)
