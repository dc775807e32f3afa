"""Rows, groups and missing values of every reference case, as counted by R."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hierreport.errors import DataError
from hierreport.ingest import build_frame
from hierreport.source import open_source

HERE = Path(__file__).parent / "reference"
CASES = sorted(p.parent.name for p in HERE.glob("*/spec.json"))


def load(name: str) -> tuple[dict, dict]:
    folder = HERE / name
    spec = json.loads((folder / "spec.json").read_text())
    path = next(folder.glob("ref.json*"))
    content = path.read_bytes()
    return spec, json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def formula_of(spec: dict) -> str:
    terms = [f"C({c})" if c in spec["categorical"] else c for c in spec["fixed"]] or ["1"]
    slopes = " + ".join(["1", *spec["slopes"]])
    random = f" + ({slopes} | {'/'.join(spec['groups'])})" if spec["groups"] else ""
    return f"{spec['outcome']} ~ {' + '.join(terms)}{random}"


@pytest.mark.parametrize("name", CASES)
def test_rows_and_groups_are_those_of_r(name):
    spec, ref = load(name)
    data = next((HERE / name).glob("data.csv*"))
    if (spec["expect"] or {}).get("behaviour") == "error":
        with pytest.raises(DataError, match=r"1 group|groups of size 1"):
            build_frame(open_source(data), formula_of(spec), time=spec["time"])
        return
    frame = build_frame(open_source(data), formula_of(spec), time=spec["time"])
    info, facts = frame.info, ref["data"]
    rows = (info["rows_read"], info["n_obs"], info["rows_dropped"])
    assert rows == (facts["n_rows"], facts["n_used"], facts["n_rows"] - facts["n_used"])
    wanted = {c: n for c, n in facts.get("missing_by_column", {}).items() if n and c in info["missing"]}
    assert {c: n for c, n in info["missing"].items() if n} == wanted
    lost = facts.get("groups_lost_by_listwise_deletion", {}).get("/".join(spec["groups"])) or []
    assert info["groups_lost"] == sorted(map(str, lost))
    assert info["groups_lost_count"] == len(lost)
    for level, theirs in (facts["groups"] or {}).items():
        groups = info["structure"][level]
        assert groups["groups"] == theirs["n_groups"]
        assert groups["singletons"] == theirs["n_singletons"]
        sizes = groups["rows_per_group"]
        assert (sizes["min"], sizes["max"]) == (theirs["min"], theirs["max"])
        assert sizes["mean"] == pytest.approx(theirs["mean"], rel=1e-3)  # theirs is rounded
    codes = {w["code"] for w in info["warnings"]}
    assert ("duplicate_keys" in codes) == bool(info["duplicates"]["count"])
    if name == "p_dup_time":
        assert info["duplicates"]["count"] == 4
    if name == "p_two_groups":
        assert "few_groups" in codes
