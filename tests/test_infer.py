"""The stage infer and its parts: shape, numbers that others computed, what is said where there is nothing."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import hierreport
from hierreport import infer
from hierreport.errors import ConfigError, ModelError
from hierreport.first_differences import first_differences
from hierreport.moments import PanelMoments


@pytest.fixture(scope="module")
def folder(run_stages):
    return run_stages("uk_firms", until="infer")


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "inference.json").read_text())


@pytest.fixture(scope="module")
def states(example_data):
    formula = "log(gsp) ~ log(private) + log(emp) + log(hwy) + log(water) + log(other) + unemp + (1 | region/state)"
    return hierreport.fit(example_data / "us_states.csv", formula, time="year", errors="ar1")


def test_sections(found):
    assert (found["rung"], found["iid_rung"]) == ("random_slope.ar1", "random_slope")
    assert list(found["intervals"]) == ["random_slope.ar1", "random_slope"]
    for section in (
        *found["tests"],
        *found["df_methods"],
        *found["robust"],
        found["fixed_or_random"],
        found["criteria"],
    ):
        assert section["status"] in ("done", "off", "not available")
        assert bool(section["reason"]) == (section["status"] != "done")


def test_intervals(found, folder):
    chosen, iid = found["intervals"].values()
    assert (chosen["bootstrap"]["status"], chosen["bootstrap"]["n"], iid["bootstrap"]["n"]) == ("done", 99, 199)
    assert all(q["bootstrap"] is not None for q in chosen["quantities"])
    record = json.loads((folder / "rungs" / "random_slope.ar1.json").read_text())
    by_name = {q["name"]: q for q in chosen["quantities"]}
    wage = next(f for f in record["reml"]["fixed"] if f["term"] == "log(wage)")
    assert by_name["fixed log(wage)"]["wald"]["low"] == wage["ci_low"]
    assert by_name["fixed log(wage)"]["estimate"] == pytest.approx(wage["estimate"], rel=1e-6)
    assert by_name["rho"]["estimate_ml"] == pytest.approx(record["ml"]["rho"], abs=1e-6)
    assert by_name["rho"]["profile"]["low"] < record["ml"]["rho"] < by_name["rho"]["profile"]["high"]
    for quantity in iid["quantities"]:
        assert quantity["bootstrap"] is not None
        assert (quantity["profile"] is None) == (quantity["kind"] == "r2")


def test_profiles_are_about_their_own_estimate(found):
    row = next(q for q in found["intervals"]["random_slope"]["quantities"] if q["kind"] == "sigma")
    assert row["profile"]["low"] < row["estimate_ml"] < row["profile"]["high"]
    assert row["profile_reml"]["low"] < row["estimate"] < row["profile_reml"]["high"]
    assert row["estimate_ml"] < row["estimate"]
    for end in ("low", "high"):
        assert row["profile"][end] < row["profile_reml"][end]
    for quantity in found["intervals"]["random_slope.ar1"]["quantities"]:
        assert (quantity["profile_reml"] is None) == (quantity["kind"] in ("r2", "fixed"))


def test_simulated_tests(found):
    pairs = [(t["null"], t["alternative"]) for t in found["tests"]]
    names = ["pooled", "random_intercept", "random_slope", "multilevel", "multilevel_slopes"]
    assert pairs == list(pairwise(names))
    for t in found["tests"]:
        assert t["p_bootstrap"] >= 1 / (t["draws"] + 1)
        assert t["p_bootstrap_error"] == pytest.approx(
            np.sqrt(t["p_bootstrap"] * (1 - t["p_bootstrap"]) / (t["draws"] - t["failures"]))
        )
    needed = found["tests"][1]
    assert needed["p_bootstrap"] == pytest.approx(1 / 100)


def test_kenward_roger_where_it_is_defined(found):
    by_key = {(d["rung"], d["method"]): d for d in found["df_methods"]}
    assert by_key["random_slope.ar1", "kenward-roger"]["status"] == "not available"
    done = by_key["random_slope", "kenward-roger"]["fixed"]
    plain = by_key["random_slope", "satterthwaite"]["fixed"]
    assert [f["estimate"] for f in done] == [f["estimate"] for f in plain]
    assert all(k["se"] >= s["se"] * 0.999 for k, s in zip(done, plain, strict=True))


def test_few_clusters_are_said(found):
    kinds = [(r["rung"], r["kind"]) for r in found["robust"]]
    assert kinds[:6] == [(r, k) for r in ("pooled", "random_slope.ar1") for k in ("CR0", "CR1", "CR2")]
    assert kinds[6:] == [("pooled", "two-way CR1"), ("pooled", "Driscoll-Kraay (2 lags)")]
    assert all("9 clusters of sector are too few" in r["notes"][0] for r in found["robust"][:6])


def test_criteria(found):
    table = {row["rung"]: row for row in found["criteria"]["table"]}
    assert found["criteria"]["best"]["aic"] == "random_slope.ar1"
    assert table["random_slope"]["caic"] is not None
    assert set(table["random_slope"]["scores"]) == {"sector", "sector/firm"}
    assert "pooled.ar1" in table
    assert any("each period" in note for note in found["criteria"]["notes"])


def test_the_same_seed_gives_the_same_file(folder, found):
    again = infer.run(folder, {})
    assert json.loads(json.dumps(again, allow_nan=False)) == found


def test_the_bootstrap_can_be_switched_off(folder):
    off = infer.run(folder, {"bootstrap": 0})
    assert {t["status"] for t in off["tests"]} == {"off"}
    assert off["intervals"]["random_slope"]["bootstrap"]["status"] == "off"
    assert off["draws"] == 0 and off["absorbed"] is None


def test_absorbed_effects_stand_beside_the_ladder(folder):
    """R's lm() with the dummies written out, sandwich's clustered errors."""
    found = infer.run(folder, {"bootstrap": 0, "absorb": ["firm", "year"]})["absorbed"]
    theirs = json.loads((Path(__file__).parent / "robust_reference" / "absorbed.json").read_text())
    r = next(t for t in theirs if t["absorb"] == ["firm", "year"] and not t["weights"] and "uk" in t["file"])
    fixed = {f["term"]: f for f in found["fixed"]}
    for term in ("log(wage)", "log(capital)"):
        assert fixed[term]["estimate"] == pytest.approx(r["estimate"][term], rel=1e-9)
        assert fixed[term]["se"] == pytest.approx(r["clustered"][term], rel=1e-9)
    assert found["absorbed"] == ["sector/firm", "year"] and found["clusters"] == {"sector/firm": 140}
    with pytest.raises(ConfigError, match=r"analyses\..*\.absorb: 'frim' is neither"):
        infer.run(folder, {"bootstrap": 0, "absorb": ["frim"]})


def test_from_python(example_data):
    formula = "log(emp) ~ log(wage) + log(capital) + (1 | sector/firm)"
    ladder = hierreport.ladder(example_data / "uk_firms.csv", formula)
    found = ladder.inference(draws=199, absorb=["firm"])
    assert found["absorbed"] == ladder.chosen.absorbed("firm").to_dict() | {"status": "done", "reason": ""}
    assert found["rung"] == found["iid_rung"] == ladder.choice.rung
    assert found["first_differences"] is None
    test = ladder.bootstrap_lrt("pooled", "random_intercept", 199)
    assert (test.p, test.n) == (1 / 200, 199)


class TestFirstDifferences:
    def test_against_the_rows(self, states, example_data):
        with (example_data / "us_states.csv").open() as file:
            rows = sorted(csv.DictReader(file), key=lambda r: (r["region"], r["state"], int(r["year"])))
        names = ("private", "emp", "hwy", "water", "other")
        m = np.array(
            [[np.log(float(r["gsp"])), *[np.log(float(r[k])) for k in names], float(r["unemp"])] for r in rows]
        )
        state = np.array([r["state"] for r in rows])
        inside = state[1:] == state[:-1]
        d, g = np.diff(m, axis=0)[inside], state[1:][inside]
        x, y = np.column_stack([d[:, 1:], np.ones(len(d))]), d[:, 0]
        beta, *_ = np.linalg.lstsq(x, y, rcond=None)
        e, bread = y - x @ beta, np.linalg.inv(x.T @ x)
        scores = np.array([x[g == s].T @ e[g == s] for s in np.unique(g)])
        count, (n, k) = len(scores), x.shape
        cov = bread @ scores.T @ scores @ bread * count / (count - 1) * (n - 1) / (n - k)
        found = first_differences(states.panel, states.spec.fixed)
        assert (found.n_obs, found.groups) == (n, count)
        assert [f.estimate for f in found.fixed] == pytest.approx(beta, rel=1e-8)
        assert [f.se for f in found.fixed] == pytest.approx(np.sqrt(np.diag(cov)), rel=1e-8)
        assert found.sigma == pytest.approx(np.sqrt(e @ e / (n - k)), rel=1e-9)
        assert found.r2 == pytest.approx(1 - e @ e / np.sum((y - y.mean()) ** 2), rel=1e-9)
        assert found.dropped == []

    def test_the_drift_goes_where_there_are_period_dummies(self, found):
        assert found["first_differences"]["dropped"] == ["(Intercept)"]
        assert found["first_differences"]["rho"] > 0.95

    def test_needs_lags(self, states):
        with pytest.raises(ModelError, match="time column"):
            first_differences(PanelMoments(states.panel.moments), states.spec.fixed)


class TestMissedSlopes:
    def test_a_fit_of_its_own_has_the_same_likelihood(self, folder, example_data):
        ladder = json.loads((folder / "ladder.json").read_text())
        slope = ladder["missed_slopes"]["tried"][1]
        assert slope["term"] == "log(output)"
        own = hierreport.fit(example_data / "uk_firms.csv", slope["formula"], time="year", errors="ar1")
        assert own.ml.loglik == pytest.approx(slope["loglik"], abs=1e-4)

    def test_holm(self, folder):
        tried = json.loads((folder / "ladder.json").read_text())["missed_slopes"]["tried"]
        p = sorted(s["p"] for s in tried)
        assert sorted(s["p_holm"] for s in tried) == pytest.approx([2 * p[0], max(2 * p[0], p[1])])
        assert all(s["asked"] for s in tried)
