"""Starting values: a method of moments for each level, from the innermost upwards."""

from __future__ import annotations

import numpy as np

from .criterion import Criterion, _eliminate, factor
from .problem import Level
from .smallmat import cholesky_lower, solve_lower, sum_of_outer

FLOOR = 0.05


def moment_start(criterion: Criterion) -> list[np.ndarray]:
    """Λ of every level (innermost first) from E[hh'/σ²] = F T F + F, h = Z'V⁻¹(y − Xβ), F = Z'V⁻¹Z.

    The equation is solved for T by least squares over the level's groups; eigenvalues below a floor (5 % of the noise
    level, halved at each level) are lifted to it: a zero variance is a stationary point that a descent cannot leave.
    """
    problem = criterion.problem
    levels = problem.levels
    if not levels:
        return []
    f = criterion.factored
    if f.cross.shape[1] > len(problem.total):  # a crossed factor's columns, which are not part of the start
        f = factor(problem)
    rest = f.rest.sum(axis=2)
    within = [j for j in problem.basis.x_index if rest[j, j] > 1e-9 * problem.total[j, j]]
    b_within = residual_vector(rest, within, problem.basis.y_index)
    freedom = max(problem.n_obs - int(f.rank.sum()) - len(within), 1)
    noise = max(float(b_within @ rest @ b_within) / freedom, 1e-10)

    rows = np.einsum("aig,ajg->ijg", f.root, f.cross)  # Z'W
    # Coefficients seen within groups are taken from there: large group effects spoil the pooled ones.
    b = b_within.copy()
    others = [j for j in problem.basis.x_index if j not in within]
    if others:
        target = problem.total @ b
        b[others] = -np.linalg.lstsq(problem.total[np.ix_(others, others)], target[others], rcond=None)[0]
    out = [_solve_level(levels[0], rows, b, noise, FLOOR)]
    c = np.zeros((0, 0, 0))
    for number in range(1, len(levels)):
        below, level = levels[number - 1], levels[number]
        if number == 1:
            scaled = np.matmul(out[0].T, f.root)
            h = np.einsum("iag,jag->ijg", scaled, scaled) + np.eye(below.size)[:, :, None]
            c = f.rest + sum_of_outer(solve_lower(cholesky_lower(h), f.cross), f.starts)
        else:
            c, _, _ = _eliminate(c, below.index, out[-1])
            c = np.add.reduceat(c, np.searchsorted(below.starts, level.starts), axis=2)
        b = residual_vector(c.sum(axis=2), list(problem.basis.x_index), problem.basis.y_index)
        out.append(_solve_level(level, c[level.index], b, noise, FLOOR * 0.5**number))
    return out


def residual_vector(gram: np.ndarray, columns: list[int], y: int) -> np.ndarray:
    """b with b'W' = y − Xβ for the least-squares β of y on the given columns. (q,)"""
    b = np.zeros(len(gram))
    b[y] = 1.0
    if columns:
        b[columns] = -np.linalg.lstsq(gram[np.ix_(columns, columns)], gram[columns, y], rcond=1e-12)[0]
    return b


def _solve_level(level: Level, rows: np.ndarray, b: np.ndarray, noise: float, floor: float) -> np.ndarray:
    """Λ of one level from its groups' Z'V⁻¹W (k, q, groups) and the residual vector b."""
    k = level.size
    f = rows[:, level.index]
    h = np.tensordot(rows, b, axes=([1], [0]))
    weight = 1.0 / np.maximum(f[range(k), range(k)].sum(axis=0), 1e-300)
    flat = f.reshape(k * k, -1)
    left = ((flat * weight) @ flat.T).reshape(k, k, k, k).transpose(0, 2, 1, 3).reshape(k * k, k * k)
    right = (((h * weight) @ h.T) / noise).reshape(k * k) - flat @ weight
    t = np.linalg.lstsq(left, right, rcond=1e-10)[0].reshape(k, k)
    t = 0.5 * (t + t.T) * (level.block[:, None] == level.block[None, :])
    values, vectors = np.linalg.eigh(np.nan_to_num(t))
    lifted = (vectors * np.clip(values, floor**2, 1e12)) @ vectors.T
    return np.linalg.cholesky(lifted) * (level.block[:, None] == level.block[None, :])
