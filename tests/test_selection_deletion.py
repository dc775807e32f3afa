"""Leaving groups out of a prepared problem: against R's refits and against moments of the remaining rows."""

from __future__ import annotations

from dataclasses import replace

import case_moments
import numpy as np
import pytest
import reference_cases as references
import reference_moments

from hierreport import mixed
from hierreport.criterion import Criterion
from hierreport.deletion import KeptMoments, kept_moments, refit, without_groups
from hierreport.diagnostics.deletion import criterion_without
from hierreport.diagnostics.refit import criterion_of, theta_of, without
from hierreport.errors import ModelError
from hierreport.spec import LevelSpec, ModelSpec

INTERCEPTS = (("(Intercept)",),)


def refitted(state, problem, factored, **options):
    return refit(state, Criterion(problem, state.criterion.reml, factored), **options)


def influences() -> list[tuple[str, dict]]:
    return [
        (d.name, entry)
        for d in sorted(references.ROOT.iterdir())
        if (d / "spec.json").exists()
        for entry in references.case(d.name).ref.get("influence", [])
    ]


def groups_of(moments, level: str):
    """Label and mask of the innermost groups for every group of a level."""
    depth = moments.levels.index(level)
    starts = moments.starts(depth)
    for s, t in zip(starts, np.append(starts[1:], len(moments.n)), strict=True):
        drop = np.zeros(len(moments.n), dtype=bool)
        drop[s:t] = True
        yield "/".join(ids[s] for ids in moments.labels[: depth + 1]), drop


@pytest.mark.parametrize(("name", "theirs"), influences(), ids=lambda v: v if isinstance(v, str) else v["model"])
def test_refits_agree_with_r(name, theirs):
    panel = case_moments.panel(name)
    fit = mixed.fit(panel.moments, references.case(name).model_spec(theirs["model"]))
    state = fit.state(theirs["estimation"])
    problem, factored = state.criterion.problem, state.criterion.factored
    seen = 0
    for label, drop in groups_of(panel.moments, theirs["level"]):
        ref = theirs["deleted"][label]
        found = refitted(state, *without_groups(problem, factored, drop))
        se = np.sqrt(np.diag(found.fixed_cov))
        assert (
            np.abs(found.beta_raw - ref["fixef_deleted"]).max() < 1e-6 * se.min() + 1e-7 * np.abs(found.beta_raw).max()
        )
        assert found.sigma == pytest.approx(ref["sigma_deleted"], rel=1e-6)
        assert -0.5 * found.optimum.value == pytest.approx(ref["logLik_deleted"], abs=1e-7)
        sds = [sd for level in found.criterion.levels for sd in np.sqrt(np.diag(found.covariance(0)))][:1]
        assert sds == pytest.approx(ref["re_sd_deleted"][:1], rel=1e-5, abs=1e-4)
        seen += 1
    assert seen == len(theirs["deleted"])


def remaining(panel: case_moments.Panel, drop: np.ndarray):
    """Moments summed anew from the rows that stay."""
    rows = ~drop[panel.code]
    ids = [panel.keys[level][rows] for level in panel.moments.levels]
    moments = case_moments.reduce_rows(panel.w[rows], panel.moments.columns, ids, panel.moments.levels)
    return moments


@pytest.mark.parametrize("model", ["pooled", "ri", "ri_outer", "ml_rs"])
@pytest.mark.parametrize("seed", [1, 2])
def test_criterion_without_random_groups_is_that_of_the_remaining_rows(model, seed):
    panel, spec = case_moments.panel("empluk"), references.case("empluk").model_spec(model)
    drop = np.random.default_rng(seed).random(len(panel.moments.n)) < 0.3
    fit = mixed.fit(panel.moments, spec)
    for state in (fit.ml_state, fit.reml_state):
        small, factored = without_groups(state.criterion.problem, state.criterion.factored, drop)
        found = refitted(state, small, factored)
        expected = mixed.fit(remaining(panel, drop), spec).state("reml" if state.criterion.reml else "ml")
        assert found.optimum.value == pytest.approx(expected.optimum.value, abs=1e-8)
        assert found.beta_raw == pytest.approx(expected.beta_raw, rel=1e-5)
        assert small.n_obs == expected.criterion.problem.n_obs
        assert np.allclose(small.total, small.total.T)


