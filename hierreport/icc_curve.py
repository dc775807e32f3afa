"""Variance and intraclass correlation as functions of the covariate of a random slope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_POINTS = 41


def icc_curves(estimate: Mapping[str, Any], variables: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Share of variance at each level along every covariate that has a random slope.

    With z the row of random columns, a level's variance is z' Sigma z (Goldstein, Browne & Rasbash 2002); the other
    covariates are held at their means.

    Args:
        estimate: an estimate (``random``, ``sigma``).
        variables: mean, and min and max or sd, by column; a column that is missing here gets no curve.

    Returns:
        By column: ``x`` (grid), ``levels`` (variances by level), ``residual`` (variance), ``icc`` (shares by level).
    """
    columns = dict.fromkeys(t for level in estimate["random"] for t in level["terms"] if t != "(Intercept)")
    means = {name: float(v["mean"]) for name, v in variables.items() if v.get("mean") is not None}
    curves = {}
    for column in columns:
        grid = _grid(variables.get(column, {}))
        if grid is None:
            continue
        levels = {}
        for level in estimate["random"]:
            held = {column: grid, "(Intercept)": np.ones_like(grid)}
            z = np.array([held.get(t, np.full_like(grid, means.get(t, 0.0))) for t in level["terms"]])
            levels[level["level"]] = np.einsum("ig,ij,jg->g", z, np.asarray(level["cov"], dtype=float), z)
        residual = float(estimate["sigma"]) ** 2
        total = residual + sum(levels.values())
        curves[column] = {
            "x": grid.tolist(),
            "levels": {name: values.tolist() for name, values in levels.items()},
            "residual": residual,
            "icc": {name: (values / total).tolist() for name, values in levels.items()},
        }
    return curves


def _grid(variable: Mapping[str, float]) -> np.ndarray | None:
    """Evenly spaced points over the observed range; mean plus or minus two sd where the range is not known."""
    low, high = variable.get("min"), variable.get("max")
    if low is None or high is None:
        mean, sd = variable.get("mean"), variable.get("sd")
        if mean is None or sd is None:
            return None
        low, high = mean - 2 * sd, mean + 2 * sd
    if not high > low:
        return None
    if (low, high) == (0, 1) and variable.get("binary", False):
        return np.array([0.0, 1.0])
    return np.linspace(low, high, _POINTS)
