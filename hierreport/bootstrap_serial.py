"""The bootstrap of models with serially correlated errors: lagged moments do not suffice, outcomes are drawn as rows.

What a fit then reads of a drawn outcome are lagged sums again, so that the design's own moments are made once; the cost
grows with the number of rows, unlike that of ``resample``.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np

from .batch import Outcomes
from .batch_fit import BatchFit, Fits
from .batch_optimizer import minimise
from .bootstrap_pairs import embedded
from .bootstrap_pooled import closed_form
from .bootstrap_rows import Rows, RowSimulator, chunk_size
from .criterion import Criterion
from .criterion_serial import SerialStack, serial_stack
from .mixed import State, lifted, parameter_scale, snap
from .mixed import minimise as minimise_one
from .optimizer import Optimum
from .parallel import chunks
from .smallmat import solve_upper_transposed

# A refit is settled where the decrease of the deviance still promised is below this: a thousandth of a standard error.
SETTLED = 1e-6
# Outcomes whose criteria are evaluated at once: more would not stay in the processor's cache.
AT_ONCE = 16


class SerialFit:
    """Refits of one model to outcomes drawn as rows.

    Args:
        state: the model's own optimum.
        rows: of the panel.
        starts: θ to start from besides the optimum's.
    """

    def __init__(self, state: State, rows: Rows, starts: list[np.ndarray] | None = None) -> None:
        self.state, self.rows = state, rows
        self.criterion = state.criterion
        problem = self.problem = state.criterion.problem
        self.a = len(problem.total) - 1
        self.columns = rows.stored @ problem.basis.transform[:, : self.a]
        self.errors: Any = self.criterion.errors
        if self.errors is None:
            if problem.levels:
                self.batch = BatchFit(
                    problem, self.criterion.factored, self.criterion.reml, state.theta, state.optimum.hessian
                )
            return
        self.starts = [lifted(self.criterion, t) for t in [state.theta, *(starts or [])]]
        self.scale, _ = parameter_scale(self.criterion, self.starts[0])
        size, vectors = np.linalg.eigh(self.criterion.hessian(self.starts[0]) * np.outer(self.scale, self.scale))
        self.metric = (vectors / np.maximum(np.abs(size), 1e-4 * np.abs(size).max())) @ vectors.T
        errors: Any = self.criterion.errors
        gap = rows.gap if errors.continuous else np.round(rows.gap)
        outer = problem.levels[1].starts if len(problem.levels) > 1 else np.array([0])
        known: Any = self.criterion
        self.views = [("_all", np.arange(self.a), self._runs(gap, outer, known._all))]
        if problem.levels:
            inner = problem.levels[0]
            self.views.append(("_rows", inner.index, self._runs(gap, inner.starts, known._rows)))

    def _runs(self, gap: np.ndarray, starts: np.ndarray, view: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        """For the first rows, then for each gap of the view: its rows, and where their owners begin."""
        owner = np.searchsorted(starts, self.rows.group, side="right") - 1
        out = []
        for chosen in [gap == 0, *(gap == part.gap for part in view.parts)]:
            rows = np.flatnonzero(chosen)
            out.append((rows, np.flatnonzero(np.diff(owner[rows], prepend=-1))))
        return out

    def fit(self, y: np.ndarray) -> tuple[Fits, np.ndarray]:
        """Fits of the columns of y (user's scale, less Xβ), and their ρ (NaN for independent errors)."""
        y = y / self.problem.basis.y_scale
        draws = y.shape[1]
        if self.errors is None:
            fits = self.batch(self._outcomes(y)) if self.problem.levels else self._pooled(y)
            return fits, np.full(draws, np.nan)
        sums = {name: [self._sums(index, *run, y, k) for k, run in enumerate(runs)] for name, index, runs in self.views}
        return self._each(list(self._criteria(sums, draws)), self._stacked(sums))

    def _pooled(self, y: np.ndarray) -> Fits:
        return closed_form(self.state, (self.columns.T @ y).T, np.sum(y * y, axis=0))

    def _outcomes(self, y: np.ndarray) -> Outcomes:
        problem, factored = self.problem, self.criterion.factored
        level = problem.levels[0]
        owner = np.searchsorted(level.starts, self.rows.group, side="right") - 1
        begin = np.flatnonzero(np.diff(owner, prepend=-1))
        z_y = np.stack([np.add.reduceat(self.columns[:, j, None] * y, begin, axis=0).T for j in level.index])
        root = np.broadcast_to(factored.root[:, :, None], (*factored.root.shape[:2], *z_y.shape[1:]))
        cross = solve_upper_transposed(root, z_y)
        parent = begin[factored.starts]
        a_y = np.stack([np.add.reduceat(c[:, None] * y, parent, axis=0).T for c in self.columns.T])
        product = np.einsum("iag,idg->adg", factored.cross[:, : self.a], cross)
        rest = a_y - np.add.reduceat(product, factored.starts, axis=2)
        rest[~np.any(factored.rest[: self.a], axis=(1, 2))] = 0.0
        return Outcomes(cross, rest, np.sum(y * y, axis=0) - np.einsum("idg,idg->d", cross, cross))

    def _stacked(self, sums: dict[str, list[np.ndarray]]) -> SerialStack | None:
        """What evaluates many outcomes at once, where that pays."""
        stack = serial_stack(self.criterion)
        if stack is None:
            return None
        own = {}
        for name, (first, *parts) in sums.items():
            view: Any = getattr(self.criterion, name)
            rows = view.first.shape[0]  # the outcome's own product only where its row is there
            out = np.zeros((rows, first.shape[3], 1 + 3 * len(parts), view.first.shape[2]))
            out[:, :, 0] = first[0, :rows].transpose(0, 2, 1)
            for number, (part, kinds) in enumerate(zip(view.parts, parts, strict=True)):
                at = 1 + 3 * number
                out[:, :, at : at + 3, part.group] = kinds[:, :rows].transpose(1, 3, 0, 2)
            own[name] = out
        return stack.with_outcomes(own["_rows"], own["_all"])

    def _criteria(self, sums: dict[str, list[np.ndarray]], draws: int) -> Iterator[Criterion]:
        """The model's criterion with each outcome in turn in place of the observed one."""
        for d in range(draws):
            criterion = copy(self.criterion)
            criterion._stack = None  # its sums are of the observed outcome
            for name, _, _ in self.views:
                view = copy(getattr(self.criterion, name))
                first, *parts = sums[name]
                view.first = self._replaced(view.first, first[0], d)
                view.parts = [self._with_sums(part, own, d) for part, own in zip(view.parts, parts, strict=True)]
                setattr(criterion, name, view)
            yield criterion

    def _sums(self, index: np.ndarray, rows: np.ndarray, begin: np.ndarray, y: np.ndarray, number: int) -> Any:
        """Sums of products of columns and outcomes by owner: w_t y_t, w_t y_{t−d} + w_{t−d} y_t, w_{t−d} y_{t−d}.

        The outcome's own products follow those of the columns; the first rows have the first kind only.
        (kinds, columns + 1, K, D)
        """
        now = [*self.columns[rows][:, index].T]
        y_now = y[rows]

        def by_owner(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values, begin, axis=0)

        out = [[by_owner(w[:, None] * y_now) for w in now] + [by_owner(y_now * y_now)]]
        if number:
            before, y_before = [*self.columns[rows - 1][:, index].T], y[rows - 1]
            pairs = list(zip(now, before, strict=True))
            out.append([by_owner(w[:, None] * y_before + v[:, None] * y_now) for w, v in pairs])
            out[-1].append(by_owner(2.0 * y_now * y_before))
            out.append([by_owner(v[:, None] * y_before) for v in before] + [by_owner(y_before * y_before)])
        return np.array(out)

    def _replaced(self, stack: np.ndarray, sums: np.ndarray, draw: int) -> np.ndarray:
        """Moments (rows, q, K) with one draw in the outcome's column, and in its row where they have one."""
        out, own = stack.copy(), sums[:, :, draw]
        if stack.shape[0] == stack.shape[1]:
            out[:-1, -1], out[-1, :-1], out[-1, -1] = own[:-1], own[:-1], own[-1]
        else:
            out[:, -1] = own[:-1]
        return out

    def _with_sums(self, part: Any, sums: np.ndarray, draw: int) -> Any:
        stacks = [self._replaced(stack, own, draw) for stack, own in zip(part.sums, sums, strict=True)]
        return type(part)(part.gap, part.group, part.count, np.array(stacks), part.counts)

    def _each(self, criteria: list[Criterion], stack: SerialStack | None) -> tuple[Fits, np.ndarray]:
        """Every outcome's fit, side by side, from each start; and their ρ."""
        count = len(self.starts)

        def one_by_one(phi: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values, gradients = np.full(len(phi), np.inf), np.zeros_like(phi)
            for row, (x, number) in enumerate(zip(phi, who, strict=True)):
                try:
                    found = criteria[number // count].evaluate(x * self.scale)
                except np.linalg.LinAlgError:
                    continue
                values[row], gradients[row] = float(found.value), found.gradient * self.scale
            return values, gradients

        def some(phi: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if stack is None:
                return one_by_one(phi, who)
            try:
                value, gradient = stack.outcomes(who // count).evaluate(self.criterion, phi * self.scale)
            except np.linalg.LinAlgError:
                return one_by_one(phi, who)
            return value, gradient * self.scale

        def function(phi: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with np.errstate(all="ignore"):
                parts = [some(phi[a : a + AT_ONCE], who[a : a + AT_ONCE]) for a in range(0, len(phi), AT_ONCE)]
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

        ends = minimise(function, np.tile(np.array(self.starts) / self.scale, (len(criteria), 1)), self.metric, SETTLED)
        fits, rho = [], []
        for d, criterion in enumerate(criteria):
            best = d * count + int(np.argmin(ends.value[d * count : (d + 1) * count]))
            theta, converged = ends.x[best] * self.scale, bool(ends.converged[best])
            if converged:
                optimum = Optimum(theta, float(ends.value[best]), ends.gradient[best], self.scale, True)
                theta = snap(criterion, optimum).theta
            else:
                again = minimise_one(criterion, self.starts).optimum
                theta, converged = again.theta, again.converged
            found = criterion.evaluate(theta, gradient=False)
            r2 = float(found.r2.real)
            fits.append(
                Fits(
                    np.array([float(found.value.real)]),
                    [(f @ f.T)[None] for f in criterion.parameters.factors(theta)],
                    found.beta.real[None],
                    np.array([np.sqrt(r2 / criterion.nu)]),
                    np.array([converged and r2 > 0]),
                    int(not ends.converged[best]),
                    ends.evaluations if d == 0 else 0,
                )
            )
            rho.append(float(self.errors.rho(theta[criterion.parameters.n_lambda :])))
        return Fits.join(fits), np.array(rho)


def serial_fits(state: State, rows: Rows, n: int, seed: int) -> tuple[Fits, np.ndarray]:
    """Refits of n outcomes drawn from a model's own estimate, and their ρ."""
    simulator, refit = RowSimulator(state, rows), SerialFit(state, rows)
    parts = [refit.fit(simulator.draw(seed, part)) for part in chunks(n, chunk_size(rows))]
    return Fits.join([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def serial_pairs(null: State, alternative: State, rows: Rows, n: int, seed: int) -> tuple[Fits, Fits]:
    """Fits of both models to n outcomes drawn from the null: the null's, the alternative's."""
    wide, small = alternative.criterion.problem, null.criterion.problem
    errors: Any = alternative.criterion.errors

    def start(covariances: list[np.ndarray], rho: float) -> np.ndarray:
        phi = errors.phi(rho) if np.isfinite(rho) and rho != 0 else errors.starts()[0]
        return np.append(embedded(wide, small, covariances), phi)

    simulator, base = RowSimulator(null, rows), SerialFit(null, rows)
    rho = float("nan") if null.rho is None else null.rho
    other = SerialFit(alternative, rows, [start([f @ f.T for f in null.factors], rho)])
    found = []
    for part in chunks(n, chunk_size(rows)):
        y = simulator.draw(seed, part)
        (lower, rhos), (upper, _) = base.fit(y), other.fit(y)
        # The null's own estimate lies in the alternative's reach: a start from there can only do better.
        for d in np.flatnonzero(upper.value > lower.value + 1e-6):
            again = SerialFit(alternative, rows, [start([t[d] for t in lower.covariances], rhos[d])])
            upper.replace(int(d), again.fit(y[:, d : d + 1])[0])
        found.append((lower, upper))
    return Fits.join([f[0] for f in found]), Fits.join([f[1] for f in found])
