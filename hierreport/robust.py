"""Cluster-robust inference for pooled OLS and for the mixed rungs, from moments."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .clusters import ClusterPass, cluster_starts
from .errors import HierreportError, ModelError
from .inference import wald
from .mixed import MixedFit, State
from .records import FixedEffect, Record, Spoken
from .robust_cr2 import Pieces, general, hotelling_df, plain, satterthwaite_df, symmetric_root
from .said import mark, whole
from .tails import f_sf

KINDS = ("CR0", "CR1", "CR2")
FEW_DF = 4.0
AUTO_CLUSTERS = 2000  # beyond, CR2 and CR1 agree in all digits that are read, and CR2 costs seconds
CR2_SIZE = 5e7


@dataclass(frozen=True)
class RobustTest(Record):
    """A joint Wald test: ``statistic`` is approximately F(df1, df2); ``chisq`` is the quadratic form itself."""

    terms: list[str]
    chisq: float
    statistic: float
    df1: int
    df2: float
    p: float
    method: str


@dataclass(frozen=True)
class RobustInference(Spoken):
    """Fixed effects with a robust covariance.

    kind: CR0, CR1, CR2, two-way or Driscoll-Kraay; clusters: number of clusters by what they are; fixed: Wald-t tests
    and intervals; notes: what a reader should know of its validity.
    """

    kind: str
    method: str
    clusters: dict[str, int]
    fixed: list[FixedEffect]
    fixed_cov: list[list[float]]
    notes: list[str] = field(default_factory=list)


@dataclass
class ClusterRobust:
    """A cluster-robust covariance of one fit, and the tests that rest on it.

    Attributes:
        state: the optimum that the residuals are from.
        level, clusters: grouping level and number of clusters.
        kind: CR0, CR1 or CR2.
    """

    state: State
    level: str
    clusters: int
    kind: str
    _pieces: Pieces
    _to_orthonormal: np.ndarray

    @property
    def terms(self) -> list[str]:
        """Names of the fixed effects."""
        return list(self.state.criterion.problem.basis.fixed)

    @cached_property
    def cov(self) -> np.ndarray:
        """Robust covariance of the fixed effects on the user's scale. (p, p)"""
        basis = self.state.criterion.problem.basis
        scores = self._pieces.scores
        half = np.linalg.solve(basis.p_x, self._to_orthonormal) * basis.y_scale
        factor = stata_factor(self.clusters, self.state) if self.kind == "CR1" else 1.0
        return factor * half @ (scores.T @ scores) @ half.T

    def _inner(self, contrasts: np.ndarray) -> np.ndarray:
        half = np.linalg.solve(self.state.criterion.problem.basis.p_x, self._to_orthonormal)
        return np.atleast_2d(contrasts) @ half

    def df(self, contrasts: np.ndarray) -> np.ndarray:
        """Degrees of freedom of single contrasts (m, p): Satterthwaite's under CR2, else clusters − 1. (m,)"""
        if self.kind != "CR2":
            return np.full(len(np.atleast_2d(contrasts)), self.clusters - 1.0)
        return satterthwaite_df(self._pieces, self._inner(contrasts))

    @property
    def df_method(self) -> str:
        """Where the degrees of freedom come from, in a word."""
        return "satterthwaite (CR2)" if self.kind == "CR2" else "clusters - 1"

    def fixed(self, level: float = 0.95) -> list[FixedEffect]:
        """Wald-t tests and intervals of every fixed effect."""
        beta, se = self.state.beta_raw, np.sqrt(np.diag(self.cov))
        df = self.df(np.eye(len(beta)))
        return [
            wald(t, float(b), float(s), float(d), self.df_method, level)
            for t, b, s, d in zip(self.terms, beta, se, df, strict=True)
        ]

    def test(self, terms: list[str]) -> RobustTest:
        """Joint test that the coefficients of some terms are zero.

        Under CR2 the approximate Hotelling T² of Pustejovsky & Tipton (2018), clubSandwich's "HTZ"; else the Wald
        statistic over its degrees of freedom against F(q, clusters − 1), as Stata.

        Raises:
            HierreportError: an unknown term, or none.
        """
        unknown = [t for t in terms if t not in self.terms]
        if not terms:
            raise HierreportError("no fixed effect was named.", "robust test", f"Name some of {', '.join(self.terms)}.")
        if unknown:
            raise HierreportError(f"the model has no fixed effect {unknown[0]!r}.", "robust test")
        contrasts = np.eye(len(self.terms))[[self.terms.index(t) for t in terms]]
        q = len(terms)
        estimate, middle = contrasts @ self.state.beta_raw, contrasts @ self.cov @ contrasts.T
        chisq = float(estimate @ np.linalg.lstsq(middle, estimate, rcond=1e-12)[0])
        rank = int(np.linalg.matrix_rank(middle, hermitian=True, tol=1e-12 * float(np.abs(middle).max())))
        if self.kind != "CR2":
            df2 = self.clusters - 1.0
            return f_test(terms, chisq, chisq / q, q, df2, f"F with {self.kind}, clusters - 1", rank < q)
        eta = hotelling_df(self._pieces, self._inner(contrasts))
        df2 = eta - q + 1.0
        return f_test(terms, chisq, chisq / q * max(df2, 0.0) / eta, q, df2, "Hotelling T² with CR2 (HTZ)", rank < q)

    def record(self, level: float = 0.95) -> RobustInference:
        """The covariance and the tests as a record."""
        fixed = self.fixed(level)
        notes = []
        low = [f.term for f in fixed if f.df is not None and f.df < FEW_DF]
        if low:
            notes.append(
                f"Fewer than {mark(FEW_DF, f'{FEW_DF:g}')} degrees of freedom for {', '.join(low)}: too few "
                f"clusters of level {self.level} inform these estimates for their p-values to be trusted."
            )
        if self.kind != "CR2" and self.clusters < 40:
            notes.append(f"With {whole(self.clusters)} clusters {self.kind} is usually too small; CR2 corrects for it.")
        criterion = self.state.criterion
        weighted = criterion.problem.moments.unweighted is not None
        if self.kind == "CR2" and (criterion.errors is not None or weighted):
            by = "the weights" if criterion.errors is None else "the fitted error structure"
            notes.append(f"CR2 is taken on rows whitened by {by}.")
        method = "OLS" if not criterion.parameters.size else "REML" if criterion.reml else "ML"
        return RobustInference(self.kind, method, {self.level: self.clusters}, fixed, self.cov.tolist(), notes)


