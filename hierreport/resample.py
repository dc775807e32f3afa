"""Outcomes drawn from a fitted model at the level of moments, exactly distributed, without rows.

With F = R'R the products of an innermost group's Z and G = R⁻ᵀZ'W (``criterion.Factored``), and y = Xβ + ΣZ_l u_l + e:

    R⁻ᵀZ'y = G_A b + σz               z normal on the rows of R that are not zero
    S_Ay   = S_AA b + σR_S'z_S        S = W'W − ΣG'G of the level above, S_AA = R_S'R_S, b of the levels above
    S_yy   = b'S_AA b + 2σ b'R_S'z_S + σ²(z_S'z_S + χ²)     χ² on Σ(n − rank Z) − rank S_AA degrees of freedom

since Z'e, the rest of A'e and the rest of e'e are independent (Cochran). Outcomes are drawn without Xβ: estimates of β
are equivariant, so that β is added to what is estimated, and no digits are lost where X explains nearly everything.
"""

from __future__ import annotations

import numpy as np

from .batch import Outcomes
from .criterion import Factored
from .errors import ModelError
from .problem import Problem
from .smallmat import cholesky_semidefinite, solve_upper_transposed


def generator(seed: int, draw: int) -> np.random.Generator:
    """The random numbers of one draw: a stream of its own, whatever is drawn beside it and wherever it is computed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(draw,))))


class Simulator:
    """Draws outcomes of one fitted model onto a design.

    Args:
        problem, factored: the design (the richest model that the outcomes are for).
        model: the problem of the fitted model that generates: the same, or one nested in it.
        factors: its Λ, innermost level first.
        sigma: its residual standard deviation on the design's working scale of the outcome.
    """

    def __init__(
        self, problem: Problem, factored: Factored, model: Problem, factors: list[np.ndarray], sigma: float
    ) -> None:
        self.problem, self.factored, self.sigma = problem, factored, sigma
        a = len(problem.total) - 1
        self.a = a
        self.change = change_of_columns(problem, model)[:a]
        rest = factored.rest[:a, :a].copy()
        # A column that is constant in all groups of a parent leaves rounding, not a remainder.
        diagonal = rest[range(a), range(a)]
        whole = diagonal + np.add.reduceat(np.sum(factored.cross[:, :a] ** 2, axis=0), factored.starts, axis=1)
        for column, parent in np.argwhere(diagonal <= 1e-12 * whole):
            rest[column, :, parent] = rest[:, column, parent] = 0.0
        self.rest_aa = rest
        self.root_rest = cholesky_semidefinite(rest, np.full(rest.shape[2], 1e-12))
        k = len(factored.root)
        self.live = factored.root[range(k), range(k)] != 0
        self.live_rest = self.root_rest[range(a), range(a)] != 0
        innermost = problem.levels[0].starts
        self.freedom = int(problem.n.sum() - factored.rank.sum()) - int(np.count_nonzero(self.live_rest))
        self.parents = np.repeat(np.arange(len(factored.starts)), np.diff(np.append(factored.starts, len(innermost))))
        outer = innermost[factored.starts]
        self.inner: np.ndarray | None = None  # u of the design's innermost groups from standard normals
        self.above: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []
        for level, factor in zip(model.levels, factors, strict=True):
            if np.array_equal(level.starts, innermost):
                self.inner = innermost_change(problem, model) @ factor * sigma
            else:
                columns = self.change[:, level.index] @ factor * sigma
                member = np.searchsorted(level.starts, outer, side="right") - 1
                self.above.append((columns, member, level.starts, level.size))

    def draw(self, seed: int, draws: range | list[int]) -> Outcomes:
        """Outcomes of some draws, by their numbers."""
        f = self.factored
        k, groups = self.live.shape
        parents = len(f.starts)
        cross = np.empty((k, len(draws), groups))
        rest_a = np.empty((self.a, len(draws), parents))
        rest_y = np.empty(len(draws))
        for d, number in enumerate(draws):
            random = generator(seed, number)
            b = np.zeros((self.a, parents))
            for columns, member, starts, size in self.above:
                b += (columns @ random.standard_normal((size, len(starts))))[:, member]
            z = random.standard_normal((k, groups)) * self.sigma * self.live
            if self.inner is not None:
                u = self.inner @ random.standard_normal((self.inner.shape[1], groups))
                z += np.einsum("ijg,jg->ig", f.root, u)
            if self.above:
                z += np.einsum("iag,ag->ig", f.cross[:, : self.a], b[:, self.parents])
            cross[:, d] = z
            z_rest = random.standard_normal((self.a, parents)) * self.sigma * self.live_rest
            noise = np.einsum("iap,ip->ap", self.root_rest, z_rest)
            fitted = np.einsum("abp,bp->ap", self.rest_aa, b)
            rest_a[:, d] = fitted + noise
            chi2 = random.chisquare(self.freedom) if self.freedom > 0 else 0.0
            rest_y[d] = np.sum(b * (fitted + 2.0 * noise)) + np.sum(z_rest**2) + self.sigma**2 * chi2
        return Outcomes(cross, rest_a, rest_y)


def change_of_columns(problem: Problem, model: Problem) -> np.ndarray:
    """Q with W_model = W_problem Q, both on the same moments. (q, q_model)

    The outcome's column of W is taken without its shift: outcomes here are deviations from Xβ.
    """
    out = in_terms_of(problem.basis.transform, model.basis.transform)
    out[:-1, -1] = 0.0
    return out


def in_terms_of(wide: np.ndarray, narrow: np.ndarray) -> np.ndarray:
    """Q with narrow = wide Q, exact zeros where a column is not used.

    Raises:
        ModelError: a narrow column is not in the span of the wide ones.
    """
    if wide.shape == narrow.shape and np.array_equal(wide, narrow):
        return np.eye(wide.shape[1])
    size = np.abs(wide).max(axis=0)
    out = np.linalg.lstsq(wide / size, narrow, rcond=1e-12)[0]
    out[np.abs(out) < 1e-12 * np.abs(out).max(axis=0)] = 0.0
    out /= size[:, None]
    if np.any(np.abs(wide @ out - narrow).max(axis=0) > 1e-9 * np.abs(narrow).max(axis=0)):
        raise ModelError(
            "the smaller model has a column that the larger one does not have.",
            do="Simulate only between nested models of one panel.",
        )
    return out


def innermost_change(problem: Problem, model: Problem) -> np.ndarray:
    """Z_model of the innermost groups in terms of the problem's Z. (k, k_model)"""
    return in_terms_of(
        problem.basis.transform[:, problem.levels[0].index], model.basis.transform[:, model.levels[0].index]
    )


