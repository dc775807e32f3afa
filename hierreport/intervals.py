"""The quantities that intervals are given for, computed for many fits at once, and the record of one interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .problem import Problem
from .records import Record


@dataclass(frozen=True)
class Quantity(Record):
    """What an interval is for.

    Attributes:
        kind: ``fixed``, ``sd``, ``correlation``, ``sigma``, ``rho``, ``icc`` or ``r2``.
        level: the level's path for ``sd``, ``correlation`` and ``icc`` (there also ``residual``), else "".
        terms: one term for ``fixed`` and ``sd``, two for ``correlation``, ``("marginal",)`` or ``("conditional",)`` for
            ``r2``, none else.
    """

    kind: str
    level: str = ""
    terms: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """One string for tables: ``sd sector/firm log(capital)``."""
        return " ".join([self.kind, *([self.level] if self.level else []), *self.terms])

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the quantity lives."""
        if self.kind in ("icc", "r2"):
            return 0.0, 1.0
        if self.kind == "correlation":
            return -1.0, 1.0
        if self.kind == "rho":
            return -1.0, 1.0
        return (-np.inf, np.inf) if self.kind == "fixed" else (0.0, np.inf)


@dataclass(frozen=True)
class Interval(Record):
    """An interval for one quantity on the user's scale.

    ``method`` says how it was made, ``note`` what a reader must know about it; a bound is None where it is not defined.
    """

    kind: str
    level: str
    terms: tuple[str, ...]
    estimate: float | None
    low: float | None
    high: float | None
    coverage: float
    method: str
    note: str = ""


def quantities(problem: Problem) -> list[Quantity]:
    """All quantities of a model: fixed effects, random parts (outermost level first), σ, ICC, R²."""
    out = [Quantity("fixed", terms=(term,)) for term in problem.basis.fixed]
    for level in reversed(problem.components):
        out += [Quantity("sd", level.name, (term,)) for term in level.terms]
        out += [
            Quantity("correlation", level.name, (level.terms[j], level.terms[i]))
            for i in range(level.size)
            for j in range(i)
            if level.block[i] == level.block[j]
        ]
    out.append(Quantity("sigma"))
    if problem.components:
        out += [Quantity("icc", level.name) for level in reversed(problem.components)]
        out.append(Quantity("icc", "residual"))
    return [*out, Quantity("r2", terms=("marginal",)), Quantity("r2", terms=("conditional",))]


def mean_products(problem: Problem) -> np.ndarray:
    """Products of the stored columns averaged over rows, without weights. (q_stored, q_stored)"""
    moments = problem.moments
    if moments.unweighted is not None:
        gram = moments.unweighted
    elif moments.products.shape[0] == moments.products.shape[1]:
        gram = moments.products.sum(axis=2)
    else:
        gram = moments.parent_products.sum(axis=2)
    return gram / problem.n_obs


def user_covariances(problem: Problem, covariances: list[np.ndarray], sigma: np.ndarray) -> list[np.ndarray]:
    """Covariances of the random coefficients on the user's scale, from T (D, k, k) and σ (D,), innermost first."""
    out = []
    for level, t in zip(problem.components, covariances, strict=True):
        back = np.linalg.inv(level.to_raw)
        out.append(np.einsum("ij,djk,lk->dil", back, t, back) * sigma[:, None, None] ** 2)
    return out


def values(
    problem: Problem, covariances: list[np.ndarray], sigma: np.ndarray, beta: np.ndarray, spread: float = 1.0
) -> np.ndarray:
    """All quantities of ``quantities`` for D fits.

    Sources: Johnson (2014), Methods Ecol. Evol. 5, eq. 10, for variances averaged over rows; Nakagawa & Schielzeth
    (2013), Methods Ecol. Evol. 4, eqs. 26 and 30, for R². A correlation with a zero standard deviation is NaN.

    Args:
        covariances: T of every level, innermost first. (D, k, k) each
        sigma: on the user's scale. (D,)
        beta: on the working scale. (D, p)
        spread: residual variance averaged over the rows, relative to sigma².

    Returns:
        (D, quantities)
    """
    basis, draws = problem.basis, len(sigma)
    columns: list[np.ndarray] = list(user_fixed(problem, beta).T)
    covs = user_covariances(problem, covariances, sigma)
    for number in range(len(problem.components) - 1, -1, -1):
        level, cov = problem.components[number], covs[number]
        sd = np.sqrt(np.maximum(np.diagonal(cov, axis1=1, axis2=2), 0.0))
        columns += list(sd.T)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns += [
                np.clip(np.where((sd[:, i] > 0) & (sd[:, j] > 0), cov[:, i, j] / (sd[:, i] * sd[:, j]), np.nan), -1, 1)
                for i in range(level.size)
                for j in range(i)
                if level.block[i] == level.block[j]
            ]
    columns.append(sigma)
    gram = mean_products(problem)
    shares = []
    for number in range(len(problem.components) - 1, -1, -1):
        z = basis.transform[:, problem.components[number].index]
        shares.append(np.einsum("dij,ij->d", covariances[number], z.T @ gram @ z) * sigma**2)
    residual = spread * sigma**2
    total = sum(shares, residual)
    if problem.components:
        columns += [share / total for share in shares] + [residual / total]
    v = beta @ basis.transform[:, basis.x_index].T
    n = problem.n_obs
    fixed = np.einsum("dj,jk,dk->d", v, gram, v) - (v @ gram[0]) ** 2
    fixed = np.maximum(fixed * n / max(n - 1, 1) * basis.y_scale**2, 0.0) if len(basis.x_index) else np.zeros(draws)
    columns += [fixed / (fixed + total), (fixed + total - residual) / (fixed + total)]
    return np.column_stack(columns)


def user_fixed(problem: Problem, beta: np.ndarray) -> np.ndarray:
    """Fixed effects on the user's scale from working ones. (D, p)"""
    basis = problem.basis
    if not len(basis.x_index):
        return np.zeros((len(beta), 0))
    right = basis.y_scale * beta
    if basis.y_shift:
        right = right.copy()
        right[:, list(basis.fixed).index("(Intercept)")] += basis.y_shift
    return np.linalg.solve(basis.p_x, right.T).T
