"""The checks one by one: against R, against independent calculations, on planted faults and on clean panels."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import diagnostic_panels as panels
import numpy as np
import pytest
import reference_cases as references

from hierreport.diagnostics.checks import CHECKS, adequacy, collinearity, missed_slopes, run_all, transformation
from hierreport.diagnostics.checks import lagged_outcome as lagged
from hierreport.diagnostics.checks import serial_correlation as serial
from hierreport.diagnostics.checks import shared_shocks as shocks
from hierreport.diagnostics.checks import within_between as mundlak
from hierreport.diagnostics.deletion import deletions
from hierreport.diagnostics.distributions import chi2_mixture_upper
from hierreport.diagnostics.envelope import normality, reference
from hierreport.diagnostics.evidence import Evidence, group_labels
from hierreport.diagnostics.refit import criterion_of, descend, inverse_hessian, specification, theta_of, without
from hierreport.diagnostics.words import fixed
from hierreport.one_out import one_out
from hierreport.said import Said

ROOT = Path(__file__).parent.parent
UK = ROOT / "config" / "data" / "uk_firms.csv"
US = ROOT / "config" / "data" / "us_states.csv"
sys.path.insert(0, str(ROOT / "benchmarks" / "calibration"))
import panels as planted  # noqa: E402

INFLUENCE = [
    (name, k)
    for name in references.names()
    for k in range(len(references.case(name).ref.get("influence") or []))
    if name != "grunfeld"  # R's own optimum is not the best one there
]


@pytest.mark.parametrize(("name", "k"), INFLUENCE)
def test_leaving_out_a_group_is_refitting_without_it(name: str, k: int) -> None:
    """R refits the rows without each group; here the group's moments are subtracted."""
    case = references.case(name)
    theirs = case.ref["influence"][k]
    assert theirs["estimation"] == "REML"
    e = panels.reference(name, theirs["model"])
    found = deletions(e, theirs["level"], work=1e12)
    assert found is not None and found.exact.all()
    names = [n.replace(" ", "") for n in theirs["coef_names"]]
    mine = [t.replace(" ", "") for t in found.terms]
    order = [mine.index(n) if n in mine else names.index(n) for n in names]
    se = np.array([f["se"] for f in e.estimate["fixed"]])[order]
    labels = group_labels(e.moments, theirs["level"])
    compared = 0
    for g, label in enumerate(labels):
        their = theirs["deleted"].get(label) or theirs["deleted"].get(label.split("/")[-1])
        refit = found.refits[g]
        if their is None or refit is None:
            continue
        compared += 1
        assert refit.converged
        assert -0.5 * refit.deviance >= their["logLik_deleted"] - 1e-6
        if -0.5 * refit.deviance > their["logLik_deleted"] + 1e-5:
            continue  # a better optimum than R's
        ours = np.array([refit.coefficients[found.terms[j]] for j in order])
        assert ours == pytest.approx(np.array(their["fixef_deleted"]), abs=float(2e-4 * se.max()), rel=1e-6)
        assert refit.sigma == pytest.approx(their["sigma_deleted"], rel=2e-4)
        assert found.shift[g][order] * se == pytest.approx(
            np.array(their["dfbeta_full_minus_deleted"]), abs=float(1e-3 * se.max())
        )
        assert found.cook[g] == pytest.approx(their["cooks_distance"], abs=2e-3, rel=5e-3)
    assert compared == len(labels)


STEPS = (("produc", "region/state"), ("produc", "region"), ("sleepstudy", "Subject"), ("pastes", "batch/cask"))


