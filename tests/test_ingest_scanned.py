"""Moments made in the pass that checks the rows: the products of NumPy's matrices, or left to a pass of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hierreport import ingest, moments, source


def panel(seed: int = 1, groups: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    firm = np.repeat(np.arange(groups), rng.integers(1, 9, groups))
    rows = rng.permutation(len(firm))
    sector, x = firm % 4, rng.normal(50, 3, len(firm))
    y = 1e3 + 0.2 * x + rng.normal(size=groups)[firm] + rng.normal(size=len(firm))
    frame = pd.DataFrame({"y": y, "x": x, "z": rng.normal(size=len(firm)), "firm": firm, "sector": sector})
    return frame.iloc[rows].reset_index(drop=True)


def scanned(data: pd.DataFrame, formula: str):
    return ingest.build_frame(source.open_source(data), formula, moments=True)


def raw_products(m: moments.Moments) -> np.ndarray:
    """Sums of products of [1, x, …, y] as the data have them, per group. (q, q, G)"""
    back = np.diag(m.scale)
    back[0] = m.shift
    back[0, 0] = 1.0
    return np.einsum("ia,ijg,jb->abg", back, m.products, back)


@pytest.mark.parametrize("lost", [False, True])
def test_products_are_those_of_the_rows(lost: bool) -> None:
    data = panel()
    if lost:
        data.loc[[3, 17, 40], "x"] = np.nan
        data.loc[5, "y"] = np.nan
    frame = scanned(data, "y ~ x + z + (1 + x | sector/firm)")
    assert frame.moments is not None
    m = moments.reduce(frame)
    assert m is frame.moments
    rows = data.dropna()
    found = raw_products(m)
    assert m.n.sum() == len(rows)
    for g, (sector, firm) in enumerate(zip(*m.labels, strict=True)):
        own = rows[(rows.sector.astype(str) == sector) & (rows.firm.astype(str) == firm)]
        w = np.column_stack([np.ones(len(own)), own.x, own.z, own.y])
        assert m.n[g] == len(own)
        np.testing.assert_allclose(found[:, :, g], w.T @ w, rtol=1e-12, atol=1e-9)
    assert (np.diff([int(s) for s in m.labels[0]]) >= 0).all()


@pytest.mark.parametrize(
    "formula",
    ["y ~ x:z + (1 | firm)", "y ~ C(sector) + x + (1 | firm)", "y ~ scale(x) + (1 | firm)", "y ~ 0 + x + (1 | firm)"],
)
def test_other_columns_need_a_pass_of_their_own(formula: str) -> None:
    frame = scanned(panel(), formula)
    assert frame.moments is None
    assert moments.reduce(frame).n_obs == len(panel())


def test_first_rows_far_from_the_rest() -> None:
    """The shift comes from the first rows; where they tell nothing of the rest, digits would be lost."""
    data = pd.concat([panel(), *(panel(s) for s in range(2, 30))], ignore_index=True)
    data.loc[:2500, "x"] = 1e9
    data.loc[2501:, "x"] = np.random.default_rng(1).normal(size=len(data) - 2501)
    more = pd.concat([data.iloc[:2501], *[data.iloc[2501:]] * 300], ignore_index=True)
    frame = scanned(more, "y ~ x + (1 | firm)")
    assert frame.moments is None


def test_same_bits_on_every_run() -> None:
    first, second = (scanned(panel(7, 200), "y ~ x + z + (1 | sector/firm)").moments for _ in range(2))
    assert first is not None and second is not None
    assert first.products.tobytes() == second.products.tobytes()


@pytest.mark.parametrize("lost", [False, True])
def test_halves_of_a_file_are_the_whole(lost: bool, tmp_path, monkeypatch) -> None:
    data = pd.concat([panel(s) for s in range(3)], ignore_index=True)
    if lost:
        data.loc[[3, 200], "x"] = np.nan
    path = tmp_path / "it's [one].parquet"
    data.to_parquet(path, row_group_size=50)
    formula = "y ~ x + z + (1 + x | sector/firm)"
    whole = ingest.build_frame(source.open_source(path), formula, moments=True)
    monkeypatch.setattr(source, "HALVED", 100)
    opened = source.open_source(path)
    assert len(opened.halves()) == 2
    halved = ingest.build_frame(opened, formula, moments=True)
    assert whole.moments is not None and halved.moments is not None
    assert halved.moments.n.sum() == len(data.dropna())
    np.testing.assert_array_equal(whole.moments.n, halved.moments.n)
    np.testing.assert_allclose(whole.moments.products, halved.moments.products, rtol=1e-12, atol=1e-11)
    assert [v["mean"] for v in whole.info["variables"]] == pytest.approx([v["mean"] for v in halved.info["variables"]])
    again = ingest.build_frame(source.open_source(path), formula, moments=True).moments
    assert again is not None and again.products.tobytes() == halved.moments.products.tobytes()
