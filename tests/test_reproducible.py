"""The same inputs give the same bytes: in two clones, wherever, whenever and on however many cores they are used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

ANALYSES = ("us_states", "uk_firms")
SURROUNDINGS = (
    ("one", 1, {"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1", "COLUMNS": "80"}),
    (
        "another place, ü",
        2,
        {
            "TZ": "Asia/Kathmandu",
            "LANG": "de_DE.UTF-8",
            "LC_ALL": "tr_TR.UTF-8",
            "PYTHONHASHSEED": "4242",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "2",
        },
    ),
)


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True)


def run_in(place: Path, cores: int, surroundings: dict[str, str], *arguments: str) -> Path:
    """Run the workflow in a clone on so many cores of the machine; returns the folder of the results."""
    available = sorted(os.sched_getaffinity(0))[:cores]
    mpl = {"MPLCONFIGDIR": str(place.with_name(f"{place.name}-matplotlib"))}
    done = subprocess.run(
        [sys.executable, "-m", "hierreport", "run", "--cores", str(cores), *arguments],
        cwd=place,
        env={**os.environ, **surroundings, **mpl, "PYTHONPATH": str(place), "OPENBLAS_NUM_THREADS": str(cores)},
        preexec_fn=lambda: os.sched_setaffinity(0, available),  # DuckDB takes as many threads as it is given cores
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place / "results"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, Path]:
    """The results of two clones of one repository."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("cores cannot be taken away from a process on this system")
    base = tmp_path_factory.mktemp("clones")
    origin = base / "origin"
    for part in ("hierreport", "config", "workflow", "profiles"):  # as the tree is now, committed or not
        shutil.copytree(root / part, origin / part, ignore=shutil.ignore_patterns("__pycache__", "sign_off"))
    for part in ("pyproject.toml", "requirements.lock", "Snakefile"):
        shutil.copy(root / part, origin / part)
    (origin / ".gitignore").write_text("__pycache__/\n/results/\n/history/\n/.snakemake/\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        git(origin, *command)
    found = []
    for name, cores, where in SURROUNDINGS:
        git(base, "clone", "-q", str(origin), name)
        found.append(run_in(base / name, cores, where))
    return found[0], found[1]


def contents(results: Path) -> dict[str, bytes]:
    """Every artifact of every analysis, and the page over them: what holds no times."""
    found = {p.relative_to(results).as_posix(): p.read_bytes() for p in results.rglob("*") if p.is_file()}
    apart = ("manifest.json", "ro-crate-metadata.json", "logs/")  # the audit's, and what each step said
    return {
        name: content
        for name, content in found.items()
        if not name.partition("/")[2].startswith(apart) and name not in ("index.log", "run.json")
    }


def test_two_clones_give_the_same_bytes(two: tuple[Path, Path]) -> None:
    first, second = map(contents, two)
    for analysis in ANALYSES:
        listed = {name.removeprefix(f"{analysis}/") for name in first}
        assert {"panel.parquet", "moments_lag.parquet", "report.html", "ladder.json", "summary.md"} <= listed
    assert "index.html" in first and len(first) > 150
    assert first.keys() == second.keys()
    assert [name for name in sorted(first) if first[name] != second[name]] == []


def test_a_repeated_run_gives_the_same_bytes(two: tuple[Path, Path]) -> None:
    where = SURROUNDINGS[0][2]
    before = contents(two[0])
    run_in(two[0].parent, 2, {**where, "TZ": "America/St_Johns"}, "--forceall", f"results/{ANALYSES[0]}/manifest.json")
    after = contents(two[0])
    assert before.keys() == after.keys()
    assert [name for name in sorted(before) if before[name] != after[name]] == []


def test_no_artifact_knows_where_or_when_it_was_made(two: tuple[Path, Path]) -> None:
    for results in two:
        place = str(results.parent).encode()
        assert [name for name, content in contents(results).items() if place in content] == []


@pytest.mark.parametrize("analysis", ANALYSES)
def test_manifests_of_two_clones_differ_in_times_alone(two: tuple[Path, Path], analysis: str) -> None:
    first, second = (json.loads((results / analysis / "manifest.json").read_text()) for results in two)
    assert first["package"]["git"]["clean"] and len(first["package"]["git"]["commit"]) == 40
    for manifest in (first, second):
        for key in ("created", "environment"):
            manifest.pop(key)
        for step in manifest["stages"]:
            for key in ("started", "ended", "wall_seconds", "cpu_seconds", "peak_memory_bytes"):
                step.pop(key)
        for source in manifest["data"]:
            source.pop("read")
    assert first == second
