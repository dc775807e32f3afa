"""Log densities of rows at parameters that were estimated from other rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .criterion import Criterion
from .mixed import State


@dataclass(frozen=True)
class PlainParameters:
    """A model's parameters on the user's scale, to be evaluated on other rows than they were estimated from.

    Attributes:
        beta: fixed effects by term (dropped ones are missing).
        covariances: covariance of the random coefficients, innermost level first, as the criterion orders them.
        sigma: residual standard deviation.
        errors: unconstrained parameters of the error structure.
    """

    beta: dict[str, float]
    covariances: list[np.ndarray]
    sigma: float
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))


def plain_parameters(state: State) -> PlainParameters:
    """Parameters of an optimum."""
    beta = dict(zip(state.criterion.problem.basis.fixed, state.beta_raw.tolist(), strict=True))
    covariances = [state.covariance(number) for number in range(len(state.components))]
    return PlainParameters(beta, covariances, state.sigma, state.theta[state.criterion.parameters.n_lambda :])


def log_density(criterion: Criterion, parameters: PlainParameters) -> float | None:
    """Log density of all rows of a problem at given parameters (ML's constants, weights included).

    Returns:
        None where the rows need a fixed effect that the parameters do not have.
    """
    problem, basis = criterion.problem, criterion.problem.basis
    n_errors = 0 if criterion.errors is None else criterion.errors.n_par
    if any(term not in parameters.beta for term in basis.fixed) or len(parameters.errors) != n_errors:
        return None
    relative = [
        level.to_raw @ (cov / parameters.sigma**2) @ level.to_raw.T
        for level, cov in zip(criterion.parameters.levels, parameters.covariances, strict=True)
    ]
    theta = criterion.parameters.from_covariances(relative, parameters.errors)
    out = criterion.evaluate(theta, gradient=False)
    beta = np.array([parameters.beta[term] for term in basis.fixed])
    if len(beta) and basis.y_shift:
        beta[list(basis.fixed).index("(Intercept)")] -= basis.y_shift
    b = np.zeros(len(problem.total))
    b[basis.y_index] = 1.0
    b[basis.x_index] = -(basis.p_x @ beta) / basis.y_scale
    variance = (parameters.sigma / basis.y_scale) ** 2
    square = float(np.real(b @ out.c_total @ b))
    scale = 2.0 * problem.n_obs * np.log(basis.y_scale) - problem.sum_log_weight
    logs = problem.n_obs * np.log(2.0 * np.pi * variance) + float(np.real(out.logdet))
    return -0.5 * (logs + square / variance + scale)
