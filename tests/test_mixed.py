"""The engine against independent calculations: derivatives, invariances, error structures, degenerate panels."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.optimize
from numpy_panels import panel_moments
from reference_cases import case

from hierreport.criterion import Criterion
from hierreport.errors import ModelError
from hierreport.mixed import fit
from hierreport.moments import PanelMoments
from hierreport.problem import build
from hierreport.spec import LevelSpec, ModelSpec

ONE = "(Intercept)"


def simulated(seed=1, sectors=5, firms=6, rows=7, slope=0.3):
    rng = np.random.default_rng(seed)
    sector = np.repeat(np.arange(sectors), firms * rows)
    firm = np.tile(np.repeat(np.arange(firms), rows), sectors)
    time = np.tile(np.arange(rows), sectors * firms)
    keep = rng.random(len(sector)) > 0.15
    sector, firm, time = sector[keep], firm[keep], time[keep]
    x, z = rng.normal(size=(2, len(sector)))
    key = sector * firms + firm
    u = rng.normal(size=(sectors * firms, 2)) * [0.8, slope]
    y = 1 + 0.5 * x - 0.2 * z + rng.normal(size=sectors)[sector] + u[key, 0] + u[key, 1] * x + rng.normal(size=len(x))
    return {"x": x, "z": z}, y, {"sector": sector, "firm": firm}, time


THREE = ModelSpec((ONE, "x", "z"), (LevelSpec("sector", ((ONE, "x"),)), LevelSpec("sector/firm", ((ONE, "x"),))))


def dense_loglik(columns, y, groups, spec, estimate, reml):
    """Log-density of the rows by an explicit covariance matrix."""
    x = np.column_stack([np.ones(len(y)) if n == ONE else columns[n] for n in spec.fixed])
    v = np.eye(len(y)) * estimate.sigma**2
    names = list(groups)
    for level in estimate.random:
        depth = level.level.count("/") + 1
        key = np.array(["/".join(map(str, ids)) for ids in zip(*[groups[g] for g in names[:depth]], strict=True)])
        z = np.column_stack([np.ones(len(y)) if t == ONE else columns[t] for t in level.terms])
        v += (z @ np.array(level.cov) @ z.T) * (key[:, None] == key[None, :])
    e = y - x @ [f.estimate for f in estimate.fixed]
    value = np.linalg.slogdet(v)[1] + e @ np.linalg.solve(v, e)
    p = x.shape[1] if reml else 0
    if reml:
        value += np.linalg.slogdet(x.T @ np.linalg.solve(v, x))[1]
    return -0.5 * (value + (len(y) - p) * np.log(2 * np.pi))


@pytest.mark.parametrize("reml", [False, True])
def test_gradient_is_the_derivative_of_the_criterion(reml):
    columns, y, groups, time = simulated()
    panel = panel_moments(columns, y, groups, time=time)
    criterion = Criterion(build(panel.moments, THREE), reml)
    theta = np.random.default_rng(3).normal(size=criterion.parameters.size)
    gradient = criterion.evaluate(theta).gradient
    for j in range(len(theta)):
        step = theta.astype(complex)
        step[j] += 1e-20j
        derivative = criterion.evaluate(step, gradient=False).value.imag / 1e-20
        assert gradient[j] == pytest.approx(derivative, rel=1e-10, abs=1e-9)


@pytest.mark.parametrize(
    "random",
    [
        (LevelSpec("sector/firm", ((ONE,),)),),
        (LevelSpec("sector/firm", ((ONE,), ("x",))),),
        (LevelSpec("sector/firm", (("x", "z"),)),),
        (LevelSpec("sector", ((ONE,),)), LevelSpec("sector/firm", ((ONE, "x"),))),
        THREE.random,
    ],
)
@pytest.mark.parametrize("fixed", [(ONE, "x", "z"), ("x", "z")])
def test_log_likelihood_is_the_density_of_the_rows(random, fixed):
    columns, y, groups, _ = simulated(seed=7)
    # A far-off origin: the engine centres inside, the density of the rows does not.
    columns = {"x": columns["x"] + 5, "z": columns["z"]}
    spec = ModelSpec(fixed, random)
    fitted = fit(panel_moments(columns, y, groups).moments, spec)
    for method in ("ml", "reml"):
        estimate = fitted.estimate(method)
        expected = dense_loglik(columns, y, groups, spec, estimate, method == "reml")
        assert estimate.loglik == pytest.approx(expected, rel=1e-10)
        assert estimate.converged, estimate.certificate.message


def test_weights_are_the_density_of_rows_with_scaled_variance():
    columns, y, groups, _ = simulated(seed=5)
    weights = np.random.default_rng(0).uniform(0.2, 4.0, len(y))
    spec = replace(THREE, random=THREE.random[1:])
    fitted = fit(panel_moments(columns, y, groups, weights=weights).moments, spec)
    estimate = fitted.ml
    # lmer(weights = w): residual variance σ²/w. The same density by hand.
    x = np.column_stack([np.ones(len(y)), columns["x"], columns["z"]])
    key = np.array([f"{a}/{b}" for a, b in zip(*groups.values(), strict=True)])
    z = x[:, :2]
    v = np.diag(estimate.sigma**2 / weights)
    v += (z @ np.array(estimate.random[0].cov) @ z.T) * (key[:, None] == key[None, :])
    e = y - x @ [f.estimate for f in estimate.fixed]
    expected = -0.5 * (np.linalg.slogdet(v)[1] + e @ np.linalg.solve(v, e) + len(y) * np.log(2 * np.pi))
    assert estimate.loglik == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("factor", "move"), [(1e6, 0.0), (1e-6, 0.0), (1.0, 1e6)])
def test_only_units_change_when_data_are_rescaled(factor, move):
    columns, y, groups, _ = simulated(seed=2)
    plain = fit(panel_moments(columns, y, groups).moments, THREE).reml
    other = fit(panel_moments({"x": columns["x"] * factor, "z": columns["z"]}, y + move, groups).moments, THREE).reml
    # REML is not invariant to the coding of X: |X'X| scales by the factor.
    assert other.loglik + np.log(factor) == pytest.approx(plain.loglik, rel=1e-9)
    slope, sd = plain.fixed[1], plain.random[-1].sd
    assert other.fixed[1].estimate * factor == pytest.approx(slope.estimate, abs=1e-5 * slope.se)
    assert other.fixed[0].estimate - move == pytest.approx(plain.fixed[0].estimate, abs=1e-5 * plain.fixed[0].se + 1e-9)
    assert np.array(other.random[-1].sd) * [1, factor] == pytest.approx(np.array(sd), rel=1e-5)
    assert [f.df for f in other.fixed[1:]] == pytest.approx([f.df for f in plain.fixed[1:]], rel=1e-3)


def test_raw_calendar_years_as_a_slope():
    _, y, groups, time = simulated(seed=4)
    spec = ModelSpec((ONE, "t"), (LevelSpec("sector/firm", ((ONE, "t"),)),))
    centred = fit(panel_moments({"t": time - 3.0}, y, groups).moments, spec)
    raw = fit(panel_moments({"t": time + 1976.0}, y, groups).moments, spec)
    assert raw.ml.loglik == pytest.approx(centred.ml.loglik, rel=1e-10)
    assert raw.ml.random[0].sd[1] == pytest.approx(centred.ml.random[0].sd[1], rel=1e-5)
    assert raw.reml.fixed[1].se == pytest.approx(centred.reml.fixed[1].se, rel=1e-6)


def test_wide_moments_give_the_same_fit():
    columns, y, groups, _ = simulated(seed=9)
    moments = panel_moments(columns, y, groups).moments
    keep = np.array([0, 1])
    wide = replace(moments, products=moments.products[keep], z_index=keep)
    a, b = fit(moments, THREE), fit(wide, THREE)
    assert b.reml.loglik == pytest.approx(a.reml.loglik, rel=1e-12)
    assert b.effects("sector/firm")["estimate"] == pytest.approx(a.effects("sector/firm")["estimate"], rel=1e-6)


@pytest.mark.parametrize("name", ["empluk", "produc", "grunfeld", "gasoline", "ricefarms", "sleepstudy"])
def test_ar1_agrees_with_nlme(name):
    data = case(name)
    extra = data.spec["extras"]["ar1"]
    for model in extra["models"]:
        reference = data.ref["nlme_corAR1"].get(model)
        if not reference:
            continue
        spec = data.model_spec(model)
        names = [c for c in data.fixed_columns("ri") if c != ONE]
        panel = panel_moments(
            dict(zip(names, data.matrix(tuple(names)).T, strict=True)),
            data.matrix((data.spec["outcome"],))[:, 0],
            {g: np.array(data.columns[g])[data.used] for g in data.spec["groups"]},
            time=data.matrix((extra["time"],))[:, 0],
        )
        fitted = fit(panel, replace(spec, errors="ar1"))
        for method in ("ML", "REML"):
            expected, ours = reference[method], fitted.estimate(method.lower())
            # An optimum above nlme's is allowed, below is not.
            assert ours.loglik > expected["logLik"] - 1e-6
            if ours.loglik < expected["logLik"] + 1e-4:
                assert ours.rho == pytest.approx(expected["phi"], abs=1e-4)
                for effect in ours.fixed:
                    assert effect.estimate == pytest.approx(
                        expected["fixef"][effect.term], abs=1e-4 * expected["se"][effect.term]
                    )
            assert ours.converged, ours.certificate.message


def ar1_density(columns, y, groups, time, estimate):
    x = np.column_stack([np.ones(len(y)), columns["x"], columns["z"]])
    key = np.array([f"{a}/{b}" for a, b in zip(*groups.values(), strict=True)])
    same = key[:, None] == key[None, :]
    v = estimate.sigma**2 * np.where(same, estimate.rho ** np.abs(time[:, None] - time[None, :]), 0.0)
    for level in estimate.random:
        z = x[:, : len(level.terms)]
        v += (z @ np.array(level.cov) @ z.T) * same
    e = y - x @ [f.estimate for f in estimate.fixed]
    return -0.5 * (np.linalg.slogdet(v)[1] + e @ np.linalg.solve(v, e) + len(y) * np.log(2 * np.pi))


@pytest.mark.parametrize("errors", ["ar1", "car1"])
def test_ar1_with_gaps_is_the_density_of_the_rows(errors):
    columns, y, groups, time = simulated(seed=11, rows=9)
    when = time if errors == "ar1" else time + 0.25 * np.random.default_rng(1).random(len(time))
    panel = panel_moments(columns, y, groups, time=when)
    for random in ((), (LevelSpec("sector/firm", ((ONE, "x"),)),)):
        fitted = fit(panel, ModelSpec((ONE, "x", "z"), random, errors=errors))
        estimate = fitted.ml
        assert estimate.loglik == pytest.approx(ar1_density(columns, y, groups, when, estimate), rel=1e-10)
        assert estimate.n_par == 3 + len(random) * 3 + 2


def test_discrete_ar1_refuses_uneven_times():
    columns, y, groups, time = simulated()
    panel = panel_moments(columns, y, groups, time=time * 1.3)
    with pytest.raises(ModelError, match="car1"):
        fit(panel, ModelSpec((ONE, "x"), (), errors="ar1"))


def test_variances_by_stratum_agree_with_nlme():
    data = case("ratpup")
    names = [c for c in data.fixed_columns("ri") if c != ONE]
    panel = panel_moments(
        dict(zip(names, data.matrix(tuple(names)).T, strict=True)),
        data.matrix(("weight",))[:, 0],
        {"Litter": np.array(data.columns["Litter"])},
        strata={"Treatment": np.array(data.columns["Treatment"])},
    )
    fitted = fit(panel, replace(data.model_spec("ri"), variances="Treatment"))
    for method in ("ML", "REML"):
        expected, state = data.ref["nlme_varIdent"]["ri"][method], fitted.state(method)
        assert fitted.estimate(method.lower()).loglik == pytest.approx(expected["logLik"], abs=1e-6)
        sigmas = state.criterion.errors.sigmas(state.sigma, state.theta[state.criterion.parameters.n_lambda :])
        assert sigmas == pytest.approx(expected["resid_sd"], rel=1e-4)


def test_a_stratum_that_can_be_fitted_exactly_is_refused_by_name():
    columns, y, groups, _ = simulated()
    stratum = np.where(np.arange(len(y)) < 4, "four rows", "rest")
    y = y.copy()
    y[:4] = y[0]
    panel = panel_moments(columns, y, groups, strata={"s": stratum})
    with pytest.raises(ModelError, match="four rows"):
        fit(panel, ModelSpec((ONE,), (LevelSpec("sector/firm", ((ONE,),)),), variances="s"))


def test_a_crossed_effect_is_the_density_of_the_rows():
    columns, y, groups, time = simulated(seed=13)
    y = y + np.random.default_rng(5).normal(size=7)[time]
    spec = replace(THREE, crossed="time")
    fitted = fit(panel_moments(columns, y, groups, time=time), spec)
    x = np.column_stack([np.ones(len(y)), columns["x"], columns["z"]])
    keys = {
        "sector": groups["sector"],
        "sector/firm": groups["sector"] * 100 + groups["firm"],
        "time": time,
    }
    for method, estimate in (("ml", fitted.ml), ("reml", fitted.reml)):
        v = np.eye(len(y)) * estimate.sigma**2
        for level in estimate.random:
            z, key = x[:, : len(level.terms)], keys[level.level]
            v += (z @ np.array(level.cov) @ z.T) * (key[:, None] == key[None, :])
        e = y - x @ [f.estimate for f in estimate.fixed]
        value = np.linalg.slogdet(v)[1] + e @ np.linalg.solve(v, e)
        if method == "reml":
            value += np.linalg.slogdet(x.T @ np.linalg.solve(v, x))[1]
        assert estimate.loglik == pytest.approx(
            -0.5 * (value + (len(y) - 3 * (method == "reml")) * np.log(2 * np.pi)), rel=1e-10
        )
        # BLUPs of the periods by the textbook formula λ²Z'V⁻¹e.
        if method == "reml":
            variance = next(r.cov[0][0] for r in estimate.random if r.level == "time")
            z_t = (time[:, None] == np.unique(time)[None, :]).astype(float)
            expected = variance * z_t.T @ np.linalg.solve(v, e)
            assert fitted.effects("time")["estimate"][0] == pytest.approx(expected, rel=1e-7)
            firm = next(r for r in estimate.random if r.level == "sector/firm")
            first = keys["sector/firm"] == keys["sector/firm"][0]
            blup = np.array(firm.cov) @ (x[:, :2] * first[:, None]).T @ np.linalg.solve(v, e)
            assert fitted.effects("sector/firm")["estimate"][:, 0] == pytest.approx(blup, rel=1e-6)


def test_crossed_effect_agrees_with_lme4():
    # lme4 1.1-31, bobyqa with rhoend 1e-10: log(emp) ~ log(wage) + log(capital) + (1 + log(capital) | firm)
    # + (1 | sector) + (1 | year) on the shipped uk_firms.csv.
    import csv
    from pathlib import Path

    with (Path(__file__).parents[1] / "config" / "data" / "uk_firms.csv").open() as file:
        rows = list(csv.DictReader(file))
    get = lambda name: np.array([float(r[name]) for r in rows])  # noqa: E731
    panel = panel_moments(
        {"lw": np.log(get("wage")), "lc": np.log(get("capital"))},
        np.log(get("emp")),
        {"sector": np.array([r["sector"] for r in rows]), "firm": np.array([r["firm"] for r in rows])},
        time=get("year"),
    )
    random = (LevelSpec("sector", ((ONE,),)), LevelSpec("sector/firm", ((ONE, "lc"),)))
    fitted = fit(panel, ModelSpec((ONE, "lw", "lc"), random, crossed="year"))
    assert fitted.ml.loglik == pytest.approx(361.4556842899, abs=1e-8)
    assert fitted.reml.loglik == pytest.approx(355.1547983017, abs=1e-8)
    year = fitted.effects("year")
    lme4 = [0.06206847788, 0.04385799533, 0.02389936560, 0.01330358158, -0.00100584508, -0.04529298183, -0.05221827087,
            -0.04132585332, -0.00328646929]  # fmt: skip
    sds = [0.0181535059, 0.0164894332, 0.0164702439, 0.0164888327, 0.0164039026, 0.0163454591, 0.0164538812,
           0.0183208277, 0.0221596245]  # fmt: skip
    assert year["estimate"][0] == pytest.approx(np.array(lme4), abs=1e-4 * 0.042)
    assert year["sd"][0] == pytest.approx(np.array(sds), rel=1e-4)


def test_singular_and_degenerate_panels():
    columns, y, groups, _ = simulated(seed=3)
    constant = panel_moments(columns, np.full(len(y), 4.0), groups)
    with pytest.raises(ModelError, match="constant"):
        fit(constant, THREE)
    with pytest.raises(ModelError, match="only 1 group"):
        fit(panel_moments(columns, y, {"g": np.zeros(len(y))}), ModelSpec((ONE,), (LevelSpec("g", ((ONE,),)),)))
    with pytest.raises(ModelError, match="groups of size 1"):
        fit(panel_moments(columns, y, {"g": np.arange(len(y))}), ModelSpec((ONE,), (LevelSpec("g", ((ONE,),)),)))
    few = {name: values[:3] for name, values in columns.items()}
    with pytest.raises(ModelError, match="rows"):
        fit(panel_moments(few, y[:3], {"g": np.arange(3)}), ModelSpec((ONE, "x", "z")))


def test_aliased_columns_are_dropped_in_the_formulas_order_and_named():
    columns, y, groups, _ = simulated(seed=3)
    columns = {**columns, "w": 2 * columns["x"] + 1, "c": np.full(len(y), 7.0)}
    spec = replace(THREE, fixed=(ONE, "x", "z", "w", "c"))
    fitted = fit(panel_moments(columns, y, groups), spec)
    assert dict(fitted.aliased) == {"w": ("x",), "c": (ONE,)}
    plain = fit(panel_moments({k: columns[k] for k in "xz"}, y, groups), THREE)
    assert fitted.reml.loglik == pytest.approx(plain.reml.loglik, rel=1e-10)


def test_a_zero_variance_is_found_and_certified():
    rng = np.random.default_rng(0)
    groups = {"g": np.repeat(np.arange(12), 8)}
    y = rng.normal(size=96)
    y = y - np.repeat([y[groups["g"] == g].mean() for g in range(12)], 8)
    fitted = fit(panel_moments({}, y, groups), ModelSpec((ONE,), (LevelSpec("g", ((ONE,),)),)))
    assert fitted.ml.singular
    assert fitted.ml.converged
    assert fitted.ml.random[0].sd == [0.0]
    assert fitted.ml.icc == {"g": 0.0, "residual": 1.0}
    # The log-likelihood of independent rows with variance Σy²/n.
    assert fitted.ml.loglik == pytest.approx(-48 * (1 + np.log(2 * np.pi * np.mean(y**2))), rel=1e-12)


def test_fit_needs_neither_pandas_nor_statsmodels_nor_matplotlib():
    import subprocess
    import sys

    code = (
        "import sys, hierreport.mixed, hierreport.moments\n"
        "bad = {'pandas', 'statsmodels', 'matplotlib', 'scipy.stats', 'scipy.optimize'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_panel_moments_accepts_plain_moments():
    columns, y, groups, _ = simulated(seed=3)
    panel = panel_moments(columns, y, groups)
    assert fit(panel.moments, THREE).ml.loglik == fit(PanelMoments(panel.moments), THREE).ml.loglik


@pytest.mark.parametrize("seed", [15, 94, 331, 476])
def test_the_best_of_several_optima_is_found(seed):
    """A covariate that varies between groups, as a slope: descents from one start end in the worse optimum."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(12), 4)
    x = rng.exponential(size=12)[g] * (1 + 0.1 * rng.normal(size=48))
    y = x + rng.normal(size=12)[g] + rng.normal(size=12)[g] * x + 0.5 * rng.normal(size=48)
    spec = ModelSpec((ONE, "x"), (LevelSpec("g", ((ONE, "x"),)),))
    found = fit(panel_moments({"x": x}, y, {"g": g}), spec)
    for state in (found.ml_state, found.reml_state):
        ends = []
        for start in product((0.3, 3.0), (-3.0, -0.3, 0.3, 3.0), (0.1, 3.0)):
            out = scipy.optimize.minimize(lambda theta, c=state.criterion: float(c(theta)), start, method="L-BFGS-B")
            ends.append(out.fun)
        assert max(ends) > min(ends) + 0.01  # there are several
        assert state.optimum.value <= min(ends) + 1e-6


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("constant within groups", lambda x, u: u),
        ("a predictor", lambda x, u: 2 * x),
        ("a predictor and the groups", lambda x, u: 1 + 2 * x + u),
        ("slopes of the groups", lambda x, u: u * x),
    ],
)
def test_an_outcome_that_is_fitted_exactly_is_refused(name, outcome):
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(12), 8)
    x, u = rng.normal(size=96), rng.normal(size=12)[g]
    panel = panel_moments({"x": x}, outcome(x, u), {"g": g})
    terms = (ONE, "x") if "slopes" in name else (ONE,)
    with pytest.raises(ModelError, match="no residual variance is left"):
        fit(panel, ModelSpec((ONE, "x"), (LevelSpec("g", (terms,)),)))
    if name == "a predictor":
        with pytest.raises(ModelError, match="the fixed effects reproduce the outcome y"):
            fit(panel, ModelSpec((ONE, "x")))


