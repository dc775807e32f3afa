"""Predictive log scores against conditional normal densities of the rows."""

from __future__ import annotations

from dataclasses import replace

import case_moments
import numpy as np
import pytest
import reference_cases as references

from hierreport import mixed, predictive, predictive_ahead
from hierreport.errors import ModelError
from hierreport.moments import PanelMoments
from hierreport.spec import LevelSpec, ModelSpec

INTERCEPTS = (("(Intercept)",),)


def normal(r: np.ndarray, v: np.ndarray) -> float:
    return -0.5 * (len(r) * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + r @ np.linalg.solve(v, r))


def dense(panel: case_moments.Panel, state, rows: np.ndarray) -> float:
    """Log density of some rows at a state's parameters."""
    beta = state.beta_raw
    x = panel.columns(state.criterion.problem.basis.fixed)[rows]
    v = np.eye(len(x))
    if state.rho is not None:
        same = panel.code[rows][:, None] == panel.code[rows][None, :]
        v = state.rho ** np.abs(panel.time[rows][:, None] - panel.time[rows][None, :]) * same
    v = v * state.sigma**2
    for number, level in enumerate(state.criterion.levels):
        z, key = panel.columns(level.terms)[rows], panel.keys[level.name][rows]
        v += (z @ state.covariance(number) @ z.T) * (key[:, None] == key[None, :])
    return normal(panel.y[rows] - x @ beta, v)


def subset(panel: case_moments.Panel, rows: np.ndarray):
    ids = [panel.keys[level][rows] for level in panel.moments.levels]
    return case_moments.reduce_rows(panel.w[rows], panel.moments.columns, ids, panel.moments.levels)


@pytest.mark.parametrize(
    ("name", "model", "level", "k"),
    [
        ("machines", "ml", "Worker", None),
        ("machines", "ml", "Worker/Machine", 4),
        ("machines", "pooled", "Worker/Machine", 5),
        ("empluk", "rs", "sector", None),
        ("empluk", "ml_rs", "sector/firm", 3),
    ],
)
def test_score_is_the_conditional_density_of_the_left_out_rows(name, model, level, k):
    panel, spec = case_moments.panel(name), references.case(name).model_spec(model)
    fit = mixed.fit(panel.moments, spec)
    found = predictive.left_out_score(fit, level, k=k, seed=5)
    masks = predictive.folds_of(panel.moments, level, k, seed=5)
    everything = np.ones(len(panel.w), dtype=bool)
    for mask, value in zip(masks, found.values, strict=True):
        keep = ~mask[panel.code]
        state = mixed.fit(subset(panel, keep), spec).ml_state
        expected = dense(panel, state, everything) - dense(panel, state, keep)
        assert value == pytest.approx(expected, abs=2e-5)
    assert found.total == pytest.approx(sum(found.values))
    assert found.rows == len(panel.w) and found.note == ""


def test_score_under_autoregressive_errors():
    panel = case_moments.panel("gasoline")
    moments = PanelMoments(panel.moments, case_moments.lag_moments(panel))
    spec = replace(references.case("gasoline").model_spec("ri"), errors="ar1")
    fit = mixed.fit(moments, spec)
    with pytest.raises(ModelError, match="needs the panel's moments"):
        predictive.left_out_score(fit)
    found = predictive.left_out_score(fit, k=3, panel=moments)
    everything = np.ones(len(panel.w), dtype=bool)
    for mask, value in zip(predictive.folds_of(panel.moments, "country", 3), found.values, strict=True):
        keep = ~mask[panel.code]
        ids = [panel.keys["country"][keep]]
        code = np.unique(panel.code[keep], return_inverse=True)[1]
        small = case_moments.reduce_rows(panel.w[keep], panel.moments.columns, ids, ("country",))
        rows = case_moments.Panel(small, panel.w[keep], {"country": ids[0]}, code, panel.time[keep])
        state = mixed.fit(PanelMoments(small, case_moments.lag_moments(rows)), spec).ml_state
        assert value == pytest.approx(dense(panel, state, everything) - dense(panel, state, keep), abs=1e-4)


