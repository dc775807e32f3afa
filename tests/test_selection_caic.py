"""Conditional AIC against cAIC4 and against its definition by perturbing every outcome."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import case_moments
import numpy as np
import pytest
import reference_cases as references

from hierreport import mixed
from hierreport.conditional_aic import conditional_aic
from hierreport.errors import ModelError
from hierreport.moments import PanelMoments

REFERENCE = json.loads((Path(__file__).parent / "selection_reference" / "reference.json").read_text())


def fitted(name: str, model: str) -> mixed.MixedFit:
    return mixed.fit(case_moments.panel(name).moments, references.case(name).model_spec(model))


@pytest.mark.parametrize("theirs", REFERENCE, ids=lambda r: f"{r['case']}-{r['model']}-{r['method']}")
def test_agrees_with_caic4(theirs):
    found = conditional_aic(fitted(theirs["case"], theirs["model"]).state(theirs["method"]))
    assert found.loglik == pytest.approx(theirs["loglik"], abs=1e-5)
    assert found.caic == pytest.approx(-2 * found.loglik + 2 * found.df)
    if theirs.get("df_mended"):
        # cAIC4's own df halves one term of the correction (see make.R): with it put right the two agree.
        assert found.df == pytest.approx(theirs["df_mended"], abs=1e-5)
        assert abs(found.df - theirs["df"]) < 0.35
    else:
        # No variance between groups: pooled OLS, its coefficients and σ².
        assert found.df == pytest.approx(2.0, abs=1e-9)


def fitted_values(panel: case_moments.Panel, whole: mixed.MixedFit, y: np.ndarray, method: str) -> np.ndarray:
    w = panel.w.copy()
    w[:, -1] = y
    ids = [panel.keys[level] for level in panel.moments.levels]
    moments = case_moments.reduce_rows(w, panel.moments.columns, ids, panel.moments.levels)
    fit = mixed.fit(moments, whole.spec, start=whole.state(method).theta, restarts=0)
    state = fit.state(method)
    out = panel.columns(state.criterion.problem.basis.fixed) @ state.beta_raw
    for level in state.criterion.levels:
        effects = fit.effects(level.name, method)
        place = {key: i for i, key in enumerate(effects["labels"][-1])}
        rows = [place[key] for key in panel.keys[level.name]]
        out = out + np.sum(panel.columns(level.terms) * effects["estimate"][:, rows].T, axis=1)
    return out


@pytest.mark.parametrize(
    ("name", "model", "method"),
    [("dyestuff", "ri", "ml"), ("dyestuff", "ri", "reml"), ("orthodont_girls", "rs", "ml"), ("machines", "ml", "reml")],
)
def test_df_is_the_sensitivity_of_the_fitted_values(name, model, method):
    panel, fit = case_moments.panel(name), fitted(name, model)
    step = 1e-4 * panel.y.std()
    trace = 0.0
    for i in range(len(panel.y)):
        up, down = panel.y.copy(), panel.y.copy()
        up[i] += step
        down[i] -= step
        change = fitted_values(panel, fit, up, method)[i] - fitted_values(panel, fit, down, method)[i]
        trace += change / (2 * step)
    assert conditional_aic(fit.state(method)).df == pytest.approx(trace + 1.0, abs=1e-6)


def test_pooled_counts_its_coefficients():
    fit = fitted("produc", "pooled")
    found = conditional_aic(fit.ml_state)
    assert found.df == pytest.approx(8.0, abs=1e-9)
    assert found.caic == pytest.approx(fit.ml.aic, abs=1e-8)


def test_structured_errors_are_refused():
    panel = case_moments.panel("gasoline")
    spec = replace(references.case("gasoline").model_spec("ri"), errors="ar1")
    fit = mixed.fit(PanelMoments(panel.moments, case_moments.lag_moments(panel)), spec)
    with pytest.raises(ModelError, match="independent errors"):
        conditional_aic(fit.ml_state)
