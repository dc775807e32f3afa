"""AR(1) errors with variances by stratum: against nlme, and against the density of the rows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import dense_rows
import numpy as np
import pandas as pd
import pytest

import hierreport

HERE = Path(__file__).parent
CONFIG = HERE.parent / "config" / "data"
UK = "log(emp) ~ log(wage) + log(capital) + log(output)"
US = "log(gsp) ~ log(private) + log(emp) + unemp"
# Random part in lme4's notation and in make.R's order (outermost first), strata, rows.
CASES = {
    "uk_slope_sector": (UK, "(1 + log(capital) | group)", "sector", ""),
    "uk_slope_late": (UK, "(1 + log(capital) | group)", "late", ""),
    "uk_nested_sector": (UK, "(1 | sector/group)", "sector", ""),
    "uk_holes_late": (UK, "(1 | group)", "late", "holes"),
    "uk_uneven_late": (UK, "(1 | group)", "late", "uneven"),
    "uk_pooled_sector": (UK, "", "sector", ""),
    "uk_pooled_late": (UK, "", "late", ""),
    "us_region": (US, "(1 | group)", "region", ""),
    "us_part": (US, "(1 | group)", "part", ""),
    "us_nested_late": (US, "(1 | region/group)", "late", ""),
    "us_pooled_late": (US, "", "late", ""),
    "us_holes_region": (US, "(1 | group)", "region", "holes"),
}
REFERENCE = json.loads((HERE / "combined_reference" / "nlme.json").read_text())


@cache
def panel(country: str, kind: str) -> pd.DataFrame:
    """The panel as make.R has it."""
    data = pd.read_csv(CONFIG / ("uk_firms.csv" if country == "uk" else "us_states.csv"))
    outer, inner, last = ("sector", "firm", 1979) if country == "uk" else ("region", "state", 1978)
    data["group"] = data[outer].astype(str) + "/" + data[inner].astype(str)
    data["late"] = np.where(data.year > last, "late", "early")
    data["part"] = np.array(["a", "b", "c"])[data.year % 3]
    data["time"] = data.year.astype(float)
    number = np.arange(1, len(data) + 1)
    if kind == "holes":
        data = data[number % 5 != 0]
    elif kind == "uneven":
        data["time"] += 0.25 * (number % 3 == 0)
    return data.reset_index(drop=True)


def rows(data: pd.DataFrame, formula: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outcome and columns of a formula."""

    def column(term: str) -> np.ndarray:
        term = term.strip()
        return np.log(data[term[4:-1]].to_numpy(float)) if term.startswith("log(") else data[term].to_numpy(float)

    left, right = formula.split("~")
    columns = {t.strip(): column(t) for t in right.split("+")}
    return column(left), {"(Intercept)": np.ones(len(data)), **columns}


def density(case: str, found: dict, reml: bool) -> float:
    """Log-likelihood of the rows at estimates in make.R's words."""
    formula, _, by, kind = CASES[case]
    data = panel(case[:2], kind)
    y, columns = rows(data, formula)
    parts = []
    for level, cov in (found["covariances"] or {}).items():
        cov = np.atleast_2d(cov)
        z = np.column_stack([columns[t] for t in ("(Intercept)", "log(capital)")[: len(cov)]])
        parts.append((data[level].to_numpy(), z, cov))
    sd = found["sigma"] * data[by].astype(str).map(found["ratios"]).to_numpy(float)
    v = dense_rows.covariance(parts, sd, found["rho"], data.group.to_numpy(), data.time.to_numpy())
    x = np.column_stack([columns[t] for t in found["fixef"]])
    return dense_rows.log_likelihood(y, x, np.array(list(found["fixef"].values())), v, reml)


@cache
def fitted(case: str) -> hierreport.Fit:
    formula, random, by, kind = CASES[case]
    # A pooled model's series are those of the innermost groups all the same: a ladder's lowest rung.
    random = random or "(1 | group)"
    options = {"time": "time", "variances": by, "time_step": 1.0}
    errors = "car1" if kind == "uneven" else "ar1"
    data, text = panel(case[:2], kind), f"{formula} + {random}"
    if "pooled" not in case:
        return hierreport.fit(data, text, errors=errors, **options)
    return hierreport.ladder(data, text, errors=errors, **options)[f"pooled.{errors}.var"]


def words(fit: hierreport.Fit, method: str) -> dict:
    """A fit's estimates in make.R's words."""
    record = fit.to_dict()
    estimate, sigmas = record[method.lower()], record["extra"]["sigmas_ml" if method == "ML" else "sigmas"]
    return {
        "sigma": estimate["sigma"],
        "ratios": {k: v / estimate["sigma"] for k, v in sigmas.items()},
        "rho": estimate["rho"],
        "fixef": {f["term"]: f["estimate"] for f in estimate["fixed"]},
        "covariances": {r["level"].rsplit("/", 1)[-1]: r["cov"] for r in estimate["random"]},
    }


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_nlme(case: str, method: str) -> None:
    expected = REFERENCE[case][method]
    reml, fit = method == "REML", fitted(case)
    own, estimate = words(fit, method), getattr(fit, method.lower())
    assert estimate.loglik == pytest.approx(density(case, own, reml), abs=1e-7)
    theirs = density(case, expected, reml)
    assert theirs == pytest.approx(expected["logLik"], abs=1e-6)  # the reference is read as nlme means it
    assert estimate.converged and estimate.loglik > theirs - 1e-7
    assert estimate.loglik < theirs + 1e-6  # nor did nlme stop early
    assert own["rho"] == pytest.approx(expected["rho"], abs=1e-4)
    first = next(iter(own["ratios"]))
    for stratum, ratio in expected["ratios"].items():
        assert own["ratios"][stratum] == pytest.approx(ratio / expected["ratios"][first], rel=1e-4)
