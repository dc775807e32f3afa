"""Group means appended to moments, against the moments of rows that carry them as columns."""

from __future__ import annotations

from dataclasses import replace

import case_moments
import numpy as np
import pytest

from hierreport.errors import ModelError
from hierreport.group_means import moments_with_group_means
from hierreport.moments import Moments

X = ("lwage", "loutput")


def with_columns(panel: case_moments.Panel, level: str, weights: np.ndarray | None) -> np.ndarray:
    """Raw rows with mean(x) and within(x) before the outcome. (n, q + 4)"""
    x = panel.columns(X)
    mean = np.empty_like(x)
    for key in np.unique(panel.keys[level]):
        rows = panel.keys[level] == key
        mean[rows] = np.average(x[rows], axis=0, weights=None if weights is None else weights[rows])
    return np.column_stack([panel.w[:, :-1], mean, x - mean, panel.y])


def raw_products(moments: Moments, products: np.ndarray) -> np.ndarray:
    """Sums of products in raw columns: undo shift and scale."""
    back = np.diag(moments.scale)
    back[0] += moments.shift
    return np.einsum("ij,ikg,kl->jlg", back, products, back)


@pytest.mark.parametrize("level", ["sector", "sector/firm"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_moments_are_those_of_rows_with_the_means(level, weighted, wide):
    panel = case_moments.panel("empluk")
    weights = 0.5 + (np.arange(len(panel.w)) % 5) / 4 if weighted else None
    ids = [panel.keys["sector"], panel.keys["sector/firm"]]
    moments = case_moments.reduce_rows(panel.w, panel.moments.columns, ids, panel.moments.levels, weights)
    if wide:
        moments = replace(moments, products=moments.products[[0, 1]], z_index=np.array([0, 1]))
    found = moments_with_group_means(moments, X, level, within=True)
    names = (*panel.moments.columns[:-1], "mean(lwage)", "mean(loutput)", "within(lwage)", "within(loutput)", "lemp")
    assert found.columns == names
    rows = with_columns(panel, level, weights)
    expected = case_moments.reduce_rows(rows, names, ids, moments.levels, weights)
    ours, theirs = raw_products(found, found.parent_products), raw_products(expected, expected.parent_products)
    assert np.abs(ours - theirs).max() < 1e-11 * np.abs(theirs).max()
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    if not wide:
        ours, theirs = raw_products(found, found.products), raw_products(expected, expected.products)
        assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-10)
        assert np.array_equal(found.z_index, np.arange(len(names)))
    else:
        # Rows of the constant and of lwage, against all columns.
        back = np.diag(found.scale)
        back[0] += found.shift
        left = back[np.ix_(found.z_index, found.z_index)]
        ours = np.einsum("ij,ikg,kl->jlg", left, found.products, back)
        theirs = raw_products(expected, expected.products)[found.z_index]
        assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-10)
    if weighted:
        plain = case_moments.reduce_rows(rows, names, ids, moments.levels)
        old = [j for j, name in enumerate(names) if "(l" not in name]
        assert found.unweighted is not None
        ours = raw_products(found, found.unweighted[:, :, None])[:, :, 0]
        theirs = raw_products(plain, plain.products.sum(axis=2, keepdims=True))[:, :, 0]
        assert np.allclose(ours[np.ix_(old, old)], theirs[np.ix_(old, old)])


def test_unknown_names_are_refused():
    moments = case_moments.panel("empluk").moments
    with pytest.raises(ModelError, match="no level 'plant'"):
        moments_with_group_means(moments, X, "plant")
    with pytest.raises(ModelError, match="no predictor 'lemp'"):
        moments_with_group_means(moments, ("lemp",))
