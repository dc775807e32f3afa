"""Changes of estimates, choice and checks, and what each is put down to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from history_fixture import Project, rows

from hierreport import history
from hierreport.history import identity


def entry(found: dict[str, Any], term: str) -> dict[str, Any]:
    return next(f for f in found["fixed"] if f["term"] == term)


def estimates(project: Project) -> dict[str, float]:
    """Fixed effects of the chosen rung as the stage fit wrote them."""
    ladder = json.loads((project.folder / "ladder.json").read_text())
    rung = json.loads((project.folder / "rungs" / f"{ladder['choice']['rung']}.json").read_text())
    return {f["term"]: f["estimate"] for f in rung["reml"]["fixed"]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "one")
    made.data(rows(firms=12))
    made.run()
    return made


def later() -> list[dict[str, Any]]:
    """The same rows, a few of them gone and one revised."""
    found = [dict(r) for r in rows(firms=12)][:-7]
    found[10]["y"] += 3.0
    return found


def test_data_alone(project: Project) -> None:
    before = estimates(project)
    project.data(later())
    found = project.compare()
    after = estimates(project)
    for term in ("x", "z"):
        one = entry(found, term)
        assert (one["before"], one["now"]) == (before[term], after[term])
        assert one["change"] == pytest.approx(after[term] - before[term], abs=1e-15)
        assert one["parts"] == {"data": pytest.approx(one["change"])} and one["attributed_to"] == "data"
    assert [c for c, cause in found["causes"].items() if cause["changed"]] == ["data"]
    assert found["choice"]["changed"] is False and not found["identical"]
    assert {v["what"] for v in found["variance"]} == {"sd", "sigma"} and found["icc"][0]["change"] != 0


def test_data_and_formula_are_divided_by_refitting(project: Project, tmp_path: Path) -> None:
    start = estimates(project)
    between = Project(tmp_path / "between")  # the old formula on the new data, by an analysis of its own
    between.data(later())
    between.compare()
    middle = estimates(between)
    project.data(later())
    project.options["formula"] = "y ~ x + z + exp(z) + (1 | region/firm)"
    found = project.compare()
    end = estimates(project)
    assert [s["cause"] for s in found["steps"]] == ["data", "config"]
    parts = entry(found, "x")["parts"]
    assert parts == {
        "data": pytest.approx(middle["x"] - start["x"], abs=1e-6),
        "config": pytest.approx(end["x"] - middle["x"], abs=1e-6),
    }
    assert entry(found, "x")["attributed_to"] in ("data, config", "config, data")
    came = entry(found, "exp(z)")
    assert (came["before"], came["change"], came["parts"], came["attributed_to"]) == (None, None, None, "config")


def test_data_and_formula_divided_the_other_way_round(project: Project, tmp_path: Path) -> None:
    start = estimates(project)
    project.data([{k: v for k, v in r.items() if k != "z"} for r in later()])  # the old formula cannot be fitted now
    project.options["formula"] = "y ~ x + (1 | region/firm)"
    found = project.compare()
    end = estimates(project)
    between = Project(tmp_path / "between", formula="y ~ x + (1 | region/firm)")
    between.data(rows(firms=12))
    between.compare()
    middle = estimates(between)
    assert [s["cause"] for s in found["steps"]] == ["config", "data"]
    assert entry(found, "x")["parts"] == {
        "config": pytest.approx(middle["x"] - start["x"], abs=1e-6),
        "data": pytest.approx(end["x"] - middle["x"], abs=1e-6),
    }


def test_no_model_fits_both_is_said(project: Project) -> None:
    project.data([{**{k: v for k, v in r.items() if k != "z"}, "w": r["z"]} for r in later()])
    project.options["formula"] = "y ~ x + w + (1 | region/firm)"
    found = project.compare()
    assert found["steps"] == [{"cause": "data or config", "what": "not divided"}]
    assert found["noise"]["not_available"] == "neither model can be fitted to the other run's rows."
    assert entry(found, "x")["attributed_to"] == "data or config"


def test_what_other_code_computed_is_told_apart_from_the_data(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = history.runs("a", project.base / "history")
    path = kept.path / "rungs" / f"{kept.chosen}.json"
    record = json.loads(path.read_text())
    at = next(f for f in record["reml"]["fixed"] if f["term"] == "x")
    right, at["estimate"] = at["estimate"], at["estimate"] + 0.25  # as a fault since mended would have left it
    path.write_text(json.dumps(record))
    monkeypatch.setattr(identity, "stage_digests", lambda stages: dict.fromkeys(stages, "0") | {"fit": "mended"})
    project.data(later())
    found = project.compare()
    parts = entry(found, "x")["parts"]
    assert parts["code"] == pytest.approx(-0.25, abs=1e-6)
    assert next(v for k, v in parts.items() if k != "code") == pytest.approx(entry(found, "x")["now"] - right, abs=1e-6)
    assert sum(parts.values()) == pytest.approx(entry(found, "x")["change"])
    assert entry(found, "z")["parts"].get("code", 0.0) == pytest.approx(0.0, abs=1e-6)


def test_another_choice_on_other_data(tmp_path: Path) -> None:
    project = Project(tmp_path)
    table = rows(firms=12)
    for k, row in enumerate(table):
        row["y"] = 1.0 + 0.5 * row["x"] - 0.2 * row["z"] + ((k * 7919) % 101 - 50) / 40
    project.data(table)
    assert project.run()["previous"] is None
    first = json.loads((project.folder / "ladder.json").read_text())["choice"]["rung"]
    project.data(rows(firms=12))
    found = project.compare()
    assert first == found["choice"]["before"] == "pooled" != found["choice"]["now"]
    assert found["choice"]["changed"] and found["choice"]["attributed_to"] == "data"
    assert [s["cause"] for s in found["steps"]] == ["data", "choice"]
    assert found["choice"]["now"] in found["sentence"]
    assert sum(entry(found, "x")["parts"].values()) == pytest.approx(entry(found, "x")["change"])


def test_checks_that_turned_are_named(project: Project) -> None:
    before = json.loads((project.folder / "checks.json").read_text())
    table = later()
    table[20]["y"] += 500.0
    project.data(table)
    found = project.compare()["checks"]
    after = json.loads((project.folder / "checks.json").read_text())
    status = [{c["name"]: c["status"] for c in checks["checks"]} for checks in (before, after)]
    turned = {n for n in status[0] if status[0][n] != status[1].get(n)}
    assert turned and {c["name"] for c in found} == turned
    for one in found:
        assert (one["before"], one["now"]) == (status[0][one["name"]], status[1][one["name"]])
        assert one["attributed_to"] == "data"


def test_new_periods_of_a_factor_are_the_same_model(tmp_path: Path) -> None:
    project = Project(tmp_path, formula="y ~ x + z + C(year) + (1 | firm)", errors="iid")
    table = [{**r, "firm": r["region"] + r["firm"]} for r in rows(firms=12)]
    project.data([r for r in table if r["year"] < 2005])
    project.run()
    project.data(table)
    found = project.compare()
    assert [s["cause"] for s in found["steps"]] == ["data"]
    assert entry(found, "year[2005]")["before"] is None and entry(found, "year[2004]")["change"] is not None
    assert all(entry(found, t)["p"] is not None for t in ("x", "z", "year[2004]"))
    project.run()
    project.data([r for r in table if r["year"] > 2000])  # another reference year: dummies mean something else
    found = project.compare()
    assert entry(found, "year[2004]")["p"] is None and entry(found, "x")["p"] is not None
