"""What an auditor asks: from which data, code and choices every file came, and whether it is still the same.

``write_manifest`` ends a run: it puts manifest.json beside the artifacts. ``verify_folder`` reads it again, hashes
everything, and recomputes what can be recomputed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import Outcome

__all__ = ["verify_folder", "write_manifest"]


def write_manifest(folder: Path, options: dict[str, Any]) -> str:
    """Write manifest.json and manifest.json.sha256 over the artifacts of an analysis.

    Args:
        folder: the analysis' results.
        options: its configuration, every key that differs from its default.

    Returns:
        the manifest's own SHA-256.

    Raises:
        DataError: panel.json is missing, or the data changed since they were read.
    """
    from .manifest import write

    return write(folder, options)


def verify_folder(folder: Path, *, recompute: bool = True, signers: Path | None = None) -> Outcome:
    """Compare an analysis' folder with its manifest; see ``checking.verify_folder``."""
    from .checking import verify_folder as verify

    return verify(folder, recompute=recompute, signers=signers)
