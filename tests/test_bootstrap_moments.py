"""Simulated moments against the rows: exact first and second moments, and refits against the engine's own."""

from __future__ import annotations

import numpy as np
import pytest
import reference_cases as references
from case_moments import panel
from numpy_panels import panel_moments

from hierreport import resample
from hierreport.batch_fit import BatchFit
from hierreport.criterion import factor
from hierreport.mixed import fit, minimise
from hierreport.problem import build
from hierreport.resample import Simulator, Transfer
from hierreport.spec import LevelSpec, ModelSpec

ONE = "(Intercept)"

CASES = [("machines", "ml"), ("empluk", "ml_rs"), ("hedonic", "ri"), ("sleepstudy", "rs_diag"), ("produc", "ri_outer")]


class Recorder:
    """Stands for a random generator: gives unit vectors instead of normal numbers, one draw after another."""

    def __init__(self, place: int) -> None:
        self.place, self.used = place, 0

    def standard_normal(self, shape):
        size = int(np.prod(shape))
        out = np.zeros(size)
        if 0 <= self.place - self.used < size:
            out[self.place - self.used] = 1.0
        self.used += size
        return out.reshape(shape)

    def chisquare(self, df):
        return 0.0


def design(name, model):
    """A fitted case and its working rows: W by row, the row's group at every level."""
    fitted = fit(panel(name).moments, references.case(name).model_spec(model))
    problem, p = fitted.problem, panel(name)
    stored = (p.w - p.moments.shift) / p.moments.scale
    stored[:, 0] = 1.0
    rows = stored @ problem.basis.transform
    owner = []
    for level in problem.levels:
        owner.append(np.searchsorted(level.starts, p.code, side="right") - 1)
    return fitted, rows, owner


def linear_statistics(fitted, rows, owner):
    """The rows b' of which b'y are the simulated linear statistics: R⁻ᵀZ'y by group, then S_Ay by parent. (m, n)"""
    problem, factored = fitted.problem, fitted.reml_state.criterion.factored
    level = problem.levels[0]
    a, n = len(problem.total) - 1, len(rows)
    parents = len(factored.starts)
    parent_of = np.searchsorted(factored.starts, np.arange(level.groups), side="right") - 1
    out_z, out_a = np.zeros((level.size, level.groups, n)), np.zeros((a, parents, n))
    for g in range(level.groups):
        mine = np.flatnonzero(owner[0] == g)
        z = rows[np.ix_(mine, level.index)]
        left, values, _ = np.linalg.svd(z, full_matrices=False)
        span = left[:, values > 1e-10 * values[0]]
        root = factored.root[:, :, g]
        live = np.flatnonzero(np.diag(root))
        out_z[np.ix_(live, [g], mine)] = np.linalg.solve(root[np.ix_(live, live)].T, z[:, live].T)[:, None]
        rest = rows[mine][:, :a] - span @ (span.T @ rows[mine][:, :a])
        out_a[np.ix_(np.arange(a), [parent_of[g]], mine)] = rest.T[:, None]
    out_a[np.abs(out_a) < 1e-12] = 0.0
    return np.concatenate([out_z.reshape(-1, n), out_a.reshape(-1, n)])


@pytest.mark.parametrize(("name", "model"), CASES)
def test_simulated_linear_statistics_have_exactly_the_covariance_of_those_of_the_rows(name, model, monkeypatch):
    fitted, rows, owner = design(name, model)
    state, problem = fitted.reml_state, fitted.problem
    sigma = 0.7
    simulator = Simulator(problem, state.criterion.factored, problem, state.factors, sigma)
    count = Recorder(-1)
    monkeypatch.setattr(resample, "generator", lambda seed, draw: count)
    simulator.draw(1, [0])
    columns = []
    for place in range(count.used):
        monkeypatch.setattr(resample, "generator", lambda seed, draw, place=place: Recorder(place))
        drawn = simulator.draw(1, [0])
        columns.append(np.concatenate([drawn.cross[:, 0].ravel(), drawn.rest_a[:, 0].ravel()]))
    ours = np.array(columns).T
    ours = ours @ ours.T
    statistics = linear_statistics(fitted, rows, owner)
    v = np.eye(len(rows)) * sigma**2
    for number, level in enumerate(problem.levels):
        z = rows[:, level.index] @ state.factors[number] * sigma
        v += (z @ z.T) * (owner[number][:, None] == owner[number][None, :])
    theirs = statistics @ v @ statistics.T
    size = np.sqrt(np.maximum(np.diag(theirs), 1e-12 * np.diag(theirs).max()))
    assert np.abs((ours - theirs) / np.outer(size, size)).max() < 1e-7


