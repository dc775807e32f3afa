"""The criterion at many θ at once, against the density of the rows and against one θ at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_panels import panel_moments

from hierreport.criterion import Criterion
from hierreport.problem import build
from hierreport.spec import LevelSpec, ModelSpec

ONE = "(Intercept)"
DEEP = ("region", "region/sector", "region/sector/firm")
RANDOM = {
    "intercept": (LevelSpec(DEEP[2], ((ONE,),)),),
    "independent": (LevelSpec(DEEP[2], ((ONE,), ("x",))),),
    "slopes alone, apart": (LevelSpec(DEEP[1], (("z",),)), LevelSpec(DEEP[2], (("x", "z"),))),
    "three coefficients": (LevelSpec(DEEP[1], (("z", ONE),)), LevelSpec(DEEP[2], ((ONE, "x", "z"),))),
    "three levels": (
        LevelSpec(DEEP[0], ((ONE,),)),
        LevelSpec(DEEP[1], ((ONE, "x"),)),
        LevelSpec(DEEP[2], ((ONE, "x"),)),
    ),
}


def rows():
    """Sectors and firms of uneven size, a firm of one row among them."""
    rng = np.random.default_rng(5)
    sizes = [(2, 3, 1), (4,), (1, 5, 2, 2), (6, 6)]
    firms = [(r, s, f) for r, sectors in enumerate(sizes) for s, count in enumerate(sectors) for f in range(count)]
    key = np.repeat(np.arange(len(firms)), [1, *rng.integers(2, 9, len(firms) - 1)])
    region, sector, firm = np.array(firms)[key].T
    x, z, y = rng.normal(size=(3, len(key)))
    return {"x": x, "z": z}, y + x + 0.5 * region, {"region": region, "sector": sector, "firm": firm}


def dense(criterion, columns, y, groups, theta):
    """−2 log-likelihood or REML criterion, profiled, from the rows' covariance matrix."""
    n, names = len(y), list(groups)
    x = np.column_stack([np.ones(n), columns["x"], columns["z"]])
    v = np.eye(n)
    for level, lam in zip(criterion.levels, criterion.parameters.factors(theta), strict=True):
        ids = np.column_stack([groups[g] for g in names[: level.name.count("/") + 1]])
        same = (ids[:, None] == ids[None, :]).all(axis=2)
        z = np.column_stack([np.ones(n) if t == ONE else columns[t] for t in level.terms])
        half = z @ np.linalg.solve(level.to_raw, lam)
        v += (half @ half.T) * same
    xx = x.T @ np.linalg.solve(v, x)
    e = y - x @ np.linalg.solve(xx, x.T @ np.linalg.solve(v, y))
    nu = n - 3 if criterion.reml else n
    value = np.linalg.slogdet(v)[1] + nu * (1 + np.log(2 * np.pi * (e @ np.linalg.solve(v, e)) / nu))
    return value + (np.linalg.slogdet(xx)[1] if criterion.reml else 0.0)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", RANDOM)
def test_many_thetas_are_the_density_of_the_rows(name, reml):
    columns, y, groups = rows()
    criterion = Criterion(
        build(panel_moments(columns, y, groups).moments, ModelSpec((ONE, "x", "z"), RANDOM[name])), reml
    )
    thetas = np.random.default_rng(3).normal(size=(4, criterion.parameters.size))
    values, gradients = criterion.many(thetas)
    assert criterion._stack is not None
    for theta, value, gradient in zip(thetas, values, gradients, strict=True):
        assert value == pytest.approx(dense(criterion, columns, y, groups, theta), rel=1e-11)
        np.testing.assert_allclose(gradient, criterion.evaluate(theta).gradient, rtol=1e-9, atol=1e-9)
    # The Hessian against differences of the gradient.
    theta, size = thetas[0], 1e-6
    hessian = criterion.hessian(theta)
    for j in range(len(theta)):
        step = size * np.eye(len(theta))[j]
        difference = criterion.evaluate(theta + step).gradient - criterion.evaluate(theta - step).gradient
        np.testing.assert_allclose(hessian[j], difference / (2 * size), rtol=1e-5, atol=1e-5 * np.abs(hessian).max())


def test_ill_conditioned_groups_are_evaluated_one_theta_at_a_time():
    columns, y, groups = rows()
    spec = ModelSpec((ONE, "x", "z"), RANDOM["three levels"])
    criterion = Criterion(build(panel_moments(columns, y, groups).moments, spec), False)
    thetas = np.tile([3000.0, 3000.0, 1e-9, 1.0, 0.5, 0.1, 1.0], (2, 1))
    values, gradients = criterion.many(thetas)
    one = criterion.evaluate(thetas[0])
    assert values[0] == one.value
    np.testing.assert_array_equal(gradients[1], one.gradient)


def test_signs_turn_whole_columns():
    columns, y, groups = rows()
    spec = ModelSpec((ONE, "x", "z"), RANDOM["three levels"])
    criterion = Criterion(build(panel_moments(columns, y, groups).moments, spec), False)
    theta = np.array([-0.5, 0.3, 0.2, 0.7, -0.1, -0.4, -0.2])
    signs = criterion.parameters.signs(theta)
    np.testing.assert_array_equal(signs, [-1, -1, 1, 1, 1, -1, -1])
    np.testing.assert_allclose(criterion.evaluate(signs * theta).gradient, signs * criterion.evaluate(theta).gradient)
    np.testing.assert_allclose(
        criterion.hessian(signs * theta), signs[:, None] * signs * criterion.hessian(theta), rtol=1e-9, atol=1e-9
    )
