"""Likelihood-ratio tests: mixtures against R's p-values and against simulated projections on cones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_cases as references

from hierreport import lrt
from hierreport.spec import LevelSpec, ModelSpec
from hierreport.tails import chi2_sf

FIXED = ("(Intercept)", "x")


def level(path: str, *blocks: tuple[str, ...]) -> LevelSpec:
    return LevelSpec(path, blocks)


def spec(*random: LevelSpec, fixed=FIXED, **other) -> ModelSpec:
    return ModelSpec(fixed, random, **other)


def ml(loglik: float, n_par: int, singular: bool = False, converged: bool = True) -> dict:
    return {"loglik": loglik, "n_par": n_par, "singular": singular, "converged": converged}


PAIRS = [
    (name, test["small"], test["large"])
    for name in references.names()
    for test in references.case(name).ref.get("lrt", [])
]


@pytest.mark.parametrize(("name", "small", "large"), PAIRS)
def test_against_r(name, small, large):
    case = references.case(name)
    expected = next(t for t in case.ref["lrt"] if (t["small"], t["large"]) == (small, large))

    def estimate(model):
        result = case.ref["models"][model]
        result = result.get("ML", result)
        return ml(result["logLik"], result["n_params"], result.get("is_singular", False))

    result = lrt.test(
        (small, case.model_spec(small), estimate(small)), (large, case.model_spec(large), estimate(large))
    )
    assert result.df == expected["df"]
    assert result.statistic == pytest.approx(max(expected["chisq_ML"], 0), abs=1e-6)
    tiny = expected["chisq_ML"] < 1e-6  # R's p-value of a rounding error means nothing
    assert result.p_naive == (1.0 if tiny else pytest.approx(expected["p_naive"], rel=1e-8, abs=1e-300))
    if "p_mixture" in expected and not estimate(small)["singular"] and not tiny:
        assert result.p_boundary == pytest.approx(expected["p_mixture"], rel=1e-8, abs=1e-300)
        assert {int(k) for k in result.weights} == set(expected["mixture_df"])
        assert result.exact
    assert result.p_boundary <= result.p_naive


def test_chi2_tail_is_the_survival_function():
    from scipy.stats import chi2

    for df in (1, 2, 3, 7):
        for statistic in (1e-3, 0.5, 3.84, 60.0):
            assert chi2_sf(statistic, df) == pytest.approx(chi2.sf(statistic, df), rel=1e-12)
    assert chi2_sf(0.5, 0) == 0.0
    assert chi2_sf(0.0, 0) == 1.0
    assert lrt.mixture_tail(0.0, {0: 0.5, 1: 0.5}) == 1.0


@pytest.mark.parametrize(
    ("null", "alternative", "expected"),
    [
        # first intercept
        (spec(), spec(level("g", ("(Intercept)",))), ({"0": 0.5, "1": 0.5}, True)),
        # correlated slope: q = 1
        (
            spec(level("g", ("(Intercept)",))),
            spec(level("g", ("(Intercept)", "x"))),
            ({"1": 0.5, "2": 0.5}, True),
        ),
        # a third coefficient, correlated with two: q = 2
        (
            spec(level("g", ("(Intercept)", "x"))),
            spec(level("g", ("(Intercept)", "x", "z"))),
            ({"2": 0.5, "3": 0.5}, True),
        ),
        # independent slope
        (
            spec(level("g", ("(Intercept)",))),
            spec(level("g", ("(Intercept)",), ("x",))),
            ({"0": 0.5, "1": 0.5}, True),
        ),
        # the correlation alone is an interior point
        (
            spec(level("g", ("(Intercept)",), ("x",))),
            spec(level("g", ("(Intercept)", "x"))),
            ({"1": 1.0}, True),
        ),
        # two levels at once: bounded
        (spec(), spec(level("a", ("(Intercept)",)), level("a/b", ("(Intercept)",))), ({"1": 0.5, "2": 0.5}, False)),
        # intercept and slope at once: bounded
        (spec(), spec(level("g", ("(Intercept)", "x"))), ({"2": 0.5, "3": 0.5}, False)),
        # AR(1) is an interior point, its continuous form a boundary
        (spec(), spec(errors="ar1"), ({"1": 1.0}, True)),
        (spec(), spec(errors="car1"), ({"0": 0.5, "1": 0.5}, True)),
        # an intercept given AR(1) errors
        (spec(errors="ar1"), spec(level("g", ("(Intercept)",)), errors="ar1"), ({"0": 0.5, "1": 0.5}, False)),
        # fixed effects only
        (spec(fixed=("(Intercept)",)), spec(), ({"1": 1.0}, True)),
    ],
)
def test_weights(null, alternative, expected):
    df = sum(k * (k + 1) // 2 for s in alternative.random for k in map(len, s.blocks))
    df -= sum(k * (k + 1) // 2 for s in null.random for k in map(len, s.blocks))
    df += len(alternative.fixed) - len(null.fixed) + (alternative.errors != null.errors)
    result = lrt.test(("null", null, ml(-100.0, 3)), ("alternative", alternative, ml(-98.0, 3 + df)))
    assert (result.weights, result.exact) == expected
    assert result.df == df
    assert bool(result.note) == (not result.exact or expected[0] == {"1": 1.0})


def test_a_factor_slope_is_one_term_of_several_columns():
    null = spec(level("g", ("(Intercept)",)))
    alternative = spec(level("g", ("(Intercept)", "f[b]", "f[c]")))
    assert lrt.difference(null, alternative).terms == ((2, 1),)
    result = lrt.test(("null", null, ml(-100, 4)), ("alternative", alternative, ml(-95, 9)))
    assert result.weights == {"4": 0.5, "5": 0.5}
    assert not result.exact
    assert "2 columns" in result.note


def test_a_singular_null_has_no_mixture():
    null, alternative = (
        spec(level("a/b", ("(Intercept)",))),
        spec(level("a", ("(Intercept)",)), level("a/b", ("(Intercept)",))),
    )
    result = lrt.test(("null", null, ml(-100, 4, singular=True)), ("alternative", alternative, ml(-98, 5)))
    assert result.p_boundary == result.p_naive
    assert not result.exact
    assert "singular" in result.note


@pytest.mark.parametrize(
    ("null", "alternative"),
    [
        (spec(level("a", ("(Intercept)",))), spec(level("a/b", ("(Intercept)",)))),
        (spec(level("g", ("(Intercept)", "x"))), spec(level("g", ("(Intercept)",), ("x",), ("z",)))),
        (spec(errors="ar1"), spec(level("g", ("(Intercept)",)))),
        (spec(fixed=("(Intercept)", "z")), spec(level("g", ("(Intercept)",)))),
    ],
)
def test_not_nested_means_no_test(null, alternative):
    assert lrt.difference(null, alternative) is None
    result = lrt.test(("null", null, ml(-100, 4)), ("alternative", alternative, ml(-98, 6)))
    assert result.p_boundary is None
    assert result.statistic is None
    assert "not a special case" in result.note


def test_rounding_is_not_evidence():
    null, alternative = spec(), spec(level("g", ("(Intercept)",)))
    result = lrt.test(("null", null, ml(-1e4, 3)), ("alternative", alternative, ml(-1e4 + 1e-7, 4, singular=True)))
    assert (result.statistic, result.p_naive, result.p_boundary) == (0.0, 1.0, 1.0)


def test_a_worse_larger_model_is_pointed_out():
    null, alternative = spec(), spec(level("g", ("(Intercept)",)))
    result = lrt.test(("null", null, ml(-100, 3)), ("alternative", alternative, ml(-101, 4)))
    assert "optimum was not found" in result.note
    assert result.p_boundary == 1.0


def test_the_bound_holds_for_two_coefficients_added_at_once():
    """Distance of a normal vector to the cone of 2 x 2 PSD matrices: never more often beyond the bound than it says."""
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((40_000, 3))  # identity information: entries (t11, sqrt(2) t12, t22)
    trace, gap = draws[:, 0] + draws[:, 2], np.hypot(draws[:, 0] - draws[:, 2], math.sqrt(2) * draws[:, 1])
    big, small = (trace + gap) / 2, (trace - gap) / 2
    statistic = np.maximum(big, 0) ** 2 + np.maximum(small, 0) ** 2  # squared length of the projection
    for at in (2.0, 4.0, 7.0):
        share = (statistic > at).mean()
        bound = lrt.mixture_tail(at, {2: 0.5, 3: 0.5})
        assert share < bound + 4 * math.sqrt(bound / len(draws))
        assert share > 0.3 * bound
    assert lrt.mixture_tail(7.0, {2: 0.5, 3: 0.5}) < chi2_sf(7.0, 3)
