"""Keeping a finished run: small files, written apart and renamed into place in one step."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..provenance.hashing import instant, sha256
from .run import ENTRY, FORMAT, ROWS, Run, home, of_folder

LADDER = ("order", "rungs", "comparisons", "choice")
CHECK = ("name", "title", "status", "statistic", "statistic_name", "meaning")
ABANDONED = 86400.0  # seconds after which a half-written folder is taken to be a killed run's


def keep(folder: Path, options: Mapping[str, Any]) -> Path:
    """See ``history.record``."""
    run = of_folder(folder)
    place = home(folder)
    target = place / run.run_id
    place.mkdir(parents=True, exist_ok=True)
    _clear(place)
    if target.exists():
        return target
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=place))
    try:
        os.chmod(scratch, 0o777 & ~_umask())
        _fill(scratch, run, options)
        for path in [*scratch.rglob("*"), scratch]:
            _to_disk(path)
        try:
            os.rename(scratch, target)
        except OSError:
            if not (target / ENTRY).is_file():
                raise
            # another process kept the same run a moment ago
        _to_disk(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _fill(target: Path, run: Run, options: Mapping[str, Any]) -> None:
    """Write a run's files; entry.json, which makes it one, is the last."""
    from ..provenance.manifest import resolved
    from .rows import write_rows
    from .trend import estimates

    folder = run.path
    _json(target / "config.json", resolved(dict(options)))
    _json(target / "panel.json", run.panel)
    _json(target / "ladder.json", {k: run.ladder.get(k) for k in LADDER})
    checks = [{k: c.get(k) for k in CHECK} for c in run.checks.get("checks") or ()]
    _json(target / "checks.json", {"rung": run.checks.get("rung"), "counts": run.checks.get("counts"), "checks": checks})
    (target / "rungs").mkdir()
    for name in sorted(f.name for f in (folder / "rungs").glob("*.json")):
        _json(target / "rungs" / name, json.loads((folder / "rungs" / name).read_text(encoding="utf-8")))
    for name in ("summary.json", "changes.json"):
        shutil.copyfile(folder / name, target / name)
    values = write_rows(folder / "panel.parquet", run.panel, target / ROWS)
    if not values:
        for moments in sorted(folder.glob("moments*.parquet")):
            shutil.copyfile(moments, target / moments.name)
    manifest = folder / "manifest.json"
    if manifest.is_file():
        shutil.copyfile(manifest, target / manifest.name)
    entry = {
        "format": FORMAT,
        "analysis": folder.resolve().name,
        **run.about,
        "recorded": instant(),
        "manifest_sha256": sha256(manifest) if manifest.is_file() else None,
        "values_kept": values,
        **estimates(run),
    }
    _json(target / ENTRY, entry)


def _json(path: Path, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _to_disk(path: Path) -> None:
    """Let the disk have a file or folder before its name appears, so that a power cut leaves all of it or nothing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _clear(place: Path) -> None:
    """Remove what killed runs left half-written long ago."""
    for path in place.glob(".new-*"):
        try:
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
