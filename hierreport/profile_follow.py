"""Following one parameter outwards until the deviance, all others re-optimised, has risen by z²."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .batch_optimizer import minimise
from .problem import Level
from .profile_criterion import Held, HeldCriterion, hold
from .profile_layout import FLOOR, LIFT
from .profile_maps import Coordinate, Deviation, Share

if TYPE_CHECKING:
    from .profile import Profiler

# Ends are found to about this share of a standard error.
PRECISION = 2e-5
# Deviance to which a minimum is looked for that is probably the one already known.
ROUGH = 1e-3


class Follower:
    """One end of one profile: safeguarded Newton steps on the signed root √(F − F̂), which is nearly linear."""

    def __init__(self, profiler: Profiler, coordinate: Coordinate, side: int) -> None:
        self.profiler, self.coordinate, self.side = profiler, coordinate, side
        layout = coordinate.layout
        self.held = hold(profiler.criterion, Held(0.0), layout.parameters)
        x = layout.x_hat
        self.c_hat, self.eta_hat = coordinate.encode(x)
        full = profiler.hessian(layout)
        jacobian = self._jacobian(self.c_hat, self.eta_hat)
        self.hessian = jacobian @ full @ jacobian.T
        size = layout.sizes_of(x)
        size = self.scale = size if coordinate.at is None else np.delete(size, coordinate.at)
        inner = self.hessian[1:, 1:] * np.outer(size, size)
        eigen, vectors = np.linalg.eigh(inner)
        top = np.abs(eigen).max(initial=1e-300)
        self.metric = (vectors / np.maximum(np.abs(eigen), 1e-7 * top)) @ vectors.T
        self.pinned = np.linalg.lstsq(self.hessian[1:, 1:], self.hessian[1:, 0], rcond=1e-10)[0]
        self.curvature = self.hessian[0, 0] - self.hessian[0, 1:] @ self.pinned

    def _jacobian(self, c: float, eta: np.ndarray) -> np.ndarray:
        """∂(θ, log σ)/∂(c, η). (1 + η, θ + 1)"""
        layout = self.coordinate.layout
        size = layout.n_full + len(layout.phi_at)
        columns = []
        for j in range(size + 1):
            unit = np.zeros(size)
            if j < size:
                unit[j] = 1.0
            by_c, by_eta = self.coordinate.pull(c, eta, layout.pull(unit, float(j == size)))
            columns.append(np.concatenate([[by_c], by_eta]))
        return np.array(columns).T

    def minimum(self, c: float, eta: np.ndarray, tolerance: float = 0.1 * PRECISION) -> tuple[float, float, np.ndarray]:
        """Deviance minimised over the others at c to about ``tolerance``, its slope in c, and the others."""
        coordinate, layout, held = self.coordinate, self.coordinate.layout, self.held

        last: list[np.ndarray] = []

        def at(row: np.ndarray) -> tuple[float, float, np.ndarray]:
            x = coordinate.decode(c, row)
            held.held = Held(x[-1])
            value, gradient, by_t = safely(held, layout.to_full(x))
            last[:] = by_t
            if not np.isfinite(value):
                return np.inf, 0.0, np.zeros(len(row))
            by_c, by_eta = coordinate.pull(c, row, layout.pull(gradient, float(np.real(held.by_log_sigma))))
            return value, by_c, by_eta

        def function(rows: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            out = at(rows[0] * self.scale)
            return np.array([out[0]]), out[2][None] * self.scale

        for _ in range(3):
            ends = minimise(function, (eta / self.scale)[None], self.metric, tolerance)
            eta = ends.x[0] * self.scale
            value, by_c, _ = at(eta)
            x = coordinate.decode(c, eta)
            lifted = leave(self.profiler.components, layout.covariances(x), last)
            if lifted is None:
                break
            eta = coordinate.encode(layout.from_covariances(lifted, x[layout.phi_at], x[-1]))[1]
        return value, by_c, eta

    def end(self) -> tuple[float | None, str]:
        """Where the deviance has risen by z²: c, and a note."""
        coordinate, profiler, side = self.coordinate, self.profiler, self.side
        z, best = profiler.z, profiler.best
        bound = coordinate.high if side > 0 else coordinate.low
        attainable = bool(np.isfinite(bound)) and not (isinstance(coordinate, Share) and side > 0)
        if attainable and abs(self.c_hat - bound) < 1e-7:
            return bound, ""
        step = z * np.sqrt(2.0 / self.curvature) * 0.7 if self.curvature > 0 else 0.1
        inside, inside_eta, outside = self.c_hat, self.eta_hat, None
        c, eta = self.c_hat + side * step, self.eta_hat - side * step * self.pinned
        previous: tuple[float, np.ndarray] | None = None
        for _ in range(40):
            if side * (c - bound) >= 0:
                c = bound if attainable else 0.5 * (inside + bound)
                eta = inside_eta
            value, slope, found = self.minimum(c, eta)
            if np.isfinite(value) and value - best > (1 - PRECISION) ** 2 * z**2 and profiler.state.singular:
                value, slope, found = self._other_basins(c, (value, slope, found))
                outside = None if value - best < z**2 else outside
            profiler.lower_value = min(profiler.lower_value, value - best)
            root = float(np.sqrt(max(value - best, 0.0)))
            if np.isfinite(value) and abs(root - z) < PRECISION * z:
                return c, ""
            if attainable and c == bound and root < z:
                return bound, ""
            if np.isfinite(value) and root < z:
                inside, inside_eta = c, found
            else:
                outside = c
            new = self._next(c, root, side * slope / (2.0 * root) if root > 0 else 0.0, inside, outside)
            if abs(new - c) < 1e-10 * max(1.0, abs(c)) or abs(new) > 1e8:
                break
            eta = found if np.isfinite(value) else inside_eta
            if previous is not None and np.isfinite(value) and previous[0] != c:
                eta = found + (found - previous[1]) * (new - c) / (c - previous[0])
            if np.isfinite(value):
                previous = (c, found)
            c = new
        if outside is None:
            return None, "no end: the deviance does not rise far enough"
        return c, "an end is approximate"

    def _other_basins(self, c: float, known: tuple[float, float, np.ndarray]) -> tuple[float, float, np.ndarray]:
        """The best of what is known and of minima from regular T, correlated and not.

        A singular T has several faces of the boundary to be on; along a profile another may become the better one.
        """
        coordinate, layout = self.coordinate, self.coordinate.layout
        x = coordinate.decode(c, known[2])
        for keep in (1.0, 0.0):
            regular = []
            for t in layout.covariances(x):
                noise = FLOOR**2 * np.maximum(np.diag(t), 1.0)
                regular.append(keep * t + (1.0 - keep) * np.diag(np.diag(t)) + np.diag(noise))
            start = layout.from_covariances(regular, x[layout.phi_at], x[-1])
            other = self.minimum(c, coordinate.encode(start)[1], ROUGH)
            if other[0] < known[0] - 0.1 * ROUGH:
                known = self.minimum(c, other[2])
        return known

    def _next(self, c: float, root: float, slope: float, inside: float, outside: float | None) -> float:
        side, z = self.side, self.profiler.z
        if slope > 0 and np.isfinite(root):
            step = (z - root) / slope
            if isinstance(self.coordinate, Deviation) and side > 0 and c > 0:
                new = c * np.exp(np.clip(step / c, -1.0, 1.0))
            else:
                new = c + side * step
            ahead = side * (new - inside) > 0
            if outside is None:
                if ahead:
                    return new
            elif ahead and side * (outside - new) > 0:
                return new
        if outside is None:
            return inside + side * 2.0 * max(abs(inside - self.c_hat), 1e-3)
        return 0.5 * (inside + outside)


def leave(
    components: tuple[Level, ...], covariances: list[np.ndarray], by_t: list[np.ndarray]
) -> list[np.ndarray] | None:
    """T moved off its boundary where the criterion falls beside it; None where it does not.

    Where a column of Λ is zero the gradient in Λ is zero too: only ∂F/∂T tells whether the zero is optimal.
    """
    moved = False
    out = [t.copy() for t in covariances]
    for level, t, slope in zip(components, out, by_t, strict=False):
        for b in range(level.block.max() + 1):
            block = np.ix_(level.block == b, level.block == b)
            values, vectors = np.linalg.eigh(t[block])
            null = vectors[:, values < 1e-8 * max(1.0, values[-1])]
            if null.shape[1]:
                steepness, directions = np.linalg.eigh(null.T @ slope[block].real @ null)
                if steepness[0] < -1e-4 * level.groups:
                    step = null @ directions[:, 0]
                    t[block] += LIFT**2 * np.outer(step, step)
                    moved = True
    return out if moved else None


def safely(held: HeldCriterion, theta: np.ndarray) -> tuple[float, np.ndarray, list[np.ndarray]]:
    """Value, gradient and ∂F/∂T; infinite where a matrix cannot be factored."""
    with np.errstate(all="ignore"):
        try:
            out = held.evaluate(theta)
        except np.linalg.LinAlgError:
            return np.inf, np.zeros(len(theta)), []
    assert out.gradient is not None and out.by_t is not None
    return float(np.real(out.value)), out.gradient, out.by_t
