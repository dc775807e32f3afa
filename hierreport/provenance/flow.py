"""Which stage and rule write a file of an analysis' folder, and what they read: the arrows of the manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

MANIFEST, DIGEST, CRATE = "manifest.json", "manifest.json.sha256", "ro-crate-metadata.json"
SIGNATURE = f"{DIGEST}.sig"
# What is no artifact: the manifest itself, what is written about a run beside it, logs with their times, exports.
APART = (MANIFEST, DIGEST, CRATE, SIGNATURE, "logs/*", "export/*")
DATA = "data"


@dataclass(frozen=True)
class Step:
    """A stage: the workflow's rule that runs it, and patterns of what it reads and writes.

    ``reads`` holds ``data`` for the files of the panel, which lie outside the folder.
    """

    stage: str
    rule: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


_FRAME = ("panel.parquet", "panel.json", "moments*.parquet")
_FITS = ("rungs/*", "ladder.json")
_OPINIONS = ("inference.json", "checks.json", "residuals.json", "verify.json", "sensitivity.json")

STEPS = (
    Step("ingest", "ingest_panel", (DATA,), _FRAME),
    Step("fit", "fit_ladder", ("panel.json", "moments*.parquet"), _FITS),
    Step("infer", "infer_rungs", (*_FRAME, *_FITS), ("inference.json",)),
    Step("verify", "verify_rungs", (*_FRAME, *_FITS), ("verify.json",)),
    Step("sensitivity", "sensitivity_of_choice", (*_FRAME, *_FITS), ("sensitivity.json",)),
    Step(
        "diagnose",
        "diagnose_rung",
        (*_FRAME, *_FITS, "sensitivity.json", "verify.json"),
        ("checks.json", "residuals.json"),
    ),
    Step("changes", "compare_runs", (*_FRAME, *_FITS, "checks.json"), ("changes.json",)),
    Step(
        "report",
        "render_report",
        (*_FRAME, *_FITS, *_OPINIONS, "changes.json"),
        ("report.html", "model_document.*", "summary.json", "summary.md", "figures/*", "tables/*"),
    ),
    Step("audit", "audit_run", (*_FRAME, *_FITS), ("replicate/*", "workflow/*")),
)


def artifacts(folder: Path) -> list[str]:
    """Every artifact in a folder by its path there, sorted; hidden files (half-written, Snakemake's marks) are none."""
    names = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            names.append(relative.as_posix())
    return sorted(name for name in names if not matches(name, APART))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns; ``*`` crosses folders."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def producer(name: str) -> Step | None:
    """The step that writes a file; None where none is known to."""
    return next((step for step in STEPS if matches(name, step.writes)), None)


def inputs(step: Step, names: Iterable[str], data: Iterable[str]) -> list[str]:
    """What a step read: files of the folder, and those of the panel where it reads the data itself."""
    return [*(data if DATA in step.reads else ()), *(name for name in names if matches(name, step.reads))]
