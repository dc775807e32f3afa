"""Inference from Python: contrasts, intervals of predictions, residuals, robust errors; R's values and dense algebra.

The values were computed with R 4.5, lme4 2.0, lmerTest 3.2, emmeans 2.0.
"""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
import reference_cases as references

import hierreport
from hierreport.errors import ConfigError, ModelError

THREE = "log(emp) ~ log(wage) + log(capital) + C(year) + (1 | sector) + (1 + log(capital) | sector:firm)"


@pytest.fixture(scope="module")
def path(example_data):
    return example_data / "uk_firms.csv"


@pytest.fixture(scope="module")
def firms(path):
    return hierreport.fit(path, THREE)


@pytest.fixture(scope="module")
def rows(path):
    with path.open() as file:
        found = list(csv.DictReader(file))
    return {
        "wage": np.log([float(r["wage"]) for r in found]),
        "capital": np.log([float(r["capital"]) for r in found]),
        "emp": np.log([float(r["emp"]) for r in found]),
        "year": np.array([int(r["year"]) for r in found]),
        "sector": np.array([r["sector"] for r in found]),
        "firm": np.array([f"{r['sector']}/{r['firm']}" for r in found]),
    }


class TestContrasts:
    def test_marginal_means_as_emmeans(self, firms):
        found = {m.term: m for m in firms.contrasts("year").means}
        expected = {
            # emmeans 1.8.4 with the logarithms in the formula: wage and capital at their means.
            "1976": (1.890397631861, 0.093864484861, 17.450758464040, 1.692749831594),
            "1980": (1.82132906596, 0.09309419908, 16.88506870397, 1.62481558431),
            "1984": (1.813273071325, 0.097739938084, 20.435618775514, 1.609669390032),
        }
        for level, (estimate, se, df, low) in expected.items():
            mean = found[level]
            assert (mean.estimate, mean.se, mean.ci_low) == pytest.approx((estimate, se, low), rel=2e-6)
            assert mean.df == pytest.approx(df, rel=1e-5)

    @pytest.mark.parametrize(
        ("adjust", "p", "low", "high"),
        [
            ("tukey", 0.074700663016, -0.15790400006, 0.0036548599968),
            ("holm", 0.058347910805, -0.16044389028, 0.0061947502203),
            ("bonferroni", 0.11055393626, -0.16044389028, 0.0061947502203),
            ("none", 0.0030709426739, -0.12810817472, -0.026140965338),
        ],
    )
    def test_pairs_as_emmeans(self, firms, adjust, p, low, high):
        found = {c.term: c for c in firms.contrasts("year", adjust).contrasts}
        assert len(found) == 36
        pair = found["1984 - 1976"]
        assert pair.estimate == pytest.approx(-0.077124570031, rel=1e-6)
        assert pair.df == pytest.approx(838.66384, rel=1e-5)
        assert pair.p == pytest.approx(p, rel=1e-4)
        assert (pair.ci_low, pair.ci_high) == pytest.approx((low, high), abs=1e-6)

    def test_interactions_are_averaged(self):
        fit = hierreport.fit(references.case("oats").path, "yield ~ C(nitro)*Variety + (1 | Block/Variety)")
        variety, nitro = fit.contrasts("Variety"), fit.contrasts("nitro")
        assert [m.estimate for m in variety.means] == pytest.approx([104.5, 109.7916666667, 97.625])
        assert [m.df for m in variety.means] == pytest.approx([8.8689794] * 3, rel=1e-5)
        assert [c.p for c in variety.contrasts] == pytest.approx([0.70871090, 0.70871090, 0.34923508], rel=1e-5)
        assert [m.se for m in nitro.means] == pytest.approx([7.1747103865] * 4, rel=1e-6)
        assert nitro.contrasts[0].p == pytest.approx(0.00019970396646, rel=1e-5)

    def test_refusals_name_what_there_is(self, firms):
        with pytest.raises(ModelError, match=r"no factor 'sector'\. .*Its factors: year|no factor 'sector'"):
            firms.contrasts("sector")
        with pytest.raises(ModelError, match="sidak"):
            firms.contrasts("year", "sidak")


