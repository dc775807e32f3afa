"""The bias-reduced adjustment CR2 of cluster-robust covariances, reduced to p × p problems per cluster.

With Θ the model's covariance of a cluster's rows, M = (X'V⁻¹X)⁻¹ and S = Θ − XMX', the adjusted residuals Ae have the
covariance that the model gives the errors: ASA' = Θ (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018, J. Bus. Econ.
Stat. 36, eq. 6). Everything here is in coordinates of the fixed effects in which M is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clusters import ClusterPass, largest_variance
from .mixed import State

# Leverage this close to one: the cluster alone identifies a combination of fixed effects, its residuals there are zero.
EXACT = 1e-9


@dataclass(frozen=True)
class Pieces:
    """What a robust covariance and its degrees of freedom need of each cluster, M-orthonormal coordinates.

    Attributes:
        scores: X'Θ⁻¹Ae. (G, p)
        spread: X'Θ⁻¹AX. (G, p, p); empty without adjustment.
        expected: X'Θ⁻¹ASA'Θ⁻¹X, the covariance of the scores under the model. (G, p, p); empty without adjustment.
    """

    scores: np.ndarray
    spread: np.ndarray
    expected: np.ndarray


def plain(scores: np.ndarray) -> Pieces:
    """No adjustment, A = I: the scores alone, the degrees of freedom are those of the clusters."""
    none = np.zeros((0, scores.shape[1], scores.shape[1]))
    return Pieces(scores, none, none)


def symmetric_root(gram: np.ndarray, scores: np.ndarray) -> Pieces:
    """A = (I − H)^(−1/2), H = XMX'Θ⁻¹: exact where Θ = I, and the classical choice on whitened rows elsewhere.

    Args:
        gram: X'Θ⁻¹X. (G, p, p)
        scores: X'Θ⁻¹e. (G, p)
    """
    values, vectors = np.linalg.eigh(gram)
    exact = values > 1.0 - EXACT
    root = np.where(exact, 0.0, 1.0 / np.sqrt(np.where(exact, 1.0, 1.0 - values)))
    turned = vectors.transpose(0, 2, 1)
    adjust = (vectors * root[:, None, :]) @ turned
    expected = (vectors * np.where(exact, 0.0, values)[:, None, :]) @ turned
    return Pieces((adjust @ scores[:, :, None])[:, :, 0], adjust @ gram, expected)


def inverse_root_rule(low: float, high: float, accuracy: float = 1e-13) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t and weights with x^(−1/2) ≈ Σ w/(x + t²) for low ≤ x ≤ high, to the relative accuracy asked for.

    Source: Hale, Higham & Trefethen (2008), SIAM J. Numer. Anal. 46, method 3.
    """
    low, high = 0.9 * low, 1.1 * high
    size = int(np.ceil((np.log(high / low) + 6.0) * np.log(1.0 / accuracy) / (2.0 * np.pi**2)))
    # Elliptic functions by the arithmetic-geometric mean from the complementary parameter low/high (Bulirsch 1965,
    # Numer. Math. 7): SciPy's ellipj takes its difference from one, which has lost its digits here.
    mean, other, ladder = 1.0, np.sqrt(low / high), []
    while abs(mean - other) > 1e-9 * mean:
        ladder.append((mean, other))
        mean, other = 0.5 * (mean + other), np.sqrt(mean * other)
    ladder.append((mean, other))
    mean = 0.5 * (mean + other)
    a = 1.0 / np.tan((np.arange(size) + 0.5) * np.pi / (2.0 * size))
    c, dn = mean * a, np.ones(size)
    for upper, lower in reversed(ladder):
        a, c = a * c, c * dn
        dn = (lower + a) / (upper + a)
        a = c / upper
    return np.sqrt(low) / c, np.sqrt(low) / (size * mean) * dn * (1.0 + 1.0 / c**2)


