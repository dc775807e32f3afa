"""The stage ``sensitivity``: planted faults move the right analysis; every analysis agrees with a refit from rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag
from scipy.optimize import minimize
from scipy.stats import chi2, norm

import hierreport
from hierreport import sensitivity, stages
from hierreport.sensitivity import judge
from hierreport.sensitivity.lags import step_weighted
from hierreport.sensitivity.robust import cutoff, group_share, row_share

FORMULA = "y ~ x + z + (1 | g)"


def panel(seed: int = 1, groups: int = 40, rows: int = 8) -> pd.DataFrame:
    """y = 1 + 0.5 x + 0 z + u_g + e, with time."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rows)
    x, z = rng.normal(size=(2, groups * rows))
    y = 1.0 + 0.5 * x + rng.normal(size=groups)[g] * 0.7 + rng.normal(size=groups * rows) * 0.5
    t = np.tile(np.arange(rows) + 2000, groups)
    return pd.DataFrame({"g": [f"g{i:03d}" for i in g], "t": t, "x": x, "z": z, "y": y})


def analysed(folder: Path, data: pd.DataFrame, formula: str = FORMULA, **options: str) -> dict:
    """The stage's output for a table; ``rungs/`` and the rest stay in the folder."""
    data.to_csv(folder / "data.csv", index=False)
    stages.ingest(folder, {"panel": str(folder / "data.csv"), "formula": formula, **options})
    stages.fit(folder, {})
    stages.sensitivity(folder, {})
    return json.loads((folder / "sensitivity.json").read_text())


def by_name(found: dict) -> dict[str, dict]:
    return {a["name"]: a for a in found["analyses"]}


def coefficient(analysis: dict, term: str) -> dict:
    return next(c for c in analysis["coefficients"] if c["term"] == term)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict]:
    data = panel()
    return data, analysed(tmp_path_factory.mktemp("clean"), data, time="t")


def test_clean_panel_stands_everywhere(clean: tuple[pd.DataFrame, dict]) -> None:
    _, found = clean
    assert found["main"] == ["x", "z"]
    names = by_name(found)
    assert {"variances", "crossed", "within_between", "cluster_robust", "groups:g:1", "groups:g:2"} <= set(names)
    assert {"outlying_rows", "first_period", "last_period", "robust", "errors:ar1", "rung:pooled"} <= set(names)
    changed = [n for n in names if n.startswith(("groups", "outlying", "first", "last"))]
    assert [names[n]["choice"] for n in changed if names[n]["n_obs"] < 320] == ["random_intercept"] * 4
    wrong = [a["name"] for a in found["analyses"] if a["stands"] is False]
    assert wrong == []
    assert found["verdict"].startswith("The conclusions stand in all")


def same(analysis: dict, fit: hierreport.api.Fit, rel: float = 2e-5) -> None:
    """An analysis has the estimates and errors of a fit from rows."""
    theirs = {f.term: f for f in fit.reml.fixed}
    assert analysis["n_obs"] == fit.n_obs
    assert analysis["loglik"] == pytest.approx(fit.ml.loglik, abs=1e-5)
    for c in analysis["coefficients"]:
        assert c["estimate"] == pytest.approx(theirs[c["term"]].estimate, abs=1e-4 * c["se"])
        assert c["se"] == pytest.approx(theirs[c["term"]].se, rel=rel)
        assert c["ci_low"] == pytest.approx(theirs[c["term"]].ci_low, abs=1e-3 * c["se"])
    assert analysis["icc"] == pytest.approx(fit.reml.icc, abs=1e-4)


def test_analyses_are_refits_of_the_rows_that_stay(clean: tuple[pd.DataFrame, dict]) -> None:
    data, found = clean
    names = by_name(found)
    same(names["first_period"], hierreport.fit(data[data.t > 2000], FORMULA))
    same(names["last_period"], hierreport.fit(data[data.t < 2007], FORMULA))
    for name in ("groups:g:1", "groups:g:2"):
        left = names[name]["details"]["groups"]
        same(names[name], hierreport.fit(data[~data.g.isin(left)], FORMULA))
    same(names["errors:ar1"], hierreport.fit(data, FORMULA, time="t", errors="ar1"))
    same(names["crossed"], hierreport.fit(data, FORMULA, time="t", crossed=True))
    same(names["variances"], hierreport.fit(data, FORMULA, variances="g"))
    means = data.assign(xm=data.groupby("g").x.transform("mean"), zm=data.groupby("g").z.transform("mean"))
    same(names["within_between"], hierreport.fit(means, "y ~ x + z + xm + zm + (1 | g)"))


