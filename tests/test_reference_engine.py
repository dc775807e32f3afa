"""The engine against R, case by case: likelihood, fixed effects, variance components, random effects, df, R2 and ICC.

Tolerances are those of the reference's README or tighter. Both programs stop near the optimum, so that fixed effects
are compared in units of their standard errors, random effects in units of their standard deviations.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import reference_cases as references
from reference_moments import panel
from test_verify_dense import estimate_of, rows_of

from hierreport import mixed
from hierreport.records import Estimate
from hierreport.verify import dense

MIXED = references.fitted_models()
KINDS = ("ML", "REML")


@cache
def fitted(name: str, model: str) -> mixed.MixedFit:
    return mixed.fit(panel(name), references.case(name).model_spec(model))


@cache
def estimate(name: str, model: str, kind: str, df: str = "satterthwaite") -> Estimate:
    return fitted(name, model).estimate(kind.lower(), df)


def expected(name: str, model: str, kind: str) -> dict:
    return references.case(name).ref["models"][model][kind]


def better(name: str, model: str, kind: str) -> bool:
    """Whether our optimum lies visibly above R's; then R's other numbers belong to another point."""
    return estimate(name, model, kind).loglik > expected(name, model, kind)["logLik"] + 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "model"), MIXED)
def test_likelihood(name, model, kind):
    ours, theirs = estimate(name, model, kind), expected(name, model, kind)
    tolerance = 1e-8 * max(1.0, abs(theirs["logLik"]))
    assert ours.loglik >= theirs["logLik"] - tolerance
    assert ours.deviance == pytest.approx(-2 * ours.loglik, rel=1e-14)
    assert ours.converged
    if ours.loglik > theirs["logLik"] + tolerance:
        # Better than R: the independent evaluation from the rows must say so at both points.
        rows, reml = rows_of(references.case(name)), kind == "REML"
        at_ours, at_theirs = (dense.loglik(rows, e, reml=reml) for e in (ours.to_dict(), estimate_of(theirs)))
        assert at_ours > at_theirs
        assert at_ours == pytest.approx(ours.loglik, rel=1e-9)
    assert ours.n_par == theirs["n_params"]
    assert ours.aic == pytest.approx(-2 * ours.loglik + 2 * theirs["n_params"], rel=1e-12)
    n = len(rows_of(references.case(name)).y)
    assert ours.bic == pytest.approx(-2 * ours.loglik + np.log(n) * theirs["n_params"], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "model"), MIXED)
def test_fixed_effects(name, model, kind):
    if better(name, model, kind):
        pytest.skip("our optimum is better than R's")
    ours, theirs = estimate(name, model, kind), expected(name, model, kind)
    assert [f.term for f in ours.fixed] == list(theirs["fixef"])
    for effect in ours.fixed:
        se = theirs["se"][effect.term]
        assert abs(effect.estimate - theirs["fixef"][effect.term]) <= 1e-4 * se
        assert effect.se == pytest.approx(se, rel=1e-4)
    r = np.array(theirs["vcov"]["matrix"])
    scale = np.sqrt(np.outer(np.diag(r), np.diag(r)))
    assert np.abs(np.array(ours.fixed_cov) - r).max() <= 3e-4 * scale.max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "model"), MIXED)
def test_variance_components(name, model, kind):
    if better(name, model, kind):
        pytest.skip("our optimum is better than R's")
    ours, theirs = estimate(name, model, kind), expected(name, model, kind)
    assert ours.sigma == pytest.approx(theirs["sigma"], rel=1e-4)
    for part in estimate_of(theirs)["random"]:
        own = next(r for r in ours.random if r.level == part["level"])
        assert own.terms == part["terms"]
        sd = np.sqrt(np.diag(part["cov"]))
        sizes = [panel_rms(name, t) for t in own.terms]
        for a, b, size in zip(own.sd, sd, sizes, strict=True):
            assert abs(a - b) <= max(1e-4 * b, 1e-4 * theirs["sigma"] / size)
        assert np.array(own.cov) == pytest.approx(
            np.array(part["cov"]), rel=5e-4, abs=3e-4 * sd.max() ** 2 + (1e-4 * theirs["sigma"]) ** 2
        )
    assert ours.singular == theirs["is_singular"]


def panel_rms(name: str, term: str) -> float:
    """Root mean square of a column: turns a slope's sd into outcome units."""
    return float(np.sqrt((references.case(name).matrix((term,)) ** 2).mean()))