def f_test(
    terms: list[str], chisq: float, statistic: float, q: int, df2: float, method: str, deficient: bool
) -> RobustTest:
    """A joint test from its F statistic; p is NaN where the covariance is deficient or leaves no degrees of freedom."""
    p = f_sf(max(statistic, 0.0), q, df2) if df2 > 0 and not deficient else float("nan")
    return RobustTest(list(terms), chisq, float(statistic), q, float(df2), p, method)


def stata_factor(clusters: int, state: State) -> float:
    """G/(G−1) · (N−1)/(N−K), the small-sample factor of Stata's ``vce(cluster)``."""
    problem = state.criterion.problem
    n, k = problem.n_obs, len(problem.basis.x_index)
    return clusters / (clusters - 1.0) * (n - 1.0) / (n - k)


def cluster_robust(fit: MixedFit, level: str | None = None, kind: str = "CR2", method: str = "reml") -> ClusterRobust:
    """Cluster-robust covariance of the fixed effects.

    Args:
        fit: pooled OLS or a mixed model; its fitted V is the working model. Weights are inverse variances; with weights
            or structured errors CR2 is taken on whitened rows, A = (I − H)^(−1/2).
        level: the clusters' grouping level: by default the outermost random level, for pooled OLS the innermost level.
        kind: ``CR0`` (no correction), ``CR1`` (Stata's factor), ``CR2`` (bias-reduced, Satterthwaite degrees of
            freedom; Pustejovsky & Tipton 2018), or ``auto``: CR2 up to ``AUTO_CLUSTERS`` clusters, else CR1.
        method: ``reml`` or ``ml``: whose V and residuals (the same for pooled OLS).

    Raises:
        HierreportError: an unknown kind.
        ModelError: clusters finer than the outermost random level, a single cluster, an unknown level; no fixed
            effects; CR2 of more clusters and fixed effects than fit into memory.
    """
    if kind not in (*KINDS, "auto"):
        raise HierreportError(
            f"unknown kind {kind!r} of robust covariance.", "robust", f"Use one of {', '.join(KINDS)}."
        )
    state = fit.state(method)
    criterion = state.criterion
    name, starts = cluster_starts(state, level)
    basis = criterion.problem.basis
    x = list(basis.x_index)
    if not x:
        raise ModelError("the model has no fixed effects whose errors could be robust.", "robust")
    if kind == "auto":
        kind = "CR2" if len(starts) <= AUTO_CLUSTERS else "CR1"
    if kind == "CR2" and len(starts) * len(x) ** 2 > CR2_SIZE:
        raise ModelError(
            f"CR2 of {len(starts)} clusters and {len(x)} fixed effects is too large.",
            "robust",
            "Use CR1: with so many clusters the two agree.",
        )
    to_orthonormal = np.linalg.inv(np.linalg.cholesky(state.evaluation.xx.real)).T
    b = residual(state)
    clusters = ClusterPass(criterion, starts)
    if kind == "CR2" and criterion.levels and criterion.errors is None:
        pieces = general(state, clusters, to_orthonormal, b)
    else:
        c, _ = clusters(state.factors, state.theta[criterion.parameters.n_lambda :])
        scores = np.tensordot(b, c[x], axes=([0], [1])).T @ to_orthonormal
        if kind == "CR2":
            gram = to_orthonormal.T @ c[x][:, x].transpose(2, 0, 1) @ to_orthonormal
            pieces = symmetric_root(gram, scores)
        else:
            pieces = plain(scores)
    return ClusterRobust(state, name, len(starts), kind, pieces, to_orthonormal)


def residual(state: State) -> np.ndarray:
    """Coefficients b of y − Xβ in the working columns. (q,)"""
    basis = state.criterion.problem.basis
    b = np.zeros(len(state.criterion.problem.total))
    b[basis.y_index] = 1.0
    b[basis.x_index] = -state.evaluation.beta.real
    return b