class TestPredictionIntervals:
    @pytest.fixture
    def dense(self, firms, rows):
        """Var(x'b + z'u) from the n by n covariance matrix, by Henderson's formulas."""
        estimate = firms.reml
        sector, firm = (np.array(level.cov) for level in estimate.random)
        z = np.column_stack([np.ones(len(rows["capital"])), rows["capital"]])
        years = np.unique(rows["year"])[1:]
        x = np.column_stack([z[:, 0], rows["wage"], rows["capital"], *[rows["year"] == y for y in years]])
        same_firm = rows["firm"][:, None] == rows["firm"][None]
        same_sector = rows["sector"][:, None] == rows["sector"][None]
        signal = same_firm * (z @ firm @ z.T) + same_sector * sector[0, 0]
        inverse = np.linalg.inv(signal + estimate.sigma**2 * np.eye(len(x)))
        m = np.linalg.inv(x.T @ inverse @ x)

        def variance(x0, z0, sector_known, firm_known):
            own = z0 @ firm @ z0 + sector[0, 0]
            c = sector_known * sector[0, 0] + firm_known * (z @ firm @ z0)
            a = x0 - x.T @ inverse @ c
            return own - c @ inverse @ c + a @ m @ a

        return variance, x, z, same_sector, same_firm

    def test_fitted_rows(self, firms, dense):
        variance, x, z, same_sector, same_firm = dense
        found = firms.predict(interval="confidence")
        for i in (0, 17, 500, 1030):
            expected = variance(x[i], z[i], same_sector[i], same_firm[i])
            assert found["se"][i] ** 2 == pytest.approx(expected, rel=1e-7)
        assert (found["high"] - found["fit"]).to_numpy() == pytest.approx(1.959963984540054 * found["se"].to_numpy())
        one = firms.predict(interval="prediction")
        assert (one["se"] ** 2 - found["se"] ** 2).to_numpy() == pytest.approx(firms.reml.sigma**2)

    def test_new_groups_carry_the_variance_of_their_effects(self, firms, dense, path):
        import pandas as pd

        variance, x, z, same_sector, _ = dense
        new = pd.read_csv(path).iloc[[0, 1]]
        new["firm"] = 9999
        new.iloc[1, new.columns.get_loc("sector")] = 77
        found = firms.predict(new, interval="confidence")
        assert list(found["known"]) == ["sector", ""]
        assert found["se"][0] ** 2 == pytest.approx(variance(x[0], z[0], same_sector[0], 0.0), rel=1e-7)
        assert found["se"][1] ** 2 == pytest.approx(variance(x[1], z[1], 0.0, 0.0), rel=1e-7)

    def test_population(self, firms, dense):
        _, x, z, _, _ = dense
        cov = np.array(firms.reml.fixed_cov)
        sector, firm = (np.array(level.cov) for level in firms.reml.random)
        found = firms.predict(interval="confidence", effects=False)
        assert found["se"][3] ** 2 == pytest.approx(x[3] @ cov @ x[3], rel=1e-9)
        assert np.isfinite(found["df"]).all()
        whole = firms.predict(interval="prediction", effects=False)
        between = z[3] @ firm @ z[3] + sector[0, 0]
        assert whole["se"][3] ** 2 == pytest.approx(x[3] @ cov @ x[3] + between + firms.reml.sigma**2, rel=1e-9)

    def test_back_from_the_logarithm(self, firms):
        model = firms.predict(interval="confidence")
        assert "median" in model.attrs["note"]
        back = firms.predict(interval="confidence", scale="outcome")
        assert back["low"].to_numpy() == pytest.approx(np.exp(model["low"].to_numpy()))
        assert (back["mean"] / back["fit"]).to_numpy() == pytest.approx(np.exp(firms.reml.sigma**2 / 2))
        with pytest.raises(ModelError, match="outcome"):
            hierreport.fit(references.case("sleepstudy").path, "Reaction ~ Days + (1 | Subject)").predict(
                scale="outcome"
            )

    def test_pooled_is_the_textbook_interval(self):
        fit = hierreport.fit(references.case("sleepstudy").path, "Reaction ~ Days")
        days = np.array(references.case("sleepstudy").columns["Days"], dtype=float)
        found = fit.predict(interval="prediction")
        spread = np.sum((days - days.mean()) ** 2)
        expected = fit.reml.sigma**2 * (1 + 1 / 180 + (days - days.mean()) ** 2 / spread)
        assert found["se"].to_numpy() ** 2 == pytest.approx(expected)
        assert set(found["df"]) == {178.0}


