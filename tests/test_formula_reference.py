"""Columns of the model against R's model.matrix (tests/reference/formula/make.R)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hierreport.ingest import build_frame
from hierreport.source import open_source

HERE = Path(__file__).parent / "reference" / "formula"
CASES = json.loads((HERE / "matrices.json").read_text())


@pytest.fixture(scope="module")
def source():
    return open_source(HERE / "data.csv")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["formula"][0])
def test_columns_are_those_of_r(source, case):
    frame = build_frame(source, f"y ~ {case['formula'][0]}")
    values = np.array(case["values"], dtype=float)
    names = case["names"]
    if "(Intercept)" in names:
        assert frame.fixed[0] == "(Intercept)"
        values = values[:, [n != "(Intercept)" for n in names]]
    else:
        assert "(Intercept)" not in frame.fixed
    ours = [frame.column(name) for name in frame.fixed if name != "(Intercept)"]
    assert len(ours) == values.shape[1]
    sql = ", ".join(["__row", *(f"CAST({c.sql} AS DOUBLE)" for c in ours)])
    found = np.array(frame.con.execute(f"SELECT {sql} FROM {frame.table} ORDER BY __row").fetchall(), dtype=float)
    assert found[:, 0].tolist() == case["rows"]
    np.testing.assert_allclose(found[:, 1:], values, rtol=1e-11, atol=1e-11)  # R's own poly(x, 8) is good to 1e-11


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["formula"][0])
def test_random_terms_are_coded_like_fixed_ones(source, case):
    """lme4 codes the left of a bar with model.matrix on its own, whatever the fixed part is."""
    rhs = case["formula"][0]
    frame = build_frame(source, f"y ~ 1 + ({rhs} | sector/firm)")
    fixed = build_frame(source, f"y ~ {rhs}").fixed
    for level in frame.random:
        assert level.blocks == (fixed,)
