"""What a run did to an analysis: its folder before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .alerts import evaluate
from .arrival import Stamp, stamp
from .outcomes import Outcome
from .record import Result

# Files that hold what an analysis found. The others follow from them, or say when and how they were made.
NUMBERS = ("panel.parquet", "moments", "rungs/", "ladder.json", "inference.json", "checks.json")
CHANGES = "changes.json"
REPORT = "report.html"


@dataclass(frozen=True)
class State:
    """A finished analysis as its manifest has it; without a manifest everything is empty.

    Attributes:
        written: stamp of the manifest.
        numbers: digest by artifact, of those in ``NUMBERS``.
        files: the data files that it was made of, as they are now, where they have not been touched since.
    """

    written: Stamp | None
    numbers: dict[str, str]
    files: dict[str, Stamp]

    @classmethod
    def of(cls, folder: Path) -> State:
        """Read it from an analysis' folder."""
        path = folder / "manifest.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            written = stamp(path)
        except (OSError, ValueError):
            return cls(None, {}, {})
        numbers = {a["path"]: a["sha256"] for a in content["artifacts"] if a["path"].startswith(NUMBERS)}
        files = {}
        for source in content["data"]:
            place = Path(source["path"])
            if place.is_file():
                mark = stamp(place)
                if mark[0] == source["size"] and mark[1] < written[1]:
                    files[source["path"]] = mark
        return cls(written, numbers, files)


def compare(folder: Path, before: State, limits: Mapping[str, Any]) -> Result:
    """The result of an analysis that ran without a failure.

    Args:
        folder: its results.
        before: their state before the run.
        limits: of the alert rules, by their key.
    """
    after = State.of(folder)
    report = (folder / REPORT).as_posix()
    if before.written is not None and after.written == before.written:
        return Result(Outcome.SAME, "nothing new; same data and configuration as at the last run.", (), report)
    changes = _changes(folder)
    if before.numbers and after.numbers == before.numbers:
        return Result(Outcome.SAME, "nothing new; it was run again, and its numbers are the same.", (), report)
    if before.written is None and not (changes or {}).get("previous"):
        return Result(Outcome.NEW, "first results.", (), report)
    said = str((changes or {}).get("sentence") or "").strip()
    alerts = tuple(evaluate(changes, limits))
    if not alerts:
        return Result(Outcome.NEW, f"new results, no alert. {said}".strip(), (), report)
    told = " ".join(f"[{a.rule}] {a.message}" for a in alerts)
    return Result(Outcome.PERSON, f"{told} {said}".strip(), alerts, report)


def _changes(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / CHANGES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
