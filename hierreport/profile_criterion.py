"""The criterion with one parameter held: the residual standard deviation, or a fixed effect at the edge of a region.

A profile interval is the range of a parameter over the region {θ, σ, β: F ≤ F̂ + z²}. Fixed effects and σ can be solved
for at given θ, so that an end of their interval is a maximum over θ alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .criterion import Criterion, Evaluation, Parameters, _logdet
from .crossed import CrossedCriterion
from .crossed_dense import DenseCrossedCriterion


class FullParameters(Parameters):
    """Every entry of each block of Λ, not only a triangle: any factor of T will do."""

    def __init__(self, levels, n_errors: int) -> None:
        super().__init__(levels, n_errors)
        self.entries = [
            (number, int(row), int(column))
            for number, level in enumerate(levels)
            for b in range(level.block.max() + 1)
            for row in np.flatnonzero(level.block == b)
            for column in np.flatnonzero(level.block == b)
        ]
        self.n_lambda = len(self.entries)
        self.size = self.n_lambda + n_errors


@dataclass
class Held:
    """What is held while the criterion is evaluated.

    Attributes:
        log_sigma: log of the residual standard deviation, working scale; the value is then the unprofiled deviance.
        contrast: l of the contrast l'β (working columns) whose outermost value is wanted; None: that of log σ.
        side: +1 for the largest, −1 for the smallest value with a deviance of at most ``edge``.
    """

    log_sigma: complex | None = None
    contrast: np.ndarray | None = None
    side: int = 0
    edge: float = np.inf


class HeldCriterion(Criterion):
    """``Criterion`` with a parameter held; made by ``hold``."""

    held: Held
    by_log_sigma: complex
    limit: float

    def _top(self, theta, factors, logdet, total, tape, start, gradient) -> Evaluation:
        basis, nu = self.problem.basis, self.nu
        x, y = basis.x_index, basis.y_index
        xx = total[np.ix_(x, x)]
        beta = np.linalg.solve(xx, total[x, y]) if len(x) else np.zeros(0)
        b = np.zeros(len(total), dtype=np.result_type(total, beta))
        b[y] = 1.0
        b[x] = -beta
        r2 = b @ total @ b
        fixed = logdet + self.constant + (_logdet(xx) if self.reml and len(x) else 0.0)
        held = self.held
        if held.log_sigma is not None:
            s2 = np.exp(2.0 * held.log_sigma)
            value = fixed + nu * np.log(2.0 * np.pi * s2) + r2 / s2
            self.by_log_sigma = 2.0 * nu - 2.0 * r2 / s2
            weight, slope = 1.0 / s2, 1.0
        else:
            value, weight, slope, b = self._edge(fixed, r2, beta, xx, b)
        out = Evaluation(value, np.zeros(0), [], beta, r2, xx, total, logdet)
        if gradient and np.isfinite(value):
            adjoint = weight * np.outer(b, b)
            if self.reml and len(x):
                adjoint[np.ix_(x, x)] += np.linalg.inv(xx)
            out.gradient, out.by_t = self._reverse(theta, factors, adjoint, tape, start)
            out.gradient = out.gradient * slope
        elif gradient:
            out.gradient, out.by_t = np.zeros(len(theta)), []
        return out

    def _edge(self, fixed, r2, beta, xx, b):
        """The outermost value of what is held, at this θ; its derivative is −∂F/∂θ over its own ∂F/∂v.

        Returns:
            Minus side times that value, weight of bb', the factor of ∂F/∂θ, and b at the edge.
        """
        held, nu = self.held, self.nu
        room = held.edge - (fixed + nu * (1.0 + np.log(2.0 * np.pi * r2 / nu)))
        if not room > 0:
            self.limit = np.nan
            return np.inf, 0.0, 0.0, b
        if held.contrast is None:
            log_sigma = 0.5 * np.log(r2 / nu) + 0.5 * held.side * _log_ratio(room / nu, held.side)
            s2 = np.exp(2.0 * log_sigma)
            self.limit = log_sigma
            return -held.side * log_sigma, 1.0 / s2, held.side / (2.0 * nu - 2.0 * r2 / s2), b
        direction = np.linalg.solve(xx, held.contrast)
        variance = float(held.contrast @ direction)
        distance = held.side * np.sqrt(variance * r2 * np.expm1(room / nu))
        self.limit = float(held.contrast @ beta) + distance
        r2_edge = r2 + distance**2 / variance
        b = b.copy()
        b[self.problem.basis.x_index] -= direction * distance / variance
        by_value = 2.0 * nu * distance / (variance * r2_edge)
        return -held.side * self.limit, nu / r2_edge, held.side / by_value, b


class HeldCrossed(CrossedCriterion, HeldCriterion):
    """The same with a crossed effect."""


class HeldDenseCrossed(DenseCrossedCriterion, HeldCriterion):
    """The same with a crossed effect in its dense form."""


def _log_ratio(room: float, side: int) -> float:
    """|t| with t + exp(−t) − 1 = room: how far log σ² may be from its best value, upwards or downwards."""
    t = side * np.sqrt(2.0 * room) + room / 3.0
    for _ in range(50):
        step = (t + np.exp(-t) - 1.0 - room) / (1.0 - np.exp(-t))
        t -= step
        if abs(step) < 1e-14 * abs(t):
            break
    return abs(t)


def hold(criterion: Criterion, held: Held, parameters: Parameters | None = None) -> HeldCriterion:
    """The same criterion, nothing copied, with a parameter held."""
    kind: type[HeldCriterion] = HeldCriterion
    if isinstance(criterion, CrossedCriterion):
        kind = HeldCrossed
    elif isinstance(criterion, DenseCrossedCriterion):
        kind = HeldDenseCrossed
    out = object.__new__(kind)
    out.__dict__.update(criterion.__dict__)
    out.held, out._stack = held, None
    if parameters is not None:
        out.parameters = parameters
    return out
