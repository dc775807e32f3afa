"""Cluster-robust covariances against clubSandwich and sandwich, and against dense matrices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import case_moments
import numpy as np
import pytest
import reference_cases as references

from hierreport import mixed, robust, robust_cr2
from hierreport.errors import HierreportError, ModelError
from hierreport.moments import PanelMoments
from hierreport.spec import LevelSpec, ModelSpec

REFERENCE = json.loads((Path(__file__).parent / "robust_reference" / "reference.json").read_text())
EMPLUK = ("(Intercept)", "lwage", "lcapital", "loutput")


def our_name(case: str, term: str) -> str:
    """R's name of a coefficient in our words."""
    for factor in references.case(case).spec["categorical"]:
        if term.startswith(factor):
            return f"{factor}[{term[len(factor) :]}]"
    return term


def fitted(case: str, model: str) -> mixed.MixedFit:
    return mixed.fit(case_moments.panel(case).moments, references.case(case).model_spec(model))


def pooled_clusters() -> list[tuple[str, str, str]]:
    # In p_within_only every group's mean residual is zero by construction: R's standard error is rounding noise.
    return [
        (name, model, level)
        for name, model in references.pooled_models()
        for level in references.case(name).ref["models"][model].get("cluster_robust", {})
        if name != "p_within_only"
    ]


@pytest.mark.parametrize(("name", "model", "level"), pooled_clusters())
def test_pooled_agrees_with_sandwich_and_clubsandwich(name, model, level):
    theirs = references.case(name).ref["models"][model]["cluster_robust"][level]
    fit = fitted(name, model)
    for kind, se in (("CR0", theirs["CR0_se"]), ("CR1", theirs["CR1_stata_se"])):
        ours = {f.term: f.se for f in robust.cluster_robust(fit, level, kind).fixed()}
        assert ours == pytest.approx(se, rel=1e-9)
    if "CR2" in theirs:
        found = robust.cluster_robust(fit, level, "CR2").fixed()
        assert {f.term: f.se for f in found} == pytest.approx(theirs["CR2"]["se"], rel=1e-9)
        assert {f.term: f.df for f in found} == pytest.approx(theirs["CR2"]["df"], rel=1e-8)


def compare(found: robust.ClusterRobust, theirs: dict, case: str, tolerance: float) -> None:
    effects = {f.term: f for f in found.fixed()}
    kind = {"CR1": "CR1S"}.get(found.kind, found.kind)
    for term, se in theirs[kind]["se"].items():
        assert effects[our_name(case, term)].se == pytest.approx(se, rel=tolerance)
    if found.kind == "CR2":
        for term, df in theirs["CR2"]["df"].items():
            assert effects[our_name(case, term)].df == pytest.approx(df, rel=tolerance)
        if "test" in theirs:
            test = found.test([our_name(case, term) for term in theirs["test"]["terms"]])
            assert test.statistic == pytest.approx(theirs["test"]["F"], rel=10 * tolerance)
            assert test.df2 == pytest.approx(theirs["test"]["df2"], rel=10 * tolerance)
            assert test.p == pytest.approx(theirs["test"]["p"], rel=1e-4)


@pytest.mark.parametrize("kind", robust.KINDS)
@pytest.mark.parametrize("theirs", REFERENCE["mixed"], ids=lambda r: f"{r['case']}-{r['model']}-{r['cluster']}")
def test_mixed_agrees_with_clubsandwich(theirs, kind):
    # The two optima differ by the optimizers' tolerance, about 1e-6 of θ in produc's nearly singular slope.
    found = robust.cluster_robust(fitted(theirs["case"], theirs["model"]), theirs["cluster"], kind)
    compare(found, theirs, theirs["case"], 1e-5 if theirs["case"] == "produc" else 5e-7)


def weighted_panel() -> tuple[case_moments.Panel, np.ndarray, mixed.MixedFit]:
    panel = case_moments.panel("empluk")
    case = references.case("empluk")
    # R's weights follow the CSV's order of rows.
    raw = case.matrix((*EMPLUK, "lemp"))
    sectors, firms = (np.array(case.columns[g]) for g in ("sector", "firm"))
    order = np.lexsort([firms, sectors])
    weights = (0.5 + (np.arange(1, len(raw) + 1) % 7) / 4)[order]
    ids = [sectors[order], firms[order]]
    moments = case_moments.reduce_rows(raw[order], (*EMPLUK, "lemp"), ids, panel.moments.levels, weights)
    return panel, weights, mixed.fit(moments, ModelSpec(EMPLUK))


