"""A fitted criterion without each group of a level, all groups at once: one exact Newton step per group.

At the whole panel's θ, what a group adds to W'V⁻¹W and to log|V| is a difference between the node of the tree that
holds it, with and without the group; so are their derivatives, by a small step. The gradient of the criterion without
the group follows exactly, and a Newton step with the whole panel's Hessian leads to the optimum without it, up to terms
of second order in the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .criterion import Criterion, Evaluation, full_products
from .moments import LagMoments

STEP = 1e-6  # of θ: what a difference of values over it misses is far below what one Newton step does
CHUNK_ENTRIES = 2_000_000
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
    n = np.add.reduceat(problem.n, starts)
    thetas = [theta]
    for j in range(p):
        moved = theta.copy()
        moved[j] += STEP
        thetas.append(moved)
    totals = [criterion.evaluate(t, gradient=False) for t in thetas]
    inverse = np.zeros((p, p))
    if p:
        values, vectors = np.linalg.eigh(criterion.hessian(theta))
        values = np.maximum(np.abs(values), 1e-6 * max(np.abs(values).max(), 1e-300))
        inverse = (vectors / values) @ vectors.T
    tree = _Tree(criterion, starts, depth, lags, thetas)
    parts = []
    for groups in tree.chunks(len(problem.total)):
        own, own_log = tree.own(theta, groups)
        by_theta = np.empty((p, *own.shape))
        by_theta_log = np.empty((p, len(own)))
        for j in range(p):
            lost, lost_log = tree.own(thetas[j + 1], groups)
            by_theta[j] = (totals[j + 1].c_total - totals[0].c_total - (lost - own)) / STEP
            by_theta_log[j] = (totals[j + 1].logdet - totals[0].logdet - (lost_log - own_log)) / STEP
        mine = n[groups.targets]
        parts.append(
            _step(criterion, theta, inverse, mine, totals[0], totals[0].c_total - own, own_log, by_theta, by_theta_log)
        )
    return OneOut(n, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _step(
    criterion: Criterion,
    theta: np.ndarray,
    inverse: np.ndarray,
    n: np.ndarray,
    whole: Evaluation,
    rest: np.ndarray,
    own_log: np.ndarray,
    by_theta: np.ndarray,
    by_theta_log: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """The fields of ``OneOut`` after ``n`` for some groups, from W'V⁻¹W without each and the derivatives."""
    problem = criterion.problem
    x, y = problem.basis.x_index, problem.basis.y_index
    nu = problem.n_obs - n - (len(x) if criterion.reml else 0)
    xx = rest[:, x[:, None], x]
    lost = _lost(xx)
    xx = np.where(lost[:, None, None], np.eye(len(x)), xx)
    beta, r2, b = _solved(rest, xx, x, y)
    value = whole.logdet - own_log + nu * (1.0 + np.log(2.0 * np.pi * np.maximum(r2, 1e-300) / nu))
    value += 2.0 * nu * np.log(problem.basis.y_scale) - problem.sum_log_weight * (1.0 - n / problem.n_obs)
    gradient = by_theta_log + (nu / r2) * np.einsum("ti,jtik,tk->jt", b, by_theta, b, optimize=True)
    if criterion.reml and len(x):
        value += np.linalg.slogdet(xx)[1] + 2.0 * np.linalg.slogdet(problem.basis.p_x)[1]
        gradient += np.einsum("tik,jtki->jt", np.linalg.inv(xx), by_theta[:, :, x[:, None], x], optimize=True)
    # Curvature is about in proportion to the rows that stay.
    step = -(gradient.T @ inverse) * (problem.n_obs / np.maximum(problem.n_obs - n, 1))[:, None]
    longest = LONGEST * (1.0 + np.abs(theta))
    far = lost | (np.abs(step) > longest).any(axis=1)
    step = np.clip(step, -longest, longest)
    if len(theta):
        value += 0.5 * np.einsum("tj,jt->t", step, gradient)
        rest = rest + np.einsum("tj,jtik->tik", step, by_theta, optimize=True)
        xx = np.where(lost[:, None, None], np.eye(len(x)), rest[:, x[:, None], x])
        beta, r2, _ = _solved(rest, xx, x, y)
    for array in (value, beta, r2):
        array[lost | (nu < 1)] = np.nan
    return value, far, theta + step, beta, r2 / nu


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


@dataclass(frozen=True)
class _Range:
    """A range of the panel's innermost groups, and of the groups to leave out that it holds whole."""

    innermost: slice
    targets: slice


