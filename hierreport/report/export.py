"""The report's tables as Markdown, LaTeX and one Excel workbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .numbers import Num
from .parts import Table
from .stage import build, write_text
from .summary import escape_markdown

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\u2212": "$-$",
    "\u202f": r"\,",
    "\u00a0": "~",
    "\u00ad": r"\-",
}


def write_tables(directory: Path, options: dict[str, Any], formats: tuple[str, ...]) -> list[Path]:
    """See ``report.export_tables``."""
    unknown = [f for f in formats if f not in ("md", "tex", "xlsx")]
    if unknown:
        raise ConfigError(f"The table format {unknown[0]!r} is not known.", "formats", "Use md, tex or xlsx.")
    _, summary = build(directory, options)
    tables = [t for _, content in summary.contents for t in content.all_tables]
    folder = directory / "tables"
    folder.mkdir(exist_ok=True)
    written = []
    for kind, convert in (("md", markdown), ("tex", latex)):
        if kind in formats:
            for table in tables:
                written.append(folder / f"{table.name}.{kind}")
                write_text(written[-1], convert(table))
    if "xlsx" in formats:
        written.append(folder / "tables.xlsx")
        workbook(tables, written[-1])
    return written


def _texts(table: Table) -> list[list[str]]:
    """Header and rows as they are shown; a pair is "estimate (standard error)"."""
    rows = [[c.title.replace("\u00ad", "") for c in table.columns]]
    for row in table.rows:
        rows.append([_text(cell) for cell in row])
    return rows


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, tuple):
        return f"{cell[0].text} ({cell[1].text})"
    return cell.text if isinstance(cell, Num) else str(cell)


def markdown(table: Table) -> str:
    """A pipe table with its caption above."""
    head, *rows = [[escape_markdown(re.sub(r"\s+", " ", c)) for c in row] for row in _texts(table)]
    marks = ["---:" if c.kind in ("number", "pair") else "---" for c in table.columns]
    lines = [f"**{escape_markdown(table.caption)}**", ""]
    lines += ["| " + " | ".join(row) + " |" for row in (head, marks, *rows)]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """A table for \\usepackage{booktabs}."""
    head, *rows = [[escape_latex(c) for c in row] for row in _texts(table)]
    columns = "".join("r" if c.kind in ("number", "pair") else "l" for c in table.columns)
    body = [" & ".join(row) + r" \\" for row in rows]
    lines = [r"\begin{table}", rf"\caption{{{escape_latex(table.caption)}}}", rf"\label{{tab:{table.name}}}"]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def escape_latex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in text)


def workbook(tables: list[Table], path: Path) -> None:
    """One sheet per table, full values with a number format that rounds as the page does."""
    from openpyxl import Workbook
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    from openpyxl.styles import Font

    book = Workbook()
    book.remove(book.active)
    for table in tables:
        sheet = book.create_sheet(table.name[:31])
        sheet.append([k for c in table.columns for k in ((c.key, f"{c.key}_se") if c.kind == "pair" else (c.key,))])
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        sheet.freeze_panes = "A2"
        for row in table.rows:
            flat: list[Any] = []
            for column, value in zip(table.columns, row, strict=True):
                flat += (value or (None, None)) if column.kind == "pair" else (value,)
            for k, value in enumerate(flat, start=1):
                cell = sheet.cell(sheet.max_row + (k == 1), k)
                if isinstance(value, Num):
                    cell.value = value.value
                elif value is not None:
                    # text stays text: a name that begins with "=" is no formula
                    cell.value = ILLEGAL_CHARACTERS_RE.sub("\ufffd", str(value))
                    cell.data_type = "s"
    partial = path.with_name(f".{path.name}")
    book.save(partial)
    partial.replace(path)
