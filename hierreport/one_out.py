"""A fitted criterion without each group of a level, all groups at once: one exact Newton step per group.

At the whole panel's θ, what a group adds to W'V⁻¹W and to log|V| is a difference between the node of the tree that
holds it, with and without the group; so are their derivatives, by a complex step. The gradient of the criterion without
the group follows exactly, and a Newton step with the whole panel's Hessian leads to the optimum without it, up to terms
of second order in the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .criterion import Criterion, full_products
from .moments import LagMoments

STEP = 1e-20
LONGEST = 0.25  # of a step, relative to 1 + |θ|


@dataclass(frozen=True)
class OneOut:
    """The criterion near its optimum without each group of a level.

    Attributes:
        n: rows of each group. (T,)
        value: −2 log-likelihood (or REML criterion) at its minimum without the group (the sum of log weights shared out
            by rows); NaN where the model is not identified without it. (T,)
        far: True where the step is too long to be trusted: the model has to be refitted there. (T,)
        theta: where that minimum is. (T, p)
        beta: fixed effects there, working columns. (T, x)
        sigma2: residual variance there, working scale. (T,)
    """

    n: np.ndarray
    value: np.ndarray
    far: np.ndarray
    theta: np.ndarray
    beta: np.ndarray
    sigma2: np.ndarray


def one_out(
    criterion: Criterion, theta: np.ndarray, starts: np.ndarray, depth: int, lags: LagMoments | None = None
) -> OneOut:
    """Leave out every group of a level, one at a time.

    Args:
        criterion: of the whole panel, with full products per group; independent or AR(1) errors, nested levels.
        theta: its optimum.
        starts: first innermost group of each of the level's groups. (T,)
        depth: of the level, 0 for the outermost.
        lags: lagged moments where errors are AR(1).
    """
    problem, p = criterion.problem, len(theta)
    x, y = problem.basis.x_index, problem.basis.y_index
    n = np.add.reduceat(problem.n, starts)
    base = _Parts(criterion, lags)
    total, log, own, own_log = base.at(theta, starts, depth)
    rest = total - own
    by_theta = np.empty((p, *own.shape))
    by_theta_log = np.empty((p, len(starts)))
    for j in range(p):
        moved = theta.astype(complex)
        moved[j] += 1j * STEP
        parts = [part.imag / STEP for part in base.at(moved, starts, depth)]
        by_theta[j], by_theta_log[j] = parts[0] - parts[2], parts[1] - parts[3]
    nu = problem.n_obs - n - (len(x) if criterion.reml else 0)
    xx = rest[:, x[:, None], x]
    lost = _lost(xx)
    xx = np.where(lost[:, None, None], np.eye(len(x)), xx)
    beta, r2, b = _solved(rest, xx, x, y)
    value = log - own_log + nu * (1.0 + np.log(2.0 * np.pi * np.maximum(r2, 1e-300) / nu))
    value += 2.0 * nu * np.log(problem.basis.y_scale) - problem.sum_log_weight * (1.0 - n / problem.n_obs)
    gradient = by_theta_log + (nu / r2) * np.einsum("ti,jtik,tk->jt", b, by_theta, b, optimize=True)
    if criterion.reml and len(x):
        value = value + np.linalg.slogdet(xx)[1] + 2.0 * np.linalg.slogdet(problem.basis.p_x)[1]
        gradient += np.einsum("tik,jtki->jt", np.linalg.inv(xx), by_theta[:, :, x[:, None], x], optimize=True)
    step, far = np.zeros((len(starts), p)), np.zeros(len(starts), dtype=bool)
    if p:
        values, vectors = np.linalg.eigh(criterion.hessian(theta))
        values = np.maximum(np.abs(values), 1e-6 * max(np.abs(values).max(), 1e-300))
        whole = (vectors / values) @ vectors.T
        # Curvature is about in proportion to the rows that stay.
        step = -(gradient.T @ whole) * (problem.n_obs / np.maximum(problem.n_obs - n, 1))[:, None]
        longest = LONGEST * (1.0 + np.abs(theta))
        far = (np.abs(step) > longest).any(axis=1)
        step = np.clip(step, -longest, longest)
        value = value + 0.5 * np.einsum("tj,jt->t", step, gradient)
        rest = rest + np.einsum("tj,jtik->tik", step, by_theta, optimize=True)
        xx = np.where(lost[:, None, None], np.eye(len(x)), rest[:, x[:, None], x])
        beta, r2, _ = _solved(rest, xx, x, y)
    for array in (value, beta, r2):
        array[lost | (nu < 1)] = np.nan
    return OneOut(n, value, far | lost, theta + step, beta, r2 / nu)


def _lost(xx: np.ndarray) -> np.ndarray:
    """Groups without which a fixed effect is not identified. (T,)"""
    if not xx.shape[1]:
        return np.zeros(len(xx), dtype=bool)
    scale = np.sqrt(np.maximum(np.einsum("tii->ti", xx), 1e-300))
    return np.linalg.eigvalsh(xx / scale[:, :, None] / scale[:, None, :])[:, 0] < 1e-11


def _solved(rest: np.ndarray, xx: np.ndarray, x: np.ndarray, y: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """β, residual sum of squares and the contrast (−β, 1) of each matrix of W'V⁻¹W."""
    xy = rest[:, x, y]
    beta = np.linalg.solve(xx, xy[..., None])[..., 0] if len(x) else xy
    b = np.zeros(rest.shape[:2])
    b[:, y] = 1.0
    b[:, x] = -beta
    return beta, np.einsum("ti,tik,tk->t", b, rest, b, optimize=True), b


