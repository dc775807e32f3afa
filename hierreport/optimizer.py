"""Minimising the criterion: BFGS with a step cap, then Newton steps with the exact Hessian, and a certificate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt

import numpy as np

from .criterion import Criterion, Evaluation

CAP = 0.7
# Least size of an entry, as a share of that at the start (of the noise, where that is less), that Newton steps are
# measured by, and that they may move by at least where the criterion is convex.
FLOOR, ROOM = 0.05, 0.2

# Value, gradient, and the Hessian for those who ask for it; infinity and None where there is none.
Answer = tuple[float, np.ndarray | None, np.ndarray | None]


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


def together(criterion: Criterion, descents: Sequence[Descent], curvature: bool = False) -> list[Optimum]:
    """Descents side by side: what they ask for is evaluated at once, with the Hessian if they need it."""
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
            for i, answer in zip(who, _answers(criterion, list(asked.values()), curvature), strict=True):
                go(i, answer)
    return [ends[i] for i in range(len(descents))]


def _answers(criterion: Criterion, thetas: list[np.ndarray], curvature: bool) -> list[Answer]:
    """Value, gradient and, if asked for, exact Hessian at each θ."""
    asked = np.array(thetas)
    try:
        values, gradients, *hessians = criterion.curved(asked) if curvature else criterion.many(asked)
    except np.linalg.LinAlgError:
        return [_NOTHING] if len(thetas) == 1 else [_answers(criterion, [theta], curvature)[0] for theta in thetas]
    curves = hessians[0] if hessians else [None] * len(thetas)
    return [
        (v, g, h) if isfinite(v) and np.isfinite(g).all() and (h is None or np.isfinite(h).all()) else _NOTHING
        for v, g, h in zip(values.tolist(), gradients, curves, strict=True)
    ]


_NOTHING: Answer = (np.inf, None, None)


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
    f, g, _ = (yield theta) if known is None else known
    g = None if g is None else g * scale
    first = inverse if inverse.ndim == 2 else np.diag(inverse)
    metric = first
    if g is None:
        return _nowhere(theta, scale)
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
            new_f, new_g, _ = yield (phi + t * step) * scale
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


def _nowhere(theta: np.ndarray, scale: np.ndarray) -> Optimum:
    message = "the criterion is not finite at the start"
    return Optimum(theta, np.inf, np.full(len(theta), np.nan), scale, False, message=message)


def newton(criterion: Criterion, optimum: Optimum, enough: float = 0.0) -> Optimum:
    """Polish with exact Hessians, and one step more, beyond what the criterion sees, for the last digits.

    Args:
        enough: predicted decrease that is left to that last step; the Hessian is that of where it starts.
    """
    known = (optimum.value, optimum.gradient, optimum.hessian) if optimum.hessian is not None else None
    steps = newton_descent(optimum.theta, optimum.scale, criterion.parameters.sizes, enough, known=known)
    end = together(criterion, [steps], curvature=True)[0]
    end.others = optimum.others
    if not end.converged:
        return end
    last = last_step(criterion, end)
    if enough and last.hessian is not None:
        left = np.linalg.lstsq(last.hessian, last.gradient, rcond=1e-9)[0] @ last.gradient
        if not left < 1e-9:
            return newton(criterion, replace(last, hessian=None))
    return last


def newton_descent(
    theta: np.ndarray,
    scale: np.ndarray,
    sizes: Callable[[np.ndarray], np.ndarray],
    enough: float = 0.0,
    known: Answer | None = None,
    flat: float = 0.0,
    met: Callable[[np.ndarray, float], Optimum | None] | None = None,
    max_steps: int = 60,
) -> Descent:
    """Newton steps with exact Hessians as a generator: asks for the criterion at a θ, is sent value, gradient, Hessian.

    Eigenvalues count by their absolute values; a saddle is left along its negative curvature. Stops when the predicted
    decrease is below the rounding noise of the criterion, or below ``enough``.

    Args:
        sizes: typical size of each entry at a θ.
        known: the answer at the start, where it is known.
        flat: negative curvature, of a step as large as an entry, that is not followed.
        met: the end of another descent that this one need not go on to, being led to a θ and a value.
    """
    f, g, hessian = (yield theta) if known is None else known
    if g is None or hessian is None:
        return _nowhere(theta, scale)
    usual = np.minimum(scale, 1.0)
    least, room = FLOOR * usual, ROOM * usual
    converged = False
    for iteration in range(max_steps + 1):
        noise = 2e-14 * max(abs(f), 1.0)
        part = np.maximum(sizes(theta), least)
        values, vectors, size, top = _spectrum(hessian, part)
        gs = g * part
        along = vectors.T @ gs
        decrease = 0.5 * float(np.sum(along**2 / size))
        saddle = len(values) > 0 and values[0] < -max(1e-7 * top, flat)
        settled = flat > 0.0 or not len(values) or values[0] > 1e-9 * top
        if not saddle and decrease < max(0.5 * noise, enough if settled else 0.0):
            converged = True
            break
        if iteration == max_steps:
            converged = decrease < 1e2 * noise and not saddle
            break
        move = along / size
        if saddle:
            # Down the negative curvature, where the others tell little; no further than would lead through zero to a
            # mirror image of where this is.
            move = np.clip(along / np.maximum(size, size[0]), -CAP, CAP)
            if abs(move[0]) < 0.3:
                move[0] = -0.3 if along[0] < 0 else 0.3
        step = -vectors @ move
        if not saddle:
            # Capped so that no step can land a standard deviation on zero, which is stationary.
            most = float(np.max(np.abs(step) * part / np.maximum(part, room)))
            step = step * min(1.0, CAP / max(most, 1e-300))
        if met is not None and not saddle and (other := met(theta + step * part, f - decrease)) is not None:
            return other
        largest, moved = np.abs(gs).max(), False
        for t in (1.0, 0.5, 0.2, 0.05, 0.01):
            trial = theta + t * step * part
            value, gradient, curvature = yield trial
            if gradient is None or curvature is None:
                continue
            better_gradient = np.abs(gradient * part).max() < largest
            if value < f - noise or (abs(value - f) <= 4 * noise and better_gradient):
                gain = f - value
                theta, f, g, hessian, moved = trial, value, gradient, curvature, True
                break
        if not moved:
            # Where no step helps, the criterion's own rounding decides: it grows with the conditioning of the model.
            converged = decrease < 1e-9 * max(abs(f), 1.0) and not saddle
            break
        if gain <= noise and decrease < 10 * noise and not saddle:
            converged = True
            break
    message = "" if converged else f"no convergence in {iteration} Newton steps"
    return Optimum(theta, f, g, scale, converged, hessian, message)


def _spectrum(hessian: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Eigenvalues and vectors of a Hessian in scaled parameters, their sizes kept from zero, and the largest size."""
    values, vectors = np.linalg.eigh(hessian * (scale[:, None] * scale))
    size = np.abs(values)
    top = max(float(size.max(initial=0.0)), 1e-300)
    return values, vectors, np.maximum(size, 1e-9 * top), top


def last_step(criterion: Criterion, end: Optimum) -> Optimum:
    """One more Newton step with the Hessian at hand; keeps the criterion's evaluation where it ends."""
    assert end.hessian is not None
    scale = end.scale
    _, vectors, size, _ = _spectrum(end.hessian, scale)
    gs = end.gradient * scale
    theta = end.theta - (vectors @ ((vectors.T @ gs) / size)) * scale
    try:
        out = criterion.evaluate(theta)
    except np.linalg.LinAlgError:
        return end
    if np.abs(out.gradient * scale).max(initial=0.0) < np.abs(gs).max(initial=0.0):
        return replace(end, theta=theta, value=float(out.value), gradient=out.gradient, evaluation=out)
    return end
