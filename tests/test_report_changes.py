"""The section "Since last time": what it says, that its numbers stand where it says, and that it is absent at first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from history_fixture import Project, rows
from report_fixtures import write_artifacts

from hierreport.provenance.page import Addresses, numbers
from hierreport.report.stage import build


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a second run, with rows added, one revised, a group gone."""
    project = Project(tmp_path_factory.mktemp("second"))
    project.data(r for r in rows(firms=12) if r["year"] < 2005)
    project.run()
    table = [dict(r) for r in rows(firms=12) if (r["region"], r["firm"]) != ("r1", "f3")]
    table[4]["x"] += 1.0
    project.data(table)
    project.compare()
    project.stage("report")
    return project.folder


def section(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())["sections"]["changes"]
    return found


def test_it_says_what_changed(second: Path) -> None:
    findings = [f["text"] for f in section(second)["findings"]]
    assert findings[0].startswith("47 rows were added, 5 rows were removed, 1 row was revised and 1 firm went; ")
    assert findings[1] == "Compared with run 1, this run differs in data (files: panel.csv)."
    verdict = json.loads((second / "summary.json").read_text())["verdict"]["changes"]
    assert verdict[0]["text"].startswith("Since the last run: 47 rows were added")
    assert "Since the last run: 47 rows" in (second / "summary.md").read_text()
    page = (second / "report.html").read_text()
    assert page.index("Since the last run") < page.index('class="lead"')


def test_its_tables_hold_what_changes_json_holds(second: Path) -> None:
    changes = json.loads((second / "changes.json").read_text())
    table = (second / "tables" / "since_estimates.csv").read_text().splitlines()
    lines = {line.split(",")[0]: line.split(",") for line in table}
    for entry in changes["fixed"][1:]:
        got = lines[entry["term"]]
        assert [float(v) for v in got[1:4]] == [entry[k] for k in ("before", "now", "change")]
    revised = (second / "tables" / "since_revised.csv").read_text()
    assert "r0 / f0 / 2004,x," in revised
    assert ",went: r1/f3" in (second / "tables" / "since_rows.csv").read_text()


def test_every_number_of_it_stands_at_its_address(second: Path) -> None:
    found = list(numbers(second / "report.html"))
    assert sum("changes.json#" in str(n) or "sections/changes" in str(n) for n in found) > 20
    addresses = Addresses(second)
    assert [fault for fault in map(addresses.fault, found) if fault] == []


def test_there_is_no_section_at_the_first_run(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.data(rows())
    project.compare()
    project.stage("report")
    summary = json.loads((project.folder / "summary.json").read_text())
    assert "changes" not in summary["sections"] and summary["verdict"]["changes"] == []
    assert "Since last time" not in (project.folder / "report.html").read_text()
    assert not list((project.folder / "figures").glob("trend*"))


def test_a_run_that_differs_in_code_alone_is_said_so(tmp_path: Path) -> None:
    folder = write_artifacts(tmp_path / "demo")
    changes = json.loads((folder / "changes.json").read_text())
    changes |= {"identical": True}
    changes["causes"]["data"] = {"changed": False, "what": []}
    (folder / "changes.json").write_text(json.dumps(changes))
    _, summary = build(folder, {})
    text = summary.plain["verdict"]["changes"][0]["text"]
    assert text == "Since the last run: nothing that was computed differs, although code changed."


def test_many_runs_are_drawn_as_a_band(tmp_path: Path) -> None:
    folder = write_artifacts(tmp_path / "demo")
    changes = json.loads((folder / "changes.json").read_text())
    changes["trend"] = [{**changes["trend"][-1], "number": k} for k in range(1, 101)]
    (folder / "changes.json").write_text(json.dumps(changes))
    _, summary = build(folder, {})
    content = next(c for s, c in summary.contents if s.name == "changes")
    svg = content.pictures[0].draw(760.0)
    assert any('class="ft"' in part for part in svg.parts) and not any("<circle" in part for part in svg.parts)
    assert "one rung was chosen in all" in content.pictures[0].alt
