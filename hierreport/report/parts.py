"""What a section is made of: sentences with their numbers, tables, and the section itself."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ..said import Said, has_numbers
from .numbers import Num, csv_value

if TYPE_CHECKING:
    from ..figures.style import Picture
    from .context import Context


@dataclass
class Sentence:
    """A sentence whose numbers stay numbers: ``Sentence("{n} of {all} firms", n=Num(…), all=Num(…))``.

    ``text`` is the plain sentence, ``html()`` has each number as a ``<data>`` element. ``pointer`` is the sentence's
    place in summary.json, set when the summary is assembled; without it numbers have the addresses they came with.
    """

    template: str
    values: dict[str, Any]
    pointer: str = ""

    def __init__(self, template: str, **values: Any) -> None:
        self.template, self.values, self.pointer = template, values, ""

    def _pieces(self) -> Iterator[tuple[str, str | None]]:
        for literal, name, _, _ in string.Formatter().parse(self.template):
            yield literal, name

    @property
    def text(self) -> str:
        said = (literal + ("" if name is None else Said(str(self.values[name]))) for literal, name in self._pieces())
        text = "".join(said)
        return text[:1].upper() + text[1:]

    def html(self) -> Markup:
        parts = [Markup()]
        for literal, name in self._pieces():
            parts.append(Markup.escape(literal))
            if name is not None:
                value = self.values[name]
                source = f"summary.json#{self.pointer}/numbers/{name}/value"
                if isinstance(value, Num):
                    parts.append(data_element(value, source if self.pointer else value.source))
                else:
                    parts.append(words(str(value), f"{self.pointer}/words/{name}"))
        if parts[1:2] and parts[1]:
            parts[1] = parts[1][:1].upper() + parts[1][1:]
        elif len(parts) > 2 and not isinstance(next(iter(self.values.values())), Num):
            parts[2] = parts[2][:1].upper() + parts[2][1:]
        return Markup().join(parts)

    def to_dict(self) -> dict[str, Any]:
        numbers = {k: v.to_dict() for k, v in self.values.items() if isinstance(v, Num)}
        inside = {k: Said(v).numbers for k, v in self.values.items() if has_numbers(v)}
        return {"text": self.text, "numbers": numbers} | ({"words": inside} if inside else {})


def data_element(number: Num, source: str = "") -> Markup:
    """A number as ``<data value="full precision" data-source="file#pointer">rounded</data>``."""
    if number.value is None:
        return Markup.escape(number.text)
    origin = source or number.source
    # thousands of these are made: put together by hand, each part escaped
    attribute = f' data-source="{Markup.escape(origin)}"' if origin else ""
    value, text = Markup.escape(csv_value(number.value)), Markup.escape(number.text)
    return Markup(f'<data value="{value}"{attribute}>{text}</data>')


def words(text: str, pointer: str) -> Markup:
    """A text whose marked numbers (``said.mark``) are ``<data>`` elements.

    Args:
        pointer: where summary.json lists them, for those that were not read from another file.
    """
    said, parts, end = Said(text), [], 0
    for i, n in enumerate(said.numbers):
        parts.append(Markup.escape(said[end : n["at"]]))
        parts.append(data_element(Num(n["value"], n["text"]), n.get("source") or f"summary.json#{pointer}/{i}/value"))
        end = n["at"] + len(n["text"])
    return Markup().join([*parts, Markup.escape(said[end:])])


@dataclass(frozen=True)
class Column:
    """A table's column.

    ``kind``: "number" (right-aligned at the decimal mark), "pair" (cells are an estimate and its standard error, shown
    one above the other, two columns ``key`` and ``key_se`` in the file), "text", "short" (a word or two), "name"
    (text that may come from the data), "code", "status", "under" (shown below the row's first cell) or "file" (in the
    file alone).
    """

    key: str
    title: str
    kind: str = "number"
    note: str = ""
    lead: str = ""  # stands before each cell on the page, not in the file


@dataclass(frozen=True)
class Place:
    """A cell of a table: ``address`` in the table's file, which the ``<table>`` names (RFC 7111: rows and columns from
    1, the header is row 1), ``pointer`` of the numbers in its text in summary.json."""

    row: int
    column: int
    pointer: str

    @property
    def address(self) -> str:
        return f"#cell={self.row},{self.column}"

    def second(self) -> Place:
        """The standard error beside an estimate."""
        return Place(self.row, self.column + 1, self.pointer)


@dataclass
class Table:
    """A table of the report, and the CSV file beside it.

    Attributes:
        name: stem of ``tables/<name>.csv``.
        caption: what the rows are.
        columns, rows: cells are ``Num``, text, or None; the first column heads its row.
        shown: indices of the rows that the page shows; all where None (the CSV always has all).
        emphasis: index of the row that stands out (the chosen rung).
        folded: the page shows its caption alone until it is opened.
        listed: the section's own markup shows the rows; the page only links the file.
    """

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Any]]
    shown: list[int] | None = None
    emphasis: int | None = None
    note: str = ""
    folded: bool = False
    listed: bool = False
    pointer: str = ""  # its place in summary.json, set when the summary is assembled

    def place(self, row: int, column: int) -> Place:
        """Where a cell stands in the table's file, and its numbers in summary.json."""
        key = self.columns[column].key.replace("~", "~0").replace("/", "~1")
        before = sum(2 if c.kind == "pair" else 1 for c in self.columns[:column])
        return Place(row + 2, before + 1, f"{self.pointer}/cells/{row},{key}")

    def words(self) -> dict[str, list[dict[str, Any]]]:
        """Numbers in the texts of cells that were not read from another file, by ``row,column``."""
        return {
            f"{r},{c.key}": Said(cell).numbers
            for r, row in enumerate(self.rows)
            for c, cell in zip(self.columns, row, strict=True)
            if has_numbers(cell) and not all(n.get("source") for n in Said(cell).numbers)
        }

    def visible(self) -> list[tuple[int, list[Any]]]:
        order = range(len(self.rows)) if self.shown is None else self.shown
        return [(i, self.rows[i]) for i in order]

    def csv(self) -> str:
        """The table, tidy: full precision, RFC 4180 quoting, "\\n" line ends."""
        heads = [k for c in self.columns for k in ((c.key, f"{c.key}_se") if c.kind == "pair" else (c.key,))]
        lines = [",".join(_quote(k) for k in heads)]
        for row in self.rows:
            cells: list[Any] = []
            for column, cell in zip(self.columns, row, strict=True):
                cells += (cell or (None, None)) if column.kind == "pair" else (cell,)
            lines.append(",".join(_quote(csv_value(c.value) if isinstance(c, Num) else csv_value(c)) for c in cells))
        return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


@dataclass
class Block:
    """A part of a section under a heading of its own: finding, tables, and ``templates/help/<name>.html``."""

    name: str
    title: str
    findings: list[Sentence]
    tables: list[Table] = field(default_factory=list)


@dataclass
class Content:
    """What a section shows: its own findings, pictures and tables, then its blocks."""

    findings: list[Sentence] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)  # further results for summary.json
    extra: dict[str, Any] = field(default_factory=dict)  # what the section's own template reads
    blocks: list[Block] = field(default_factory=list)

    @property
    def all_tables(self) -> list[Table]:
        """The section's tables and its blocks', in the page's order."""
        return [*self.tables, *(t for b in self.blocks for t in b.tables)]


@dataclass(frozen=True)
class Section:
    """A section of the report: ``build`` returns its content, or None where there is nothing to show."""

    name: str
    title: str
    build: Callable[[Context], Content | None]