@pytest.mark.parametrize(("name", "level"), STEPS)
@pytest.mark.parametrize("reml", [True, False])
def test_one_step_leads_to_the_optimum_without_a_group(name: str, level: str, reml: bool) -> None:
    """Where a group's removal moves the variances by little, the step ends where a descent on the rest of them ends."""
    e = panels.reference(name)
    spec = specification(e)
    criterion = criterion_of(e.panel_moments, spec, reml)
    theta = theta_of(criterion, e.estimate if reml else e.record["ml"])
    depth = e.moments.levels.index(level)
    starts = e.moments.starts(depth)
    found = one_out(criterion, theta, starts, depth)
    assert found.far.mean() < 0.2
    longest, apart = [], []
    for g, (first, last) in enumerate(zip(starts, [*starts[1:], len(e.moments.n)], strict=True)):
        drop = np.zeros(len(e.moments.n), dtype=bool)
        drop[first:last] = True
        smaller = criterion_of(without(e.panel_moments, drop), spec, reml)
        start = theta_of(smaller, e.estimate if reml else e.record["ml"])
        refit = descend(smaller, start, inverse_hessian(smaller, start))
        longest.append(np.abs(found.theta[g] - theta).max())
        apart.append(abs(found.value[g] - refit.deviance))
        if found.far[g]:
            continue
        assert np.sqrt(found.sigma2[g]) * criterion.problem.basis.y_scale == pytest.approx(
            refit.sigma, rel=0.002 + 2.0 * longest[-1] ** 2
        )
    # What is left is of third order in the step.
    small = np.array(longest) < 0.05
    assert small.any() and np.array(apart)[small].max() < 0.02


def test_one_step_moves_the_coefficients_as_a_refit_does() -> None:
    e = panels.reference("produc")
    step, refits = deletions(e, "region/state", work=0.0), deletions(e, "region/state", work=1e12)
    assert step is not None and refits is not None and not step.exact.any() and refits.exact.all()
    assert step.shift == pytest.approx(refits.shift, abs=0.08) and np.abs(refits.shift).max() > 0.5
    assert refits.apart == pytest.approx(np.abs(step.shift - refits.shift).max())
    assert step.sds == pytest.approx(refits.sds, abs=0.03) and step.sd_names == refits.sd_names
    few = deletions(e, "region/state", work=1e6)
    assert few is not None and 0 < few.exact.sum() < 48
    assert np.abs(few.shift[few.exact]).max() == np.abs(few.shift).max()


@pytest.mark.parametrize("name", ["empluk", "gasoline"])
def test_mundlak_statistic_at_r_variances_is_r_wald_test(name: str) -> None:
    case = references.case(name)
    theirs = case.ref["panel"]["mundlak"]["REML"]
    model = next(m["id"] for m in case.spec["models"] if m["fixed"] == "all" and _intercept_only(case, m))
    e = panels.reference(name, model)
    # The variances that R estimated with the means in the model, instead of those without them.
    e.estimate["sigma"] = theirs["sigma"]
    e.estimate["random"][0]["cov"] = [[theirs["sd_group"] ** 2]]
    products = mundlak.full_products(e)
    found = mundlak.at_level(e, products, e.levels[-1])
    assert found is not None
    wald = theirs["wald_means"]
    assert found["df1"] == wald["df"]
    assert found["wald"] == pytest.approx(wald["chisq"], rel=1e-6)
    for term in found["terms"]:
        assert term["difference"] == pytest.approx(theirs["fixef"][f"mean({term['term']})"], rel=1e-5)
        assert term["se"] == pytest.approx(theirs["se"][f"mean({term['term']})"], rel=1e-5)


def _intercept_only(case: references.Case, model: dict) -> bool:
    random = model["random"]
    return len(random) == 1 and random[0]["terms"] == ["1"] and random[0]["level"] == case.spec["groups"]


@pytest.mark.parametrize(
    ("n", "points"),
    [(20, (0.9269, 0.9508, 0.9600)), (50, (0.9671, 0.9768, 0.9809)), (100, (0.9822, 0.9873, 0.9895))],
)
def test_quantile_plot_correlation_has_its_published_critical_points(n: int, points: tuple[float, ...]) -> None:
    """Johnson & Wichern (2007), Applied Multivariate Statistical Analysis, table 4.2, levels 1 %, 5 % and 10 %."""
    simulated = np.quantile(reference(n).correlation, [0.01, 0.05, 0.10])
    assert simulated == pytest.approx(points, abs=0.004)


def test_simultaneous_envelope_holds_95_percent_of_normal_samples() -> None:
    ref = reference(40)
    rng = np.random.default_rng(3)
    x = np.sort(rng.standard_normal((4000, 40)), axis=1)
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, ddof=1, keepdims=True)
    inside = np.mean(np.all((x >= ref.low) & (x <= ref.high), axis=1))
    assert 0.935 < inside < 0.965


def test_normality_p_values_are_uniform_under_normality_and_tiny_for_exponential() -> None:
    rng = np.random.default_rng(4)
    p = np.array([normality(rng.standard_normal(60)).p for _ in range(400)])
    assert abs(np.mean(p < 0.5) - 0.5) < 0.08 and abs(np.mean(p < 0.1) - 0.1) < 0.05
    assert normality(rng.exponential(size=60)).p <= 0.001
    assert normality(rng.exponential(size=5000)).p < 1e-6


