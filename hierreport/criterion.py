"""The profiled deviance of a mixed model and its exact gradient, from moments.

Levels are eliminated one after another, innermost first (Bates, Mächler, Bolker & Walker 2015, J. Stat. Softw. 67(1),
eqs. 34 and 41, for the profiled criteria). Everything accepts complex parameters, so that derivatives of the gradient
are exact by complex step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from .problem import Level, Problem, _combine, transform_products
from .smallmat import cholesky_lower, cholesky_semidefinite, solve_lower, solve_upper_transposed, sum_of_outer

if TYPE_CHECKING:
    from .criterion_serial import SerialStack
    from .criterion_stack import Stack


# Work up to which a Hessian from one evaluation of many θ is cheaper than the gradients that it spares; up to which a
# single Hessian is worth the preparation; and up to which a descent is, limited by memory.
CURVED, LONE, LARGE = 350_000, 400_000, 16_000_000


class ErrorStructure(Protocol):
    """Residual covariance with parameters of its own: gives the moments that it turns the rows into."""

    n_par: int

    def rho(self, phi: np.ndarray) -> float | None:
        """Autocorrelation one time step apart, where the structure has one."""
        ...

    def at(self, rho: float | None, sigmas: Mapping[str, float]) -> np.ndarray:
        """The parameters of a given autocorrelation and standard deviations by stratum."""
        ...

    def starts(self) -> list[np.ndarray]:
        """Starting values of the parameters."""
        ...

    def inverse_hessian(self, phi: np.ndarray) -> np.ndarray:
        """Diagonal of an initial inverse Hessian of the deviance."""
        ...

    def restricted(self, index: np.ndarray | None, owner: np.ndarray, groups: int) -> ErrorStructure:
        """The same structure for some rows of the moments, summed over runs of groups."""
        ...

    def moments(self, phi: np.ndarray) -> tuple[np.ndarray, Any]:
        """Σ w V_e⁻¹ w' per innermost group (q, q, G), and log|V_e| over all rows (relative to σ²)."""
        ...

    def gradient(self, phi: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """Derivatives of Σ adjoint · moments with respect to each parameter; adjoint (q, q, G or 1)."""
        ...

    def log_gradient(self, phi: np.ndarray) -> np.ndarray:
        """Derivatives of log|V_e| with respect to each parameter."""
        ...

    def spread(self, phi: np.ndarray) -> tuple[float, np.ndarray]:
        """Residual variance averaged over the rows, relative to σ², and its derivatives. (n_par,)"""
        ...


@dataclass(frozen=True)
class Factored:
    """The innermost level, eliminated as far as it can be before the parameters are known.

    Attributes:
        root: R with R'R = Z'Z, zero rows where Z is deficient. (k, k, G)
        cross: G = R⁻ᵀZ'W. (k, q, G)
        rest: Σ (W'W − G'G) per group of the level above, Z's rows and columns exact zeros. (q, q, P)
        starts: first group of each of those P groups. (P,)
        rank: rank of Z per group. (G,)
    """

    root: np.ndarray
    cross: np.ndarray
    rest: np.ndarray
    starts: np.ndarray
    rank: np.ndarray


def group_products(problem: Problem, level: Level) -> np.ndarray:
    """Z's rows of W'W for every group of a level, in the working columns. (k, q, groups)"""
    moments, transform = problem.moments, problem.basis.transform
    needed = np.flatnonzero(np.abs(transform[:, level.index]).sum(axis=1))
    where = {int(column): row for row, column in enumerate(moments.z_index)}
    rows = moments.products[[where[int(j)] for j in needed]]
    if level.groups != rows.shape[2]:
        rows = np.add.reduceat(rows, level.starts, axis=2)
    half = _combine(rows, transform, axis=1)
    return _combine(half, transform[np.ix_(needed, level.index)], axis=0)


def full_products(problem: Problem, starts: np.ndarray) -> np.ndarray:
    """Full W'W summed over runs of innermost groups, in the working columns. (q, q, len(starts))"""
    moments = problem.moments
    full = moments.products.shape[0] == moments.products.shape[1]
    if full:
        summed = (
            moments.products if len(starts) == len(problem.n) else np.add.reduceat(moments.products, starts, axis=2)
        )
    else:
        parents = moments.starts(len(moments.levels) - 2) if len(moments.levels) > 1 else np.array([0])
        summed = np.add.reduceat(moments.parent_products, np.searchsorted(parents, starts), axis=2)
    return transform_products(summed, problem.basis.transform)


def factor(problem: Problem) -> Factored:
    """Prepare the innermost level of a problem (ENGINE: done once per data set and model)."""
    level = problem.levels[0]
    rows = group_products(problem, level)
    gram = rows[:, level.index]
    counts = np.add.reduceat(problem.n, level.starts)
    tolerance = 1e-13 * (1.0 + np.sqrt(counts) / 10.0)
    root = cholesky_semidefinite(gram, tolerance)
    cross = solve_upper_transposed(root, rows)
    outer = problem.levels[1].starts if len(problem.levels) > 1 else np.array([0])
    starts = np.searchsorted(level.starts, outer)
    rest = full_products(problem, outer) - sum_of_outer(cross, starts)
    for j in spanned(problem, level):
        rest[j] = 0.0
        rest[:, j] = 0.0
    rank = np.count_nonzero(root[np.arange(level.size), np.arange(level.size)], axis=0)
    return Factored(root, cross, rest, starts, rank)


def spanned(problem: Problem, level: Level) -> list[int]:
    """Working columns that are linear combinations of a level's Z columns: their rest is zero, not rounding."""
    transform = problem.basis.transform
    z = transform[:, level.index]
    solution, *_ = np.linalg.lstsq(z, transform, rcond=None)
    left = np.abs(z @ solution - transform).max(axis=0)
    return np.flatnonzero(left <= 1e-12 * np.abs(transform).max(axis=0)).tolist()


class Parameters:
    """Where each entry of the relative factors Λ and of the error structure stands in θ.

    Args:
        levels: the levels and the crossed factor.
        n_errors: number of parameters of the error structure.
        orders: for each level, the order of its coefficients in which Λ is lower triangular; as they stand by default.
            Triangular in an order that puts the largest variance first, θ stays well conditioned when Λ loses rank.
    """

    def __init__(self, levels: tuple[Level, ...], n_errors: int = 0, orders: list[np.ndarray] | None = None) -> None:
        self.orders = [np.arange(level.size) for level in levels] if orders is None else orders
        self.entries: list[tuple[int, int, int]] = []
        diagonal = []
        for number, level in enumerate(levels):
            block = level.block[self.orders[number]]
            for column in range(level.size):
                for row in range(column, level.size):
                    if block[row] == block[column]:
                        self.entries.append((number, int(self.orders[number][row]), column))
                        diagonal.append(row == column)
        self._diagonal = np.array(diagonal, dtype=bool)
        # The row of some Λ that an entry stands in, rows numbered through.
        places: dict[tuple[int, int], int] = {}
        self._rows = np.array([places.setdefault((n, row), len(places)) for n, row, _ in self.entries], dtype=int)
        self.levels = levels
        self.n_lambda = len(self.entries)
        self.size = self.n_lambda + n_errors

    @property
    def diagonal(self) -> np.ndarray:
        """True for the diagonal entries of Λ. (n_lambda,)"""
        return self._diagonal

    def sizes(self, theta: np.ndarray) -> np.ndarray:
        """Typical size of each entry of θ: the norm of its row of Λ, not below 0.001; 1 for the errors'. (size,)"""
        out = np.ones(self.size)
        norms = np.sqrt(np.bincount(self._rows, np.square(theta[: self.n_lambda])))
        out[: self.n_lambda] = np.maximum(norms, 1e-3)[self._rows]
        return out

    def signs(self, theta: np.ndarray) -> np.ndarray:
        """−1 for the entries of a column of Λ whose diagonal is negative, 1 for the others. (size,)"""
        turned = {
            (number, column)
            for (number, _, column), value, diagonal in zip(self.entries, theta, self._diagonal, strict=False)
            if diagonal and value < 0
        }
        out = np.ones(self.size)
        out[: self.n_lambda] = [-1.0 if (number, column) in turned else 1.0 for number, _, column in self.entries]
        return out

    def from_covariances(self, covariances: list[np.ndarray], errors: np.ndarray | None = None) -> np.ndarray:
        """θ of given relative covariances T (positive semidefinite), the error parameters appended."""
        factors = []
        for t, order in zip(covariances, self.orders, strict=True):
            lower = cholesky_semidefinite(t[np.ix_(order, order)][:, :, None], np.array([1e-12]))[:, :, 0].T
            factor_ = np.zeros_like(t)
            factor_[order] = lower
            factors.append(factor_)
        return self.theta(factors, errors)

    def factors(self, theta: np.ndarray) -> list[np.ndarray]:
        """Λ of every level, innermost first."""
        out = [np.zeros((level.size, level.size), dtype=theta.dtype) for level in self.levels]
        for value, (number, row, column) in zip(theta, self.entries, strict=False):
            out[number][row, column] = value
        return out

    def theta(self, factors: list[np.ndarray], errors: np.ndarray | None = None) -> np.ndarray:
        """The inverse of ``factors``, the error parameters appended."""
        head = [factors[number][row, column] for number, row, column in self.entries]
        return np.concatenate(
            [np.array(head, dtype=float), np.zeros(0) if errors is None else np.asarray(errors, float)]
        )


@dataclass
class Evaluation:
    """What one evaluation of the criterion leaves behind.

    value: −2 log-likelihood (ML) or the REML criterion, all constants included, on the user's scale of the outcome.
    gradient: of value in θ; empty where it was not asked for, and so is by_t. Numbers are complex where θ is.
    by_t: ∂F/∂T of every level, innermost first: its sign at a null vector of T tells a true boundary.
    beta, r2, xx, c_total: fixed effects, residual sum of squares, X'V⁻¹X and W'V⁻¹W, working columns, relative to σ².
    """

    value: Any
    gradient: np.ndarray
    by_t: list[np.ndarray]
    beta: np.ndarray
    r2: Any
    xx: np.ndarray
    c_total: np.ndarray
    logdet: Any


class Criterion:
    """Profiled −2 log-likelihood (or REML criterion) of one problem as a function of θ.

    Args:
        problem: from ``problem.build``.
        reml: REML instead of ML.
        factored: the innermost level prepared by ``factor`` (shared between ML and REML).
        errors: residual structure with parameters; the innermost level is then swept like the others.
    """

    def __init__(
        self, problem: Problem, reml: bool, factored: Factored | None = None, errors: ErrorStructure | None = None
    ) -> None:
        self.problem, self.reml, self.errors = problem, reml, errors
        self.levels = problem.levels
        self.parameters = Parameters(problem.components, errors.n_par if errors else 0)
        # Only a model without levels has none, and it never asks.
        self.factored = cast(Factored, factored if factored is not None or not problem.levels else factor(problem))
        basis = problem.basis
        self.nu = problem.n_obs - len(basis.x_index) if reml else problem.n_obs
        self.constant = 2.0 * self.nu * np.log(basis.y_scale) - problem.sum_log_weight
        if reml and len(basis.x_index):
            self.constant += 2.0 * np.linalg.slogdet(basis.p_x)[1]
        self.evaluations = 0
        # Rows of a dense matrix that every evaluation inverts.
        self.dense = 0
        # What stands in place of the nested elimination where there are no levels.
        self.whole = problem.total
        if errors is not None:
            self._restrict(errors)
        # For every level above the innermost: runs of the level below, and how many of them each group has.
        below = [level.starts for level in self.levels]
        self._runs, self._counts = [], []
        for lower, upper in pairwise(below):
            starts = np.searchsorted(lower, upper)
            self._runs.append(starts)
            self._counts.append(np.diff(np.append(starts, len(lower))))
        if self.levels:
            self._in_parent = np.diff(np.append(self.factored.starts, self.levels[0].groups))
        self._xx = np.ix_(basis.x_index, basis.x_index)
        self._stack: Stack | SerialStack | None = None

    def again(self, reml: bool) -> Criterion:
        """The same model under the other criterion, sharing what was prepared."""
        out = Criterion(self.problem, reml, self.factored, self.errors)
        out._stack = self._stack
        return out

    def _restrict(self, errors: ErrorStructure) -> None:
        """Two views of the error structure: Z's rows of the moments per innermost group, all of them per parent.

        The moments are linear in the sums they come from, so that the sums can be taken before ρ is known.
        """
        n = len(self.problem.n)
        if not self.levels:
            self._all = errors.restricted(None, np.zeros(n, dtype=int), 1)
            return
        inner = self.levels[0]
        outer = self.levels[1].starts if len(self.levels) > 1 else np.array([0])
        group = np.arange(n)
        self._rows = errors.restricted(
            inner.index, np.searchsorted(inner.starts, group, side="right") - 1, inner.groups
        )
        self._all = errors.restricted(None, np.searchsorted(outer, group, side="right") - 1, len(outer))

    # ------------------------------------------------------------------ forward

    def __call__(self, theta: np.ndarray) -> float:
        return float(np.real(self.evaluate(theta, gradient=False).value))

    def evaluate(self, theta: np.ndarray, gradient: bool = True) -> Evaluation:
        """Criterion, gradient and the profiled quantities at θ. (θ may be complex.)"""
        self.evaluations += 1
        factors = self.parameters.factors(theta)
        logdet: Any = 0.0
        tape: list = []
        if self.errors is not None:
            phi = theta[self.parameters.n_lambda :]
            c, logdet = self._all.moments(phi)
            start = 0
            if self.levels:
                rows, _ = self._rows.moments(phi)
                lower, k, log_level = _eliminate_rows(rows, self.levels[0].index, factors[0])
                logdet = logdet + log_level
                c = c - sum_of_outer(k, self.factored.starts)
                tape.append((lower, k, rows))
                start = 1
        elif self.levels:
            f = self.factored
            scaled = np.matmul(factors[0].T, f.root)
            h = np.einsum("iag,jag->ijg", scaled, scaled)
            for i in range(len(h)):
                h[i, i] += 1.0
            lower = cholesky_lower(h)
            k = solve_lower(lower, f.cross)
            for i in range(len(h)):
                logdet = logdet + 2.0 * np.log(lower[i, i]).sum()
            c = f.rest + sum_of_outer(k, f.starts)
            tape.append((lower, k))
            start = 1
        else:
            c, start = self.whole[:, :, None], 0
        for number in range(start, len(self.levels)):
            if number > start:
                c = np.add.reduceat(c, self._runs[number - 1], axis=2)
            c, log_level, n_matrix = _eliminate(c, self.levels[number].index, factors[number])
            logdet = logdet + log_level
            tape.append((c, n_matrix))
        total = c.sum(axis=2)
        return self._top(theta, factors, logdet, total, tape, start, gradient)

    def many(self, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Criterion (D,) and gradient (D, m) at several θ, real or complex. (D, m)"""
        stack = self._prepared(thetas)
        found = None if stack is None else stack.evaluate(self, thetas)
        if found is None:
            each = [self.evaluate(theta) for theta in thetas]
            return np.array([out.value for out in each]), np.array([out.gradient for out in each])
        self.evaluations += len(thetas)
        return found

    def _prepared(self, thetas: np.ndarray) -> Stack | SerialStack | None:
        """What evaluates many θ at once, where that pays; one alone by what there is already."""
        if len(thetas) == 1:
            # A single level of few groups is evaluated faster without; the stack for AR(1) errors is for many only.
            pays = len(self.levels) > 1 or (self.levels and self.levels[0].groups > 1000)
            return self._stack if pays and self.errors is None else None
        if self._stack is None:
            self.prepare(thetas[0], LONE)
        return self._stack

    def prepare(self, theta: np.ndarray, most: int) -> None:
        """Prepare for evaluations of many θ around one, where the model has no more work than a limit.

        Args:
            most: see ``criterion_stack.work``; models with AR(1) errors have a limit of their own.
        """
        if self._stack is not None or type(self) is not Criterion or not self.levels:
            return
        if self.errors is not None:
            from .criterion_serial import serial_stack

            self._stack = serial_stack(self)
        else:
            from .criterion_stack import Stack, work

            if work(self.problem) <= most:
                self._stack = Stack(self.problem, self.factored, self.parameters.factors(theta)[0].real)

    def stacks(self, theta: np.ndarray) -> bool:
        """Whether a Hessian costs little more than a gradient around θ: many θ are evaluated at once, of few groups."""
        from .criterion_stack import Stack, work

        self.prepare(theta, LONE)
        if not isinstance(self._stack, Stack) or self.parameters.size * work(self.problem) > CURVED:
            return False
        # With weights of 1e12 the sizes that Newton steps are capped by would be those of other units.
        usual = 1e-3 < self.problem.mean_weight < 1e3
        return usual and self._stack.conditioned(self.parameters.factors(theta)[0][None])

    def _top(self, theta, factors, logdet, total, tape, start, gradient) -> Evaluation:
        basis, nu = self.problem.basis, self.nu
        x, y = basis.x_index, basis.y_index
        xx = total[self._xx]
        b = np.zeros(len(total), dtype=total.dtype)
        b[y] = 1.0
        if len(x):
            beta = np.linalg.solve(xx, total[x, y])
            b[x] = -beta
        else:
            beta = np.zeros(0)
        r2 = b @ total @ b
        value = logdet + nu * (1.0 + np.log(2.0 * np.pi * r2 / nu)) + self.constant
        if self.reml and len(x):
            value = value + _logdet(xx)
        out = Evaluation(value, np.zeros(0), [], beta, r2, xx, total, logdet)
        if gradient:
            adjoint = (nu / r2) * np.outer(b, b)
            if self.reml and len(x):
                adjoint[self._xx] += np.linalg.inv(xx)
            out.gradient, out.by_t = self._reverse(theta, factors, adjoint, tape, start)
        return out

    def products(self, theta: np.ndarray) -> np.ndarray:
        """W'V_e⁻¹W of all rows at θ, for a model without levels. (q, q)"""
        if self.errors is None:
            return self.whole
        return self._all.moments(theta[self.parameters.n_lambda :])[0][:, :, 0]

    def innermost(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The innermost level under an error structure, eliminated at θ.

        Returns:
            W'V⁻¹W per group of the level above, and per group of this one D = Z'V⁻¹W (k, q, groups) and
            N = Λ(I + Λ'FΛ)⁻¹Λ' (k, k, groups).
        """
        phi, factor_ = theta[self.parameters.n_lambda :], self.parameters.factors(theta)[0]
        index = self.levels[0].index
        rows, _ = self._rows.moments(phi)
        lower, k, _ = _eliminate_rows(rows, index, factor_)
        half = solve_lower(lower, np.broadcast_to(factor_.T[:, :, None], lower.shape))
        c = self._all.moments(phi)[0] - sum_of_outer(k, self.factored.starts)
        d = rows - np.einsum("aig,ajg->ijg", k[:, index], k)
        return c, d, np.einsum("aig,ajg->ijg", half, half)

    # ------------------------------------------------------------------ reverse

    def _reverse(self, theta, factors, adjoint, tape, start) -> tuple[np.ndarray, list[np.ndarray]]:
        dtype = np.result_type(adjoint, float)
        by_t = [np.zeros_like(f, dtype=dtype) for f in factors]
        a = adjoint[:, :, None]
        for number in range(len(self.levels) - 1, start - 1, -1):
            c_after, n_matrix = tape[number]
            a = np.broadcast_to(a, (*a.shape[:2], self.levels[number].groups)) if a.shape[2] == 1 else a
            a, by_t[number] = _eliminate_adjoint(a, c_after, n_matrix, self.levels[number].index, factors[number])
            if number > start:
                a = np.repeat(a, self._counts[number - 1], axis=2)
        by_phi: list = []
        if self.errors is not None:
            by_phi = self._errors_adjoint(theta, a, factors, by_t, tape)
        elif start == 1:
            by_t[0] = self._innermost_adjoint(a, *tape[0])
        by_factor = [2.0 * t @ f for t, f in zip(by_t, factors, strict=True)]
        gradient = [by_factor[number][row, column] for number, row, column in self.parameters.entries]
        return np.array(gradient + by_phi, dtype=dtype), by_t

    def _errors_adjoint(self, theta, a, factors, by_t, tape) -> list:
        """Derivatives in the error parameters; sets ∂F/∂T of the innermost level.

        With D = Z'V⁻¹W of a group, the adjoint of its moments is A − B T D A − (B T D A)' + B (T D A D' T + N) B'.
        """
        phi = theta[self.parameters.n_lambda :]
        out = self._all.gradient(phi, a) + self._all.log_gradient(phi)
        if not self.levels:
            return list(out)
        lower, k, rows = tape[0]
        index, lam = self.levels[0].index, factors[0]
        d = rows - np.einsum("aig,ajg->ijg", k[:, index], k)
        half = self._times_adjoint(d, a)
        inner = np.einsum("ijg,ljg->ilg", half, d)
        by_t[0] = (d[:, index] - inner).sum(axis=2)
        t = lam @ lam.T
        left = solve_lower(lower, np.broadcast_to(lam.T[:, :, None], lower.shape))
        weight = np.matmul(t, (t @ inner.reshape(len(t), -1)).reshape(inner.shape))
        weight = weight + np.einsum("aig,ajg->ijg", left, left)
        by_rows = (-2.0 * t @ half.reshape(len(t), -1)).reshape(half.shape)
        by_rows[:, index] += weight
        return list(out + self._rows.gradient(phi, by_rows))

    def _innermost_adjoint(self, a, lower, k) -> np.ndarray:
        """∂F/∂T of the innermost level: Σ (R'H⁻¹R − D A D') with D = R'H⁻¹G."""
        f = self.factored
        e = solve_lower(lower, f.root)
        d = np.einsum("aig,ajg->ijg", e, k)
        flat = e.transpose(1, 0, 2).reshape(len(e), -1)
        by_t = flat @ flat.T
        half = self._times_adjoint(d, a)
        return by_t - half.reshape(len(d), -1) @ d.reshape(len(d), -1).T

    def _times_adjoint(self, d: np.ndarray, a: np.ndarray) -> np.ndarray:
        """D A per group, A that of the group's parent. (k, q, G)"""
        starts = self.factored.starts
        if len(starts) == 1:
            return np.matmul(a[:, :, 0].T, d)
        # A matrix product per parent costs about 4 µs, a weighted sum over all groups 2 ns per number.
        if d.size * d.shape[1] * 2e-3 < 4.0 * len(starts):
            return np.einsum("mng,kmg->kng", np.repeat(a, self._in_parent, axis=2), d)
        out = np.empty(d.shape, dtype=np.result_type(d, a))
        by_parent = np.ascontiguousarray(a.transpose(2, 0, 1))
        for p, (s, t) in enumerate(pairwise([*starts.tolist(), d.shape[2]])):
            np.matmul(by_parent[p], d[:, :, s:t], out=out[:, :, s:t])
        return out

    # ------------------------------------------------------------------ curvature

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Exact Hessian by complex steps through the gradient."""
        return self.curved(theta[None])[2][0]

    def curved(self, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Criterion (D,), gradient (D, m) and exact Hessian (D, m, m) at several real θ, from one set of evaluations.

        The real parts of the complex steps that give the Hessian are the value and the gradient to the last digit.
        """
        draws, size = thetas.shape
        if not size:
            return *self.many(thetas), np.zeros((draws, 0, 0))
        steps = (thetas[:, None, :] + 1e-20j * np.eye(size)).reshape(-1, size)
        values, gradients = self.many(steps)
        out = gradients.imag.reshape(draws, size, size) / 1e-20
        return values.real[::size], gradients.real[::size], 0.5 * (out + out.transpose(0, 2, 1))


def _logdet(matrix: np.ndarray) -> complex:
    sign, value = np.linalg.slogdet(matrix)
    return value + np.log(sign) if np.iscomplexobj(matrix) else value


def _eliminate_rows(rows: np.ndarray, index: np.ndarray, factor_: np.ndarray):
    """From Z's rows B'C (k, q, groups): L with LL' = I + Λ'B'CBΛ, K = L⁻¹Λ'B'C, and Σ log|LL'|."""
    rows = (factor_.T @ rows.reshape(len(rows), -1)).reshape(rows.shape)
    h = np.matmul(factor_.T, rows[:, index])
    lower = cholesky_lower(h + np.eye(len(index))[:, :, None])
    logdet: Any = 0.0
    for i in range(len(index)):
        logdet = logdet + 2.0 * np.log(lower[i, i]).sum()
    return lower, solve_lower(lower, rows), logdet


def _eliminate(c: np.ndarray, index: np.ndarray, factor_: np.ndarray):
    """Eliminate a level from C: C ← C − K'K with K = L⁻¹Λ'B'C and LL' = I + Λ'B'CBΛ, per group.

    Returns:
        C after, Σ log|LL'|, and N = Λ(I + Λ'FΛ)⁻¹Λ' per group, which the reverse pass needs.
    """
    lower, k, logdet = _eliminate_rows(c[index], index, factor_)
    for row in k:
        c = c - row[:, None, :] * row[None, :, :]
    half = solve_lower(lower, np.broadcast_to(factor_.T[:, :, None], lower.shape))
    return c, logdet, np.einsum("aig,ajg->ijg", half, half)


def _eliminate_adjoint(a, c_after, n_matrix, index, factor_):
    """Reverse of ``_eliminate``: the adjoint of C before it, and ∂F/∂T.

    With U = C_after B: ∂F/∂T = Σ_g (B'U − U'AU), and A_before = (I − BTU') A (I − UTB') + B N B'.
    """
    u = c_after[:, index]
    a_u = np.einsum("ijg,jkg->ikg", a, u)
    u_a_u = np.einsum("jag,jbg->abg", u, a_u)
    by_t = (u[index] - u_a_u).sum(axis=2)
    t = factor_ @ factor_.T
    a_before = a.astype(np.result_type(a, t), copy=True)
    a_u_t = np.matmul(t, a_u)
    a_before[:, index] -= a_u_t
    a_before[index] -= a_u_t.transpose(1, 0, 2)
    inner = np.matmul(t, (t @ u_a_u.reshape(len(t), -1)).reshape(u_a_u.shape)) + n_matrix
    for i, row in enumerate(index):
        for j, column in enumerate(index):
            a_before[row, column] += inner[i, j]
    return a_before, by_t
