"""The stage ``diagnose``: residuals and checks against R, dense matrices and planted faults."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import diagnostic_panels as panels
import numpy as np
import pytest
import reference_cases as references

from hierreport import diagnostics
from hierreport.diagnostics import rows as rows_module
from hierreport.diagnostics.checks import CHECKS, run_all
from hierreport.diagnostics.checks.residuals_normal import moments as residual_moments
from hierreport.diagnostics.checks.variance_across_groups import brown_forsythe
from hierreport.diagnostics.loading import load
from hierreport.diagnostics.record import SEVERITY
from hierreport.diagnostics.summaries import residuals
from hierreport.records import plain

UK = "log(emp) ~ log(wage) + log(capital) + log(output) + C(year) + (1 + log(capital) | firm)"
R_CASES = [name for name in references.names() if (references.ROOT / name / "diag.json").exists()]


def diag(name: str) -> dict:
    return json.loads((references.ROOT / name / "diag.json").read_text())


@pytest.mark.parametrize("name", R_CASES)
def test_residuals_have_the_moments_that_r_found(name: str) -> None:
    theirs = diag(name)
    e = panels.reference(name, theirs["model"])
    ours = residual_moments(e)
    assert ours["skewness_raw"] == pytest.approx(theirs["residual"]["skewness"], abs=2e-4)
    assert ours["excess_kurtosis_raw"] == pytest.approx(theirs["residual"]["excess_kurtosis"], abs=5e-4)
    largest = theirs["residual"]["largest"]
    by_row = {int(r): v for r, v in zip(*(e.rows.points()[k] for k in ("row", "residual")), strict=True)}
    found = [by_row[row] / e.sigma for row in largest["csv_row_1based"]]
    assert found == pytest.approx(largest["standardized_by_sigma"], abs=2e-4)
    if theirs.get("brown_forsythe_by_innermost"):
        all_groups = np.ones(len(e.moments.n), dtype=bool)
        test = brown_forsythe(e, all_groups, "residual")
        assert (test["df1"], test["df2"]) == tuple(theirs["brown_forsythe_by_innermost"][k] for k in ("df1", "df2"))
        assert test["F"] == pytest.approx(theirs["brown_forsythe_by_innermost"]["F"], rel=1e-3)
        assert test["p"] == pytest.approx(theirs["brown_forsythe_by_innermost"]["p"], rel=1e-2, abs=1e-12)
    if (theirs.get("lag1_autocorr") or {}).get("consecutive_time_only") is not None and e.rows.ordered:
        lag = residuals(e)["lag1"]
        assert lag["pairs"] == theirs["lag1_autocorr"]["n_pairs_consecutive"]
        assert lag["r"] == pytest.approx(theirs["lag1_autocorr"]["consecutive_time_only"], abs=2e-4)


@pytest.mark.parametrize("name", R_CASES)
def test_residuals_and_random_effects_have_r_s_shapiro_statistics(name: str) -> None:
    """R's shapiro.test of the conditional residuals and of every level's BLUPs; the statistic itself by SciPy."""
    from scipy.stats import shapiro

    theirs = diag(name)
    e = panels.reference(name, theirs["model"])
    if theirs["residual"].get("shapiro"):
        found = shapiro(e.rows.points()["residual"]).statistic
        assert found == pytest.approx(theirs["residual"]["shapiro"]["W"], abs=2e-6)
    for key, wanted in (theirs.get("blup_normality") or {}).items():
        level, _, term = key.partition(":")
        effects = e.effects[level]
        terms = [t.replace(" ", "") for t in effects.terms]
        values = effects.estimate[terms.index(term)] if term in terms else None
        if values is None or not wanted.get("shapiro") or np.ptp(values) < 1e-8 * e.sigma:
            continue  # a variance of zero, whose predictions are rounding in R
        assert len(values) == wanted["n"]
        assert shapiro(values).statistic == pytest.approx(wanted["shapiro"]["W"], abs=2e-5)


@pytest.mark.parametrize("name", ["sleepstudy", "oats", "ratpup", "jtrain", "empluk"])
def test_residual_variances_are_those_of_the_dense_model(name: str) -> None:
    """ê = R P y with P = V⁻¹ − V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹, so that Var(ê) = R P R."""
    e = panels.reference(name)
    m = panels.dense(e)
    covariance, residual = projected(m)
    table = e.rows.query("SELECT row, residual, variance FROM hr_rows ORDER BY row")
    assert table["residual"] == pytest.approx(residual, abs=1e-9 * e.sigma)
    assert table["variance"] == pytest.approx(np.diag(covariance), rel=1e-9)
    if e.rows.ordered:
        later = m["same"] & (m["time"][:, None] - m["time"][None] == 1)
        assert e.rows.total("pairs") == later.sum()
        assert e.rows.total("pair_expected") == pytest.approx(covariance[later].sum(), rel=1e-9)
        assert e.rows.total("pair") == pytest.approx(np.outer(residual, residual)[later].sum(), rel=1e-9)


def projected(m: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(m["v"])
    ix = inverse @ m["x"]
    p = inverse - ix @ np.linalg.solve(m["x"].T @ ix, ix.T)
    return m["r"] @ p @ m["r"], m["r"] @ p @ m["y"]


def test_ar1_innovations_are_those_of_the_dense_model(example_data: Path) -> None:
    e = panels.evidence(
        example_data / "uk_firms.csv", "log(emp) ~ log(wage) + log(capital) + (1 | firm)", time="year", errors="ar1"
    )
    assert e.rho is not None and e.rho > 0.9
    m = panels.dense(e)
    covariance, residual = projected(m)
    # Whitening: e_t − ρ^d e_{t−d} over sqrt(1 − ρ^2d) within the group, the first row of a group as it is.
    n = len(residual)
    white = np.zeros((n, n))
    previous = np.full(n, -1)
    for i in range(n):
        before = np.flatnonzero(m["same"][i] & (m["time"] < m["time"][i]))
        white[i, i] = 1.0
        if len(before):
            j = before[np.argmax(m["time"][before])]
            previous[i] = j
            phi = e.rho ** (m["time"][i] - m["time"][j])
            white[i] /= np.sqrt(1 - phi**2)
            white[i, j] = -phi / np.sqrt(1 - phi**2)
    table = e.rows.query("SELECT row, residual, innovation, variance, pair_expected FROM hr_rows ORDER BY row")
    assert table["residual"] == pytest.approx(residual, abs=1e-8)
    assert table["innovation"] == pytest.approx(white @ residual, abs=1e-8)
    of_innovations = white @ covariance @ white.T
    floor = 0.01 * e.sigma**2
    assert table["variance"] == pytest.approx(np.maximum(np.diag(of_innovations), floor), rel=1e-6)
    has = previous >= 0
    assert table["pair_expected"][has] == pytest.approx(of_innovations[has, previous[has]], abs=1e-8 * e.sigma**2)


def test_weighted_rows_have_variances_of_their_own() -> None:
    import pyarrow as pa

    rng = np.random.default_rng(12)
    n = 120
    group = np.repeat(np.arange(20), 6)
    weight = rng.uniform(0.3, 3.0, n)
    x = rng.standard_normal(n)
    y = 1 + 0.5 * x + rng.standard_normal(20)[group] + rng.standard_normal(n) / np.sqrt(weight)
    table = pa.table(
        {"g": group.astype(str).astype(object), "x": x, "w": weight, "y": y, "t": np.tile(np.arange(6), 20)}
    )
    e = panels.evidence(table, "y ~ x + (1 | g)", weights="w", time="t")
    covariance, residual = projected(panels.dense(e))
    found = e.rows.query("SELECT row, residual, variance, pair_expected FROM hr_rows ORDER BY row")
    assert found["residual"] == pytest.approx(residual, abs=1e-9)
    assert found["variance"] == pytest.approx(np.diag(covariance), rel=1e-9)
    later = np.flatnonzero(~np.isnan(found["pair_expected"]))
    assert found["pair_expected"][later] == pytest.approx(covariance[later, later - 1], abs=1e-9)


@pytest.mark.parametrize("from_files", [False, True])
def test_a_crossed_time_effect_is_taken_out_of_residuals(example_data: Path, tmp_path: Path, from_files: bool) -> None:
    formula = "log(emp) ~ log(wage) + log(capital) + (1 | firm)"
    e = panels.evidence(example_data / "uk_firms.csv", formula, time="year", crossed="year")
    _, residual = projected(panels.dense(e))
    if from_files:
        panels.write(e, tmp_path)
        e = load(tmp_path, {})
    table = e.rows.query("SELECT row, residual FROM hr_rows ORDER BY row")
    assert table["residual"] == pytest.approx(residual, abs=1e-8)


@pytest.fixture(scope="module")
def uk_slope(example_data: Path) -> panels.Evidence:
    return panels.evidence(example_data / "uk_firms.csv", UK, time="year")


@pytest.fixture(scope="module")
def example_data() -> Path:
    return Path(__file__).parent.parent / "config" / "data"


def test_uk_firms_errors_are_found_dependent(uk_slope: panels.Evidence) -> None:
    checks = {c.name: c for c in run_all(uk_slope)}
    serial = checks["serial_correlation"]
    assert serial.status == "problem"
    assert 0.3 < serial.statistic < 0.6
    assert -0.3 < serial.details["expected"] < -0.1
    assert checks["optimum"].status == "ok"


@pytest.mark.parametrize("kind", ["random slope", "pooled", "ar1", "no time", "large", "three levels", "crossed"])
def test_every_check_has_the_same_shape(kind: str, example_data: Path) -> None:
    uk, fixed = example_data / "uk_firms.csv", "log(emp) ~ log(wage) + log(capital)"
    if kind == "pooled":
        e = panels.evidence(
            uk, f"{fixed} + (1 | firm)", time="year", spec=panels.ModelSpec(("(Intercept)", "log(wage)"))
        )
    elif kind == "ar1":
        e = panels.evidence(uk, f"{fixed} + (1 | firm)", time="year", errors="ar1")
    elif kind == "crossed":
        e = panels.evidence(uk, f"{fixed} + (1 | firm)", time="year", crossed="year")
    elif kind == "no time":
        e = panels.evidence(uk, f"{fixed} + (1 | firm)")
    elif kind == "large":
        e = panels.reference("exam")
    elif kind == "three levels":
        e = panels.evidence(uk, f"{fixed} + (1 | sector/firm)", time="year")
    else:
        e = panels.evidence(uk, f"{fixed} + (1 + log(wage) | firm)", time="year")
    checks = run_all(e)
    assert [c.name for c in checks] == list(CHECKS)
    for c in checks:
        assert c.status in SEVERITY, c.name
        assert c.title and not c.title.endswith("."), c.name
        assert c.rule, c.name
        for sentence in (c.meaning, c.action):
            assert not sentence[0].islower() and sentence.endswith((".", ")")), (c.name, sentence)
            assert not re.search(r"\bnan\b|\binf\b|None|np\.|  ", sentence), (c.name, sentence)
        if c.status == "not applicable":
            assert c.statistic is None
        else:
            assert np.isfinite(c.statistic) and c.statistic_name, c.name
        json.dumps(plain(c.to_dict()), allow_nan=False)
    shape = plain(residuals(e))
    json.dumps(shape, allow_nan=False)
    n = e.n_obs
    assert shape["n"] == n
    assert (shape["points"] is None) == (n > 4000) and (shape["bins2d"] is None) == (n <= 4000)
    if shape["bins2d"]:
        assert np.sum(shape["bins2d"]["counts"]) == n
    assert sum(shape["smooth"]["n"]) == n
    assert (shape["lag1"] is None) == (kind in ("no time", "large"))
    assert np.all(np.diff(shape["qq"]["sample"]) >= 0)
    for entry in shape["by_group"]:
        assert entry["q25"] <= entry["median"] <= entry["q75"]
    assert (shape["no_pooling"] is None) == (kind == "pooled")


def test_a_view_gives_what_the_table_gives(uk_slope: panels.Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above ``TABLE_LIMIT`` rows nothing is materialised; sums are the same, quantiles approximate."""
    table = uk_slope.rows
    monkeypatch.setattr(rows_module, "TABLE_LIMIT", 100)
    view = rows_module.RowPass(uk_slope)
    assert not view.exact
    try:
        for name in ("s2", "pair", "pair_expected", "variance", "s4"):
            assert view.total(name) == pytest.approx(table.total(name), rel=1e-12)
        assert view.largest(3)["row"].tolist() == table.largest(3)["row"].tolist()
        assert len(view.binned_by_fitted["n"]) == 40
    finally:
        monkeypatch.undo()
        uk_slope.rows = rows_module.RowPass(uk_slope)


