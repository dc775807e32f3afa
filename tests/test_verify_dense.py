"""The second engines against R: log-likelihoods at R's own estimates, from the rows of the CSV files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference_cases as references
from scipy.linalg import block_diag

from hierreport.verify import dense, peer
from hierreport.verify.rows import Rows


def rows_of(case: references.Case, time: bool = False) -> Rows:
    """Rows of a case as the second engines read them."""
    columns = {
        n: case.matrix((n,))[:, 0] for n in dict.fromkeys(c for m in case.spec["models"] for c in names(case, m))
    }
    codes = {}
    for depth in range(len(case.spec["groups"])):
        path = "/".join(case.spec["groups"][: depth + 1])
        codes[path] = np.unique(case.keys(path), return_inverse=True)[1]
    n = len(next(iter(columns.values())))
    when = case.matrix((case.spec["time"],))[:, 0] if time else None
    return Rows(case.matrix((case.spec["outcome"],))[:, 0], columns, codes, None, when, None, None, n, 1)


def names(case: references.Case, model: dict) -> tuple[str, ...]:
    slopes = [t for part in model["random"] for t in part["terms"] if t != "1"]
    return (*case.fixed_columns(model["id"]), *slopes)


def estimate_of(result: dict) -> dict:
    """R's estimate in our record's words; R lists levels innermost first, and independent terms one by one."""
    parts: dict[str, list] = {}
    for v in result.get("varcorr", []):
        parts.setdefault(v["level"], []).append((v["terms"], np.atleast_2d(v["cov"])))
    random = [
        {
            "level": level,
            "terms": [t for terms, _ in found for t in terms],
            "cov": block_diag(*(cov for _, cov in found)),
        }
        for level, found in sorted(parts.items())
    ]
    fixed = [{"term": t, "estimate": v} for t, v in result.get("fixef", result.get("coef")).items()]
    return {"fixed": fixed, "random": random, "sigma": result["sigma"], "rho": result.get("phi")}


@pytest.mark.parametrize(("name", "model"), references.fitted_models())
def test_dense_gives_r_its_log_likelihood(name, model):
    case = references.case(name)
    rows = rows_of(case)
    for kind in ("ML", "REML"):
        result = case.ref["models"][model][kind]
        found = dense.loglik(rows, estimate_of(result), reml=kind == "REML")
        assert found == pytest.approx(result["logLik"], rel=1e-9, abs=1e-7)


@pytest.mark.parametrize(("name", "model"), references.fitted_models())
def test_statsmodels_agrees_with_r_where_it_has_the_model(name, model):
    case = references.case(name)
    rows, spec = rows_of(case), case.model_spec(model)
    for kind in ("ML", "REML"):
        result = case.ref["models"][model][kind]
        estimate = estimate_of(result)
        if peer.expressible(spec, estimate, rows):
            found = peer.loglik(rows, spec, estimate, reml=kind == "REML")
            assert found == pytest.approx(result["logLik"], rel=1e-9, abs=1e-7)
        else:
            inner_slopes = len(spec.random) > 1 and any(len(b) > 1 for b in spec.random[-1].blocks)
            assert inner_slopes or result["is_singular"] or kind == "ML"


@pytest.mark.parametrize(("name", "model"), references.pooled_models())
def test_pooled(name, model):
    case = references.case(name)
    result = case.ref["models"][model]
    rows, spec, estimate = rows_of(case), case.model_spec(model), estimate_of(result)
    assert peer.loglik(rows, spec, estimate, reml=False) == pytest.approx(result["logLik"], rel=1e-9)
    assert dense.loglik(rows, estimate, reml=True) == pytest.approx(result["logLik_REML"], rel=1e-9)
    at_ml = estimate | {"sigma": result["sigma_ml"]}
    assert dense.loglik(rows, at_ml, reml=False) == pytest.approx(result["logLik"], rel=1e-9)


AR1 = [
    (name, model)
    for name in references.names()
    for model in references.case(name).ref.get("nlme_corAR1", {})
    if model not in ("time", "note")
]


@pytest.mark.parametrize(("name", "model"), AR1)
def test_serial_correlation(name, model):
    case = references.case(name)
    rows = rows_of(case, time=True)
    for kind in ("ML", "REML"):
        result = case.ref["nlme_corAR1"][model][kind]
        found = dense.loglik(rows, estimate_of(result), reml=kind == "REML")
        assert found == pytest.approx(result["logLik"], rel=1e-8, abs=1e-6)


def test_variances_by_stratum():
    case = references.case("ratpup")
    strata = np.array(case.columns["Treatment"])[case.used]
    rows = replace(rows_of(case), strata={"Treatment": strata})
    for kind in ("ML", "REML"):
        result = case.ref["nlme_varIdent"]["ri"][kind]
        (litter,) = result["varcorr"]
        parts = [{"level": "Litter", "terms": ["(Intercept)"], "cov": litter["cov"]}]
        estimate = estimate_of(result | {"varcorr": parts}) | {"variances": "Treatment", "sigmas": result["resid_sd"]}
        found = dense.loglik(rows, estimate, reml=kind == "REML")
        assert found == pytest.approx(result["logLik"], rel=1e-9, abs=1e-7)


def test_weights_scale_the_error_variance():
    """Two rows of weight 1 and 4 with variance sigma^2 / w, written out."""
    rows = Rows(
        np.array([1.0, 2.0]),
        {"(Intercept)": np.ones(2)},
        {"g": np.array([0, 1])},
        np.array([1.0, 4.0]),
        None,
        None,
        None,
        2,
        2,
    )
    estimate = {
        "fixed": [{"term": "(Intercept)", "estimate": 0.5}],
        "random": [{"level": "g", "terms": ["(Intercept)"], "cov": [[2.0]]}],
        "sigma": 3.0,
        "rho": None,
    }
    variances = np.array([2 + 9.0, 2 + 9.0 / 4])
    expected = -0.5 * (np.log(2 * np.pi * variances) + np.array([0.5, 1.5]) ** 2 / variances).sum()
    assert dense.loglik(rows, estimate, reml=False) == pytest.approx(expected, rel=1e-14)


def test_gaps_in_time_count():
    rows = Rows(
        np.array([1.0, -1.0, 2.0]),
        {"(Intercept)": np.ones(3)},
        {"g": np.array([0, 0, 1])},
        None,
        np.array([1.0, 4.0, 4.0]),
        None,
        None,
        3,
        2,
    )
    for rho in (0.5, -0.5):
        estimate = {"fixed": [], "random": [], "sigma": 2.0, "rho": rho}
        found = dense.covariance(rows, estimate, np.arange(3))
        assert found == pytest.approx(4 * np.array([[1, rho**3, 0], [rho**3, 1, 0], [0, 0, 1]]))
