"""From a source and a formula to a checked model frame, and its files panel.parquet and panel.json."""

from __future__ import annotations

from hierreport.frame import Column, Frame

from .build import build_frame
from .files import amend_panel, load_frame, write_panel

__all__ = ["Column", "Frame", "amend_panel", "build_frame", "load_frame", "write_panel"]