def test_groups_own_estimates_are_least_squares(example_data: Path) -> None:
    """With all fixed effects random, no pooling is a regression of the group's rows alone."""
    e = panels.reference("sleepstudy")
    found = {g["label"]: g for g in residuals(e)["no_pooling"]["groups"]}
    data = references.case("sleepstudy").columns
    for subject in ("308", "335"):
        mine = [i for i, s in enumerate(data["Subject"]) if s == subject]
        days, y = (np.array([float(data[c][i]) for i in mine]) for c in ("Days", "Reaction"))
        slope, intercept = np.polyfit(days, y, 1)
        assert found[subject]["separate"]["(Intercept)"] == pytest.approx(intercept, rel=1e-9)
        assert found[subject]["separate"]["Days"] == pytest.approx(slope, rel=1e-9)
        # Published partially pooled coefficients (Bates et al. 2015, coef(fm1)).
    assert found["308"]["pooled"]["Days"] == pytest.approx(19.666, abs=0.01)
    assert found["308"]["pooled"]["(Intercept)"] == pytest.approx(253.66, abs=0.02)


def test_the_stage_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    e = panels.reference("produc")
    panels.write(e, tmp_path)
    diagnostics.run(tmp_path)
    first = {n: (tmp_path / n).read_bytes() for n in ("checks.json", "residuals.json")}
    diagnostics.run(tmp_path)
    for name, content in first.items():
        assert (tmp_path / name).read_bytes() == content
    record = json.loads(first["checks.json"])
    assert record["rung"] == "model" and sum(record["counts"].values()) == len(CHECKS)
    from_memory = plain(residuals(e))
    from_files = json.loads(first["residuals.json"])
    assert from_files["lag1"]["r"] == pytest.approx(from_memory["lag1"]["r"], rel=1e-12)
    assert from_files["random_qq"].keys() == from_memory["random_qq"].keys()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_check_says_what_its_advice_changes(tmp_path: Path) -> None:
    """Every advice that an analysis of the sensitivity table follows has that analysis' numbers beside it."""
    e = panels.reference("produc")
    panels.write(e, tmp_path)
    diagnostics.run(tmp_path)
    without = json.loads((tmp_path / "checks.json").read_text())["checks"]
    assert all(c["consequences"] == [] for c in without)
    moved = {"term": "unemp", "estimate": -0.004, "se": 0.001, "change_in_se": 2.5}
    done = {"status": "done", "reason": "", "choice": "pooled", "stands": False, "coefficients": [moved]}
    said = {"sentence": "The conclusion does not stand: unemp moves by 2.5 standard errors (from −0.006 to −0.004)."}
    asked = [c["name"] for c in without if c["status"] in ("look", "problem")]
    assert "serial_correlation" in asked and "adequacy" in asked
    analyses = [
        {"name": "errors:ar1", "title": "AR(1) errors", **done, **said},
        {
            "name": "cluster_robust",
            "title": "Cluster-robust errors",
            **done,
            "status": "not available",
            "reason": "No.",
        },
        {"name": "first_period", "title": "Without the first period", **done, **said},
    ]
    sensitivity = {"rung": "model", "analyses": analyses}
    (tmp_path / "sensitivity.json").write_text(json.dumps(sensitivity))
    diagnostics.run(tmp_path)
    found = {c["name"]: c["consequences"] for c in json.loads((tmp_path / "checks.json").read_text())["checks"]}
    first, second = found["serial_correlation"]
    assert (first["analysis"], first["term"], first["change_in_se"], first["stands"]) == (
        "errors:ar1",
        "unemp",
        2.5,
        False,
    )
    assert first["text"] == (
        "AR(1) errors: the conclusion does not stand; unemp moves by 2.5 standard errors (from −0.006 to −0.004). The "
        "ladder would then choose pooled."
    )
    assert second["text"] == "Cluster-robust errors: not available (No)."
    assert found["adequacy"] == [] and not any(c["analysis"] == "first_period" for f in found.values() for c in f)
    # Another rung's analyses say nothing about this one.
    (tmp_path / "sensitivity.json").write_text(json.dumps(sensitivity | {"rung": "other"}))
    diagnostics.run(tmp_path)
    assert json.loads((tmp_path / "checks.json").read_text())["checks"] == without


