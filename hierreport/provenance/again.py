"""``hierreport reproduce``: a past run made again from its manifest, and compared with it file by file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError, HierreportError
from . import environment
from .checking import ENTRY, Outcome, read_manifest
from .flow import STEPS, artifacts
from .hashing import sha256

# Levels of folders around the rerun, so that a data file named by "../" still lies inside of it.
DEPTH = 8


def reproduce(folder: Path, keep: Path | None = None) -> Outcome:
    """Run a past run again, with its configuration and data, and compare every artifact byte for byte.

    Args:
        folder: ``results/<analysis>``, or ``history/<analysis>/<run_id>`` with its manifest.json.
        keep: where the new results are left; nothing is left where not given.

    Returns:
        what is the same, what differs, and (as notes) what else is not as it was then.

    Raises:
        DataError: there is no manifest; a file of the data or a kept run that it was compared with is missing or has
            changed since; ``keep`` is there already.
    """
    outcome = Outcome()
    manifest = read_manifest(folder, outcome)
    if manifest is None:
        raise DataError("the manifest cannot be read.", str(folder), "Restore it, or choose another run.")
    if keep is not None and keep.exists():
        raise DataError("is there already.", str(keep), "Name a folder that is not there yet.")
    sources = [(s, found_source(folder, manifest, s)) for s in _sources(manifest)]
    with _workplace() as (top, place):
        for source, path in sources:
            _lay(top, place, source["path"], path)
        new = place / "results" / manifest["analysis"]
        _earlier_runs(folder, manifest, place / "history" / manifest["analysis"])
        _run(place, new, manifest)
        same, changed = compare(new, manifest)
        if keep is not None:
            shutil.copytree(new, keep)
    outcome.checked.append(f"{same} of {len(manifest['artifacts'])} artifacts are the same byte for byte")
    outcome.failures += changed
    differences = _differences(manifest)
    outcome.notes += differences
    if changed:
        outcome.notes += _reasons(manifest, [name for name, _ in changed], differences)
    return outcome


def _sources(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files that the run read from outside: its data, and what people wrote for sign-off."""
    return [*manifest["data"], *(manifest.get("sign_off") or [])]


def found_source(folder: Path, manifest: Mapping[str, Any], source: Mapping[str, Any]) -> Path:
    """Where a file that the run read lies now.

    Raises:
        DataError: it is not there, or its bytes are others.
    """
    results = folder
    if (folder / ENTRY).is_file():  # a kept run: history/<analysis>/<run_id> lies beside results/<analysis>
        results = folder.resolve().parent.parent.with_name("results") / manifest["analysis"]
    if source["sha256"] is None:
        raise DataError("had no digest when it was read, so that it cannot be found again.", source["path"])
    there = [p for p in (results / source["from_folder"], Path(source["path"])) if p.is_file()]
    if not there:
        raise DataError(
            "the file that the run was made from is missing.",
            source["path"],
            "Put it back where it was, and try again.",
        )
    for path in there:
        if sha256(path) == source["sha256"]:
            return path.resolve()
    raise DataError(
        "the file has changed since the run: its SHA-256 was " + source["sha256"] + ".",
        os.path.relpath(there[0]),
        "Put back the file of that run.",
    )


