"""Minimising the criterion: BFGS with a step cap, then Newton steps with the exact Hessian, and a certificate."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from math import isfinite, sqrt

import numpy as np

from .criterion import Criterion, Evaluation

CAP = 0.7

Answer = tuple[float, np.ndarray | None]


@dataclass
class Optimum:
    """Where a minimisation ended.

    gradient_norm: largest gradient entry in scaled parameters; hessian: in θ's own units, None where not computed.
    metric: the descent's last inverse Hessian, in scaled parameters; None where it did not converge.
    evaluation: the criterion's at θ, where it was kept.
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    scale: np.ndarray
    converged: bool
    hessian: np.ndarray | None = None
    message: str = ""
    others: list[float] = field(default_factory=list)
    metric: np.ndarray | None = None
    evaluation: Evaluation | None = None

    @property
    def gradient_norm(self) -> float:
        return float(np.abs(self.gradient * self.scale).max(initial=0.0))


Descent = Generator[np.ndarray, Answer, Optimum]


def bfgs(
    criterion: Criterion,
    theta: np.ndarray,
    scale: np.ndarray,
    inverse: np.ndarray,
    max_steps: int = 200,
    enough: float = 0.0,
) -> Optimum:
    """Quasi-Newton descent in φ = θ / scale from an initial inverse Hessian: its diagonal, or a full one that is known.

    Stops when the predicted decrease is below the rounding noise of the criterion, or below ``enough``.
    """
    return together(criterion, [descent(theta, scale, inverse, max_steps, enough)])[0]


def together(criterion: Criterion, descents: Sequence[Descent]) -> list[Optimum]:
    """Descents side by side: what they ask for is evaluated at once."""
    ends: dict[int, Optimum] = {}
    asked: dict[int, np.ndarray] = {}

    def go(i: int, answer: Answer | None) -> None:
        try:
            asked[i] = descents[i].send(answer)  # type: ignore[arg-type]  # None starts it
        except StopIteration as end:
            ends[i] = end.value
            asked.pop(i, None)

    with np.errstate(all="ignore"):
        for i in range(len(descents)):
            go(i, None)
        while asked:
            who = list(asked)
            for i, answer in zip(who, _evaluated(criterion, list(asked.values())), strict=True):
                go(i, answer)
    return [ends[i] for i in range(len(descents))]


def _evaluated(criterion: Criterion, thetas: list[np.ndarray]) -> list[Answer]:
    """Value and gradient at each θ; infinity and None where there is none."""
    try:
        values, gradients = criterion.many(np.array(thetas))
    except np.linalg.LinAlgError:
        return [(np.inf, None)] if len(thetas) == 1 else [_evaluated(criterion, [theta])[0] for theta in thetas]
    return [
        (v, g) if isfinite(v) and np.isfinite(g).all() else (np.inf, None)
        for v, g in zip(values.tolist(), gradients, strict=True)
    ]


def descent(
    theta: np.ndarray,
    scale: np.ndarray,
    inverse: np.ndarray,
    max_steps: int = 200,
    enough: float = 0.0,
    known: Answer | None = None,
) -> Descent:
    """``bfgs`` as a generator: it asks for the criterion at a θ and is sent value and gradient (``known`` at the start
    where they are)."""
    phi = theta / scale
    f, g = (yield theta) if known is None else known
    g = None if g is None else g * scale
    first = inverse if inverse.ndim == 2 else np.diag(inverse)
    metric = first
    if g is None:
        return Optimum(
            theta, np.inf, np.full(len(theta), np.nan), scale, False, message="the criterion is not finite at the start"
        )
    fresh, stalled = inverse.ndim == 1, 0
    for _ in range(max_steps):
        noise = 2e-14 * max(abs(f), 1.0)
        step = -metric @ g
        slope = float(step @ g)
        if slope >= 0:
            metric, fresh = first, True
            step = -metric @ g
            slope = float(step @ g)
        if -slope < max(noise, enough):
            return Optimum(phi * scale, f, g / scale, scale, True, metric=metric)
        # Capped so that no step can land a standard deviation on zero, which is stationary.
        cap = CAP / float((np.abs(step) / np.maximum(np.abs(phi), 1.0)).max())
        t = min(1.0, cap)
        low, high = 0.0, np.inf
        accepted = False
        for _ in range(25):
            new_f, new_g = yield (phi + t * step) * scale
            new_g = None if new_g is None else new_g * scale
            if new_g is None or new_f > f + 1e-4 * t * slope + noise:
                high = t
                # Quadratic interpolation where both ends are known, halving otherwise.
                curve = (new_f - f - t * slope) if isfinite(new_f) else np.inf
                trial = -slope * t * t / (2 * curve) if isfinite(curve) and curve > 0 else 0.25 * t
                t = min(max(trial, low + 0.1 * (t - low)), low + 0.6 * (t - low)) if trial > low else 0.5 * (low + t)
            elif float(new_g @ step) < 0.9 * slope and t < cap and high == np.inf:
                low = t
                t = min(2.5 * t, cap)
            else:
                accepted = True
            if accepted:
                break
        if new_g is None or new_f > f + noise:
            if fresh:
                done = -slope < 1e3 * noise
                return Optimum(phi * scale, f, g / scale, scale, done, message="" if done else "the line search failed")
            metric, fresh = first, True
            continue
        s, d = t * step, new_g - g
        phi, curvature = phi + s, float(s @ d)
        if curvature > 1e-12 * sqrt(float(s @ s) * float(d @ d)):
            if fresh:
                # First step: size the metric to the curvature just seen (Nocedal & Wright 2006, eq. 6.20).
                metric = metric * float(curvature / (d @ metric @ d))
            metric = updated(metric, s, d, curvature)
            fresh = False
        gain = f - new_f
        stalled = stalled + 1 if gain < 1e-11 * max(abs(f), 1.0) else 0
        if (gain < noise and np.abs(new_g).max() < 1e-5) or stalled > 8:
            return Optimum(phi * scale, new_f, new_g / scale, scale, True, metric=metric)
        f, g = new_f, new_g
    return Optimum(phi * scale, f, g / scale, scale, False, message=f"no convergence in {max_steps} steps")