@pytest.mark.parametrize(("name", "model"), CASES)
def test_the_rest_of_the_sum_of_squares_is_chi_squared_on_the_right_degrees_of_freedom(name, model, monkeypatch):
    fitted, rows, owner = design(name, model)
    state, problem = fitted.reml_state, fitted.problem
    simulator = Simulator(problem, state.criterion.factored, problem, state.factors, 0.7)
    # What the linear statistics do not see: the rows less the rank of all of them together.
    statistics = linear_statistics(fitted, rows, owner)
    statistics /= np.maximum(np.linalg.norm(statistics, axis=1, keepdims=True), 1e-300)
    assert simulator.freedom == len(rows) - np.linalg.matrix_rank(statistics, tol=1e-9)
    # Without the chi-squared, the rest of y'y is the part that A explains: S_Ay'S_AA⁺S_Ay.
    rng = np.random.default_rng(3)

    class NoRest:
        def standard_normal(self, shape):
            return rng.standard_normal(shape)

        def chisquare(self, df):
            return 0.0

    monkeypatch.setattr(resample, "generator", lambda seed, draw: NoRest())
    drawn = simulator.draw(1, range(3))
    a = len(problem.total) - 1
    for d in range(3):
        explained = sum(
            s @ np.linalg.pinv(c, rcond=1e-11) @ s
            for s, c in zip(drawn.rest_a[:, d].T, state.criterion.factored.rest[:a, :a].transpose(2, 0, 1), strict=True)
        )
        assert drawn.rest_y[d] == pytest.approx(explained, rel=1e-7)