class _Tree:
    """What each group of a level adds to W'V⁻¹W and log|V|, for a range of the panel at a time."""

    def __init__(
        self,
        criterion: Criterion,
        starts: np.ndarray,
        depth: int,
        lags: LagMoments | None,
        thetas: list[np.ndarray],
    ) -> None:
        problem = criterion.problem
        self.starts, self.depth, self.groups = starts, depth, len(problem.n)
        self.parameters = criterion.parameters
        self.levels = [
            (level.starts, level.index, problem.moments.levels.index(level.name)) for level in problem.levels
        ]
        self.errors: Any = criterion.errors
        self.innermost: dict[float | None, tuple[np.ndarray, np.ndarray]] = {}
        if self.errors is None:
            products = full_products(problem, np.arange(self.groups))
            self.innermost[None] = (np.ascontiguousarray(np.moveaxis(products, 2, 0)), np.zeros(self.groups))
        else:
            assert lags is not None
            for theta in (thetas[0], thetas[-1]):
                self.innermost[self._rho(theta)] = self._whitened(theta, lags)

    def _rho(self, theta: np.ndarray) -> float | None:
        return None if self.errors is None else float(theta[self.parameters.n_lambda])

    def _whitened(self, theta: np.ndarray, lags: LagMoments) -> tuple[np.ndarray, np.ndarray]:
        """Σ w V_e⁻¹ w' and log|V_e| per innermost group. (G, q, q), (G,)"""
        phi = theta[self.parameters.n_lambda :]
        products, _ = self.errors.moments(phi)
        power = self.errors.power(phi, lags.gap)
        logs = np.zeros(self.groups)
        np.add.at(logs, lags.group, lags.count * np.log(1.0 - power * power))
        return np.moveaxis(products, 2, 0), logs

    def chunks(self, width: int) -> Iterator[_Range]:
        """The panel in ranges that share no group of the model's outermost level, nor of the one to leave out."""
        outer = self.levels[-1][0] if self.levels else self.starts
        edges = outer if len(outer) < len(self.starts) else self.starts
        size = max(1, CHUNK_ENTRIES // width**2)
        first = 0
        while first < self.groups:
            later = edges[edges >= first + size]
            last = int(later[0]) if len(later) else self.groups
            lo, hi = np.searchsorted(self.starts, [first, last])
            yield _Range(slice(first, last), slice(int(lo), int(hi)))
            first = last

    def own(self, theta: np.ndarray, groups: _Range) -> tuple[np.ndarray, np.ndarray]:
        """What each group to leave out adds to W'V⁻¹W, (T, q, q), and to log|V|, (T,)."""
        info, log = (array[groups.innermost] for array in self.innermost[self._rho(theta)])
        first, last = groups.innermost.start, groups.innermost.stop
        targets, below = self.starts[groups.targets], np.arange(first, last)
        own: np.ndarray | None = None
        own_log: np.ndarray | None = None
        for (starts, index, at), factor in zip(self.levels, self.parameters.factors(theta), strict=True):
            if own is None and self.depth > at:
                own, own_log = _sums(info, below, targets), _sums(log, below, targets)
            nodes = starts[np.searchsorted(starts, first) : np.searchsorted(starts, last)]
            c, log = _sums(info, below, nodes), _sums(log, below, nodes)
            info, added = _swept(c, index, factor)
            if own is not None and own_log is not None:
                # The node with the group and without it, after its own effects are taken out.
                member = np.searchsorted(nodes, targets, side="right") - 1
                left, left_log = _swept(c[member] - own, index, factor)
                own, own_log = info[member] - left, own_log + added[member] - left_log
            log = log + added
            below = nodes
        if own is None or own_log is None:
            own, own_log = _sums(info, below, targets), _sums(log, below, targets)
        return own, own_log


def _sums(values: np.ndarray, below: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over the groups of a coarser level."""
    if len(starts) == len(values):
        return values
    return np.add.reduceat(values, np.searchsorted(below, starts), axis=0)


def _swept(c: np.ndarray, index: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C − CBΛ(I + Λ'B'CBΛ)⁻¹Λ'B'C and log|I + Λ'B'CBΛ|, per group."""
    reach = c[:, :, index] @ factor
    inner = np.eye(len(index)) + factor.T @ reach[:, index]
    log = np.linalg.slogdet(inner)[1]
    return c - reach @ np.linalg.solve(inner, np.swapaxes(reach, 1, 2)), log
