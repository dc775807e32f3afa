"""Fixtures that several test files share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def example_data() -> Path:
    """Folder of the shipped panels."""
    return ROOT / "config" / "data"


@pytest.fixture(scope="session")
def run_stages(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``run_stages("uk_firms", until="fit")`` runs a shipped analysis without Snakemake and returns its folder.

    Each stage runs once per session. Do not write into the folder; copy it first.
    """
    base = tmp_path_factory.mktemp("stages")
    done: set[tuple[str, str]] = set()

    def run(analysis: str, until: str = "report") -> Path:
        from hierreport import config, config_files, stages

        example = config_files.EXAMPLE.analyses[analysis]
        folder = base / analysis
        folder.mkdir(exist_ok=True)
        for stage, keys in stages.STAGES.items():
            if (analysis, stage) not in done:
                options = json.loads(config.options(example, keys))
                if "panel" in options:
                    options["panel"] = str(ROOT / options["panel"])
                getattr(stages, stage)(folder, options)
                done.add((analysis, stage))
            if stage == until:
                return folder
        raise ValueError(until)

    return run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout's workflow, configuration and package, in a path with a space, without git history."""
    target = tmp_path / "a checkout"
    target.mkdir()
    for folder in ("hierreport", "workflow", "profiles", "config"):
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Snakefile", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / file, target / file)
    return target
