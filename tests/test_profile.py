"""Profile intervals against lme4's (profile_reference/), and against a dense likelihood maximised by other means."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference_cases as references
from case_moments import panel
from numpy_panels import panel_moments
from scipy import optimize, stats

from hierreport.errors import ModelError
from hierreport.intervals import quantities
from hierreport.mixed import fit
from hierreport.profile import Profiler, profile
from hierreport.spec import LevelSpec, ModelSpec

R = json.loads((Path(__file__).parent / "profile_reference" / "lme4.json").read_text())
MODELS = [(name, model) for name in R for model in R[name]]
ONE = "(Intercept)"
# Where lme4 says that its own profile failed, or disagrees with the dense likelihood (``WRONG`` below shows it).
FAILED = ("non-monotonic", "NAs detected", "bad spline")
WRONG = {
    ("oats", "null", "sd_(Intercept)|Block"): "low",
    ("oats", "ml", "sd_(Intercept)|Block"): "low",
    ("grunfeld", "rs", "value"): "low",
}


@cache
def fitted(name, model):
    return fit(panel(name).moments, references.case(name).model_spec(model))


@cache
def ours(name, model):
    """Intervals by lme4's names."""
    out = {}
    for i in profile(fitted(name, model)):
        if i.kind == "sd":
            out[f"sd_{i.terms[0]}|{i.level}"] = i
        elif i.kind == "correlation":
            out[f"cor_{i.terms[1]}.{i.terms[0]}|{i.level}"] = i
        elif i.kind == "sigma":
            out["sigma"] = i
        elif i.kind == "fixed":
            out[i.terms[0].replace("[", "").replace("]", "")] = i
    return out


def failed(name, model):
    warnings = R[name][model]["warnings"]
    return any(word in text for text in ([warnings] if isinstance(warnings, str) else warnings) for word in FAILED)


def plain(key):
    """lme4 numbers a level's second block: ``sd_Days|Subject.1``."""
    return key.replace("`", "").removesuffix(".1")


@pytest.mark.parametrize(("name", "model"), [m for m in MODELS if not failed(*m)])
def test_agrees_with_lme4_to_a_thousandth_of_the_width(name, model):
    got = {plain(k): v for k, v in ours(name, model).items()}
    expected = {plain(k): v for k, v in R[name][model]["intervals"].items()}
    assert set(got) == set(expected)
    for key, (low, high) in expected.items():
        width = got[key].high - got[key].low
        for side, end, known in (("low", got[key].low, low), ("high", got[key].high, high)):
            if WRONG.get((name, model, key)) != side:
                assert end == pytest.approx(known, abs=1e-3 * width), (key, side)
    assert not any(i.note for i in got.values())


def test_lme4_agrees_where_it_can():
    """Most of the 69 models are compared above; in the others lme4's own fixed effects still stand."""
    assert sum(not failed(*m) for m in MODELS) >= 60
    for name, model in (("gasoline", "rs"), ("produc", "rs"), ("ricefarms", "rs"), ("orthodont_girls", "rs")):
        for key, (low, high) in R[name][model]["intervals"].items():
            if "|" in key or key == "sigma":
                continue
            interval = ours(name, model)[key]
            width = interval.high - interval.low
            assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-3 * width), (name, key)