def general(state: State, clusters: ClusterPass, to_orthonormal: np.ndarray, b: np.ndarray) -> Pieces:
    """The A of a model with random effects, as clubSandwich takes it: symmetric with ASA = Θ, A = Θ½(Θ½SΘ½)^(−1/2)Θ½.

    By x^(−1/2) = Σ w/(x + t²) and Woodbury's formula, with K = Θ(Θ² + t²)⁻¹ = Re (Θ + it)⁻¹,

        A = I + Σ w K X (I − X'KX)⁻¹ X'K,

    and X'(Θ + it)⁻¹W is the model's own elimination with a complex residual variance: no n × n matrix appears.

    Args:
        clusters: forward pass to the clusters.
        to_orthonormal: L with X_orthonormal = XL. (p, p)
        b: coefficients of the residual y − Xβ in the working columns. (q,)
    """
    basis = state.criterion.problem.basis
    x = list(basis.x_index)

    def products(z: complex) -> tuple[np.ndarray, np.ndarray]:
        c = clusters.shifted(state.factors, z)[x].transpose(2, 0, 1)
        half = to_orthonormal.T @ c
        return half[:, :, x] @ to_orthonormal, half @ b

    gram, scores = (part.real for part in products(0.0))
    values, vectors = np.linalg.eigh(gram)
    exact = values > 1.0 - EXACT
    low = float(np.min(np.where(exact, 1.0, 1.0 - values)))
    nodes, weights = inverse_root_rule(low, largest_variance(state) ** 2)
    spread, adjusted, expected = gram.copy(), scores.copy(), gram.copy()
    alone = np.flatnonzero(exact.any(axis=1))
    if len(alone):
        # The pseudo-inverse: directions with S v = 0 are left out of the sum.
        null = vectors[alone] * exact[alone][:, None, :]
        second = -products(1e-20j)[0].imag[alone] / 1e-20
        third = _third_power(products)[alone]
        inner = np.linalg.pinv(null.transpose(0, 2, 1) @ third @ null, rcond=1e-9, hermitian=True)
        left = second @ null @ inner
        expected[alone] -= left @ (second @ null).transpose(0, 2, 1)
        skip_spread = left @ null.transpose(0, 2, 1) @ gram[alone]
        skip_scores = (left @ null.transpose(0, 2, 1) @ scores[alone][:, :, None])[:, :, 0]
    for t, weight in zip(nodes, weights, strict=True):
        p_gram, p_scores = products(1j * t)
        k_gram, k_scores = p_gram.real, p_scores.real
        outer = -weight * p_gram.imag / t
        right = np.concatenate([k_gram, k_scores[:, :, None]], axis=2)
        change = outer @ np.linalg.solve(np.eye(len(x)) - k_gram, right)
        spread += change[:, :, :-1]
        adjusted += change[:, :, -1]
        if len(alone):
            spread[alone] -= weight / t**2 * skip_spread
            adjusted[alone] -= weight / t**2 * skip_scores
    return Pieces(adjusted, spread, expected)


def _third_power(products) -> np.ndarray:
    """X'Θ⁻³X by Cauchy's formula: a coefficient of the power series of X'(Θ + z)⁻¹X, analytic for |z| < 1."""
    size, radius = 64, 0.5
    points = radius * np.exp(2j * np.pi * (np.arange(size // 2) + 0.5) / size)
    return 2.0 / size * sum((products(z)[0] * z**-2).real for z in points)


def satterthwaite_df(pieces: Pieces, contrasts: np.ndarray) -> np.ndarray:
    """Degrees of freedom (Σ P_jj)²/ΣΣ P_jk² of each contrast's variance estimate (Bell & McCaffrey 2002, sec. 3).

    Args:
        contrasts: in M-orthonormal coordinates. (m, p)
    """
    out = np.empty(len(contrasts))
    for i, c in enumerate(contrasts):
        v = c @ pieces.spread
        own = (pieces.expected @ c) @ c
        cross = v.T @ v
        total = np.sum(cross**2) - np.sum(np.sum(v * v, axis=1) ** 2) + np.sum(own**2)
        out[i] = own.sum() ** 2 / total if total > 0 else np.nan
    return out


def hotelling_df(pieces: Pieces, contrasts: np.ndarray) -> float:
    """η of the approximate Hotelling T² test of several contrasts (Pustejovsky & Tipton 2018, eq. 11, "HTZ").

    Args:
        contrasts: in M-orthonormal coordinates. (m, p)
    """
    m = len(contrasts)
    own = contrasts @ pieces.expected @ contrasts.T
    v = contrasts @ pieces.spread
    values, vectors = np.linalg.eigh(own.sum(axis=0))
    turn = vectors / np.sqrt(values)
    own = turn.T @ own @ turn
    v = turn.T @ v
    # ΣΣ (tr P_jk)² + tr(P_jk²) over all pairs of clusters; P_jk = −v_j v_k' for j ≠ k.
    flat = v.reshape(len(v), -1)
    gram = (flat.T @ flat).reshape(m, -1, m, v.shape[2])
    inner = v @ v.transpose(0, 2, 1)
    squared_traces = float(np.sum(gram**2)) - float(np.sum(np.sum(flat * flat, axis=1) ** 2))
    traces = float(np.einsum("apbr,bpar->", gram, gram, optimize=True)) - float(np.sum(inner**2))
    within = float(np.sum(np.trace(own, axis1=1, axis2=2) ** 2) + np.sum(own**2))
    return m * (m + 1) / (squared_traces + traces + within)
