"""Finding a run by what a person calls it."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .run import Run, kept, of_folder


def find(name: str, root: Path = Path("history"), analysis: str | None = None) -> Run:
    """A run by its folder, or by its id in the history.

    Args:
        name: a folder (``results/<analysis>``, ``history/<analysis>/<run_id>``), a run's number, its id or the id's
            beginning, with its analysis before it where several have such a run: ``uk_firms/3``.
        root: the folder that holds a folder per analysis.
        analysis: where to look first.

    Raises:
        DataError: no such run, or several.
    """
    if Path(name).is_dir():
        return of_folder(Path(name))
    given, _, start = name.rpartition("/")
    names = [p.name for p in sorted(root.iterdir()) if p.is_dir()] if root.is_dir() else []
    wanted = [given] if given else [analysis] if analysis in names else names
    runs = [run for n in wanted for run in kept(root / str(n))]
    found = [r for r in runs if start.isdigit() and r.number == int(start)]
    found = found or [r for r in runs if start and r.run_id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{r.path.parent.name}/{r.run_id}" for r in found[:5])
        raise DataError(f"several runs begin so: {listed}.", name, "Write more of the id, or the analysis before it.")
    known = [f"{r.path.parent.name}/{r.run_id}" for r in runs]
    listed = f"Kept runs: {', '.join(known[-8:])}." if known else f"There are no kept runs in {root}."
    raise DataError("is neither a folder nor the id of a kept run.", name, listed)
