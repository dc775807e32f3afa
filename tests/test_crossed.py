"""A crossed random intercept of the period: its forms against each other, differences, the rows' density, and lme4."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy_panels import panel_moments

from hierreport import crossed
from hierreport.blas import _controls, one_thread
from hierreport.crossed import crossed_criterion, form_costs
from hierreport.crossed_design import cells_of
from hierreport.effects import random_effects
from hierreport.errors import ModelError
from hierreport.inference import fixed_effects
from hierreport.mixed import fit, fit_criterion
from hierreport.problem import build
from hierreport.profile_criterion import Held, hold
from hierreport.spd import inverse_and_logdet
from hierreport.spec import LevelSpec, ModelSpec

HERE = Path(__file__).parent / "crossed_reference"
LME4 = json.loads((HERE / "lme4.json").read_text())
ONE = "(Intercept)"
RANDOM = {
    "none": (),
    "intercepts": (LevelSpec("sector/firm", ((ONE,),)),),
    "slopes": (LevelSpec("sector/firm", ((ONE, "x"),)),),
    "upper": (LevelSpec("sector", ((ONE, "x"),)),),
    "two_levels": (LevelSpec("sector", ((ONE,), ("x",))), LevelSpec("sector/firm", ((ONE, "x"),))),
    "unshifted": (LevelSpec("sector", ((ONE, "z", "x"),)), LevelSpec("sector/firm", ((ONE,), ("x",)))),
}
FORMS = ("columns", "periods", "innermost", "sparse")


@cache
def rows(name):
    with (HERE / f"{name}.csv").open() as file:
        found = list(csv.DictReader(file))
    text = {k: np.array([row[k] for row in found]) for k in ("sector", "firm")}
    return text | {k: np.array([float(row[k]) for row in found]) for k in ("day", "x", "z", "w", "y")}


@cache
def panel(name, weighted=False):
    d = rows(name)
    groups = {"sector": d["sector"], "firm": d["firm"]}
    weights = d["w"] if weighted else None
    return panel_moments({"x": d["x"], "z": d["z"]}, d["y"], groups, time=d["day"], weights=weights)


def spec(random):
    return ModelSpec((ONE, "x", "z"), RANDOM[random], crossed="time")


def forms(moments, random, reml=False):
    """The criterion in each of its forms."""
    problem = build(moments.moments, spec(random), len(moments.periods.periods))
    names = FORMS if problem.levels else FORMS[:2]
    return {name: crossed_criterion(problem, reml, moments.periods, name) for name in names}


def some_theta(criterion, size=1.0):
    return size * np.random.default_rng(7).normal(size=criterion.parameters.size)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("name", ["long", "wide"])
def test_all_forms_agree(name, random, weighted):
    for reml in (False, True):
        whole = forms(panel(name, weighted), random, reml)
        theta = some_theta(whole["columns"])
        for values in (theta, 30 * theta, 1e-3 * theta, np.where(np.arange(len(theta)) % 2, theta, 0.0)):
            expected, curvature = whole["columns"].evaluate(values), whole["columns"].hessian(values)
            for form in list(whole)[1:]:
                found = whole[form].evaluate(values)
                assert found.value == pytest.approx(expected.value, rel=1e-12), form
                assert found.beta == pytest.approx(expected.beta, rel=1e-8)
                size = np.abs(expected.gradient).max()
                assert found.gradient == pytest.approx(expected.gradient, rel=1e-9, abs=1e-9 * size)
                for one, two in zip(found.by_t, expected.by_t, strict=True):
                    assert one == pytest.approx(two, rel=1e-8, abs=1e-8 * np.abs(two).max())
                found = whole[form].hessian(values)
                assert found == pytest.approx(curvature, rel=1e-8, abs=1e-8 * np.abs(curvature).max()), form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reml", [False, True])
def test_gradient_and_hessian_against_differences(form, reml):
    criterion = forms(panel("wide", True), "two_levels", reml)[form]
    theta, h = some_theta(criterion), 1e-5
    hessian = criterion.hessian(theta)
    gradient = criterion.evaluate(theta).gradient
    for j in range(len(theta)):
        step = h * (np.arange(len(theta)) == j)
        above, below = criterion.evaluate(theta + step), criterion.evaluate(theta - step)
        assert gradient[j] == pytest.approx((above.value - below.value) / (2 * h), rel=1e-6, abs=1e-4)
        slope = (above.gradient - below.gradient) / (2 * h)
        assert hessian[j] == pytest.approx(slope, rel=1e-6, abs=1e-6 * np.abs(hessian).max())


@pytest.mark.parametrize("form", FORMS)
def test_the_value_is_the_density_of_the_rows(form):
    d = rows("wide")
    criterion = forms(panel("wide", True), "two_levels", True)[form]
    basis = criterion.problem.basis
    theta = some_theta(criterion)
    at = criterion.evaluate(theta)
    x = np.column_stack([np.ones(len(d["y"])), d["x"], d["z"]])
    keys = {"sector/firm": np.char.add(np.char.add(d["sector"], "/"), d["firm"]), "sector": d["sector"]}
    v = np.diag(1.0 / d["w"])
    for lam, level in zip(criterion.parameters.factors(theta), criterion.problem.components, strict=True):
        key = d["day"] if level.name == "time" else keys[level.name]
        half = np.linalg.solve(level.to_raw, lam)
        z = x[:, : level.size]
        v += (z @ half @ half.T @ z.T) * (key[:, None] == key[None, :])
    inverse = np.linalg.inv(v)
    information = x.T @ inverse @ x
    e = d["y"] - x @ np.linalg.solve(information, x.T @ inverse @ d["y"])
    r2, nu = e @ inverse @ e, len(e) - 3
    expected = np.linalg.slogdet(v)[1] + nu * (1 + np.log(2 * np.pi * r2 / nu)) + np.linalg.slogdet(information)[1]
    assert at.value == pytest.approx(expected, rel=1e-11)
    assert at.r2 * basis.y_scale**2 == pytest.approx(r2, rel=1e-10)


@pytest.mark.parametrize("weighted", ["plain", "weighted"])
@pytest.mark.parametrize("random", ["intercepts", "slopes", "two_levels"])
@pytest.mark.parametrize("name", ["long", "wide"])
def test_agrees_with_lme4(name, random, weighted):
    moments = panel(name, weighted == "weighted")
    problem = build(moments.moments, spec(random), len(moments.periods.periods))
    for form in ("periods", "innermost" if weighted == "plain" else "sparse"):
        fitted = fit_criterion(crossed_criterion(problem, False, moments.periods, form))
        fitted.periods = moments.periods
        for method in ("ml", "reml"):
            lme4 = LME4[name][random][weighted][method]
            estimate = fitted.estimate(method)
            assert estimate.loglik >= lme4["loglik"] - 1e-8 * abs(lme4["loglik"])
            assert estimate.loglik == pytest.approx(lme4["loglik"], rel=1e-8)
            assert estimate.sigma == pytest.approx(lme4["sigma"], rel=1e-5)
            assert [f.se for f in estimate.fixed] == pytest.approx(lme4["se"], rel=1e-4)
            distance = [(f.estimate - b) / f.se for f, b in zip(estimate.fixed, lme4["fixed"], strict=True)]
            assert np.abs(distance).max() < 1e-4
            day = next(r for r in estimate.random if r.level == "time")
            assert day.sd[0] == pytest.approx(lme4["sd_day"], rel=1e-4)
            if not estimate.singular:
                assert [f.df for f in estimate.fixed] == pytest.approx(lme4["df"], rel=2e-3)
            days = fitted.effects("time", method)
            order = np.argsort([float(v) for v in lme4["day"]])
            assert days["estimate"][0] == pytest.approx(np.array(lme4["day_blup"])[order], abs=1e-4 * lme4["sd_day"])
            assert days["sd"][0] == pytest.approx(np.array(lme4["day_sd"])[order], rel=1e-4)
            firms = fitted.effects("sector/firm", method)
            order = [lme4["firm"].index(v) for v in firms["labels"][-1]]
            assert firms["estimate"][0] == pytest.approx(np.array(lme4["firm_blup"])[order], abs=1e-3)
            assert firms["sd"][0] == pytest.approx(np.array(lme4["firm_sd"])[order], rel=1e-3)


def test_effects_and_inference_are_those_of_the_columns_form():
    moments = panel("wide", True)
    found = {}
    for form, criterion in forms(moments, "two_levels").items():
        state = fit_criterion(criterion).reml_state
        table = fixed_effects(state)[0]
        found[form] = random_effects(state), np.array([[f.estimate, f.se, f.df] for f in table]), state
    effects, table, state = found.pop("columns")
    for other, numbers, _ in found.values():
        assert numbers == pytest.approx(table, rel=1e-5)
        assert [e["level"] for e in other] == [e["level"] for e in effects] == ["sector/firm", "sector", "time"]
        for one, two in zip(other, effects, strict=True):
            assert one["terms"] == two["terms"]
            for key in ("estimate", "sd", "se_prediction"):
                assert one[key] == pytest.approx(two[key], rel=1e-4, abs=1e-5)
    theta = state.theta * 1.1
    for held in (Held(log_sigma=-0.3), Held(contrast=np.array([0.0, 1.0, 0.0]), side=1, edge=state.optimum.value + 50)):
        expected = hold(state.criterion, held).evaluate(theta)
        for _, _, other_state in found.values():
            at = hold(other_state.criterion, held).evaluate(theta)
            assert at.value == pytest.approx(expected.value, rel=1e-10)
            assert at.gradient == pytest.approx(expected.gradient, rel=1e-7)


def test_the_cheapest_form_is_taken_and_what_no_form_holds_is_refused(monkeypatch):
    def sizes(firms, days, share, seed=0):
        rng = np.random.default_rng(seed)
        firm, day = np.divmod(np.flatnonzero(rng.random(firms * days) < share), days)
        x = rng.normal(size=len(firm))
        y = x + rng.normal(size=firms)[firm] + rng.normal(size=days)[day] + rng.normal(size=len(firm))
        return panel_moments({"x": x, "z": x**2}, y, {"sector": firm // 5, "firm": firm}, time=day)

    def chosen(moments, random):
        problem = build(moments.moments, spec(random), len(moments.periods.periods))
        costs = form_costs(problem, cells_of(problem, moments.periods))
        return min(costs, key=lambda form: costs[form])

    assert chosen(sizes(8, 600, 0.9), "slopes") == "periods"
    assert chosen(sizes(60, 8, 0.9), "slopes") == "columns"
    assert chosen(sizes(150, 100, 0.9), "slopes") == "innermost"
    many = sizes(1500, 400, 0.01)
    assert chosen(many, "intercepts") == "sparse"
    monkeypatch.setattr(crossed, "LIMIT", 1e6)
    with pytest.raises(ModelError, match="dense matrix too large for memory"):
        fit(many, spec("intercepts"))


def test_more_periods_than_a_dense_matrix_of_them_would_hold():
    # Balanced, 30,000 periods: with V = I + Z_g T Z_g' + λ² Z_t Z_t' the log-likelihood is closed-form.
    rng = np.random.default_rng(2)
    firms, days = 3, 30_000
    firm, day = np.divmod(np.arange(firms * days), days)
    y = rng.normal(size=firms)[firm] + 0.5 * rng.normal(size=days)[day] + rng.normal(size=firms * days)
    moments = panel_moments({}, y, {"firm": firm}, time=day)
    model = ModelSpec((ONE,), (LevelSpec("firm", ((ONE,),)),), crossed="time")
    estimate = fit(moments, model).ml
    a, b = (next(r.cov[0][0] for r in estimate.random if r.level == level) for level in ("firm", "time"))
    s2, grid = estimate.sigma**2, y.reshape(firms, days)
    e = grid - estimate.fixed[0].estimate
    row, column, mean = e.mean(axis=1), e.mean(axis=0), e.mean()
    squares = np.array([
        firms * days * mean**2,
        days * ((row - mean) ** 2).sum(),
        firms * ((column - mean) ** 2).sum(),
        ((e - row[:, None] - column + mean) ** 2).sum(),
    ])  # fmt: skip
    variance = np.array([s2 + days * a + firms * b, s2 + days * a, s2 + firms * b, s2])
    count = np.array([1, firms - 1, days - 1, (firms - 1) * (days - 1)])
    expected = -0.5 * (count * np.log(2 * np.pi * variance) + squares / variance).sum()
    assert estimate.loglik == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", [40, 520])
def test_inverse_and_logdet(size):
    half = np.random.default_rng(1).normal(size=(size, size))
    matrix = half @ half.T + np.eye(size)
    inverse, log = inverse_and_logdet(matrix)
    assert inverse @ matrix == pytest.approx(np.eye(size), abs=1e-8)
    assert log == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-12)
    for bad in (matrix - 1e4 * size * np.eye(size), np.full((size, size), np.nan)):
        with pytest.raises(np.linalg.LinAlgError):
            inverse_and_logdet(bad)


def test_blas_has_one_thread_within_and_its_own_number_after():
    controls = [pair for package in ("numpy", "scipy") for pair in _controls(package)]
    if not controls:
        pytest.skip("OpenBLAS is not a wheel's own")
    before = [get() for get, _ in controls]
    for _, put in controls:
        put(2)
    with pytest.raises(ValueError), one_thread(1000):
        assert [get() for get, _ in controls] == [1] * len(controls)
        raise ValueError
    assert [get() for get, _ in controls] == [2] * len(controls)
    with one_thread(5):
        assert [get() for get, _ in controls] == [2] * len(controls)
    for (_, put), count in zip(controls, before, strict=True):
        put(count)
