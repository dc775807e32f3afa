"""The report's tables as one Excel workbook: full values, shown rounded as the page shows them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..said import Said
from .numbers import Num
from .parts import Table

WIDEST = 60  # characters of a column; longer texts are wrapped


def workbook(tables: list[Table], path: Path, decimal: str = ".") -> None:
    """One sheet per table after a sheet that lists them.

    Args:
        tables: what to write; the columns have the names that they have in the CSV files.
        path: the file, replaced in one step.
        decimal: the decimal mark of the tables' texts.
    """
    from openpyxl import Workbook

    book = Workbook()
    contents = book.active
    contents.title = "contents"
    rows: list[list[Any]] = []
    for table in tables:
        sheet = book.create_sheet(table.name[:31])
        head = [k for c in table.columns for k in ((c.key, f"{c.key}_se") if c.kind == "pair" else (c.key,))]
        body = []
        for row in table.rows:
            flat: list[Any] = []
            for column, value in zip(table.columns, row, strict=True):
                flat += (value or (None, None)) if column.kind == "pair" else (value,)
            body.append(flat)
        _fill(sheet, head, body, decimal)
        rows.append([sheet.title, Said(table.caption), Num(len(table.rows), str(len(table.rows)))])
    _fill(contents, ["sheet", "what", "rows"], rows, decimal)
    for k, row in enumerate(rows, start=2):
        contents.cell(k, 1).hyperlink = f"#'{row[0]}'!A1"
        contents.cell(k, 1).style = "Hyperlink"
    partial = path.with_name(f".{path.name}")
    book.save(partial)
    partial.replace(path)


def _fill(sheet: Any, head: list[str], rows: list[list[Any]], decimal: str) -> None:
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter

    wide = [len(name) + 4 for name in head]
    for k, name in enumerate(head, start=1):
        cell = sheet.cell(1, k, name)
        cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="E3E7EC")
    for r, row in enumerate(rows, start=2):
        for k, value in enumerate(row, start=1):
            cell = sheet.cell(r, k)
            if isinstance(value, Num):
                cell.value = value.value
                cell.number_format = number_format(value, decimal)
                shown = value.text
            elif value is not None:
                # text stays text: a name that begins with "=" is no formula
                shown = ILLEGAL_CHARACTERS_RE.sub("\ufffd", Said(str(value)))
                cell.value, cell.data_type = shown, "s"
                cell.alignment = Alignment(vertical="top", wrap_text=len(shown) > WIDEST)
            else:
                continue
            wide[k - 1] = max(wide[k - 1], min(len(shown) + 2, WIDEST))
    for k, width in enumerate(wide, start=1):
        sheet.column_dimensions[get_column_letter(k)].width = width
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(head))}{len(rows) + 1}"


def number_format(number: Num, decimal: str) -> str:
    """Excel's format that shows a number with the decimals of its text.

    >>> number_format(Num(0.9252, "92.5 %"), "."), number_format(Num(1688.61, "1,688.6"), ".")
    ('0.0%', '#,##0.0')
    """
    text = str(number.text)
    if not isinstance(number.value, (int, float)):
        return "General"
    if "×" in text or "e" in text.lower():
        return "0.0E+00"
    decimals = re.search(rf"{re.escape(decimal)}(\d+)\s*%?$", text.strip())
    places = "." + "0" * len(decimals[1]) if decimals else ""
    if "%" in text:  # a share is stored as a fraction, a change in per cent as it is read
        kept = re.sub(rf"[^\d{re.escape(decimal)}]", "", text).replace(decimal, ".")
        size = abs(number.value)
        if abs(100 * size - float(kept)) < abs(size - float(kept)):
            return f"0{places}%"
    return f"#,##0{places}" if abs(number.value) >= 1000 else f"0{places}"
