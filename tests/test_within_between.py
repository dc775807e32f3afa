"""Panel estimators, the Mundlak regression and the verdicts, against plm and lme4 and against dense matrices."""

from __future__ import annotations

from dataclasses import replace

import case_moments
import numpy as np
import pytest
import reference_cases as references

from hierreport import within_between as wb
from hierreport.errors import ModelError
from hierreport.panel_estimators import panel_estimators
from hierreport.robust import cluster_robust

CASES = [
    "bdf", "chickweight", "empluk", "exam", "gasoline", "grunfeld", "hedonic", "hsb", "jtrain", "oats",
    "orthodont_girls", "p_dup_time", "p_missing", "p_two_groups", "produc", "ratpup", "ricefarms", "sleepstudy",
]  # fmt: skip


def reference(name: str) -> dict:
    return references.case(name).ref["panel"]


def decomposition(name: str) -> wb.Decomposition:
    fixed = references.case(name).fixed_columns("pooled")
    return wb.decompose(case_moments.panel(name).moments, fixed, reference(name)["unit"])


def test_every_reference_with_a_panel_part_is_used():
    have = [
        d.name
        for d in references.ROOT.iterdir()
        if (d / "spec.json").exists() and "panel" in references.case(d.name).ref
    ]
    assert sorted(have) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_estimators_agree_with_plm(name):
    theirs = reference(name)
    fixed = references.case(name).fixed_columns("pooled")
    ours = panel_estimators(case_moments.panel(name).moments, fixed, theirs["unit"])
    assert ours.time_varying == theirs["time_varying"]
    assert ours.time_invariant == [t for t in fixed[1:] if t in theirs["time_invariant"]]
    if "no_between_variation" in theirs:
        assert ours.no_between_variation == theirs["no_between_variation"]
    for key, estimate in (("within", ours.within), ("between", ours.between), ("random_swamy_arora", ours.random)):
        if key in theirs:
            assert estimate.coefficients() == pytest.approx(theirs[key]["coef"], rel=1e-9, abs=1e-13)
            assert estimate.standard_errors() == pytest.approx(theirs[key]["se"], rel=1e-10)
    if "random_swamy_arora" in theirs:
        assert ours.sigma2_error == pytest.approx(theirs["random_swamy_arora"]["sigma2_idios"], rel=1e-10)
        assert ours.sigma2_unit == pytest.approx(theirs["random_swamy_arora"]["sigma2_id"], rel=1e-10)
    if "breusch_pagan_lm" in theirs:
        assert ours.breusch_pagan.statistic == pytest.approx(theirs["breusch_pagan_lm"]["chisq"], rel=1e-10)
        # Below 1e-308 R's p has lost digits, or is zero.
        assert ours.breusch_pagan.p == pytest.approx(theirs["breusch_pagan_lm"]["p"], rel=1e-8, abs=1e-308)
        f, ref = ours.f_test, theirs["F_test_unit_effects"]
        assert (f.df1, f.df2) == (ref["df1"], ref["df2"])
        assert (f.statistic, f.p) == pytest.approx((ref["F"], ref["p"]), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize("name", [n for n in CASES if "hausman" in reference(n)])
def test_hausman_agrees_with_plm(name):
    theirs = reference(name)["hausman"]
    fixed = references.case(name).fixed_columns("pooled")
    ours = panel_estimators(case_moments.panel(name).moments, fixed, reference(name)["unit"])
    assert ours.hausman.df1 == theirs["df"]
    # plm reports the absolute value; where within and random effects coincide the statistic is rounding noise.
    assert abs(ours.hausman.statistic) == pytest.approx(theirs["chisq"], rel=1e-9, abs=1e-11)
    if ours.hausman.statistic >= 0 and theirs["chisq"] > 1e-6:
        assert ours.hausman.p == pytest.approx(theirs["p"], rel=1e-8)


def test_hausman_says_when_it_is_not_informative():
    def found(name):
        fixed = references.case(name).fixed_columns("pooled")
        return panel_estimators(case_moments.panel(name).moments, fixed).hausman

    assert found("grunfeld").informative and found("ricefarms").informative
    assert not found("gasoline").informative and "not positive definite" in found("gasoline").note
    assert "unbalanced" in found("chickweight").note and "positive definite" not in found("chickweight").note
    assert "rounding noise" in found("sleepstudy").note
    # A negative statistic has no p.
    assert found("jtrain").statistic < 0 and np.isnan(found("jtrain").p)


@pytest.mark.parametrize("name", CASES)
def test_mundlak_and_within_between_agree_with_lme4(name):
    theirs, ours = reference(name), decomposition(name)
    for key, fitted in (("mundlak", ours.mundlak), ("within_between", ours.within_between)):
        for method in ("ML", "REML"):
            ref = theirs[key][method]
            estimate = fitted.estimate(method.lower())
            found = {f.term: f for f in estimate.fixed}
            assert set(found) == set(ref["fixef"])
            for term, value in ref["fixef"].items():
                assert found[term].estimate == pytest.approx(value, abs=1e-6 * ref["se"][term])
                assert found[term].se == pytest.approx(ref["se"][term], rel=5e-6)
            assert estimate.loglik == pytest.approx(ref["logLik"], abs=1e-7)
            assert estimate.random[0].sd[0] == pytest.approx(ref["sd_group"], rel=5e-6)
            if "wald_means" in ref:
                tested = [f"mean({t})" for t in ours.varying if f"mean({t})" in found]
                test = wb.model_wald(fitted, tested, method)
                assert test.df == ref["wald_means"]["df"]
                assert test.chisq == pytest.approx(ref["wald_means"]["chisq"], rel=5e-6)
                assert test.p == pytest.approx(ref["wald_means"]["p"], rel=1e-4)


def gls(panel: case_moments.Panel, fit, names: tuple[str, ...], extra: np.ndarray) -> np.ndarray:
    """GLS with the fit's REML covariance, densely."""
    state = fit.reml_state
    same = panel.keys[state.criterion.levels[0].name]
    v = state.sigma**2 * np.eye(len(panel.w)) + state.covariance(0)[0, 0] * (same[:, None] == same[None, :])
    x = np.column_stack([panel.columns(names), extra])
    return np.linalg.solve(x.T @ np.linalg.solve(v, x), x.T @ np.linalg.solve(v, panel.y))


@pytest.mark.parametrize("name", ["empluk", "hedonic", "bdf"])
def test_bias_is_what_leaving_the_means_out_does(name):
    panel, case = case_moments.panel(name), references.case(name)
    fixed, unit = case.fixed_columns("pooled"), reference(name)["unit"]
    parts = wb.decompose(panel.moments, fixed, unit)
    x = panel.columns(parts.varying)
    mean = np.empty_like(x)
    for key in np.unique(panel.keys[unit]):
        rows = panel.keys[unit] == key
        mean[rows] = x[rows].mean(axis=0)
    kept = tuple(t for t in parts.mundlak.problem.basis.fixed if t in fixed)
    short = gls(panel, parts.mundlak, fixed, mean[:, :0])
    long = gls(panel, parts.mundlak, kept, mean)
    found = wb.biases(parts, cluster_robust(parts.mundlak, kind="CR1"))
    for term in parts.varying:
        expected = short[fixed.index(term)] - long[kept.index(term)]
        assert found[term].estimate == pytest.approx(expected, rel=1e-5, abs=1e-6 * found[term].se)
        assert found[term].df == len(np.unique(panel.keys[unit])) - 1


def test_bias_of_a_single_predictor_has_the_contextual_effects_test():
    found = wb.fixed_or_random(case_moments.panel("ratpup").moments, references.case("ratpup").fixed_columns("pooled"))
    sex = next(v for v in found.verdicts if v.term == "sex[Female]")
    # With one contextual effect the bias is a multiple of it.
    assert abs(sex.bias.statistic) == pytest.approx(abs(sex.contextual.statistic), rel=1e-9)
    assert sex.bias.df == pytest.approx(sex.contextual.df, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("empluk", {"lwage": "defended", "lcapital": "not defended", "loutput": "not defended"}),
        ("p_missing", {"Days": "defended"}),
        ("grunfeld", {"value": "undecided", "capital": "defended"}),
        ("jtrain", {"d88": "no difference", "d89": "no difference", "grant": "defended", "union": "untestable"}),
        ("chickweight", {"Time": "defended", "Diet[2]": "untestable"}),
    ],
)
def test_verdicts(name, expected):
    fixed = references.case(name).fixed_columns("pooled")
    found = wb.fixed_or_random(case_moments.panel(name).moments, fixed)
    verdicts = {v.term: v for v in found.verdicts}
    assert {t: verdicts[t].verdict for t in expected} == expected
    assert all(v.sentence.endswith(".") and v.term in v.sentence for v in found.verdicts)