def effects_of(name: str, model: str, kind: str, level: str) -> tuple[dict, dict[str, int]]:
    found = fitted(name, model).effects(level, method=kind.lower())
    labels = ["/".join(ids) for ids in zip(*found["labels"], strict=True)]
    return found, {label: i for i, label in enumerate(labels)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "model"), MIXED)
def test_random_effects(name, model, kind):
    if better(name, model, kind):
        pytest.skip("our optimum is better than R's")
    theirs = expected(name, model, kind)
    if "ranef" not in theirs:
        pytest.skip("the reference keeps no random effects of this model")
    components = {part["level"]: part for part in estimate_of(theirs)["random"]}
    for part in theirs["ranef"]:
        found, where = effects_of(name, model, kind, part["level"])
        at = [where[g] for g in part["groups"]]
        sds = np.sqrt(np.diag(components[part["level"]]["cov"]))
        for j, term in enumerate(components[part["level"]]["terms"]):
            unit = max(sds[j], 1e-4 * theirs["sigma"] / panel_rms(name, term))
            row = found["terms"].index(term)
            assert found["estimate"][row][at] == pytest.approx(part["blup"][term], abs=1e-4 * unit)
            if "cond_sd" in part:
                assert found["sd"][row][at] == pytest.approx(part["cond_sd"][term], rel=1e-4, abs=1e-4 * unit)
            if "pred_err_sd" in part:
                mine = found["se_prediction"][row][at]
                assert mine == pytest.approx(part["pred_err_sd"][term], rel=1e-4, abs=1e-4 * unit)


WITH_LMERTEST = [(name, m, kind) for name, m in MIXED for kind in KINDS if "satterthwaite" in expected(name, m, kind)]


@pytest.mark.parametrize(("name", "model", "kind"), WITH_LMERTEST)
def test_satterthwaite(name, model, kind):
    theirs = expected(name, model, kind)
    if better(name, model, kind):
        pytest.skip("our optimum is better than R's")
    for effect in estimate(name, model, kind).fixed:
        df = theirs["satterthwaite"]["df"][effect.term]
        if df is None:
            continue
        assert effect.df_method == "satterthwaite"
        assert effect.df == pytest.approx(df, rel=1e-2)
        assert effect.statistic == pytest.approx(effect.estimate / effect.se, rel=1e-12)


WITH_PBKRTEST = [(name, model) for name, model in MIXED if expected(name, model, "REML").get("kenward_roger")]


@pytest.mark.parametrize(("name", "model"), WITH_PBKRTEST)
def test_kenward_roger(name, model):
    theirs = expected(name, model, "REML")["kenward_roger"]
    assert not better(name, model, "REML")
    for effect in estimate(name, model, "REML", "kenward-roger").fixed:
        assert effect.df == pytest.approx(theirs["df"][effect.term], rel=1e-3)
        assert effect.se == pytest.approx(theirs["se"][effect.term], rel=1e-4)
        assert effect.p == pytest.approx(theirs["p"][effect.term], rel=2e-2, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "model"), MIXED)
def test_variance_shares(name, model, kind):
    """R2 as R's; the ICC from the reference's variance components averaged over the rows (Johnson 2014)."""
    if better(name, model, kind):
        pytest.skip("our optimum is better than R's")
    ours, theirs = estimate(name, model, kind), expected(name, model, kind)
    assert ours.r2["marginal"] == pytest.approx(theirs["r2"]["marginal"], abs=2e-4)
    assert ours.r2["conditional"] == pytest.approx(theirs["r2"]["conditional"], abs=2e-4)
    parts = theirs["var_components"]
    total = parts["var_random"] + parts["var_residual"]
    for level, variance in parts.get("var_random_by_level", {}).items():
        assert ours.icc[level] == pytest.approx(variance / total, abs=2e-4)
    assert ours.icc["residual"] == pytest.approx(parts["var_residual"] / total, abs=2e-4)
    assert sum(ours.icc.values()) == pytest.approx(1.0, rel=1e-12)


POOLED = references.pooled_models()