def test_influence_finds_the_group_whose_deletion_moves_most(clean: tuple[pd.DataFrame, dict]) -> None:
    data, found = clean
    whole = hierreport.fit(data, FORMULA).reml
    cov = np.asarray(whole.fixed_cov)[1:, 1:]
    beta = np.array([f.estimate for f in whole.fixed])[1:]
    moved = {}
    for g in data.g.unique():
        part = np.array([f.estimate for f in hierreport.fit(data[data.g != g], FORMULA).reml.fixed])[1:]
        moved[g] = (beta - part) @ np.linalg.solve(cov, beta - part)
    assert by_name(found)["groups:g:1"]["details"]["groups"] == [max(moved, key=moved.get)]


def test_autoregressive_panel_is_refitted_as_such(tmp_path: Path) -> None:
    rng = np.random.default_rng(50)
    data = panel(5)
    e = rng.normal(size=(40, 8))
    for t in range(1, 8):
        e[:, t] = 0.6 * e[:, t - 1] + 0.8 * e[:, t]
    data["y"] = 0.5 * data.x + e.ravel() + 3.0 * rng.normal(size=40).repeat(8)
    data.loc[11, "y"] += 15.0
    found = analysed(tmp_path, data, time="t")
    assert found["rung"] == "random_intercept.ar1"
    names = by_name(found)
    rows = {r["row"] for r in names["outlying_rows"]["details"]["rows"]}
    assert 12 in rows and len(rows) == names["outlying_rows"]["details"]["left_out"]
    ar1 = {"time": "t", "errors": "ar1"}
    same(names["outlying_rows"], hierreport.fit(data.drop(index=[r - 1 for r in rows]), FORMULA, **ar1))
    same(names["last_period"], hierreport.fit(data[data.t < 2007], FORMULA, **ar1))
    gone = names["groups:g:1"]["details"]["groups"]
    assert gone == ["g001"]
    same(names["groups:g:1"], hierreport.fit(data[~data.g.isin(gone)], FORMULA, **ar1))
    means = data.assign(xm=data.groupby("g").x.transform("mean"), zm=data.groupby("g").z.transform("mean"))
    same(names["within_between"], hierreport.fit(means, "y ~ x + z + xm + zm + (1 | g)", **ar1))
    without = coefficient(names["outlying_rows"], "x")
    robust = coefficient(names["robust"], "x")
    assert robust["estimate"] == pytest.approx(without["estimate"], abs=without["se"])
    assert robust["se"] < 0.9 * found["chosen"]["coefficients"][0]["se"]
    same(names["variances"], hierreport.fit(data, FORMULA, variances="g", **ar1))
    same(names["crossed"], hierreport.fit(data, FORMULA, crossed=True, **ar1))


def test_step_weights_of_one_change_nothing(clean: tuple[pd.DataFrame, dict]) -> None:
    fit = hierreport.fit(clean[0], FORMULA, time="t", errors="ar1")
    found = step_weighted(fit.frame, fit.panel.moments, fit.panel.lags, "1.0")
    for name in ("group", "gap", "count", "now", "cross", "before", "first"):
        np.testing.assert_allclose(getattr(found, name), getattr(fit.panel.lags, name), rtol=1e-12, atol=1e-12)
    twice = step_weighted(fit.frame, fit.panel.moments, fit.panel.lags, "2.0")
    np.testing.assert_allclose(twice.cross, 2.0 * fit.panel.lags.cross, rtol=1e-12, atol=1e-12)


def test_outlying_row_moves_the_analyses_without_it(tmp_path: Path) -> None:
    data = panel(2)
    row = int(np.argmax(data.x))
    data.loc[row, "y"] -= 30.0
    names = by_name(analysed(tmp_path, data))
    out = names["outlying_rows"]
    assert [r["row"] for r in out["details"]["rows"]] == [row + 1]
    same(out, hierreport.fit(data.drop(index=row), FORMULA))
    assert not out["stands"] and not names["robust"]["stands"]
    assert coefficient(out, "x")["estimate"] == pytest.approx(0.5, abs=0.1)
    assert coefficient(names["robust"], "x")["estimate"] == pytest.approx(0.5, abs=0.1)
    assert abs(names["cluster_robust"]["coefficients"][0]["change_in_se"]) < 1e-12
    assert "first_period" not in names and "crossed" not in names


