"""ML or REML fits of many outcomes on one design, from one start with one metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .batch import Batch, Outcomes
from .batch_optimizer import minimise
from .criterion import Criterion, Factored, Parameters
from .criterion_stack import stacked_factors
from .mixed import minimise as minimise_one
from .mixed import parameter_scale
from .problem import Problem

TOLERANCE = 1e-9


def observed(factored: Factored, problem: Problem, beta: np.ndarray | None = None) -> Outcomes:
    """The observed outcome, less Xβ where β is given (working columns)."""
    a = len(problem.total) - 1
    b = np.zeros(a + 1)
    b[a] = 1.0
    if beta is not None:
        b[problem.basis.x_index] = -beta
    rest = np.einsum("ijp,j->ip", factored.rest, b)
    return Outcomes(
        np.einsum("ijg,j->ig", factored.cross, b)[:, None], rest[:a][:, None], np.array([float((b @ rest).sum())])
    )


@dataclass
class Fits:
    """Fits of D outcomes, in working columns.

    Attributes:
        value: deviance or REML criterion. (D,)
        covariances: T of every level, innermost first. (D, k, k) each
        beta: (D, p)
        sigma: on the working scale of the outcome. (D,)
        converged: (D,)
        again: how many were fitted once more, one by one.
        evaluations: of the criterion in the batch.
    """

    value: np.ndarray
    covariances: list[np.ndarray]
    beta: np.ndarray
    sigma: np.ndarray
    converged: np.ndarray
    again: int = 0
    evaluations: int = 0

    def replace(self, draw: int, other: Fits) -> None:
        """Put the single fit of ``other`` in a draw's place if it is the better one."""
        if other.value[0] < self.value[draw] or not self.converged[draw]:
            for mine, theirs in (
                (self.value, other.value),
                (self.beta, other.beta),
                (self.sigma, other.sigma),
                (self.converged, other.converged),
                *zip(self.covariances, other.covariances, strict=True),
            ):
                mine[draw] = theirs[0]
            self.again += 1

    @staticmethod
    def join(parts: list[Fits]) -> Fits:
        """Fits of consecutive chunks as one."""
        return Fits(
            np.concatenate([p.value for p in parts]),
            [np.concatenate(ts) for ts in zip(*(p.covariances for p in parts), strict=True)],
            np.concatenate([p.beta for p in parts]),
            np.concatenate([p.sigma for p in parts]),
            np.concatenate([p.converged for p in parts]),
            sum(p.again for p in parts),
            sum(p.evaluations for p in parts),
        )


