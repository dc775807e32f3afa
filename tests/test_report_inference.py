"""inference.json on the page: what each block says of numbers whose answer is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import write_artifacts

from hierreport.report import render
from hierreport.report.stage import build

TABLES = {
    "intervals",
    "df_methods",
    "robust",
    "robust_pooled",
    "fixed_or_random",
    "panel_tests",
    "simulated_tests",
    "criteria",
    "missed_slopes",
    "variance_intervals",
}


def blocks(directory: Path) -> dict[str, str]:
    """Findings by block, as plain text."""
    _, summary = build(directory, {})
    return {
        b["name"]: " ".join(f["text"] for f in b["findings"]).replace("\u202f", " ").replace("\u00a0", " ")
        for s in summary.plain["sections"].values()
        for b in s.get("blocks", [])
    }


def edit(directory: Path, change: Any) -> None:
    file = directory / "inference.json"
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    return write_artifacts(tmp_path / "demo", inference=True)


@pytest.fixture
def drifting(tmp_path: Path) -> Path:
    return write_artifacts(tmp_path / "demo", ar1=True, inference=0.97)


def test_every_part_is_shown_with_its_full_values(panel):
    render(panel, {})
    names = {f.stem for f in (panel / "tables").glob("*.csv")}
    assert names >= TABLES and "first_differences" not in names
    source = json.loads((panel / "inference.json").read_text())
    rows = list(csv.DictReader((panel / "tables" / "intervals.csv").open(encoding="utf-8")))
    wage = next(q for q in source["intervals"]["random_slope"]["quantities"] if q["terms"] == ["log(wage)"])
    (row,) = (r for r in rows if r["quantity"] == "log(wage)")
    for method in ("wald", "profile", "bootstrap"):
        assert float(row[f"{method}_low"]) == wage[method]["low"]
        assert float(row[f"{method}_high"]) == wage[method]["high"]
    tests = list(csv.DictReader((panel / "tables" / "simulated_tests.csv").open(encoding="utf-8")))
    assert [float(t["p_bootstrap"]) for t in tests] == [t["p_bootstrap"] for t in source["tests"]]
    assert '<h3 id="robust">' in (panel / "report.html").read_text(encoding="utf-8")


def test_without_the_file_nothing_is_said_and_nothing_breaks(tmp_path):
    directory = write_artifacts(tmp_path / "demo")
    assert blocks(directory) == {}
    render(directory, {})
    assert not TABLES & {f.stem for f in (directory / "tables").glob("*.csv")}


def test_results_of_another_choice_are_not_shown(panel):
    edit(panel, lambda v: v.update(rung="multilevel"))
    assert blocks(panel) == {}


def test_intervals_agree_or_differ(panel):
    # the fixture's upper ends lie 0.2 standard errors out: 5 % of a width of four
    assert "intervals of the effects agree: no end moves by more than 5.0 % of" in blocks(panel)["intervals"]

    def move(value: dict[str, Any]) -> None:
        for q in value["intervals"]["random_slope"]["quantities"]:
            if q["terms"] == ["log(wage)"]:
                q["bootstrap"]["low"] = q["wald"]["low"] - 0.5 * (q["wald"]["high"] - q["wald"]["low"])

    edit(panel, move)
    text = blocks(panel)["intervals"]
    assert "the bootstrap interval of log(wage) has an end that lies 50 % of the width away from Wald's" in text


def test_reasons_stand_where_a_part_is_missing(drifting):
    render(drifting, {})
    page = (drifting / "report.html").read_text(encoding="utf-8")
    assert "The bootstrap cannot simulate serially correlated errors." in page

    def drop(value: dict[str, Any]) -> None:
        value["fixed_or_random"] = {"status": "not available", "reason": "The panel has no groups."}
        value["criteria"] = {"status": "not available", "reason": "too slow here"}
        value["tests"] = [{"null": "a", "alternative": "b", "status": "off", "reason": "Switched off."}]

    edit(drifting, drop)
    found = blocks(drifting)
    assert found["fixed_or_random"] == "The panel has no groups."
    assert found["criteria"] == "Too slow here." and found["simulated_tests"] == "Switched off."


def test_robust_errors_that_change_a_decision_limit_the_conclusion(panel):
    text = blocks(panel)["robust"]  # p 0.0004 by the model, 0.2 by CR2; standard errors 1.8 times as large
    assert "within a firm (5 firms) are up to 1.8 times the model's (log(capital))" in text
    assert "with them log(wage) and log(capital) are no longer significant at 5 %" in text
    _, summary = build(panel, {})
    assert any("1.8" in s["text"] for s in summary.plain["verdict"]["limits"])

    def same(value: dict[str, Any]) -> None:
        for entry in value["robust"]:
            for f in entry["fixed"]:
                f["p"] = 0.001

    edit(panel, same)
    _, summary = build(panel, {})
    assert not any("1.8" in s["text"] for s in summary.plain["verdict"]["limits"])


def test_degrees_of_freedom_that_decide_are_named(panel):
    assert "No effect gains or loses significance" in blocks(panel)["df_methods"]

    def change(value: dict[str, Any]) -> None:
        entry = next(e for e in value["df_methods"] if e["method"] == "kenward-roger")
        next(f for f in entry["fixed"] if f["term"] == "log(wage)")["p"] = 0.07

    edit(panel, change)
    assert blocks(panel)["df_methods"] == (
        "Whether log(wage) is significant at 5 % depends on the method for the degrees of freedom."
    )


def test_simulated_tests_that_disagree_are_named(panel):
    assert "decide at 5 % as the corrected tests do" in blocks(panel)["simulated_tests"]
    edit(panel, lambda v: v["tests"][1].update(p_boundary=0.03, p_bootstrap=0.08))
    text = blocks(panel)["simulated_tests"]
    assert "disagrees with the corrected test of multilevel against random_slope: p = 0.080 where" in text


def test_first_differences_tell_the_story(drifting):
    text = blocks(drifting)["first_differences"]
    assert "With a correlation of 0.970 from one year to the next the errors are nearly a random walk" in text
    assert "the coefficient of log(wage) is 0.010 (95 % interval −0.030 to 0.050), not −0." in text
    assert "Whether log(wage) matters at all therefore depends on how the errors are modelled" in text
    assert "log(capital)" not in text
    rows = {r["term"]: r for r in csv.DictReader(_written(drifting).open(encoding="utf-8"))}
    assert rows["log(wage)"]["inside"] == "no" and rows["log(capital)"]["inside"] == "yes"


def test_dummies_of_a_period_stay_in_the_files(panel):
    render(panel, {})
    page = (panel / "report.html").read_text(encoding="utf-8")
    for name in ("intervals", "df_methods", "robust"):
        table = page.split(f'<table data-name="{name}"')[1].split("</table>")[0]
        rows = list(csv.DictReader((panel / "tables" / f"{name}.csv").open(encoding="utf-8")))
        assert "log(wage)" in table and "year[" not in table and "year 1" not in table
        assert any("1979" in next(iter(r.values())) for r in rows)


def _written(directory: Path) -> Path:
    render(directory, {})
    return directory / "tables" / "first_differences.csv"


def test_first_differences_that_agree_say_so(drifting):
    def change(value: dict[str, Any]) -> None:
        f = next(f for f in value["first_differences"]["fixed"] if f["term"] == "log(wage)")
        f.update(ci_low=-9.0, ci_high=9.0)

    edit(drifting, change)
    assert "every effect stays within its 95 % interval" in blocks(drifting)["first_differences"]


def test_absorbed_effects_are_compared_with_the_chosen_rung(panel):
    assert "absorbed" not in blocks(panel)

    def absorb(value: dict[str, Any]) -> None:
        ends = {"log(wage)": (-0.9, 0.1), "log(capital)": (-9.0, 9.0)}
        known = json.loads((panel / "rungs" / "random_slope.json").read_text())["reml"]["fixed"]
        fixed = [f for f in known if f["term"] in ends]
        for f in fixed:
            f["ci_low"], f["ci_high"] = ends[f["term"]]
        fixed[0].update(estimate=-0.4, ci_low=0.02, ci_high=0.06)
        value["absorbed"] = {
            "status": "done",
            "reason": "",
            "absorbed": ["sector/firm", "year"],
            "n_obs": 200,
            "clusters": {"sector/firm": 30},
            "fixed": fixed,
            "dropped": ["year[1979]", "founded"],
            "notes": ["With 30 clusters the clustered errors are usually too small."],
        }

    edit(panel, absorb)
    text = blocks(panel)["absorbed"]
    assert text.startswith("With a fixed effect for every firm and year the coefficient of log(wage) is −0.400 (95 %")
    render(panel, {})
    rows = {r["term"]: r for r in csv.DictReader((panel / "tables" / "absorbed.csv").open(encoding="utf-8"))}
    assert rows["log(wage)"]["inside"] == "no" and rows["log(capital)"]["inside"] == "yes"
    page = (panel / "report.html").read_text(encoding="utf-8")
    assert "and left out: founded." in page and "30 clusters the clustered errors" in page
    edit(panel, lambda v: v.update(absorbed={"status": "not available", "reason": "too wide"}))
    assert blocks(panel)["absorbed"] == "Too wide."


def test_what_independent_errors_would_have_called_for(tmp_path):
    directory = write_artifacts(tmp_path / "demo", ar1=True, chosen="pooled")
    ladder = json.loads((directory / "ladder.json").read_text())
    for null, alternative, p in (
        ("pooled", "random_intercept", 1e-9),
        ("random_intercept", "random_slope", 1e-9),
        ("random_slope", "multilevel", 0.4),
    ):
        ladder["comparisons"].append(
            {"null": null, "alternative": alternative, "statistic": 1.0, "df": 1, "p_naive": p, "p_boundary": p}
        )
    (directory / "ladder.json").write_text(json.dumps(ladder))
    _, summary = build(directory, {})
    text = " ".join(s["text"] for s in summary.plain["verdict"]["choice"])
    assert "With independent errors the same tests would have called for random_slope" in text
    assert "lasting differences between firms is, in these data, errors that fade slowly" in text


def test_missed_slopes_limit_the_conclusion(panel):
    assert not any("formula does not allow" in s["text"] for s in build(panel, {})[1].plain["verdict"]["limits"])
    edit(panel, lambda v: v["missed_slopes"]["tried"][0].update(asked=True, p_holm=0.012))
    limits = [s["text"].replace("\u00a0", " ") for s in build(panel, {})[1].plain["verdict"]["limits"]]
    said = "The data also ask for a slope per firm of log(wage) (p = 0.012), which the formula does not allow"
    assert any(text.startswith(said) for text in limits)
