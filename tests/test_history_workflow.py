"""The whole workflow with a history: run, run again, other data, everything forced."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from history_fixture import Row, rows

from hierreport import history

pytestmark = pytest.mark.workflow


def write(checkout: Path, table: list[Row]) -> None:
    with (checkout / "panel.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def command(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hierreport", *arguments],
        cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def run(checkout: Path, *more: str) -> str:
    return command(checkout, "run", "--config", "mine.yaml", "--cores", "2", *more)


def artifacts(checkout: Path) -> dict[str, bytes]:
    folder = checkout / "results" / "a"
    apart = ("logs/", "manifest.json", "ro-crate", ".snakemake")
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in found.items() if not n.startswith(apart) and "/.snakemake" not in n}


def changes(checkout: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkout / "results" / "a" / "changes.json").read_text())
    return found


def test_run_run_again_and_run_on_other_data(checkout: Path) -> None:
    analysis = {"panel": "panel.csv", "formula": "y ~ x + z + (1 | firm)", "time": "year", "bootstrap": 0}
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"analyses": {"a": analysis}}))
    table = [{**r, "firm": r["region"] + r["firm"]} for r in rows()]
    write(checkout, table)
    run(checkout)
    first = artifacts(checkout)
    (one,) = history.runs("a", checkout / "history")
    assert changes(checkout)["previous"] is None and b"Since last time" not in first["report.html"]
    assert one.about["manifest_sha256"] in (checkout / "results" / "a" / "manifest.json.sha256").read_text()

    assert "Nothing to be done" in run(checkout)
    run(checkout, "--forceall")
    assert artifacts(checkout) == first
    assert [r.run_id for r in history.runs("a", checkout / "history")] == [one.run_id]

    write(checkout, table[1:])
    run(checkout)
    second = artifacts(checkout)
    found = changes(checkout)
    assert found["previous"]["run_id"] == one.run_id
    assert found["data"]["rows"] | {"added": 0, "removed": 1, "revised": 0} == found["data"]["rows"]
    assert b"Since last time" in second["report.html"]
    assert len(history.runs("a", checkout / "history")) == 2

    assert "Nothing to be done" in run(checkout)
    run(checkout, "--forceall")
    assert artifacts(checkout) == second
    assert len(history.runs("a", checkout / "history")) == 2
    assert "the run compared with, has its bytes" in command(checkout, "verify", "results/a")
    assert "1 row was removed" in command(checkout, "diff", "1", "2")

    write(checkout, table)
    run(checkout)
    assert [r.number for r in history.runs("a", checkout / "history")] == [1, 2, 3]
    assert changes(checkout)["previous"]["number"] == 2