def test_score_with_a_crossed_effect_and_with_strata():
    panel = case_moments.panel("grunfeld")
    strata = case_moments.stratum_moments(panel)
    # Two strata: before and after 1945.
    late = (strata.stratum >= 10).astype(int)
    cells, which = np.unique(np.stack([strata.group, late]), axis=1, return_inverse=True)
    products = np.stack([strata.products[..., which == c].sum(axis=2) for c in range(cells.shape[1])], axis=2)
    n = np.bincount(which.ravel(), weights=strata.n).astype(int)
    two = replace(strata, strata=np.array(["early", "late"]), group=cells[0], stratum=cells[1], n=n, products=products)
    moments = PanelMoments(panel.moments, None, case_moments.period_moments(panel), {"era": two})
    spec = references.case("grunfeld").model_spec("ri")
    for extra in ({"crossed": "year"}, {"variances": "era"}):
        fit = mixed.fit(moments, replace(spec, **extra))
        found = predictive.left_out_score(fit, k=2, panel=moments)
        assert len(found.values) == 2 and all(np.isfinite(found.values))
        # The other way round: density of all rows = density of the kept ones times the conditional one.
        mask = predictive.folds_of(panel.moments, "firm", 2)[0]
        small = mixed.fit(predictive.kept_panel(moments, ~mask), replace(spec, **extra)).ml_state
        whole = predictive.log_density(fit.ml_state.criterion, predictive.plain_parameters(small))
        assert found.values[0] == pytest.approx(whole + 0.5 * small.optimum.value, abs=1e-4)
        own = predictive.log_density(fit.ml_state.criterion, predictive.plain_parameters(fit.ml_state))
        assert own == pytest.approx(fit.ml.loglik, abs=1e-9)


def test_a_fold_that_alone_identifies_a_fixed_effect_is_undefined():
    panel = case_moments.panel("empluk")
    solo = (panel.keys["sector"] == "3").astype(float)
    names = ("(Intercept)", "lwage", "solo", "lemp")
    w = np.column_stack([panel.columns(names[:2]), solo, panel.y])
    ids = [panel.keys[level] for level in panel.moments.levels]
    moments = case_moments.reduce_rows(w, names, ids, panel.moments.levels)
    fit = mixed.fit(moments, ModelSpec(names[:3], (LevelSpec("sector/firm", INTERCEPTS),)))
    found = predictive.left_out_score(fit, "sector")
    assert found.values.count(None) == 1 and "1 of 9 folds" in found.note
    assert found.rows == int((solo == 0).sum())
    held = predictive.held_score(fit, "sector")
    assert held.values.count(None) == 1 and held.rows == found.rows


@pytest.mark.parametrize("model", ["pooled", "ri", "ml_rs"])
def test_held_score_keeps_theta(model):
    panel, spec = case_moments.panel("empluk"), references.case("empluk").model_spec(model)
    fit = mixed.fit(panel.moments, spec)
    found = predictive.held_score(fit, "sector")
    state = fit.ml_state
    fixed = state.criterion.problem.basis.fixed
    x, sector = panel.columns(fixed), panel.keys["sector"]
    v = np.eye(len(x))
    for number, level in enumerate(state.criterion.levels):
        z, key = panel.columns(level.terms), panel.keys[level.name]
        v += (z @ (state.covariance(number) / state.sigma**2) @ z.T) * (key[:, None] == key[None, :])
    for label, value in zip(np.unique(panel.moments.labels[0]), found.values, strict=True):
        keep = sector != label
        vk, xk, yk = v[np.ix_(keep, keep)], x[keep], panel.y[keep]
        beta = np.linalg.solve(xk.T @ np.linalg.solve(vk, xk), xk.T @ np.linalg.solve(vk, yk))
        residual = yk - xk @ beta
        variance = residual @ np.linalg.solve(vk, residual) / keep.sum()
        out = ~keep
        expected = normal(panel.y[out] - x[out] @ beta, variance * v[np.ix_(out, out)])
        assert value == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("source", ["period_moments", "stratum_moments"])