class BatchFit:
    """Fits many outcomes of one design.

    Args:
        problem, factored: the design; ``factored`` is None for a pooled model.
        reml: REML instead of ML.
        start: θ that all fits start from.
        hessian: of the criterion there, in θ's units; from the first outcomes where it is None.
    """

    def __init__(
        self,
        problem: Problem,
        factored: Factored | None,
        reml: bool,
        start: np.ndarray,
        hessian: np.ndarray | None = None,
    ) -> None:
        self.problem, self.reml = problem, reml
        self.criterion = Criterion(problem, reml, factored)
        self.parameters: Parameters = self.criterion.parameters
        self.nu, self.x = self.criterion.nu, problem.basis.x_index
        self.metric: np.ndarray | None = None
        if problem.levels:
            assert factored is not None
            self.factored = factored
            self.batch = Batch(problem, factored, self.parameters.factors(start)[0])
            self.start = self._lifted(start)
            self.scale, _ = parameter_scale(self.criterion, self.start)
            if hessian is not None and np.array_equal(self.start, start):
                self.metric = self._to_metric(hessian)

    def _to_metric(self, hessian: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(hessian * np.outer(self.scale, self.scale))
        size = np.maximum(np.abs(values), 1e-4 * np.abs(values).max())
        return (vectors / size) @ vectors.T

    def _lifted(self, theta: np.ndarray) -> np.ndarray:
        """θ with its zero diagonals raised to where the data begin to see them: zero is stationary, BFGS would stay.

        A variance T is seen from about its standard error on, 1/√J with J = ½Σ(Z'V⁻¹Z)² over the level's groups.
        """
        factors = self.factors(theta[None])
        run = self.batch.forward(factors, *self.batch.place(observed(self.factored, self.problem)))
        theta = theta.copy()
        for i, (number, row, column) in enumerate(self.parameters.entries):
            if row != column:
                continue
            if number:
                gram = run.tape[number - 1].zz[row, row, 0]
            else:
                at = self.batch.pairs.index((row, row))
                gram = np.einsum("m,mg,mg->g", self.batch.times, run.inverse[:, 0], self.batch.h_rows[at])
            visible = np.sqrt(0.7 / np.sqrt(0.5 * np.sum(gram**2)))
            if abs(theta[i]) < 0.1 * visible:
                theta[i] = visible
        return theta

    def prepare(self, outcomes: Outcomes) -> None:
        """Take the metric from the mean of the exact Hessians of these outcomes at the start."""
        total = np.zeros((self.parameters.size, self.parameters.size))
        for d in range(len(outcomes.rest_y)):
            h = self.one(outcomes, d).hessian(self.start)
            values, vectors = np.linalg.eigh(h)
            total += (vectors * np.abs(values)) @ vectors.T
        self.metric = self._to_metric(total / len(outcomes.rest_y))

    def factors(self, theta: np.ndarray) -> list[np.ndarray]:
        """Λ of every level, innermost first, from θ (D, m). (D, k, k) each"""
        return stacked_factors(self.parameters, theta)

    def top(self, run) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Criterion, β, r², and the vectors that its gradient's reverse pass starts from."""
        x, draws = self.x, len(run.yy)
        xy = run.ay[:, x]
        v_a = np.zeros((draws, 1, self.batch.a))
        value = run.logdet
        r2, beta = run.yy, np.zeros((draws, 0))
        half = None
        if len(x):
            lower = np.linalg.cholesky(run.aa[:, x][:, :, x])
            half = np.linalg.inv(lower)
            w = np.matmul(half, xy[:, :, None])
            beta = np.matmul(half.transpose(0, 2, 1), w)[:, :, 0]
            r2 = run.yy - np.einsum("dp,dp->d", w[:, :, 0], w[:, :, 0])
            v_a[:, 0, x] = -beta
            if self.reml:
                value = value + 2.0 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        r2 = np.where(r2 > 0, r2, np.nan)
        value = value + self.nu * (1.0 + np.log(2.0 * np.pi * r2 / self.nu)) + self.criterion.constant
        weight = np.sqrt(self.nu / r2)
        v_a *= weight[:, None, None]
        v_y = weight[:, None]
        if self.reml and half is not None:
            more = np.zeros((draws, len(x), self.batch.a))
            more[:, :, x] = half
            v_a = np.concatenate([v_a, more], axis=1)
            v_y = np.concatenate([v_y, np.zeros((draws, len(x)))], axis=1)
        return value, beta, r2, v_a, v_y

    def evaluate(self, factors: list[np.ndarray], cross: np.ndarray, outcomes: Outcomes):
        """Criterion (D,), ∂F/∂T by level, β (D, p), r² (D,)."""
        run = self.batch.forward(factors, cross, outcomes)
        value, beta, r2, v_a, v_y = self.top(run)
        return value, self.batch.reverse(run, factors, v_a, v_y), beta, r2

    def __call__(self, outcomes: Outcomes) -> Fits:
        """Fit them all."""
        if not self.problem.levels:
            raise TypeError("a pooled model has a closed form: use pooled()")
        if self.metric is None:
            self.prepare(outcomes.take(slice(0, 8)))
        assert self.metric is not None
        cross, placed = self.batch.place(outcomes)

        def function(phi: np.ndarray, who: np.ndarray):
            theta = phi * self.scale
            common = len(theta) > 1 and not np.any(theta[1:] != theta[:1])
            factors = self.factors(theta[:1] if common else theta)
            with np.errstate(all="ignore"):
                try:
                    value, by_t, _, _ = self.evaluate(factors, cross[:, who], placed.take(who))
                except np.linalg.LinAlgError:
                    return np.full(len(theta), np.inf), np.zeros_like(theta)
            by_factor = [2.0 * np.matmul(t, f) for t, f in zip(by_t, factors, strict=True)]
            gradient = np.array([by_factor[n][:, r, c] for n, r, c in self.parameters.entries]).T
            return value, gradient * self.scale

        draws = len(outcomes.rest_y)
        starts = np.tile(self.start / self.scale, (draws, 1))
        ends = minimise(function, starts, self.metric, TOLERANCE)
        return self._finish(ends, cross, outcomes)

    def _finish(self, ends, cross: np.ndarray, outcomes: Outcomes) -> Fits:
        """Make variances zero where the criterion agrees, fit stray draws again, collect the estimates."""
        factors = self.factors(ends.x * self.scale)
        value, by_t, beta, r2 = self.evaluate(factors, cross, outcomes)
        bad = ~ends.converged | ~np.isfinite(value)
        for number, level in enumerate(self.problem.levels):
            for b in range(level.block.max() + 1):
                block = np.flatnonzero(level.block == b)
                self._snap(number, block, factors, value, by_t, beta, r2, bad, cross, outcomes)
        covariances = [f @ f.transpose(0, 2, 1) for f in factors]
        sigma = np.sqrt(r2 / self.nu)
        fits = Fits(value, covariances, beta, sigma, ~bad, 0, ends.evaluations)
        for d in np.flatnonzero(bad):
            self.refit(fits, outcomes, int(d))
        return fits

    def _snap(self, number, block, factors, value, by_t, beta, r2, bad, cross, outcomes) -> None:
        left, values, _ = np.linalg.svd(factors[number][:, block[:, None], block])
        largest = np.maximum(1.0, values[:, 0])
        for keep in range(len(block) - 1, -1, -1):
            near = np.flatnonzero((values[:, keep] < 0.05 * largest) & ~bad)
            if not len(near):
                return
            trial = [f[near] for f in factors]
            reduced = np.zeros((len(near), len(block), len(block)))
            reduced[:, :, :keep] = left[near][:, :, :keep] * values[near][:, None, :keep]
            trial[number][:, block[:, None], block] = reduced
            new, new_t, new_beta, new_r2 = self.evaluate(trial, cross[:, near], outcomes.take(near))
            noise = np.maximum(1e-8, 4e-14 * np.abs(value[near]))
            good = new <= value[near] + noise
            null = left[near][:, :, keep:]
            slope = np.linalg.eigvalsh(
                np.matmul(null.transpose(0, 2, 1), np.matmul(new_t[number][:, block[:, None], block], null))
            )[:, 0]
            # A zero that the criterion would leave is no optimum: BFGS was held by the stationary point there.
            bad[near[good & (slope < -1e-5 * self.problem.levels[number].groups)]] = True
            take, which = near[good], np.flatnonzero(good)
            factors[number][take] = trial[number][which]
            value[take], beta[take], r2[take] = new[which], new_beta[which], new_r2[which]
            values[np.setdiff1d(near, take), :keep] = np.inf
            for mine, theirs in zip(by_t, new_t, strict=True):
                mine[take] = theirs[which]

    def one(self, outcomes: Outcomes, draw: int) -> Criterion:
        """The engine's criterion of one draw."""
        f = self.factored
        a = self.batch.a
        cross, rest = f.cross.copy(), f.rest.copy()
        cross[:, a] = outcomes.cross[:, draw]
        rest[:a, a] = rest[a, :a] = outcomes.rest_a[:, draw]
        # Only the total of y'y is known, and only it matters.
        rest[a, a] = 0.0
        rest[a, a, 0] = outcomes.rest_y[draw]
        return Criterion(self.problem, self.reml, Factored(f.root, cross, rest, f.starts, f.rank))

    def refit(self, fits: Fits, outcomes: Outcomes, draw: int, start: np.ndarray | None = None) -> None:
        """Fit one draw with the engine's own optimizer, from several starts, in place."""
        criterion = self.one(outcomes, draw)
        starts = [self.start, self.parameters.theta([np.eye(level.size) for level in self.problem.levels])]
        if start is not None:
            starts.append(self._lifted(start))
        try:
            state = minimise_one(criterion, starts)
        except (np.linalg.LinAlgError, FloatingPointError):
            return
        found = state.evaluation
        one = Fits(
            np.array([state.optimum.value]),
            [(factor @ factor.T)[None] for factor in state.factors],
            found.beta.real[None],
            np.array([np.sqrt(found.r2.real / self.nu)]),
            np.array([state.optimum.converged]),
        )
        fits.replace(draw, one)
