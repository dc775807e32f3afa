"""From a file to moments through the real ingest, against the same sums made from the file by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hierreport import ingest, moments, simulate
from hierreport.source import open_source

DATA = Path(__file__).parents[1] / "config" / "data"
FORMULA = "log(emp) ~ log(wage) + log(capital) + log(output) + C(year) + (1 + log(capital) | sector/firm)"


def uk_firms() -> dict[str, np.ndarray]:
    with open(DATA / "uk_firms.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(r[name]) for r in rows]) for name in rows[0]}


def test_uk_firms():
    rows = uk_firms()
    frame = ingest.build_frame(open_source(DATA / "uk_firms.csv"), FORMULA, time="year")
    panel = moments.reduce_all(frame)
    m, lag = panel.moments, panel.lags
    years = [f"year[{y}]" for y in range(1977, 1985)]
    assert m.columns == ("(Intercept)", "log(wage)", "log(capital)", "log(output)", *years, "log(emp)")
    columns = [np.log(rows[k]) for k in ("wage", "capital", "output")]
    columns += [(rows["year"] == y).astype(float) for y in range(1977, 1985)]
    raw = np.stack([np.ones(1031), *columns, np.log(rows["emp"])], axis=1)
    w = (raw - m.shift) / m.scale
    assert len(m.n) == 140 and m.parent_products.shape == (13, 13, 9)
    names = list(zip(*(ids.tolist() for ids in m.labels), strict=True))
    for g, (sector, firm) in enumerate(names):
        here = (rows["sector"] == float(sector)) & (rows["firm"] == float(firm))
        np.testing.assert_allclose(m.products[:, :, g], w[here].T @ w[here], rtol=1e-11, atol=1e-12)
        mine = w[here][np.argsort(rows["year"][here])]
        k = np.flatnonzero(lag.group == g)
        assert lag.gap[k].tolist() == [1.0] and lag.count[k[0]] == len(mine) - 1  # no firm has a gap
        np.testing.assert_allclose(lag.now[:, :, k[0]], mine[1:].T @ mine[1:], rtol=1e-11, atol=1e-12)
        cross = mine[1:].T @ mine[:-1]
        np.testing.assert_allclose(lag.cross[:, :, k[0]], cross + cross.T, rtol=1e-11, atol=1e-12)
    assert panel.periods.periods.tolist() == [str(y) for y in range(1976, 1985)]
    assert panel.periods.count.tolist() == [int((rows["year"] == y).sum()) for y in range(1976, 1985)]
    # ordinary least squares from the moments alone, in raw units
    raw_total = raw.T @ raw
    transform = np.diag(m.scale) + np.outer(np.eye(13)[0], m.shift)
    total = transform.T @ m.products.sum(axis=2) @ transform
    np.testing.assert_allclose(total, raw_total, rtol=1e-11)


def test_a_daily_panel_with_missing_days(tmp_path):
    """Dates in days: gaps over weekends; through panel.parquet and back the moments stay what they were."""
    simulate.write(tmp_path / "stocks.parquet", sectors=3, firms=4, days=60, missing=0.3, seed=5)
    formula = "ret ~ market + volume + (1 + market | sector/firm)"
    source = open_source(tmp_path / "stocks.parquet")
    rows = {n: np.array(v) for n, v in source.con.execute(source.rows_sql()).fetchnumpy().items()}
    frame = ingest.build_frame(source, formula, time="date")
    m = moments.reduce(frame)
    lag = moments.reduce_lags(frame, m)
    assert lag.step == 1.0 and lag.unit == "day"
    days = rows["date"].astype("datetime64[D]").astype(int)
    expected: dict[tuple[int, float], int] = {}
    for g, firm in enumerate(m.labels[1]):
        for gap in np.diff(np.sort(days[rows["firm"] == firm])):
            expected[g, float(gap)] = expected.get((g, float(gap)), 0) + 1
    found = zip(lag.group.tolist(), lag.gap.tolist(), lag.count.tolist(), strict=True)
    assert {(g, gap): count for g, gap, count in found} == expected
    ingest.write_panel(frame, tmp_path / "out")
    again = moments.reduce_all(ingest.load_frame(tmp_path / "out"))
    np.testing.assert_allclose(again.moments.products, m.products, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(again.lags.cross, lag.cross, rtol=1e-12, atol=1e-12)
    assert [ids.tolist() for ids in again.moments.labels] == [ids.tolist() for ids in m.labels]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_same_bits_from_every_run(tmp_path, kind):
    path = tmp_path / f"stocks.{kind}"
    simulate.write(path, sectors=5, firms=10, days=600, seed=5, order="day")
    formula = "ret ~ market + volume + (1 + market | sector/firm)"
    files = []
    for run in range(2):
        source = open_source(path)
        frame = ingest.build_frame(source, formula, time="day")
        written = moments.write(tmp_path / str(run), moments.reduce_all(frame))
        files.append({p.name: p.read_bytes() for p in written})
    assert len(files[0]) == 5 and files[0] == files[1]