def test_a_huge_group_leaves_without_cancellation():
    # All but a tiny part of every sum of squares belongs to one group.
    rng = np.random.default_rng(3)
    keys = np.repeat([f"{g:02d}" for g in range(30)], 6)
    x = rng.normal(size=180) * np.where(keys == "07", 1e4, 1.0)
    y = 2.0 * x + np.repeat(rng.normal(size=30), 6) + rng.normal(size=180) * np.where(keys == "07", 1e4, 1.0)
    w = np.column_stack([np.ones(180), x, y])
    names = ("(Intercept)", "x", "y")
    moments = case_moments.reduce_rows(w, names, [keys], ("g",))
    spec = ModelSpec(names[:2], (LevelSpec("g", INTERCEPTS),))
    state = mixed.fit(moments, spec).ml_state
    drop = moments.labels[0] == "07"
    found = refitted(state, *without_groups(state.criterion.problem, state.criterion.factored, drop))
    rows = keys != "07"
    expected = mixed.fit(case_moments.reduce_rows(w[rows], names, [keys[rows]], ("g",)), spec).ml_state
    assert found.optimum.value == pytest.approx(expected.optimum.value, rel=1e-9)
    assert found.beta_raw[1] == pytest.approx(expected.beta_raw[1], rel=1e-8)


def test_a_fixed_effect_that_leaves_with_its_group():
    panel = case_moments.panel("empluk")
    solo = (panel.keys["sector"] == "3").astype(float)
    names = ("(Intercept)", "lwage", "solo", "lemp")
    w = np.column_stack([panel.columns(names[:2]), solo, panel.y])
    ids = [panel.keys[level] for level in panel.moments.levels]
    moments = case_moments.reduce_rows(w, names, ids, panel.moments.levels)
    spec = ModelSpec(names[:3], (LevelSpec("sector/firm", INTERCEPTS),))
    state = mixed.fit(moments, spec).ml_state
    drop = moments.labels[0] == "3"
    small, factored = without_groups(state.criterion.problem, state.criterion.factored, drop)
    assert small.basis.fixed == ("(Intercept)", "lwage")
    rows = solo == 0
    plain = case_moments.reduce_rows(w[rows], names, [i[rows] for i in ids], moments.levels)
    expected = mixed.fit(plain, ModelSpec(names[:2], spec.random)).ml_state
    assert refitted(state, small, factored).optimum.value == pytest.approx(expected.optimum.value, abs=1e-8)


def test_kept_moments_are_sums_over_the_remaining_rows():
    panel = case_moments.panel("produc")
    drop = np.zeros(len(panel.moments.n), dtype=bool)
    drop[[0, 1, 2, 7, 30]] = True
    found = kept_moments(panel.moments, ~drop)
    assert found.products.shape[2] == len(found.n) == 43
    assert np.allclose(found.parent_products.sum(axis=2), found.products.sum(axis=2), rtol=1e-13)
    assert found.parent_products.shape[2] == len(found.starts(0))
    lazy = KeptMoments(panel.moments, ~drop)
    assert lazy.n_obs == found.n_obs and lazy.columns == found.columns


def test_wide_panels_lose_whole_parents_only():
    panel, spec = case_moments.panel("produc"), references.case("produc").model_spec("ml_rs")
    moments = panel.moments
    z = np.array([0, moments.columns.index("unemp")])
    wide = replace(moments, products=moments.products[z], z_index=z)
    state, whole = mixed.fit(wide, spec).ml_state, mixed.fit(moments, spec).ml_state
    for label, drop in groups_of(moments, "region"):
        found = refitted(state, *without_groups(state.criterion.problem, state.criterion.factored, drop))
        expected = refitted(whole, *without_groups(whole.criterion.problem, whole.criterion.factored, drop))
        assert found.optimum.value == pytest.approx(expected.optimum.value, abs=1e-6), label
    single = np.arange(len(moments.n)) == 5
    with pytest.raises(ModelError, match="no full sums of products"):
        without_groups(state.criterion.problem, state.criterion.factored, single)


def test_refusals():
    panel, case = case_moments.panel("p_two_groups"), references.case("p_two_groups")
    state = mixed.fit(panel.moments, case.model_spec("ri")).ml_state
    problem, factored = state.criterion.problem, state.criterion.factored
    with pytest.raises(ModelError, match="only 1 group at level Subject"):
        without_groups(problem, factored, np.array([True, False]))
    with pytest.raises(ModelError, match="no group would be left"):
        without_groups(problem, factored, np.array([True, True]))
    same, _ = without_groups(problem, factored, np.array([False, False]))
    assert same is problem
    with pytest.raises(ModelError, match="equal variances"):
        without_groups(replace(problem, spec=replace(problem.spec, variances="x")), factored, np.array([True, False]))


