"""The criterion of many fits on one design at once: a θ for each, an outcome for each (or one for all).

What does not depend on the draw is prepared once (``batch_inner``).

Arrays carry the draw before the group, (…, D, G); D is 1 where all draws share a θ (or an outcome).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .batch_inner import Inner, stacked
from .batch_levels import Step, eliminate, step_back
from .criterion import Factored
from .problem import Problem
from .smallmat import solve_lower


@dataclass(frozen=True)
class Outcomes:
    """The outcome's part of the moments, for D draws.

    Attributes:
        cross: R⁻ᵀZ'y of the innermost groups. (k, D, G)
        rest_a: what remains of W'y after projection on Z, per group of the level above, without y itself. (a, D, P)
        rest_y: what remains of y'y, over all groups. (D,)
    """

    cross: np.ndarray
    rest_a: np.ndarray
    rest_y: np.ndarray

    def take(self, draws: np.ndarray | slice) -> Outcomes:
        """Some of the draws."""
        return Outcomes(self.cross[:, draws], self.rest_a[:, draws], self.rest_y[draws])


@dataclass
class Pass:
    """A forward pass: W'V⁻¹W without its yy entry split into parts, log|V|, and what the reverse pass needs.

    Attributes:
        logdet: (D,)
        aa, ay, yy: A'V⁻¹A (D, a, a), A'V⁻¹y (D, a), y'V⁻¹y (D,), A all working columns but the outcome.
    """

    logdet: np.ndarray
    aa: np.ndarray
    ay: np.ndarray
    yy: np.ndarray
    inverse: np.ndarray
    cross: np.ndarray
    tape: list[Step]


class Batch(Inner):
    """A design, factored once, on which many fits are evaluated together.

    Args:
        problem: a model with at least one level.
        factored: its innermost level, from ``criterion.factor``.
        reference: Λ of the innermost level near which the fits will be. (k, k)
    """

    def __init__(self, problem: Problem, factored: Factored, reference: np.ndarray) -> None:
        self.problem, self.factored, self.levels = problem, factored, problem.levels
        super().__init__(factored, len(problem.total) - 1, reference)
        self.rest_aa = np.ascontiguousarray(factored.rest[: self.a, : self.a][:, :, None, :])
        starts = [level.starts for level in self.levels]
        self.runs = [np.searchsorted(lower, upper) for lower, upper in pairwise(starts[1:])]
        self.counts = [np.diff(np.append(r, len(lo))) for r, lo in zip(self.runs, starts[1:-1], strict=True)]

    @property
    def draws_at_once(self) -> int:
        """How many draws fill the processor's cache, not more."""
        return int(np.clip(48_000 // max(self.lower.shape[2], 1), 4, 256))

    def place(self, outcomes: Outcomes) -> tuple[np.ndarray, Outcomes]:
        """Outcomes in the order and scale of the prepared groups: the form that ``forward`` takes."""
        cross = self.sorted(outcomes.cross)
        lower = self.lower[:, :, None, :]
        return np.ascontiguousarray(solve_lower(lower, cross)), outcomes

    # ------------------------------------------------------------------ forward

    def forward(self, factors: list[np.ndarray], cross: np.ndarray, outcomes: Outcomes) -> Pass:
        """W'V⁻¹W and log|V|.

        Args:
            factors: Λ of every level, innermost first; any T = ΛΛ' is meant. (D, k, k) each
            cross, outcomes: from ``place``.
        """
        inverse, logdet = self.inverse(factors[0])
        s_y = self.apply(inverse, cross)
        d, dt = s_y.shape[1], inverse.shape[1]
        parents = len(self.parent_order)
        aa = np.empty((len(self.columns), dt, parents))
        ay = np.empty((self.a, d, parents))
        for p, g, count in self.slabs:
            size = p.stop - p.start
            products = self.products[:, g] if self.products is not None else self.column_products(g)
            total: np.ndarray | float = 0.0
            for m in range(len(self.pairs)):
                total = total + np.matmul(
                    stacked(inverse[m, :, g], size, count), products[m].reshape(size, count, len(self.columns))
                )
            aa[:, :, p] = np.asarray(total).transpose(2, 1, 0)
            total = 0.0
            for i in range(self.k):
                shared = self.cross_a[i, g].reshape(size, count, self.a)
                total = total + np.matmul(stacked(s_y[i, :, g], size, count), shared)
            ay[:, :, p] = np.asarray(total).transpose(2, 1, 0)
        full = np.empty((self.a, self.a, dt, parents))
        left, right = self.upper
        full[left, right] = full[right, left] = aa[:, :, self.parent_place]
        c_aa = full + self.rest_aa
        c_ay = ay[:, :, self.parent_place] + outcomes.rest_a
        yy = outcomes.rest_y + np.einsum("idg,idg->d", s_y, np.broadcast_to(cross, s_y.shape))
        tape = []
        for number in range(1, len(self.levels)):
            if number > 1:
                c_aa = np.add.reduceat(c_aa, self.runs[number - 2], axis=3)
                c_ay = np.add.reduceat(c_ay, self.runs[number - 2], axis=2)
            c_aa, c_ay, less, log_level, entry = eliminate(c_aa, c_ay, self.levels[number].index, factors[number])
            logdet = logdet + log_level
            yy = yy - less
            tape.append(entry)
        return Pass(logdet, c_aa.sum(axis=3).transpose(2, 0, 1), c_ay.sum(axis=2).T, yy, inverse, cross, tape)

    # ------------------------------------------------------------------ reverse

    def reverse(self, run: Pass, factors: list[np.ndarray], v_a: np.ndarray, v_y: np.ndarray) -> list[np.ndarray]:
        """∂/∂T of log|V| + Σ_r v_r'(W'V⁻¹W)v_r at fixed v, innermost level first. (D, k, k) each

        Args:
            v_a, v_y: the vectors' entries at A and at the outcome. (D, r, a), (D, r)
        """
        v = np.ascontiguousarray(v_a.transpose(2, 1, 0))[:, :, :, None]  # (a, r, D, P)
        v_y = v_y.T  # (r, D)
        by_t: list[np.ndarray] = [np.zeros(0)] * len(self.levels)
        for number in range(len(self.levels) - 1, 0, -1):
            step = run.tape[number - 1]
            by_t[number], v, v_y = step_back(step, self.levels[number].index, factors[number], v, v_y)
            if number > 1:
                v = np.repeat(v, self.counts[number - 2], axis=3)
        by_t[0] = self._innermost(run, v, v_y)
        return by_t

    def _innermost(self, run: Pass, v: np.ndarray, v_y: np.ndarray) -> np.ndarray:
        parents, groups = len(self.parent_order), self.h_rows.shape[2]
        draws, a = v_y.shape[1], self.a
        v = np.broadcast_to(v, (a, v.shape[1], draws, v.shape[3]))
        # The first vector meets the outcome, the others are summed into a matrix that the shared products meet.
        first = np.broadcast_to(v[:, 0], (a, draws, parents))[:, :, self.parent_order]
        first = np.ascontiguousarray(first.transpose(2, 1, 0))
        left, right = self.upper
        others = np.einsum("crdp,crdp->dpc", v[left, 1:], v[right, 1:]) * self.column_times
        others = np.broadcast_to(others, (draws, parents, len(self.columns)))[:, self.parent_order].transpose(1, 0, 2)
        others = np.ascontiguousarray(others)
        t = np.empty((self.k, draws, groups))
        q = np.empty((len(self.pairs), draws, groups))
        for p, g, count in self.slabs:
            size = p.stop - p.start
            for i in range(self.k):
                shared = self.cross_a[i, g].reshape(size, count, a).transpose(0, 2, 1)
                np.matmul(first[p], shared, out=stacked(t[i, :, g], size, count))
            products = self.products[:, g] if self.products is not None else self.column_products(g)
            for m in range(len(self.pairs)):
                shared = products[m].reshape(size, count, len(self.columns)).transpose(0, 2, 1)
                np.matmul(others[p], shared, out=stacked(q[m, :, g], size, count))
        t += run.cross * v_y[0][:, None]
        for m, (i, j) in enumerate(self.pairs):
            if i != j:
                q[m] *= 0.5
            q[m] += t[i] * t[j]
        return self.by_t(run.inverse, q)
