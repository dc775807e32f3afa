"""From a source and a formula to a checked model frame, and its files panel.parquet and panel.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hierreport.frame import Column, Frame

from .files import amend_panel, load_frame, write_panel

if TYPE_CHECKING:
    from .build import build_frame

__all__ = ["Column", "Frame", "amend_panel", "build_frame", "load_frame", "write_panel"]


def __getattr__(name: str) -> Any:
    # The stages after ingest read the files only; formulas and checks take longer to import than that.
    if name == "build_frame":
        from .build import build_frame

        return build_frame
    raise AttributeError(name)