class TestResiduals:
    def test_every_kind(self, firms, rows):
        marginal = [1.0190989381, 0.97122144432, 0.90771186085, 0.85847604583, 0.79162392871]
        fitted = [0.95523893397, 0.91011325854, 0.85230057833, 0.80468709711, 0.74850301837]
        scaled = [-0.93727331305, -0.38127247021, 0.11954477417, 0.72509309181, 0.65448730489]
        assert firms.fitted("marginal")[:5] == pytest.approx(marginal, rel=1e-6)
        assert firms.fitted()[:5] == pytest.approx(fitted, rel=1e-6)
        assert firms.residuals("standardised")[:5] == pytest.approx(scaled, rel=1e-5)
        assert firms.residuals("marginal")[:5] == pytest.approx(rows["emp"][:5] - marginal, abs=1e-6)
        assert firms.residuals() * 1.0 == pytest.approx(firms.residuals("standardised") * firms.reml.sigma)
        with pytest.raises(ConfigError, match="deviance"):
            firms.residuals("deviance")

    def test_each_stratum_has_its_own_sigma(self, path):
        fit = hierreport.fit(path, "log(emp) ~ log(wage) + (1 | sector/firm)", variances="sector")
        sigmas = fit.to_dict()["extra"]["sigmas"]
        assert len(sigmas) == 9
        with path.open() as file:
            sector = [r["sector"] for r in csv.DictReader(file)]
        ratio = fit.residuals() / fit.residuals("standardised")
        assert ratio == pytest.approx([sigmas[s] for s in sector])


class TestIntervals:
    def test_three_methods(self, firms):
        wald, profile, simulated = (firms.confint(m, draws=199) for m in ("wald", "profile", "bootstrap"))
        assert list(wald["terms"]) == [f.term for f in firms.reml.fixed]
        assert list(wald["low"]) == [f.ci_low for f in firms.reml.fixed]
        assert {"fixed", "sd", "correlation", "sigma", "icc"} == set(profile["kind"])
        assert {"fixed", "sd", "correlation", "sigma", "icc", "r2"} == set(simulated["kind"])
        assert (simulated["low"] <= simulated["high"]).all()
        assert firms.confint("bootstrap", draws=199).equals(simulated)
        with pytest.raises(ConfigError, match="jackknife"):
            firms.confint("jackknife")

    def test_robust(self, path):
        fit = hierreport.fit(path, "log(emp) ~ log(wage) + log(capital) + (1 | sector/firm)", time="year")
        assert fit.robust().clusters == {"sector": 9}
        assert fit.robust("CR1").fixed[1].df == 8.0
        with pytest.raises(ModelError, match=r"coarser|finer|outermost"):
            fit.robust("CR1", "sector/firm")
        pooled = hierreport.fit(path, "log(emp) ~ log(wage) + log(capital)", time="year")
        with pytest.raises(ModelError):
            pooled.robust("CR1")


