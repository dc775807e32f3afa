"""A crossed effect of time beside AR(1) errors or unequal variances.

The crossed factor's columns are whitened with all others (``errors_combined``), stand beside the working columns
through the nested elimination, and are eliminated last: C_tt = Z_t'V₀⁻¹Z_t is dense, a row per period.
"""

from __future__ import annotations

from .criterion import Criterion, ErrorStructure, Factored
from .crossed import CrossedCriterion
from .problem import Problem


class CrossedErrorsCriterion(CrossedCriterion):
    """The criterion of a model with a crossed random intercept and an error structure.

    The effect's relative sd λ is the last entry of Λ's in θ; the error structure's parameters follow.

    Args:
        problem: with ``problem.crossed`` set.
        reml: REML instead of ML.
        factored: the innermost level prepared by ``factor``; None without nested levels.
        errors: gives moments with the crossed factor's columns after the working ones.
    """

    def __init__(self, problem: Problem, reml: bool, factored: Factored | None, errors: ErrorStructure) -> None:
        Criterion.__init__(self, problem, reml, factored, errors)
        self.dense = problem.components[-1].groups

    def again(self, reml: bool) -> CrossedErrorsCriterion:
        """The same model under the other criterion."""
        assert self.errors is not None
        return CrossedErrorsCriterion(self.problem, reml, self.factored, self.errors)
