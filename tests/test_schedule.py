"""Files for schedulers: read by the programs that they are for, in folders with difficult names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hierreport import cli
from hierreport.errors import HierreportError
from hierreport.unattended import schedule

NAME = 'it\'s 100% "odd" $HOME \\ é'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / NAME
    made.mkdir()
    (made / "my panel.yaml").write_text("analyses: {}\n")
    monkeypatch.chdir(made)
    return made


def recorder(folder: Path) -> Path:
    """A program in place of Python that writes down where it was called with what."""
    script = folder / "fake python"
    script.write_text('#!/bin/sh\npwd > called\nfor a in "$@"; do echo "$a" >> called; done\nexit "${CODE:-0}"\n')
    script.chmod(0o755)
    return script


def called(folder: Path) -> list[str]:
    return (folder / "called").read_text().splitlines()


WORDS = ["-m", "hierreport", "run", "--unattended", "--config", "my panel.yaml"]


def test_cron_line_runs_as_cron_runs_it(folder: Path) -> None:
    job = schedule.Job(folder, recorder(folder), "my panel.yaml", 6, 5)
    text = schedule.cron(job)["hierreport.crontab"]
    (line,) = [part for part in text.splitlines() if not part.startswith("#")]
    assert line.startswith("5 6 * * * ")
    command = line.split(maxsplit=5)[5]
    assert command.count("%") == command.count("\\%") == 2
    subprocess.run(["/bin/sh", "-c", command.replace("\\%", "%")], check=True, cwd="/")  # as crontab(5) says
    assert called(folder) == [str(folder), *WORDS, "--silent"]


def test_systemd_reads_the_units(folder: Path, tmp_path: Path) -> None:
    job = schedule.Job(folder, recorder(folder), "my panel.yaml", 6, 5)
    units = schedule.systemd(job)
    assert "SuccessExitStatus=0 10\n" in units["hierreport.service"]
    assert "RestartPreventExitStatus=20 1 2\n" in units["hierreport.service"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    place = tmp_path / "units"
    place.mkdir()
    for name, text in units.items():
        (place / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(place.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{place}:"},
    )
    said = [part for part in done.stderr.splitlines() if "hierreport" in part]
    assert done.returncode == 0 and not said, done.stderr


def test_github_workflow_is_yaml_and_its_script_maps_the_codes(folder: Path, tmp_path: Path) -> None:
    job = schedule.Job(folder, Path(sys.executable), "my panel.yaml", 6, 5)
    flow = yaml.safe_load(schedule.github(job)["hierreport.yml"])
    assert flow[True]["schedule"] == [{"cron": "5 6 * * *"}]  # YAML 1.1 reads `on` as true
    steps = flow["jobs"]["reports"]["steps"]
    assert flow["jobs"]["reports"]["env"] == {"HIERREPORT_NOTIFY": "${{ secrets.HIERREPORT_NOTIFY }}"}
    (script,) = [s["run"] for s in steps if s.get("name") == "Run"]
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    recorder(folder).rename(python)
    for code, wanted in ((0, 0), (10, 0), (20, 20), (1, 1), (66, 66)):
        environment = {**os.environ, "CODE": str(code), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
        done = subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=environment, check=False)
        assert done.returncode == wanted
        assert called(folder) == [str(folder), *WORDS]


def test_command_prints_or_writes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schedule", "--systemd", "--cron", "--github", "--config", "my panel.yaml", "--at", "23:05"]) == 0
    said = capsys.readouterr().out
    assert said.count("# hierreport.") == 4 and "OnCalendar=*-*-* 23:05:00" in said and sys.executable in said
    assert cli.main(["schedule", "--systemd", "--config", "my panel.yaml", "--out", "units"]) == 0
    assert sorted(p.name for p in (folder / "units").iterdir()) == ["hierreport.service", "hierreport.timer"]


@pytest.mark.parametrize(("config", "at"), [(None, "6:30"), ("my panel.yaml", "24:00"), ("my panel.yaml", "noon")])
def test_what_cannot_be_scheduled_is_refused(folder: Path, config: str | None, at: str) -> None:
    with pytest.raises(HierreportError):
        schedule.job(config, at)
    assert cli.main(["schedule"]) == 2
