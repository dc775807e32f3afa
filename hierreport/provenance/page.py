"""The numbers of a report and their addresses: ``<data value="…" data-source="file#/json/pointer">``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
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
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "data" and given.get("data-source"):
            self._open, self._text = (given.get("value") or "", given["data-source"] or ""), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "data" and self._open:
            self.numbers.append(Number(self._open[0], self._text.strip(), self._open[1]))
            self._open = None


def numbers(page: Path) -> list[Number]:
    """Every number of a page that has an address."""
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
        """What is wrong with a number, or None: it must be the value at its address to the last bit."""
        try:
            found = self.follow(number.address)
        except (OSError, ValueError, LookupError, TypeError) as error:
            return f"{number.address} leads nowhere ({type(error).__name__}: {error})"
        if found is None or isinstance(found, (dict, list)):
            return f"{number.address} holds no value, the page shows {number.value or number.text}"
        if not same(number.value, found):
            return f"the page has {number.value}, {number.address} has {found}"
        return None

    def follow(self, address: str) -> Any:
        """The value at ``file#/json/pointer`` (RFC 6901)."""
        name, mark, pointer = address.partition("#")
        if not mark or ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError("no address of an artifact")
        if name not in self._files:
            self._files[name] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        value = self._files[name]
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
