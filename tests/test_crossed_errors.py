"""A crossed effect of time beside AR(1) errors and unequal variances: against the density of the rows."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path

import dense_rows
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import hierreport
from hierreport import moments, stages
from hierreport.errors import HierreportError, ModelError
from hierreport.inference import satterthwaite
from hierreport.kept import kept_panel
from hierreport.ml_only import fit_ml
from hierreport.predictive import left_out_score
from hierreport.profile import profile
from hierreport.provenance import checking
from hierreport.provenance.checking import Outcome

VARIANTS = [
    (errors, by, crossed)
    for errors, by, crossed in product(("iid", "ar1", "car1"), (None, "kind", "whole"), (None, "year"))
    if (errors != "iid") + (by is not None) + (crossed is not None) > 1
]
FORMULAS = ["y ~ x + (1 + x | sector/firm)", "y ~ x + (1 | firm)", "y ~ x + (1 + x || firm)"]


@cache
def rows(seed: int = 3, sectors: int = 5, firms: int = 6, years: int = 12) -> pd.DataFrame:
    """A panel with gaps, shocks, AR(1) errors of 0.5 and strata that change within groups (kind) or do not (whole)."""
    rng = np.random.default_rng(seed)
    shock = rng.normal(0, 0.4, years)
    out = []
    for s in range(sectors):
        sector = rng.normal(0, 0.5, 2)
        for f in range(firms):
            own, error, last = rng.normal(0, [0.6, 0.4]), 0.0, -99
            for t in range(years):
                if rng.random() < 0.2:
                    continue
                kind = (s + (t > years // 2)) % 3
                decay = 0.5 ** (t - last)
                error = decay * error + np.sqrt(1 - decay**2) * rng.normal()
                last, x = t, rng.normal()
                level = 1 + sector[0] + own[0] + x * (0.5 + 0.3 * sector[1] + own[1]) + shock[t]
                y = level + (1.0, 1.6, 0.6)[kind] * error
                out.append((f"s{s}", f"s{s}f{f}", 1990 + t, x, y, f"k{kind}", f"g{s % 3}", rng.uniform(0.5, 2)))
    return pd.DataFrame(out, columns=["sector", "firm", "year", "x", "y", "kind", "whole", "w"])


def codes(data: pd.DataFrame) -> dict[str, np.ndarray]:
    sector, firm = data.sector.to_numpy(), data.firm.to_numpy()
    return {"sector": sector, "sector/firm": firm, "firm": firm, "year": data.year.to_numpy(), "inner": firm}


def fitted(data: pd.DataFrame, formula: str, variant: tuple, **options) -> hierreport.Fit:
    errors, by, crossed = variant
    return hierreport.fit(data, formula, time="year", errors=errors, variances=by, crossed=crossed, **options)


def density(data: pd.DataFrame, record: dict, kind: str, by: str | None, weights: str | None = None) -> float:
    """Log-density of the rows at a record's ML or REML estimate, from dense matrices."""
    return dense_rows.of_record(
        data,
        codes(data),
        "y",
        record[kind],
        reml=kind == "reml",
        strata=None if by is None else data[by],
        sigmas=record["extra"].get("sigmas_ml" if kind == "ml" else "sigmas"),
        weights=None if weights is None else data[weights].to_numpy(),
        time=data.year.to_numpy(float),
    )


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_likelihood_is_the_density_of_the_rows(variant: tuple, weights: str | None) -> None:
    data = rows()
    for formula in FORMULAS:
        fit = fitted(data, formula, variant, weights=weights)
        record, by = fit.to_dict(), variant[1]
        assert (record["errors"], record["variances"], record["crossed"]) == variant
        for kind in ("ml", "reml"):
            expected = density(data, record, kind, by, weights)
            assert record[kind]["loglik"] == pytest.approx(expected, rel=1e-11)
            assert record[kind]["converged"]
        # The gradient off the optimum, where no part of it is zero.
        criterion = fit.engine.ml_state.criterion
        theta = fit.engine.ml_state.theta + 0.05 * np.linspace(0.5, 1.0, len(fit.engine.ml_state.theta))
        steps = 1e-5 * np.eye(len(theta))
        numerical = [(criterion(theta + h) - criterion(theta - h)) / 2e-5 for h in steps]
        np.testing.assert_allclose(criterion.evaluate(theta).gradient, numerical, rtol=1e-5, atol=1e-5)


