"""``hierreport diff``: runs by folder, id and number, as text and as JSON; and ``verify`` of the run compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from history_fixture import Project, rows

from hierreport import cli, history
from hierreport.history.checking import check_previous
from hierreport.provenance.checking import Outcome


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kept runs: six rows gone, one revised."""
    project = Project(tmp_path_factory.mktemp("two"))
    project.data(rows())
    project.run()
    table = [dict(r) for r in rows()[6:]]
    table[0]["z"] = 0.125
    project.data(table)
    project.run()
    return project.base


@pytest.fixture(autouse=True)
def here(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base)


def diff(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["diff", *arguments]) == 0
    return capsys.readouterr().out


def test_runs_are_found_by_number_id_and_folder(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = history.runs("a")
    text = diff(capsys, "1", "2")
    assert text == diff(capsys, first.run_id, second.run_id[:9]) == diff(capsys, "a/1", str(second.path))
    lines = text.splitlines()
    assert lines[0].startswith(f"before  {first.run_id}: 144 rows, ") and lines[0].endswith("Z")
    assert "6 rows were removed, 1 row was revised and 1 group of region/firm went" in text
    assert "-r0/f0" in text and "r0/f1/2000" in text and "0.125" in text
    to_results = diff(capsys, "1", "results/a").splitlines()
    assert to_results[1] == lines[1].split(", kept")[0]
    assert to_results[2:] == lines[2:]


def test_json_has_everything_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(diff(capsys, "1", "2", "--json"))
    kept = json.loads(Path("results/a/changes.json").read_text())
    assert found["before"]["run_id"] == kept["previous"]["run_id"]
    assert {k: found[k] for k in ("data", "fixed", "variance", "icc", "sentence")} == {
        k: kept[k] for k in ("data", "fixed", "variance", "icc", "sentence")
    }


def test_backwards_and_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert "6 rows were added" in diff(capsys, "2", "1")
    assert diff(capsys, "2", "2").endswith("Nothing differs.\n")


def test_refusals_say_what_there_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["diff", "1", "7"]) == 2
    error = capsys.readouterr().err
    assert "7: is neither a folder nor the id of a kept run. Kept runs: a/0001-" in error
    assert cli.main(["diff", "1", "000"]) == 2
    assert "several runs begin so" in capsys.readouterr().err
    assert cli.main(["diff", str(tmp_path), "1"]) == 2
    assert "is neither a kept run nor the results of one." in capsys.readouterr().err
    assert cli.main(["diff", "1", "2", "--history", "nowhere"]) == 2
    assert "There are no kept runs in nowhere." in capsys.readouterr().err


def test_verify_looks_at_the_run_compared_with(base: Path) -> None:
    folder, outcome = base / "results" / "a", Outcome()
    assert list(check_previous(folder, outcome)) == []
    assert len(outcome.checked) == 1 and outcome.notes == []
    path = history.runs("a")[0].path / "rows.parquet"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1])
        (fault,) = check_previous(folder, Outcome())
        assert fault[0].startswith("history/a/0001-") and "changed since" in fault[1]
        path.unlink()
        (fault,) = check_previous(folder, Outcome())
        assert "cannot be read" in fault[1]
    finally:
        path.write_bytes(content)
    moved = path.parent.rename(base / "elsewhere")
    outcome = Outcome()
    assert list(check_previous(folder, outcome)) == [] and "is not there" in outcome.notes[0]
    moved.rename(path.parent)
