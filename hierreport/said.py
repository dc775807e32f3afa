"""Sentences that keep the numbers they were written with, so that a report can give each its full value.

A word function marks each number that it formats (``mark(0.1312, "0.13")``), so that sentences are still written as
f-strings; ``Said`` is the finished sentence: plain text that knows its numbers. ``records.plain`` puts them beside the
text in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Private-use characters, which no name of a column or group is expected to have.
OPEN, MIDDLE, CLOSE = "\ue0f0", "\ue0f1", "\ue0f2"
_MARK = re.compile(f"{OPEN}([^{MIDDLE}]*){MIDDLE}([^{MIDDLE}]*){MIDDLE}([^{CLOSE}]*){CLOSE}")


def mark(value: float, text: str, source: str = "") -> str:
    """A formatted number with its value, for use in a sentence.

    Args:
        value, text: the number, and as the sentence shows it.
        source: where the value stands (``file#/json/pointer``), for a number that was read from there.
    """
    value = value.item() if hasattr(value, "item") else value
    return f"{OPEN}{value!r}{MIDDLE}{text}{MIDDLE}{source}{CLOSE}"


def quote(record: Mapping[str, Any], key: str, source: str) -> str:
    """A sentence of an artifact with its numbers marked again, each with its place there.

    Args:
        record: holds the sentence, and ``numbers`` where it was written with any.
        key: the sentence's; of a list of sentences, ``key/place``.
        source: the record's own address.
    """
    text, numbers = record.get(key.split("/")[0]), (record.get("numbers") or {}).get(key.split("/")[0]) or []
    if "/" in key:
        at = int(key.split("/")[1])
        text, numbers = (text or [])[at], numbers[at] if numbers else []
    pieces, end = [], 0
    for i, n in enumerate(numbers):
        shown = (
            mark(n["value"], n["text"], f"{source}/numbers/{key}/{i}/value") if n["value"] is not None else n["text"]
        )
        pieces += [str(text)[end : n["at"]], shown]
        end = n["at"] + len(n["text"])
    return "".join([*pieces, str(text or "")[end:]])


def whole(n: int) -> str:
    """A whole number with commas between thousands."""
    return mark(int(n), f"{n:,}")


class Said(str):
    """A sentence as plain text.

    Attributes:
        numbers: ``at`` (offset in the text), ``text`` as shown, ``value`` and, where known, ``source`` of each number.
        marked: the sentence as it was written, to be part of a longer one.
    """

    numbers: list[dict[str, Any]]
    marked: str

    def __new__(cls, text: str) -> Said:
        if isinstance(text, Said):
            return text
        pieces: list[str] = []
        numbers: list[dict[str, Any]] = []
        length = end = 0
        for found in _MARK.finditer(text):
            before = text[end : found.start()]
            shown = found[2]
            length += len(before)
            numbers.append({"at": length, "text": shown, "value": _value(found[1])})
            if found[3]:
                numbers[-1]["source"] = found[3]
            pieces += [before, shown]
            length, end = length + len(shown), found.end()
        self = super().__new__(cls, "".join([*pieces, text[end:]]))
        self.numbers, self.marked = numbers, text
        return self


def marked(text: str) -> str:
    """A sentence with its marks, finished or not."""
    return text.marked if isinstance(text, Said) else text


def has_numbers(text: Any) -> bool:
    """Whether a value is a sentence with numbers in it, finished or not."""
    return isinstance(text, str) and (bool(text.numbers) if isinstance(text, Said) else OPEN in text)


def _value(text: str) -> float | int | None:
    if text in ("nan", "inf", "-inf"):
        return None
    number = float(text)
    return int(text) if re.fullmatch(r"-?\d+", text) else number
