"""The engine's own density of a part of the panel, at the estimates of the whole, from moments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.kept import kept_lags
from hierreport.mixed import criterion_of
from hierreport.moments import LagMoments, Moments, PanelMoments, PeriodMoments, StratumMoments
from hierreport.problem import Problem, build
from hierreport.spec import ModelSpec
from hierreport.variants import stratum_column

from .rows import Rows, group_filter, part_sql

if TYPE_CHECKING:
    from hierreport.frame import Frame


def part_of(panel: PanelMoments, frame: Frame, rows: Rows, crossed: bool = False) -> PanelMoments:
    """Moments of the rows that were drawn: columns of the stored moments where whole groups were drawn and their full
    products are kept, else reduced anew from those rows.

    Args:
        crossed: with the moments by period too, for a crossed effect of time.
    """
    m = panel.moments
    if not crossed and not rows.strata and rows.limit is None and m.products.shape[0] == m.products.shape[1]:
        keep = group_filter(rows, m.labels)
        # The weights' logarithms are not kept by group.
        log_weight = 0.0 if rows.weights is None else float(np.log(rows.weights).sum())
        part = replace(
            m,
            labels=tuple(ids[keep] for ids in m.labels),
            n=m.n[keep],
            products=m.products[:, :, keep],
            sum_log_weight=log_weight,
        )
        return PanelMoments(part, None if panel.lags is None else kept_lags(panel.lags, keep))
    from hierreport import moments

    condition, parameters = part_sql(frame, rows.inner or (), rows.limit)
    frame.con.execute(
        f"CREATE OR REPLACE TEMP TABLE __second_opinion AS SELECT t.* FROM {frame.table} AS t {condition}", parameters
    )
    small = replace(frame, table="__second_opinion")
    part = moments.reduce(small)
    lags = None if panel.lags is None else moments.reduce_lags(small, part, panel.lags.step)
    strata = {
        name: moments.reduce_strata(
            small, part, stratum_column(frame, name), step=None if lags is None else lags.step, periods=crossed
        )
        for name in rows.strata
    }
    return PanelMoments(part, lags, moments.reduce_periods(small, part) if crossed else None, strata)


def log_density(panel: PanelMoments, part: PanelMoments, spec: ModelSpec, estimate: Mapping[str, Any]) -> float:
    """Log-density of the part's rows at an estimate, by the engine's recursion.

    Args:
        panel: moments of the whole panel (its working columns are used).
        part: moments of the part, with the same columns; its own shift and scale.
        spec: the model.
        estimate: the estimate of the whole panel.
    """
    periods = part.periods if spec.crossed else None
    whole = build(panel.moments, spec, 0 if periods is None else len(periods.periods))
    problem = _restrict(whole, _rescaled(part.moments, panel.moments))
    change = _change(part.moments, panel.moments)
    basis, sigma = whole.basis, estimate["sigma"]
    lags = None if part.lags is None else _rescaled_lags(part.lags, change)
    strata = {name: _rescaled_strata(s, change) for name, s in part.strata.items() if name == spec.variances}
    moved = PanelMoments(problem.moments, lags, None if periods is None else _rescaled_cells(periods, change), strata)
    criterion = criterion_of(problem, moved, given=True)
    if spec.variances:
        # The first stratum of the part need not be that of the whole.
        sigma = estimate["sigmas"][str(strata[spec.variances].strata[0])]
    phi = None
    if criterion.errors is not None:
        phi = criterion.errors.at(estimate.get("rho"), estimate.get("sigmas") or {})
    found = {r["level"]: np.asarray(r["cov"], dtype=float) for r in estimate["random"]}
    factors = [
        _lower_factor(level.to_raw @ (found[level.name] / sigma**2) @ level.to_raw.T)
        for level in criterion.parameters.levels
    ]
    theta = criterion.parameters.theta(factors, phi)
    at = criterion.evaluate(theta, gradient=False)
    beta = np.array([f["estimate"] for f in estimate["fixed"]])
    b = np.zeros(len(at.c_total))
    b[basis.y_index] = 1.0
    if len(basis.x_index):
        right = basis.p_x @ beta
        if basis.y_shift:
            right[list(basis.fixed).index("(Intercept)")] -= basis.y_shift
        b[basis.x_index] = -right / basis.y_scale
    quadratic = float((b @ at.c_total @ b).real) * basis.y_scale**2
    n = problem.n_obs
    deviance = (
        n * math.log(2 * math.pi * sigma**2)
        + float(np.real(at.logdet))
        + quadratic / sigma**2
        - problem.moments.sum_log_weight
    )
    return -0.5 * deviance


def _lower_factor(t: np.ndarray) -> np.ndarray:
    """A lower triangular factor of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(t)
    root: np.ndarray = np.asarray(np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, mode="r"))
    return root.T


def _restrict(whole: Problem, part: Moments) -> Problem:
    """The problem on other groups, in the same working columns; its fixed part is left to the caller."""
    levels = tuple(replace(level, starts=part.starts(part.levels.index(level.name))) for level in whole.levels)
    basis = replace(whole.basis, x_index=np.zeros(0, dtype=int), fixed=(), p_x=np.zeros((0, 0)))
    problem = replace(
        whole, levels=levels, basis=basis, moments=part, n=part.n, n_obs=part.n_obs, sum_log_weight=part.sum_log_weight
    )
    return replace(problem, total=problem.working_products(part.products).sum(axis=2))


def _change(part: Moments, whole: Moments) -> np.ndarray:
    """From the part's stored columns to the whole panel's: w_whole = w_part @ change. (q, q)"""
    change = np.diag(part.scale / whole.scale)
    change[0, 1:] += (part.shift[1:] - whole.shift[1:]) / whole.scale[1:]
    return change


def _rescaled(part: Moments, whole: Moments) -> Moments:
    if part.columns != whole.columns:
        raise ValueError("the part's moments have other columns")
    change = _change(part, whole)
    if np.array_equal(change, np.eye(len(change))):
        return part
    products = _congruent(part.products, change)
    return replace(part, shift=whole.shift, scale=whole.scale, products=products, z_index=np.arange(len(change)))


def _congruent(products: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Products of changed columns. (q, q, …)"""
    out: np.ndarray = np.einsum("ai,abg,bj->ijg", change, products, change, optimize=True)
    return out


def _rescaled_lags(lags: LagMoments, change: np.ndarray) -> LagMoments:
    if np.array_equal(change, np.eye(len(change))):
        return lags
    parts: dict[str, Any] = {
        name: _congruent(getattr(lags, name), change) for name in ("now", "cross", "before", "first")
    }
    return replace(lags, **parts)


def _rescaled_cells(cells: PeriodMoments, change: np.ndarray) -> PeriodMoments:
    return replace(cells, total=change.T @ cells.total, cell=change.T @ cells.cell)


def _rescaled_strata(strata: StratumMoments, change: np.ndarray) -> StratumMoments:
    return replace(
        strata,
        products=_congruent(strata.products, change),
        lags=None if strata.lags is None else _rescaled_lags(strata.lags, change),
        cells=None if strata.cells is None else _rescaled_cells(strata.cells, change),
    )
