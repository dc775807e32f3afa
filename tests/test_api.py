"""The Python API: inputs, records, effects, predictions, imports."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reference_cases as references

import hierreport
from hierreport.errors import ConfigError, HierreportError, ModelError

SLEEP = "Reaction ~ Days + (1 + Days | Subject)"
UK = "log(emp) ~ log(wage) + log(capital) + log(output) + C(year) + (1 + log(capital) | sector/firm)"


@pytest.fixture(scope="module")
def sleep():
    return hierreport.fit(references.case("sleepstudy").path, SLEEP)


@pytest.fixture(scope="module")
def uk_path(example_data):
    return example_data / "uk_firms.csv"


def table_of(name: str) -> pa.Table:
    case = references.case(name)
    text = set(case.spec["groups"]) | set(case.spec["categorical"])
    return pa.table({k: v if k in text else [float(x) if x else None for x in v] for k, v in case.columns.items()})


class TestInputs:
    def test_every_kind_of_table_gives_the_same_fit(self, sleep, tmp_path):
        import polars as pl

        table = table_of("sleepstudy")
        pq.write_table(table, tmp_path / "sleep.parquet")
        for data in (
            table,
            table.to_pandas(),
            pl.from_arrow(table),
            str(tmp_path / "sleep.parquet"),
            tmp_path / "sleep.parquet",
        ):
            found = hierreport.fit(data, SLEEP)
            assert found.ml.loglik == pytest.approx(sleep.ml.loglik, rel=1e-12)
            assert found.reml.coefficients() == pytest.approx(sleep.reml.coefficients(), rel=1e-9)

    def test_weights(self):
        """Two rows in one: a weight of 2 has the fixed effects of the row written twice (with the same theta)."""
        table = table_of("sleepstudy")
        weights = pa.array([1.0 + (i % 3) for i in range(len(table))])
        found = hierreport.fit(table.append_column("w", weights), "Reaction ~ Days + (1 | Subject)", weights="w")
        x = np.column_stack([np.ones(180), table["Days"].to_numpy()])
        ids = np.unique(np.array(table["Subject"].to_pylist()), return_inverse=True)[1]
        z = np.eye(18)[ids]
        sd = found.ml.random[0].sd[0]
        v = sd**2 * z @ z.T + np.diag(found.ml.sigma**2 / weights.to_numpy())
        inverse = np.linalg.inv(v)
        y = table["Reaction"].to_numpy()
        beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        assert list(found.ml.coefficients().values()) == pytest.approx(beta, rel=1e-8)
        r = y - x @ beta
        expected = -0.5 * (180 * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + r @ inverse @ r)
        assert found.ml.loglik == pytest.approx(expected, rel=1e-10)

    def test_unknown_error_structure(self):
        with pytest.raises(ConfigError, match="iid, ar1, car1"):
            hierreport.fit(references.case("sleepstudy").path, SLEEP, errors="ar2")

    def test_serial_correlation_needs_time(self):
        with pytest.raises(ConfigError, match="time="):
            hierreport.fit(references.case("sleepstudy").path, SLEEP, errors="ar1")

    def test_unknown_df(self):
        with pytest.raises(HierreportError, match="degrees of freedom"):
            hierreport.fit(references.case("sleepstudy").path, SLEEP, df="guess")

    def test_a_column_that_is_not_there(self):
        with pytest.raises(HierreportError, match="Dayz"):
            hierreport.fit(references.case("sleepstudy").path, "Reaction ~ Dayz + (1 | Subject)")

    def test_nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        found = hierreport.ladder(references.case("sleepstudy").path, SLEEP)
        found.chosen.effects()
        assert list(tmp_path.iterdir()) == []


class TestFit:
    def test_record(self, sleep):
        record = sleep.to_dict()
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert set(record) >= {"rung", "formula", "n_obs", "groups", "errors", "variances", "crossed", "ml", "reml"}
        assert record["rung"] == "random_slope"
        assert record["errors"] == "iid"
        estimate = record["reml"]
        assert set(estimate) >= {
            "loglik", "deviance", "aic", "bic", "n_par", "sigma", "rho", "fixed", "fixed_cov", "random", "icc", "r2",
            "converged", "singular", "certificate",
        }  # fmt: skip
        assert set(estimate["fixed"][0]) == {
            "term", "estimate", "se", "df", "df_method", "statistic", "p", "ci_low", "ci_high",
        }  # fmt: skip
        assert set(estimate["random"][0]) == {"level", "terms", "sd", "cov", "corr"}
        assert set(estimate["icc"]) == {"Subject", "residual"}
        assert record["ml"]["loglik"] == sleep.ml.loglik
        assert sleep.reml["fixed"][1]["estimate"] == sleep.reml.fixed[1].estimate

    def test_effects(self, sleep):
        """Bates et al. (2015), table 4's model: BLUPs and conditional sds as lme4's ranef."""
        found = sleep.effects("Subject")
        assert list(found.columns) == ["level", "Subject", "term", "estimate", "sd", "se_prediction"]
        theirs = references.case("sleepstudy").ref["models"]["rs"]["REML"]["ranef"][0]
        for term in ("(Intercept)", "Days"):
            ours = found[found["term"] == term].set_index("Subject").loc[theirs["groups"]]
            assert ours["estimate"].to_numpy() == pytest.approx(theirs["blup"][term], abs=1e-3)
            assert ours["sd"].to_numpy() == pytest.approx(theirs["cond_sd"][term], rel=1e-4)
        assert sleep.effects().equals(found)

    def test_effects_by_the_last_part_of_a_path(self):
        found = hierreport.fit(references.case("oats").path, "yield ~ nitro + (1 | Block/Variety)")
        inner = found.effects("Variety")
        assert set(inner["level"]) == {"Block/Variety"}
        assert list(inner.columns[:3]) == ["level", "Block", "Variety"]
        assert len(inner) == 18
        both = found.effects()
        assert len(both) == 24
        assert both["Variety"].isna().sum() == 6

    def test_effects_of_another_level_are_refused(self, sleep):
        with pytest.raises(ModelError, match="Subject"):
            sleep.effects("School")

    def test_pooled_has_no_effects(self):
        found = hierreport.fit(references.case("sleepstudy").path, "Reaction ~ Days")
        assert len(found.effects()) == 0
        assert found.rung == "pooled"
        assert found.groups == {}

    def test_text_and_html(self, sleep):
        text = repr(sleep)
        assert "random_slope: Reaction ~ Days + (1 + Days | Subject)" in text
        assert "251.41" in text
        assert "24.74" in text  # sd of the intercepts, REML
        assert "<pre" in sleep._repr_html_()
        assert "&lt;0.001" in sleep._repr_html_()

    def test_degrees_of_freedom(self):
        path = references.case("sleepstudy").path
        theirs = references.case("sleepstudy").ref["models"]["rs"]["REML"]
        for method, key in (("satterthwaite", "satterthwaite"), ("kenward-roger", "kenward_roger")):
            found = hierreport.fit(path, SLEEP, df=method).reml.fixed[1]
            assert found.df == pytest.approx(theirs[key]["df"]["Days"], rel=1e-3)
            assert found.df_method == method
        normal = hierreport.fit(path, SLEEP, df="normal").reml.fixed[1]
        assert normal.df is None
        assert normal.p < 1e-10


class TestVariants:
    def test_serial_correlation(self):
        """nlme's corAR1, multi-start (tests/reference)."""
        theirs = references.case("sleepstudy").ref["nlme_corAR1"]["ri"]["ML"]
        found = hierreport.fit(
            references.case("sleepstudy").path, "Reaction ~ Days + (1 | Subject)", time="Days", errors="ar1"
        )
        assert found.rung == "random_intercept.ar1"
        assert found.ml.loglik == pytest.approx(theirs["logLik"], abs=1e-6)
        assert found.ml.rho == pytest.approx(theirs["phi"], abs=1e-4)
        assert "ar1 errors (rho = " in repr(found)

    def test_unequal_variances(self):
        """nlme's varIdent by treatment."""
        theirs = references.case("ratpup").ref["nlme_varIdent"]["ri"]
        formula = "weight ~ Lsize + C(sex) + C(Treatment) + (1 | Litter)"
        found = hierreport.fit(references.case("ratpup").path, formula, variances="C(Treatment)")
        assert found.rung == "random_intercept.var"
        assert found.to_dict()["variances"] == "C(Treatment)"
        for kind, estimate in (("ML", found.ml), ("REML", found.reml)):
            assert estimate.loglik == pytest.approx(theirs[kind]["logLik"], abs=1e-6)
            assert estimate.n_par == theirs[kind]["n_params"]

    @pytest.mark.parametrize(
        "weights, loglik, sigmas",
        [
            (None, {"ML": -177.627006976011, "REML": -184.329285249725}, [0.515080391, 0.326706814, 0.290379265]),
            (
                "Lsize",
                {"ML": -164.800963150214, "REML": -171.410854946378},
                [1.775539142, 1.775539142 * 0.5563998385, 1.775539142 * 0.6011471596],
            ),
        ],
    )
    def test_unequal_variances_by_a_column_outside_the_formula(self, weights, loglik, sigmas):
        """nlme 3.1-162: lme(weight ~ Lsize + sex, ~ 1 | Litter, weights = varIdent(form = ~ 1 | Treatment)).

        With weights: varComb(varFixed(~ I(1/Lsize)), varIdent(form = ~ 1 | Treatment)).
        """
        data = pd.read_csv(references.case("ratpup").path)
        data.loc[len(data)] = [*data.iloc[0].drop("Treatment")[["weight", "Lsize", "sex"]], None, 1]
        formula = "weight ~ Lsize + C(sex) + (1 | Litter)"
        found = hierreport.fit(data, formula, variances="Treatment", weights=weights)
        assert found.frame.info["missing"]["Treatment"] == 1 and found.n_obs == len(data) - 1
        assert found.ml.loglik == pytest.approx(loglik["ML"], abs=1e-6)
        assert found.reml.loglik == pytest.approx(loglik["REML"], abs=1e-6)
        assert list(found.engine.reml_state.stratum_sigmas) == ["Control", "High", "Low"]
        assert list(found.engine.reml_state.stratum_sigmas.values()) == pytest.approx(sigmas, rel=1e-5)
        assert np.isfinite(found.predict(data[["Lsize", "sex", "Litter"]])).all()
        if weights is None:
            ladder = hierreport.ladder(data, formula, variances="Treatment")
            assert ladder.rungs["random_intercept.var"].ml.loglik == pytest.approx(loglik["ML"], abs=1e-6)

    def test_unequal_variances_of_pooled_rows(self):
        """nlme's gls(weights = varIdent(form = ~ 1 | Treatment), method = "ML")."""
        found = hierreport.ladder(
            references.case("ratpup").path,
            "weight ~ Lsize + C(sex) + C(Treatment) + (1 | Litter)",
            variances="C(Treatment)",
        )
        assert found.rungs["pooled.var"].ml.loglik == pytest.approx(-221.287469958, abs=1e-6)

    def test_a_crossed_effect_of_time(self, uk_path):
        """Against the density with one dense covariance matrix of all rows."""
        from hierreport.verify import verify

        found = hierreport.fit(uk_path, "log(emp) ~ log(wage) + (1 | firm)", time="year", crossed=True)
        assert found.rung == "random_intercept.time"
        assert found.groups == {"year": 9, "firm": 140}
        result = verify(found.frame, found.panel, [found.to_dict()])
        assert [e["method"] for e in result["rungs"]] == ["dense", "dense"]
        assert result["max_relative_difference"] < 1e-9
        effects = found.effects("year")
        assert list(effects.columns) == ["level", "firm", "year", "term", "estimate", "sd", "se_prediction"]
        assert effects["year"].to_list() == [str(y) for y in range(1976, 1985)]
        assert effects["firm"].isna().all()
        assert len(found.effects()) == 149