def updated(metric: np.ndarray, s: np.ndarray, d: np.ndarray, curvature: float) -> np.ndarray:
    """BFGS update of an inverse Hessian by a step s and its change of gradient d, curvature = s'd (eq. 6.17 there)."""
    h = metric @ d
    half = (h - (0.5 * (1.0 + float(h @ d) / curvature)) * s) / curvature
    cross = half[:, None] * s
    return metric - cross - cross.T


def newton(criterion: Criterion, optimum: Optimum, free: np.ndarray | None = None, max_steps: int = 25) -> Optimum:
    """Polish with exact Hessians (absolute eigenvalues); leaves saddles along negative curvature.

    Args:
        free: entries of θ that may move; all by default.
    """
    theta, f, g, scale = optimum.theta, optimum.value, optimum.gradient, optimum.scale
    free = np.ones(len(theta), dtype=bool) if free is None else free
    converged, message = optimum.converged, optimum.message
    hessian, kept = None, None
    for iteration in range(max_steps + 1):
        noise = 2e-14 * max(abs(f), 1.0)
        hessian = criterion.hessian(theta)
        h = (hessian * np.outer(scale, scale))[np.ix_(free, free)]
        gs = (g * scale)[free]
        values, vectors = np.linalg.eigh(h)
        top = max(np.abs(values).max(initial=0.0), 1e-300)
        size = np.maximum(np.abs(values), 1e-9 * top)
        along = vectors.T @ gs
        decrease = 0.5 * float(np.sum(along**2 / size))
        saddle = values.min(initial=0.0) < -1e-7 * top
        if (decrease < 0.5 * noise and not saddle) or iteration == max_steps:
            converged = decrease < 1e2 * noise and not saddle
            # One more step with the Hessian at hand: the criterion no longer sees it, the estimates' last digits do.
            if decrease < 1e2 * noise and not saddle:
                trial = theta.copy()
                trial[free] -= (vectors @ (along / size)) * scale[free]
                out = criterion.evaluate(trial)
                if np.abs((out.gradient * scale)[free]).max(initial=0.0) < np.abs(gs).max(initial=0.0):
                    theta, f, g, kept = trial, float(out.value), out.gradient, out
            break
        step = -vectors @ (along / size)
        if saddle:
            direction = vectors[:, 0] * (-np.sign(along[0]) or 1.0)
            step = step + 0.3 * direction
        room = np.maximum(np.abs(theta / scale), 1.0)[free]
        step *= min(1.0, 1.0 / max(np.max(np.abs(step) / room), 1e-300))
        moved = False
        for t in (1.0, 0.5, 0.2, 0.05, 0.01):
            trial = theta.copy()
            trial[free] += t * step * scale[free]
            with np.errstate(all="ignore"):
                try:
                    out = criterion.evaluate(trial)
                except np.linalg.LinAlgError:
                    continue
            value = float(out.value)
            better_gradient = np.isfinite(value) and np.abs((out.gradient * scale)[free]).max() < np.abs(gs).max()
            if value < f - noise or (abs(value - f) <= 4 * noise and better_gradient):
                gain = f - value
                theta, f, g, kept, moved = trial, value, out.gradient, out, True
                break
        if not moved:
            # Where no step helps, the criterion's own rounding decides: it grows with the conditioning of the model.
            converged = decrease < 1e-9 * max(abs(f), 1.0) and not saddle
            break
        if gain <= noise and decrease < 10 * noise and not saddle:
            converged = True
            hessian = criterion.hessian(theta)
            break
    others = list(optimum.others)
    return Optimum(theta, f, g, scale, converged, hessian, message, others, evaluation=kept)
