"""Without the most influential groups: found at the estimated variances, then left out and the model refitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diagnostics.deletion import at_fixed_variances
from ..diagnostics.evidence import Evidence, group_labels
from ..diagnostics.gls import full_products
from ..diagnostics.posterior import to_stored
from ..diagnostics.refit import without
from ..diagnostics.words import listed
from ..errors import ModelError
from ..further import MOST, Further
from ..said import whole
from .basis import Basis
from .given import on_fewer_rows
from .judge import Analysis

TOO_MANY = 20_000  # groups: none of so many can matter, and ranking them would take long


def without_groups(basis: Basis, planned: Further) -> Analysis:
    """Without the most influential group of a level, or the most influential 5 % of groups (at most 10)."""
    moments = basis.panel.moments
    level, _, count = planned.name.removeprefix("groups:").rpartition(":")
    starts, k = moments.starts(moments.levels.index(level)), int(count)

    def make() -> dict[str, Any]:
        order = ranking(basis, level)
        worst = order[:k]
        ends = np.append(starts[1:], len(moments.n))
        drop = np.zeros(len(moments.n), dtype=bool)
        for g in worst:
            drop[starts[g] : ends[g]] = True
        panel = without(basis.panel, drop)
        labels = group_labels(moments, level)
        left = [labels[g] for g in worst]
        told = f"Left out: {listed(left, MOST)} ({whole(int(moments.n[drop].sum()))} rows)."
        return on_fewer_rows(basis, panel, what=told, details={"level": level, "groups": left})

    return basis.analysis(planned, make)


def ranking(basis: Basis, level: str) -> np.ndarray:
    """Groups of a level, those first that move the main coefficients most: Cook's distance over them, at the estimated
    variances.

    Raises:
        ModelError: too many groups; a wide panel, whose moments keep no full products per group.
    """
    moments, estimate = basis.panel.moments, basis.record["reml"]
    record = dict(basis.record)
    evidence = Evidence(basis.frame.info, basis.chosen, record, basis.frame, basis.panel, basis.rungs[basis.chosen])
    count = len(moments.starts(moments.levels.index(level)))
    if count > TOO_MANY:
        raise ModelError(f"{count:,} groups of {level} are too many to rank, and each too small a share to matter.")
    products = full_products(evidence)
    if products is None:
        raise ModelError(f"with {len(moments.columns)} columns the moments keep no full products per group.", "moments")
    terms = [e["term"] for e in estimate["fixed"]]
    if evidence.random:
        change = at_fixed_variances(evidence, products, level, terms)
    else:
        change = _pooled(basis, products, level, terms)
    places = [terms.index(t) for t in basis.main]
    cov = np.asarray(estimate["fixed_cov"], float)[np.ix_(places, places)]
    shift = np.nan_to_num(change[:, places])
    cook = np.einsum("gi,ij,gj->g", shift, np.linalg.pinv(cov, hermitian=True), shift)
    return np.argsort(-cook, kind="stable")


def _pooled(basis: Basis, products: np.ndarray, level: str, terms: list[str]) -> np.ndarray:
    """Change of least-squares coefficients, full minus without each group. (groups, p)"""
    moments = basis.panel.moments
    half = to_stored(moments, [*terms, moments.columns[-1]])
    by_group = np.add.reduceat(products, moments.starts(moments.levels.index(level)), axis=2)
    total = by_group.sum(axis=2)

    def solve(gram: np.ndarray) -> np.ndarray:
        gram = half.T @ gram @ half
        unit = np.sqrt(np.maximum(np.diag(gram), 1e-300))
        gram = gram / np.outer(unit, unit)
        return np.linalg.lstsq(gram[:-1, :-1], gram[:-1, -1], rcond=1e-12)[0] * unit[-1] / unit[:-1]

    full = solve(total)
    return np.array([full - solve(total - by_group[:, :, g]) for g in range(by_group.shape[2])])
