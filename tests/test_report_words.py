"""The verdict's sentences against panels whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import write_artifacts

from hierreport.report.artifacts import load
from hierreport.report.context import Context
from hierreport.report.effects import effect_of, involved, main_terms, sentence
from hierreport.report.names import Names, plural
from hierreport.report.stage import build


def edit(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def plain(text: str) -> str:
    return text.replace("\u202f", " ").replace("\u00a0", " ")


def text_of(directory: Path, **options: Any) -> dict[str, str]:
    """The verdict's parts as plain text."""
    _, summary = build(directory, options)
    return {k: plain(" ".join(s["text"] for s in v)) for k, v in summary.plain["verdict"].items()}


def set_effect(directory: Path, term: str, estimate: float, se: float) -> None:
    """Give a term the same estimate in every rung, with a normal interval."""

    def change(rung: dict[str, Any]) -> None:
        for kind in ("ml", "reml"):
            for f in rung[kind]["fixed"]:
                if f["term"] == term:
                    f |= {
                        "estimate": estimate,
                        "se": se,
                        "ci_low": estimate - 1.96 * se,
                        "ci_high": estimate + 1.96 * se,
                    }

    for file in (directory / "rungs").glob("*.json"):
        edit(file, change)


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    return write_artifacts(tmp_path / "demo")


def test_log_log_effect_is_read_for_ten_per_cent(panel):
    # 1.1 ** -0.2938 - 1 = -2.762 %; the ends: 1.1 ** -0.4154 and 1.1 ** -0.1722
    set_effect(panel, "log(wage)", -0.2938, 0.062)
    context = Context(load(panel), {"labels": {"emp": "employment"}})
    effect = effect_of(context, "log(wage)")
    assert effect is not None
    assert effect.value == pytest.approx(100 * (1.1**-0.2938 - 1), rel=1e-12)
    assert plain(sentence(context, effect).text) == (
        "A 10 % increase in wage goes with 2.8 % lower employment (95 % interval −3.9 % to −1.6 %)."
    )


def test_an_interval_with_zero_says_so(panel):
    set_effect(panel, "log(wage)", -0.02, 0.062)
    context = Context(load(panel), {})
    text = plain(sentence(context, effect_of(context, "log(wage)")).text)  # type: ignore[arg-type]
    assert (
        text
        == "A 10 % increase in wage goes with 0.2 % lower emp, but the 95 % interval, −1.3 % to 1.0 %, includes no "
        "difference."
    )


def test_plain_outcome_and_predictor_use_units(panel):
    def change(value: dict[str, Any]) -> None:
        value["outcome"]["name"] = "emp"
        value["variables"].append({"name": "unemp", "mean": 6.0, "sd": 2.0, "min": 1.0, "max": 12.0})

    edit(panel / "panel.json", change)
    for file in (panel / "rungs").glob("*.json"):
        edit(
            file,
            lambda r: [
                r[k]["fixed"][1].update(term="unemp", estimate=-1.5, se=0.5, ci_low=-2.5, ci_high=-0.5)
                for k in ("ml", "reml")
            ],
        )
    context = Context(
        load(panel), {"units": {"emp": "thousand jobs", "unemp": "percentage point"}, "labels": {"emp": "employment"}}
    )
    text = plain(sentence(context, effect_of(context, "unemp")).text)  # type: ignore[arg-type]
    assert text == (
        "An increase of 1 percentage point in unemp goes with employment lower by 1.5 thousand jobs (95 % interval "
        "−2.5 to −0.5)."
    )


def test_terms_in_interactions_are_not_read_alone(panel):
    for file in (panel / "rungs").glob("*.json"):
        edit(file, lambda r: [r[k]["fixed"][3].update(term="log(wage):log(capital)") for k in ("ml", "reml")])
    context = Context(load(panel), {})
    assert involved(context) == {"log(wage)", "log(capital)"}
    assert main_terms(context) == []
    findings = plain(" ".join(s["text"] for s in build(panel, {})[1].plain["sections"]["effects"]["findings"]))
    assert "cannot be read alone" in findings


def test_true_random_slope(panel):
    text = text_of(panel)
    assert text["choice"].startswith(
        "The data call for a baseline and a slope of log(capital) per firm: rung random_slope."
    )
    asked = "tests ask for a baseline per firm (p < 0.001); for a slope of log(capital) per firm (p < 0.001); not for "
    assert asked + "a baseline per sector (p = 0.26)." in text["choice"]
    assert "The slope of log(capital) differs between firms" in text["variance"]


def test_no_group_effect_at_all(tmp_path):
    text = text_of(write_artifacts(tmp_path / "none", chosen="pooled"))
    assert text["choice"].startswith("The data call for one baseline and one set of slopes for all: rung pooled.")
    assert "tests do not ask for a baseline per firm (p = 0.26)" in text["choice"]
    assert text["variance"] == (
        "The chosen rung has no group levels: all of the variance that the predictors leave lies between rows."
    )


def test_singular_level(tmp_path):
    text = text_of(write_artifacts(tmp_path / "singular", chosen="multilevel", singular=True))
    assert "is singular: the variance of the baselines of sectors is estimated as zero." in text["limits"]


def test_richer_rung_that_is_singular_is_named(tmp_path):
    directory = write_artifacts(tmp_path / "richer", singular=True)
    edit(directory / "ladder.json", lambda v: v["choice"]["path"][-1].update(p=1e-6))
    edit(directory / "rungs" / "multilevel.json", lambda v: v["ml"].update(loglik=400.0, singular=True))
    text = text_of(directory)
    assert "Rung multilevel" in text["choice"] and "fits better, by 17.2 in log-likelihood" in text["choice"]
    assert "is singular" in text["choice"]


