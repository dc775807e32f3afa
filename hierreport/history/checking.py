"""For ``hierreport verify``: is the run that this one was compared with still what it was?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .since import files_digest
from .run import home, read_json

if TYPE_CHECKING:
    from ..provenance.checking import Outcome


def check_previous(folder: Path, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The previous run, where changes.json names one, has the files that it had then.

    Args:
        folder: ``results/<analysis>``.
        outcome: gets a line on what was checked, or a note where the run is not there.
    """
    previous = read_json(folder / "changes.json").get("previous")
    if not previous:
        return
    path = home(folder) / previous["run_id"]
    name = f"history/{path.parent.name}/{path.name}"
    if not path.is_dir():
        outcome.notes.append(f"{name}, which this run was compared with, is not there")
        return
    try:
        found = files_digest(path)
    except OSError as error:
        yield name, f"cannot be read ({error})"
        return
    if found != previous["files_sha256"]:
        yield name, "changed since this run was compared with it"
    else:
        outcome.checked.append(f"{name}, the run compared with, has its bytes")