def test_deviances_of_simulated_moments_are_distributed_as_those_of_simulated_rows():
    name, model, draws = "produc", "ml_rs", 1500
    fitted, rows, owner = design(name, model)
    state, problem = fitted.ml_state, fitted.problem
    sigma = state.sigma / problem.basis.y_scale
    factored = state.criterion.factored
    engine = BatchFit(problem, factored, False, state.theta)
    drawn = Simulator(problem, factored, problem, state.factors, sigma).draw(11, range(draws))
    factors = [f[None] for f in state.factors]
    cross, placed = engine.batch.place(drawn)
    ours = engine.evaluate(factors, cross, placed)[0]
    rng = np.random.default_rng(5)
    y = sigma * rng.standard_normal((len(rows), draws))
    for number, level in enumerate(problem.levels):
        u = state.factors[number] @ rng.standard_normal((draws, level.size, level.groups)) * sigma
        y += np.einsum("nk,dkn->nd", rows[:, level.index], u[:, :, owner[number]])
    v = np.eye(len(rows))
    for number, level in enumerate(problem.levels):
        z = rows[:, level.index] @ state.factors[number]
        v += (z @ z.T) * (owner[number][:, None] == owner[number][None, :])
    x = rows[:, problem.basis.x_index]
    lower = np.linalg.cholesky(v)
    q = np.linalg.qr(np.linalg.solve(lower, x))[0]
    white = np.linalg.solve(lower, y)
    r2 = np.sum(white**2, axis=0) - np.sum((q.T @ white) ** 2, axis=0)
    n = len(rows)
    constant = 2 * np.log(np.diag(lower)).sum() + engine.criterion.constant
    theirs = constant + n * (1 + np.log(2 * np.pi * r2 / n))
    # r² is σ²χ² on n − p degrees of freedom in both: four Monte-Carlo standard errors.
    assert ours.mean() == pytest.approx(theirs.mean(), abs=4 * theirs.std() * np.sqrt(2 / draws))
    assert ours.std() / theirs.std() == pytest.approx(1, abs=4 / np.sqrt(draws))
    assert np.quantile(ours, [0.1, 0.9]) == pytest.approx(np.quantile(theirs, [0.1, 0.9]), abs=0.25 * theirs.std())


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize(
    ("name", "model"),
    [("empluk", "ml_rs"), ("machines", "ml"), ("p_within_only", "ri"), ("ricefarms", "rs"), ("oats", "ml")],
)
def test_refits_are_those_of_the_engine(name, model, reml):
    fitted = fit(panel(name).moments, references.case(name).model_spec(model))
    state, problem = fitted.state("reml" if reml else "ml"), fitted.problem
    factored = state.criterion.factored
    engine = BatchFit(problem, factored, reml, state.theta, state.optimum.hessian)
    drawn = Simulator(problem, factored, problem, state.factors, state.sigma / problem.basis.y_scale).draw(2, range(12))
    if engine.metric is None:
        engine.prepare(drawn)
    fits = engine(drawn)
    assert fits.converged.all()
    for d in range(12):
        criterion = engine.one(drawn, d)
        unit = engine.parameters.theta([np.eye(level.size) for level in problem.levels])
        known = minimise(criterion, [engine.start, unit])
        assert fits.value[d] == pytest.approx(known.optimum.value, abs=1e-8)
        assert fits.sigma[d] == pytest.approx(np.sqrt(known.evaluation.r2.real / criterion.nu), rel=1e-4)
        for ours, theirs in zip(fits.covariances, known.factors, strict=True):
            assert ours[d] == pytest.approx(theirs @ theirs.T, abs=2e-3 * max(1.0, np.abs(theirs).max() ** 2))


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [("produc", "ri", "ml_rs"), ("produc", "ri_outer", "ml"), ("sleepstudy", "ri", "rs"), ("empluk", "null", "ml_rs")],
)
def test_outcomes_carried_to_a_smaller_model_are_the_same_outcomes(name, small, large):
    """A drawn y as rows: moments made from those rows for the smaller design equal what is carried over."""
    case, p = references.case(name), panel(name)
    wide, narrow = (build(p.moments, case.model_spec(m)) for m in (large, small))
    f_wide, f_narrow = factor(wide), factor(narrow)
    stored = (p.w - p.moments.shift) / p.moments.scale
    stored[:, 0] = 1.0
    rng = np.random.default_rng(1)
    y = rng.standard_normal(len(stored)) + 0.5 * stored[:, -1]

    def outcomes(problem, factored, y):
        rows = stored @ problem.basis.transform
        owner = np.searchsorted(problem.levels[0].starts, p.code, side="right") - 1
        z = rows[:, problem.levels[0].index]
        z_y = np.array([np.bincount(owner, weights=c * y, minlength=problem.levels[0].groups) for c in z.T])
        cross = resample.solve_upper_transposed(factored.root, z_y[:, None])[:, 0]
        parent = np.searchsorted(factored.starts, owner, side="right") - 1
        a = len(problem.total) - 1
        a_y = np.array([np.bincount(parent, weights=c * y, minlength=len(factored.starts)) for c in rows[:, :a].T])
        less = np.add.reduceat(np.einsum("iag,ig->ag", factored.cross[:, :a], cross), factored.starts, axis=1)
        rest = a_y - less
        rest[np.all(factored.rest[:a, :a] == 0, axis=(1, 2))] = 0.0
        return cross, rest, y @ y - np.sum(cross**2)

    drawn = resample.Outcomes(*(np.expand_dims(v, 1 if np.ndim(v) else 0) for v in outcomes(wide, f_wide, y)))
    scale = wide.basis.y_scale / narrow.basis.y_scale
    carried = Transfer(wide, f_wide, narrow, f_narrow)(drawn)
    cross, rest, yy = outcomes(narrow, f_narrow, y * scale)
    assert carried.cross[:, 0] == pytest.approx(cross, abs=1e-9 * np.abs(cross).max())
    assert carried.rest_a[:, 0] == pytest.approx(rest, abs=1e-9 * max(np.abs(rest).max(), np.abs(cross).max()))
    assert carried.rest_y[0] == pytest.approx(yy, rel=1e-9)


