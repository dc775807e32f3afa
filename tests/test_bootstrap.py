"""The parametric bootstrap against closed forms, lme4's bootMer and RLRsim's exact tests (bootstrap_reference/)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference_cases as references
from case_moments import panel
from scipy import stats

from hierreport.bootstrap import bootstrap, bootstrap_lrt
from hierreport.errors import ModelError
from hierreport.intervals import Quantity, quantities, values
from hierreport.mixed import fit
from hierreport.spec import LevelSpec, ModelSpec

R = json.loads((Path(__file__).parent / "bootstrap_reference" / "r.json").read_text())
ONE = "(Intercept)"


@cache
def fitted(name, model):
    return fit(panel(name).moments, references.case(name).model_spec(model))


def test_quantities_are_those_of_the_record():
    for name, model in (("produc", "ml_rs"), ("sleepstudy", "rs"), ("machines", "ml")):
        f = fitted(name, model)
        for method in ("ml", "reml"):
            state, record = f.state(method), f.estimate(method)
            sigma, beta = np.array([state.sigma]), state.evaluation.beta.real[None]
            got = values(f.problem, [(factor @ factor.T)[None] for factor in state.factors], sigma, beta)[0]
            expected = [e.estimate for e in record.fixed]
            for level in record.random:
                k = len(level.terms)
                expected += level.sd + [level.corr[i][j] for i in range(k) for j in range(i)]
            expected += [record.sigma, *record.icc.values(), record.r2["marginal"], record.r2["conditional"]]
            assert got == pytest.approx(np.array(expected, dtype=float), rel=1e-9)
            assert len(quantities(f.problem)) == len(got)


def test_the_same_draws_for_any_number_of_workers_and_a_longer_run_begins_with_the_shorter():
    f = fitted("empluk", "ml_rs")
    one, two = (bootstrap(f, 300, seed=4, workers=w) for w in (1, 2))
    assert np.array_equal(one.draws, two.draws, equal_nan=True)
    short, other = bootstrap(f, 40, seed=4), bootstrap(f, 40, seed=5)
    assert short.draws == pytest.approx(one.draws[:40], rel=1e-3, abs=1e-4, nan_ok=True)
    assert np.nanmax(np.abs(short.draws - other.draws)) > 0.01
    tests = [bootstrap_lrt(fitted("empluk", "ri"), fitted("empluk", "ml"), 300, workers=w) for w in (1, 2)]
    assert np.array_equal(tests[0].statistics, tests[1].statistics)


def test_balanced_one_way_layout_follows_its_exact_distribution():
    """REML in a balanced one-way layout is the analysis of variance: MSB and MSW are scaled chi-squares."""
    f, n = fitted("rail", "ri"), 2000
    groups, size = 6, 3
    result = bootstrap(f, n, seed=2)
    state = f.reml_state
    sigma, tau = state.sigma, float(np.sqrt(state.covariance(0)[0, 0]))
    drawn_sigma = result.column(Quantity("sigma"))
    drawn_tau = result.column(Quantity("sd", "Rail", (ONE,)))
    assert (drawn_tau > 0).all()
    within = groups * (size - 1) * drawn_sigma**2 / sigma**2
    between = (groups - 1) * (drawn_sigma**2 + size * drawn_tau**2) / (sigma**2 + size * tau**2)
    mean = (result.column(Quantity("fixed", "", (ONE,))) - result.estimates[0]) / np.sqrt(
        (sigma**2 / size + tau**2) / groups
    )
    assert stats.kstest(within, stats.chi2(groups * (size - 1)).cdf).pvalue > 1e-3
    assert stats.kstest(between, stats.chi2(groups - 1).cdf).pvalue > 1e-3
    assert stats.kstest(mean, stats.norm.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(within, between)[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(within, mean)[0, 1]) < 4 / np.sqrt(n)


def test_zero_variances_are_zero_as_often_as_they_should_be():
    """A balanced one-way layout estimated without variance between groups: P(MSB < MSW) is an F probability."""
    f, n = fitted("p_within_only", "ri"), 2000
    assert f.reml_state.singular
    result = bootstrap(f, n, seed=3)
    draws = result.column(Quantity("sd", "Batch", (ONE,)))
    expected = stats.f.cdf(1.0, 5, 24)
    assert np.mean(draws == 0.0) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))
    interval = next(i for i in result.intervals() if i.kind == "sd")
    assert interval.low == 0.0 and interval.high > 0
    assert result.failures == 0


def test_pooled_draws_follow_least_squares_theory():
    f, n = fitted("hedonic", "pooled"), 4000
    result = bootstrap(f, n, seed=1)
    p = len(f.problem.basis.fixed)
    covariance = np.cov(result.draws[:, :p].T)
    expected = f.reml_state.fixed_cov
    size = np.sqrt(np.diag(expected))
    assert (covariance / np.outer(size, size)) == pytest.approx(expected / np.outer(size, size), abs=5 / np.sqrt(n))
    chi2 = result.column(Quantity("sigma")) ** 2 / f.reml_state.sigma**2 * (f.n_obs - p)
    assert stats.kstest(chi2, stats.chi2(f.n_obs - p).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("key", "name", "model", "method"),
    [("sleepstudy_rs_REML", "sleepstudy", "rs", "reml"), ("pastes_ml_ML", "pastes", "ml", "ml")],
)
def test_distribution_agrees_with_bootmer(key, name, model, method):
    theirs, n = R["bootMer"][key], 4000
    result = bootstrap(fitted(name, model), n, seed=6, method=method)
    names = {
        "sd Subject (Intercept)": "Subject (Intercept)",
        "sd Subject Days": "Subject Days",
        "correlation Subject (Intercept) Days": "Subject correlation",
        "sd batch (Intercept)": "b (Intercept)",
        "sd batch/cask (Intercept)": "cask_in (Intercept)",
        "sigma": "Residual ",
        "fixed (Intercept)": "(Intercept)",
        "fixed Days": "Days",
    }
    seen = 0
    for quantity in result.quantities:
        if quantity.name not in names:
            continue
        seen += 1
        known, draws = theirs["draws"][names[quantity.name]], result.column(quantity)
        draws = draws[np.isfinite(draws)]
        noise = known["sd"] * np.sqrt(1 / theirs["n"] + 1 / n)
        assert draws.mean() == pytest.approx(known["mean"], abs=4 * noise), quantity.name
        # The sd of a near-normal sample has relative error 1/√(2n); tails here are not far from normal.
        assert draws.std() == pytest.approx(known["sd"], rel=6 * np.sqrt(0.5 / theirs["n"] + 0.5 / n)), quantity.name
        zero = known["zero"]
        spread = np.sqrt(max(zero * (1 - zero), 1e-4) * (1 / theirs["n"] + 1 / n))
        assert np.mean(np.abs(draws) < 0.01 * known["sd"]) == pytest.approx(zero, abs=4 * spread), quantity.name
        for p, at in zip(R["quantiles"], known["quantiles"], strict=True):
            # The share of our draws below their quantile; an atom at zero may stand on either side.
            below, up_to = np.mean(draws < at - 0.01 * known["sd"]), np.mean(draws <= at + 0.01 * known["sd"])
            error = 4 * np.sqrt(p * (1 - p) * (1 / theirs["n"] + 1 / n))
            assert below - error <= p <= up_to + error, (quantity.name, p)
    assert seen == len(theirs["draws"])


@pytest.mark.parametrize("kind", ["LRT", "RLRT"])
@pytest.mark.parametrize(
    ("name", "small"), [("dyestuff", "pooled"), ("orthodont_girls", "pooled"), ("sleepstudy", "pooled")]
)
def test_distribution_under_the_null_is_the_exact_one(name, small, kind):
    """RLRsim (Crainiceanu & Ruppert 2004) draws from the exact finite-sample distribution by its spectrum."""
    known, n = R["exact"][name], 4000
    test = bootstrap_lrt(
        fitted(name, "pooled"), fitted(name, "ri"), n, seed=8, method="ml" if kind == "LRT" else "reml"
    )
    assert test.failures == 0
    zero = known[kind]["zero"]
    assert test.share_zero == pytest.approx(zero, abs=4 * np.sqrt(zero * (1 - zero) * (1 / n + 1 / known["n"])))
    for p, at in zip((0.75, 0.9, 0.95, 0.99), known[kind]["quantiles"], strict=True):
        below = np.mean(test.statistics <= at)
        assert below == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) * (1 / n + 1 / known["n"]))), p


def test_p_value_agrees_with_rlrsim_on_dyestuff():
    diag = json.loads((references.ROOT / "dyestuff" / "diag.json").read_text())
    for method, key in (("ml", "exactLRT_ri_vs_pooled"), ("reml", "exactRLRT_ri_vs_pooled")):
        test = bootstrap_lrt(fitted("dyestuff", "pooled"), fitted("dyestuff", "ri"), 9_999, seed=1, method=method)
        assert test.statistic == pytest.approx(diag[key]["stat"], rel=1e-5)
        known = diag[key]["p_mc"]
        assert test.p == pytest.approx(known, abs=4 * np.sqrt(known * (1 / 1e4 + 1 / diag[key]["nsim"])))
        assert test.p_error == pytest.approx(np.sqrt(test.p / 1e4), rel=0.05)


def test_pooled_models_are_compared_as_the_f_test_does():
    case = references.case("hedonic")
    full = case.model_spec("pooled")
    f1 = fit(panel("hedonic").moments, full)
    # Drop the column with the smallest |t|, so that p is not near zero.
    t = {e.term: abs(e.statistic) for e in f1.ml.fixed if e.term != ONE}
    weakest = min(t, key=t.get)
    f0 = fit(panel("hedonic").moments, ModelSpec(tuple(c for c in full.fixed if c != weakest)))
    effect = next(e for e in f1.reml.fixed if e.term == weakest)
    n = 9999
    test = bootstrap_lrt(f0, f1, n, seed=1)
    assert test.p == pytest.approx(effect.p, abs=4 * np.sqrt(effect.p * (1 - effect.p) / n))


def test_fixed_effects_are_tested_under_random_ones():
    """Dropping Days from sleepstudy's random-intercept model: hopeless; its p is the smallest possible."""
    case = references.case("sleepstudy")
    f1 = fitted("sleepstudy", "ri")
    f0 = fit(panel("sleepstudy").moments, ModelSpec((ONE,), case.model_spec("ri").random))
    test = bootstrap_lrt(f0, f1, 199)
    assert test.p == pytest.approx(1 / 200)
    # Under the null the statistic is close to chi-squared on one degree of freedom (balanced, 18 subjects).
    assert np.mean(test.statistics) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 199) + 0.05)
    assert test.share_zero < 0.02


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [("pastes", "ri", "ml"), ("pastes", "ri_outer", "ml"), ("empluk", "ml", "ml_rs"), ("empluk", "pooled", "ml_rs")],
)
def test_statistics_of_nested_pairs_are_never_negative_before_they_are_cut(name, small, large):
    """The larger model's fit must find at least the smaller one's likelihood, on every draw."""
    from hierreport.bootstrap_pairs import simulated_pairs

    null, alternative = fitted(name, small), fitted(name, large)
    base, other = simulated_pairs(null.ml_state, alternative.ml_state, 150, 3, 1)
    assert base.converged.all() and other.converged.all()
    assert (base.value - other.value).min() > -1e-6
    test = bootstrap_lrt(null, alternative, 150, 3)
    assert test.statistics == pytest.approx(np.maximum(base.value - other.value, 0), abs=1e-12)
    observed = null.ml.deviance - alternative.ml.deviance
    assert test.statistic == pytest.approx(max(observed, 0), abs=1e-7)
    assert test.p == pytest.approx((1 + np.sum(test.statistics >= observed - 1e-7)) / 151)


