"""Profile likelihood intervals: the range of a parameter over all models whose deviance is within z² of the best.

Fixed effects and σ are maximised and minimised directly over that region; standard deviations, correlations, shares
of variance (ICC) and serial correlation are followed outwards, the others re-optimised, until the deviance has risen
by z² (``profile_follow``). Everything works from moments. Source: Bates, Mächler, Bolker & Walker (2015), sec. 5.1, for
what lme4's ``confint(method="profile")`` computes, with which this agrees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from .batch_optimizer import minimise
from .errors import ModelError
from .intervals import Interval, Quantity, mean_products, quantities, values
from .mixed import MixedFit, State
from .profile_criterion import Held, hold
from .profile_follow import PRECISION, Follower, leave, safely
from .profile_layout import FLOOR, Layout
from .profile_maps import Coordinate, Correlation, Deviation, Entry, Share

KINDS = ("fixed", "sd", "correlation", "sigma", "rho", "icc")


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
        Intervals in the order of ``intervals.quantities``, ``rho`` after ``sigma``. A bound at the edge of the
        parameter space (0 for a standard deviation or a share, ±1 for a correlation) is the edge itself.

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
        self.z = NormalDist().inv_cdf(0.5 + 0.5 * coverage)
        self.best = state.optimum.value
        self.components = self.criterion.parameters.levels
        self.covariances = [f @ f.T for f in state.factors]
        self.phi = state.theta[self.criterion.parameters.n_lambda :]
        self.log_sigma = float(np.log(state.sigma / self.problem.basis.y_scale))
        self.method = "profile " + ("REML" if self.criterion.reml else "ML")
        self.lower_value = 0.0
        self._ends: dict[tuple[Quantity, int], tuple[float | None, str]] = {}

    def intervals(self, kinds: set[str]) -> list[Interval]:
        """Intervals of the kinds asked for."""
        state = self.state
        known = quantities(self.problem)
        estimates = values(
            self.problem,
            [t[None] for t in self.covariances],
            np.array([state.sigma]),
            state.evaluation.beta.real[None],
            self._spread(self.phi)[0],
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
        if quantity.kind == "icc" and quantity.level == "residual":
            side = -side
            if len(self.components) == 1:  # what the only level leaves
                end, note = self._followed(replace(quantity, level=self.components[0].name), side)
                return (None if end is None else 1.0 - end), note
        return self._followed(quantity, side)

    def _followed(self, quantity: Quantity, side: int) -> tuple[float | None, str]:
        if (quantity, side) not in self._ends:
            coordinate = self._coordinate(quantity)
            end, note = Follower(self, coordinate, side).end()
            self._ends[quantity, side] = (None if end is None else coordinate.value(end)), note
        return self._ends[quantity, side]

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
        scale = np.maximum(optimum.scale, FLOOR)
        size, vectors = np.linalg.eigh(optimum.hessian * np.outer(scale, scale))
        size = np.maximum(np.abs(size), 1e-7 * np.abs(size).max())
        metric = 2.0 * self.z * (vectors / size) @ vectors.T

        last: list[np.ndarray] = []

        def function(x: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, gradient, by_t = safely(held, x[0] * scale)
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
            errors: Any = self.criterion.errors
            return Entry(layout, int(layout.phi_at[0]), lambda c: errors.rho(np.array([c])))
        gram = mean_products(self.problem)
        transform = self.problem.basis.transform
        grams = [transform[:, level.index].T @ gram @ transform[:, level.index] for level in self.components]
        component = None if quantity.level == "residual" else names.index(quantity.level)
        return Share(layout, grams, component, self._spread)

    def _spread(self, phi: np.ndarray) -> tuple[float, np.ndarray]:
        """Residual variance averaged over the rows, relative to σ², and its derivatives in φ."""
        errors = self.criterion.errors
        return (1.0, np.zeros(0)) if errors is None else errors.spread(phi)

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
            gradient: Any = held.evaluate(at).gradient
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
