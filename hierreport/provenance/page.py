"""The numbers of a report and their addresses: ``<data value="…" data-source="file#/json/pointer">``.

A cell of a table's own file has the address ``#cell=row,column`` (RFC 7111), after the file that the table names.
"""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Number:
    """A number on the page: its full value as written, the text that is shown, and its address."""

    value: str
    text: str
    address: str


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[Number] = []
        self._open: tuple[str, str] | None = None
        self._text = self._file = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._file = given.get("data-file") or ""
        if tag == "data":
            address = given.get("data-source") or ""
            self._open = (given.get("value") or "", self._file + address if address.startswith("#") else address)
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "data" and self._open:
            self.numbers.append(Number(self._open[0], self._text.strip(), self._open[1]))
            self._open = None


def numbers(page: Path) -> list[Number]:
    """Every number of a page; the address is empty where it has none."""
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    reader.close()
    return reader.numbers


class Addresses:
    """Follows addresses into the artifacts of a folder; each file is read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}

    def fault(self, number: Number) -> str | None:
        """What is wrong with a number, or None: it must be the value at its address to the last bit, and the text that
        is shown must be that value, rounded."""
        if not number.address:
            return f"{number.text} has no address"
        try:
            found = self.follow(number.address)
        except (OSError, ValueError, LookupError, TypeError) as error:
            return f"{number.address} leads nowhere ({type(error).__name__}: {error})"
        if found is None or isinstance(found, (dict, list)):
            return f"{number.address} holds no value, the page shows {number.value or number.text}"
        if not same(number.value, found):
            return f"the page has {number.value}, {number.address} has {found}"
        if not rounded(number.text, number.value, *self.locale):
            return f"the page shows {number.text}, {number.address} has {found}"
        return None

    @cached_property
    def locale(self) -> tuple[str, str]:
        """Decimal mark and mark between thousands of the page."""
        from ..report.numbers import Numbers

        try:
            options = self._json("summary.json").get("options") or {}
        except (OSError, ValueError, AttributeError):
            options = {}
        numbers = Numbers(str(options.get("locale") or "en"))
        return numbers.decimal, numbers.group

    def _json(self, name: str) -> Any:
        if name not in self._files:
            self._files[name] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return self._files[name]

    def _cell(self, name: str, row: int, column: int) -> str:
        """A cell of a CSV file, rows and columns from 1."""
        if name not in self._files:
            with (self.folder / name).open(encoding="utf-8", newline="") as stream:
                self._files[name] = list(csv.reader(stream))
        if row < 1 or column < 1:
            raise LookupError("cells count from 1")
        text: str = self._files[name][row - 1][column - 1]
        return text

    def follow(self, address: str) -> Any:
        """The value at ``file#/json/pointer`` (RFC 6901), the text at ``file#cell=row,column``."""
        name, mark, pointer = address.partition("#")
        if not mark or ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError("no address of an artifact")
        if cell := re.fullmatch(r"cell=(\d+),(\d+)", pointer):
            return self._cell(name, int(cell[1]), int(cell[2]))
        value = self._json(name)
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value


def same(written: str, value: Any) -> bool:
    """Whether a text is a value of an artifact: as the same double, or as the same text."""
    if isinstance(value, bool):
        return written == ("true" if value else "false")
    if isinstance(value, (int, float)):
        try:
            number = float(written)
        except ValueError:
            return False
        return number == value or (math.isnan(number) and math.isnan(value))
    return written == str(value)


_SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_BLANK = "\u2007\u2008\u202f\u00a0 "  # figure spaces line up columns; narrow ones stand between thousands


def rounded(text: str, value: str, decimal: str = ".", group: str = ",") -> bool:
    """Whether a text shows a value, rounded: to its last digit, or to the tens, hundreds, … where it ends in zeros.

    Args:
        text: as the page shows it: "−0.13", "5.8 %", "p < 0.001", "2 × 10⁻¹¹", "under 0.1 %".
        value: in full precision; a text that is no number must be shown as it is.
        decimal, group: the page's decimal mark and mark between thousands.
    """
    try:
        number = float(value)
    except ValueError:
        return text.strip(_BLANK) == value
    shown = text.strip(_BLANK).removeprefix("p").strip(_BLANK).removeprefix("=").strip(_BLANK)
    below = shown.startswith(("<", "under"))
    shown = shown.removeprefix("<").removeprefix("under").strip(_BLANK)
    if shown == "∞":
        return math.isinf(number)
    scale = 100.0 if shown.endswith("%") else 1.0
    shown = shown.removesuffix("%").strip(_BLANK)
    power = 0
    if found := re.fullmatch(r"(.*?)(?:[\u202f ]?×[\u202f ]?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)|e([-+−]?\d+))", shown):
        shown = found[1]
        power = int((found[2] or "").translate(_SUPERSCRIPT) or found[3].replace("−", "-"))
    shown = shown.replace("− ", "-").replace("−", "-").replace(group, "").replace(decimal, ".")
    try:
        seen = float(shown) * 10.0**power
    except ValueError:
        return False
    if below:
        return 0.0 <= number * scale < seen
    whole, _, digits = shown.partition(".")
    zeros = 0 if digits else len(whole) - len(whole.rstrip("0"))
    last = 10.0 ** (power - len(digits) + min(zeros, max(len(whole.lstrip("-")) - 1, 0)))
    return abs(number * scale - seen) <= 0.5000001 * last