@pytest.mark.parametrize("kind", ["CR0", "CR1"])
def test_weighted_agrees_with_clubsandwich(kind):
    compare(robust.cluster_robust(weighted_panel()[2], "sector/firm", kind), REFERENCE["weighted"], "empluk", 1e-9)


def test_weighted_cr2_is_taken_on_whitened_rows():
    panel, weights, fit = weighted_panel()
    x = panel.columns(EMPLUK)
    residual = panel.y - x @ fit.reml_state.beta_raw
    expected = dense_cr2(x, residual, np.diag(1 / weights), panel.keys["sector/firm"], True)
    found = robust.cluster_robust(fit, "sector/firm", "CR2")
    assert np.abs(found.cov - expected).max() < 1e-9 * np.abs(expected).max()
    assert any("whitened" in note for note in found.record().notes)


def solo_panel() -> tuple[case_moments.Panel, mixed.MixedFit]:
    panel = case_moments.panel("empluk")
    sector = np.array([k.split("/")[0] for k in panel.keys["sector"]])
    raw = np.column_stack([panel.columns(EMPLUK[:3]), sector == "3", panel.y])
    ids = [sector, panel.keys["sector/firm"]]
    moments = case_moments.reduce_rows(raw, (*EMPLUK[:3], "solo", "lemp"), ids, panel.moments.levels)
    spec = ModelSpec((*EMPLUK[:3], "solo"), (LevelSpec("sector/firm", (("(Intercept)",),)),))
    return case_moments.Panel(moments, raw, panel.keys, panel.code, None), mixed.fit(moments, spec)


def dense_cr2(x: np.ndarray, residual: np.ndarray, v: np.ndarray, clusters: np.ndarray, whitened: bool) -> np.ndarray:
    """CR2 with n × n matrices, by its definition: A symmetric with ASA = Θ, or (I − H)^(−1/2) of whitened rows."""

    def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        kept = values > 1e-10 * values[-1]
        return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T

    bread = np.linalg.inv(x.T @ np.linalg.solve(v, x))
    middle = np.zeros_like(bread)
    for c in np.unique(clusters):
        rows = clusters == c
        theta, xc = v[np.ix_(rows, rows)], x[rows]
        s = theta - xc @ bread @ xc.T
        root = power(theta, 0.5)
        if whitened:
            inverse = power(theta, -0.5)
            adjust = root @ power(inverse @ s @ inverse, -0.5) @ inverse
        else:
            adjust = root @ power(root @ s @ root, -0.5) @ root
        score = xc.T @ np.linalg.solve(theta, adjust @ residual[rows])
        middle += np.outer(score, score)
    return bread @ middle @ bread


