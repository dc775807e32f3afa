"""Kept runs: what makes a run, which one it is compared with, and that no accident loses or spoils one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from history_fixture import Project, rows

from hierreport import history
from hierreport.errors import DataError
from hierreport.history import identity, keep
from hierreport.history.run import of_folder
from hierreport.history.since import files_digest


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after one run."""
    base = tmp_path_factory.mktemp("once")
    project = Project(base)
    project.data(rows())
    project.run()
    return base


@pytest.fixture
def project(once: Path, tmp_path: Path) -> Project:
    """A copy of it."""
    made = Project(tmp_path / "copy")
    shutil.rmtree(made.base)
    shutil.copytree(once, made.base)
    return made


def kept(project: Project) -> list[str]:
    return [r.run_id for r in history.runs("a", project.base / "history")]


def test_the_first_run_has_none_before_it(once: Path) -> None:
    found = json.loads((once / "results" / "a" / "changes.json").read_text())
    assert found["previous"] is None and "data" not in found
    assert [r.run_id for r in history.runs("a", once / "history")] == [found["run"]["run_id"]]
    assert history.runs("b", once / "history") == [] == history.runs("a", once / "nowhere")


def test_a_kept_run_holds_what_a_comparison_needs(once: Path) -> None:
    (run,) = history.runs("a", once / "history")
    names = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()}
    assert {"entry.json", "config.json", "summary.json", "panel.json", "ladder.json", "checks.json"} <= names
    assert {"rows.parquet", "rungs/pooled.json", "rungs/random_intercept.json"} <= names
    assert run.config["formula"] == Project(once / "x").options["formula"] and run.config["seed"] == 1
    assert run.record == json.loads((once / "results" / "a" / "rungs" / f"{run.chosen}.json").read_text())
    assert sum(p.stat().st_size for p in run.path.rglob("*")) < 200_000


def test_the_same_run_again_adds_nothing_and_changes_no_byte(project: Project) -> None:
    before = (project.folder / "changes.json").read_bytes()
    entry = history.runs("a", project.base / "history")[0].path / "entry.json"
    written = entry.stat().st_mtime_ns
    project.run()
    assert (project.folder / "changes.json").read_bytes() == before
    assert len(kept(project)) == 1 and entry.stat().st_mtime_ns == written


def test_data_that_return_make_a_third_run_compared_with_the_second(project: Project) -> None:
    project.data(rows()[1:])
    second = project.run()
    again = project.run()
    assert second == again and second["previous"]["run_id"] == kept(project)[0]
    project.data(rows())
    third = project.run()
    assert third == project.run()
    assert third["previous"]["run_id"] == kept(project)[1] and len(kept(project)) == 3
    assert third["run"]["digest"] == history.runs("a", project.base / "history")[0].digest
    assert third["data"]["rows"] | {"added": 1, "removed": 0, "revised": 0} == third["data"]["rows"]
    assert [t["number"] for t in third["trend"]] == [1, 2, 3]
    (before, after) = (t["fixed"] for t in third["trend"][::2])
    assert before == after


def test_changed_code_alone_is_a_run_of_its_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "stage_digests", lambda stages: dict.fromkeys(stages, "0") | {"fit": "changed"})
    found = project.run()
    assert found["previous"] and found["identical"]
    assert [name for name, cause in found["causes"].items() if cause["changed"]] == ["code"]
    assert found["sentence"] == "Nothing that was computed differs, although code changed."
    assert len(kept(project)) == 2


def test_a_title_makes_no_new_run(project: Project) -> None:
    project.options["title"] = "Another title"
    assert project.run()["previous"] is None
    assert len(kept(project)) == 1


def test_the_previous_run_is_declared_with_the_digest_of_its_files(project: Project) -> None:
    project.data(rows()[6:])
    previous = project.run()["previous"]
    first = history.runs("a", project.base / "history")[0]
    assert previous["run_id"] == first.run_id and previous["digest"] == first.digest
    assert previous["files_sha256"] == files_digest(first.path)
    with (first.path / "rungs" / "pooled.json").open("a") as file:
        file.write(" ")
    assert previous["files_sha256"] != files_digest(first.path)