def test_confounded_predictor(panel):
    meaning = "The predictors act differently within firms and between them (p < 0.001)."
    check = {
        "name": "within_between",
        "title": "Unrelated",
        "status": "problem",
        "meaning": meaning,
        "action": "Add means.",
    }
    edit(panel / "checks.json", lambda v: v["checks"].append(check))
    assert meaning in text_of(panel)["limits"]


def test_heavy_tails(panel):
    assert "The residuals have heavy tails." in text_of(panel)["limits"]


def test_serial_correlation_of_independent_errors_limits_the_conclusion(panel):
    edit(panel / "residuals.json", lambda v: v["lag1"].update(r=0.5, pairs=891, expected_under_independence=-0.14))
    text = text_of(panel)["limits"]
    assert "correlate by 0.50 (−0.14 would be expected of independent errors; 891 pairs)" in text
    assert "The errors are not independent" in text


def test_serial_correlation_within_chance_is_no_limit(panel):
    edit(panel / "residuals.json", lambda v: v["lag1"].update(r=-0.12, pairs=891, expected_under_independence=-0.14))
    assert "independent" not in text_of(panel)["limits"]


def test_ar1_errors_are_said_in_words(tmp_path):
    directory = write_artifacts(tmp_path / "ar1", ar1=True)
    text = text_of(directory)
    assert (
        "with errors that carry over from one year to the next (correlation 0.600): rung random_slope.ar1"
        in text["choice"]
    )
    assert "tests ask for correlated errors (p < 0.001); for a baseline per firm" in text["choice"]
    assert "in errors that carry over from year to year" in text["variance"]
    assert "not independent" not in text["limits"]


def test_correlation_near_one_is_a_limit(tmp_path):
    directory = write_artifacts(tmp_path / "near", ar1=True)
    edit(directory / "rungs" / "random_slope.ar1.json", lambda v: v["reml"].update(rho=0.985))
    assert "0.985, is close to 1" in text_of(directory)["limits"]


def test_a_disagreeing_second_opinion_stands_first(panel):
    def change(value: dict[str, Any]) -> None:
        value["ok"] = False
        value["rungs"][2] |= {"ok": False, "theirs": 381.0, "relative_difference": 4.7e-3}

    edit(panel / "verify.json", change)
    _, summary = build(panel, {})
    alert = plain(summary.plain["verdict"]["alerts"][0]["text"])
    assert alert.startswith("The second opinion disagrees on rung random_slope: log-likelihood 382.8")
    assert plain(summary.plain["text"]).startswith(alert)


def test_a_fit_that_did_not_converge_stands_first(panel):
    edit(panel / "rungs" / "random_slope.json", lambda v: v["reml"].update(converged=False))
    assert "did not converge" in text_of(panel)["alerts"]


def test_few_groups_and_dropped_rows_are_limits(tmp_path):
    text = text_of(write_artifacts(tmp_path / "five", firms=5, sectors=2))
    assert "There are only 5 firms" in text["limits"]
    assert "rows (17 %) were left out" in text["limits"]


def test_refused_specifications_are_named(panel):
    findings = build(panel, {})[1].plain["sections"]["ladder"]["findings"]
    assert "Rung hopeless could not be fitted (refused: one group)." in [f["text"] for f in findings]


def test_labels_and_plurals():
    names = Names.of({"groups": [], "columns": []}, {"labels": {"wage": "real wage", "firm": "company"}})
    assert names.level("sector/firm", 2) == "companies"
    assert names.level_in_words("sector/firm") == "companies within sectors"
    assert names.term("log(wage)") == "log(real wage)"
    assert names.term("lag(log(wage), 1)") == "lag(log(wage), 1)"
    assert names.variable("C(birth_year, ref='a')") == "birth year"
    assert [plural(n) for n in ("country", "class", "day", "série 3")] == ["countries", "classes", "days", "série 3"]


def test_numbers_of_a_sentence_are_kept_in_full(panel):
    plain_summary = build(panel, {})[1].plain
    effect = plain_summary["verdict"]["effects"][0]
    rung = json.loads((panel / "rungs" / "random_slope.json").read_text())
    estimate = rung["reml"]["fixed"][1]["estimate"]
    assert effect["numbers"]["value"]["value"] == pytest.approx(abs(100 * (1.1**estimate - 1)), rel=1e-12)
    assert effect["numbers"]["value"]["source"] == "rungs/random_slope.json#/reml/fixed/1/estimate"


def test_a_choice_that_one_group_decides_is_called_close(panel):
    def change(value: dict[str, Any]) -> None:
        value["checks"] = [c for c in value["checks"] if c["name"] != "influence"]
        flips = [{"label": f"s/{k}", "rung": "pooled"} for k in range(7)]
        level = {"level": "sector/firm", "groups": [], "choice": {"examined": 30, "refitted": 30, "changes": flips}}
        check = {"name": "influence", "title": "No single group", "status": "look", "details": {"levels": [level]}}
        value["checks"].append(check)

    assert "close one" not in text_of(panel)["limits"]
    edit(panel / "checks.json", change)
    expected = "The choice of the rung is a close one: leaving out any one of 7 of 30 groups gives pooled."
    assert expected in text_of(panel)["limits"]