@pytest.mark.parametrize("name", ["grunfeld", "empluk"])
def test_forward_score_is_the_density_of_the_next_period(name, source):
    panel, spec = case_moments.panel(name), references.case(name).model_spec("ri")
    cells = getattr(case_moments, source)(panel)
    found = predictive_ahead.forward_score(panel.moments, cells, spec, horizons=3)
    periods = np.unique(panel.time)[-3:]
    for period, value in zip(periods, found.values, strict=True):
        past, now = panel.time < period, panel.time <= period
        state = mixed.fit(subset(panel, past), spec).ml_state
        assert value == pytest.approx(dense(panel, state, now) - dense(panel, state, past), abs=2e-5)
    assert found.rows == int((panel.time >= periods[0]).sum())


@pytest.mark.parametrize(("name", "model"), [("empluk", "ri"), ("gasoline", "ri"), ("grunfeld", "pooled")])
@pytest.mark.parametrize("errors", ["ar1", "car1"])
def test_forward_score_under_autoregressive_errors(name, model, errors):
    """Against fits and dense densities of the rows; two rows are gone, so that there are gaps in time."""
    whole = case_moments.panel(name)
    rows = np.delete(np.arange(len(whole.w)), [5, len(whole.w) - 3])
    panel = thinned(whole, rows)
    spec = replace(references.case(name).model_spec(model), errors=errors)
    cells = replace(case_moments.period_moments(panel), times=np.unique(panel.time) * 4.0)
    found = predictive_ahead.forward_score(panel.moments, cells, spec, horizons=2, step=4.0)
    for period, value in zip(np.unique(panel.time)[-2:], found.values, strict=True):
        past, now = panel.time < period, panel.time <= period
        before = thinned(panel, np.flatnonzero(past))
        state = mixed.fit(PanelMoments(before.moments, case_moments.lag_moments(before)), spec).ml_state
        assert value == pytest.approx(dense(panel, state, now) - dense(panel, state, past), abs=2e-4)
    assert found.rows == int((panel.time >= np.unique(panel.time)[-2]).sum())
    with pytest.raises(ModelError, match="needs the times of the periods"):
        predictive_ahead.forward_score(panel.moments, cells, spec)


def thinned(panel: case_moments.Panel, rows: np.ndarray) -> case_moments.Panel:
    """Some rows of a panel as a panel of their own."""
    keys = {level: ids[rows] for level, ids in panel.keys.items()}
    code = np.unique(panel.code[rows], return_inverse=True)[1]
    return case_moments.Panel(subset(panel, rows), panel.w[rows], keys, code, panel.time[rows])


def test_forward_score_needs_predictable_fixed_effects():
    panel = case_moments.panel("grunfeld")
    last = (panel.time == panel.time.max()).astype(float)
    names = ("(Intercept)", "value", "year[1954]", "inv")
    w = np.column_stack([panel.columns(names[:2]), last, panel.y])
    moments = case_moments.reduce_rows(w, names, [panel.keys["firm"]], ("firm",))
    rows = case_moments.Panel(moments, w, panel.keys, panel.code, panel.time)
    spec = ModelSpec(names[:3], (LevelSpec("firm", INTERCEPTS),))
    found = predictive_ahead.forward_score(moments, case_moments.period_moments(rows), spec, horizons=2)
    assert found.values[1] is None and found.values[0] is not None
    assert "effect of the period itself" in found.note
    with pytest.raises(ModelError, match="unequal variances"):
        predictive_ahead.forward_score(moments, case_moments.period_moments(rows), replace(spec, variances="firm"))


def test_folds_are_the_same_for_every_model_and_cover_every_group_once():
    moments = case_moments.panel("empluk").moments
    folds = predictive.folds_of(moments, "sector/firm", 10, seed=1)
    assert np.array_equal(np.sum(folds, axis=0), np.ones(len(moments.n)))
    assert all(
        np.array_equal(a, b) for a, b in zip(folds, predictive.folds_of(moments, "sector/firm", 10, 1), strict=True)
    )
    assert not np.array_equal(folds[0], predictive.folds_of(moments, "sector/firm", 10, seed=2)[0])
    by_sector = predictive.folds_of(moments, "sector", 3)
    for fold in by_sector:
        assert all(len(set(fold[moments.labels[0] == s])) == 1 for s in np.unique(moments.labels[0]))
    with pytest.raises(ModelError, match="20 folds of 9 groups"):
        predictive.folds_of(moments, "sector", 20)
