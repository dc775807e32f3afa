"""Predicted random effects (BLUPs), their conditional standard deviations and prediction errors, from moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .criterion import _eliminate, group_products
from .problem import Level
from .smallmat import cholesky_lower, solve_lower, sum_of_outer

if TYPE_CHECKING:
    from .mixed import State

# Entries of the (q, q, groups) arrays that are in memory at a time.
CHUNK = 4_000_000


def random_effects(state: State) -> list[dict[str, Any]]:
    """BLUPs of every level, innermost first.

    From the outermost level down, with D = Z'V_l⁻¹W and N = T − TF⁺T of each group: u = TDw, w the part of y − Xβ not
    yet explained by outer levels; its variance is σ²N plus what it inherits from the levels above (Bates et al. 2015,
    sec. 3, for the conditional variance; Henderson 1975 for the prediction error).

    Returns:
        One dictionary per level: ``terms``, ``estimate``, ``sd`` (given β, lme4's postVar) and ``se_prediction`` (with
        β's uncertainty), each (k, groups) on the user's scale.
    """
    criterion = state.criterion
    if criterion.problem.crossed is not None:
        from .crossed_dense import DenseCrossedCriterion
        from .crossed_effects import crossed_effects

        if isinstance(criterion, DenseCrossedCriterion):
            return crossed_effects(state)
    problem, levels = criterion.problem, list(criterion.levels)
    steps = _forward(state)
    basis = problem.basis
    factors = list(state.factors)
    q = len(problem.total)
    if problem.crossed is not None:
        # The crossed factor is an outermost level of one group with a coefficient per period.
        periods = problem.crossed.groups
        index = q + np.arange(periods)
        name = problem.crossed.name
        levels.append(
            Level(name, ("(Intercept)",) * periods, index, index * 0, np.eye(periods), np.zeros(1, dtype=int))
        )
        factors[-1] = factors[-1][0, 0] * np.eye(periods)
        q += periods
    scale = basis.y_scale
    noise = (state.sigma / scale) ** 2
    w = np.zeros((q, 1))
    w[basis.y_index] = 1.0
    w[basis.x_index, 0] = -state.evaluation.beta.real
    conditional = np.zeros((q, q, 1))
    full = np.zeros((q, q, 1))
    if len(basis.x_index):
        full[np.ix_(basis.x_index, basis.x_index, np.array([0]))] = (
            noise * np.linalg.inv(state.evaluation.xx.real)[:, :, None]
        )
    out: list[dict[str, Any]] = []
    chunk = max(int(CHUNK / q**2), 1)
    parents = np.zeros(levels[-1].groups, dtype=int) if levels else np.zeros(0, dtype=int)
    for number in range(len(levels) - 1, -1, -1):
        level = levels[number]
        d, n_matrix = steps[number]
        t = factors[number] @ factors[number].T
        td = np.tensordot(t, d, axes=1)
        u = np.einsum("ajg,jg->ag", td, w[:, parents])
        own = noise * n_matrix
        var, var_full = np.empty((level.size, level.groups)), np.empty((level.size, level.groups))
        to_user = np.linalg.inv(level.to_raw) * scale
        keep = number > 0
        if keep:
            new_conditional, new_full = np.empty((q, q, level.groups)), np.empty((q, q, level.groups))
        for start in range(0, level.groups, chunk):
            part = slice(start, min(start + chunk, level.groups))
            for source, variances in ((conditional, var), (full, var_full)):
                above = source[:, :, parents[part]]
                half = np.einsum("aig,ijg->ajg", td[:, :, part], above)
                total = own[:, :, part] + np.einsum("ajg,bjg->abg", half, td[:, :, part])
                variances[:, part] = np.einsum("ca,abg,cb->cg", to_user, total, to_user, optimize=True)
                if keep:
                    target = new_conditional if source is conditional else new_full
                    target[:, :, part] = _pass_down(above, half, total, level.index)
        out.append(
            {
                "level": level.name,
                "terms": level.terms,
                "estimate": to_user @ u,
                "sd": np.sqrt(np.maximum(var, 0.0)),
                "se_prediction": np.sqrt(np.maximum(var_full, 0.0)),
            }
        )
        if keep:
            w = w[:, parents].copy()
            w[level.index] -= u
            conditional, full = new_conditional, new_full
            counts = np.diff(
                np.append(np.searchsorted(levels[number - 1].starts, level.starts), levels[number - 1].groups)
            )
            parents = np.repeat(np.arange(level.groups), counts)
    if problem.crossed is not None:
        for key in ("estimate", "sd", "se_prediction"):
            out[0][key] = out[0][key].T
        out[0]["terms"] = ("(Intercept)",)
    return out[::-1]


def _pass_down(above: np.ndarray, half: np.ndarray, total: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Covariance of w − Bu: Σ − B(TDΣ) − (TDΣ)'B' + B Var(u) B'."""
    out = above.copy()
    out[index] -= half
    out[:, index] -= half.transpose(1, 0, 2)
    for i, row in enumerate(index):
        for j, column in enumerate(index):
            out[row, column] += total[i, j]
    return out


def _forward(state: State) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per level, innermost first: D = Z'V_l⁻¹W (k, q, groups) and N = T − TF⁺T (k, k, groups)."""
    criterion = state.criterion
    problem, levels = criterion.problem, criterion.levels
    out = []
    c = np.zeros((0, 0, 0))
    for number, level in enumerate(levels):
        lam = state.factors[number]
        if number == 0 and criterion.errors is None:
            f = criterion.factored
            scaled = np.einsum("ijg,jl->ilg", f.root, lam)
            h = np.einsum("iag,jag->ijg", scaled, scaled) + np.eye(level.size)[:, :, None]
            lower = cholesky_lower(h)
            k = solve_lower(lower, f.cross)
            e = solve_lower(lower, f.root)
            # N = Λ(I + Λ'FΛ)⁻¹Λ', with its own small factor: Λ'FΛ has the same size as H but not the same entries.
            own = np.einsum("aig,ajg->ijg", scaled, scaled) + np.eye(level.size)[:, :, None]
            half = solve_lower(cholesky_lower(own), np.broadcast_to(lam.T[:, :, None], own.shape))
            out.append((np.einsum("aig,ajg->ijg", e, k), np.einsum("aig,ajg->ijg", half, half)))
            c = f.rest + sum_of_outer(k, f.starts)
            continue
        if number == 0:
            c, d, n_matrix = criterion.innermost(state.theta)
            out.append((d, n_matrix))
            continue
        if number > 1:
            c = np.add.reduceat(c, np.searchsorted(levels[number - 1].starts, level.starts), axis=2)
        c, _, n_matrix = _eliminate(c, level.index, lam)
        out.append((c[level.index], n_matrix))
    if problem.crossed is not None:
        total = c.sum(axis=2) if levels else criterion.products(state.theta)
        q = len(problem.total)
        t = state.factors[-1][0, 0] ** 2
        h = np.eye(len(total) - q) + t * total[q:, q:]
        out.append((np.linalg.solve(h, total[q:])[:, :, None], t * np.linalg.inv(h)[:, :, None]))
    return out


def separate_estimates(state: State, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares deviations of every group on its own (no pooling), given β, for the shrinkage plot.

    Args:
        number: the level, innermost first; its groups' rows are fitted by the level's coefficients alone.

    Returns:
        Deviations (k, groups) on the user's scale, NaN where a group cannot identify them; rank of Z per group.
    """
    criterion = state.criterion
    level = criterion.levels[number]
    rows = group_products(criterion.problem, level)
    basis = criterion.problem.basis
    b = np.zeros(len(criterion.problem.total))
    b[basis.y_index] = 1.0
    b[basis.x_index] = -state.evaluation.beta.real
    gram = rows[:, level.index].transpose(2, 0, 1)
    right = np.tensordot(rows, b, axes=([1], [0])).T
    values = np.linalg.eigvalsh(gram)
    rank = (values > 1e-10 * np.maximum(values[:, -1:], 1e-300)).sum(axis=1)
    good = rank == level.size
    out = np.full((level.groups, level.size), np.nan)
    out[good] = np.linalg.solve(gram[good], right[good][:, :, None])[:, :, 0]
    return np.linalg.inv(level.to_raw) @ out.T * basis.y_scale, rank
