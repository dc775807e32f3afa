"""AR(1) criteria at many θ at once against the same one by one, which nlme and dense densities confirm elsewhere."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
from numpy_panels import panel_moments
from test_bootstrap_serial import ONE, data, rows_of

from hierreport import criterion_serial, mixed
from hierreport.bootstrap_serial import SerialFit
from hierreport.criterion_serial import serial_stack
from hierreport.spec import LevelSpec, ModelSpec

SLOPES = ((ONE, "x"),)
MODELS = {
    "firm": (LevelSpec("sector/firm", SLOPES),),
    "independent": (LevelSpec("sector/firm", ((ONE,), ("x",))),),
    "nested": (LevelSpec("sector", SLOPES), LevelSpec("sector/firm", SLOPES)),
    "sector": (LevelSpec("sector", ((ONE,),)),),
}


@pytest.fixture(params=[(name, kind) for name in MODELS for kind in ("ar1", "car1")], ids="-".join)
def fitted(request, monkeypatch):
    name, kind = request.param
    monkeypatch.setattr(criterion_serial, "GAPS", 9)
    columns, y, groups, time = data(seed=4)
    panel = panel_moments(columns, y, groups, time=time)
    return mixed.fit(panel, ModelSpec((ONE, "x"), MODELS[name], kind)), panel, (columns, y, groups, time)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("step", [0.0, 1e-20j])
def test_many_are_as_one_by_one(fitted, method, step):
    state = fitted[0].state(method)
    criterion, stack = state.criterion, serial_stack(state.criterion)
    rng = np.random.default_rng(2)
    thetas = state.theta + 0.3 * rng.standard_normal((5, len(state.theta)))
    thetas = thetas + step * rng.standard_normal(thetas.shape)
    value, gradient = stack.evaluate(criterion, thetas)
    alone = [criterion.evaluate(theta) for theta in thetas]
    assert value == pytest.approx(np.array([a.value for a in alone]), rel=1e-12)
    each = np.array([a.gradient for a in alone])
    assert gradient.real == pytest.approx(each.real, rel=1e-9, abs=1e-8)
    if step:
        assert gradient.imag / 1e-20 == pytest.approx(each.imag / 1e-20, rel=1e-8, abs=1e-6)


def test_gradient_is_the_difference_of_values(fitted):
    state = fitted[0].ml_state
    theta = state.theta + 0.1
    _, gradient = serial_stack(state.criterion).evaluate(state.criterion, theta[None])
    for j in range(len(theta)):
        around = np.array([theta, theta])
        around[:, j] += 1e-5, -1e-5
        up, down = (state.criterion(t) for t in around)
        assert gradient[0, j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-5)


def test_outcomes_of_their_own(fitted, monkeypatch):
    fit, panel, about = fitted
    rows, _ = rows_of(panel, *about)
    y = np.random.default_rng(3).standard_normal((len(rows.stored), 7))
    together, rho = SerialFit(fit.reml_state, rows).fit(y)
    monkeypatch.setattr("hierreport.bootstrap_serial.serial_stack", lambda criterion: None)
    alone, rho_alone = SerialFit(copy(fit.reml_state), rows).fit(y)
    assert together.value == pytest.approx(alone.value, abs=2e-5)  # both settled to 1e-6 of what is promised
    assert rho == pytest.approx(rho_alone, abs=5e-3)


def test_large_panels_and_many_gaps_go_one_by_one(monkeypatch):
    columns, y, groups, time = data(seed=4)
    fit = mixed.fit(panel_moments(columns, y, groups, time=time), ModelSpec((ONE, "x"), MODELS["firm"], "ar1"))
    criterion = fit.ml_state.criterion
    monkeypatch.setattr(criterion_serial, "GAPS", 9)
    assert serial_stack(criterion) is not None
    for limit in ("GAPS", "PARENTS", "SMALL"):
        with monkeypatch.context() as patch:
            patch.setattr(criterion_serial, limit, 0)
            assert serial_stack(criterion) is None