def test_influential_group_is_left_out(tmp_path: Path) -> None:
    data = panel(3)
    own = data.g == "g007"
    data.loc[own, "x"] += np.linspace(-6, 6, 8)
    data.loc[own, "y"] -= 1.5 * data.loc[own, "x"]
    found = analysed(tmp_path, data)
    names = by_name(found)
    one = names["groups:g:1"]
    assert one["details"]["groups"] == ["g007"]
    assert not one["stands"] and "Without the most influential g" in found["verdict"]
    same(one, hierreport.fit(data[~own], FORMULA))


def test_confounded_predictor_shows_within_groups(tmp_path: Path) -> None:
    data = panel(4, groups=100, rows=4)
    rng = np.random.default_rng(9)
    between = rng.normal(size=100).repeat(4)
    data["x"] += 2.0 * between
    data["y"] += 0.5 * 2.0 * between + 1.5 * between
    names = by_name(analysed(tmp_path, data))
    assert not names["within_between"]["stands"]
    assert coefficient(names["within_between"], "x")["estimate"] == pytest.approx(0.5, abs=0.1)
    assert names["groups:g:1"]["stands"]
    # 100 groups of 4 rows are no strata: said, and not judged.
    assert names["variances"]["status"] == "not available" and names["variances"]["stands"] is None
    assert "strata" in names["variances"]["reason"]


def test_unequal_variances_narrow_the_interval(tmp_path: Path) -> None:
    data = panel(6, groups=12, rows=30)
    rng = np.random.default_rng(8)
    sd = np.where(np.arange(12) < 6, 0.1, 3.0).repeat(30)
    data["y"] = 0.05 * data.x + sd * rng.normal(size=360) + 2.0 * rng.normal(size=12).repeat(30)
    found = analysed(tmp_path, data)
    names = by_name(found)
    same(
        names["variances"],
        hierreport.fit(data, FORMULA if "intercept" in found["rung"] else "y ~ x + z", variances="g"),
    )
    sigmas = names["variances"]["details"]["sigmas"]
    assert sigmas["g000"] == pytest.approx(0.1, rel=0.4) and sigmas["g011"] == pytest.approx(3.0, rel=0.4)
    chosen = found["chosen"]["coefficients"][0]
    assert chosen["ci_low"] < 0 < chosen["ci_high"]
    assert coefficient(names["variances"], "x")["ci_low"] > 0 and not names["variances"]["stands"]


def test_constants_of_the_weights_are_those_of_the_normal() -> None:
    x = np.linspace(-12, 12, 400_001)
    assert row_share() == pytest.approx(np.trapezoid(np.minimum(1, 1.345 / np.abs(x + 1e-300)) * x**2 * norm.pdf(x), x))
    for q in (1, 2, 3):
        d = np.linspace(1e-9, 40, 400_001)
        density = chi2.pdf(d**2, q) * 2 * d
        assert chi2.cdf(cutoff(q) ** 2, q) == pytest.approx(row_share())
        mean = np.trapezoid(np.minimum(1, cutoff(q) / d) * d**2 * density, d)
        assert group_share(q) == pytest.approx(mean / q, rel=1e-6)


def dense_robust(data: pd.DataFrame, iterations: int = 60) -> tuple[np.ndarray, float, float]:
    """The same estimating equations with n × n matrices: random intercepts, Huber weights of rows and groups."""
    x = np.column_stack([np.ones(len(data)), data.x, data.z])
    y = data.y.to_numpy()
    z = block_diag(*[np.ones((len(part), 1)) for _, part in data.groupby("g")])
    n = len(y)

    def reml(w: np.ndarray, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray]:
        def pieces(log: np.ndarray) -> tuple:
            s2, tau = np.exp(log)
            v = np.diag(s2 / w) + z * (tau / omega) @ z.T
            inverse = np.linalg.inv(v)
            xx = x.T @ inverse @ x
            beta = np.linalg.solve(xx, x.T @ inverse @ y)
            r = y - x @ beta
            value = np.linalg.slogdet(v)[1] + np.linalg.slogdet(xx)[1] + r @ inverse @ r
            return value, beta, r, inverse, xx, s2, tau

        best = minimize(lambda log: pieces(log)[0], [-1.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-7})
        _, beta, r, inverse, xx, s2, tau = pieces(best.x)
        u = (tau / omega) * (z.T @ inverse @ r)
        proj = inverse - inverse @ x @ np.linalg.solve(xx, x.T @ inverse)
        var_u = np.outer(tau / omega, tau / omega) * (z.T @ proj @ z)
        var_e = s2**2 * np.diag(proj)
        return beta, u, s2, tau, np.diag(var_u), var_e

    ones, groups = np.ones(n), np.ones(z.shape[1])
    beta, u, s2, tau, var_u, var_e = reml(ones, groups)
    reliability = var_u / tau
    share = (z.T @ (var_e / s2)) / z.sum(axis=0)
    delta = 2 * norm.cdf(1.345) - 1
    for _ in range(iterations):
        before = beta
        s = (y - x @ beta - z @ u) / np.sqrt(s2 * (z @ share))
        omega = np.minimum(1, 1.345 / np.abs(u / np.sqrt(tau * reliability)))
        beta, u, s2, tau, _, _ = reml(np.minimum(1, 1.345 / np.abs(s)), omega)
        s2, tau = s2 / delta, tau / (1 - (1 - delta) * reliability.mean())
        if np.abs(beta - before).max() < 1e-6:
            break
    return beta, np.sqrt(s2), np.sqrt(tau)


