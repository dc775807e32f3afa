"""The report stage: artifacts in, one HTML page (with its figures, tables and summary) out.

Reads what the earlier stages wrote and computes no statistics of its own beyond turning estimates into words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def render(directory: str | Path, options: dict[str, Any] | None = None) -> Path:
    """Write ``summary.json``, ``summary.md``, ``figures/``, ``tables/``, ``report.html`` and the model document.

    Args:
        directory: ``results/<analysis>``, holding the artifacts of the earlier stages.
        options: the analysis' configuration; read are ``title``, ``description``, ``labels``, ``units``, ``locale``,
            ``sign_off``.

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
    directory: str | Path,
    options: dict[str, Any] | None = None,
    formats: tuple[str, ...] = (),
    out: str | Path | None = None,
) -> list[Path]:
    """Write the report's tables in further formats.

    Args:
        directory: ``results/<analysis>``.
        options: as in ``render``; those that the report was written with where None.
        formats: of "md" (Markdown), "tex" (LaTeX with booktabs), "xlsx" (one workbook, needs openpyxl).
        out: where to write; ``export`` in the directory where None.

    Returns: the files written, in ``tables/`` there.
    Raises: ConfigError for a format that is not known.
    """
    from .export import write_tables

    return write_tables(Path(directory), options, formats or ("md", "tex"), _folder(directory, out))


def export_figures(
    directory: str | Path,
    options: dict[str, Any] | None = None,
    formats: tuple[str, ...] = (),
    out: str | Path | None = None,
) -> list[Path]:
    """Draw the figures that papers and slides need with matplotlib: see ``figures.paper``.

    Args:
        directory, options, out: as in ``export_tables``.
        formats: of "pdf", "png".

    Returns: the files written, in ``figures/`` there.
    Raises: ConfigError for a format that is not known.
    """
    from .export import write_figures

    return write_figures(Path(directory), options, formats or ("pdf",), _folder(directory, out))


def export_pdf(directory: str | Path, options: dict[str, Any] | None = None, out: str | Path | None = None) -> Path:
    """Write the report as a PDF with bookmarks and page numbers, by WeasyPrint or, where that is missing, Chromium.

    Args: directory, options, out: as in ``export_tables``.
    Returns: the file, ``report.pdf`` there.
    Raises: HierreportError where there is neither.
    """
    from .pdf import write_pdf

    return write_pdf(Path(directory), options, _folder(directory, out))


def _folder(directory: str | Path, out: str | Path | None) -> Path:
    return Path(directory) / "export" if out is None else Path(out)
