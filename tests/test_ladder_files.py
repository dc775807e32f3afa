"""The files of an analysis: rungs, their random effects, ladder.json; and the second opinion over them."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest

import hierreport
from hierreport import rungs_io


@pytest.fixture(scope="module")
def folder(run_stages):
    return run_stages("uk_firms", until="verify")


@pytest.fixture(scope="module")
def ladder(folder):
    return json.loads((folder / "ladder.json").read_text())


def test_a_file_per_rung(folder, ladder):
    names = {p.name.removesuffix(".json") for p in (folder / "rungs").glob("*.json")}
    assert names == set(ladder["order"]) == set(ladder["rungs"])
    for name in names:
        record = json.loads((folder / "rungs" / f"{name}.json").read_text())
        assert record["rung"] == name
        assert record["ml"]["loglik"] == ladder["rungs"][name]["loglik_ml"]
        has_effects = (folder / "rungs" / f"{name}.effects.parquet").exists()
        assert has_effects == bool(record["reml"]["random"])
    assert not list(folder.glob(".rungs*"))


def test_the_register_names_everything(ladder):
    slopes = [s["rung"] for s in ladder["missed_slopes"]["tried"]]
    assert slopes == ["random_slope.ar1+slope[log(wage)]", "random_slope.ar1+slope[log(output)]"]
    assert [r["rung"] for r in ladder["register"] if "file" not in r] == ladder["order"] + slopes
    assert ladder["choice"]["rung"] in ladder["rungs"]


def test_what_later_stages_try_is_registered_before(run_stages):
    """Every analysis, refused ones too, has its entry; every entry its result."""
    folder = run_stages("uk_firms", until="diagnose")
    ladder, sensitivity, inference, checks = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("ladder", "sensitivity", "inference", "checks")
    )
    entries = {r["rung"]: r for r in ladder["register"]}
    assert len(entries) == len(ladder["register"])
    for analysis in sensitivity["analyses"]:
        entry = entries[analysis["register"]]
        on_ladder = analysis["name"].startswith(("rung:", "errors:"))
        assert ("file" not in entry) == on_ladder
        if on_ladder:
            assert analysis["loglik"] == entry["loglik"]
        else:
            assert (entry["file"], entry["name"]) == ("sensitivity.json", analysis["name"])
            assert (analysis["loglik"] is None) == (analysis["name"] == "robust")
    further = inference["further"]
    assert {"mundlak", "within_between", "within", "between", "swamy_arora", "random_effects"} <= set(further)
    assert {n for n in further if n.startswith("null:")} == {"null:pooled", "null:random_intercept", "null:multilevel"}
    assert all(f["register"] in entries and f["status"] == "done" for f in further.values())
    without = [n for n, f in further.items() if f["loglik"] is None]
    assert without == ["between", "swamy_arora", "first_differences"] and all(further[n]["note"] for n in without)
    # logLik() of R's lm() with a dummy per firm, and of lme4's lmer(REML = FALSE).
    for name, theirs in (
        ("within", 740.68685510666),
        ("mundlak", 335.93093686045),
        ("within_between", 335.93093686045),
        ("null:pooled", -1765.3261915922),
        ("null:random_intercept", -248.92379657928),
        ("null:multilevel", -248.92379657937),
    ):
        assert further[name]["loglik"] == pytest.approx(theirs, abs=1e-6)
    # What the ladder has already, it has once: with the same log-likelihood.
    assert further["random_effects"]["register"] == "random_intercept"
    assert further["random_effects"]["loglik"] == pytest.approx(entries["random_intercept"]["loglik"], abs=1e-6)
    later = {(r["file"], r["name"]) for r in ladder["register"] if "file" in r}
    tried = {("sensitivity.json", a["name"]) for a in sensitivity["analyses"]}
    tried |= {("inference.json", name) for name in further} | {("checks.json", c["name"]) for c in checks["checks"]}
    assert later <= tried
    (scale,) = (c for c in checks["checks"] if c["name"] == "transformation")
    assert scale["details"]["loglik"] >= entries[ladder["choice"]["rung"]]["loglik"]


def test_the_report_puts_register_and_results_together(run_stages):
    folder = run_stages("uk_firms", until="report")
    register = json.loads((folder / "ladder.json").read_text())["register"]
    analyses = {a["name"]: a for a in json.loads((folder / "sensitivity.json").read_text())["analyses"]}
    further = json.loads((folder / "inference.json").read_text())["further"]
    with (folder / "tables" / "register.csv").open(encoding="utf-8") as file:
        rows = {r["rung"]: r for r in csv.DictReader(file)}
    assert list(rows) == [r["rung"] for r in register]
    for name, analysis in analyses.items():
        row = rows[analysis["register"]]
        assert (float(row["loglik"]) if row["loglik"] else None) == analysis["loglik"]
        assert name.startswith(("rung:", "errors:")) or analysis["sentence"] in row["fate"]
    for found in further.values():
        assert found["loglik"] is None or float(rows[found["register"]]["loglik"]) == pytest.approx(found["loglik"])
    assert rows["inference:swamy_arora"]["fate"].endswith("Its variances are estimated by moments")


def test_effects_as_from_the_api(folder, example_data, ladder):
    formula = json.loads((folder / "rungs" / "multilevel.json").read_text())["formula"]
    assert formula.startswith("log(emp) ~ log(wage) + log(capital) + log(output) + C(year) + ")
    fit = hierreport.fit(example_data / "uk_firms.csv", formula)
    assert fit.ml.loglik == pytest.approx(ladder["rungs"]["multilevel"]["loglik_ml"], rel=1e-10)
    table = pq.read_table(folder / "rungs" / "multilevel.effects.parquet")
    assert table.column_names == ["level", "sector", "firm", "term", "estimate", "sd", "se_prediction"]
    stored, direct = table.to_pandas(), fit.effects()
    assert len(stored) == 9 + 2 * 140
    assert list(stored["level"].unique()) == ["sector", "sector/firm"]
    assert stored["firm"].isna().sum() == 9
    keys = ["level", "sector", "firm", "term"]
    merged = stored.merge(direct, on=keys, suffixes=("", "_api"))
    assert len(merged) == len(stored)
    for column in ("estimate", "sd", "se_prediction"):
        assert merged[column].to_numpy() == pytest.approx(merged[f"{column}_api"].to_numpy(), rel=1e-5, abs=1e-8)


def test_the_second_opinion_of_every_rung(folder, ladder):
    found = json.loads((folder / "verify.json").read_text())
    assert found["ok"]
    assert found["max_relative_difference"] < 1e-8
    assert {(e["rung"], e["kind"]) for e in found["rungs"]} == {(n, k) for n in ladder["order"] for k in ("ML", "REML")}
    methods = {e["rung"]: e["method"] for e in found["rungs"] if e["kind"] == "ML"}
    assert methods["random_slope"] == "statsmodels"
    assert methods["multilevel"] == "dense"
    assert {e["rows"] for e in found["rungs"]} == {1031}


def test_rungs_of_another_run_are_removed(folder, tmp_path):
    from hierreport import moments

    info = json.loads((folder / "panel.json").read_text())
    (tmp_path / "rungs").mkdir()
    (tmp_path / "rungs" / "old.json").write_text("{}")
    (tmp_path / "rungs" / "old.effects.parquet").write_text("")
    own = {"flat": "log(emp) ~ log(wage)", "firms": "log(emp) ~ log(wage) + (1 | sector:firm)"}
    panel = moments.PanelMoments(moments.read(folder).moments)
    rungs_io.write(tmp_path, rungs_io.run(panel, info, {"rungs": own}))
    assert sorted(p.name for p in (tmp_path / "rungs").iterdir()) == [
        "firms.effects.parquet",
        "firms.json",
        "flat.json",
    ]
    ladder = json.loads((tmp_path / "ladder.json").read_text())
    assert ladder["choice"]["rung"] == "firms"
    assert ladder["rungs"]["flat"]["formula"] == "log(emp) ~ log(wage)"


def test_the_same_bytes_twice(folder, tmp_path):
    from hierreport import moments

    info = json.loads((folder / "panel.json").read_text())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        panel = moments.PanelMoments(moments.read(folder).moments)
        rungs_io.write(tmp_path / name, rungs_io.run(panel, info))
    first = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(first) > 8
    for path in first:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