def test_a_nearly_exact_fit_is_accurate():
    """Noise of 1e-5 of the outcome's spread: balanced one-way layout, in closed form."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(10), 6)
    noise = rng.normal(size=60)
    y = rng.normal(size=10)[g] + 1e-5 * noise
    found = fit(panel_moments({}, y, {"g": g}), ModelSpec((ONE,), (LevelSpec("g", ((ONE,),)),)))
    within = np.sqrt(((y - y.reshape(10, 6).mean(axis=1)[g]) ** 2).sum() / 50)
    between = y.reshape(10, 6).mean(axis=1).var(ddof=1)
    assert found.reml.sigma == pytest.approx(within, rel=1e-4)
    assert found.reml.random[0].sd[0] == pytest.approx(np.sqrt(between - within**2 / 6), rel=1e-4)


def test_degrees_of_freedom_do_not_depend_on_units():
    columns, y, groups, _ = simulated()
    spec = ModelSpec((ONE, "x"), (LevelSpec("sector/firm", ((ONE,),)),))
    plain = fit(panel_moments(columns, y, groups), spec)
    for factor in (1e100, 1e-100):
        moved = fit(panel_moments({**columns, "x": columns["x"] * factor}, y, groups), spec)
        assert [f.df for f in moved.reml.fixed] == pytest.approx([f.df for f in plain.reml.fixed], rel=1e-6)


def test_a_variance_that_reml_cannot_see_is_zero():
    """Groups that are fixed effects too: REML's criterion does not depend on their variance."""
    columns, y, groups, _ = simulated()
    dummies = {f"sector[{k}]": (groups["sector"] == k).astype(float) for k in range(1, 5)}
    spec = ModelSpec((ONE, "x", *dummies), (LevelSpec("sector", ((ONE,),)), LevelSpec("sector/firm", ((ONE,),))))
    found = fit(panel_moments({**columns, **dummies}, y, groups), spec).reml
    assert found.random[0].sd == [0.0] and found.singular
    inner = ModelSpec(spec.fixed, spec.random[1:])
    assert found.loglik == pytest.approx(fit(panel_moments({**columns, **dummies}, y, groups), inner).reml.loglik)


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-4])
def test_degrees_of_freedom_where_groups_differ_by_far_more_than_rows(noise):
    """Balanced groups: the mean of groups has G - 1 degrees of freedom, a slope within them n - G - 1, in the limit."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 5)
    x = rng.normal(size=150)
    y = rng.normal(size=30)[g] + x + noise * rng.normal(size=150)
    found = fit(panel_moments({"x": x}, y, {"g": g}), ModelSpec((ONE, "x"), (LevelSpec("g", ((ONE,),)),)))
    for method in ("satterthwaite", "kenward-roger"):
        assert [f.df for f in found.estimate("reml", method).fixed] == pytest.approx([29, 119], rel=1e-3)


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e6, 1e12])
def test_the_unit_of_weights_does_not_matter(unit):
    columns, y, groups, _ = simulated(slope=0.0)
    weights = np.random.default_rng(4).uniform(0.1, 2.0, len(y))
    plain = fit(panel_moments(columns, y, groups, weights=weights), THREE)
    moved = fit(panel_moments(columns, y, groups, weights=weights * unit), THREE)
    for one, other in ((plain.ml, moved.ml), (plain.reml, moved.reml)):
        assert other.loglik == pytest.approx(one.loglik, rel=1e-9)
        assert other.sigma == pytest.approx(one.sigma * np.sqrt(unit), rel=1e-5)
        assert (other.singular, other.converged) == (one.singular, one.converged)
        assert [f.se for f in other.fixed] == pytest.approx([f.se for f in one.fixed], rel=1e-4)
    one_level = ModelSpec((ONE, "x"), (LevelSpec("sector/firm", ((ONE,),)),))
    assert not fit(panel_moments(columns, y, groups, weights=weights * unit), one_level).reml.singular
