"""The chosen model fitted again to changed moments, from its own optimum: a few criterion evaluations each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..criterion import Criterion, Evaluation
from ..moments import LagMoments, Moments, PanelMoments
from ..optimizer import updated
from ..problem import build
from ..spec import LevelSpec, ModelSpec

if TYPE_CHECKING:
    from .evidence import Evidence

TOLERANCE = 1e-10  # predicted decrease of the deviance at which a refit stops
MOST_STEPS = 60


@dataclass(frozen=True)
class Refit:
    """A refitted optimum, on the user's scale.

    Attributes:
        deviance: −2 log-likelihood or REML criterion.
        coefficients: fixed effects by term (aliased ones are absent).
        sigma: residual sd.
        sds: sds of the random coefficients by level.
        rho: AR(1) correlation.
        converged: the descent ended where no decrease was left.
        theta, metric: where it ended, and the inverse Hessian learnt (engine units).
    """

    deviance: float
    coefficients: dict[str, float]
    sigma: float
    sds: dict[str, list[float]]
    rho: float | None
    converged: bool
    theta: np.ndarray
    metric: np.ndarray


def specification(evidence: Evidence) -> ModelSpec:
    """The chosen rung's specification."""
    extra = (evidence.record.get("extra") or {}).get("spec")
    if extra:
        random = tuple(LevelSpec(r["level"], tuple(tuple(b) for b in r["blocks"])) for r in extra["random"])
        return ModelSpec(tuple(extra["fixed"]), random, extra["errors"], extra["variances"], extra["crossed"])
    return evidence.source.spec  # type: ignore[union-attr]


def can_refit(spec: ModelSpec) -> bool:
    """Whether this module handles the model: any nesting, independent or autoregressive errors."""
    return spec.variances is None and spec.crossed is None


def criterion_of(panel: PanelMoments, spec: ModelSpec, reml: bool) -> Criterion:
    """The criterion of a model on a panel.

    Raises:
        ModelError: the model cannot be identified from these moments.
    """
    from ..mixed import error_structure

    problem = build(panel.moments, spec)
    return Criterion(problem, reml, errors=error_structure(problem, panel))


def theta_of(criterion: Criterion, estimate: Mapping[str, Any]) -> np.ndarray:
    """θ of estimates on the user's scale, in this criterion's own units."""
    sigma2 = float(estimate["sigma"]) ** 2
    by_level = {r["level"]: np.asarray(r["cov"], float) for r in estimate.get("random") or []}
    terms = {r["level"]: list(r["terms"]) for r in estimate.get("random") or []}
    covariances = []
    for level in criterion.parameters.levels:
        order = [terms[level.name].index(t) for t in level.terms]
        cov = by_level[level.name][np.ix_(order, order)]
        covariances.append(level.to_raw @ cov @ level.to_raw.T / sigma2)
    errors = None
    if criterion.errors is not None:
        errors = criterion.errors.phi(float(estimate["rho"]))  # type: ignore[attr-defined]
    return criterion.parameters.from_covariances(covariances, errors)


def inverse_hessian(criterion: Criterion, theta: np.ndarray) -> np.ndarray:
    """Inverse of the exact Hessian, with absolute and bounded eigenvalues."""
    if not len(theta):
        return np.zeros((0, 0))
    values, vectors = np.linalg.eigh(criterion.hessian(theta))
    values = np.maximum(np.abs(values), 1e-8 * max(np.abs(values).max(initial=0.0), 1e-300))
    return (vectors / values) @ vectors.T