def test_the_certificate_names_the_second_engine(tmp_path: Path) -> None:
    e = panels.reference("sleepstudy")
    panels.write(e, tmp_path)
    mine = e.record["ml"]["loglik"]
    opinion = {
        "rung": "model",
        "method": "dense",
        "kind": "ML",
        "subset": None,
        "ours": mine,
        "theirs": mine,
        "ok": True,
    }

    def certificate(**changed: object) -> dict:
        (tmp_path / "verify.json").write_text(json.dumps({"rungs": [opinion | changed]}))
        diagnostics.run(tmp_path)
        checks = json.loads((tmp_path / "checks.json").read_text())["checks"]
        return next(c for c in checks if c["name"] == "optimum")

    assert "a second engine (dense covariance matrices) gives the same log-likelihood" in certificate()["meaning"]
    wrong = certificate(theirs=mine + 1.0, ok=False)
    assert wrong["status"] == "problem" and wrong["meaning"].startswith(
        "Not certified: a second engine gives another ML"
    )
    # An opinion on an earlier fit, on another rung, or none.
    for changed in ({"ours": mine - 3.0}, {"rung": "other"}, {"ok": None}):
        assert "no second engine was asked" in certificate(**changed)["meaning"]


def test_the_stage_imports_nothing_heavy(tmp_path: Path) -> None:
    panels.write(panels.reference("sleepstudy"), tmp_path)
    code = (
        "import sys; from hierreport import diagnostics; diagnostics.run(sys.argv[1]); "
        "print([m for m in ('pandas', 'matplotlib', 'statsmodels', 'scipy.stats', 'scipy.optimize') if m in "
        "sys.modules])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_missing_rung_is_refused(tmp_path: Path) -> None:
    panels.write(panels.reference("sleepstudy"), tmp_path)
    with pytest.raises(diagnostics.DataError, match=r"rungs/absent\.json is missing"):
        diagnostics.run(tmp_path, {"rung": "absent"})
