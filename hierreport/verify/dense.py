"""Log-likelihood of a rung by brute force: dense covariance matrices of the rows, scipy's multivariate normal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .rows import Rows, random_terms


def loglik(rows: Rows, estimate: Mapping[str, Any], *, reml: bool) -> float:
    """Log-likelihood of the rows at an estimate, all constants included.

    Args:
        rows: rows of the panel.
        estimate: fixed effects, covariances, sigma, rho; with unequal variances ``variances``, the strata's name in
            ``rows.strata``, and ``sigmas``, their residual standard deviations.
        reml: the restricted likelihood (lme4's convention, with log|X'V^-1 X| and without log|X'X|) instead of the
            density of the rows.
    """
    from scipy.linalg import solve_triangular
    from scipy.stats import Covariance, multivariate_normal

    terms = [f["term"] for f in estimate["fixed"]]
    x = rows.matrix(terms)
    residual = rows.y - x @ np.array([f["estimate"] for f in estimate["fixed"]])
    if not estimate["random"] and estimate.get("rho") is None:
        return _independent(rows, x, residual, estimate, reml)
    scaled, log_scale = _standardised(x)
    total, root = 0.0, np.zeros((0, x.shape[1]))
    for block in blocks(rows, estimate):
        lower = np.linalg.cholesky(covariance(rows, estimate, block))
        total += float(multivariate_normal.logpdf(residual[block], cov=Covariance.from_cholesky(lower)))
        if reml and x.shape[1]:
            whitened = solve_triangular(lower, scaled[block], lower=True)
            root = np.asarray(np.linalg.qr(np.vstack([root, whitened]), mode="r"))
    if reml and x.shape[1]:
        logdet = 2.0 * float(np.log(np.abs(np.diag(root))).sum()) + 2.0 * log_scale
        total += 0.5 * x.shape[1] * math.log(2.0 * math.pi) - 0.5 * logdet
    return total


def _independent(rows: Rows, x: np.ndarray, residual: np.ndarray, estimate: Mapping[str, Any], reml: bool) -> float:
    """The same without random effects and serial correlation: row by row."""
    from scipy.stats import norm

    scale = deviations(rows, estimate, np.arange(len(residual)))
    value = float(norm.logpdf(residual, scale=scale).sum())
    if reml and x.shape[1]:
        root = np.linalg.qr(x / scale[:, None], mode="r")
        value += 0.5 * x.shape[1] * math.log(2.0 * math.pi) - float(np.log(np.abs(np.diag(root))).sum())
    return value


def _standardised(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Columns divided by their size, and the sum of the logs of the sizes (for the determinant)."""
    size = np.sqrt((x**2).mean(axis=0)) if len(x) else np.ones(x.shape[1])
    return x / size, float(np.log(size).sum())


def blocks(rows: Rows, estimate: Mapping[str, Any]) -> list[np.ndarray]:
    """Row numbers of every set of rows that is independent of the others."""
    levels = [level for level, _, _ in random_terms(estimate) if level in rows.codes]
    if any(level not in rows.codes for level, _, _ in random_terms(estimate)):
        return [np.arange(len(rows.y))]  # a crossed effect ties all rows together
    if not rows.codes:
        return [np.arange(len(rows.y))]
    top = min(levels or [list(rows.codes)[-1]], key=lambda path: list(rows.codes).index(path))
    codes = rows.codes[top]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def covariance(rows: Rows, estimate: Mapping[str, Any], block: np.ndarray) -> np.ndarray:
    """Covariance matrix of the outcome in a block of rows: sum over levels of Z Sigma Z', and the errors'."""
    n = len(block)
    out = np.zeros((n, n))
    for level, terms, cov in random_terms(estimate):
        z = np.column_stack([rows.columns[t][block] for t in terms])
        if level in rows.codes:
            codes = rows.codes[level][block]
        else:
            assert rows.time is not None
            codes = rows.time[block]
        out += (z @ cov @ z.T) * (codes[:, None] == codes[None, :])
    return out + errors(rows, estimate, block)


def deviations(rows: Rows, estimate: Mapping[str, Any], block: np.ndarray) -> np.ndarray:
    """Standard deviation of every row's error: sigma, or its stratum's, over the root of its weight."""
    if estimate.get("variances"):
        sd = np.array([estimate["sigmas"][s] for s in rows.strata[estimate["variances"]][block].tolist()])
    else:
        sd = np.full(len(block), estimate["sigma"])
    return sd if rows.weights is None else sd / np.sqrt(rows.weights[block])


def errors(rows: Rows, estimate: Mapping[str, Any], block: np.ndarray) -> np.ndarray:
    """Covariance matrix of the errors: independent, or AR(1) within innermost groups."""
    rho = estimate.get("rho")
    sd = deviations(rows, estimate, block)
    if rho is None:
        return np.diag(sd**2)
    assert rows.time is not None
    inner = rows.codes[list(rows.codes)[-1]][block] if rows.codes else np.zeros(len(block))
    gap = np.abs(rows.time[block][:, None] - rows.time[block][None, :])
    if rho < 0:
        gap = np.rint(gap)
    return np.outer(sd, sd) * np.where(
        inner[:, None] == inner[None, :], np.sign(rho) ** np.rint(gap) * np.abs(rho) ** gap, 0.0
    )
