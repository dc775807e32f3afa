"""ICC along the covariate of a random slope."""

from __future__ import annotations

import numpy as np
import pytest

from hierreport.icc_curve import icc_curves

ESTIMATE = {
    "sigma": 2.0,
    "random": [
        {"level": "a", "terms": ["(Intercept)"], "cov": [[1.0]]},
        {
            "level": "a/b",
            "terms": ["(Intercept)", "x", "z"],
            "cov": [[4.0, -1.0, 0.5], [-1.0, 2.0, 0.0], [0.5, 0.0, 1.0]],
        },
    ],
}


def test_variance_is_the_quadratic_form():
    found = icc_curves(
        ESTIMATE, {"x": {"mean": 1.0, "min": -2.0, "max": 3.0}, "z": {"mean": 0.5, "min": 0.0, "max": 1.0}}
    )
    x = np.array(found["x"]["x"])
    assert (x[0], x[-1]) == (-2.0, 3.0)
    expected = 4 - 2 * x + 2 * x**2 + 2 * 0.5 * 0.5 + 0.5**2  # z at its mean
    assert found["x"]["levels"]["a/b"] == pytest.approx(expected)
    assert found["x"]["levels"]["a"] == pytest.approx(np.ones_like(x))
    shares = np.array(found["x"]["icc"]["a/b"])
    assert shares == pytest.approx(expected / (expected + 1 + 4))
    assert set(found) == {"x", "z"}


def test_sleepstudy_variance_function():
    """Day 0 and day 9 of sleepstudy (REML, lme4): sd of subjects' means by the covariance of R's reference."""
    import reference_cases as references

    result = references.case("sleepstudy").ref["models"]["rs"]["REML"]
    part = result["varcorr"][0]
    estimate = {"sigma": result["sigma"], "random": [{"level": "Subject", "terms": part["terms"], "cov": part["cov"]}]}
    found = icc_curves(estimate, {"Days": {"mean": 4.5, "min": 0, "max": 9}})["Days"]
    assert found["icc"]["Subject"][0] == pytest.approx(612.09 / (612.09 + 654.94), abs=1e-5)
    late = 612.09 + 2 * 9 * 9.604 + 81 * 35.072  # Bates et al. (2015): variances 612.1 and 35.07, correlation 0.066
    assert found["levels"]["Subject"][-1] == pytest.approx(late, rel=1e-4)


def test_columns_without_a_range_have_no_curve():
    assert icc_curves(ESTIMATE, {}) == {}
    assert set(icc_curves(ESTIMATE, {"x": {"mean": 0.0, "sd": 1.0}, "z": {"mean": 0.0, "min": 1.0, "max": 1.0}})) == {
        "x"
    }