def test_the_summary_names_what_cannot_be_defended_and_hausmans_weakness():
    fixed = references.case("empluk").fixed_columns("pooled")
    found = wb.fixed_or_random(case_moments.panel("empluk").moments, fixed)
    assert found.joint.p < 0.001 and "p < 0.001" in found.sentence
    assert "cannot be defended: lcapital, loutput." in found.sentence
    assert "Hausman's own statistic is not informative here" in found.sentence
    record = found.to_dict()
    assert record["verdicts"][0]["bias"]["term"] == "lwage" and record["panel"]["hausman"]["df1"] == 3
    # By the level above, whose nine clusters are enough for some predictors only.
    coarse = wb.fixed_or_random(case_moments.panel("empluk").moments, fixed, cluster="sector")
    assert coarse.cluster == "sector" and coarse.verdicts[0].bias.df < 9


def test_nothing_to_choose_on_a_design_without_between_variation():
    found = wb.fixed_or_random(case_moments.panel("sleepstudy").moments, ("(Intercept)", "Days"))
    assert found.joint is None and "nothing to choose" in found.sentence


def test_weights_leave_out_the_classical_estimators_only():
    panel = case_moments.panel("grunfeld")
    weights = 0.5 + (np.arange(len(panel.w)) % 5) / 4
    moments = case_moments.reduce_rows(panel.w, panel.moments.columns, [panel.keys["firm"]], ("firm",), weights)
    found = wb.fixed_or_random(moments, ("(Intercept)", "value", "capital"))
    assert found.panel is None and "without weights" in found.notes[0]
    assert found.joint is not None


def test_refusals():
    moments = case_moments.panel("produc").moments
    fixed = references.case("produc").fixed_columns("pooled")
    with pytest.raises(ModelError, match="no level 'county'"):
        panel_estimators(moments, fixed, "county")
    with pytest.raises(ModelError, match="no level 'county'"):
        wb.decompose(moments, fixed, "county")
    with pytest.raises(ModelError, match="with an intercept"):
        panel_estimators(moments, fixed[1:])
    with pytest.raises(ModelError, match="one row per unit"):
        panel = case_moments.panel("p_all_singletons")
        panel_estimators(panel.moments, ("(Intercept)", "Days"))


def test_wide_moments_give_the_same_estimators():
    moments = case_moments.panel("produc").moments
    fixed = references.case("produc").fixed_columns("pooled")
    wide = replace(moments, products=moments.products[:2], z_index=np.array([0, 1]))
    whole, found = panel_estimators(moments, fixed), panel_estimators(wide, fixed)
    assert found.within.coefficients() == pytest.approx(whole.within.coefficients(), rel=1e-8)
    assert found.random.standard_errors() == pytest.approx(whole.random.standard_errors(), rel=1e-8)
