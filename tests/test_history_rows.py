"""Which rows came, went or were revised, by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from history_fixture import Project, Row, rows

from hierreport.history import rows as rows_of


def changed(base: Path, first: list[Row], second: list[Row], **options: Any) -> dict[str, Any]:
    project = Project(base, **options)
    project.data(first)
    project.run()
    project.data(second)
    found: dict[str, Any] = project.compare()["data"]
    return found


def test_rows_groups_and_values_are_named(tmp_path: Path) -> None:
    first = rows()
    second = [dict(r) for r in first if not (r["region"] == "r3" or (r["firm"] == "f1" and r["year"] == 2005))]
    second.append({"region": "r0", "firm": "f0", "year": 2006, "x": 0.0, "z": 1.0, "y": 2.0})
    second.append({"region": "r9", "firm": "f0", "year": 2001, "x": 0.5, "z": 1.0, "y": 1.0})
    second[7]["x"] = 99.5
    second.reverse()  # the file's order is no change
    found = changed(tmp_path, first, second)
    assert found["rows"] == {"before": 144, "now": 107, "added": 2, "removed": 39, "revised": 1}
    assert found["revised"] == {
        "values": 1,
        "by_column": {"x": 1},
        "examples": [
            {"column": "x", "key": {"region": "r0", "firm": "f1", "year": "2001"}, "old": first[7]["x"], "new": 99.5}
        ],
    }
    region, firm = found["groups"]["region"], found["groups"]["region/firm"]
    assert (region["came"], region["went"], region["before"], region["now"]) == (["r9"], ["r3"], 4, 4)
    assert firm["came"] == ["r9/f0"] and firm["went_count"] == 6 and firm["went"][0] == "r3/f0"
    assert found["added"] == [
        {"region": "r0", "firm": "f0", "year": "2006"},
        {"region": "r9", "firm": "f0", "year": "2001"},
    ]
    assert len(found["removed"]) == 20  # named up to a limit, counted beyond


def test_without_time_rows_of_a_group_are_matched_by_value_first(tmp_path: Path) -> None:
    first = rows()
    second = [dict(r) for r in first]
    second[3]["y"] = 7.0
    second.insert(0, dict(first[0], y=-3.0))  # shifts every later row of its group
    found = changed(tmp_path, first, second, time=None)
    assert found["rows"] == {"before": 144, "now": 145, "added": 1, "removed": 0, "revised": 1}


def test_rows_with_one_key_are_numbered(tmp_path: Path) -> None:
    first = rows()
    first.append(dict(first[0], y=5.0))
    second = [dict(r) for r in first]
    second[-1]["y"] = 6.0
    found = changed(tmp_path, first, second)
    assert found["rows"] == {"before": 145, "now": 145, "added": 0, "removed": 0, "revised": 1}
    (one,) = found["revised"]["examples"]
    assert (one["old"], one["new"], one["key"]["year"]) == (5.0, 6.0, "2000")


def test_another_formula_shows_its_columns(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.data(rows())
    project.run()
    project.options["formula"] = "y ~ x + exp(z) + (1 | region/firm)"
    found = project.compare()
    assert found["data"]["columns"] == {"came": ["exp(z)"], "went": ["z"]}
    assert found["data"]["rows"]["revised"] == 0 and found["causes"]["data"]["changed"] is False
    assert [w["name"] for w in found["causes"]["config"]["what"]] == ["formula"]


def test_another_key_is_not_matched(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.data(rows())
    project.run()
    project.options["formula"] = "y ~ x + z + (1 | region)"
    found = project.compare()["data"]
    assert found["rows"] == {"before": 144, "now": 144, "added": None, "removed": None, "revised": None}
    assert found["note"].startswith("Rows are not matched: their key was region / firm / year and is region / year.")


def test_large_panels_keep_a_hash_per_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    assert inspect.signature(rows_of.write_rows).parameters["cells"].default == rows_of.CELLS
    monkeypatch.setattr(rows_of.write_rows, "__defaults__", (100,))
    first = rows()
    second = [dict(r) for r in first[1:]]
    second[4]["z"] = 1.5
    found = changed(tmp_path, first, second)
    assert found["rows"] == {"before": 144, "now": 143, "added": 0, "removed": 1, "revised": 1}
    assert found["revised"]["values"] is None
    assert found["revised"]["examples"][0]["key"] == {"region": "r0", "firm": "f0", "year": "2005"}
    assert "hash per row" in found["note"]


def test_large_panels_of_other_columns_are_matched_by_key_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_of.write_rows, "__defaults__", (100,))
    project = Project(tmp_path)
    project.data(rows())
    project.run()
    project.options["formula"] = "y ~ x + (1 | region/firm)"
    project.data(rows()[2:])
    found = project.compare()
    assert found["data"]["rows"] == {"before": 144, "now": 142, "added": 0, "removed": 2, "revised": None}
    assert found["data"]["columns"] == {"came": [], "went": ["z"]}
    assert [s["cause"] for s in found["steps"]] == ["config", "data"]  # from the moments that were kept
