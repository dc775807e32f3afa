"""Residuals over time and their autocorrelation, against the rows and against dense matrices."""

from __future__ import annotations

import diagnostic_panels as panels
import numpy as np
import pandas as pd
import pytest
from test_diagnostics import projected

from hierreport.diagnostics import over_time
from hierreport.diagnostics import rows as rows_module


def panel(seed: int = 3, rho: float = 0.0, firms: int = 60, years: int = 12) -> pd.DataFrame:
    """Firms with a baseline each, one year in eight missing at random."""
    rng = np.random.default_rng(seed)
    parts = []
    for firm in range(firms):
        e = rng.normal(size=years)
        for t in range(1, years):
            e[t] = rho * e[t - 1] + np.sqrt(1 - rho**2) * e[t]
        x = rng.normal(size=years)
        parts.append(pd.DataFrame({"firm": f"f{firm}", "year": 2000 + np.arange(years), "x": x, "e": e}))
        parts[-1]["y"] = rng.normal() + 0.5 * x + e
    data = pd.concat(parts)
    # in the order in which the stages keep a panel
    return data[rng.random(len(data)) > 1 / 8].sort_values(["firm", "year"]).reset_index(drop=True)


def products(data: pd.DataFrame, value: str, lag: int) -> np.ndarray:
    """Products of values of a firm that are ``lag`` years apart, by a join on the year."""
    later = data.assign(year=data["year"] - lag)
    both = data.merge(later, on=["firm", "year"], suffixes=("", "_later"))
    return (both[value] * both[f"{value}_later"]).to_numpy()


def test_autocorrelation_is_that_of_the_rows() -> None:
    data = panel()
    e = panels.evidence(data, "y ~ x + (1 | firm)", time="year")
    found = over_time.autocorrelation(e)
    rows = e.rows.query("SELECT row, residual FROM hr_rows ORDER BY row")
    data["residual"] = rows["residual"]
    square = float((data["residual"] ** 2).mean())
    assert found["lag"] == list(range(1, 11)) and found["raw"] is None and found["rows"] == len(data)
    for k, pairs, r in zip(found["lag"], found["pairs"], found["r"], strict=True):
        theirs = products(data, "residual", k)
        assert pairs == len(theirs)
        assert r == pytest.approx(theirs.mean() / square, rel=1e-9)


@pytest.mark.parametrize("name", ["sleepstudy", "jtrain"])
def test_what_independent_errors_would_show_is_the_dense_models(name: str) -> None:
    e = panels.reference(name)
    m = panels.dense(e)
    covariance, _ = projected(m)
    found = over_time.autocorrelation(e)
    apart = m["time"][:, None] - m["time"][None]
    for k, pairs, expected in zip(found["lag"], found["pairs"], found["expected"], strict=True):
        mine = m["same"] & (apart == k)
        assert pairs == mine.sum()
        # the posterior of the group's own columns leaves out a share of what the common coefficients tie together
        assert expected == pytest.approx(covariance[mine].mean() / np.diag(covariance).mean(), abs=0.02)


def test_ar1_errors_leave_innovations_without_memory() -> None:
    data = panel(rho=0.7, firms=150)
    e = panels.evidence(data, "y ~ x + (1 | firm)", time="year", errors="ar1")
    found = over_time.autocorrelation(e)
    band = 3.5 / np.sqrt(found["pairs"])
    assert np.all(np.abs(found["r"] - found["expected"]) < band)
    assert found["raw"][0] > 0.4 and found["raw"][0] > found["raw"][1] > found["raw"][3]
    plain = over_time.autocorrelation(panels.evidence(data, "y ~ x + (1 | firm)", time="year"))
    assert plain["r"][0] - plain["expected"][0] > 10 / np.sqrt(plain["pairs"][0])  # and independent errors do not


def test_large_panels_are_read_by_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_time, "ROWS", 200)
    data = panel()
    found = over_time.autocorrelation(panels.evidence(data, "y ~ x + (1 | firm)", time="year"))
    every = -(-len(data) // 200)
    kept = sorted(data["firm"].unique())[::every]
    assert found["rows"] == data["firm"].isin(kept).sum()


def test_periods_have_the_rows_means_and_quantiles() -> None:
    data = panel()
    e = panels.evidence(data, "y ~ x + (1 | firm)", time="year")
    found = over_time.by_period(e)
    data["residual"] = e.rows.query("SELECT row, residual FROM hr_rows ORDER BY row")["residual"]
    by = data.groupby("year")["residual"]
    assert found["value"] == "residual" and found["periods"] == 12 and list(found["first"]) == list(range(12))
    assert list(found["n"]) == by.size().tolist()
    assert found["mean"] == pytest.approx(by.mean().to_numpy(), rel=1e-9, abs=1e-12)
    assert found["q25"] == pytest.approx(by.quantile(0.25).to_numpy(), rel=1e-9)
    assert found["q95"] == pytest.approx(by.quantile(0.95).to_numpy(), rel=1e-9)


def test_many_periods_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_time, "PERIODS", 5)
    data = panel()
    found = over_time.by_period(panels.evidence(data, "y ~ x + (1 | firm)", time="year"))
    assert list(found["first"]) == [0, 3, 6, 9] and sum(found["n"]) == len(data)
    assert found["n"][0] == (data["year"] < 2003).sum()


def test_no_time_no_picture_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    e = panels.evidence(panel(), "y ~ x + (1 | firm)")
    assert over_time.by_period(e) is None and over_time.autocorrelation(e) is None


def test_a_view_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    e = panels.evidence(panel(), "y ~ x + (1 | firm)", time="year", errors="ar1")
    table = over_time.autocorrelation(e)
    monkeypatch.setattr(rows_module, "TABLE_LIMIT", 100)
    e.rows = rows_module.RowPass(e)
    assert not e.rows.exact
    view = over_time.autocorrelation(e)
    for name in ("r", "expected", "raw"):
        assert view[name] == pytest.approx(table[name], rel=1e-9)
