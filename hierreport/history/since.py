"""A run beside the newest kept one that is another: what changes.json says, also where there is none yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .identity import digest, identity
from .run import Run, home, kept, read_json
from .trend import estimates, trend

FORMAT = "hierreport-changes/1"
# Everything of a kept run that a comparison reads.
READ = ("panel.json", "ladder.json", "checks.json", "rows.parquet")


def since_last(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """See ``history.changes``."""
    own = identity(folder, options, read_json(folder / "panel.json"))
    history = kept(home(folder))
    earlier = [r for r in history if r.digest != own["digest"]]
    last = earlier[-1] if earlier else None
    number = last.number + 1 if last else 1
    content = {"digest": own["digest"], "previous": last.run_id if last else None}
    about = {"run_id": f"{number:04d}-{digest(content)[:12]}", "number": number, **own}
    run = Run(folder, about)
    before = [r for r in history if last and (r.number, r.recorded, r.run_id) <= (last.number, last.recorded, last.run_id)]
    found: dict[str, Any] = {
        "format": FORMAT,
        "run": about,
        "previous": None if last is None else {**_short(last), "files_sha256": files_digest(last.path)},
        "trend": trend(before, run),
    }
    if last is None:
        return found
    from .compare import compare  # which loads the engine: a first run has no use for it

    return {**found, **compare(last, run)}


def _short(run: Run) -> dict[str, Any]:
    about = {k: run.about[k] for k in ("run_id", "number", "digest", "parts")}
    return {**about, **{k: v for k, v in estimates(run).items() if k in ("rung", "n_obs", "last_period")}}


def files_digest(folder: Path) -> str:
    """One digest over the files of a kept run that a comparison reads; when it was kept does not matter."""
    whole = hashlib.sha256()
    for path in [*(folder / name for name in READ), *sorted((folder / "rungs").glob("*.json"))]:
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