@pytest.mark.parametrize(("name", "model"), POOLED)
def test_pooled(name, model):
    """OLS to 1e-10 of statsmodels' QR, Longley's certified values to what their condition number (1e10) allows."""
    from statsmodels.regression.linear_model import OLS

    case, theirs = references.case(name), references.case(name).ref["models"][model]
    ml, reml = estimate(name, model, "ML"), estimate(name, model, "REML")
    x, y = case.matrix(case.fixed_columns(model)), case.matrix((case.spec["outcome"],))[:, 0]
    peer = OLS(y, x).fit()
    loose = 1e4 if name == "nist_longley" else 1
    for j, effect in enumerate(reml.fixed):
        assert abs(effect.estimate - peer.params[j]) <= 1e-10 * loose * max(abs(peer.params[j]), peer.bse[j])
        assert effect.se == pytest.approx(peer.bse[j], rel=1e-10 * loose)
        assert effect.statistic == pytest.approx(peer.tvalues[j], rel=1e-8, abs=1e-8)
        assert effect.p == pytest.approx(peer.pvalues[j], rel=1e-6, abs=1e-290)
        assert effect.df == peer.df_resid
        assert [effect.ci_low, effect.ci_high] == pytest.approx(
            list(peer.conf_int()[j]), rel=1e-8, abs=1e-8 * peer.bse[j]
        )
        assert abs(effect.estimate - theirs["coef"][effect.term]) <= 1e-7 * theirs["se"][effect.term]
    assert ml.loglik == pytest.approx(theirs["logLik"], rel=1e-10)
    assert reml.loglik == pytest.approx(theirs["logLik_REML"], rel=1e-10)
    assert ml.aic == pytest.approx(theirs["AIC"], rel=1e-10)
    assert ml.bic == pytest.approx(theirs["BIC"], rel=1e-10)
    assert reml.sigma == pytest.approx(theirs["sigma"], rel=1e-10 * loose)
    assert ml.sigma == pytest.approx(theirs["sigma_ml"], rel=1e-10 * loose)
    assert ml.random == []
    assert ml.icc == {"residual": 1.0}
    assert not ml.singular


def test_nist_longley_certified():
    """https://www.itl.nist.gov/div898/strd/lls/data/Longley.shtml, certified to 15 digits."""
    certified = {
        "(Intercept)": (-3482258.63459582, 890420.383607373),
        "x1": (15.0618722713733, 84.9149257747669),
        "x2": (-0.358191792925910e-01, 0.334910077722432e-01),
        "x3": (-2.02022980381683, 0.488399681651699),
        "x4": (-1.03322686717359, 0.214274163161675),
        "x5": (-0.511041056535807e-01, 0.226073200069370),
        "x6": (1829.15146461355, 455.478499142212),
    }
    found = estimate("nist_longley", "pooled", "REML")
    for effect in found.fixed:
        value, se = certified[effect.term]
        assert effect.estimate == pytest.approx(value, rel=1e-8)
        assert effect.se == pytest.approx(se, rel=1e-8)
    assert found.sigma == pytest.approx(304.854073561965, rel=1e-9)


AR1 = [
    (name, model)
    for name in references.names()
    for model in references.case(name).ref.get("nlme_corAR1", {})
    if model not in ("time", "note")
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "model"), AR1)
def test_serial_correlation(name, model, kind):
    case = references.case(name)
    spec = case.model_spec(model)
    found = ar1_fit(name, spec)
    ours, theirs = found.estimate(kind.lower()), case.ref["nlme_corAR1"][model][kind]
    assert ours.loglik >= theirs["logLik"] - 1e-6
    assert ours.n_par == theirs["n_params"]
    at_ours = dense.loglik(rows_of(case, time=True), ours.to_dict(), reml=kind == "REML")
    assert at_ours == pytest.approx(ours.loglik, rel=1e-8)
    if ours.loglik > theirs["logLik"] + 1e-5:
        assert at_ours > dense.loglik(rows_of(case, time=True), estimate_of(theirs), reml=kind == "REML")
        return
    assert ours.rho == pytest.approx(theirs["phi"], abs=1e-4)
    assert ours.sigma == pytest.approx(theirs["sigma"], rel=1e-3)
    for effect in ours.fixed:
        assert abs(effect.estimate - theirs["fixef"][effect.term]) <= 1e-3 * theirs["se"][effect.term]
        assert effect.se == pytest.approx(theirs["se"][effect.term], rel=1e-3)


@cache
def ar1_fit(name: str, spec) -> mixed.MixedFit:
    from dataclasses import replace

    return mixed.fit(panel(name, lags=True), replace(spec, errors="ar1"))
