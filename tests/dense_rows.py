"""The normal density of a panel's rows by dense covariance matrices: from the model's definition, not the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def covariance(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    sd: np.ndarray,
    rho: float | None,
    inner: np.ndarray,
    time: np.ndarray,
) -> np.ndarray:
    """V of the rows.

    Args:
        parts: random effects: group of every row (n,), design (n, k), covariance (k, k).
        sd: residual standard deviation of every row.
        rho: autocorrelation of the errors a time unit apart within ``inner`` groups; None for none.
    """
    out = np.zeros((len(sd), len(sd)))
    for codes, z, cov in parts:
        out += (z @ np.atleast_2d(cov) @ z.T) * (codes[:, None] == codes[None, :])
    if rho is None:
        return out + np.diag(sd**2)
    power = np.abs(time[:, None] - time[None, :])
    correlation = np.sign(rho) ** np.round(power) * np.abs(rho) ** power
    return out + np.outer(sd, sd) * np.where(inner[:, None] == inner[None, :], correlation, 0.0)


def log_likelihood(y: np.ndarray, x: np.ndarray, beta: np.ndarray | None, v: np.ndarray, reml: bool = False) -> float:
    """Log density of y; restricted (lme4's constants) if asked for. ``beta`` is estimated by GLS where not given."""
    lower = np.linalg.cholesky(v)
    wx, wy = np.linalg.solve(lower, x), np.linalg.solve(lower, y)
    if beta is None:
        beta = np.linalg.lstsq(wx, wy, rcond=None)[0]
    rest, n, p = wy - wx @ beta, len(y), x.shape[1] if reml else 0
    value = -0.5 * (n - p) * np.log(2 * np.pi) - np.log(np.diag(lower)).sum() - 0.5 * rest @ rest
    return float(value - (0.5 * np.linalg.slogdet(wx.T @ wx)[1] if reml else 0.0))


def of_record(
    data: Mapping[str, np.ndarray],
    codes: Mapping[str, np.ndarray],
    outcome: str,
    estimate: Mapping,
    *,
    reml: bool,
    strata: np.ndarray | None = None,
    sigmas: Mapping[str, float] | None = None,
    weights: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> float:
    """Log-likelihood of a rung's record on the rows.

    Args:
        data: columns by name; codes: groups of every row by level path, innermost last, and of the crossed effect.
        strata, sigmas: stratum of every row, and standard deviations by stratum.
    """
    n = len(data[outcome])
    columns = {**data, "(Intercept)": np.ones(n)}
    sd = np.full(n, estimate["sigma"]) if sigmas is None else np.array([sigmas[str(s)] for s in strata])
    if weights is not None:
        sd = sd / np.sqrt(weights)
    parts = [
        (codes[r["level"]], np.column_stack([columns[t] for t in r["terms"]]), np.array(r["cov"]))
        for r in estimate["random"]
    ]
    x = np.column_stack([columns[f["term"]] for f in estimate["fixed"]])
    beta = np.array([f["estimate"] for f in estimate["fixed"]])
    v = covariance(parts, sd, estimate["rho"], codes["inner"], np.zeros(n) if time is None else time)
    return log_likelihood(np.asarray(data[outcome]), x, beta, v, reml)
