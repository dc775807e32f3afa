"""Finished runs, kept: ``history/<analysis>/<run_id>/`` beside ``results/``, and what changed from one to the next.

The stage ``changes`` compares a run with the newest kept one that is not this very run, and writes changes.json; the
stage ``audit`` keeps the run. A run is told by its content: the data files, the configuration that the numbers depend
on, the source of the stages that compute them, and the versions they ran on. The same run made again is not kept twice
and is not compared with itself, so that it gives the same report; data that return to an earlier state (A, B, A) make a
third run, compared with the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

__all__ = ["changes", "record", "runs"]

CHANGES = "changes.json"


def runs(analysis: str, root: Path = Path("history")) -> list[Run]:
    """The kept runs of an analysis, oldest first; folders that are not whole runs are left out.

    Args:
        analysis: its name.
        root: the folder that holds a folder per analysis.
    """
    from .run import kept

    return kept(Path(root) / analysis)


def changes(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """``changes.json`` of a run: what it is, and what changed since the newest kept run that is another.

    Args:
        folder: ``results/<analysis>`` with everything up to the statistics.
        options: the configuration that the numbers depend on, every key that differs from its default.

    Returns:
        ``run`` (number, id, digests), ``previous`` (the same of the other run, or None) and, where there is one, what
        ``compare.compare`` returns.
    """
    from .since import since_last

    return since_last(folder, options)


def record(folder: Path, options: dict[str, Any]) -> Path:
    """Keep a finished run in ``history/<analysis>/<run_id>/``; nothing is done where it is there already.

    Args:
        folder: ``results/<analysis>`` with changes.json and the report.
        options: its whole configuration, every key that differs from its default.

    Returns:
        the run's folder in the history.
    """
    from .keep import keep

    return keep(folder, options)
