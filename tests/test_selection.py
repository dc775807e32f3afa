"""The table of criteria, its sentence, and variance explained."""

from __future__ import annotations

from dataclasses import replace

import case_moments
import numpy as np
import pytest
import reference_cases as references

from hierreport import explained, mixed, selection
from hierreport.errors import ModelError
from hierreport.moments import PanelMoments
from hierreport.predictive import PredictiveScore


def fitted(name: str, *models: str) -> dict[str, mixed.MixedFit]:
    panel, case = case_moments.panel(name), references.case(name)
    return {m: mixed.fit(panel.moments, case.model_spec(m)) for m in models}


@pytest.mark.parametrize("name", ["sleepstudy", "machines", "oats"])
def test_marginal_criteria_agree_with_r(name):
    models = [m["id"] for m in references.case(name).spec["models"]]
    for model, fit in fitted(name, *models).items():
        found, theirs = selection.information(model, fit), references.case(name).ref["models"][model]
        theirs = theirs.get("ML", theirs)
        loglik, aic, bic = (theirs[k] for k in ("logLik", "AIC", "BIC"))
        assert (found["loglik"], found["aic"], found["bic"]) == pytest.approx((loglik, aic, bic), abs=1e-6)
        # AIC's penalty 2k times n/(n − k − 1), another way to write AICc.
        k, n = found["n_par"], fit.n_obs
        assert found["aicc"] == pytest.approx(-2 * loglik + 2 * k * n / (n - k - 1), abs=1e-6)


def test_table_has_every_criterion_of_every_rung():
    panel = case_moments.panel("grunfeld")
    moments = PanelMoments(panel.moments, case_moments.lag_moments(panel), case_moments.period_moments(panel))
    fits = fitted("grunfeld", "pooled", "ri")
    fits["ri.ar1"] = mixed.fit(moments, replace(fits["ri"].spec, errors="ar1"))
    table = selection.criteria_table(fits, moments)
    assert [row["rung"] for row in table] == ["pooled", "ri", "ri.ar1"]
    for row in table[:2]:
        assert set(row["scores"]) == {"firm", "ahead"} and row["caic"] is not None and not row["notes"]
    # The conditional AIC is not defined under AR(1): said, not left out silently.
    assert table[2]["caic"] is None and set(table[2]["scores"]) == {"firm", "ahead"}
    assert len(table[2]["notes"]) == 1
    best = selection.best_by(table)
    assert best["aic"] == best["firm"] == "ri.ar1" and best["caic"] == "ri"
    scores = {row["rung"]: row["scores"]["firm"] for row in table}
    assert scores["ri.ar1"]["behind"] == 0 and scores["pooled"]["behind"] > scores["ri"]["behind"] > 0
    difference = np.array(scores["ri.ar1"]["values"]) - np.array(scores["ri"]["values"])
    assert scores["ri"]["behind"] == pytest.approx(difference.sum())
    assert scores["ri"]["behind_se"] == pytest.approx(np.sqrt(np.sum((difference - difference.mean()) ** 2) * 10 / 9))
    assert table[0]["explained"] is None and table[1]["explained"]["over"] == "pooled"
    assert table[2]["explained"]["over"] == "ri"
    assert selection.criteria_table(fits, moments, levels=[])[0]["scores"].keys() == {"ahead"}


def test_rungs_of_different_rows_are_refused():
    fits = {**fitted("grunfeld", "ri"), "other": fitted("p_dup_time", "ri")["ri"]}
    with pytest.raises(ModelError, match="different numbers of rows"):
        selection.criteria_table(fits)


def score(values: list[float | None]) -> PredictiveScore:
    return PredictiveScore("every g left out in turn", "g", None, len(values), 0, values)


def test_scores_are_compared_on_common_folds():
    found = selection.compare_scores({"a": score([1.0, 2.0, None, 4.0]), "b": score([2.0, None, 9.0, 1.0])})
    assert found["a"]["common_folds"] == 2
    assert (found["a"]["common_total"], found["b"]["common_total"]) == (5.0, 3.0)
    assert found["a"]["behind"] == 0.0 and found["b"]["behind"] == 2.0
    assert found["b"]["behind_se"] == pytest.approx(np.sqrt(2) * np.std([-1.0, 3.0], ddof=1))
    nothing = selection.compare_scores({"a": score([1.0, None]), "b": score([None, 1.0])})
    assert nothing["a"]["behind"] is None


def row(rung: str, k: int, scores: dict | None = None, **criteria: float) -> dict:
    return {"rung": rung, "n_par": k, "n_obs": 1000, "scores": scores or {}, **criteria}


def behind(value: float, se: float = 0.0) -> dict:
    return {"behind": value, "behind_se": se}