def test_mixture_of_chi_squares_is_close_to_simulation() -> None:
    weights = np.array([3.0, 2.0, 1.0, 1.0, 0.5, 0.5, 0.2])
    draws = (np.random.default_rng(5).standard_normal((200_000, len(weights))) ** 2) @ weights
    for x in np.quantile(draws, [0.5, 0.9, 0.99, 0.999]):
        assert chi2_mixture_upper(float(x), weights) == pytest.approx(np.mean(draws > x), rel=0.15, abs=2e-4)
    # One weight, or equal weights: exact.
    assert chi2_mixture_upper(3.841458820694124, np.ones(1)) == pytest.approx(0.05, rel=1e-9)


def test_inflation_is_one_over_one_minus_r_squared() -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((500, 3))
    x[:, 2] += 2 * x[:, 0]
    dummies = rng.integers(0, 3, 500)
    columns = np.column_stack([x, dummies == 1, dummies == 2])
    terms = ["a", "b", "c", "f[1]", "f[2]"]
    factors = {"a": None, "b": None, "c": None, "f[1]": "f", "f[2]": "f"}
    found = {r["term"]: r for r in collinearity.inflation(np.corrcoef(columns.T), terms, factors)}
    for j, name in enumerate("abc"):
        others = np.column_stack([np.ones(500), np.delete(columns, j, axis=1)])
        residual = columns[:, j] - others @ np.linalg.lstsq(others, columns[:, j], rcond=None)[0]
        r2 = 1 - residual.var() / columns[:, j].var()
        assert found[name]["vif"] == pytest.approx(1 / (1 - r2), rel=1e-6)
    assert found["f"]["df"] == 2 and found["f"]["gvif"] < 1.1


def test_boxcox_profile_is_the_likelihood_of_transformed_outcomes() -> None:
    """log L(λ) = log-likelihood of (v^λ − 1)/λ plus (λ − 1) Σ log v, by fits of the transformed outcome itself."""
    import pandas as pd

    data = pd.read_csv(UK)
    base = panels.evidence(UK, "log(emp) ~ log(wage) + log(capital) + (1 | firm)", time="year")
    found = transformation.check(base)
    logs = np.log(data["emp"])
    for power in (0.5, 1.0):
        moved = data.assign(v=(data["emp"] ** power - 1) / power)
        fit = panels.evidence(moved, "v ~ log(wage) + log(capital) + (1 | firm)", time="year")
        direct = fit.record["ml"]["loglik"] + (power - 1) * logs.sum()
        profile = {round(p["lambda"], 9): p["loglik"] for p in found.details["profile"]}
        # The profile is of the outcome over its geometric mean: a constant Jacobian apart.
        assert profile[power] == pytest.approx(direct + len(data) * logs.mean(), abs=1e-5)
    assert found.status == "ok" and found.details["current"] == 0.0
    assert found.details["low"] < 0.02 < found.details["high"] + 0.05
    plain = transformation.check(panels.evidence(UK, "emp ~ log(wage) + log(capital) + (1 | firm)", time="year"))
    assert plain.status == "problem" and plain.details["suggested"] == "the logarithm"
    assert plain.details["lambda"] == pytest.approx(found.details["lambda"], abs=1e-3)


def test_an_outcome_with_zeros_has_no_boxcox_profile() -> None:
    e = evidence_of(planted.BASE, 1)
    assert transformation.check(e).status == "not applicable"


def test_region_as_fixed_effects_gives_the_coefficients_of_that_model() -> None:
    fixed = "log(gsp) ~ log(private) + log(emp) + log(hwy) + log(water) + log(other) + unemp"
    e = panels.evidence(US, f"{fixed} + (1 | region/state)", time="year")
    c = adequacy.check(e)
    assert c.status == "look" and "9 groups" in c.meaning
    beside = c.details["levels"][0]["as_fixed_effects"]
    dummies = panels.evidence(US, f"{fixed} + C(region) + (1 | region:state)", time="year")
    theirs = {f["term"]: (f["estimate"], f["se"]) for f in dummies.estimate["fixed"]}
    for row in beside:
        # The states' variance is the one estimated with random regions, hence not to the last digit.
        assert abs(row["fixed"] - theirs[row["term"]][0]) < 0.06 * theirs[row["term"]][1]


