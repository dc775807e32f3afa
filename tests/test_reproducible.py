"""The same inputs give the same bytes, wherever, whenever and on however many threads they are analysed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

# Runs in a process of its own, with the copied package, the stages as the rules call them.
# Arguments: the analysis, the threads of DuckDB.
SCRIPT = """
import json, sys
from pathlib import Path
from hierreport import cli
cli.one_blas_thread()
from hierreport import config, config_files, source, stages
analysis, threads = sys.argv[1], int(sys.argv[2])
usual = source.connect
def connect():
    con = usual()
    con.execute(f"SET threads = {threads}")
    return con
source.connect = connect
assert Path(cli.__file__).is_relative_to(Path.cwd()), cli.__file__
for stage, keys in stages.STAGES.items():
    options = config.options(config_files.EXAMPLE.analyses[analysis], keys)
    code = cli.main(["stage", stage, f"results/{analysis}", "--options", options])
    assert code == 0, stage
"""
SURROUNDINGS = (
    ("one", "1", {"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1", "COLUMNS": "80"}),
    (
        "another place, ü",
        "2",
        {
            "TZ": "Asia/Kathmandu",
            "LANG": "de_DE.UTF-8",
            "LC_ALL": "tr_TR.UTF-8",
            "PYTHONHASHSEED": "4242",
            "COLUMNS": "200",
            "HOME": "/nonexistent",
        },
    ),
)


def run_in(place: Path, root: Path, analysis: str, threads: str, surroundings: dict[str, str]) -> Path:
    """Copy the checkout, analyse there, and return the folder of the results."""
    shutil.copytree(root, place)
    blas = {f"{name}_NUM_THREADS": threads for name in ("OPENBLAS", "OMP", "MKL")}
    mpl = {"MPLCONFIGDIR": str(place / ".matplotlib")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, analysis, threads],
        cwd=place,
        env={**os.environ, **surroundings, **blas, **mpl, "PYTHONPATH": str(place)},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place / "results" / analysis


@pytest.fixture(scope="module", params=["us_states", "uk_firms"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, Path]:
    """The results of one analysis from two clones."""
    base = tmp_path_factory.mktemp("clones")
    for part in ("hierreport", "config"):  # first a copy of the tree: it may be edited while this runs
        shutil.copytree(root / part, base / "origin" / part, ignore=shutil.ignore_patterns("__pycache__"))
    first, second = (
        run_in(base / name, base / "origin", request.param, threads, where) for name, threads, where in SURROUNDINGS
    )
    return first, second


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest and its digest, and the logs, which hold times."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in found.items() if not name.startswith(("manifest.json", "logs/"))}


def test_two_clones_give_the_same_bytes(two: tuple[Path, Path]) -> None:
    first, second = map(contents, two)
    assert len(first) > 40 and {"panel.parquet", "moments_lag.parquet", "report.html", "ladder.json"} <= first.keys()
    assert first.keys() == second.keys()
    assert [name for name in sorted(first) if first[name] != second[name]] == []


def test_no_artifact_knows_where_or_when_it_was_made(two: tuple[Path, Path]) -> None:
    for folder in two:
        place = str(folder.parent.parent).encode()
        assert [name for name, content in contents(folder).items() if place in content] == []


def test_manifests_of_two_clones_differ_in_times_and_surroundings_alone(two: tuple[Path, Path]) -> None:
    first, second = (json.loads((folder / "manifest.json").read_text()) for folder in two)
    for manifest in (first, second):
        for key in ("created", "environment"):
            manifest.pop(key)
        for step in manifest["stages"]:
            for key in ("started", "wall_seconds", "cpu_seconds", "peak_memory_bytes"):
                step.pop(key)
        for source in manifest["data"]:
            source.pop("read")
    assert first == second
