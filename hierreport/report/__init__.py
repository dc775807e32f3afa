"""The report stage: artifacts in, one HTML page (with its figures, tables and summary) out.

Reads what the earlier stages wrote and computes no statistics of its own beyond turning estimates into words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def render(directory: str | Path, options: dict[str, Any] | None = None) -> Path:
    """Write ``summary.json``, ``figures/``, ``tables/`` and ``report.html`` of one analysis.

    Args:
        directory: ``results/<analysis>``, holding the artifacts of the earlier stages.
        options: the analysis' configuration; read are ``title``, ``description``, ``labels``, ``units``, ``locale``.

    Returns: the path of ``report.html``.
    Raises: DataError where an artifact that every report needs is missing or unreadable.
    """
    from .stage import write_report

    return write_report(Path(directory), options or {})
