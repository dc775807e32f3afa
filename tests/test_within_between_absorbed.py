"""Absorbed effects of groups and periods against least squares with the dummies written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import case_moments
import numpy as np
import pytest
import reference_cases as references
from scipy.linalg import qr

import hierreport
from hierreport.absorbed import absorbed
from hierreport.errors import ConfigError, ModelError

R = json.loads((Path(__file__).parent / "robust_reference" / "absorbed.json").read_text())

CASES = [
    ("empluk", "sector/firm"),
    ("empluk", "sector"),
    ("produc", "region/state"),
    ("gasoline", "country"),
    ("p_dup_time", "firm"),
]


@pytest.mark.parametrize(("name", "level"), CASES)
@pytest.mark.parametrize(("groups", "time"), [(True, False), (False, True), (True, True)])
def test_absorbing_is_dummies(name, level, groups, time):
    panel = case_moments.panel(name)
    fixed = references.case(name).fixed_columns("pooled")
    periods = case_moments.period_moments(panel) if time else None
    found = absorbed(panel.moments, fixed, level, periods, groups=groups)

    keys, times = panel.keys[level], panel.time
    dummies = [keys[:, None] == np.unique(keys)] if groups else []
    dummies += [times[:, None] == np.unique(times)] if time else []
    q, r, _ = qr(np.hstack(dummies).astype(float), mode="economic", pivoting=True)
    q = q[:, np.abs(np.diag(r)) > 1e-9]
    x = panel.columns(tuple(f.term for f in found.fixed))
    x, y = x - q @ (q.T @ x), panel.y - q @ (q.T @ panel.y)
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ y
    residual = y - x @ beta
    df = len(y) - q.shape[1] - x.shape[1]
    classical = np.sqrt(np.diag(bread) * (residual @ residual) / df)
    sums = np.array([x[keys == k].T @ residual[keys == k] for k in np.unique(keys)])
    clusters = len(sums)
    counted = x.shape[1] + q.shape[1] - (clusters - 1 if groups else 0)
    factor = clusters / (clusters - 1) * (len(y) - 1) / (len(y) - counted)
    robust = np.sqrt(factor * np.diag(bread @ sums.T @ sums @ bread))

    assert [f.estimate for f in found.fixed] == pytest.approx(list(beta), rel=1e-9)
    assert [f.se for f in found.classical] == pytest.approx(list(classical), rel=1e-9)
    assert [f.se for f in found.fixed] == pytest.approx(list(robust), rel=1e-9)
    assert found.df == df and found.absorbed == [*([level] if groups else []), *(["period"] if time else [])]


def test_group_effects_agree_with_plm_within():
    panel = case_moments.panel("hedonic")
    found = absorbed(panel.moments, references.case("hedonic").fixed_columns("pooled"))
    theirs = references.case("hedonic").ref["panel"]["within"]
    assert {f.term: f.estimate for f in found.classical} == pytest.approx(theirs["coef"], rel=1e-9)
    assert {f.term: f.se for f in found.classical} == pytest.approx(theirs["se"], rel=1e-9)
    assert found.dropped == ["tax"]


def test_nothing_left_is_refused():
    panel = case_moments.panel("ratpup")
    with pytest.raises(ModelError, match="explain every predictor"):
        absorbed(panel.moments, ("(Intercept)", "Lsize"))
    with pytest.raises(ModelError, match="nothing to absorb"):
        absorbed(panel.moments, ("(Intercept)", "Lsize"), groups=False)


@pytest.mark.parametrize("theirs", R, ids=lambda t: f"{t['file']}-{'+'.join(t['absorb'])}-{t['weights']}")
def test_absorbed_effects_agree_with_r(example_data: Path, theirs: dict[str, Any]) -> None:
    """R's lm() with the dummies written out, sandwich's clustered errors; with and without weights."""
    formula = f"{theirs['formula']} + (1 | {'/'.join(theirs['keys'])})"
    fit = hierreport.fit(example_data / theirs["file"], formula, time=theirs["time"], weights=theirs["weights"])
    found = fit.absorbed(*theirs["absorb"])
    assert {f.term: f.estimate for f in found.fixed} == pytest.approx(theirs["estimate"], rel=1e-9)
    assert {f.term: f.se for f in found.fixed} == pytest.approx(theirs["clustered"], rel=1e-9)
    assert {f.term: f.se for f in found.classical} == pytest.approx(theirs["classical"], rel=1e-9)
    assert (found.df, found.sigma) == (theirs["df"], pytest.approx(theirs["sigma"], rel=1e-9))
    assert list(found.clusters.values()) == [theirs["clusters"]] and found.n_obs == fit.n_obs
    assert {f.df for f in found.fixed} == {theirs["clusters"] - 1}
    assert found.loglik == pytest.approx(theirs["loglik"], rel=1e-10)


def test_dummies_of_an_absorbed_time_are_dropped_and_names_are_checked(example_data: Path) -> None:
    formula = "log(emp) ~ log(wage) + C(year) + (1 | sector/firm)"
    fit = hierreport.fit(example_data / "uk_firms.csv", formula, time="year")
    found = fit.absorbed("firm", "year")
    assert [f.term for f in found.fixed] == ["log(wage)"]
    assert found.dropped == [f"year[{y}]" for y in range(1977, 1985)]
    assert fit.absorbed("sector/firm") == fit.absorbed() == fit.absorbed("sector", "firm")
    assert 0 < found.r2_within < 1
    with pytest.raises(ConfigError, match="'frim' is neither a group of the formula nor the time column"):
        fit.absorbed("frim")
    with pytest.raises(ConfigError, match=r"no time column is named"):
        hierreport.fit(example_data / "uk_firms.csv", formula).absorbed("year")
    with pytest.raises(ModelError, match="no groups"):
        hierreport.fit(example_data / "uk_firms.csv", "log(emp) ~ log(wage)").absorbed()
