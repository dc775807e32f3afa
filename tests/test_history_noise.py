"""Is a change more than sampling noise: size, power and variance of the test, on simulated pairs of panels."""

from __future__ import annotations

import numpy as np
import pytest
from history_simulation import CASES, Case, nested, pair, rejections

from hierreport.history import noise

DRAWS = 80


@pytest.mark.parametrize("case", [CASES[k] for k in (0, 1, 3, 5, 6)], ids=lambda c: c.name)
def test_size(case: Case) -> None:
    """5 % tests reject in 5 % of draws without a change, within 3.5 Monte-Carlo standard errors (0.024 each)."""
    error = np.sqrt(0.05 * 0.95 / DRAWS)
    for term, (share, tests) in rejections(case, DRAWS, seed=3).items():
        assert tests > 0.5 * DRAWS, term
        assert share < 0.05 + 3.5 * error, term


def test_variance_of_a_change_honours_the_overlap() -> None:
    """The standard error of a change is its standard deviation over draws, a fraction of what independence gives."""
    random, case = np.random.default_rng(5), CASES[0]
    changes, errors, apart = [], [], []
    for _ in range(120):
        before, now = pair(case, random)
        found = noise.compare(before, now, nested(case)).terms["z"]
        changes.append(found["z"] * found["se_change"])
        errors.append(found["se_change"])
        apart.append(float(np.hypot(*(np.sqrt(noise.influences(f).cov[2, 2]) for f in (before, now)))))
    # an sd from 120 draws has a standard error of 6 %
    assert np.mean(errors) == pytest.approx(np.std(changes), rel=0.2)
    assert np.mean(errors) < 0.4 * np.mean(apart)


def test_power() -> None:
    """A slope that differs by 0.5 in the added groups is found."""
    case = Case("20 groups beside 60", 60, new=20, shift=0.5)
    found = rejections(case, 40, seed=9, level=0.01)
    assert found["z"][0] > 0.8
    assert found["x"][0] < 0.15


def test_few_groups_that_were_revised_have_no_test() -> None:
    before, now = pair(Case("", 4, revised=0.2), np.random.default_rng(2))
    found = noise.compare(before, now, "").terms["x"]
    assert found["p"] is None and found["method"] == "too few groups carry the change"


def test_the_models_own_variance_where_one_group_was_added() -> None:
    """Its standard error is the sd of the change over draws, and it rejects as often as it should."""
    random, case = np.random.default_rng(4), Case("", 40, new=1)
    p, changes, variances = [], [], []
    for _ in range(150):
        found = noise.compare(*pair(case, random), "now").terms["z"]
        if found["method"] == "model":
            assert found["df"] is None
            p.append(found["p"])
            changes.append(found["z"] * found["se_change"])
            variances.append(found["se_change"] ** 2)
    assert len(p) > 100
    assert np.std(changes) == pytest.approx(np.sqrt(np.mean(variances)), rel=0.25)
    assert np.mean(np.array(p) < 0.05) < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / len(p))


def test_covariance_under_the_same_components_is_the_fits_own() -> None:
    before, now = pair(CASES[1], np.random.default_rng(6))
    for fit in (before, now):
        assert noise.covariance_under(fit, fit) == pytest.approx(
            np.array(fit.record("", "", "normal").to_dict()["reml"]["fixed_cov"]), rel=1e-8
        )
    fewer, more = noise.covariance_under(now, before), noise.covariance_under(now, now)
    assert np.all(np.linalg.eigvalsh(fewer - more) > 0)