class _Parts:
    """W'V⁻¹W and log|V| of a panel, and what each group of a level adds to them."""

    def __init__(self, criterion: Criterion, lags: LagMoments | None) -> None:
        problem = criterion.problem
        self.errors, self.lags = criterion.errors, lags
        self.parameters = criterion.parameters
        self.nodes = [(level.starts, level.index) for level in problem.levels]
        self.depths = [problem.moments.levels.index(level.name) for level in problem.levels]
        self.groups = len(problem.n)
        self.rows: np.ndarray | None = None
        if self.errors is None:
            innermost = full_products(problem, np.arange(self.groups))
            self.rows = np.ascontiguousarray(np.moveaxis(innermost, 2, 0))

    def _innermost(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ w V_e⁻¹ w' and log|V_e| per innermost group. (G, q, q), (G,)"""
        if self.rows is not None:
            return self.rows, np.zeros(self.groups)
        errors: Any = self.errors
        phi = theta[self.parameters.n_lambda :]
        products, _ = errors.moments(phi)
        assert self.lags is not None
        s = errors._rho(phi[0]) ** (self.lags.gap if errors.continuous else np.round(self.lags.gap))
        logs = np.zeros(self.groups, dtype=np.result_type(s, float))
        np.add.at(logs, self.lags.group, self.lags.count * np.log(1.0 - s * s))
        return np.moveaxis(products, 2, 0), logs

    def at(
        self, theta: np.ndarray, starts: np.ndarray, depth: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sums over the panel, (q, q) and a number, and what each group of a level adds to them, (T, q, q) and (T,)."""
        info, log = self._innermost(theta)
        below = np.arange(self.groups)
        own: np.ndarray | None = None
        own_log: np.ndarray | None = None
        for (nodes, index), at, factor in zip(self.nodes, self.depths, self.parameters.factors(theta), strict=True):
            if own is None and depth > at:
                own, own_log = _sums(info, below, starts), _sums(log, below, starts)
            c, log = _sums(info, below, nodes), _sums(log, below, nodes)
            info, added = _swept(c, index, factor)
            if own is not None and own_log is not None:
                # The node with the group and without it, after its own effects are taken out.
                member = np.searchsorted(nodes, starts, side="right") - 1
                left, left_log = _swept(c[member] - own, index, factor)
                own, own_log = info[member] - left, own_log + added[member] - left_log
            log = log + added
            below = nodes
        if own is None or own_log is None:
            own, own_log = _sums(info, below, starts), _sums(log, below, starts)
        return info.sum(axis=0), log.sum(), own, own_log


def _sums(values: np.ndarray, below: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over the groups of a coarser level."""
    if len(starts) == len(values):
        return values
    return np.add.reduceat(values, np.searchsorted(below, starts), axis=0)


def _swept(c: np.ndarray, index: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C − CBΛ(I + Λ'B'CBΛ)⁻¹Λ'B'C and log|I + Λ'B'CBΛ|, per group."""
    reach = c[:, :, index] @ factor
    inner = np.eye(len(index)) + factor.T @ reach[:, index]
    sign, log = np.linalg.slogdet(inner)
    if np.iscomplexobj(inner):
        log = log + np.log(sign)
    return c - reach @ np.linalg.solve(inner, np.swapaxes(reach, 1, 2)), log