class TestPredict:
    def test_fitted_rows(self, sleep):
        theirs = references.case("sleepstudy").ref["models"]["rs"]["REML"]["fitted_head"]
        assert sleep.predict()[:6] == pytest.approx(theirs["conditional"], abs=1e-3)
        assert sleep.predict(effects=False)[:6] == pytest.approx(theirs["marginal"], abs=1e-6)

    def test_new_rows_in_their_order(self, sleep):
        rows = pa.table({"Subject": ["309", "999", "308", None], "Days": [12, 3, 0, 1]})
        found = sleep.predict(rows, table=True)
        beta = sleep.reml.coefficients()
        expected = [beta["(Intercept)"] + beta["Days"] * d for d in (12, 3, 0, 1)]
        assert found["population"].to_list() == pytest.approx(expected, rel=1e-12)
        u = sleep.effects("Subject").pivot(index="Subject", columns="term", values="estimate")
        own = [u.loc["309", "(Intercept)"] + 12 * u.loc["309", "Days"], 0.0, u.loc["308", "(Intercept)"], 0.0]
        assert (found["conditional"] - found["population"]).to_list() == pytest.approx(own, abs=1e-9)
        assert found["known"].to_list() == ["Subject", "", "Subject", ""]
        assert list(sleep.predict(rows)) == list(found["conditional"])

    def test_numbers_as_ids(self, sleep):
        """308 as an integer or as 308.0 is the group "308"."""
        texts = sleep.predict(pa.table({"Subject": ["308"], "Days": [1.0]}))
        assert sleep.predict(pa.table({"Subject": [308], "Days": [1]})) == pytest.approx(texts, rel=1e-14)
        assert sleep.predict(pa.table({"Subject": [308.0], "Days": [1.0]})) == pytest.approx(texts, rel=1e-14)

    def test_without_group_columns_it_is_the_population(self, sleep):
        assert sleep.predict(pa.table({"Days": [0.0]}))[0] == pytest.approx(251.405, abs=1e-3)

    def test_a_missing_predictor_gives_nan(self, sleep):
        found = sleep.predict(pa.table({"Days": [0.0, None], "Subject": ["308", "308"]}))
        assert np.isnan(found).tolist() == [False, True]

    def test_a_predictor_that_is_not_there(self, sleep):
        with pytest.raises(HierreportError, match="Days"):
            sleep.predict(pa.table({"Subject": ["308"]}))

    def test_a_predictor_of_another_kind(self, sleep):
        with pytest.raises(HierreportError, match="Days"):
            sleep.predict(pa.table({"Subject": ["308"], "Days": ["many"]}))

    def test_transforms_keep_the_constants_of_the_fit(self, uk_path):
        formula = (
            "log(emp) ~ scale(log(wage)) + poly(capital, 2) + mean(output, by=sector) + center(output) + C(year)"
            " + (1 | sector/firm)"
        )
        fit = hierreport.fit(uk_path, formula)
        whole = fit.predict(table=True)
        import pandas as pd

        data = pd.read_csv(uk_path)
        some = data.iloc[[500, 3, 77]].drop(columns="emp")
        found = fit.predict(some, table=True)
        for name in ("population", "conditional"):
            assert found[name].to_numpy() == pytest.approx(whole[name].to_numpy()[[500, 3, 77]], rel=1e-10)

    def test_a_known_sector_with_a_new_firm(self, uk_path):
        fit = hierreport.fit(uk_path, "log(emp) ~ log(wage) + (1 | sector/firm)")
        row = {"wage": [25.0], "sector": [1], "firm": [9999]}
        found = fit.predict(pa.table(row), table=True).iloc[0]
        u = fit.effects("sector").set_index("sector")["estimate"]["1"]
        assert found["conditional"] - found["population"] == pytest.approx(u, rel=1e-9)
        assert found["known"] == "sector"

    def test_an_unknown_factor_level_is_refused(self, uk_path):
        fit = hierreport.fit(uk_path, "log(emp) ~ C(year) + (1 | firm)")
        with pytest.raises(HierreportError, match=r"row 2.*1999"):
            fit.predict(pa.table({"year": [1980, 1999], "firm": [1, 1]}))

    def test_the_logarithm_of_a_negative_number_is_nan(self, uk_path):
        fit = hierreport.fit(uk_path, "log(emp) ~ log(wage) + (1 | firm)")
        assert np.isnan(fit.predict(pa.table({"wage": [-1.0, 20.0], "firm": [1, 1]}))).tolist() == [True, False]

    def test_lags_within_the_new_rows(self, uk_path):
        fit = hierreport.fit(uk_path, "log(emp) ~ lag(log(wage)) + (1 | firm)", time="year")
        rows = pa.table({"wage": [20.0, 30.0, 40.0], "firm": [1, 1, 2], "year": [1980, 1981, 1981]})
        found = fit.predict(rows, effects=False)
        beta = fit.reml.coefficients()
        assert np.isnan(found).tolist() == [True, False, True]
        assert found[1] == pytest.approx(beta["(Intercept)"] + beta["lag(log(wage))"] * np.log(20.0), rel=1e-10)