def pooled(variant: tuple) -> hierreport.Fit:
    errors, by, crossed = variant
    ladder = hierreport.ladder(rows(), "y ~ x + (1 | firm)", time="year", errors=errors, variances=by, crossed=crossed)
    parts = ["" if errors == "iid" else f".{errors}", ".var" if by else "", ".time" if crossed else ""]
    return ladder[f"pooled{''.join(parts)}"]


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v[0] != "car1"])
def test_pooled_rungs_too(variant: tuple) -> None:
    data, record = rows(), pooled(variant).to_dict()
    for kind in ("ml", "reml"):
        expected = density(data, record, kind, variant[1])
        assert record[kind]["loglik"] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v[0] != "car1"])
def test_errors_are_within_the_panel_s_innermost_groups_where_the_model_has_coarser_ones(variant: tuple) -> None:
    data, (errors, by, crossed) = rows(), variant
    rungs = {"coarse": "y ~ x + (1 + x | sector)", "fine": "y ~ x + (1 | sector/firm)"}
    ladder = hierreport.ladder(
        data, "y ~ x + (1 + x | sector/firm)", time="year", errors=errors, variances=by, crossed=crossed, rungs=rungs
    )
    parts = ["" if errors == "iid" else f".{errors}", ".var" if by else "", ".time" if crossed else ""]
    fit = ladder[f"coarse{''.join(parts)}"]
    record = fit.to_dict()
    expected = dense_rows.of_record(
        data,
        codes(data),
        "y",
        record["reml"],
        reml=True,
        strata=None if by is None else data[by],
        sigmas=record["extra"].get("sigmas"),
        time=data.year.to_numpy(float),
    )
    assert fit.reml.loglik == pytest.approx(expected, rel=1e-11)
    found = fit.effects("sector")
    estimate, group = record["reml"], codes(data)
    x = np.column_stack([np.ones(len(data)), data.x])
    sd = np.full(len(data), fit.reml.sigma) if by is None else data[by].map(record["extra"]["sigmas"]).to_numpy(float)
    random = [(group[r["level"]], x[:, : len(r["terms"])], np.array(r["cov"])) for r in estimate["random"]]
    v = dense_rows.covariance(random, sd, estimate["rho"], group["inner"], data.year.to_numpy(float))
    right = np.linalg.solve(v, data.y.to_numpy() - x @ np.array([f["estimate"] for f in estimate["fixed"]]))
    code, z, cov = next(part for part, r in zip(random, estimate["random"], strict=True) if r["level"] == "sector")
    u = np.array([cov @ (z * (code == one)[:, None]).T @ right for one in np.unique(code)])
    np.testing.assert_allclose(found.estimate, u.T.ravel(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("variant", [("ar1", None, "year"), ("iid", "kind", "year"), ("ar1", "kind", "year")])
def test_no_descent_on_the_dense_likelihood_gets_further(variant: tuple, reml: bool) -> None:
    data = rows(5, 3, 4, 9)
    estimate = getattr(fitted(data, "y ~ x + (1 | sector/firm)", variant), "reml" if reml else "ml")
    x, y = np.column_stack([np.ones(len(data)), data.x]), data.y.to_numpy()
    one, group, time = np.ones((len(data), 1)), codes(data), data.year.to_numpy(float)
    stratum = np.unique(data.kind, return_inverse=True)[1]

    def deviance(p: np.ndarray) -> float:
        sds, rest = np.exp(p[:3]), list(p[3:])
        rho = np.tanh(rest.pop(0)) if variant[0] == "ar1" else None
        log_sd = np.array([rest[0], *rest[1:]])
        sd = np.exp(log_sd)[stratum] if variant[1] else np.full(len(data), np.exp(log_sd[0]))
        parts = [(group[n], one, s**2) for n, s in zip(("sector", "sector/firm", "year"), sds, strict=True)]
        v = dense_rows.covariance(parts, sd, rho, group["inner"], time)
        return -2.0 * dense_rows.log_likelihood(y, x, None, v, reml)

    size = 3 + (variant[0] == "ar1") + (3 if variant[1] else 1)
    starts = [np.full(size, -0.5), np.zeros(size), np.where(np.arange(size) == 3, 1.2, -1.5)]
    # Standard deviations of next to nothing are as good as zero.
    bounds = [(-12.0, 4.0)] * 3 + [(-4.0, 4.0)] * (size - 3)
    found = [minimize(deviance, s, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300}).fun for s in starts]
    assert -2.0 * estimate.loglik < min(found) + 1e-6
    assert -2.0 * estimate.loglik == pytest.approx(min(found), abs=2e-4)


@pytest.mark.parametrize("variant", [("ar1", "kind", None), ("ar1", None, "year"), ("ar1", "kind", "year")])
def test_random_effects_are_henderson_s(variant: tuple) -> None:
    """u = TZ'V⁻¹(y − Xβ), conditional variance T − TZ'V⁻¹ZT, prediction error with β's own: on the rows."""
    data = rows()
    fit = fitted(data, "y ~ x + (1 + x | sector/firm)", variant)
    record, group = fit.to_dict(), codes(data)
    estimate, sigmas = record["reml"], record["extra"].get("sigmas")
    columns = {"(Intercept)": np.ones(len(data)), "x": data.x.to_numpy()}
    x = np.column_stack([columns[f["term"]] for f in estimate["fixed"]])
    sd = np.full(len(data), estimate["sigma"]) if sigmas is None else data.kind.map(sigmas).to_numpy(float)
    parts = [
        (group[r["level"]], np.column_stack([columns[t] for t in r["terms"]]), np.array(r["cov"]))
        for r in estimate["random"]
    ]
    v = dense_rows.covariance(parts, sd, estimate["rho"], group["inner"], data.year.to_numpy(float))
    inverse = np.linalg.inv(v)
    beta_cov = np.linalg.inv(x.T @ inverse @ x)
    beta = beta_cov @ x.T @ inverse @ data.y.to_numpy()
    np.testing.assert_allclose(np.array(estimate["fixed_cov"]), beta_cov, rtol=1e-7)
    for entry, (code, z, cov) in zip(estimate["random"], parts, strict=True):
        labels = np.unique(code)
        blocks = [z * (code == one)[:, None] for one in labels]
        t = np.kron(np.eye(len(labels)), cov)
        zt = np.hstack(blocks) @ t
        u = zt.T @ inverse @ (data.y.to_numpy() - x @ beta)
        own = t - zt.T @ inverse @ zt
        lost = zt.T @ inverse @ x
        error = own + lost @ beta_cov @ lost.T
        found = fit.effects(entry["level"])
        for j, term in enumerate(entry["terms"]):
            part = found[found.term == term]
            at = np.arange(len(labels)) * len(entry["terms"]) + j
            np.testing.assert_allclose(part.estimate, u[at], rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(part.sd, np.sqrt(np.diag(own)[at]), rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(part.se_prediction, np.sqrt(np.diag(error)[at]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("variant", [("ar1", "kind", None), ("ar1", "kind", "year")])
def test_satterthwaite_on_the_dense_likelihood(variant: tuple) -> None:
    """df = 2f²/Var(f) with the Hessian of the dense restricted deviance in (sds, atanh ρ, log sigmas)."""
    data = rows(5, 3, 5, 9)
    fit = fitted(data, "y ~ x + (1 | firm)", variant)
    record, group = fit.to_dict(), codes(data)
    estimate, time = record["reml"], data.year.to_numpy(float)
    assert all(r["sd"][0] > 0.05 for r in estimate["random"]), "an interior optimum is needed"
    x, one = np.column_stack([np.ones(len(data)), data.x]), np.ones((len(data), 1))
    stratum = np.unique(data.kind, return_inverse=True)[1]
    levels = [r["level"] for r in estimate["random"]]
    sigmas = [record["extra"]["sigmas"][k] for k in sorted(record["extra"]["sigmas"])]
    at = np.array([*(r["sd"][0] for r in estimate["random"]), np.arctanh(estimate["rho"]), *np.log(sigmas)])
    k = len(levels)

    def v(p: np.ndarray) -> np.ndarray:
        parts = [(group[n], one, s**2) for n, s in zip(levels, p[:k], strict=True)]
        return dense_rows.covariance(parts, np.exp(p[k + 1 :])[stratum], np.tanh(p[k]), group["inner"], time)

    def deviance(p: np.ndarray) -> float:
        return -2.0 * dense_rows.log_likelihood(data.y.to_numpy(), x, None, v(p), True)

    def variance(p: np.ndarray) -> np.ndarray:
        return np.diag(np.linalg.inv(x.T @ np.linalg.solve(v(p), x)))

    h, size = 1e-4, len(at)
    step = h * np.eye(size)
    hessian = np.array(
        [
            [
                sum(a * b * deviance(at + a * step[i] + b * step[j]) for a in (1, -1) for b in (1, -1)) / (4 * h * h)
                for j in range(size)
            ]
            for i in range(size)
        ]
    )
    slope = np.array([(variance(at + s) - variance(at - s)) / (2 * h) for s in step]).T
    spread = np.einsum("ck,kl,cl->c", slope, 2.0 * np.linalg.inv(hessian), slope)
    expected = 2.0 * variance(at) ** 2 / spread
    np.testing.assert_allclose(satterthwaite(fit.engine.reml_state, np.eye(2)), expected, rtol=1e-4)


def test_the_moments_survive_their_files(tmp_path: Path) -> None:
    fit = fitted(rows(), FORMULAS[0], ("ar1", "kind", "year"))
    moments.write(tmp_path, fit.panel)
    again = moments.read(tmp_path)
    for name in ("lags", "cells"):
        old, new = (getattr(p.strata["kind"], name) for p in (fit.panel, again))
        for field in vars(old):
            np.testing.assert_array_equal(getattr(old, field), getattr(new, field))
    # Strata kept apart add up to the lagged moments without them.
    apart, plain = again.strata["kind"].lags, again.lags
    for name in ("now", "cross", "before"):
        np.testing.assert_allclose(getattr(apart, name).sum(axis=2), getattr(plain, name).sum(axis=2), rtol=1e-10)
    np.testing.assert_array_equal(apart.first, plain.first)
    assert apart.count.sum() == plain.count.sum() and len(apart.group) > len(plain.group)


@pytest.mark.parametrize("variant", VARIANTS)
def test_left_out_groups_take_their_strata_and_periods_along(variant: tuple) -> None:
    """The log score of a group is the density of all rows less that of the others, at the others' own optimum."""
    data = rows(7, 4, 5, 8)
    if variant[1] == "kind":  # a stratum of one group's rows alone
        data.loc[data.firm == "s1f1", "kind"] = "z"
    fit = fitted(data, "y ~ x + (1 | firm)", variant)
    keep = fit.engine.problem.moments.labels[0] != "s1f1"
    small = fit_ml(kept_panel(fit.panel, keep), fit.spec, fit.engine.ml_state.theta if variant[1] != "kind" else None)
    alone = fitted(data[data.firm != "s1f1"], "y ~ x + (1 | firm)", variant)
    assert -0.5 * small.optimum.value == pytest.approx(alone.ml.loglik, rel=1e-9)
    if variant[1] == "kind":
        return
    score = left_out_score(fit.engine, "firm", k=4, seed=1, panel=fit.panel)
    assert score.total is not None and score.rows == len(data)


def test_rows_in_any_order_give_the_same_strata() -> None:
    data = rows()
    shuffled = data.sample(frac=1.0, random_state=1)
    for variant in (("ar1", "kind", None), ("ar1", "kind", "year")):
        a, b = (fitted(d, FORMULAS[0], variant) for d in (data, shuffled))
        assert a.ml.loglik == pytest.approx(b.ml.loglik, rel=1e-12)


@pytest.mark.parametrize("variant", [("ar1", "kind", None), ("ar1", None, "year"), ("ar1", "kind", "year")])
def test_profiles_end_where_the_deviance_has_risen(variant: tuple) -> None:
    """The dense likelihood, maximised with ρ held at the interval's end, is lower by half the quantile."""
    data = rows(5, 3, 5, 9)
    fit = fitted(data, "y ~ x + (1 | firm)", variant)
    found = {i.kind: i for i in profile(fit.engine, method="ml", kinds=("rho",))}["rho"]
    assert found.low < fit.ml.rho < found.high
    group, time = codes(data), data.year.to_numpy(float)
    x, one = np.column_stack([np.ones(len(data)), data.x]), np.ones((len(data), 1))
    stratum = np.unique(data.kind, return_inverse=True)[1] if variant[1] else np.zeros(len(data), dtype=int)
    levels = ["firm", *(["year"] if variant[2] else [])]
    for rho in (found.low, found.high):

        def deviance(p: np.ndarray, rho: float = rho) -> float:
            parts = [(group[n], one, s**2) for n, s in zip(levels, p, strict=False)]
            v = dense_rows.covariance(parts, np.exp(p[len(levels) :])[stratum], rho, group["inner"], time)
            return -2.0 * dense_rows.log_likelihood(data.y.to_numpy(), x, None, v)

        start = np.concatenate([np.full(len(levels), 0.5), np.zeros(stratum.max() + 1)])
        held = minimize(deviance, start, method="BFGS", options={"gtol": 1e-4}).fun
        assert held + 2.0 * fit.ml.loglik == pytest.approx(3.841459, abs=1e-3)


def test_what_has_no_meaning_is_refused() -> None:
    data = rows()
    with pytest.raises(HierreportError, match="time"):
        hierreport.fit(data, FORMULAS[0], errors="ar1", variances="kind")
    twice = pd.concat([data, data.assign(x=data.x + 1.0, y=data.y - 1.0)])
    with pytest.raises(HierreportError, match="rows at time"):
        fitted(twice, FORMULAS[0], ("ar1", "kind", "year"))
    twins = fitted(twice, FORMULAS[0], ("iid", "kind", "year"))  # rows of one cell are no obstacle to this
    assert twins.ml.converged
    exact = data.assign(kind=np.where(data.firm == "s0f0", "own", data.kind))
    exact.loc[exact.kind == "own", "y"] = 1.0
    for variant in (("ar1", "kind", None), ("ar1", "kind", "year"), ("iid", "kind", "year")):
        with pytest.raises(ModelError, match="stratum own can be fitted exactly"):
            fitted(exact, "y ~ x + (1 | firm)", variant)
    single = data.assign(kind=data.kind.where(data.index != 7, "single"))
    single.loc[7, "y"] = fitted(data, "y ~ x + (1 | firm)", ("iid", None, "year")).fitted()[7]
    for variant in (("iid", "kind", None), ("ar1", "kind", "year"), ("iid", "kind", "year")):
        with pytest.raises(ModelError, match="variance of stratum single goes to zero"):
            fitted(single, "y ~ x + (1 | firm)", variant)
    fit = fitted(data, FORMULAS[1], ("ar1", "kind", "year"))
    with pytest.raises(ModelError, match="bootstrap works on group moments"):
        fit.confint("bootstrap", draws=10)
    with pytest.raises(ModelError, match="crossed effect of time"):
        fit.predict(interval="prediction")


def test_predictions_have_every_part() -> None:
    data = rows()
    fit = fitted(data, FORMULAS[1], ("ar1", "kind", "year"))
    firm, year = (fit.effects(level).set_index(level).estimate for level in ("firm", "year"))
    expected = fit.fitted("marginal") + data.firm.map(firm) + data.year.astype(str).map(year)
    np.testing.assert_allclose(fit.fitted(), expected, rtol=1e-10)
    np.testing.assert_allclose(fit.predict(data.head(5)), fit.fitted()[:5], rtol=1e-10)
    found = fit.predict(data, interval="prediction", effects=False)
    # A new outcome's variance: of β, of the random effects, and of its own stratum.
    record = fit.to_dict()
    x = np.column_stack([np.ones(len(data)), data.x])
    variance = np.einsum("ij,jk,ik->i", x, np.array(record["reml"]["fixed_cov"]), x)
    variance += sum(r["cov"][0][0] for r in record["reml"]["random"])
    variance += data.kind.map(record["extra"]["sigmas"]).to_numpy(float) ** 2
    np.testing.assert_allclose(found.se, np.sqrt(variance), rtol=1e-9)


@pytest.mark.parametrize("variant", [("iid", "kind", None), ("ar1", "kind", None), ("ar1", "kind", "year")])
def test_shares_of_variance_count_the_residual_s_mean_over_rows(variant: tuple) -> None:
    """Whatever the strata are called: and their profile ends where the dense deviance has risen."""
    data = rows(5, 3, 5, 9)
    fit = fitted(data, "y ~ x + (1 | firm)", variant)
    record = fit.to_dict()
    own = {r["level"]: r["cov"][0][0] for r in record["reml"]["random"]}
    residual = np.mean(data.kind.map(record["extra"]["sigmas"]).to_numpy(float) ** 2)
    total = residual + sum(own.values())
    expected = {name: value / total for name, value in own.items()} | {"residual": residual / total}
    assert record["reml"]["icc"] == pytest.approx(expected, rel=1e-9)
    called = data.assign(kind=data.kind.map({"k0": "z", "k1": "y", "k2": "x"}))
    again = fitted(called, "y ~ x + (1 | firm)", variant)
    assert again.reml.icc == pytest.approx(fit.reml.icc, rel=1e-5)
    assert again.reml.r2 == pytest.approx(fit.reml.r2, rel=1e-5)

    found = {i.level: i for i in profile(fit.engine, method="ml", kinds=("icc",))}["firm"]
    group, time = codes(data), data.year.to_numpy(float)
    x, one = np.column_stack([np.ones(len(data)), data.x]), np.ones((len(data), 1))
    stratum = np.unique(data.kind, return_inverse=True)[1]
    levels = ["firm", *(["year"] if variant[2] else [])]
    k, serial = len(levels), variant[0] != "iid"

    def deviance(p: np.ndarray) -> float:
        parts = [(group[n], one, s**2) for n, s in zip(levels, p, strict=False)]
        rho = np.tanh(p[k]) if serial else None
        v = dense_rows.covariance(parts, np.exp(p[k + serial :])[stratum], rho, group["inner"], time)
        return -2.0 * dense_rows.log_likelihood(data.y.to_numpy(), x, None, v)

    def share(p: np.ndarray) -> float:
        return p[0] ** 2 / (np.sum(p[:k] ** 2) + np.mean(np.exp(p[k + serial :])[stratum] ** 2))

    ml = record["ml"]
    sds = [next(r for r in ml["random"] if r["level"] == n)["sd"][0] for n in levels]
    start = np.array(
        [*sds, *([np.arctanh(ml["rho"])] if serial else []), *np.log(list(record["extra"]["sigmas_ml"].values()))]
    )
    assert found.estimate == pytest.approx(share(start), rel=1e-6)
    assert found.low < found.estimate < found.high
    for end in (found.low, found.high):
        held = {"type": "eq", "fun": lambda p, end=end: share(p) - end}
        least = minimize(deviance, start, method="SLSQP", constraints=[held], options={"ftol": 1e-10, "maxiter": 300})
        assert least.fun + 2.0 * fit.ml.loglik == pytest.approx(3.841459, abs=2e-3)


def test_the_summary_has_every_part() -> None:
    fit = fitted(rows(), FORMULAS[1], ("ar1", "kind", "year"))
    sigmas = fit.to_dict()["extra"]["sigmas"]
    lines = [line.split() for line in fit.summary.splitlines()]
    for kind, sd in sigmas.items():
        assert ["residual", "kind", kind, f"{sd:.5g}"] in lines
    assert f"ar1 errors (rho = {fit.reml.rho:.4f})" in fit.summary
    assert any(line[:2] == ["year", "(Intercept)"] for line in lines)


def test_standardised_residuals_are_over_their_stratum_s_deviation() -> None:
    data = rows()
    fit = fitted(data, FORMULAS[1], ("ar1", "kind", None))
    sigmas = fit.to_dict()["extra"]["sigmas"]
    expected = fit.residuals() / data.kind.map(sigmas).to_numpy(float)
    np.testing.assert_allclose(fit.residuals("standardised"), expected, rtol=1e-12)


def test_a_run_with_every_variant_follows_from_its_files(tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "rows.csv", index=False)
    options = {"panel": str(tmp_path / "rows.csv"), "formula": "y ~ x + (1 | sector/firm)", "time": "year"}
    options |= {"variances": "kind", "crossed": "year", "df": "satterthwaite"}
    folder = tmp_path / "run"
    folder.mkdir()
    for stage in (stages.ingest, stages.fit, stages.sensitivity):
        stage(folder, options)
    outcome = Outcome()
    assert not list(checking.check_moments(folder, outcome)) + list(checking.check_likelihoods(folder, outcome))
    assert "48 log-likelihoods" in " ".join(outcome.checked)  # of 3 rungs with 8 structures, ML and REML
    register = json.loads((folder / "ladder.json").read_text())["register"]
    assert {"multilevel.ar1.var.time", "pooled.var.time"} <= {r["rung"] for r in register}
    found = {a["name"]: a for a in json.loads((folder / "sensitivity.json").read_text())["analyses"]}
    record = json.loads((folder / "rungs" / "multilevel.ar1.time.json").read_text())
    assert found["crossed"]["loglik"] == pytest.approx(record["ml"]["loglik"], abs=1e-6)