class Dense:
    """Deviance of a model from its rows, by outermost groups; parameters are sds, correlations (tanh) and log σ."""

    def __init__(self, name, model):
        self.spec, p = references.case(name).model_spec(model), panel(name)
        self.x, self.y = p.columns(self.spec.fixed), p.y
        outer = p.keys[self.spec.random[0].level]
        self.groups = [np.flatnonzero(outer == key) for key in np.unique(outer)]
        self.parts = []
        for level in self.spec.random:
            key = np.unique(p.keys[level.level], return_inverse=True)[1]
            self.parts.append((level.level, level.terms, p.columns(level.terms), key))

    def deviance(self, sds, correlations, log_sigma, x, y):
        xx, xy, yy, logdet = 0.0, 0.0, 0.0, 0.0
        s2 = np.exp(2 * log_sigma)
        for rows in self.groups:
            v = np.eye(len(rows)) * s2
            for (_, _, z, key), sd, rho in zip(self.parts, sds, correlations, strict=True):
                cov = np.outer(sd, sd)
                if len(sd) == 2:
                    cov = cov * np.array([[1, rho], [rho, 1]])
                v += (z[rows] @ cov @ z[rows].T) * (key[rows][:, None] == key[rows][None, :])
            lower = np.linalg.cholesky(v)
            a, b = np.linalg.solve(lower, x[rows]), np.linalg.solve(lower, y[rows])
            xx, xy, yy = xx + a.T @ a, xy + a.T @ b, yy + b @ b
            logdet += 2 * np.log(np.diag(lower)).sum()
        beta = np.linalg.solve(xx, xy)
        return logdet + yy - xy @ beta + len(y) * np.log(2 * np.pi)

    def rise(self, fit_, key, value):
        """Minimum of the deviance with one parameter held at a value, less the optimum's."""
        x, y = self.x, self.y
        if key in self.spec.fixed:
            j = self.spec.fixed.index(key)
            x, y = np.delete(x, j, axis=1), y - value * x[:, j]
        start, held, shape = [], None, []
        for number, (level, terms, _, _) in enumerate(self.parts):
            record = next(r for r in fit_.ml.random if r.level == level)
            shape.append(len(terms))
            for j, term in enumerate(terms):
                if key == f"sd_{term}|{level}":
                    held = len(start)
                start.append(record.sd[j])
            if len(terms) == 2:
                start.append(np.arctanh(np.clip(record.corr[0][1] or 0.0, -0.95, 0.95)))
            assert number < 2
        start = np.array([*start, np.log(fit_.ml.sigma)])
        free = [i for i in range(len(start)) if i != held]

        def deviance(parameters):
            full = start.copy()
            full[free] = parameters
            if held is not None:
                full[held] = value
            sds, rhos, at = [], [], 0
            for size in shape:
                sds.append(np.abs(full[at : at + size]))
                rhos.append(np.tanh(full[at + size]) if size == 2 else 0.0)
                at += size + (size == 2)
            try:
                return self.deviance(sds, rhos, full[-1], x, y)
            except np.linalg.LinAlgError:
                return 1e10

        best = np.inf
        for turn in (1.0, -1.0):
            first = start[free] * np.where(np.arange(len(free)) == len(free) - 1, 1.0, turn)
            size = np.diag(0.3 * np.maximum(np.abs(first), 0.05))
            simplex = np.vstack([first, first + size])
            options = {"xatol": 1e-5, "fatol": 1e-5, "maxiter": 4000, "maxfev": 4000, "initial_simplex": simplex}
            for _ in range(2):
                end = optimize.minimize(deviance, simplex[0], method="Nelder-Mead", options=options)
                simplex = np.vstack([end.x, end.x + np.diag(0.05 * np.maximum(np.abs(end.x), 0.05))])
                options["initial_simplex"] = simplex
            best = min(best, end.fun)
        return best - fit_.ml.deviance


@pytest.mark.parametrize(
    ("name", "model", "key", "side"),
    [
        *((*key, side) for key, side in WRONG.items()),
        ("orthodont_girls", "rs", "(Intercept)", "high"),
        ("sleepstudy", "rs", "sd_Days|Subject", "high"),
        ("gasoline", "rs", "sd_lrpmg|country", "low"),
        ("produc", "rs", "sd_unemp|region/state", "high"),
    ],
)
def test_the_deviance_rises_by_the_quantile_at_an_end(name, model, key, side):
    interval = ours(name, model)[key]
    rise = Dense(name, model).rise(fitted(name, model), key, getattr(interval, side))
    assert rise == pytest.approx(stats.chi2.ppf(0.95, 1), abs=5e-3)


def test_lme4s_own_ends_are_elsewhere_where_the_two_disagree():
    for (name, model, key), side in list(WRONG.items())[1:2]:
        known = R[name][model]["intervals"][key][0 if side == "low" else 1]
        rise = Dense(name, model).rise(fitted(name, model), key, known)
        assert abs(rise - stats.chi2.ppf(0.95, 1)) > 5e-3


def test_an_end_at_the_edge_is_the_edge():
    low = ours("pastes", "ml")["sd_(Intercept)|batch"].low
    assert low == 0.0
    # A zero standard deviation is within the interval: dropping the level costs less than the quantile.
    gain = fitted("pastes", "ri").ml.deviance - fitted("pastes", "ml").ml.deviance
    assert gain < stats.chi2.ppf(0.95, 1)
    assert ours("chickweight", "rs")["cor_Time.(Intercept)|Chick"].low == -1.0