def test_intervals_are_order_statistics_and_their_reflection():
    result = bootstrap(fitted("sleepstudy", "rs"), 999, seed=1)
    percentile, basic = result.intervals(), result.intervals("basic")
    for j, (p, b) in enumerate(zip(percentile, basic, strict=True)):
        draws = np.sort(result.draws[:, j])
        quantity = result.quantities[j]
        assert (p.low, p.high) == pytest.approx((draws[24], draws[974]), rel=1e-12)
        low, high = quantity.bounds
        assert b.low == pytest.approx(max(2 * p.estimate - p.high, low))
        assert b.high == pytest.approx(min(2 * p.estimate - p.low, high))
        assert p.method == "bootstrap percentile" and b.method == "bootstrap basic"
    record = result.to_dict()
    assert json.dumps(record)
    assert len(record["intervals"]) == 2 * len(result.quantities) and "draws" not in record


def test_too_few_draws_give_no_interval_and_say_so():
    interval = bootstrap(fitted("rail", "ri"), 20).intervals()[0]
    assert interval.low is None and "too few" in interval.note


def test_correlations_of_zero_variances_are_counted_not_invented():
    result = bootstrap(fitted("p_two_groups", "rs"), 400, seed=1)
    by_name = {q.name: (q, i) for q, i in zip(result.quantities, result.intervals(), strict=True)}
    quantity, interval = next(v for k, v in by_name.items() if k.startswith("correlation"))
    draws = result.column(quantity)
    undefined = int(np.isnan(draws).sum()) - result.failures
    sds = [result.column(q) for q in result.quantities if q.kind == "sd"]
    assert undefined == int(np.sum((sds[0] == 0) | (sds[1] == 0))) > 0
    assert f"not defined in {undefined} of 400" in interval.note


