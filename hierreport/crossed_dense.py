"""The criterion of a crossed random intercept beside nested levels, by one dense matrix of the smaller side.

Where there are fewer nested coefficients than periods, the periods are eliminated first (Z_t'Z_t is diagonal) and the
nested coefficients are dense; otherwise the innermost level goes first and the periods are dense, with upper levels.
"""

from __future__ import annotations

import numpy as np

from .criterion import Criterion, Evaluation
from .crossed_design import Design
from .crossed_solved import Solved
from .problem import Problem


class DenseCrossedCriterion(Criterion):
    """``Criterion`` of a model with a crossed random intercept; its relative sd λ is the last entry of θ.

    Complex parameters are taken as steps of 1e-20: derivatives are exact to first order, higher ones are not there.

    Args:
        problem: with ``problem.crossed`` set.
        reml: REML instead of ML.
        factored: the innermost level prepared by ``factor``; None without levels.
        design: from ``crossed_design``.
    """

    def __init__(self, problem: Problem, reml: bool, factored, design: Design) -> None:
        super().__init__(problem, reml, factored)
        self.design = design
        self.dense = len(design.dd)

    def again(self, reml: bool) -> DenseCrossedCriterion:
        """The same model under the other criterion."""
        return DenseCrossedCriterion(self.problem, reml, self.factored, self.design)

    def solved(self, factors: list[np.ndarray]) -> Solved:
        """The products through V⁻¹ at real factors; the last ones are kept."""
        key = b"".join(lam.tobytes() for lam in factors)
        known, at = self.design.last
        if known != key:
            at, self.design.last = None, (b"", None)
            at = Solved(self.design, self.problem.components, factors)
            self.design.last = key, at
        return at

    def evaluate(self, theta: np.ndarray, gradient: bool = True) -> Evaluation:
        """See ``Criterion.evaluate``."""
        self.evaluations += 1
        factors = self.parameters.factors(theta)
        at = self.solved([np.ascontiguousarray(lam.real) for lam in factors])
        logdet, total, tape = at.logdet, at.total, [at.r, at.sums] if gradient else []
        if np.iscomplexobj(theta):
            changes = [(lam @ lam.T).imag for lam in factors]
            by_logdet, by_total, *moved = at.step(changes, gradient)
            logdet, total = logdet + 1j * by_logdet, total + 1j * by_total
            tape = [[x + 1j * dx for x, dx in zip(*pair, strict=True)] for pair in zip(tape, moved, strict=True)]
        return self._top(theta, factors, logdet, total, tape, 0, gradient)

    def _reverse(self, theta, factors, adjoint, tape, start):
        r, sums = tape
        by_t = []
        for rows, own in zip(r, sums, strict=True):
            half = np.tensordot(adjoint, rows, axes=([1], [1]))
            by_t.append(own - np.tensordot(rows, half, axes=([1, 2], [0, 2])))
        by_factor = [2.0 * t @ f for t, f in zip(by_t, factors, strict=True)]
        gradient = [by_factor[number][row, column] for number, row, column in self.parameters.entries]
        return np.array(gradient, dtype=np.result_type(adjoint, float)), by_t