def test_a_lagged_outcome_is_recognised() -> None:
    e = panels.evidence(UK, "log(emp) ~ lag(log(emp), 1) + log(wage) + (1 | firm)", time="year")
    assert lagged.check(e).status == "problem"
    e = panels.evidence(UK, "log(emp) ~ lag(log(wage), 1) + log(wage) + (1 | firm)", time="year")
    assert lagged.check(e).status == "ok"


def test_cd_is_pesaran_s_and_the_squares_are_centred() -> None:
    rng = np.random.default_rng(8)
    e = rng.standard_normal((30, 50))
    found = shocks.dependence(e)
    scaled = e / np.sqrt((e**2).mean(axis=1, keepdims=True))
    r = (scaled @ scaled.T / 50)[np.triu_indices(30, 1)]
    assert found.cd == pytest.approx(np.sqrt(2 * 50 / (30 * 29)) * r.sum(), rel=1e-9)
    assert abs(found.z_square) < 3.5 and abs(found.z_mean) < 3.5
    common = shocks.dependence(e + 0.5 * rng.standard_normal(50))
    assert common.z_mean > 10 and common.mean == pytest.approx(0.2, abs=0.1)
    loadings = rng.standard_normal((30, 1)) * rng.standard_normal(50)
    assert shocks.dependence(e + loadings).z_square > 10


def evidence_of(shape: planted.Shape, seed: int, formula: str | None = None, **fault: float | str) -> Evidence:
    import pyarrow as pa

    table = pa.table(planted.draw(shape, np.random.default_rng(seed), **fault))
    return panels.evidence(table, formula or shape.formula, time="t")


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda f: f.name)
def test_a_planted_fault_is_found(fault: planted.Fault) -> None:
    """The fast subset of benchmarks/calibration: three panels each, two of which must be flagged."""
    check = import_module(f"hierreport.diagnostics.checks.{fault.check}").check
    found = [check(evidence_of(fault.shape, seed, fault.formula, **fault.options)).status for seed in (101, 102, 103)]
    assert sum(s in ("look", "problem") for s in found) >= 2, found


@pytest.mark.parametrize("shape", planted.SHAPES, ids=lambda s: s.name)
def test_a_clean_panel_shows_no_problem(shape: planted.Shape) -> None:
    """Two clean panels of every shape (seeds fixed). Facts of the design are not false alarms."""
    for seed in (1, 2):
        found = {c.name: c.status for c in run_all(evidence_of(shape, seed))}
        alarms = [n for n, s in found.items() if s == "problem" and n not in ("adequacy", "random_part")]
        assert not alarms


def test_a_panel_that_is_only_sorted_by_group_raises_no_serial_alarm() -> None:
    """R's check_autocorrelation did in 60 of 60 such panels: it takes the rows' order for time, across groups."""
    shape = replace(planted.BASE, intercept_sd=2.0, periods=(6, 6))
    alarms = 0
    for seed in range(20):
        check = serial.check(evidence_of(shape, 1000 + seed))
        assert check.details["expected"] == pytest.approx(-1 / 5, abs=0.02)
        alarms += check.status != "ok"
    assert alarms <= 1


def test_without_a_time_column_no_order_is_assumed() -> None:
    import pyarrow as pa

    table = pa.table(planted.draw(planted.BASE, np.random.default_rng(1), rho=0.9))
    e = panels.evidence(table, planted.BASE.formula)
    assert serial.check(e).status == "not applicable" and shocks.check(e).status == "not applicable"


def test_gaps_are_no_neighbours() -> None:
    """Every second period only, told that a step is one period: no pair of neighbours is left."""
    import pyarrow as pa

    columns = planted.draw(planted.BASE, np.random.default_rng(2), rho=0.9)
    columns["t"] = columns["t"] * 2
    e = panels.evidence(pa.table(columns), planted.BASE.formula, time="t", time_step=1)
    check = serial.check(e)
    assert check.status == "not applicable" and check.details["pairs"] == 0


def test_a_known_random_slope_is_not_missed() -> None:
    e = evidence_of(planted.MIDDLE, 3)
    assert all(s["term"] != "x" for s in missed_slopes.check(e).details["slopes"])