def shares(f, method="ml"):
    return {i.level: i for i in profile(f, method=method, kinds=["icc"])}


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_icc_in_a_balanced_one_way_layout_is_an_f_interval_up_to_the_likelihoods_shape(method):
    """In a balanced one-way layout the deviance depends on the ICC through MSB/MSW alone: its profile is explicit."""
    f = fitted("rail", "ri")
    groups, size = 6, 3
    p = panel("rail")
    means = np.array([p.y[p.code == g].mean() for g in range(groups)])
    ssb, ssw = size * np.sum((means - means.mean()) ** 2), np.sum((p.y - means[p.code]) ** 2)
    n = groups * size - (method == "reml")
    between = groups - (method == "reml")

    def deviance(icc):
        ratio = 1 + size * icc / (1 - icc)
        return between * np.log(ratio) + n * np.log(ssw + ssb / ratio)

    best = optimize.minimize_scalar(deviance, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-12})
    edge = best.fun + stats.chi2.ppf(0.95, 1)
    low = optimize.brentq(lambda r: deviance(r) - edge, 1e-9, best.x)
    high = optimize.brentq(lambda r: deviance(r) - edge, best.x, 1 - 1e-9)
    got = shares(f, method)
    assert (got["Rail"].low, got["Rail"].high) == pytest.approx((low, high), rel=1e-4)
    assert (got["residual"].low, got["residual"].high) == pytest.approx((1 - high, 1 - low), rel=1e-3)


@pytest.mark.parametrize(("name", "model"), [("produc", "ml_rs"), ("empluk", "ml"), ("sleepstudy", "rs")])
def test_iccs_contain_their_estimates_and_do_not_depend_on_units(name, model):
    f = fitted(name, model)
    got = shares(f)
    for level, interval in got.items():
        assert 0 <= interval.low <= f.ml.icc[level] <= interval.high <= 1
        assert interval.estimate == pytest.approx(f.ml.icc[level], rel=1e-9)
    if len(got) == 2:
        level = next(k for k in got if k != "residual")
        ends = (got["residual"].low, got["residual"].high)
        assert ends == pytest.approx((1 - got[level].high, 1 - got[level].low), abs=1e-4)


def rows(seed=3, errors=0.0, periods=8, firms=25):
    rng = np.random.default_rng(seed)
    firm, time = np.repeat(np.arange(firms), periods), np.tile(np.arange(periods), firms)
    x = rng.normal(size=len(firm))
    e = rng.normal(size=(firms, periods))
    for t in range(1, periods):
        e[:, t] = errors * e[:, t - 1] + np.sqrt(1 - errors**2) * e[:, t]
    y = 1 + 0.5 * x + rng.normal(size=firms)[firm] + 0.7 * rng.normal(size=periods)[time] + e.ravel()
    return {"x": x}, y, {"firm": firm}, time