def test_a_damaged_entry_is_left_out(project: Project) -> None:
    (run,) = history.runs("a", project.base / "history")
    (run.path / "entry.json").write_text('{"number": 1')
    assert kept(project) == []
    assert project.compare()["previous"] is None


def test_a_damaged_file_of_the_last_run_is_named(project: Project) -> None:
    (run,) = history.runs("a", project.base / "history")
    project.data(rows()[6:])
    project.compare()
    (run.path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"rows\.parquet: cannot be read .* delete the run's folder"):
        project.stage("changes")
    (run.path / "ladder.json").write_text("{")
    with pytest.raises(DataError, match=r"ladder\.json: cannot be read"):
        project.stage("changes")
    shutil.rmtree(run.path)
    project.stage("changes")
    assert project.changes()["previous"] is None


def test_another_formats_runs_are_left_out(project: Project) -> None:
    (run,) = history.runs("a", project.base / "history")
    entry = json.loads((run.path / "entry.json").read_text())
    (run.path / "entry.json").write_text(json.dumps(entry | {"format": "hierreport-run/99"}))
    assert kept(project) == []


SCRIPT = """
import sys, time
from pathlib import Path
from hierreport import history
from hierreport.history import keep
started = keep._fill
def slow(target, run, options):
    started(target, run, options)
    Path(sys.argv[3]).touch()
    time.sleep(float(sys.argv[2]))
keep._fill = slow
print(history.record(Path(sys.argv[1]), {"panel": "p.csv", "formula": "y ~ x + (1 | g)"}).name)
"""


def start(project: Project, seconds: float, mark: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(project.folder), str(seconds), str(mark)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(*marks: Path) -> None:
    import time

    for _ in range(600):
        if all(m.exists() for m in marks):
            return
        time.sleep(0.05)
    raise AssertionError("never started")


def test_two_processes_at_once_keep_one_whole_run(project: Project, tmp_path: Path) -> None:
    shutil.rmtree(project.base / "history")
    marks = [tmp_path / "one", tmp_path / "two"]
    processes = [start(project, 1.0, mark) for mark in marks]
    wait_for(*marks)  # both have written all their files, neither has renamed
    outputs = [p.communicate(timeout=60)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert len(set(outputs)) == 1
    assert os.listdir(project.base / "history" / "a") == kept(project) == [outputs[0].strip()]


def test_two_different_runs_at_once_are_both_kept(project: Project) -> None:
    other = Project(project.base / "other")
    other.data(rows()[12:])
    project.data(rows()[6:])
    shutil.copytree(project.base / "history", other.base / "history")
    found = [project.run(), other.run()]
    theirs = other.base / "history" / "a" / found[1]["run"]["run_id"]
    shutil.copytree(theirs, project.base / "history" / "a" / theirs.name)
    assert [r.number for r in history.runs("a", project.base / "history")] == [1, 2, 2]
    assert project.compare()["previous"]["run_id"] == theirs.name  # the newest that is not this very run
    project.data(rows())
    assert project.run()["run"]["number"] == 3


def test_killed_between_writing_and_renaming(project: Project, tmp_path: Path) -> None:
    shutil.rmtree(project.base / "history")
    process = start(project, 60, tmp_path / "written")
    wait_for(tmp_path / "written")
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = os.listdir(project.base / "history" / "a")
    assert len(left) == 1 and left[0].startswith(".new-")
    assert kept(project) == []
    target = history.record(project.folder, project.options)
    assert kept(project) == [target.name]
    assert of_folder(target).record == of_folder(project.folder).record
    abandoned = project.base / "history" / "a" / left[0]
    assert abandoned.exists()  # it may be another process at work
    os.utime(abandoned, (0, 0))
    history.record(project.folder, project.options)
    assert not abandoned.exists() and kept(project) == [target.name]


def test_a_failure_while_writing_leaves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project.base / "history")

    def full(path: Path, value: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keep, "_json", full)
    with pytest.raises(OSError, match="No space"):
        history.record(project.folder, project.options)
    assert os.listdir(project.base / "history" / "a") == []