@contextmanager
def _workplace() -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and the place in its depths where the run happens."""
    top = Path(tempfile.mkdtemp(prefix="hierreport-again-")).resolve()
    try:
        place = top.joinpath(*"abcdefgh"[:DEPTH])
        place.mkdir(parents=True)
        yield top, place
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _lay(top: Path, place: Path, name: str, path: Path) -> None:
    """Let a file be found under the name that the run knew it by."""
    if os.path.isabs(name):
        return  # read where it is
    target = Path(os.path.normpath(place / name))
    if not target.is_relative_to(top):
        raise DataError(f"lies more than {DEPTH} folders up.", name, "Run it nearer to its data.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(path)


def _earlier_runs(folder: Path, manifest: Mapping[str, Any], target: Path) -> None:
    """Copy the kept runs up to the one that the run was compared with: a report tells what changed since.

    Raises:
        DataError: that run is no longer kept.
    """
    from ..history.run import home, kept, read_json

    changes = folder / "changes.json"
    if not changes.is_file():
        return
    previous = read_json(changes).get("previous")
    if previous is None:
        return
    place = folder.resolve().parent if (folder / ENTRY).is_file() else home(folder)
    runs = kept(place)
    ids = [run.run_id for run in runs]
    if previous["run_id"] not in ids:
        what = f"the run {previous['run_id']}, which this one was compared with, is not kept any more."
        raise DataError(what, str(place), "Restore it.")
    for run in runs[: ids.index(previous["run_id"]) + 1]:
        shutil.copytree(run.path, target / run.path.name)


def _run(place: Path, new: Path, manifest: Mapping[str, Any]) -> None:
    """Run every stage as the rules do, each in a process of its own.

    Raises:
        HierreportError: a stage failed; its last words are passed on.
    """
    from ..config import Analysis, options
    from ..stages import STAGES

    analysis = Analysis.model_validate(manifest["config"])
    paths = [str(environment.PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    for stage, keys in STAGES.items():
        command = [sys.executable, "-m", "hierreport", "stage", stage, str(new.relative_to(place))]
        done = subprocess.run(
            [*command, "--options", options(analysis, keys)],
            cwd=place,
            env=variables,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason given")
            raise HierreportError(f"the stage {stage} failed: {last}", str(manifest["analysis"]))


def compare(new: Path, manifest: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """Artifacts of a rerun against a manifest: how many are the same, and (name, what is wrong) of the others."""
    known = {a["path"]: a for a in manifest["artifacts"]}
    made = {name: sha256(new / name) for name in artifacts(new)}
    wrong = []
    for name, entry in known.items():
        if name not in made:
            wrong.append((name, "is not made any more"))
        elif made[name] != entry["sha256"]:
            size = (new / name).stat().st_size
            wrong.append((name, f"differs: {size} bytes, then {entry['size']}; sha256 {made[name]}"))
    wrong += [(name, "was not made then") for name in made if name not in known]
    return len(known) - sum(name in known for name, _ in wrong), wrong


def _differences(manifest: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run was made: code, versions, machine."""
    found = []
    package, machine = environment.package(), environment.machine()
    then, before = manifest["package"], manifest["environment"]
    if package["version"] != then["version"]:
        found.append(f"hierreport is {package['version']}, then {then['version']}")
    commits = [(p.get("git") or {}).get("commit", "unknown") for p in (package, then)]
    if commits[0] != commits[1]:
        found.append(f"the commit is {commits[0]}, then {commits[1]}")
    for when, p in (("is", package), ("was", then)):
        if not (p.get("git") or {"clean": True})["clean"]:
            found.append(f"the source {when} not as committed")
    stages = [s for s in package["code"] if package["code"][s] != then["code"].get(s)]
    if stages:
        found.append(f"the source differs behind the stages {', '.join(stages)}")
    for key in ("python", "platform", "machine"):
        if machine[key] != before.get(key):
            found.append(f"{key} is {machine[key]}, then {before.get(key)}")
    now, old = machine["dependencies"], before.get("dependencies") or {}
    moved = [
        f"{n} {now.get(n, 'missing')} (then {old.get(n, 'missing')})"
        for n in _union(now, old)
        if now.get(n) != old.get(n)
    ]
    if moved:
        found.append(f"other versions: {', '.join(moved)}")
    return found


def _union(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted({*one, *other}, key=str.lower)


def _reasons(manifest: Mapping[str, Any], names: list[str], differences: list[str]) -> list[str]:
    """Where the difference begins, and what is likely behind it."""
    stage_of = {a["path"]: a["stage"] for a in manifest["artifacts"]}
    order = [step.stage for step in STEPS]
    stages = sorted({stage_of[n] for n in names if stage_of.get(n) in order}, key=order.index)
    if not stages:
        return []
    code = environment.package()["code"]
    first = stages[0]
    begins = f"the difference begins with what the stage {first} writes"
    if code[first] != manifest["package"]["code"].get(first):
        return [f"{begins}; likely because its source is another than then"]
    if any(d.startswith(("other versions", "python")) for d in differences):
        return [f"{begins}; its source is the same: likely because of other versions"]
    if any(d.startswith(("platform", "machine")) for d in differences):
        return [f"{begins}; source and versions are the same: likely because of another machine"]
    return [f"{begins}; source, versions and machine are the same: this should not happen, please report it"]