def test_models_that_moments_cannot_simulate_are_refused():
    from numpy_panels import panel_moments

    rng = np.random.default_rng(1)
    firm, time = np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12)
    y = rng.normal(size=72) + rng.normal(size=12)[firm]
    p = panel_moments({"x": rng.normal(size=72)}, y, {"firm": firm}, time=time)
    random = (LevelSpec("firm", ((ONE,),)),)
    plain = fit(p, ModelSpec((ONE, "x"), random))
    serial = fit(p, ModelSpec((ONE, "x"), random, errors="ar1"))
    with pytest.raises(ModelError, match="serially correlated"):
        bootstrap(serial, 10)
    with pytest.raises(ModelError, match="serially correlated"):
        bootstrap_lrt(plain, serial, 10)
    with pytest.raises(ModelError, match="at least 1"):
        bootstrap(plain, 0)
    with pytest.raises(ModelError, match="not a special case"):
        bootstrap_lrt(plain, fit(p, ModelSpec((ONE,), ())), 10)
    with pytest.raises(ModelError, match="same moments"):
        bootstrap_lrt(fitted("rail", "ri"), plain, 10)
    with pytest.raises(ModelError, match="fixed effects"):
        bootstrap_lrt(fit(p, ModelSpec((ONE,), random)), plain, 10, method="reml")
    with pytest.raises(ModelError, match="percentile or basic"):
        bootstrap(plain, 50).intervals("bca")