class Transfer:
    """Carries outcomes drawn on a wide design to a model nested in it.

    Per innermost group Z_0'y follows from Z'y where Z_0 lies in the span of Z, and what remains of A'y from
    S + ΣG'G − ΣG_0'G_0.
    """

    def __init__(self, problem: Problem, factored: Factored, model: Problem, factored_model: Factored | None) -> None:
        self.wide, self.narrow = factored, factored_model
        self.change = change_of_columns(problem, model)
        self.a, self.a_model = len(problem.total) - 1, len(model.total) - 1
        self.scale = float(self.change[-1, -1])
        self.same = bool(model.levels) and np.array_equal(model.levels[0].starts, problem.levels[0].starts)
        outer = problem.levels[0].starts[factored.starts]  # groups of the wide design's second level
        if model.levels:
            inner = model.levels[0]
            self.z_rows = innermost_change(problem, model) if self.same else self.change[: self.a, inner.index]
            self.first = np.searchsorted(outer, inner.starts)
            above = inner.starts[factored_model.starts] if factored_model is not None else np.array([0])
            self.outer = np.searchsorted(outer, above)
            rest = factored_model.rest if factored_model is not None else np.zeros((0, 0, 0))
            self.spanned = np.flatnonzero(~np.any(rest[: self.a_model], axis=(1, 2)))

    def full(self, outcomes: Outcomes) -> np.ndarray:
        """A'y per group of the wide design's second level. (a, D, P)"""
        f = self.wide
        product = np.einsum("iag,idg->adg", f.cross[:, : self.a], outcomes.cross)
        return outcomes.rest_a + np.add.reduceat(product, f.starts, axis=2)

    def pooled(self, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
        """A'y and y'y over all rows, in the model's columns. (D, a), (D,)"""
        total = np.einsum("ab,adp->db", self.change[: self.a, : self.a_model], self.full(outcomes)) * self.scale
        return total, (outcomes.rest_y + np.einsum("idg,idg->d", outcomes.cross, outcomes.cross)) * self.scale**2

    def __call__(self, outcomes: Outcomes) -> Outcomes:
        """The outcomes on the model's design."""
        f, narrow = self.wide, self.narrow
        assert narrow is not None
        a_full = np.einsum("ab,adp->bdp", self.change[: self.a, : self.a_model], self.full(outcomes)) * self.scale
        if self.same:
            z_y = np.einsum("jig,jdg->idg", f.root, outcomes.cross) * self.scale
            z_y = np.einsum("zi,zdg->idg", self.z_rows, z_y)
        else:
            z_y = np.einsum("ai,adp->idp", self.z_rows, self.full(outcomes)) * self.scale
            z_y = np.add.reduceat(z_y, self.first, axis=2)
        root = np.broadcast_to(narrow.root[:, :, None], (*narrow.root.shape[:2], *z_y.shape[1:]))
        cross = solve_upper_transposed(root, z_y)
        product = np.einsum("iag,idg->adg", narrow.cross[:, : self.a_model], cross)
        rest_a = np.add.reduceat(a_full, self.outer, axis=2) - np.add.reduceat(product, narrow.starts, axis=2)
        rest_a[self.spanned] = 0.0
        yy = (outcomes.rest_y + np.einsum("idg,idg->d", outcomes.cross, outcomes.cross)) * self.scale**2
        return Outcomes(cross, rest_a, yy - np.einsum("idg,idg->d", cross, cross))
