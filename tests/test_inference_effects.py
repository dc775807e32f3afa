"""Marginal means and effects, scores, tests from Python, against R (``inference_reference``); refusals of bad use."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import hierreport
from hierreport.errors import ConfigError, HierreportError, ModelError

FOLDER = Path(__file__).parent / "inference_reference"
R = json.loads((FOLDER / "r.json").read_text())


@pytest.fixture(scope="module")
def schools():
    rows = pd.read_csv(FOLDER / "schools.csv")
    return rows.assign(n=rows["n"].astype(str))


@pytest.fixture(scope="module")
def firms():
    return pd.read_csv(FOLDER / "firms.csv")


@pytest.fixture(scope="module")
def pooled(firms):
    return hierreport.ladder(firms, "y ~ x + h + (1 | s/i)", time="t", errors="iid")["pooled"]


@pytest.mark.parametrize("case", R["means"], ids=lambda c: c["formula"])
def test_marginal_means_of_functions_of_a_column_as_emmeans(schools, case):
    fit = hierreport.fit(schools, case["formula"], weights=case["weights"] or None, df=case["df"])
    found = fit.contrasts(case["factor"], "tukey")
    for name, theirs, tolerance in (("estimate", "emmean", 1e-6), ("se", "SE", 1e-6), ("df", "df", 1e-4)):
        assert [getattr(m, name) for m in found.means] == pytest.approx(case["means"][theirs], rel=tolerance)
    # emmeans takes the first level less the second.
    assert [-c.estimate for c in found.contrasts] == pytest.approx(case["tukey"]["estimate"], abs=1e-6)
    assert [-c.ci_high for c in found.contrasts] == pytest.approx(case["tukey"]["lower.CL"], abs=1e-5)
    assert [c.p for c in found.contrasts] == pytest.approx(case["tukey"]["p.value"], abs=1e-5)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "normal"])
def test_intervals_of_the_population_have_the_fits_degrees_of_freedom(schools, df):
    fit = hierreport.fit(schools, "y ~ f + (1 | r/s)", df=df)
    means = fit.contrasts("f").means
    rows = pd.DataFrame({"f": [m.term for m in means], "r": "new", "s": "new"})
    found = fit.predict(rows, interval="confidence", effects=False)
    assert found["low"].tolist() == pytest.approx([m.ci_low for m in means], rel=1e-12)
    assert {m.df_method for m in means} == {df}


def test_intervals_of_many_rows_are_those_of_few(schools, monkeypatch):
    fit = hierreport.fit(schools, "y ~ f + x + (1 + x | r/s)")
    few = [fit.predict(interval="confidence", effects=effects) for effects in (False, True)]
    monkeypatch.setattr("hierreport.predict.MANY", 5)
    monkeypatch.setattr("hierreport.prediction_errors.CHUNK", 7)
    for effects, expected in zip((False, True), few, strict=True):
        found = fit.predict(interval="confidence", effects=effects)
        for end in ("se", "low", "high"):
            assert found[end].to_numpy() == pytest.approx(expected[end].to_numpy(), rel=1e-9)


def test_a_mean_over_an_empty_cell_is_refused(schools):
    rows = schools[(schools["f"] != "lo") | (schools["h"] != "B")]
    fit = hierreport.fit(rows, "y ~ f * h + (1 | r)")
    with pytest.raises(ModelError, match=r"the mean of f lo cannot be estimated: .* no rows"):
        fit.contrasts("f")
    # A numeric column that is a combination of others is no obstacle.
    twice = hierreport.fit(schools.assign(x2=2 * schools["x"] + 3), "y ~ f * x + f * x2 + (1 | r)").contrasts("f")
    once = hierreport.fit(schools, "y ~ f * x + (1 | r)").contrasts("f")
    assert [m.estimate for m in twice.means] == pytest.approx([m.estimate for m in once.means], rel=1e-6)


def test_names_and_levels_with_colons_and_brackets(schools):
    odd = {"hi": "a:b", "lo": "x]y", "mid": "[q"}
    rows = schools.assign(f=schools["f"].map(odd)).rename(columns={"x": "x var", "z": "z:z"})
    for factor in ("f", "n"):
        theirs = hierreport.fit(schools, "y ~ f * x + z + f:n + (1 | r)").contrasts(factor)
        ours = hierreport.fit(rows, "y ~ f * `x var` + `z:z` + f:n + (1 | r)").contrasts(factor)
        found = {m.term: m.estimate for m in ours.means}
        assert found == pytest.approx({odd.get(m.term, m.term): m.estimate for m in theirs.means}, rel=1e-9)


def test_a_factor_that_a_rung_of_ones_own_leaves_out(schools):
    rungs = {"small": "y ~ x + (1 | r)", "large": "y ~ f * x + (1 | r)"}
    ladder = hierreport.ladder(schools, rungs["large"], rungs=rungs)
    with pytest.raises(ModelError, match="f has no part in small"):
        ladder["small"].contrasts("f")


@pytest.mark.parametrize("case", R["effects"]["found"], ids=lambda c: f"{c['column']}-{c['by']}")
def test_average_marginal_effects(schools, case):
    fit = hierreport.fit(schools, R["effects"]["formula"])
    found = fit.marginal_effects(case["column"], case["by"] or None)
    for name, tolerance in (("estimate", 1e-5), ("se", 1e-6), ("df", 1e-4)):
        theirs = case[name] if isinstance(case[name], list) else [case[name]]
        assert [getattr(e, name) for e in found.effects] == pytest.approx(theirs, rel=tolerance)
    assert len(found.contrasts) == (3 if case["by"] else 0)
    if case["by"]:
        first, second = found.effects[:2]
        assert found.contrasts[0].estimate == pytest.approx(second.estimate - first.estimate)


def test_marginal_effects_follow_lags_and_hold_group_means(schools):
    fit = hierreport.fit(schools, "y ~ x + lag(x) + diff(z) + within(z) + mean(z) + (1 | r/s)", time="t")
    fixed = {f.term: f.estimate for f in fit.reml.fixed}
    assert fit.marginal_effects("x").effects[0].estimate == pytest.approx(fixed["x"] + fixed["lag(x)"], rel=1e-7)
    assert fit.marginal_effects("z").effects[0].estimate == pytest.approx(fixed["within(z)"], rel=1e-7)


def test_marginal_effects_refuse(schools):
    fit = hierreport.fit(schools, "y ~ f * x + sqrt(w) + (1 | r)")
    with pytest.raises(ModelError, match=r"'f' is no numeric column .* Its numeric columns: x, w;"):
        fit.marginal_effects("f")
    with pytest.raises(ModelError, match=r"no factor 'q'\. .*Its factors: f|no factor 'q'"):
        fit.marginal_effects("x", "q")
    zero = schools.assign(w=schools["w"].where(schools.index != 3, 0.0))
    with pytest.raises(ModelError, match="the effect of w is not defined in row 4"):
        hierreport.fit(zero, "y ~ x + sqrt(w) + (1 | r)").marginal_effects("w")


def test_scores_and_snijders_bosker(schools):
    fit = hierreport.fit(schools, R["scores"]["formula"], time="t")
    for level in ("r", "r/s", "ahead"):
        assert fit.log_score(level).total == pytest.approx(R["scores"][level], abs=1e-3)
    assert fit.snijders_bosker() == pytest.approx(R["scores"]["snijders_bosker"], abs=1e-5)
    assert fit.conditional_aic("reml").method == "REML"


def test_weights_in_kenward_roger_and_in_the_conditional_aic(schools):
    theirs = R["weighted"]
    fit = hierreport.fit(schools, "y ~ x + z + f + (1 | r/s)", weights="w", df="kenward-roger")
    found = {f.term.replace("[", "").replace("]", ""): f for f in fit.reml.fixed}
    assert [found[t].se for t in theirs["terms"]] == pytest.approx(theirs["se"], rel=1e-6)
    assert [found[t].df for t in theirs["terms"]] == pytest.approx(theirs["df"], rel=1e-5)
    assert fit.conditional_aic("reml").df == pytest.approx(theirs["caic_df"], abs=1e-3)


def test_the_ladder_scores_the_next_period_and_clusters_by_period(schools):
    ladder = hierreport.ladder(schools, R["scores"]["formula"], time="t", errors="iid")
    found = ladder.inference(draws=0)
    table = {row["rung"]: row for row in found["criteria"]["table"]}
    assert table["multilevel"]["scores"]["ahead"]["total"] == pytest.approx(R["scores"]["ahead"], abs=1e-3)
    assert {"two-way CR1", "Driscoll-Kraay (2 lags)"} <= {r["kind"] for r in found["robust"]}
    assert ladder.criteria()["best"] == found["criteria"]["best"]


def test_fixed_or_random_as_plm(firms):
    found = hierreport.fit(firms, "y ~ x + q + ff + z + (1 | i)").fixed_or_random()
    theirs = R["hausman"]
    assert (found.panel.hausman.statistic, found.panel.hausman.df1) == pytest.approx(theirs, rel=1e-8)
    assert {v.term: v.verdict for v in found.verdicts}["z"] == "untestable"


def test_lags_of_driscoll_and_kraay(pooled):
    for lags, theirs in enumerate(R["driscoll_kraay"]):
        found = pooled.robust("driscoll-kraay", lags=lags)
        assert [f.se for f in found.fixed] == pytest.approx(theirs, rel=1e-9)


def test_levels_by_their_last_name_and_joint_tests(pooled):
    assert pooled.robust("CR2", "i").fixed == pooled.robust("CR2", "s/i").fixed
    one = pooled.robust_test(["x"], "CR1", "i")
    single = next(f for f in pooled.robust("CR1", "i").fixed if f.term == "x")
    assert one.statistic == pytest.approx(single.statistic**2)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda f: f.confint("profile", coverage=95), "95 is no coverage. Give a share between 0 and 1"),
        (lambda f: f.confint(estimate="mle"), "unknown estimate 'mle'. Use ml or reml"),
        (lambda f: f.contrasts("h", coverage=95), "95 is no coverage"),
        (lambda f: f.predict(interval="confidence", coverage=2), "2 is no coverage"),
        (lambda f: f.robust(None), "unknown kind"),
        (lambda f: f.robust("CR2", lags=2), "A whole number of lags goes with driscoll-kraay"),
        (lambda f: f.robust_test(["zz"]), "no fixed effect 'zz'"),
        (lambda f: f.robust_test([]), "no fixed effect was named. Name some of (Intercept), x"),
        (lambda f: f.confint("bootstrap", draws="many"), "draws='many' will not do. Give a whole number of at least 1"),
        (lambda f: f.confint("bootstrap", draws=9, seed=-1), "seed=-1 will not do"),
        (lambda f: f.log_score("s", folds=2.5), "folds=2.5 will not do"),
        (lambda f: f.conditional_aic("x"), "unknown estimate 'x'"),
        (lambda f: f.log_score("zz"), "no level 'zz'"),
        (lambda f: f.fixed_or_random("zz"), "no level 'zz'"),
    ],
)
def test_bad_use_ends_in_one_sentence(pooled, use, message):
    with pytest.raises(HierreportError) as caught:
        use(pooled)
    assert message in str(caught.value)


def test_an_unknown_rung_and_a_model_without_groups(firms):
    ladder = hierreport.ladder(firms, "y ~ x + (1 | i)")
    with pytest.raises(ConfigError, match=r"no rung 'nope'\. Rungs: pooled, random_intercept"):
        ladder["nope"]
    assert "pooled" in ladder and "nope" not in ladder
    with pytest.raises(ModelError, match="no groups to cluster by"):
        hierreport.fit(firms, "y ~ x").robust()


class TestPredictionsOfVariants:
    def test_kenward_roger_says_where_it_is_not_defined(self, firms):
        fit = hierreport.fit(firms, "y ~ x + (1 | i)", time="t", errors="ar1", df="kenward-roger")
        assert fit.reml.fixed[0].df_method == "satterthwaite"
        assert any("Satterthwaite's degrees of freedom stand in" in text for text in fit.warnings)
        assert not hierreport.fit(firms, "y ~ x + (1 | i)", df="kenward-roger").warnings

    @pytest.fixture
    def new(self, firms):
        rows = firms.loc[[0, 1, 29], ["s", "i", "t", "x", "h"]]
        return rows.assign(t=[99, 3, 5], i=["i01", "i01", "new"])

    def test_a_crossed_effect_of_time_as_lme4(self, firms, new):
        fit = hierreport.fit(firms, "y ~ x + h + (1 | s/i)", time="t", crossed=True)
        assert fit.fitted()[:4] == pytest.approx(R["crossed"]["fitted"], abs=1e-6)
        assert fit.residuals("standardised")[:4] == pytest.approx(R["crossed"]["scaled"], abs=1e-6)
        assert fit.predict(new) == pytest.approx(R["crossed"]["new"], abs=1e-6)
        with pytest.raises(HierreportError, match="There is no column t"):
            fit.predict(new.drop(columns="t"))

    def test_unequal_variances_have_their_own_prediction_intervals(self, firms, new):
        fit = hierreport.fit(firms, "y ~ x + (1 | i)", variances="h")
        rows = new.assign(h=["A", "B", "A"])
        mean, one = (fit.predict(rows, interval=kind) for kind in ("confidence", "prediction"))
        sigma = fit.engine.reml_state.stratum_sigmas
        assert (one["se"] ** 2 - mean["se"] ** 2).tolist() == pytest.approx([sigma[h] ** 2 for h in rows["h"]])
        with pytest.raises(
            HierreportError, match=r"row 1: h is 'Z', whose residual variance .* does not know \(A, B\)"
        ):
            fit.predict(rows.assign(h="Z"), interval="prediction")
        with pytest.raises(HierreportError, match="go by h, which these rows do not have"):
            fit.predict(rows.drop(columns="h"), interval="prediction")


@pytest.fixture(scope="module")
def visits():
    return pd.read_csv(FOLDER / "visits.csv")


class TestUnevenTimes:
    def test_rho_is_of_one_unit_of_time_as_nlme(self, visits):
        fit = hierreport.fit(visits, "y ~ x + (1 | g)", time="t", errors="car1")
        for method in ("ml", "reml"):
            found = getattr(fit, method)
            assert found.loglik == pytest.approx(R["car1"][method]["loglik"], abs=1e-6)
            assert found.rho == pytest.approx(R["car1"][method]["rho"], abs=1e-4)
        # Steps of two: two units of time.
        steps = hierreport.fit(visits, "y ~ x + (1 | g)", time="t", errors="car1", time_step=2.0)
        assert steps.ml.rho == pytest.approx(fit.ml.rho**2, rel=1e-6)

    def test_the_ladder_takes_the_same_unit_and_simulates(self, visits):
        ladder = hierreport.ladder(visits, "y ~ x + (1 | g)", time="t")
        assert ladder.choice.rung == "random_intercept.car1"
        assert ladder.chosen.ml.rho == pytest.approx(R["car1"]["ml"]["rho"], abs=1e-4)
        test = ladder.inference(draws=19)["tests"][-1]
        assert test["status"] == "done" and test["draws"] == 19
