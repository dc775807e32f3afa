"""A run as it is read: a folder of results, or one of the history."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError

FORMAT = "hierreport-run/1"
ENTRY = "entry.json"
ROWS = "rows.parquet"


@dataclass(frozen=True)
class Run:
    """One run of an analysis.

    Attributes:
        path: ``history/<analysis>/<run_id>``, or ``results/<analysis>``.
        about: what entry.json (or ``run`` of changes.json) says: run_id, number, digest, parts, rung, n_obs, …
    """

    path: Path
    about: dict[str, Any] = field(repr=False)

    @property
    def run_id(self) -> str:
        """Number and digest: ``0003-1f2e3d4c5b6a``."""
        return str(self.about["run_id"])

    @property
    def analysis(self) -> str:
        """Its name."""
        return str(self.about.get("analysis") or self.path.resolve().name)

    @property
    def number(self) -> int:
        """1 for the first run; 1 more than the run that it was compared with."""
        return int(self.about["number"])

    @property
    def digest(self) -> str:
        """Of the run's content."""
        return str(self.about["digest"])

    @property
    def recorded(self) -> str:
        """When the history took it in, ISO 8601 in UTC; empty for results."""
        return str(self.about.get("recorded") or "")

    @cached_property
    def panel(self) -> dict[str, Any]:
        return read_json(self.path / "panel.json")

    @cached_property
    def ladder(self) -> dict[str, Any]:
        return read_json(self.path / "ladder.json")

    @cached_property
    def checks(self) -> dict[str, Any]:
        return read_json(self.path / "checks.json") if (self.path / "checks.json").exists() else {}

    @cached_property
    def rungs(self) -> dict[str, dict[str, Any]]:
        """Records of the rungs that could be fitted, by name."""
        found = {f.stem: read_json(f) for f in sorted((self.path / "rungs").glob("*.json"))}
        return {name: record for name, record in found.items() if record.get("reml")}

    @property
    def chosen(self) -> str:
        """Name of the chosen rung."""
        return str(self.ladder["choice"]["rung"])

    @property
    def record(self) -> dict[str, Any]:
        """The chosen rung's record."""
        return self.rungs[self.chosen]

    @property
    def rows(self) -> Path:
        """The rows by key: rows.parquet of a kept run, panel.parquet of results."""
        kept_rows = self.path / ROWS
        return kept_rows if kept_rows.exists() else self.path / "panel.parquet"

    @cached_property
    def summary(self) -> dict[str, Any]:
        return read_json(self.path / "summary.json")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration of a kept run."""
        return read_json(self.path / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; a refusal names the file."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        do = "Run the analysis again; of a kept run, restore the file or delete the run's folder."
        raise DataError(f"cannot be read ({error}).", str(path), do) from None
    return value


def kept(folder: Path) -> list[Run]:
    """The runs in ``history/<analysis>``, oldest first; half-written folders have hidden names and are not seen.

    Two runs that ended at once after the same one have one number: the earlier recorded comes first.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith(".") or not (path / ENTRY).is_file():
            continue
        try:
            run = Run(path, json.loads((path / ENTRY).read_text(encoding="utf-8")))
            if run.about["format"] != FORMAT:
                continue
            found.append(((run.number, run.recorded, run.run_id), run))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # damaged since, or another version's: the others still tell their part
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]


def home(folder: Path) -> Path:
    """``history/<analysis>`` of ``results/<analysis>``: the history lies beside the results."""
    folder = folder.resolve()
    return folder.parent.with_name("history") / folder.name


def of_folder(folder: Path) -> Run:
    """A run from its folder in the history or its results.

    Raises:
        DataError: the folder holds neither.
    """
    if (folder / ENTRY).is_file():
        return Run(folder, read_json(folder / ENTRY))
    if (folder / "changes.json").is_file():
        return Run(folder, read_json(folder / "changes.json")["run"])
    raise DataError(
        "is neither a kept run nor the results of one.",
        str(folder),
        "Name results/<analysis>, history/<analysis>/<run_id>, or a run's id.",
    )