def test_slopes_of_few_groups_are_shown_as_fixed_effects_too() -> None:
    """Against least squares with an intercept and a slope for every group: the mean of their slopes."""
    shape = replace(planted.MIDDLE, firms=6, periods=(9, 14), slope_sd=0.8)
    e = evidence_of(shape, 11)
    c = adequacy.check(e)
    beside = {b["term"]: b for b in c.details["levels"][0]["as_fixed_effects"]}
    m = panels.dense(e)
    terms = [f["term"] for f in e.estimate["fixed"]]
    x, z = m["x"][:, terms.index("x")], m["x"][:, terms.index("z")]
    firms = np.unique(m["same"].argmax(axis=1))
    mine = (m["same"].argmax(axis=1)[:, None] == firms).astype(float)
    beta = np.linalg.lstsq(np.column_stack([mine, mine * x[:, None], z]), m["y"], rcond=None)[0]
    assert beside["z"]["fixed"] == pytest.approx(beta[-1], rel=1e-8)
    assert beside["x"]["fixed"] == pytest.approx(beta[6:12].mean(), rel=1e-8)
    assert c.status == "look" and "as fixed effects instead" in c.action


def test_rows_that_only_a_lag_costs_are_no_loss() -> None:
    e = evidence_of(planted.BASE, 4, "y ~ lag(y) + x + (1 | firm)")
    check = import_module("hierreport.diagnostics.checks.dropped_rows").check(e)
    assert check.status == "ok" and check.statistic == 0.0
    assert check.meaning == "50 of 500 rows (10.0 %) are left out. 50 of them have no earlier row for a lag."


def test_rows_that_miss_a_value_are_compared_with_the_others() -> None:
    """Rows of a high outcome lose x: the difference and its cluster-robust error by NumPy, and the check says so."""
    import pyarrow as pa

    columns = planted.draw(planted.BASE, np.random.default_rng(9))
    y = planted.standard_scores(columns["y"])
    gone = np.random.default_rng(1).random(500) < 0.04 * np.exp(0.9 * y)
    columns["x"] = np.where(gone, np.nan, columns["x"])
    e = panels.evidence(pa.table(columns), planted.BASE.formula, time="t")
    check = import_module("hierreport.diagnostics.checks.dropped_rows").check(e)
    values = {v["column"]: v for v in check.details["values"]}
    assert set(values) == {"y", "z"}
    firm = np.unique(columns["firm"], return_inverse=True)[1]
    for name, v in values.items():
        data = columns[name]
        sd, means = data[~gone].std(ddof=1), (data[gone].mean(), data[~gone].mean())
        part = np.where(gone, (data - means[0]) / gone.sum(), -(data - means[1]) / (~gone).sum()) / sd
        by_firm = np.bincount(firm, weights=part)
        assert v["difference"] == pytest.approx((means[0] - means[1]) / sd)
        assert v["se"] == pytest.approx(np.sqrt((by_firm**2).sum() * 50 / 49))
        assert (v["rows"], v["groups"]) == (gone.sum(), len(np.unique(firm[gone])))
    assert (
        check.status == "look" and "The rows that miss a value differ from the others: y is higher by" in check.meaning
    )


def test_with_two_groups_none_can_be_left_out() -> None:
    e = evidence_of(replace(planted.BASE, firms=2, periods=(30, 30), intercept_sd=3.0), 4)
    check = import_module("hierreport.diagnostics.checks.influence").check(e)
    assert check.status == "not applicable" and "without any of the groups" in check.meaning


def test_checks_of_one_variance_say_nothing_of_a_rung_with_several(tmp_path: Path) -> None:
    import pandas as pd

    from hierreport import stages
    from hierreport.diagnostics.loading import load

    columns = planted.draw(replace(planted.LARGE, sectors=4, firms=10), np.random.default_rng(3))
    columns["y"] = columns["y"] + 3.0 * (columns["sector"] == "s01") * np.random.default_rng(4).standard_normal(400)
    pd.DataFrame(columns).to_csv(tmp_path / "panel.csv", index=False)
    options = {"panel": str(tmp_path / "panel.csv"), "formula": "y ~ x + C(sector) + (1 | firm)", "variances": "sector"}
    (tmp_path / "out").mkdir()
    stages.ingest(tmp_path / "out", options)
    stages.fit(tmp_path / "out", {"variances": "sector", "errors": "iid"})
    for rung in ("random_intercept.var", "pooled.var"):
        found = {c.name: c for c in run_all(load(tmp_path / "out", {"rung": rung}))}
        for name in ("constant_variance", "variance_across_groups", "residuals_normal", "outlying_rows"):
            assert found[name].status == "not applicable" and "by sector" in found[name].meaning
    plain = {c.name: c.status for c in run_all(load(tmp_path / "out", {}))}
    assert plain["variance_across_groups"] == "problem"