def dense_df(x: np.ndarray, v: np.ndarray, clusters: np.ndarray, contrast: np.ndarray) -> float:
    """Satterthwaite degrees of freedom of CR2 by their definition: 2 E²/Var of a quadratic form in normal rows."""
    bread = np.linalg.inv(x.T @ np.linalg.solve(v, x))
    project = np.eye(len(x)) - x @ bread @ np.linalg.solve(v, x).T
    columns = []
    for c in np.unique(clusters):
        rows = clusters == c
        theta, xc = v[np.ix_(rows, rows)], x[rows]
        values, vectors = np.linalg.eigh(theta)
        root = (vectors * np.sqrt(values)) @ vectors.T
        values, vectors = np.linalg.eigh(root @ (theta - xc @ bread @ xc.T) @ root)
        kept = values > 1e-10 * values[-1]
        adjust = root @ (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T @ root
        columns.append(project[rows].T @ adjust @ np.linalg.solve(theta, xc) @ bread @ contrast)
    g = np.column_stack(columns)
    p = g.T @ v @ g
    return np.trace(p) ** 2 / np.sum(p**2)


def dense_covariance(panel: case_moments.Panel, fit: mixed.MixedFit, method: str = "reml") -> np.ndarray:
    state = fit.state(method)
    v = state.sigma**2 * np.eye(len(panel.w))
    for number, level in enumerate(state.criterion.levels):
        z = panel.columns(level.terms)
        same = panel.keys[level.name][:, None] == panel.keys[level.name][None, :]
        v += (z @ state.covariance(number) @ z.T) * same
    return v


@pytest.mark.parametrize(("name", "model", "level"), [("empluk", "ml_rs", "sector"), ("ratpup", "ri", "Litter")])
@pytest.mark.parametrize("method", ["ml", "reml"])
def test_cr2_is_its_definition(name, model, level, method):
    panel, fit = case_moments.panel(name), fitted(name, model)
    state = fit.state(method)
    x = panel.columns(state.criterion.problem.basis.fixed)
    v = dense_covariance(panel, fit, method)
    expected = dense_cr2(x, panel.y - x @ state.beta_raw, v, panel.keys[level], False)
    found = robust.cluster_robust(fit, level, "CR2", method).cov
    assert np.abs(found - expected).max() < 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize("kind", robust.KINDS)
def test_a_coefficient_that_one_cluster_alone_identifies(kind):
    # clubSandwich keeps eigenvalues above 1e-12 absolutely, rounding included: the last digits of its standard errors
    # and its degrees of freedom are noise here. The latter are checked against their definition.
    panel, fit = solo_panel()
    found = robust.cluster_robust(fit, "sector", kind)
    theirs = {**REFERENCE["alone"], "CR2": {"se": REFERENCE["alone"]["CR2"]["se"], "df": {}}}
    compare(found, theirs, "empluk", 1e-5 if kind == "CR2" else 5e-7)
    if kind == "CR2":
        x, v = panel.columns(fit.reml_state.criterion.problem.basis.fixed), dense_covariance(panel, fit)
        expected = [dense_df(x, v, panel.keys["sector"], c) for c in np.eye(4)]
        assert found.df(np.eye(4)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model", ["pooled", "ri"])
def test_cr2_under_autoregressive_errors_is_taken_on_whitened_rows(model):
    panel = case_moments.panel("gasoline")
    spec = replace(references.case("gasoline").model_spec(model), errors="ar1")
    fit = mixed.fit(PanelMoments(panel.moments, case_moments.lag_moments(panel)), spec)
    state = fit.state("reml")
    x = panel.columns(state.criterion.problem.basis.fixed)
    gaps = np.abs(panel.time[:, None] - panel.time[None, :])
    same = panel.keys["country"][:, None] == panel.keys["country"][None, :]
    between = state.covariance(0)[0, 0] if model == "ri" else 0.0
    v = (state.sigma**2 * state.rho**gaps + between) * same
    found = robust.cluster_robust(fit, "country", "CR2")
    expected = dense_cr2(x, panel.y - x @ state.beta_raw, v, panel.keys["country"], True)
    assert np.abs(found.cov - expected).max() < 1e-7 * np.abs(expected).max()
    assert any("whitened" in note for note in found.record().notes)


def test_cr2_under_unequal_variances():
    panel = case_moments.panel("grunfeld")
    strata = case_moments.stratum_moments(panel)
    years = len(strata.strata)
    # Two strata, every other year: the cells of each are summed by firm.
    era = strata.stratum % 2
    cells, which = np.unique(np.stack([strata.group, era]), axis=1, return_inverse=True)
    products = np.stack([strata.products[..., which.ravel() == c].sum(axis=2) for c in range(cells.shape[1])], axis=2)
    n = np.bincount(which.ravel(), weights=strata.n).astype(int)
    two = replace(strata, strata=np.array(["0", "1"]), group=cells[0], stratum=cells[1], n=n, products=products)
    spec = replace(references.case("grunfeld").model_spec("ri"), variances="era")
    fit = mixed.fit(PanelMoments(panel.moments, strata={"era": two}), spec)
    state = fit.reml_state
    sigmas = state.criterion.errors.sigmas(state.sigma, state.theta[state.criterion.parameters.n_lambda :])
    row_era = np.unique(panel.time, return_inverse=True)[1] % 2
    assert years == 20 and sigmas["0"] != sigmas["1"]
    same = panel.keys["firm"][:, None] == panel.keys["firm"][None, :]
    noise = np.diag(np.array([sigmas["0"], sigmas["1"]])[row_era] ** 2)
    # Whitened by the residual variances, the model is one of independent errors of variance σ².
    x = panel.columns(state.criterion.problem.basis.fixed)
    v = noise + state.covariance(0)[0, 0] * same
    expected = dense_cr2(x, panel.y - x @ state.beta_raw, v, panel.keys["firm"], True)
    found = robust.cluster_robust(fit, "firm", "CR2").cov
    assert np.abs(found - expected).max() < 1e-7 * np.abs(expected).max()


def test_quadrature_of_the_inverse_root():
    nodes, weights = robust_cr2.inverse_root_rule(1e-4, 1e6)
    x = np.geomspace(1e-4, 1e6, 200)
    assert np.abs((weights / (x[:, None] + nodes**2)).sum(axis=1) * np.sqrt(x) - 1).max() < 1e-12
    assert len(nodes) < 60


def test_robust_test_of_one_term_is_its_t_test():
    found = robust.cluster_robust(fitted("gasoline", "rs"), kind="CR2")
    effect = next(f for f in found.fixed() if f.term == "lrpmg")
    test = found.test(["lrpmg"])
    assert test.statistic == pytest.approx(effect.statistic**2, rel=1e-9)
    assert test.df2 == pytest.approx(effect.df, rel=1e-9)
    assert test.p == pytest.approx(effect.p, rel=1e-8)


def test_record_warns_of_few_degrees_of_freedom():
    record = robust.cluster_robust(fitted("oats", "ml"), "Block").record()
    assert record.clusters == {"Block": 6} and record.method == "REML" and not record.notes
    record = robust.cluster_robust(fitted("p_two_groups", "pooled"), "Subject").record()
    assert [f.df for f in record.fixed] == pytest.approx([1.0, 1.0])
    assert "(Intercept), Days" in record.notes[0]
    assert "CR1 is usually too small" in robust.cluster_robust(fitted("oats", "ml"), kind="CR1").record().notes[0]
    assert robust.cluster_robust(fitted("produc", "pooled")).record().clusters == {"region/state": 48}


def test_invalid_clusters_are_refused():
    fit = fitted("produc", "ml_rs")
    with pytest.raises(ModelError, match="finer than the random effects of region"):
        robust.cluster_robust(fit, "region/state")
    with pytest.raises(ModelError, match="no level 'country'"):
        robust.cluster_robust(fit, "country")
    with pytest.raises(HierreportError, match="CR9"):
        robust.cluster_robust(fit, "region", "CR9")
    with pytest.raises(HierreportError, match="no fixed effect 'nothing'"):
        robust.cluster_robust(fit, "region").test(["nothing"])
    lone = fitted("nist_longley", "pooled")
    with pytest.raises(ModelError, match="no groups"):
        robust.cluster_robust(lone)


def test_a_wide_panel_refuses_clusters_without_full_products():
    moments = case_moments.panel("produc").moments
    wide = replace(moments, products=moments.products[:2], z_index=np.array([0, 1]))
    spec = references.case("produc").model_spec("pooled")
    whole = robust.cluster_robust(mixed.fit(moments, spec), "region", "CR2")
    found = robust.cluster_robust(mixed.fit(wide, spec), "region", "CR2")
    assert np.allclose(found.cov, whole.cov, rtol=1e-9)
    with pytest.raises(ModelError, match="no full sums of products"):
        robust.cluster_robust(mixed.fit(wide, spec), "region/state")


def test_auto_takes_cr1_where_clusters_are_many(monkeypatch):
    fit = fitted("empluk", "ri")
    assert robust.cluster_robust(fit, kind="auto").kind == "CR2"
    monkeypatch.setattr(robust, "AUTO_CLUSTERS", 100)
    found = robust.cluster_robust(fit, kind="auto")
    assert found.kind == "CR1" and np.array_equal(found.cov, robust.cluster_robust(fit, kind="CR1").cov)
