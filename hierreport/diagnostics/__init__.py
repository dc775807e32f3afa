"""Is the chosen rung believable? Every assumption checked, with what it means and what to do.

The stage reads the chosen rung, its random effects, the panel's moments and the rows (through SQL only), and what the
stage ``sensitivity`` found, so that a check can say how far the conclusions move when its advice is taken. It writes
``residuals.json`` (what the report draws) and ``checks.json`` (what it says).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import plain

__all__ = ["DataError", "run"]


def run(directory: str | Path, options: dict[str, Any] | None = None) -> None:
    """The stage ``diagnose``.

    Args:
        directory: ``results/<analysis>`` with panel, moments, rungs and ladder, and sensitivity.json if there is one.
        options: ``rung`` checks that rung instead of the ladder's choice.

    Raises:
        DataError: an artifact that it needs is missing.
    """
    from .checks import run_all
    from .consequences import with_consequences
    from .loading import load
    from .record import SEVERITY
    from .summaries import residuals

    directory = Path(directory)
    evidence = load(directory, options or {})
    checks = with_consequences(run_all(evidence), _sensitivity(directory, evidence.rung), evidence.rungs)
    counts = {status: sum(c.status == status for c in checks) for status in SEVERITY}
    _write(directory / "residuals.json", residuals(evidence))
    _write(directory / "checks.json", {"rung": evidence.rung, "counts": counts, "checks": checks})


def _sensitivity(directory: Path, rung: str) -> dict[str, Any] | None:
    """sensitivity.json, if it is there and of this rung."""
    path = directory / "sensitivity.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found if found.get("rung") == rung else None


def _write(path: Path, value: Any) -> None:
    """Write JSON so that a reader never sees half a file."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, path)
