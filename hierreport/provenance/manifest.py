"""manifest.json: the one place for digests, times, versions and dates of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import DataError
from . import environment
from .flow import CRATE, DIGEST, MANIFEST, SIGNATURE, STEPS, artifacts, inputs, producer
from .hashing import describe, instant, sha256, write_json, write_text

FORMAT = "hierreport-manifest/1"


def write(folder: Path, options: dict[str, Any]) -> str:
    """See ``provenance.write_manifest``."""
    from . import crate

    keep_workflow(folder)
    manifest = build(folder, options)
    write_json(folder / MANIFEST, manifest)
    crate.write(folder, manifest)
    write_text(folder / DIGEST, digests(folder))
    (folder / SIGNATURE).unlink(missing_ok=True)  # of an earlier run
    return sha256(folder / MANIFEST)


def digests(folder: Path) -> str:
    """The digests of the manifest and the crate, as ``sha256sum -c`` reads them."""
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in (MANIFEST, CRATE))


def build(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an analysis' folder as it is now."""
    config = resolved(options)
    notes = {step.stage: accounting(folder, step.stage) for step in STEPS}
    data = data_sources(folder, notes["ingest"])
    names = artifacts(folder)
    listed = []
    for name in names:
        step = producer(name)
        listed.append(
            {
                "path": name,
                **describe(folder / name),
                "stage": step.stage if step else None,
                "rule": step.rule if step else None,
                "inputs": f"#/stages/{STEPS.index(step)}/inputs" if step else None,
            }
        )
    paths = [d["path"] for d in data]
    stages = []
    for step in STEPS:
        note = notes[step.stage] if step.stage != "audit" else None  # its own cost is known only after this is written
        cost = {
            k: (note or {}).get(k) for k in ("started", "ended", "wall_seconds", "cpu_seconds", "peak_memory_bytes")
        }
        read = inputs(step, names, paths)
        stages.append({"stage": step.stage, "rule": step.rule, "inputs": read, **cost})
    return {
        "format": FORMAT,
        "analysis": folder.resolve().name,
        "created": instant(),
        "config": config,
        "seeds": {"seed": config["seed"]},
        "package": environment.package(),
        "environment": environment.machine(),
        "data": data,
        "query": query(folder),
        "sign_off": sign_off_files(folder, config.get("sign_off")),
        "stages": stages,
        "artifacts": listed,
    }


def keep_workflow(folder: Path) -> None:
    """Put the workflow's files beside the results: what ran is a part of them."""
    from ..running import root

    source, target = root() / "workflow", folder / "workflow"
    files = [source / "Snakefile", *sorted((source / "rules").glob("*.smk"))]
    for file in files:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, file.read_text(encoding="utf-8"))
    for old in target.rglob("*"):
        if old.is_file() and source / old.relative_to(target) not in files:
            old.unlink()


def query(folder: Path) -> str:
    """The SQL by which the data were read."""
    panel = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    return str(panel["source"].get("query") or "")


def resolved(options: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the analysis with every default filled in; alerts change no result."""
    from ..config import Analysis

    return Analysis.model_validate(options).model_dump(mode="json", exclude={"alerts"})


def accounting(folder: Path, stage: str) -> dict[str, Any] | None:
    """What the stage noted about itself; None where it was called without."""
    try:
        note: dict[str, Any] = json.loads((folder / "logs" / f"{stage}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note


def data_sources(folder: Path, note: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The panel's files: as they were when they were read, and where they lie, seen from the folder.

    Raises:
        DataError: panel.json is missing, or a file changed after it was read.
    """
    try:
        panel = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("there is no readable panel.json.", str(folder), "Run the ingest stage first.") from error
    read = {d["path"]: d for d in (note or {}).get("data") or ()}
    sources = []
    for path in panel["source"].get("files") or ():
        now = describe(Path(path)) if Path(path).is_file() else None
        then = read.get(path)
        if now and then and now["sha256"] != then["sha256"]:
            raise DataError(
                "the file changed after the panel was read from it.", path, "Run again: the panel is read anew."
            )
        known = then or {"path": path, **(now or {"size": None, "sha256": None, "media_type": None}), "read": None}
        sources.append({**known, "path": path, "from_folder": from_folder(path, folder)})
    return sources


def sign_off_files(folder: Path, form: str | None) -> list[dict[str, Any]]:
    """The form that people filled in for the model document, and their confirmations, as far as they are there."""
    from ..signoff import files

    there = [f for f in files(form) if f.is_file()] if form else []
    return [{"path": f.as_posix(), **describe(f), "from_folder": from_folder(f.as_posix(), folder)} for f in there]


def from_folder(path: str, folder: Path) -> str:
    """A data file's path relative to the results, so that a moved checkout finds it; an absolute one stays."""
    if os.path.isabs(path):
        return path
    return Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()
