"""From an optimum to the record that is reported: variance components, ICC, R², information criteria, certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .inference import fixed_effects
from .records import Certificate, Estimate, RandomLevel

if TYPE_CHECKING:
    from .mixed import State


def describe(state: State, df: str = "satterthwaite") -> Estimate:
    """The record of one optimum, on the user's scale (lme4's conventions for log-likelihood, AIC and BIC)."""
    criterion = state.criterion
    deviance = state.optimum.value
    n_par = len(criterion.problem.basis.x_index) + criterion.parameters.size + 1
    fixed, cov = fixed_effects(state, df)
    shares, r2 = variance_shares(state)
    loglik = -0.5 * deviance
    certificate = certify(state)
    return Estimate(
        method="REML" if criterion.reml else "ML",
        loglik=loglik,
        deviance=deviance,
        aic=deviance + 2.0 * n_par,
        bic=deviance + np.log(criterion.problem.n_obs) * n_par,
        n_par=n_par,
        sigma=state.sigma,
        rho=state.rho,
        fixed=fixed,
        fixed_cov=cov.tolist(),
        random=random_levels(state),
        icc=shares,
        r2=r2,
        converged=certificate.message.startswith("certified"),
        singular=state.singular,
        certificate=certificate,
    )


def random_levels(state: State) -> list[RandomLevel]:
    """Covariance matrices of the random coefficients, outermost level first; a correlation with a zero sd is None."""
    out = []
    for number in range(len(state.components) - 1, -1, -1):
        level = state.components[number]
        cov = state.covariance(number)
        sd = np.sqrt(np.diag(cov))
        corr: list[list[float | None]] = [
            [
                1.0
                if i == j
                else (float(np.clip(cov[i, j] / (sd[i] * sd[j]), -1, 1)) if sd[i] > 0 and sd[j] > 0 else None)
                for j in range(level.size)
            ]
            for i in range(level.size)
        ]
        out.append(RandomLevel(level.name, list(level.terms), sd.tolist(), cov.tolist(), corr))
    return out


def variance_shares(state: State) -> tuple[dict[str, float], dict[str, float]]:
    """ICC of each level as its share of the variance averaged over the rows, and marginal and conditional R².

    Sources: Johnson (2014), Methods Ecol. Evol. 5, eq. 10, for the mean of z'Σz over rows with random slopes; Nakagawa
    & Schielzeth (2013), Methods Ecol. Evol. 4, eqs. 26 and 30, with the variance of Xβ over n − 1.

    Returns:
        ``{level: share, …, "residual": share}`` (outermost first, adding to one), ``{"marginal", "conditional"}``.
    """
    criterion = state.criterion
    problem, basis = criterion.problem, criterion.problem.basis
    moments = problem.moments
    if moments.unweighted is not None:
        gram = moments.unweighted
    elif moments.products.shape[0] == moments.products.shape[1]:
        gram = moments.products.sum(axis=2)
    else:
        gram = moments.parent_products.sum(axis=2)
    n = problem.n_obs
    by_level = {}
    for number in range(len(state.components) - 1, -1, -1):
        level = state.components[number]
        z = basis.transform[:, level.index]
        half = state.factors[number].T @ z.T
        by_level[level.name] = float(np.einsum("ij,jk,ik->", half, gram, half)) / n * state.sigma**2
    residual = state.residual_variance
    total = sum(by_level.values()) + residual
    shares = {name: value / total for name, value in by_level.items()}
    shares["residual"] = residual / total
    v = basis.transform[:, basis.x_index] @ state.evaluation.beta.real
    fixed = max(float(v @ gram @ v - (gram[0] @ v) ** 2 / n) / max(n - 1, 1) * basis.y_scale**2, 0.0)
    whole = fixed + total
    return shares, {"marginal": fixed / whole, "conditional": (whole - residual) / whole}


def certify(state: State) -> Certificate:
    """Gradient, curvature and sign conditions at the optimum, in words."""
    criterion, optimum = state.criterion, state.optimum
    if not criterion.parameters.size:
        return Certificate(0.0, None, None, 1, "certified: closed form")
    scale = optimum.scale
    hessian = optimum.hessian * np.outer(scale, scale)
    lowest = float(np.linalg.eigvalsh(hessian)[0])
    top = max(float(np.abs(hessian).max()), 1.0)
    # The decrease that a Newton step still promises is what matters: gradients have the units of the parameters.
    scaled = optimum.gradient * scale
    promise = 0.5 * float(scaled @ np.linalg.lstsq(hessian, scaled, rcond=1e-12)[0]) if np.any(scaled) else 0.0
    faults = []
    if not optimum.converged:
        faults.append(optimum.message or "the optimizer did not converge")
    if abs(promise) > 1e-6 + 1e-8 * abs(optimum.value):
        faults.append(f"a Newton step still promises a deviance lower by {promise:.2g}")
    if lowest < -1e-6 * top:
        faults.append(f"the Hessian has a negative eigenvalue ({lowest:.2g})")
    if state.boundary_slope is not None and state.boundary_slope < -1e-4:
        faults.append("the criterion decreases away from a zero variance")
    words = "certified: gradient zero to rounding, Hessian without negative eigenvalue"
    if state.boundary_slope is not None:
        words += ", zero variances on the boundary by the sign of their slope"
    if state.restarts_agree is False:
        words += "; another start ended in a worse optimum"
    return Certificate(
        optimum.gradient_norm,
        lowest,
        state.restarts_agree,
        criterion.evaluations,
        "; ".join(faults) if faults else words,
    )