def descend(criterion: Criterion, theta: np.ndarray, metric: np.ndarray) -> Refit:
    """Quasi-Newton descent from a good start with a good inverse Hessian (BFGS updates)."""
    size = len(theta)
    out = criterion.evaluate(theta)
    value, gradient = float(out.value.real), np.asarray(out.gradient if size else np.zeros(0), float)
    converged = not size
    for _ in range(MOST_STEPS if size else 0):
        step = -metric @ gradient
        slope = float(step @ gradient)
        if slope > -TOLERANCE:
            converged = True
            break
        # No step moves θ by more than its own size: a variance must not jump across zero.
        t = min(1.0, 0.5 * (1.0 + np.abs(theta).max()) / max(np.abs(step).max(), 1e-300))
        for _ in range(12):
            trial = criterion.evaluate(theta + t * step)
            new = float(trial.value.real)
            if np.isfinite(new) and new <= value + 1e-4 * t * slope + 1e-12 * abs(value):
                break
            t *= 0.4
        else:
            converged = slope > -1e-6
            break
        new_gradient = np.asarray(trial.gradient, float)
        s, d = t * step, new_gradient - gradient
        curvature = float(s @ d)
        if curvature > 1e-10 * np.linalg.norm(s) * np.linalg.norm(d):
            metric = updated(metric, s, d, curvature)
        theta, value, gradient, out = theta + s, new, new_gradient, trial
    return _on_users_scale(criterion, theta, metric, out, converged)


def _on_users_scale(
    criterion: Criterion, theta: np.ndarray, metric: np.ndarray, out: Evaluation, converged: bool
) -> Refit:
    basis = criterion.problem.basis
    sigma = float(np.sqrt(out.r2.real / criterion.nu) * basis.y_scale)
    right = basis.y_scale * np.asarray(out.beta, float)
    if basis.y_shift and len(right):
        right = right.copy()
        right[list(basis.fixed).index("(Intercept)")] += basis.y_shift
    beta = np.linalg.solve(basis.p_x, right) if len(right) else right
    sds = {}
    for level, lam in zip(criterion.parameters.levels, criterion.parameters.factors(theta), strict=True):
        half = np.linalg.solve(level.to_raw, lam) * sigma
        sds[level.name] = [float(x) for x in np.sqrt((half**2).sum(axis=1))]
    rho = None
    if criterion.errors is not None:
        rho = criterion.errors.rho(theta[criterion.parameters.n_lambda :])
    coefficients = dict(zip(basis.fixed, (float(b) for b in beta), strict=True))
    return Refit(float(out.value.real), coefficients, sigma, sds, rho, converged, theta, metric)


def without(panel: PanelMoments, drop: np.ndarray) -> PanelMoments:
    """The panel's moments without some innermost groups (True in ``drop``): a subtraction.

    Only moments with full products per group can lose groups exactly.
    """
    moments = panel.moments
    keep = np.flatnonzero(~drop)
    labels = tuple(ids[keep] for ids in moments.labels)
    products = moments.products[:, :, keep]
    change = np.zeros(len(keep), dtype=bool)
    change[:1] = True
    for ids in labels[:-1]:
        change[1:] |= ids[1:] != ids[:-1]
    parents = np.add.reduceat(products, np.flatnonzero(change), axis=2)
    smaller = replace(moments, labels=labels, n=moments.n[keep], products=products, parent_products=parents)
    lags = None if panel.lags is None else _lags_without(panel.lags, drop, keep)
    return PanelMoments(smaller, lags)


def _lags_without(lags: LagMoments, drop: np.ndarray, keep: np.ndarray) -> LagMoments:
    number = np.cumsum(~drop) - 1
    rows = np.flatnonzero(~drop[lags.group])
    return replace(
        lags,
        group=number[lags.group[rows]],
        gap=lags.gap[rows],
        count=lags.count[rows],
        now=lags.now[:, :, rows],
        cross=lags.cross[:, :, rows],
        before=lags.before[:, :, rows],
        first=lags.first[:, :, keep],
    )


def select_columns(panel: PanelMoments, names: Sequence[str]) -> PanelMoments:
    """The same moments on some of the columns, the last one being the outcome (full products)."""
    moments: Moments = panel.moments
    place = {name: j for j, name in enumerate(moments.columns)}
    index = np.array([place[name] for name in names])

    def part(array: np.ndarray) -> np.ndarray:
        return array[index][:, index]

    smaller = replace(
        moments,
        columns=tuple(names),
        shift=moments.shift[index],
        scale=moments.scale[index],
        products=part(moments.products),
        z_index=np.arange(len(index)),
        parent_products=part(moments.parent_products),
        unweighted=None if moments.unweighted is None else part(moments.unweighted),
    )
    lags = panel.lags
    if lags is not None:
        lags = replace(
            lags, now=part(lags.now), cross=part(lags.cross), before=part(lags.before), first=part(lags.first)
        )
    return PanelMoments(smaller, lags)