def test_sentence_when_all_agree_and_ties_go_to_fewer_parameters():
    table = [
        row("small", 3, {"g": behind(0.0)}, aic=10.0, bic=12.0),
        row("big", 4, {"g": behind(0.0)}, aic=10.0, bic=15.0),
    ]
    assert selection.best_by(table) == {"aic": "small", "bic": "small", "g": "small"}
    assert selection.criteria_sentence(table) == "All criteria (AIC, BIC and log score without each g) choose small."


def test_sentence_where_they_disagree():
    table = [
        row("small", 3, {"firm": behind(0.0), "ahead": behind(7.0, 1.0)}, aic=12.0, bic=14.0, caic=20.0),
        row("big", 6, {"firm": behind(1.5, 2.5), "ahead": behind(0.0)}, aic=10.0, bic=19.0, caic=4.0),
    ]
    sentence = selection.criteria_sentence(table)
    assert sentence.startswith(
        "AIC, conditional AIC and log score one period ahead choose big; "
        "BIC and log score without each firm choose small."
    )
    assert "BIC charges 6.9 for a parameter where AIC charges 2." in sentence
    assert "small leads big by 1.5 (standard error 2.5), which can be chance." in sentence
    table[0]["scores"]["ahead"], table[1]["scores"]["ahead"] = behind(0.0), behind(7.0, 1.0)
    assert "small leads big by 7.0 (standard error 1.0), more than chance." in selection.criteria_sentence(table)
    assert selection.criteria_sentence(table) == selection.criteria_sentence(table)


@pytest.mark.parametrize(("name", "model"), [("hsb", "ri"), ("sleepstudy", "ri"), ("produc", "ml"), ("empluk", "ml")])
def test_snijders_bosker_from_rs_variances(name, model):
    panel, case = case_moments.panel(name), references.case(name)

    def errors(which: str) -> dict[str, float]:
        """Mean squared errors by dense sums of the covariance matrix that R estimated."""
        ref = case.ref["models"][which]["ML"]
        v = ref["sigma"] ** 2 * np.eye(len(panel.w))
        for part in ref["varcorr"]:
            key = panel.keys[part["level"]]
            v += part["var"][0] * (key[:, None] == key[None, :])
        out = {"rows": float(np.mean(np.diag(v)))}
        for part in ref["varcorr"]:
            key = panel.keys[part["level"]]
            members = [key == k for k in np.unique(key)]
            out[part["level"]] = float(np.mean([v[np.ix_(m, m)].mean() for m in members]))
        return out

    found = explained.snijders_bosker(panel.moments, case.model_spec(model))
    here, null = errors(model), errors("null")
    assert found == pytest.approx({k: 1 - here[k] / null[k] for k in here}, abs=1e-6)


def test_snijders_bosker_of_pooled_is_r_squared():
    case = references.case("produc")
    found = explained.snijders_bosker(case_moments.panel("produc").moments, case.model_spec("pooled"))
    assert found == pytest.approx({"rows": case.ref["models"]["pooled"]["r2"]})
    assert (
        explained.snijders_bosker(case_moments.panel("produc").moments, replace(case.model_spec("ml"), fixed=()))
        is None
    )


def test_variance_explained_over_the_rung_before():
    fits = fitted("produc", "pooled", "ri", "ml")
    first, second = explained.explained_by_rungs(fits)
    refs = references.case("produc").ref["models"]
    sigma = {m: refs[m]["REML"]["sigma"] for m in ("ri", "ml")}
    assert first.residual_explained == pytest.approx(1 - (sigma["ri"] / refs["pooled"]["sigma"]) ** 2, abs=1e-6)
    assert second.residual_explained == pytest.approx(1 - (sigma["ml"] / sigma["ri"]) ** 2, abs=1e-6)
    variances = {v["level"]: v["var"][0] for v in refs["ml"]["REML"]["varcorr"]}
    assert second.levels == pytest.approx(variances, rel=1e-5)
    assert (second.rung, second.over) == ("ml", "ri") and set(second.levels_over) == {"region/state"}
    gain = refs["ml"]["REML"]["r2"]["conditional"] - refs["ri"]["REML"]["r2"]["conditional"]
    assert second.conditional_gain == pytest.approx(gain, abs=1e-6)


def test_all_rungs_share_their_folds():
    fits = fitted("empluk", "pooled", "ri")
    assert selection.folds(fits, "sector") is None and selection.folds(fits, "sector/firm") is None
    slow = replace(fits["ri"].problem, spec=replace(fits["ri"].spec, errors="ar1"))
    fits["ri.ar1"] = replace(fits["ri"], problem=slow)
    assert selection.folds(fits, "sector") is None and selection.folds(fits, "sector/firm") == 10