@pytest.fixture(scope="module")
def uk(uk_path):
    return hierreport.ladder(uk_path, UK, time="year")


class TestLadder:
    def test_rungs(self, uk):
        assert [n for n in uk.rungs if "." not in n][:5] == [
            "pooled", "random_intercept", "random_slope", "multilevel", "multilevel_slopes",
        ]  # fmt: skip
        published = {  # lme4 1.1-31; nlme from several starts for AR(1)
            "pooled": -831.3094,
            "random_intercept": 302.9526,
            "random_slope": 382.7817,
            "multilevel": 383.0098,
            "random_intercept.ar1": 567.2501,
        }
        for name, value in published.items():
            assert uk[name].ml.loglik == pytest.approx(value, abs=1e-4)
        assert uk["multilevel_slopes"].ml.loglik >= 383.0186 - 1e-4
        assert uk["random_slope.ar1"].ml.loglik >= 606.3035

    def test_the_choice_with_serial_correlation(self, uk):
        assert uk.choice.rung == "random_slope.ar1"
        assert uk.choice.errors == "ar1"
        assert uk.chosen.reml.rho == pytest.approx(0.986, abs=2e-3)
        assert uk.chosen.reml.coefficients()["log(wage)"] == pytest.approx(-0.42, abs=0.01)

    def test_the_choice_among_independent_errors(self, uk_path):
        found = hierreport.ladder(uk_path, UK)
        assert found.choice.rung == "random_slope"
        sector = next(c for c in found.comparisons if (c.null, c.alternative) == ("random_slope", "multilevel"))
        assert sector.statistic == pytest.approx(0.456, abs=1e-3)
        assert sector.p_naive == pytest.approx(0.499, abs=1e-3)
        assert sector.p_boundary == pytest.approx(0.250, abs=1e-3)

    def test_states(self, example_data):
        """Baltagi, Song & Jung (2001) by Stata's manual: 1430.50; and the better of two optima with AR(1) errors."""
        formula = "log(gsp) ~ log(private) + log(emp) + log(hwy) + log(water) + log(other) + unemp + (1 | region/state)"
        found = hierreport.ladder(example_data / "us_states.csv", formula, time="year")
        assert found["multilevel"].ml.loglik == pytest.approx(1430.5016, abs=1e-4)
        assert found["pooled.ar1"].ml.loglik == pytest.approx(1880.383, abs=1e-3)
        assert found["multilevel.ar1"].ml.loglik >= 1882.975
        assert found["multilevel.ar1"].ml.rho == pytest.approx(0.983, abs=2e-3)
        assert found.choice.errors == "ar1"

    def test_everything_tried_is_in_the_register(self, uk):
        slopes = [f"random_slope.ar1+slope[{term}]" for term in ("log(wage)", "log(output)")]
        assert [r["rung"] for r in uk.register] == [*uk.rungs, *slopes]
        assert sum(r["fate"] == "chosen" for r in uk.register) == 1
        assert uk["random_slope_independent.ar1"].formula.endswith("(1 + log(capital) || sector:firm)")

    def test_plain_json(self, uk):
        found = uk.to_dict()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert set(found["icc_curves"]["random_slope"]) == {"log(capital)"}

    def test_text(self, uk):
        assert "→ random_slope.ar1" in repr(uk)
        assert "<pre" in uk._repr_html_()

    def test_own_rungs(self):
        path = references.case("sleepstudy").path
        own = {
            "flat": "Reaction ~ 1",
            "line": "Reaction ~ Days",
            "people": "Reaction ~ Days + (1 | Subject)",
            "free": "Reaction ~ Days + (1 + Days || Subject)",
        }
        found = hierreport.ladder(path, SLEEP, rungs=own)
        assert list(found.rungs) == list(own)
        theirs = references.case("sleepstudy").ref["models"]
        assert found["people"].ml.loglik == pytest.approx(theirs["ri"]["ML"]["logLik"], rel=1e-9)
        assert found["free"].ml.loglik == pytest.approx(theirs["rs_diag"]["ML"]["logLik"], rel=1e-9)
        assert found.choice.rung == "free"
        line = next(c for c in found.comparisons if c.alternative == "line")
        assert line.mixture == "chi2(1)"
        assert found["flat"].formula == "Reaction ~ 1"

    @pytest.mark.parametrize(
        ("rung", "message"),
        [
            ("Reaction ~ Days + Nights", "Nights"),
            ("Days ~ Reaction", "outcome"),
            ("Reaction ~ Days + (1 | School)", "School"),
        ],
    )
    def test_own_rungs_outside_the_formula_are_refused(self, rung, message):
        with pytest.raises(HierreportError, match=message):
            hierreport.ladder(references.case("sleepstudy").path, SLEEP, rungs={"mine": rung})

    def test_a_refused_rung_is_listed(self, tmp_path):
        """Two rows per group and two random coefficients: nothing is left for the residuals, as lme4 says too."""
        path = tmp_path / "pairs.csv"
        rng = np.random.default_rng(2)
        lines = [f"{rng.normal() + g % 3},{rng.normal()},{g}" for g in range(20) for _ in range(2)]
        path.write_text("\n".join(["y,x,g", *lines]))
        found = hierreport.ladder(path, "y ~ x + (1 + x | g)")
        fates = {r["rung"]: r["fate"] for r in found.register}
        assert fates["random_slope"].startswith("refused")
        assert "40 rows" in fates["random_slope"]
        assert list(found.rungs) == ["pooled", "random_intercept"]
        assert "random_slope: refused" in repr(found)


IMPORTS = """
import sys
import hierreport
assert not {"numpy", "duckdb"} & set(sys.modules), "import hierreport alone is to cost nothing"
hierreport.ladder(sys.argv[1], sys.argv[2])
found = {"pandas", "statsmodels", "matplotlib", "polars", "scipy.stats", "scipy.optimize"} & set(sys.modules)
assert not found, found
assert callable(hierreport.ladder) and callable(hierreport.fit)
"""


def test_a_path_needs_no_pandas(root):
    path = references.case("sleepstudy").path
    subprocess.run([sys.executable, "-c", IMPORTS, str(path), SLEEP], check=True, cwd=root)
