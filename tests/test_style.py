"""Style of the code and of the workflow; `make format` mends most of what these find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--no-cache", "hierreport", "tests"),
        ("ruff", "format", "--no-cache", "--check", "hierreport", "tests"),
        ("snakefmt", "--check", "Snakefile", "workflow"),
    ],
    ids=["ruff check", "ruff format", "snakefmt"],
)
def test_style(root: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shell_scripts_parse(root: Path) -> None:
    subprocess.run(["sh", "-n", root / "tools" / "make-venv.sh"], check=True)
    subprocess.run(["bash", "-n", root / ".ci" / "run"], check=True)


def test_ci_runs_the_command_of_the_readme(root: Path) -> None:
    assert "    make test " in (root / "README.md").read_text(encoding="utf-8")
    assert "make test" in (root / ".ci" / "run").read_text(encoding="utf-8")
