"""Predicted random effects of a crossed model, from its products through V⁻¹."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .crossed_dense import DenseCrossedCriterion

if TYPE_CHECKING:
    from .mixed import State


def crossed_effects(state: State) -> list[dict[str, Any]]:
    """As ``effects.random_effects``, of the nested levels and the crossed factor alike.

    With Q = Z'V⁻¹Z: u = TZ'V⁻¹(y − Xβ), variances σ²(T − TQT) given β, and TZ'V⁻¹X Var(β) X'V⁻¹ZT more with its
    uncertainty (Henderson 1975).
    """
    criterion = state.criterion
    assert isinstance(criterion, DenseCrossedCriterion)
    problem, basis = criterion.problem, criterion.problem.basis
    at = criterion.solved(state.factors)
    noise = (state.sigma / basis.y_scale) ** 2
    b = np.zeros(len(problem.total))
    b[basis.y_index] = 1.0
    b[basis.x_index] = -state.evaluation.beta.real
    x_cov = noise * np.linalg.inv(state.evaluation.xx.real)
    out = []
    for number, level in enumerate(problem.components):
        to_user = np.linalg.inv(level.to_raw) * basis.y_scale
        predicted = np.tensordot(to_user @ state.factors[number] @ state.factors[number].T, at.r[number], axes=1)
        x_part = predicted[:, basis.x_index]
        own = np.einsum("ab,bcg,ac->ag", to_user, at.conditional(number), to_user, optimize=True)
        more = np.einsum("apg,pr,arg->ag", x_part, x_cov, x_part, optimize=True)
        out.append(
            {
                "level": level.name,
                "terms": level.terms,
                "estimate": np.einsum("aqg,q->ag", predicted, b),
                "sd": np.sqrt(np.maximum(noise * own, 0.0)),
                "se_prediction": np.sqrt(np.maximum(noise * own + more, 0.0)),
            }
        )
    return out