class TestVariants:
    def test_the_periods_have_labels(self, path):
        fit = hierreport.fit(path, "log(emp) ~ log(wage) + (1 | sector/firm)", time="year", crossed="year")
        found = fit.engine.effects("year")
        assert list(found["labels"][0]) == [str(y) for y in range(1976, 1985)]
        assert found["n"].sum() == fit.n_obs
        assert fit.formula.endswith("+ (1 | year)")

    def test_beside_the_climb(self, path):
        found = hierreport.ladder(
            path,
            "log(emp) ~ log(wage) + (1 | sector/firm)",
            time="year",
            variances="sector",
            crossed="year",
            errors="iid",
        )
        assert [r for r in found.rungs if r.startswith("multilevel")] == [
            "multilevel",
            "multilevel.var",
            "multilevel.time",
            "multilevel.var.time",
        ]
        pairs = {(c.null, c.alternative): c for c in found.comparisons}
        assert pairs["multilevel", "multilevel.var"].df == 8
        # A variant of two parts is tested against those of one.
        assert pairs["multilevel.time", "multilevel.var.time"].df == 8
        assert pairs["multilevel.var", "multilevel.var.time"].df == 1
        assert pairs["random_intercept", "random_intercept.time"].mixture == "0.5 chi2(0) + 0.5 chi2(1)"
        fates = {r["rung"]: r["fate"] for r in found.register}
        assert fates["multilevel.var"].startswith("fitted on request")
        assert "." not in found.choice.rung

    def test_every_combination_of_what_is_asked_for(self, path):
        formula = "log(emp) ~ log(wage) + (1 | sector/firm)"
        found = hierreport.ladder(path, formula, time="year", variances="sector", crossed="year")
        variants = {r.partition(".")[2] for r in found.rungs}
        assert variants == {"", "ar1", "var", "time", "ar1.var", "ar1.time", "var.time", "ar1.var.time"}
        assert found.choice.rung.partition(".")[2] in ("", "ar1")
        pairs = {(c.null, c.alternative): c for c in found.comparisons}
        for less, df in (("ar1.var", 1), ("ar1.time", 8), ("var.time", 1)):
            test = pairs[f"pooled.{less}", "pooled.ar1.var.time"]
            assert test.df == df and test.statistic > 0
        whole = found["multilevel.ar1.var.time"].to_dict()
        assert (whole["errors"], whole["variances"], whole["crossed"]) == ("ar1", "sector", "year")
        assert {r["level"] for r in whole["reml"]["random"]} == {"sector", "sector/firm", "year"}

    def test_a_refused_combination_stands_in_the_register(self, path):
        data = pd.read_csv(path)
        data["exact"] = np.where(data.firm == data.firm[0], "one", "rest")
        data.loc[data.exact == "one", "emp"] = 2.0
        found = hierreport.ladder(data, "log(emp) ~ 1 + (1 | firm)", time="year", variances="exact", crossed="year")
        fates = {r["rung"]: r["fate"] for r in found.register if r["loglik"] is None}
        assert "random_intercept.ar1.var.time" in fates and "pooled.ar1.time" not in fates
        assert all(fate.startswith("refused: variances: the 7 rows of stratum one") for fate in fates.values())

    def test_the_crossed_effect_takes_the_place_of_period_dummies(self, path):
        plain, dummies = (
            hierreport.ladder(
                path,
                f"log(emp) ~ log(wage) + log(capital){more} + (1 | sector/firm)",
                time="year",
                crossed="year",
                errors="iid",
            )
            for more in ("", " + C(year)")
        )
        for rung in ("pooled.time", "multilevel.time"):
            assert dummies.rungs[rung].formula == plain.rungs[rung].formula
            assert dummies.rungs[rung].ml.loglik == pytest.approx(plain.rungs[rung].ml.loglik, abs=1e-6)
        # lme4 1.1-31: lmer(log(emp) ~ log(wage) + log(capital) + (1|sector) + (1|sector:firm) + (1|year), REML = FALSE)
        assert dummies.rungs["multilevel.time"].ml.loglik == pytest.approx(288.208900462, abs=1e-6)
        test = next(c for c in dummies.comparisons if c.alternative == "multilevel.time")
        assert test.statistic is None and "in place of the fixed ones" in test.note

    def test_absorbed_effects_are_dummies(self, path):
        """A firm's and a year's own effect: the within estimator with year dummies written out."""
        formula = "log(emp) ~ log(wage) + log(capital){} + (1 | sector/firm)"
        found = hierreport.fit(path, formula.format(""), time="year").absorbed("firm", "year")
        frame = pd.read_csv(path)
        dummies = pd.get_dummies(frame[["firm", "year"]].astype(str), drop_first=True).to_numpy(float)
        x = np.column_stack([np.log(frame["wage"]), np.log(frame["capital"]), np.ones(len(frame)), dummies])
        beta = np.linalg.lstsq(x, np.log(frame["emp"]))[0]
        assert [f.term for f in found.fixed] == ["log(wage)", "log(capital)"]
        assert [f.estimate for f in found.fixed] == pytest.approx(beta[:2], rel=1e-8)
        assert found.absorbed == ["sector/firm", "year"]

    def test_refusals(self, path):
        formula = "log(emp) ~ log(wage) + (1 | sector/firm)"
        with pytest.raises(ConfigError, match="not the time column"):
            hierreport.fit(path, formula, time="year", crossed="sector")
        with pytest.raises(ConfigError, match="no column 'regoin'"):
            hierreport.fit(path, formula, variances="regoin")
