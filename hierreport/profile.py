"""Profile likelihood intervals: the range of a parameter over all models whose deviance is within z² of the best.

Fixed effects and σ are maximised and minimised directly over that region; standard deviations, correlations, shares of
variance (ICC) and serial correlation are followed outwards, the others re-optimised, until the deviance has risen by z².
Everything works from moments. Agrees with lme4's ``confint(method="profile")`` where that converges.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from .batch_optimizer import minimise
from .errors import ModelError
from .intervals import Interval, Quantity, mean_products, quantities, values
from .mixed import MixedFit, State
from .problem import Level
from .profile_criterion import Held, HeldCriterion, hold
from .profile_maps import LIFT, Coordinate, Correlation, Deviation, Entry, Layout, Share

KINDS = ("fixed", "sd", "correlation", "sigma", "rho", "icc")
# Ends are found to about this share of a standard error.
PRECISION = 2e-5


def profile(
    fit: MixedFit, *, method: str = "ml", coverage: float = 0.95, kinds: Iterable[str] | None = None
) -> list[Interval]:
    """Profile intervals of a fit's parameters.

    Args:
        fit: a fitted model, of any error structure.
        method: ``"ml"`` (as lme4), or ``"reml"`` for the restricted likelihood, which has no fixed effects to profile.
        coverage: nominal coverage.
        kinds: which of ``KINDS``; all that the method allows by default. R² has no profile: use the bootstrap.

    Returns:
        Intervals in the order of ``intervals.quantities``, ``rho`` after ``sigma``. A bound at the edge of the parameter
        space (0 for a standard deviation or a share, ±1 for a correlation) is the edge itself.

    Raises:
        ModelError: an unknown kind, or fixed effects with REML.
    """
    wanted = set(KINDS if method.lower() == "ml" else KINDS[1:]) if kinds is None else set(kinds)
    if wanted - set(KINDS):
        raise ModelError(f"no profile of {', '.join(sorted(wanted - set(KINDS)))}.", do=f"Use {', '.join(KINDS)}.")
    if method.lower() == "reml" and "fixed" in wanted:
        raise ModelError("the restricted likelihood does not contain the fixed effects.", do='Use method="ml".')
    return Profiler(fit.state(method), coverage).intervals(wanted)


class Profiler:
    """Profiles of one optimum.

    Args:
        state: ML or REML.
        coverage: nominal coverage.
    """

    def __init__(self, state: State, coverage: float = 0.95) -> None:
        self.state, self.coverage = state, coverage
        self.criterion, self.problem = state.criterion, state.criterion.problem
        self.z = float(ndtri(0.5 + 0.5 * coverage))
        self.best = state.optimum.value
        self.components = self.criterion.parameters.levels
        self.covariances = [f @ f.T for f in state.factors]
        self.phi = state.theta[self.criterion.parameters.n_lambda :]
        self.log_sigma = float(np.log(state.sigma / self.problem.basis.y_scale))
        self.method = "profile " + ("REML" if self.criterion.reml else "ML")
        self.lower_value = 0.0

    def intervals(self, kinds: set[str]) -> list[Interval]:
        """Intervals of the kinds asked for."""
        state = self.state
        known = quantities(self.problem)
        estimates = values(
            self.problem,
            [t[None] for t in self.covariances],
            np.array([state.sigma]),
            state.evaluation.beta.real[None],
        )[0]
        pairs = [(q, float(e)) for q, e in zip(known, estimates, strict=True)]
        if state.rho is not None:
            at = 1 + max(i for i, (q, _) in enumerate(pairs) if q.kind == "sigma")
            pairs.insert(at, (Quantity("rho"), state.rho))
        return [self._interval(q, e) for q, e in pairs if q.kind in kinds]

    def _interval(self, quantity: Quantity, estimate: float) -> Interval:
        notes: list[str] = []
        ends: list[float | None] = []
        if np.isfinite(estimate):
            for side in (-1, 1):
                end, note = self._end(quantity, side)
                ends.append(end)
                if note and note not in notes:
                    notes.append(note)
        else:
            ends, notes = [None, None], ["not defined where a standard deviation is zero"]
        if self.lower_value < -1e-4:
            notes.append(f"the profile met a deviance {-self.lower_value:.2g} below the optimum's")
        return Interval(
            quantity.kind,
            quantity.level,
            quantity.terms,
            estimate if np.isfinite(estimate) else None,
            ends[0],
            ends[1],
            self.coverage,
            self.method,
            "; ".join(notes),
        )

    def _end(self, quantity: Quantity, side: int) -> tuple[float | None, str]:
        if quantity.kind == "fixed":
            return self._explicit(side, self._contrast(quantity.terms[0]))
        # Under serial correlation σ and ρ go together: at fixed θ the range of σ is a sliver of its profile.
        if quantity.kind == "sigma" and self.criterion.errors is None:
            end, note = self._explicit(side, None)
            return (None if end is None else float(np.exp(end) * self.problem.basis.y_scale)), note
        coordinate = self._coordinate(quantity)
        if quantity.kind == "icc" and quantity.level == "residual":
            side = -side
        end, note = Follower(self, coordinate, side).end()
        return (None if end is None else coordinate.value(end)), note

    # ------------------------------------------------------------------ fixed effects and σ

    def _contrast(self, term: str) -> np.ndarray:
        """l with l'β (working) = the user's coefficient, but for the shift of the intercept."""
        basis = self.problem.basis
        return np.linalg.inv(basis.p_x)[basis.fixed.index(term)] * basis.y_scale

    def _explicit(self, side: int, contrast: np.ndarray | None) -> tuple[float | None, str]:
        """The largest or smallest value over the region, a maximum over θ."""
        held = hold(self.criterion, Held(None, contrast, side, self.best + self.z**2))
        if contrast is None:
            unit, offset = 1.0 / np.sqrt(2.0 * self.criterion.nu), 0.0
        else:
            unit = float(np.sqrt(contrast @ np.linalg.solve(self.state.evaluation.xx.real, contrast)))
            unit *= float(np.exp(self.log_sigma))
            offset = self._shift(contrast)
        theta = self.state.theta
        if not len(theta):
            held.evaluate(theta, gradient=False)
            return held.limit + offset, ""
        optimum = self.state.optimum
        scale = optimum.scale
        size, vectors = np.linalg.eigh(optimum.hessian * np.outer(scale, scale))
        size = np.maximum(np.abs(size), 1e-4 * np.abs(size).max())
        metric = 2.0 * self.z * (vectors / size) @ vectors.T

        last: list[np.ndarray] = []

        def function(x: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, gradient, by_t = _safely(held, x[0] * scale)
            last[:] = by_t
            return np.array([value]) / unit, gradient[None] * scale / unit

        for _ in range(3):
            ends = minimise(function, theta[None] / scale, metric, 0.1 * PRECISION)
            theta = ends.x[0] * scale
            function(ends.x, np.zeros(1))
            lifted = leave(self.components, [f @ f.T for f in held.parameters.factors(theta)], last)
            if lifted is None:
                break
            theta = held.parameters.from_covariances(lifted, theta[held.parameters.n_lambda :])
        if not np.isfinite(ends.value[0]):
            return None, "no end was found"
        return -side * ends.value[0] * unit + offset, "" if ends.converged[0] else "an end is approximate"

    def _shift(self, contrast: np.ndarray) -> float:
        """What centring the outcome took out of this coefficient."""
        basis = self.problem.basis
        if not basis.y_shift:
            return 0.0
        return float(contrast[list(basis.fixed).index("(Intercept)")] / basis.y_scale * basis.y_shift)

    # ------------------------------------------------------------------ everything else

    def _coordinate(self, quantity: Quantity) -> Coordinate:
        names = [level.name for level in self.components]
        if quantity.kind in ("sd", "correlation"):
            number = names.index(quantity.level)
            level = self.components[number]
            members = tuple(level.terms.index(t) for t in quantity.terms)
            if len(members) == 1:
                # A column may stand in several blocks only under different names; the first match is the term's.
                members = (level.terms.index(quantity.terms[0]),)
            layout = self._layout((number, members))
            block = next(b for b in layout.blocks if b.number == number and b.members[0] == members[0])
            if quantity.kind == "sd":
                return Deviation(layout, block, self.state.sigma)
            return Correlation(layout, block)
        layout = self._layout(None)
        if quantity.kind == "sigma":
            scale = self.problem.basis.y_scale
            return Entry(layout, layout.size - 1, lambda c: float(np.exp(c) * scale))
        if quantity.kind == "rho":
            errors = self.criterion.errors
            return Entry(layout, int(layout.phi_at[0]), lambda c: errors.rho(np.array([c])))
        gram = mean_products(self.problem)
        transform = self.problem.basis.transform
        grams = [transform[:, level.index].T @ gram @ transform[:, level.index] for level in self.components]
        return Share(layout, grams, None if quantity.level == "residual" else names.index(quantity.level))

    def _layout(self, first: tuple[int, tuple[int, ...]] | None) -> Layout:
        return Layout(self.components, self.covariances, self.phi, self.log_sigma, first)

    @cached_property
    def _curvature(self) -> tuple[Layout, np.ndarray]:
        """Exact Hessian in (entries of Λ, φ, log σ) at the optimum by complex steps, and the layout of that Λ."""
        layout = self._layout(None)
        held = hold(self.criterion, Held(self.log_sigma), layout.parameters)
        theta = layout.to_full(layout.x_hat)
        size = len(theta) + 1
        out = np.empty((size, size))
        for j in range(size):
            at = theta.astype(complex)
            held.held = Held(complex(self.log_sigma, 1e-20 if j == size - 1 else 0.0))
            if j < size - 1:
                at[j] += 1e-20j
            gradient = held.evaluate(at).gradient
            out[j] = np.append(gradient, held.by_log_sigma).imag / 1e-20
        return layout, 0.5 * (out + out.T)

    def hessian(self, layout: Layout) -> np.ndarray:
        """The same for another layout, whose Λ is that one turned: Λ' = ΛQ, so that dΛ = dΛ'Q'."""
        reference, known = self._curvature
        turn = np.eye(len(known))
        theirs, ours = reference.to_full(reference.x_hat), layout.to_full(layout.x_hat)
        full = {(b.number, b.rows[0]): b.full for b in reference.blocks}
        for block in layout.blocks:
            at = full[block.number, block.rows[0]]
            left, _, right = np.linalg.svd(theirs[at].T @ ours[block.full])
            q = left @ right
            for row_to, row_from in zip(at, block.full, strict=True):
                turn[np.ix_(row_to, row_from)] = q
        return turn.T @ known @ turn


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

    def minimum(self, c: float, eta: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Deviance minimised over the others at c, its slope in c, and the others."""
        coordinate, layout, held = self.coordinate, self.coordinate.layout, self.held

        last: list[np.ndarray] = []

        def at(row: np.ndarray) -> tuple[float, float, np.ndarray]:
            x = coordinate.decode(c, row)
            held.held = Held(x[-1])
            value, gradient, by_t = _safely(held, layout.to_full(x))
            last[:] = by_t
            if not np.isfinite(value):
                return np.inf, 0.0, np.zeros(len(row))
            by_c, by_eta = coordinate.pull(c, row, layout.pull(gradient, float(np.real(held.by_log_sigma))))
            return value, by_c, by_eta

        def function(rows: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, _, by_eta = at(rows[0] * self.scale)
            return np.array([value]), by_eta[None] * self.scale

        for _ in range(3):
            ends = minimise(function, (eta / self.scale)[None], self.metric, 0.1 * PRECISION)
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


def _safely(held: HeldCriterion, theta: np.ndarray) -> tuple[float, np.ndarray, list[np.ndarray]]:
    """Value, gradient and ∂F/∂T; infinite where a matrix cannot be factored."""
    with np.errstate(all="ignore"):
        try:
            out = held.evaluate(theta)
        except np.linalg.LinAlgError:
            return np.inf, np.zeros(len(theta)), []
    assert out.gradient is not None and out.by_t is not None
    return float(np.real(out.value)), out.gradient, out.by_t
