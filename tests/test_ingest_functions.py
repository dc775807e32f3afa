"""Lags, differences, group means and standardised columns against pandas, on a panel with gaps and missing values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hierreport.errors import HierreportError
from hierreport.ingest import build_frame
from hierreport.source import open_source

KEYS = ["sector", "firm"]


def make_panel(seed: int = 1) -> pd.DataFrame:
    """Three sectors with the same firm ids, years with gaps, rows in no order, missing values in x and w."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([["S1", "S2", "S3"], ["a", "b", "c", "d"], range(2000, 2010)])
    panel = index.to_frame(index=False, name=[*KEYS, "year"])
    n = len(panel)
    panel["x"], panel["w"] = rng.lognormal(size=n), rng.normal(3, 1, size=n)
    panel["y"] = rng.normal(size=n) + panel["x"]
    panel.loc[rng.choice(n, 7, replace=False), "x"] = np.nan
    panel.loc[rng.choice(n, 5, replace=False), "w"] = np.nan
    panel = panel.drop(index=rng.choice(n, 15, replace=False))
    return panel.sample(frac=1, random_state=3).reset_index(drop=True)


@pytest.fixture(scope="module")
def panel():
    return make_panel()


def columns_of(panel: pd.DataFrame, formula: str, **options) -> pd.DataFrame:
    """The frame's model columns by position in the panel."""
    frame = build_frame(open_source(panel), formula, **options)
    items = ", ".join(f'{c.sql} AS "c{i}"' for i, c in enumerate(frame.columns))
    found = frame.con.execute(f"SELECT __row, {items} FROM {frame.table} ORDER BY __row").df()
    found.index = found.pop("__row") - 1
    found.columns = [c.name for c in frame.columns]
    return found


def at_lag(panel: pd.DataFrame, values: pd.Series, k: int) -> pd.Series:
    """Values k years before, by looking the key up: independent of order and gaps."""
    keyed = panel[[*KEYS, "year"]].assign(value=values)
    keyed["year"] += k
    return panel[[*KEYS, "year"]].merge(keyed, how="left", on=[*KEYS, "year"])["value"]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("lag(x)", lambda p: at_lag(p, p["x"], 1)),
        ("lag(x, 1)", lambda p: at_lag(p, p["x"], 1)),
        ("lag(x, 3)", lambda p: at_lag(p, p["x"], 3)),
        ("lag(x, k=2)", lambda p: at_lag(p, p["x"], 2)),
        ("diff(x)", lambda p: p["x"] - at_lag(p, p["x"], 1)),
        ("diff(x, 2)", lambda p: p["x"] - at_lag(p, p["x"], 2)),
        ("diff(log(x))", lambda p: np.log(p["x"]) - at_lag(p, np.log(p["x"]), 1)),
        ("log(lag(x))", lambda p: np.log(at_lag(p, p["x"], 1))),
        ("lag(lag(x))", lambda p: at_lag(p, at_lag(p, p["x"], 1), 1)),
        ("lag(diff(x), 2)", lambda p: at_lag(p, p["x"] - at_lag(p, p["x"], 1), 2)),
        ("diff(diff(x))", lambda p: p["x"] - 2 * at_lag(p, p["x"], 1) + at_lag(p, at_lag(p, p["x"], 1), 1)),
        ("I(x * lag(x))", lambda p: p["x"] * at_lag(p, p["x"], 1)),
        ("I(lag(x > 1) + 0)", lambda p: at_lag(p, (p["x"] > 1).where(p["x"].notna()).astype(float), 1)),
    ],
)
def test_lags_look_back_in_time_within_the_innermost_group(panel, term, expected):
    wanted = expected(panel).dropna()
    found = columns_of(panel, f"y ~ {term} + (1 | sector/firm)", time="year")
    assert found.index.tolist() == wanted.index.tolist()
    np.testing.assert_allclose(found.iloc[:, 0], wanted, rtol=1e-12)


def test_lags_see_rows_that_the_model_does_not_use(panel):
    """x's lag is known where last year's row has no w; only this year's w matters."""
    wanted = pd.DataFrame({"lag": at_lag(panel, panel["x"], 1), "w": panel["w"]}).dropna()
    found = columns_of(panel, "y ~ lag(x) + w + (1 | sector/firm)", time="year")
    assert found.index.tolist() == wanted.index.tolist()
    last_year = at_lag(panel, panel["w"], 1)
    assert last_year[found.index].isna().any()  # some lags come from rows that are incomplete


def by_firm(p: pd.DataFrame, values: pd.Series) -> pd.Series:
    return values.groupby([p[k] for k in KEYS]).transform("mean")


