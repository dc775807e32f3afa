"""Elimination of the levels above the innermost, for many draws at once, and the step back.

Arrays carry the draw before the group, (…, D, G); D is 1 where all draws share a θ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .smallmat import cholesky_lower, solve_lower


@dataclass(frozen=True)
class Step:
    """What the reverse pass needs of one level.

    Attributes:
        u_a, u_y: B'C after elimination, at A and at the outcome. (k, a, D, P), (k, D, P)
        zz: B'CB after elimination. (k, k, D, P)
        half: ΛL⁻ᵀ, half of N = Λ(I + Λ'FΛ)⁻¹Λ'. (k, k, D, P)
    """

    u_a: np.ndarray
    u_y: np.ndarray
    zz: np.ndarray
    half: np.ndarray


def _same(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the same draws and groups (the last two axes)."""
    tail = np.broadcast_shapes(left.shape[2:], right.shape[2:])
    return np.broadcast_to(left, left.shape[:2] + tail), np.broadcast_to(right, right.shape[:2] + tail)


def eliminate(c_aa: np.ndarray, c_ay: np.ndarray, index: np.ndarray, factor: np.ndarray):
    """Eliminate an upper level: C ← C − K'K, K = L⁻¹Λ'B'C, LL' = I + Λ'B'CBΛ, per draw and group.

    Returns:
        c_aa, c_ay after; what yy loses (D,); Σ log|LL'| (D,); the step for the reverse pass.
    """
    k = len(index)
    left = factor.transpose(2, 1, 0)  # Λ' as (k, k, D)
    rows_a = times(left, c_aa[index])
    rows_y = times(left, c_ay[index][:, None])
    h = times(left, rows_a[:, index].transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    h = h + np.eye(k)[:, :, None, None]
    lower = cholesky_lower(h)
    k_a, k_y = solve_lower(lower, rows_a), solve_lower(lower, rows_y)
    logdet = sum(2.0 * np.log(lower[i, i]).sum(axis=1) for i in range(k))
    c_aa, c_ay = c_aa.copy(), np.broadcast_to(c_ay, (len(c_ay), *k_y.shape[2:])).copy()
    less: np.ndarray | float = 0.0
    for i in range(k):
        c_aa -= k_a[i][:, None] * k_a[i][None, :]
        c_ay -= k_a[i] * k_y[i]
        less = less + np.einsum("dp,dp->d", k_y[i, 0], k_y[i, 0])
    half = solve_lower(lower, np.broadcast_to(left[:, :, :, None], h.shape)).transpose(1, 0, 2, 3)
    entry = Step(c_aa[index], c_ay[index], c_aa[np.ix_(index, index)], half)
    return c_aa, c_ay, less, logdet, entry


def times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Σ_j left[i, j, D] right[j, m, D, P], skipping zeros of triangular factors. (k, m, D, P)"""
    shape = (len(left), right.shape[1], *np.broadcast_shapes((left.shape[2], 1), right.shape[2:]))
    out = np.zeros(shape, dtype=np.result_type(left, right))
    for i in range(len(left)):
        for j in range(left.shape[1]):
            if np.any(left[i, j]):
                out[i] += left[i, j][:, None] * right[j]
    return out


def step_back(step: Step, index: np.ndarray, factor: np.ndarray, v: np.ndarray, v_y: np.ndarray):
    """∂/∂T of log|V| + Σ v'Cv for one level, and the vectors that the level below inherits.

    With A = Σ_r v_r v_r' the adjoint of C after the level: ∂F/∂T = Σ_g B'CB − (B'Cv)(B'Cv)', and before the level it is
    Σ_r w_r w_r' + BNB' with w = v − BTB'Cv.

    Args:
        v, v_y: the vectors at A (a, r, D, P or 1) and at the outcome (r, D).

    Returns:
        ∂F/∂T (D, k, k), v with ΛL⁻ᵀ appended (a, r + k, D, P), v_y with zeros appended (r + k, D).
    """
    u_v = np.einsum("kadp,ardp->krdp", *_same(step.u_a, v)) + step.u_y[:, None] * v_y[None, :, :, None]
    k, r, draws, groups = u_v.shape
    by_t = (step.zz.sum(axis=3) - np.einsum("krdp,lrdp->kld", u_v, u_v)).transpose(2, 0, 1)
    t = factor @ factor.transpose(0, 2, 1)
    out = np.zeros((len(v), r + k, draws, groups))
    out[:, :r] = v
    out[index, :r] -= np.einsum("dkl,lrdp->krdp", np.broadcast_to(t, (draws, k, k)), u_v)
    out[index, r:] = step.half
    return by_t, out, np.concatenate([v_y, np.zeros((k, v_y.shape[1]))])