def test_serially_correlated_errors_lose_groups_as_the_moments_do():
    panel, case = reference_moments.panel("grunfeld", lags=True), references.case("grunfeld")
    spec = replace(case.model_spec("ri"), errors="ar1")
    fitted = mixed.fit(panel, spec)
    whole, estimate = fitted.reml_state.criterion, fitted.reml.to_dict()
    for g in (0, 4, 9):
        drop = np.arange(len(panel.moments.n)) == g
        small = criterion_without(None, whole, drop)
        anew = criterion_of(without(panel, drop), spec, reml=True)
        expected = anew.evaluate(theta_of(anew, estimate)).value
        assert small.evaluate(theta_of(small, estimate)).value == pytest.approx(expected, rel=1e-11)


def test_deletion_leaves_the_panels_own_problem_alone():
    panel = case_moments.panel("machines")
    state = mixed.fit(panel.moments, references.case("machines").model_spec("ml")).reml_state
    before = Criterion(state.criterion.problem, True, state.criterion.factored)(state.theta)
    for _, drop in groups_of(panel.moments, "Worker"):
        without_groups(state.criterion.problem, state.criterion.factored, drop)
    assert Criterion(state.criterion.problem, True, state.criterion.factored)(state.theta) == before


def test_weighted_groups_leave():
    panel = case_moments.panel("grunfeld")
    weights = 0.5 + (np.arange(len(panel.w)) % 5) / 4
    names, firm = panel.moments.columns, panel.keys["firm"]
    spec = references.case("grunfeld").model_spec("ri")
    state = mixed.fit(case_moments.reduce_rows(panel.w, names, [firm], ("firm",), weights), spec).reml_state
    drop = np.arange(10) == 3
    found = refitted(state, *without_groups(state.criterion.problem, state.criterion.factored, drop))
    rows = ~drop[panel.code]
    kept = case_moments.reduce_rows(panel.w[rows], names, [firm[rows]], ("firm",), weights[rows])
    expected = mixed.fit(kept, spec).reml_state
    assert found.beta_raw == pytest.approx(expected.beta_raw, rel=1e-6)
    assert found.sigma == pytest.approx(expected.sigma, rel=1e-7)
    # The log weights are known for the panel only, so that the deviance is off by a constant.
    shared = state.criterion.problem.sum_log_weight * rows.sum() / len(rows)
    assert found.optimum.value + shared == pytest.approx(expected.optimum.value + np.log(weights[rows]).sum(), abs=1e-7)


def test_refits_near_the_whole_panels_optimum_are_quick_and_have_their_curvature():
    panel = case_moments.panel("exam")
    state = mixed.fit(panel.moments, references.case("exam").model_spec("rs")).ml_state
    drop = np.arange(len(panel.moments.n)) == 12
    prepared = without_groups(state.criterion.problem, state.criterion.factored, drop)
    found = refitted(state, *prepared)
    assert found.criterion.evaluations < 15
    expected = mixed.fit(kept_moments(panel.moments, ~drop), state.criterion.problem.spec).ml_state
    assert found.optimum.value == pytest.approx(expected.optimum.value, abs=1e-8)
    assert found.covariance(0) == pytest.approx(expected.covariance(0), rel=1e-5)
    assert found.optimum.hessian == pytest.approx(found.criterion.hessian(found.theta))
    assert refitted(state, *prepared, curvature=False).optimum.hessian is None


def test_a_refit_that_loses_a_variance_takes_the_whole_search():
    # Without the one group that differs there is no variance between groups left.
    rng = np.random.default_rng(5)
    keys = np.repeat([f"{g}" for g in range(8)], 10)
    y = rng.normal(size=80)
    y -= np.repeat(y.reshape(8, 10).mean(axis=1), 10)
    y[keys == "3"] += 4.0
    w = np.column_stack([np.ones(80), y])
    moments = case_moments.reduce_rows(w, ("(Intercept)", "y"), [keys], ("g",))
    state = mixed.fit(moments, ModelSpec(("(Intercept)",), (LevelSpec("g", INTERCEPTS),))).ml_state
    assert state.theta[0] > 0.1
    found = refitted(
        state, *without_groups(state.criterion.problem, state.criterion.factored, moments.labels[0] == "3")
    )
    assert found.theta[0] == 0.0
