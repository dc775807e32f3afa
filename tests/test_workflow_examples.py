"""The whole workflow on the shipped panels, as `make report` runs it, and the package as it is installed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow


def run(*command: str | Path, folder: Path, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A checkout in a path with a space and without git history, after `hierreport run`."""
    target = tmp_path_factory.mktemp("examples") / "a checkout"
    target.mkdir()
    for folder in ("hierreport", "workflow", "profiles", "config"):
        shutil.copytree(root / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "Snakefile", target)
    shutil.copy(root / "pyproject.toml", target)
    (target / "config" / "config.yaml").write_text(
        run(sys.executable, "-m", "hierreport", "config", "--example", folder=root)
    )
    output = run(sys.executable, "-m", "hierreport", "run", folder=target)
    (target / "output.txt").write_text(output)
    return target


@pytest.mark.parametrize("analysis", ["uk_firms", "us_states"])
def test_every_artifact_is_there(finished: Path, analysis: str) -> None:
    assert str(finished / "results" / analysis / "report.html") in (finished / "output.txt").read_text()
    folder = finished / "results" / analysis
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {
        "panel.parquet", "panel.json", "moments.parquet", "ladder.json", "checks.json", "residuals.json", "verify.json",
        "summary.json", "report.html", "rungs/pooled.json", "rungs/random_intercept.effects.parquet",
    } <= names  # fmt: skip
    assert any(n.startswith("figures/") and n.endswith(".svg") for n in names)
    assert any(n.startswith("tables/") and n.endswith(".csv") for n in names)
    assert not [n for n in names if n.startswith(".") or "/.ingest" in n or ".tmp" in n]
    assert b"<html" in (folder / "report.html").read_bytes()[:2000].lower()
    assert (folder / "report.html").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("analysis", "rung", "loglik"),
    [
        # data/README's values from lme4 and nlme; the states' from Baltagi, Song and Jung (2001), Stata's manual.
        ("uk_firms", "pooled", -831.3094),
        ("uk_firms", "random_intercept", 302.9526),
        ("uk_firms", "random_slope", 382.7817),
        ("uk_firms", "multilevel", 383.0098),
        ("us_states", "multilevel", 1430.5016),
    ],
)
def test_loglik_is_the_published_one(finished: Path, analysis: str, rung: str, loglik: float) -> None:
    record = json.loads((finished / "results" / analysis / "rungs" / f"{rung}.json").read_text())
    assert record["ml"]["loglik"] == pytest.approx(loglik, abs=1e-4)


def test_second_engine_agrees(finished: Path) -> None:
    for analysis in ("uk_firms", "us_states"):
        verify = json.loads((finished / "results" / analysis / "verify.json").read_text())
        assert verify["ok"] and verify["max_relative_difference"] < 1e-6


def test_second_run_finds_nothing_to_do(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "results").rglob("*") if p.is_file()}
    assert "Nothing to be done" in run(sys.executable, "-m", "hierreport", "run", folder=finished)
    assert {p: p.stat().st_mtime_ns for p in (finished / "results").rglob("*") if p.is_file()} == before


def test_stage_processes_load_only_what_they_need(finished: Path) -> None:
    """A process that fits from moments imports neither pandas, statsmodels nor matplotlib (nor scipy's slow parts)."""
    code = (
        "import sys; from hierreport import cli; cli.main(['stage', 'fit', 'results/us_states']);"
        "print('LOADED', *sorted(sys.modules))"
    )
    copy = finished.parent / "copy"
    shutil.copytree(finished / "results" / "us_states", copy / "results" / "us_states")
    loaded = set(run(sys.executable, "-c", code, folder=copy, PYTHONPATH=str(finished)).rsplit("LOADED", 1)[1].split())
    assert "numpy" in loaded
    assert not loaded & {"pandas", "statsmodels", "matplotlib", "snakemake", "pydantic", "sqlglot"}
    assert not loaded & {"scipy.stats", "scipy.optimize"}


def test_wheel_runs_the_workflow_without_a_checkout(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for folder in ("hierreport", "workflow", "profiles"):
        shutil.copytree(root / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / file, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path]
    run(*pip, source, folder=tmp_path)
    (wheel,) = tmp_path.glob("hierreport-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        assert (
            "hierreport = hierreport.cli:main"
            in archive.read(next(n for n in archive.namelist() if n.endswith("entry_points.txt"))).decode()
        )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text("analyses:\n  a:\n    panel: a.csv\n    formula: y ~ x + (1 | g)\n")
    (elsewhere / "a.csv").write_text("y,x,g\n1,2,a\n")
    installed = {"PYTHONPATH": str(tmp_path / "site")}
    output = run(
        sys.executable, "-m", "hierreport", "run", "--config", "mine.yaml", "-n", folder=elsewhere, **installed
    )
    assert "a: reading and checking the panel" in output and "a: writing the report" in output


def test_too_old_a_python_is_named(root: Path, tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "tools", tmp_path / "tools")
    old = tmp_path / "python3.8"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.0" && exit 0\nexit 1\n')
    old.chmod(old.stat().st_mode | stat.S_IEXEC)
    output = run("make", "report", f"PYTHON={old}", folder=tmp_path, code=2)
    assert "hierreport needs Python 3.11 or newer" in output
    assert f"{old} is Python 3.8.0" in output
    assert not (tmp_path / ".venv").exists()


def test_make_help_lists_the_commands(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "Makefile", tmp_path)
    output = run("make", folder=tmp_path)
    for target in ("help", "report", "test", "lint", "format", "lock", "sync-config", "clean"):
        assert f"make {target} " in output