def test_robust_estimation_agrees_with_dense_matrices(tmp_path: Path) -> None:
    data = panel(7, groups=20, rows=6)
    data.loc[[3, 50, 51, 90], "y"] += [4.0, -6.0, 3.0, 5.0]
    data.loc[data.g == "g013", "y"] += 8.0
    found = by_name(analysed(tmp_path, data))["robust"]
    beta, sigma, tau = dense_robust(data)
    details = found["details"]
    assert details["settled"] and details["groups_below_half"]["g"] == ["g013"]
    for k, term in ((1, "x"), (2, "z")):
        c = coefficient(found, term)
        assert c["estimate"] == pytest.approx(beta[k], abs=0.03 * c["se"])
    assert details["sigma"] == pytest.approx(sigma, rel=0.02)
    assert details["sds"]["g"]["(Intercept)"] == pytest.approx(tau, rel=0.03)
    assert details["sigma"] < 0.7 * hierreport.fit(data, FORMULA).reml.sigma


def test_same_bytes_again(tmp_path: Path) -> None:
    analysed(tmp_path, panel(2), time="t")
    first = (tmp_path / "sensitivity.json").read_bytes()
    stages.sensitivity(tmp_path, {})
    assert (tmp_path / "sensitivity.json").read_bytes() == first


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ((0.4, 0.1, 0.2, 0.6), ""),
        ((0.35, 0.2, -0.05, 0.75), "can no longer be told from zero"),
        ((-0.1, 0.1, -0.3, 0.1), "changes sign and can no longer be told from zero and moves by 6.0 standard errors"),
        ((0.9, 0.1, 0.7, 1.1), "moves by 4.0 standard errors"),
    ],
)
def test_rule(other: tuple[float, float, float, float], reason: str) -> None:
    mine = {"estimate": 0.5, "se": 0.1, "ci_low": 0.3, "ci_high": 0.7}
    effect = dict(zip(("estimate", "se", "ci_low", "ci_high"), other, strict=True))
    found = judge.compare({"x": mine}, [{"term": "x"} | effect, {"term": "w"} | effect])
    assert [c.broken for c in found] == [reason]


def test_a_null_effect_that_changes_sign_breaks_nothing() -> None:
    mine = {"estimate": 0.01, "se": 0.1, "ci_low": -0.19, "ci_high": 0.21}
    other = {"estimate": -0.01, "se": 0.1, "ci_low": -0.21, "ci_high": 0.19}
    assert judge.broken(mine, other, -0.2) == ""


def test_uk_firms(run_stages, tmp_path: Path) -> None:
    found = sensitivity.run(run_stages("uk_firms", until="fit"), {})
    names = by_name(found)
    assert found["rung"] == "random_slope.ar1"
    assert found["main"] == ["log(wage)", "log(capital)", "log(output)"]
    assert all(a["status"] == "done" for a in found["analyses"])
    assert names["errors:iid"]["choice"] == "random_slope"
    # One firm carries the wage effect.
    assert names["groups:sector/firm:1"]["details"]["groups"] == ["8/114"]
    assert not names["groups:sector/firm:1"]["stands"] and "log(wage)" in names["groups:sector/firm:1"]["sentence"]
    assert all(
        t.startswith("year[") is False for a in found["analyses"] for t in [c["term"] for c in a["coefficients"]]
    )