@pytest.mark.parametrize(
    ("levels", "weighted", "fixed"),
    [
        ([("g0/g1", ((ONE, "a", "b"),))], False, (ONE, "a", "b")),
        ([("g0", ((ONE, "a"),)), ("g0/g1", ((ONE,), ("a",))), ("g0/g1/g2", ((ONE, "a", "b"),))], True, (ONE, "a", "b")),
        ([("g0", (("a",),)), ("g0/g1/g2", ((ONE,),))], False, ("a", "b")),
    ],
    ids=["three coefficients", "three levels, weights, independent blocks", "no intercept"],
)
def test_refits_of_unusual_models_are_those_of_the_engine(levels, weighted, fixed):
    rng = np.random.default_rng(9)
    ids = np.array(
        [(i, j, k) for i in range(6) for j in range(3 + i % 2) for k in range(2) for _ in range(2 + (i + j) % 4)]
    )
    n = len(ids)
    columns = {"a": 100 * rng.normal(size=n) + 30, "b": rng.normal(size=n)}
    y = 1 + 0.01 * columns["a"] + rng.normal(size=n) + rng.normal(size=6)[ids[:, 0]]
    key = np.unique(ids, axis=0, return_inverse=True)[1].ravel()
    y += rng.normal(size=key.max() + 1)[key] + 0.01 * rng.normal(size=key.max() + 1)[key] * columns["a"]
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    groups = {f"g{i}": ids[:, i] for i in range(3)}
    p = panel_moments(columns, y, groups, weights=weights)
    fitted = fit(p, ModelSpec(fixed, tuple(LevelSpec(name, blocks) for name, blocks in levels)))
    for state in (fitted.ml_state, fitted.reml_state):
        problem, factored = fitted.problem, state.criterion.factored
        engine = BatchFit(problem, factored, state.criterion.reml, state.theta, state.optimum.hessian)
        drawn = Simulator(problem, factored, problem, state.factors, state.sigma / problem.basis.y_scale).draw(
            1, range(6)
        )
        if engine.metric is None:
            engine.prepare(drawn)
        fits = engine(drawn)
        assert fits.converged.all()
        for d in range(6):
            unit = engine.parameters.theta([np.eye(level.size) for level in problem.levels])
            known = minimise(engine.one(drawn, d), [engine.start, unit])
            assert fits.value[d] <= known.optimum.value + 1e-7


def test_a_simulation_recovers_what_it_was_made_from():
    """Means of refits' σ² and of total variance equal their expectations: unbiased by REML in a balanced design."""
    fitted = fit(panel("oxide").moments, references.case("oxide").model_spec("ml"))
    state, problem, draws = fitted.reml_state, fitted.problem, 2000
    factored = state.criterion.factored
    sigma = state.sigma / problem.basis.y_scale
    drawn = Simulator(problem, factored, problem, state.factors, sigma).draw(4, range(draws))
    fits = BatchFit(problem, factored, True, state.theta, state.optimum.hessian)(drawn)
    error = np.std(fits.sigma**2) / np.sqrt(draws)
    assert np.mean(fits.sigma**2) == pytest.approx(sigma**2, abs=4 * error)
    total = fits.sigma**2 * (1 + sum(t[:, 0, 0] for t in fits.covariances))
    expected = sigma**2 * (1 + sum(float(f[0, 0] ** 2) for f in state.factors))
    # Cut at zero, components are a little too large on average: a one-sided allowance beside the Monte-Carlo error.
    assert -4 * total.std() / np.sqrt(draws) <= total.mean() - expected <= 0.05 * expected
