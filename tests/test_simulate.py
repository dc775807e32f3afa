"""The generator: the same rows for a seed, the sizes asked for, and data that have the truth it states."""

from __future__ import annotations

import argparse
import gzip
import json

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from hierreport import simulate
from hierreport.errors import ConfigError

SMALL = simulate.Design(sectors=3, firms=4, days=60, missing=0.2, seed=7)


def test_same_seed_same_rows_and_another_seed_other_rows():
    first, _ = simulate.simulate(SMALL)
    again, _ = simulate.simulate(SMALL)
    other, _ = simulate.simulate(SMALL, seed=8)
    assert first.equals(again) and not first.equals(other)


@pytest.mark.parametrize("order", ["firm", "day"])
def test_chunks_do_not_change_the_panel(monkeypatch, order):
    """Small chunks: other random numbers, but the same structure; AR(1) state is carried over days."""
    monkeypatch.setattr(simulate, "CHUNK_ROWS", 100)
    table, truth = simulate.simulate(sectors=4, firms=5, days=1000, missing=0.1, rho=0.9, order=order)
    rows = table.to_pandas()
    key = ["day", "firm"] if order == "day" else ["firm", "day"]
    assert rows[key].apply(tuple, axis=1).is_monotonic_increasing
    assert not rows.duplicated(["firm", "day"]).any()
    assert truth["rows"] == len(rows) == pytest.approx(0.9 * 20_000, rel=0.02)
    assert (rows.groupby("day").market.nunique() == 1).all()
    assert rows.groupby("firm", observed=True).sector.nunique().max() == 1
    lag1 = [
        np.corrcoef(g.ret.to_numpy()[1:][(step := np.diff(g.day) == 1)], g.ret.to_numpy()[:-1][step])[0, 1]
        for _, g in rows.assign(ret=rows.ret - rows.market).groupby("firm", observed=True)
    ]
    assert np.mean(lag1) > 0.7


def test_the_rows_have_the_stated_truth():
    """Least squares firm by firm, an estimator that knows nothing of the generator."""
    table, truth = simulate.simulate(sectors=60, firms=30, days=150, missing=0.1, rho=0.5, seed=3)
    rows = table.to_pandas()
    coefficients, variances, residuals = [], [], []
    for (_, _), g in rows.groupby(["sector", "firm"], observed=True):
        x = np.stack([np.ones(len(g)), g.market, g.volume], axis=1)
        b, rss, *_ = np.linalg.lstsq(x, g.ret.to_numpy(), rcond=None)
        e = g.ret.to_numpy() - x @ b
        coefficients.append(b)
        variances.append(rss[0] / (len(g) - 3))
        step = np.diff(g.day) == 1
        residuals.append((e[1:][step] @ e[:-1][step] / step.sum()) / (e @ e / len(e)))
    b = np.array(coefficients).reshape(60, 30, 3)
    sector = b.mean(axis=1)
    fixed = sector.mean(axis=0)
    standard_error = sector.std(axis=0, ddof=1) / np.sqrt(60)
    assert np.all(np.abs(fixed - [truth["fixed"][k] for k in ("(Intercept)", "market", "volume")]) < 4 * standard_error)
    assert np.mean(variances) == pytest.approx(truth["sigma"] ** 2, rel=0.03)
    assert np.mean(residuals) == pytest.approx(truth["rho"], abs=0.04)
    firms, sectors = truth["random"][1], truth["random"][0]
    within = np.cov((b - sector[:, None])[:, :, :2].reshape(-1, 2).T) * 30 / 29
    assert np.sqrt(within[1, 1]) == pytest.approx(firms["sd"][1], rel=0.15)
    assert np.sqrt(within[0, 0]) == pytest.approx(firms["sd"][0], rel=0.15)
    assert within[0, 1] == pytest.approx(firms["corr"] * firms["sd"][0] * firms["sd"][1], rel=0.3)
    assert np.cov(sector.T)[1, 1] ** 0.5 == pytest.approx(sectors["sd"][1], rel=0.35)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz"])
def test_files_hold_the_same_rows_as_the_table(tmp_path, name):
    written = simulate.write(tmp_path / name, SMALL)
    table, truth = simulate.simulate(SMALL)
    assert written == truth == json.loads((tmp_path / "a.truth.json").read_text())
    read = pq.read_table(tmp_path / name) if name == "a.parquet" else pacsv.read_csv(tmp_path / name)
    assert read.column_names == table.column_names
    assert read["ret"].to_pylist() == table["ret"].to_pylist()
    assert read["firm"].to_pylist() == table["firm"].to_pylist()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "a.truth.json"])
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes()).startswith(b'"sector"')


def test_arguments_of_the_command_line_are_a_design(tmp_path):
    options = argparse.Namespace(out="x", sectors=2, firms=3, days=5, missing=0.0, seed=1, rho=None, command="simulate")
    truth = simulate.write(tmp_path / "a.parquet", options)
    assert truth["rows"] == 30 and truth["rho"] == 0.0


def test_extra_predictors():
    table, truth = simulate.simulate(SMALL, predictors=2)
    assert table.column_names[-2:] == ["x1", "x2"]
    assert truth["formula"] == "ret ~ market + volume + x1 + x2 + (1 + market | sector/firm)"


@pytest.mark.parametrize(
    "wrong", [{"sectors": 0}, {"missing": 1.0}, {"rho": 1.0}, {"sigma": -1.0}, {"firm_corr": 2.0}, {"order": "size"}]
)
def test_impossible_designs_are_refused(wrong):
    with pytest.raises(ConfigError):
        simulate.simulate(SMALL, **wrong)


def test_other_kinds_of_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"neither .parquet nor .csv"):
        simulate.write(tmp_path / "a.xlsx", SMALL)
