"""The report stage: artifacts in, one HTML page (with its figures, tables and summary) out.

Reads what the earlier stages wrote and computes no statistics of its own beyond turning estimates into words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def render(directory: str | Path, options: dict[str, Any] | None = None) -> Path:
    """Write ``summary.json``, ``summary.md``, ``figures/``, ``tables/`` and ``report.html`` of one analysis.

    Args:
        directory: ``results/<analysis>``, holding the artifacts of the earlier stages.
        options: the analysis' configuration; read are ``title``, ``description``, ``labels``, ``units``, ``locale``.

    Returns: the path of ``report.html``.
    Raises: DataError where an artifact that every report needs is missing or unreadable.
    """
    from .stage import write_report

    return write_report(Path(directory), options or {})


def render_index(results: str | Path, names: list[str] | None = None) -> Path:
    """Write ``index.html``: every analysis of a run with its verdict and the lights of its checks.

    Args:
        results: the folder that holds one folder per analysis.
        names: the analyses in their order; all that have a summary.json where None.

    Returns: the path of ``index.html``.
    """
    from .index import write_index

    return write_index(Path(results), names)


def export_tables(
    directory: str | Path, options: dict[str, Any] | None = None, formats: tuple[str, ...] = ()
) -> list[Path]:
    """Write the report's tables in further formats, beside the CSV files in ``tables/``.

    Args:
        directory: ``results/<analysis>``.
        options: as in ``render``.
        formats: of "md" (Markdown), "tex" (LaTeX with booktabs), "xlsx" (one workbook, needs openpyxl).

    Returns: the files written.
    Raises: ConfigError for a format that is not known.
    """
    from .export import write_tables

    return write_tables(Path(directory), options or {}, formats or ("md", "tex"))
