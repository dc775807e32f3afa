"""Many small minimisations side by side: BFGS from a common metric, one evaluation of all unfinished ones per round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CAP = 0.7

# x (n, m) and the numbers of the n problems that it belongs to → values (n,), gradients (n, m)
Function = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass
class Ends:
    """Where the minimisations ended: x (n, m), value (n,), gradient (n, m), converged (n,), evaluations in all."""

    x: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    converged: np.ndarray
    evaluations: int


def minimise(
    function: Function, x: np.ndarray, metric: np.ndarray, tolerance: np.ndarray | float = 1e-9, max_rounds: int = 80
) -> Ends:
    """Minimise n functions of m variables.

    Args:
        function: values and gradients at points of some of the problems; a value that is not finite means "not there".
        x: starts, in units in which a step of one is a long one. (n, m)
        metric: initial inverse Hessians, (m, m) or (n, m, m).
        tolerance: a problem is done where the decrease that its metric promises is below this. (n,) or a number
    """
    x = np.array(x, dtype=float)
    n, m = x.shape
    start = np.broadcast_to(metric, (n, m, m))
    metric = start.copy()
    tolerance = np.broadcast_to(np.asarray(tolerance, dtype=float), (n,))
    value, gradient = np.empty(n), np.empty((n, m))
    value[:], gradient[:] = _finite(*function(x, np.arange(n)))
    evaluations = n
    converged, active = np.zeros(n, dtype=bool), np.isfinite(value)
    step, slope, length = np.zeros((n, m)), np.zeros(n), np.zeros(n)
    fresh, tries = np.ones(n, dtype=bool), np.zeros(n, dtype=int)
    ready = active.copy()  # needs a new direction
    for _ in range(max_rounds):
        who = np.flatnonzero(active & ready)
        if len(who):
            step[who] = -np.einsum("nij,nj->ni", metric[who], gradient[who])
            slope[who] = np.einsum("ni,ni->n", step[who], gradient[who])
            done = who[-0.5 * slope[who] < tolerance[who]]
            converged[done], active[done] = True, False
            who = who[active[who]]
            longest = np.abs(step[who]).max(axis=1, initial=0.0)
            length[who] = np.minimum(1.0, CAP / np.maximum(longest, 1e-300))
            tries[who], ready[who] = 0, False
        who = np.flatnonzero(active)
        if not len(who):
            break
        trial = x[who] + length[who, None] * step[who]
        new_value, new_gradient = _finite(*function(trial, who))
        evaluations += len(who)
        noise = np.maximum(tolerance[who], 2e-14 * np.abs(value[who]))
        with np.errstate(invalid="ignore"):
            good = new_value <= value[who] + 1e-4 * length[who] * slope[who] + noise
        _accept(who[good], trial[good], new_value[good], new_gradient[good], x, value, gradient, metric, fresh)
        ready[who[good]] = True
        _shorten(who[~good], new_value[~good], value, slope, length, tries)
        # A direction that fails again and again: back to the first metric; if that was it, give up.
        stuck = who[tries[who] > 12]
        again = stuck[~fresh[stuck]]
        metric[again], fresh[again], ready[again] = start[again], True, True
        lost = np.setdiff1d(stuck, again, assume_unique=True)
        active[lost] = False
        converged[lost] = -0.5 * slope[lost] < 1e3 * noise.max(initial=0.0)
    return Ends(x, value, gradient, converged, evaluations)


def _finite(value: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bad = ~(np.isfinite(value) & np.isfinite(gradient).all(axis=1))
    return np.where(bad, np.inf, value), np.where(bad[:, None], 0.0, gradient)


def _accept(who, trial, new_value, new_gradient, x, value, gradient, metric, fresh) -> None:
    """Move there, and update the metric (Nocedal & Wright 2006, eq. 6.17) where the step met positive curvature."""
    s, d = trial - x[who], new_gradient - gradient[who]
    x[who], value[who], gradient[who] = trial, new_value, new_gradient
    curvature = np.einsum("ni,ni->n", s, d)
    norms = np.linalg.norm(s, axis=1) * np.linalg.norm(d, axis=1)
    flat = curvature <= 1e-10 * norms
    # No curvature along the step: the metric was too small for this direction.
    metric[who[flat]] *= 2.5
    who, s, d, curvature = who[~flat], s[~flat], d[~flat], curvature[~flat]
    h = metric[who]
    h_d = np.einsum("nij,nj->ni", h, d)
    d_h_d = np.einsum("ni,ni->n", d, h_d)
    outer = s[:, :, None] * s[:, None, :]
    mixed = h_d[:, :, None] * s[:, None, :]
    metric[who] = (
        h
        + ((curvature + d_h_d) / curvature**2)[:, None, None] * outer
        - (mixed + mixed.transpose(0, 2, 1)) / curvature[:, None, None]
    )
    fresh[who] = False


def _shorten(who, new_value, value, slope, length, tries) -> None:
    """The minimum of the parabola through what is known, kept between a tenth and six tenths of the step."""
    t = length[who]
    with np.errstate(invalid="ignore", over="ignore"):
        excess = new_value - value[who] - t * slope[who]
        best = np.where(np.isfinite(excess) & (excess > 0), -slope[who] * t * t / (2.0 * excess), 0.25 * t)
    length[who] = np.clip(best, 0.1 * t, 0.6 * t)
    tries[who] += 1
