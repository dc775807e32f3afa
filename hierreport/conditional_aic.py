"""The conditional Akaike information criterion: which model would predict new rows of the same groups best."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .effects import _forward
from .errors import ModelError
from .mixed import State
from .records import Record

STEP = 1e-20


@dataclass(frozen=True)
class ConditionalAIC(Record):
    """cAIC and what it is made of.

    Attributes:
        caic: −2 × conditional log-likelihood + 2 × degrees of freedom.
        loglik: log-likelihood given the predicted random effects.
        df: effective degrees of freedom with the residual variance counted as one.
        df_given_theta: the same if the variance components were known (Vaida & Blanchard 2005).
        method: ML or REML.
    """

    caic: float
    loglik: float
    df: float
    df_given_theta: float
    method: str


def conditional_aic(state: State) -> ConditionalAIC:
    """cAIC with the correction for estimated covariance parameters.

    With fitted values ŷ = y − Py, P = V⁻¹ − V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹ (relative to σ²), the degrees of freedom are tr ∂ŷ/∂y,
    the dependence of θ̂ on y included (Greven & Kneib 2010, Biometrika 97, theorem 3): by implicit differentiation of
    F_θ(θ̂, y) = 0,

        n − tr P + Σ_jk [F_θθ⁻¹]_jk ν (2 y'P_jP_ky/r² − 2 r²_k y'P_jPy/r⁴),  P_j = ∂P/∂θ_j, r² = y'Py,

    plus one for σ². A variance at zero has P_j = 0 and costs nothing, as if its term were left out. Residuals and their
    derivatives are linear combinations of the model's columns within each group, so that moments suffice.

    Raises:
        ModelError: errors with a structure of their own, or a crossed effect (the criterion is not defined there).
    """
    criterion = state.criterion
    problem, basis = criterion.problem, criterion.problem.basis
    if criterion.errors is not None or problem.crossed is not None:
        raise ModelError(
            "the conditional AIC is defined for independent errors and nested random effects.", "conditional AIC"
        )
    n, p = problem.n_obs, len(basis.x_index)
    theta, r2, nu = state.theta, state.evaluation.r2.real, criterion.nu
    # n − tr P by differentiating log|V + (s − 1)I| + log|X'(V + (s − 1)I)⁻¹X| in s.
    out = criterion.evaluate(theta / np.sqrt(1.0 + 1j * STEP), gradient=False)
    known = p - float(np.imag(out.logdet + _log_determinant(out.xx))) / STEP

    blocks = [residual_parts(state, theta.astype(complex))]
    slopes = np.zeros(len(theta))
    for j in range(len(theta)):
        step = theta.astype(complex)
        step[j] += 1j * STEP
        evaluation = criterion.evaluate(step, gradient=False)
        slopes[j] = evaluation.r2.imag / STEP
        blocks.append(residual_parts(state, step))
    inner = np.stack([blocks[0][0].real, *(b[0].imag / STEP for b in blocks[1:])])
    outer = np.stack([blocks[0][1].real, *(b[1].imag / STEP for b in blocks[1:])])
    products = np.einsum("akg,bkg->ab", inner, inner) + remainder_products(state, outer)
    extra = 0.0
    if len(theta):
        scale = np.where(state.optimum.scale > 0, state.optimum.scale, 1.0)
        inverse = np.linalg.pinv(state.optimum.hessian * np.outer(scale, scale), rcond=1e-10, hermitian=True)
        inverse *= np.outer(scale, scale)
        change = 2.0 * products[1:, 1:] / r2 - 2.0 * np.outer(products[1:, 0], slopes) / r2**2
        extra = float(nu * np.sum(inverse * change))
    variance = state.sigma**2
    squares = float(products[0, 0]) * basis.y_scale**2
    loglik = -0.5 * (n * np.log(2.0 * np.pi * variance) + squares / variance - problem.sum_log_weight)
    df = known + extra + 1.0
    method = "REML" if criterion.reml else "ML"
    return ConditionalAIC(float(-2.0 * loglik + 2.0 * df), float(loglik), float(df), float(known + 1.0), method)


def residual_parts(state: State, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The conditional residual y − Xβ − Zu at θ, in two parts whose squares add up.

    Returns:
        G b per innermost group of the model (k, G), with b the residual's coefficients in the working columns; and the
        coefficients before the innermost effects are taken out, which the remainders see. (q, groups above)
    """
    criterion = state.criterion
    problem, basis = criterion.problem, criterion.problem.basis
    evaluation = criterion.evaluate(theta, gradient=False)
    w = np.zeros((len(problem.total), 1), dtype=complex)
    w[basis.y_index] = 1.0
    w[basis.x_index, 0] = -evaluation.beta
    if not problem.levels:
        return np.zeros((0, 1)), w
    moved = replace(state, optimum=replace(state.optimum, theta=theta), evaluation=evaluation)
    steps = _forward(moved)
    assert criterion.factored is not None
    factors = criterion.parameters.factors(theta)
    for number in range(len(problem.levels) - 1, -1, -1):
        level = problem.levels[number]
        t = factors[number] @ factors[number].T
        parents = _owner(problem, number)
        d = steps[number][0]
        u = np.einsum("ab,bqg,qg->ag", t, d, w[:, parents])
        if number == 0:
            below = w[:, parents].copy()
            below[level.index] -= u
            return np.einsum("aqg,qg->ag", criterion.factored.cross, below), w
        w = w[:, parents].copy()
        w[level.index] -= u
    raise AssertionError("a model with random effects has an innermost level")


def _owner(problem, number: int) -> np.ndarray:
    """For every group of a level, the number of its group at the level above (zero at the top). (groups,)"""
    level = problem.levels[number]
    if number == len(problem.levels) - 1:
        return np.zeros(level.groups, dtype=int)
    above = problem.levels[number + 1]
    return np.searchsorted(above.starts, level.starts, side="right") - 1


def remainder_products(state: State, outer: np.ndarray) -> np.ndarray:
    """Inner products, through the remainders, of what is left before the innermost level. outer (m, q, P) -> (m, m)"""
    criterion = state.criterion
    rest = criterion.problem.total[:, :, None] if criterion.factored is None else criterion.factored.rest
    half = np.einsum("qrp,arp->aqp", rest, outer)
    return np.einsum("aqp,bqp->ab", half, outer)


def _log_determinant(matrix: np.ndarray) -> complex:
    """log|A| of a complex symmetric matrix, its imaginary part kept."""
    if not len(matrix):
        return 0.0
    sign, value = np.linalg.slogdet(matrix)
    return value + np.log(sign)