@pytest.mark.parametrize("variant", [{"errors": "ar1"}, {"errors": "car1"}, {"variances": "half"}, {"crossed": "time"}])
def test_every_variant_has_a_profile(variant):
    """At each end the criterion, all else re-optimised by scipy, has risen by the quantile."""
    columns, y, groups, time = rows(errors=0.5 if "errors" in variant else 0.0)
    half = np.where(time < 4, "early", "late")
    p = panel_moments(columns, y, groups, time=time, strata={"half": half})
    f = fit(p, ModelSpec((ONE, "x"), (LevelSpec("firm", ((ONE,),)),), **variant))
    state, got = f.ml_state, profile(f)
    criterion, edge = state.criterion, stats.chi2.ppf(0.95, 1)
    kinds = {i.kind for i in got}
    assert ("rho" in kinds) == ("errors" in variant)
    for i in got:
        assert i.low < i.estimate < i.high and not i.note, i
    rho = next((i for i in got if i.kind == "rho"), None)
    if rho is not None:
        for end in (rho.low, rho.high):
            phi = criterion.errors.phi(end)

            def at(t, phi=phi):
                return criterion(np.concatenate([t, phi]))

            best = optimize.minimize(at, state.theta[:-1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
            assert best.fun - state.optimum.value == pytest.approx(edge, abs=1e-3)
    # σ held: F = log|V| + n log 2πσ² + r²/σ², minimised over θ.
    sigma = next(i for i in got if i.kind == "sigma")
    for end in (sigma.low, sigma.high):
        s2 = (end / f.problem.basis.y_scale) ** 2

        def held(t, s2=s2):
            e = criterion.evaluate(t, gradient=False)
            n = criterion.nu
            return e.value - n * (1 + np.log(2 * np.pi * e.r2 / n)) + n * np.log(2 * np.pi * s2) + e.r2 / s2

        best = optimize.minimize(held, state.theta, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
        assert best.fun - state.optimum.value == pytest.approx(edge, abs=2e-3)


def test_pooled_intervals_are_the_likelihoods_own():
    f = fitted("hedonic", "pooled")
    n, p = f.n_obs, len(f.problem.basis.fixed)
    edge = stats.chi2.ppf(0.95, 1)
    for i, e in zip(profile(f, kinds=["fixed"]), f.reml.fixed, strict=True):
        # F(b) − F̂ = n log(1 + t²/(n − p)).
        half = e.se * np.sqrt((n - p) * np.expm1(edge / n))
        assert (i.low, i.high) == pytest.approx((e.estimate - half, e.estimate + half), rel=1e-9)
    sigma = profile(f, kinds=["sigma"])[0]
    for end in (sigma.low, sigma.high):
        ratio = (sigma.estimate / end) ** 2
        assert n * (ratio - 1 - np.log(ratio)) == pytest.approx(edge, rel=1e-6)


def test_singular_fits_are_left_where_the_likelihood_wants_it():
    f = fitted("empluk", "null")
    assert f.ml_state.singular
    got = {i.level: i for i in profile(f) if i.kind == "sd"}
    assert got["sector"].low == 0.0 and got["sector"].high == pytest.approx(0.45113, rel=2e-2)
    dense = Dense("empluk", "null")
    assert dense.rise(f, "sd_(Intercept)|sector", got["sector"].high) == pytest.approx(3.8415, abs=5e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_correlation_estimated_at_its_limit_ends_where_the_deviance_has_risen(seed):
    """Intercepts and slopes that move in step, against a dense likelihood with the correlation held."""
    rng = np.random.default_rng(seed)
    group, x = np.repeat(np.arange(15), 8), rng.normal(size=120)
    u = rng.normal(size=15)[group]
    y = 1 + 0.5 * x + u * (0.7 + 0.6 * x) + rng.normal(size=120)
    f = fit(panel_moments({"x": x}, y, {"g": group}), ModelSpec((ONE, "x"), (LevelSpec("g", ((ONE, "x"),)),)))
    assert f.ml.random[0].corr[0][1] == pytest.approx(1.0)
    (interval,) = profile(f, kinds=["correlation"])
    assert interval.high == 1.0 and -1 < interval.low < 1

    z = np.column_stack([np.ones(120), x])

    def deviance(parameters):
        sd, noise = np.exp(parameters[:2]), np.exp(parameters[2])
        cov = np.outer(sd, sd) * np.array([[1, interval.low], [interval.low, 1]])
        v = noise**2 * np.eye(120) + (z @ cov @ z.T) * (group[:, None] == group[None, :])
        lower = np.linalg.cholesky(v)
        a, b = np.linalg.solve(lower, z), np.linalg.solve(lower, y)
        rest = b - a @ np.linalg.lstsq(a, b)[0]
        return 2 * np.log(np.diag(lower)).sum() + rest @ rest + 120 * np.log(2 * np.pi)

    start = np.log([*f.ml.random[0].sd, f.ml.sigma])
    options = {"xatol": 1e-7, "fatol": 1e-7, "maxiter": 4000}
    least = optimize.minimize(deviance, start, method="Nelder-Mead", options=options).fun
    assert least - f.ml.deviance == pytest.approx(stats.chi2.ppf(0.95, 1), abs=2e-3)


def test_a_correlation_with_a_zero_variance_has_no_interval():
    f = fitted("p_two_groups", "rs")
    undefined = [i for i in profile(f) if i.kind == "correlation" and i.estimate is None]
    assert all(i.low is None and "zero" in i.note for i in undefined)


def test_units_do_not_matter():
    columns, y, groups, time = rows()
    spec = ModelSpec((ONE, "x"), (LevelSpec("firm", ((ONE, "x"),)),))
    a = profile(fit(panel_moments(columns, y, groups, time=time), spec))
    scaled = {"x": columns["x"] * 1e4 + 3e4}
    b = profile(fit(panel_moments(scaled, y * 1e-3, groups, time=time), spec))
    for i, j in zip(a, b, strict=True):
        if i.kind in ("icc",):
            assert (i.low, i.high) == pytest.approx((j.low, j.high), abs=1e-4)
        if i.kind == "sigma" or (i.kind in ("sd", "fixed") and i.terms == ("x",)):
            factor = 1e3 * (1e4 if i.terms else 1)
            assert (i.low, i.high) == pytest.approx((j.low * factor, j.high * factor), rel=1e-3, abs=1e-4)


def test_what_is_asked_for_is_what_is_given():
    f = fitted("sleepstudy", "rs")
    assert [i.kind for i in profile(f, kinds=["sigma", "icc"])] == ["sigma", "icc", "icc"]
    assert {i.kind for i in profile(f, method="reml")} == {"sd", "correlation", "sigma", "icc"}
    narrow, wide = (profile(f, kinds=["fixed"], coverage=c)[1] for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    order = [q.name for q in quantities(f.problem) if q.kind != "r2"]
    assert [" ".join([i.kind, *([i.level] if i.level else []), *i.terms]) for i in profile(f)] == order
    assert json.dumps([i.to_dict() for i in profile(f)])
    assert Profiler(f.ml_state).z == pytest.approx(1.959964, rel=1e-6)
    with pytest.raises(ModelError, match="r2"):
        profile(f, kinds=["r2"])
    with pytest.raises(ModelError, match="restricted"):
        profile(f, method="reml", kinds=["fixed"])
