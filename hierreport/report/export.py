"""The report's tables as Markdown, LaTeX and one Excel workbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..said import Said
from .artifacts import read_json
from .context import Context
from .numbers import Num
from .parts import Table
from .stage import build, write_text
from .summary import Summary, escape_markdown
from .workbook import workbook

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


def content(directory: Path, options: dict[str, Any] | None) -> tuple[Context, Summary]:
    """The report's content, with the options that it was written with where none are given."""
    if options is None:
        file = directory / "summary.json"
        options = read_json(file).get("options", {}) if file.exists() else {}
    return build(directory, options)


def known(formats: tuple[str, ...], among: tuple[str, ...], what: str) -> None:
    """Refuse formats that are not ``among`` the known ones."""
    for name in formats:
        if name not in among:
            do = f"Use {', '.join(among[:-1])} or {among[-1]}."
            raise ConfigError(f"The {what} format {name!r} is not known.", "formats", do)


def write_figures(directory: Path, options: dict[str, Any] | None, formats: tuple[str, ...], out: Path) -> list[Path]:
    """See ``report.export_figures``."""
    known(formats, ("pdf", "png"), "figure")
    from ..figures.paper import draw

    context, _ = content(directory, options)
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    return [path for drawn in draw(context) for path in drawn.save(folder, formats)]


def write_tables(directory: Path, options: dict[str, Any] | None, formats: tuple[str, ...], out: Path) -> list[Path]:
    """See ``report.export_tables``."""
    known(formats, ("md", "tex", "xlsx"), "table")
    context, summary = content(directory, options)
    tables = [t for _, section in summary.contents for t in section.all_tables]
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, convert in (("md", markdown), ("tex", latex)):
        if kind in formats:
            for table in tables:
                written.append(folder / f"{table.name}.{kind}")
                write_text(written[-1], convert(table))
    if "xlsx" in formats:
        written.append(folder / "tables.xlsx")
        workbook(tables, written[-1], context.num.decimal)
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
    return cell.text if isinstance(cell, Num) else Said(str(cell))


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
    return "".join(LATEX.get(c, c) for c in Said(text))
