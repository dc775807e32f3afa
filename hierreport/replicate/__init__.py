"""The replication kit: scripts that fit every rung again in other programs, with the numbers that should come out."""

from __future__ import annotations

from pathlib import Path


def write_kit(folder: Path) -> None:
    """Write ``replicate/``: the model frame as CSV, scripts for R, Stata, SAS and Python, and a page about them.

    Args:
        folder: a finished analysis; panel.parquet, panel.json, moments*.parquet and rungs/*.json are read.

    Raises:
        DataError: one of them is missing.
    """
    from .kit import write

    write(folder)
