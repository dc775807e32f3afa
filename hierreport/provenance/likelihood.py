"""Log-likelihoods from the moments at recorded estimates: one evaluation each, nothing is fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..mixed import criterion_of
from ..moments import PanelMoments
from ..problem import build
from ..spec import ModelSpec


def log_likelihood(panel: PanelMoments, spec: ModelSpec, estimate: Mapping[str, Any], *, reml: bool) -> float:
    """The (restricted) log-likelihood of a model at an estimate, with lme4's constants.

    Args:
        panel: moments of the panel.
        spec: the model.
        estimate: ``ml`` or ``reml`` of a rung's JSON: fixed effects, covariances, sigma, rho; ``sigmas`` by stratum for
            unequal variances.
        reml: whether to restrict it.
    """
    if spec.crossed and panel.periods is None:
        raise ValueError("the moments by period are missing")
    periods = panel.periods if spec.crossed else None
    whole = build(panel.moments, spec, 0 if periods is None else len(periods.periods))
    basis, sigma = whole.basis, float(estimate["sigma"])
    # All columns stay in what the recursion returns; the fixed effects are put in below instead of solved for.
    bare = replace(basis, x_index=np.zeros(0, dtype=int), fixed=(), p_x=np.zeros((0, 0)))
    problem = replace(whole, basis=bare)
    criterion = criterion_of(problem, panel)
    phi = None
    if criterion.errors is not None:
        phi = criterion.errors.at(estimate["rho"], estimate.get("sigmas") or {})
    found = {r["level"]: _ordered(r, problem, r["level"]) for r in estimate["random"]}
    factors = [_root(v.to_raw @ (found[v.name] / sigma**2) @ v.to_raw.T) for v in criterion.parameters.levels]
    at = criterion.evaluate(criterion.parameters.theta(factors, phi), gradient=False)
    cross = np.asarray(at.c_total).real
    terms = {f["term"]: f["estimate"] for f in estimate["fixed"]}
    beta = np.array([terms[name] for name in basis.fixed])
    b = np.zeros(len(cross))
    b[basis.y_index] = 1.0
    if len(beta):
        right = basis.p_x @ beta
        if basis.y_shift:
            right[list(basis.fixed).index("(Intercept)")] -= basis.y_shift
        b[basis.x_index] = -right / basis.y_scale
    rest = float(b @ cross @ b) * basis.y_scale**2 / sigma**2 + float(np.real(at.logdet))
    n, p = problem.n_obs, len(beta) if reml else 0
    if p:
        information = basis.p_x.T @ cross[np.ix_(basis.x_index, basis.x_index)] @ basis.p_x
        rest += float(np.linalg.slogdet(information)[1])
    deviance = (n - p) * math.log(2 * math.pi * sigma**2) + rest - problem.moments.sum_log_weight
    return -0.5 * deviance


def _ordered(random: Mapping[str, Any], problem: Any, level: str) -> np.ndarray:
    """A level's covariance matrix with its terms in the specification's order."""
    wanted = [t for s in problem.spec.random if s.level == level for block in s.blocks for t in block]
    wanted = wanted or list(random["terms"])  # the crossed effect's intercept
    at = [random["terms"].index(t) for t in wanted]
    cov: np.ndarray = np.asarray(random["cov"], dtype=float)[np.ix_(at, at)]
    return cov


def _root(cov: np.ndarray) -> np.ndarray:
    """A lower triangular factor of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(cov)
    upper: np.ndarray = np.asarray(np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, mode="r"))
    return upper.T
