"""The whole path, from a CSV file and a formula to the numbers of R; and the degenerate cases as they should end."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import reference_cases as references

import hierreport
from hierreport.errors import HierreportError

EVERY = [*references.fitted_models(), *references.pooled_models()]


@cache
def fitted(name: str, model: str) -> hierreport.api.Fit:
    case = references.case(name)
    return hierreport.fit(case.path, case.formula(model))


def r_result(name: str, model: str, kind: str) -> dict:
    result = references.case(name).ref["models"][model]
    return result.get(kind, result)


# A model that uses fewer columns than the case keeps rows that R's listwise deletion over all models dropped.
def same_rows(name: str, model: str) -> bool:
    return fitted(name, model).n_obs == r_result(name, model, "ML")["n"]


@pytest.mark.parametrize(("name", "model"), EVERY)
def test_from_file_to_r(name, model):
    found = fitted(name, model)
    if not same_rows(name, model):
        assert name in ("jtrain", "p_missing") or "missing" in references.case(name).spec["stresses"]
        assert found.n_obs > r_result(name, model, "ML")["n"]
        return
    for kind, estimate in (("ML", found.ml), ("REML", found.reml)):
        theirs = r_result(name, model, kind)
        loglik = theirs["logLik"] if kind == "ML" or "logLik_REML" not in theirs else theirs["logLik_REML"]
        assert estimate.loglik >= loglik - 1e-8 * max(1.0, abs(loglik))
        if estimate.loglik > loglik + 1e-5:
            continue  # a better optimum than R's is proved in test_reference_engine
        coefficients = theirs.get("fixef", theirs.get("coef"))
        assert {f.term for f in estimate.fixed} == {t for t, v in coefficients.items() if v is not None}
        for effect in estimate.fixed:
            se = theirs["se"][effect.term]
            assert abs(effect.estimate - coefficients[effect.term]) <= 1e-4 * se
            if kind == "REML" or "ML" in references.case(name).ref["models"][model]:
                assert effect.se == pytest.approx(se, rel=1e-4)


@pytest.mark.parametrize("name", [n for n in references.names() if references.case(n).spec["kind"] == "ladder"])
def test_structure_of_the_panel(name):
    """Group counts at every level, ids reused across parents included."""
    case = references.case(name)
    main = case.spec["models"][-1]["id"]
    levels = {"/".join(part["level"]) for part in case.model(main)["random"]}
    for path, count in fitted(name, main).groups.items():
        assert path in levels
        if same_rows(name, main):
            assert count == case.ref["data"]["groups"][path]["n_groups"]


def refit(name: str, formula: str, **options) -> hierreport.api.Fit:
    return hierreport.fit(references.case(name).path, formula, **options)


class TestDegenerate:
    """``expect`` of the pathological cases."""

    def test_singletons_only(self):
        with pytest.raises(HierreportError, match="180 groups"):
            refit("p_all_singletons", "Reaction ~ Days + (1 | Subject)")

    def test_one_group(self):
        with pytest.raises(HierreportError, match=r"\b1 group|single"):
            refit("p_constant_group", "Reaction ~ Days + (1 | Subject)")

    def test_two_groups_are_fitted_with_a_warning(self):
        found = fitted("p_two_groups", "ri")
        assert found.groups == {"Subject": 2}
        assert any("2 groups" in text or "few groups" in text for text in found.warnings)

    def test_no_variance_between_groups_is_singular(self):
        found = fitted("p_within_only", "ri")
        assert found.reml.singular
        assert found.ml.singular
        assert found.reml.random[0].sd == [0.0]
        assert found.reml.icc["Batch"] == 0.0
        y = references.case("p_within_only").matrix(("Yield",))[:, 0]
        assert found.reml.sigma == pytest.approx(y.std(ddof=1), rel=1e-10)
        assert np.abs(found.effects("Batch")["estimate"]).max() == 0.0
        assert any("singular" in text for text in found.warnings)

    def test_an_aliased_column_is_dropped_and_named(self):
        whole = "gsp ~ private + emp + hwy + water + other + unemp{} + (1 | region:state)"
        found, clean = refit("p_collinear", whole.format(" + hwy2")), refit("p_collinear", whole.format(""))
        assert "hwy2" not in found.reml.coefficients()
        assert any("hwy2" in text for text in found.warnings)
        assert found.ml.loglik == pytest.approx(clean.ml.loglik, rel=1e-12)
        assert found.ml.n_par == clean.ml.n_par
        theirs = references.case("produc").ref["models"]["ri"]["ML"]
        assert found.ml.loglik == pytest.approx(theirs["logLik"], rel=1e-9)

    def test_duplicate_times_are_reported_and_refuse_serial_correlation(self):
        formula = "inv ~ value + capital + (1 | firm)"
        found = refit("p_dup_time", formula, time="year")
        assert found.ml.loglik == pytest.approx(r_result("p_dup_time", "ri", "ML")["logLik"], rel=1e-9)
        assert any("4" in text and ("year" in text or "time" in text) for text in found.warnings)
        with pytest.raises(HierreportError, match=r"year|time"):
            refit("p_dup_time", formula, time="year", errors="ar1")

    def test_missing_values_are_counted(self):
        found = refit("p_missing", "Reaction ~ Days + (1 + Days | Subject)")
        expected = references.case("p_missing").ref["data"]
        assert found.n_obs == expected["n_used"]
        assert found.groups["Subject"] == expected["groups"]["Subject"]["n_groups"]
        assert found.frame.info["rows_dropped"] == expected["n_dropped"]
        missing = {k: v for k, v in found.frame.info["missing"].items() if v}
        assert missing == expected["missing_by_column"]
        assert "335" in str(found.frame.info["groups_lost"])
        theirs = r_result("p_missing", "rs", "REML")
        assert found.reml.loglik == pytest.approx(theirs["logLik"], rel=1e-9)

    @pytest.mark.parametrize("model", ["null", "ri", "rs_diag", "rs"])
    @pytest.mark.parametrize("kind", ["ML", "REML"])
    def test_a_tiny_outcome_only_changes_units(self, model, kind):
        """The outcome times 1e-9, exactly: log-likelihoods shift by n log(1e9), by (n - p) log(1e9) under REML."""
        case, clean = references.case("p_yscale"), references.case("sleepstudy")
        found = getattr(hierreport.fit(case.path, clean.formula(model)), kind.lower())
        truth = case.ref["truth"][model][kind]
        assert found.loglik == pytest.approx(truth["logLik"], rel=1e-10)
        assert found.sigma == pytest.approx(truth["sigma"], rel=1e-6)
        assert found.coefficients() == pytest.approx(truth["fixef"], rel=1e-6, abs=1e-20)
        for level in found.random:
            sds = [sd for part in truth["varcorr"] for sd in part["sd"]]
            assert sorted(level.sd) == pytest.approx(sorted(sds), rel=1e-5, abs=1e-20)

    def test_a_constant_outcome(self, tmp_path):
        path = tmp_path / "flat.csv"
        path.write_text("y,x,g\n" + "".join(f"3,{i % 7},{i % 5}\n" for i in range(40)))
        with pytest.raises(HierreportError, match="constant"):
            hierreport.fit(path, "y ~ x + (1 | g)")

    @pytest.mark.parametrize("size", [1e-200, 1e200])
    @pytest.mark.parametrize("column", ["y", "x"])
    def test_values_that_cannot_be_squared(self, tmp_path, size, column):
        rng = np.random.default_rng(1)
        rows = [{"y": rng.normal(), "x": rng.normal(), "g": i % 5} for i in range(40)]
        text = "".join(
            f"{r['y'] * (size if column == 'y' else 1)!r},{r['x'] * (size if column == 'x' else 1)!r},{r['g']}\n"
            for r in rows
        )
        (tmp_path / "d.csv").write_text("y,x,g\n" + text)
        with pytest.raises(HierreportError, match=f"The values of {column} are too (small|large) to be squared"):
            hierreport.fit(tmp_path / "d.csv", "y ~ x + (1 | g)")

    @pytest.mark.parametrize("value", ["0", "3", "1e9"])
    def test_a_constant_predictor_is_dropped_and_named(self, tmp_path, value):
        rng = np.random.default_rng(1)
        rows = [f"{rng.normal()!r},{rng.normal()!r},{value},{i % 5}\n" for i in range(40)]
        (tmp_path / "d.csv").write_text("y,x,k,g\n" + "".join(rows))
        with_it, without = (
            hierreport.fit(tmp_path / "d.csv", f"y ~ x{more} + (1 | g)") for more in (" + k + I(0 * x)", "")
        )
        assert with_it.ml.loglik == pytest.approx(without.ml.loglik, rel=1e-12)
        assert list(with_it.ml.coefficients()) == list(without.ml.coefficients())
        assert any(text.startswith("k was dropped") for text in with_it.warnings)

    def test_more_columns_than_rows(self, tmp_path):
        path = tmp_path / "wide.csv"
        names = [f"x{j}" for j in range(12)]
        rng = np.random.default_rng(0)
        rows = ["y,g," + ",".join(names)]
        rows += [f"{rng.normal()},{i % 4}," + ",".join(str(v) for v in rng.normal(size=12)) for i in range(9)]
        path.write_text("\n".join(rows))
        with pytest.raises(HierreportError, match="rows"):
            hierreport.fit(path, f"y ~ {' + '.join(names)} + (1 | g)")


class TestUnits:
    """A predictor times 1e6, an outcome plus 1e6, calendar years as a slope: only the units change."""

    @staticmethod
    def frame(days: float = 1.0, year: float = 0.0, outcome: float = 0.0):
        import pyarrow as pa

        case = references.case("sleepstudy")
        return pa.table(
            {
                "y": case.matrix(("Reaction",))[:, 0] + outcome,
                "x": case.matrix(("Days",))[:, 0] * days + year,
                "g": case.keys("Subject"),
            }
        )

    def test_predictor_times_a_million(self):
        plain, scaled = (hierreport.fit(self.frame(days=k), "y ~ x + (1 + x | g)") for k in (1, 1e6))
        assert scaled.ml.loglik == pytest.approx(plain.ml.loglik, rel=1e-12)
        assert scaled.reml.random[0].sd[1] == pytest.approx(plain.reml.random[0].sd[1] / 1e6, rel=1e-7)
        assert scaled.reml.coefficients()["x"] == pytest.approx(plain.reml.coefficients()["x"] / 1e6, rel=1e-9)

    def test_outcome_plus_a_million(self):
        plain, moved = (hierreport.fit(self.frame(outcome=k), "y ~ x + (1 + x | g)") for k in (0, 1e6))
        assert moved.ml.loglik == pytest.approx(plain.ml.loglik, rel=1e-9)
        assert moved.reml.coefficients()["(Intercept)"] - 1e6 == pytest.approx(
            plain.reml.coefficients()["(Intercept)"], rel=1e-7
        )
        assert moved.reml.random[0].sd == pytest.approx(plain.reml.random[0].sd, rel=1e-5)

    def test_calendar_years_as_a_slope(self):
        plain, moved = (hierreport.fit(self.frame(year=k), "y ~ x + (1 + x | g)") for k in (0, 2010))
        assert moved.ml.loglik == pytest.approx(plain.ml.loglik, rel=1e-10)
        assert moved.reml.random[0].sd[1] == pytest.approx(plain.reml.random[0].sd[1], rel=1e-6)
        # the covariance of the raw coefficients, by hand: the intercept of the year 0 is u0 - 2010 u1
        cov = np.array(plain.reml.random[0].cov)
        back = np.array([[1.0, -2010.0], [0.0, 1.0]])
        assert np.array(moved.reml.random[0].cov) == pytest.approx(back @ cov @ back.T, rel=1e-6)
        assert moved.ml.converged
        assert not moved.ml.singular