def used_rows(panel: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return panel.dropna(subset=list(columns))


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("mean(x)", lambda p: p.groupby(KEYS)["x"].transform("mean")),
        ("mean(x, by=firm)", lambda p: p.groupby(KEYS)["x"].transform("mean")),  # firm means firm within sector
        ("mean(x, by=sector/firm)", lambda p: p.groupby(KEYS)["x"].transform("mean")),
        ("mean(x, by=sector)", lambda p: p.groupby("sector")["x"].transform("mean")),
        ("mean(x, by=year)", lambda p: p.groupby("year")["x"].transform("mean")),
        ("within(x)", lambda p: p["x"] - p.groupby(KEYS)["x"].transform("mean")),
        ("within(x, by=sector)", lambda p: p["x"] - p.groupby("sector")["x"].transform("mean")),
        ("within(log(x))", lambda p: np.log(p["x"]) - np.log(p["x"]).groupby([p[k] for k in KEYS]).transform("mean")),
        ("log(mean(x))", lambda p: np.log(p.groupby(KEYS)["x"].transform("mean"))),
        ("I(x - mean(x, by=sector))", lambda p: p["x"] - p.groupby("sector")["x"].transform("mean")),
        ("mean(x * within(x))", lambda p: by_firm(p, p["x"] * (p["x"] - by_firm(p, p["x"])))),
        ("scale(x)", lambda p: (p["x"] - p["x"].mean()) / p["x"].std(ddof=1)),
        ("center(x)", lambda p: p["x"] - p["x"].mean()),
        ("scale(log(x))", lambda p: (np.log(p["x"]) - np.log(p["x"]).mean()) / np.log(p["x"]).std(ddof=1)),
        ("scale(within(x))", lambda p: (d := p["x"] - p.groupby(KEYS)["x"].transform("mean")) / d.std(ddof=1)),
    ],
)  # fmt: skip
def test_sample_functions_use_the_rows_that_the_model_uses(panel, term, expected):
    used = used_rows(panel, "x", "w", "y")
    found = columns_of(panel, f"y ~ {term} + w + (1 | sector/firm)", time="year")
    assert found.index.tolist() == used.index.tolist()
    np.testing.assert_allclose(found.iloc[:, 0], expected(used), rtol=1e-11, atol=1e-13)


def test_means_of_lags(panel):
    lagged = at_lag(panel, panel["x"], 1)
    used = panel[lagged.notna() & panel["w"].notna()]
    found = columns_of(panel, "y ~ mean(lag(x)) + w + (1 | sector/firm)", time="year")
    wanted = lagged[used.index].groupby([used[k] for k in KEYS]).transform("mean")
    assert found.index.tolist() == used.index.tolist()
    np.testing.assert_allclose(found.iloc[:, 0], wanted, rtol=1e-12)


def test_the_outcome_may_be_a_difference_or_demeaned(panel):
    frame = build_frame(open_source(panel), "diff(y) ~ diff(x) + (1 | sector/firm)", time="year")
    assert frame.outcome.name == "diff(y)"
    frame = build_frame(open_source(panel), "scale(y) ~ x + (1 | sector/firm)")
    moments = f"avg({frame.outcome.sql}), stddev_samp({frame.outcome.sql})"
    mean, sd = frame.con.execute(f"SELECT {moments} FROM {frame.table}").fetchone()
    assert (abs(mean) < 1e-12, sd) == (True, pytest.approx(1, rel=1e-12))
    assert frame.means["scale(y)"] == pytest.approx(0, abs=1e-12)


def test_orthogonal_polynomials_are_orthonormal_even_of_high_degree():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"x": rng.uniform(1000, 1010, 500), "y": rng.normal(size=500)})
    p = columns_of(table, "y ~ poly(x, 12)").to_numpy()
    np.testing.assert_allclose(p.T @ p, np.eye(12), atol=1e-10)
    assert abs(p.sum(axis=0)).max() < 1e-10
    basis = np.polynomial.chebyshev.chebvander((table["x"].to_numpy() - 1005) / 5, 12)
    q, r = np.linalg.qr(basis)
    np.testing.assert_allclose(p, (q * np.sign(np.diag(r)))[:, 1:], atol=1e-10)


@pytest.mark.parametrize(
    ("formula", "options", "what"),
    [
        ("y ~ lag(x) + (1 | sector/firm)", {}, "needs to know the time"),
        ("y ~ lag(x) + (1 | sector)", {"time": "year"}, "rows repeat a key"),
        ("y ~ lag(mean(x)) + (1 | sector/firm)", {"time": "year"}, "Turn them round"),
        ("y ~ diff(scale(x)) + (1 | sector/firm)", {"time": "year"}, "Turn them round"),
        ("y ~ lag(sector) + (1 | firm)", {"time": "year"}, "is text (VARCHAR)"),
        ("y ~ lag(x, 40) + (1 | sector/firm)", {"time": "year"}, "No row of"),
        ("y ~ scale(I(0 * x)) + (1 | sector/firm)", {}, "is constant"),
        ("y ~ log(within(x)) + (1 | sector/firm)", {}, "within(x) <= 0"),
        ("y ~ C(mean(x)) + (1 | sector/firm)", {}, "cannot be a category"),
        ("y ~ poly(year, 10) + (1 | sector/firm)", {}, "more than 10 different values"),
        ("y ~ mean(x, by=nope)", {}, "no column nope"),
    ],
)
def test_refusals(panel, formula, options, what):
    with pytest.raises(HierreportError) as refused:
        build_frame(open_source(panel), formula, **options)
    assert what in str(refused.value)