def test_zero_has_no_sign() -> None:
    assert [str(Said(fixed(x, 2))) for x in (-0.001, 0.001, -0.006, -0.0)] == ["0.00", "0.00", "−0.01", "0.00"]


def test_every_check_is_one_small_file() -> None:
    folder = ROOT / "hierreport" / "diagnostics" / "checks"
    files = {p.stem for p in folder.glob("*.py")} - {"__init__"}
    assert files == set(CHECKS)
    for name in CHECKS:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 260, name
        assert f'NAME = "{name}"' in text and re.search(r"^RULE = ", text, re.M)


def test_groups_without_effects_of_their_own_are_left_out_too() -> None:
    """Pooled OLS without each firm, against least squares on the remaining rows."""
    spec = panels.ModelSpec(("(Intercept)", "log(wage)", "log(capital)"))
    e = panels.evidence(UK, "log(emp) ~ log(wage) + log(capital) + (1 | firm)", spec=spec)
    found = deletions(e, "firm", work=1e12)
    assert found is not None and found.exact.all()
    cheap = deletions(e, "firm", work=0.0)
    m = panels.dense(e)
    firm = e.frame.con.execute(f'SELECT "firm" FROM {e.frame.table} ORDER BY __row').fetchnumpy()["firm"]
    labels = group_labels(e.moments, "firm")
    full = np.linalg.lstsq(m["x"], m["y"], rcond=None)[0]
    se = np.array([f["se"] for f in e.estimate["fixed"]])
    for g in (0, 40, 139):
        stay = firm != labels[g]
        beta = np.linalg.lstsq(m["x"][stay], m["y"][stay], rcond=None)[0]
        assert found.shift[g] * se == pytest.approx(full - beta, abs=1e-9)
        assert cheap.shift[g] * se == pytest.approx(full - beta, abs=1e-9)


@pytest.mark.parametrize("errors", ["iid", "ar1"])
def test_the_choice_without_a_group_is_the_ladder_on_the_other_groups(errors: str, tmp_path: Path) -> None:
    """One group lies apart: with it the tests ask for group effects. Each answer against a ladder of its own."""
    import pandas as pd

    import hierreport
    from hierreport import stages
    from hierreport.diagnostics.loading import load

    rng = np.random.default_rng(5)
    firm = np.repeat([f"f{i:02d}" for i in range(14)], 10)
    rows = {"firm": firm, "t": np.tile(np.arange(10), 14), "x": rng.standard_normal(140)}
    noise = rng.standard_normal(140)
    if errors == "ar1":
        noise = planted.autoregressive(noise, np.repeat(np.arange(14), 10), rows["t"], 0.7)
    data = pd.DataFrame(rows | {"y": 0.5 * rows["x"] + noise + (2.2 if errors == "iid" else 5.0) * (firm == "f03")})
    data.to_csv(tmp_path / "panel.csv", index=False)
    formula = "y ~ x + (1 + x | firm)"
    folder = tmp_path / "out"
    folder.mkdir()
    stages.ingest(folder, {"panel": str(tmp_path / "panel.csv"), "formula": formula, "time": "t"})
    stages.fit(folder, {"errors": "iid" if errors == "iid" else "auto"})
    e = load(folder, {})
    assert e.rho is None if errors == "iid" else e.rho is not None
    check = import_module("hierreport.diagnostics.checks.influence").check(e)
    (level,) = check.details["levels"]
    found = {c["label"]: c["rung"] for c in level["choice"]["changes"]}
    assert level["choice"]["examined"] == 14
    for label in np.unique(firm):
        ladder = hierreport.ladder(
            data[data.firm != label], formula, time="t", errors=["iid"] if errors == "iid" else None
        )
        assert found.get(label, e.rung) == ladder.choice.rung, label
    assert "f03" in found and check.status in ("look", "problem") and "Without " in check.meaning
