"""Tail probabilities against scipy's, over the range that tests and intervals use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from hierreport import tails


@pytest.mark.parametrize("df", [0.3, 1, 1.7, 2, 3.5, 8, 30, 137.2, 1e3, 1e5, 1e7])
def test_student_tail(df):
    for t in (0.0, 0.1, 0.7, 1.96, 3.3, 8.0, 25.0, 150.0):
        expected = special.stdtr(df, -t)
        if expected > 1e-290:
            assert tails.student_sf(t, df) == pytest.approx(expected, rel=1e-11 if df < 1e4 else 1e-9)
        assert tails.student_sf(-t, df) == pytest.approx(1 - expected, rel=1e-11)


@pytest.mark.parametrize("df", [0.3, 1, 1.7, 2, 3.5, 8, 30, 137.2, 1e3, 1e5])
@pytest.mark.parametrize("p", [0.6, 0.9, 0.975, 0.995, 0.99999, 0.025, 0.5])
def test_student_quantile(df, p):
    assert tails.student_quantile(p, df) == pytest.approx(special.stdtrit(df, p), rel=1e-8, abs=1e-9)
    assert tails.student_sf(tails.student_quantile(p, df), df) == pytest.approx(1 - p, rel=1e-11)


def test_cauchy_by_hand():
    assert tails.student_quantile(0.75, 1) == pytest.approx(1.0, rel=1e-13)
    assert tails.student_sf(1.0, 1) == pytest.approx(0.25, rel=1e-13)
    assert tails.student_sf(1e-8, 1) == pytest.approx(0.5 - np.arctan(1e-8) / np.pi, rel=1e-15)


@pytest.mark.parametrize("df2", [0.7, 1, 4.3, 12, 133.8, 2e3, 1e6])
@pytest.mark.parametrize("df1", [1, 2, 3.5, 7, 40])
def test_f_tail(df1, df2):
    for f in (0.0, 1e-3, 0.3, 1.0, 2.7, 9.0, 60.0):
        expected = special.fdtrc(df1, df2, f)
        if expected > 1e-290:
            assert tails.f_sf(f, df1, df2) == pytest.approx(expected, rel=1e-10 if df2 < 1e4 else 1e-8)


@pytest.mark.parametrize("df", range(1, 12))
def test_chi_squared_tail(df):
    for x in np.geomspace(1e-6, 900, 40):
        assert tails.chi2_sf(x, df) == pytest.approx(special.chdtrc(df, x), rel=1e-11)
    assert tails.chi2_sf(0.0, df) == 1.0


def test_ends():
    assert tails.chi2_sf(0.0, 0) == 1.0
    assert tails.chi2_sf(1.0, 0) == 0.0
    assert tails.student_sf(1.5, np.inf) == pytest.approx(special.ndtr(-1.5), rel=1e-14)
    assert tails.normal_sf(40.0) == pytest.approx(special.ndtr(-40.0), rel=1e-11)
    assert np.isnan(tails.student_sf(np.nan, 3))


def test_a_quantile_beyond_the_floating_point_range_is_infinite() -> None:
    assert tails.student_quantile(0.975, 0.001) == np.inf and tails.student_quantile(0.025, 0.001) == -np.inf
    assert np.isfinite(tails.student_quantile(0.975, 0.02))
