"""Residual covariance structures with parameters of their own: AR(1) in time, and variances by stratum."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ModelError
from .moments import LagMoments, StratumMoments
from .problem import Problem, transform_products
from .smallmat import cholesky_semidefinite, solve_upper_transposed

# Largest difference of the strata's log standard deviations that is evaluated.
FURTHEST = float(np.log(1e4))


@dataclass(frozen=True)
class _Part:
    """Sums over the steps of one gap, stacked: w_t w_t', w_t w_{t−d}' + transpose, w_{t−d} w_{t−d}'. (3, …, K)

    count: steps of this gap; counts: the same by entry, before any summing over groups.
    """

    gap: float
    group: np.ndarray
    count: float
    sums: np.ndarray
    counts: np.ndarray

    def add(self, out: np.ndarray, weights: list) -> None:
        """Add the weighted sums to the groups' entries of out (…, G)."""
        flat = self.sums.reshape(3, -1)
        w = np.array(weights)
        total = w.real @ flat
        if np.iscomplexobj(w):
            total = total + 1j * (w.imag @ flat)
        total = total.reshape(self.sums.shape[1:])
        if len(self.group) == out.shape[-1]:
            out += total
        else:
            out[..., self.group] += total

    def against(self, adjoint: np.ndarray) -> np.ndarray:
        """Σ adjoint · each of the three kinds of sums, over all entries; adjoint (…, G or 1). (3,)"""
        if adjoint.shape[-1] == 1:
            flat = self.sums.sum(axis=-1).reshape(3, -1)
        else:
            flat = self.sums.reshape(3, -1)
            adjoint = adjoint if len(self.group) == adjoint.shape[-1] else adjoint[..., self.group]
        if np.iscomplexobj(adjoint):
            return flat @ adjoint.real.reshape(-1) + 1j * (flat @ adjoint.imag.reshape(-1))
        return flat @ adjoint.reshape(-1)


class Serial:
    """ρ and its unconstrained parameter φ: ρ = tanh φ, or for continuous time (ρ ≥ 0) logistic.

    Attributes:
        continuous: continuous-time AR(1).
        steps: number of steps from one row to the next.
    """

    continuous: bool
    steps: float

    def rho(self, phi: np.ndarray) -> float | None:
        """ρ from its unconstrained parameter."""
        return float(np.real(self._rho(phi[0])))

    def _rho(self, phi):
        return 1.0 / (1.0 + np.exp(-phi)) if self.continuous else np.tanh(phi)

    def by_phi(self, rho):
        """dρ/dφ."""
        return rho * (1.0 - rho) if self.continuous else 1.0 - rho * rho

    def power(self, phi: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """ρ to the power of each gap."""
        return self._rho(phi[0]) ** (gap if self.continuous else np.round(gap))

    def phi(self, rho: float) -> np.ndarray:
        """The unconstrained parameter of ρ. (1,)"""
        return np.array([np.log(rho / (1.0 - rho)) if self.continuous else np.arctanh(rho)])

    def at(self, rho: float | None, sigmas: Mapping[str, float]) -> np.ndarray:
        """Parameters of a given ρ. (1,)"""
        return self.phi(float(rho or 0.0))

    def starts(self) -> list[np.ndarray]:
        """Starting values: two optima are common (variance between groups, or ρ near one)."""
        return [self.phi(r) for r in ((0.05, 0.5, 0.9) if self.continuous else (0.0, 0.5, 0.9))]

    def inverse_hessian(self, phi: np.ndarray) -> np.ndarray:
        """Initial inverse Hessian of the deviance in φ, from the Fisher information of ρ."""
        rho = float(np.real(self._rho(phi[0])))
        return np.array([(1 - rho * rho) / (2.0 * max(self.steps, 1.0) * max(self.by_phi(rho), 1e-6) ** 2)])


def whole_gaps(gap: np.ndarray, continuous: bool) -> np.ndarray:
    """Gaps as the errors take them: in whole steps unless time is continuous.

    Raises:
        ModelError: discrete AR(1) with gaps that are not whole numbers of steps.
    """
    fraction = np.abs(gap - np.round(gap)).max(initial=0.0)
    if not continuous and fraction > 1e-9:
        raise ModelError(
            "the times within groups are not whole numbers of time steps apart: AR(1) is undefined for ρ < 0.",
            "errors",
            'Use errors: "car1" (continuous-time AR(1)), or set time_step.',
        )
    return gap if continuous else np.round(gap)


class AutoregressiveErrors(Serial):
    """AR(1) errors within the innermost group, gaps honoured: Cor(e_t, e_{t−d}) = ρ^d, σ² the stationary variance.

    Whitening a row by the one before it, (w_t − ρ^d w_{t−d})/√(1 − ρ^{2d}), makes the moments rational functions of ρ
    and of lagged sums (Pinheiro & Bates 2000, sec. 5.3.1, for the model; corCAR1 for gaps that are not whole numbers).

    Args:
        problem: gives the working columns.
        lags: lagged moments of the panel.
        continuous: continuous-time AR(1): ρ ≥ 0, parametrised by the logistic function; else ρ = tanh φ.

    Raises:
        ModelError: discrete AR(1) with gaps that are not whole numbers of steps.
    """

    n_par = 1

    def __init__(self, problem: Problem, lags: LagMoments, continuous: bool = False) -> None:
        self.continuous = continuous
        gaps = whole_gaps(lags.gap, continuous)
        transform = problem.basis.transform
        self.first = transform_products(lags.first, transform)
        now, cross, before = (transform_products(m, transform) for m in (lags.now, lags.cross, lags.before))
        self.parts: list[_Part] = []
        for gap in np.unique(gaps):
            rows = np.flatnonzero(gaps == gap)
            sums = np.stack([now[..., rows], cross[..., rows], before[..., rows]])
            counts = lags.count[rows]
            self.parts.append(_Part(float(gap), lags.group[rows], float(counts.sum()), sums, counts))
        self.steps = float(lags.count.sum())

    def moments(self, phi: np.ndarray) -> tuple[np.ndarray, Any]:
        """Σ w V_e⁻¹ w' per innermost group (q, q, G) and log|V_e|."""
        rho = self._rho(phi[0])
        out = self.first.astype(np.result_type(self.first, phi))
        logdet: Any = 0.0
        for part in self.parts:
            s = rho**part.gap
            d = 1.0 - s * s
            part.add(out, [1.0 / d, -s / d, s * s / d])
            logdet = logdet + part.count * np.log(d)
        return out, logdet

    def gradient(self, phi: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """Derivative of Σ adjoint · moments with respect to φ. (1,)"""
        total: Any = 0.0
        for part, (s, ds) in zip(self.parts, self._decay(phi), strict=True):
            d = 1.0 - s * s
            by_sums = part.against(adjoint)
            total = total + ds / d**2 * (2.0 * s * (by_sums[0] + by_sums[2]) - (1.0 + s * s) * by_sums[1])
        return np.array([total])

    def log_gradient(self, phi: np.ndarray) -> np.ndarray:
        """Derivative of log|V_e| with respect to φ. (1,)"""
        decay = zip(self.parts, self._decay(phi), strict=True)
        return np.array([sum(-part.count * 2.0 * s * ds / (1.0 - s * s) for part, (s, ds) in decay)])

    def _decay(self, phi: np.ndarray) -> list[tuple[Any, Any]]:
        """For every gap, the correlation ρ^d and its derivative with respect to φ."""
        rho = self._rho(phi[0])
        by_phi = self.by_phi(rho)
        return [(rho**p.gap, p.gap * rho ** (p.gap - 1.0) * by_phi) for p in self.parts]

    def spread(self, phi: np.ndarray) -> tuple[float, np.ndarray]:
        """Residual variance relative to σ²: the same for all rows; and its derivative. (1,)"""
        return 1.0, np.zeros(1)

    def restricted(self, index: np.ndarray | None, owner: np.ndarray, groups: int) -> AutoregressiveErrors:
        """The same structure for some rows of the moments (all for None), summed over groups with the same owner."""
        out = copy(self)
        out.first, _ = _sum_by_owner(_take(self.first, index), owner, groups)
        out.parts = []
        for part in self.parts:
            sums = part.sums if index is None else part.sums[:, index]
            summed, owners = _sum_by_owner(sums, owner[part.group], None)
            out.parts.append(_Part(part.gap, owners, part.count, summed, part.counts))
        return out

    def kept(self, keep: np.ndarray) -> AutoregressiveErrors:
        """The same structure without some innermost groups; keep: True for those that stay. (G,)"""
        out, place = copy(self), np.cumsum(keep) - 1
        out.first = self.first[..., keep]
        out.parts = []
        for part in self.parts:
            stay = keep[part.group]
            counts = part.counts[stay]
            if stay.any():
                sums = part.sums[..., stay]
                out.parts.append(_Part(part.gap, place[part.group[stay]], float(counts.sum()), sums, counts))
        out.steps = float(sum(part.count for part in out.parts))
        return out


def ratios(logs: np.ndarray) -> np.ndarray:
    """The log ratios δ of all strata from those of all but the first. (S,)

    Raises:
        LinAlgError: standard deviations further apart than sums of products can tell from rounding.
    """
    delta = np.concatenate([np.zeros(1, dtype=logs.dtype), logs])
    if np.ptp(delta.real) > FURTHEST:
        raise np.linalg.LinAlgError("the strata's variances are too far apart")
    return delta


def mean_square(counts: np.ndarray, delta: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of exp(2δ) over the rows of all strata, and its derivatives in all δ but the first. (S − 1,)"""
    parts = counts / counts.sum() * np.exp(2.0 * delta)
    return float(parts.sum()), 2.0 * parts[1:]


def _take(stack: np.ndarray, index: np.ndarray | None) -> np.ndarray:
    return stack if index is None else stack[index]


def _sum_by_owner(stack: np.ndarray, owner: np.ndarray, groups: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a stack (…, K) over entries with the same owner, and the owners in order; all of ``groups`` if given."""
    order = np.argsort(owner, kind="stable")
    sorted_owner = owner[order]
    first = np.flatnonzero(np.diff(sorted_owner, prepend=-1))
    if groups is not None and len(first) != groups:
        raise ValueError("every group must have entries")
    if len(first) == len(owner):
        return np.ascontiguousarray(stack[..., order]), sorted_owner
    return np.add.reduceat(stack[..., order], first, axis=-1), sorted_owner[first]


class StratifiedErrors:
    """Residual variance that differs by stratum (nlme's varIdent): σ_s = σ·exp(δ_s), δ = 0 in the first stratum.

    Args:
        problem: gives the working columns.
        strata: moments by stratum.
        given: the variances are known, not estimated, so that rows that can be fitted exactly do no harm.

    Raises:
        ModelError: a stratum that the model can fit exactly, so that the likelihood has no maximum.
    """

    def __init__(self, problem: Problem, strata: StratumMoments, given: bool = False) -> None:
        self.strata = strata
        self.n_par = len(strata.strata) - 1
        self.groups = len(problem.n)
        self.products = transform_products(strata.products, problem.basis.transform)
        self.counts = np.bincount(strata.stratum, weights=strata.n, minlength=len(strata.strata))
        if not given:
            refuse_exact(problem, strata, self.products)

    def rho(self, phi: np.ndarray) -> None:
        """Errors are independent."""
        return None

    def moments(self, phi: np.ndarray) -> tuple[np.ndarray, Any]:
        """Σ w V_e⁻¹ w' per innermost group (q, q, G) and log|V_e|."""
        delta = ratios(phi)
        scaled = self.products * np.exp(-2.0 * delta[self.strata.stratum])
        return self._by_group(scaled), 2.0 * np.sum(self.counts * delta)

    def _by_group(self, cells: np.ndarray) -> np.ndarray:
        out = np.zeros((*cells.shape[:2], self.groups), dtype=cells.dtype)
        first = np.flatnonzero(np.diff(self.strata.group, prepend=-1))
        out[..., self.strata.group[first]] = np.add.reduceat(cells, first, axis=2)
        return out

    def gradient(self, phi: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """Derivatives of Σ adjoint · moments with respect to each log ratio δ. (n_par,)"""
        if adjoint.shape[2] > 1:
            adjoint = adjoint[..., self.strata.group]
        by_cell = (adjoint * self.products).sum(axis=(0, 1))
        by_stratum = np.zeros(self.n_par + 1, dtype=by_cell.dtype)
        np.add.at(by_stratum, self.strata.stratum, by_cell)
        return -2.0 * np.exp(-2.0 * phi) * by_stratum[1:]

    def log_gradient(self, phi: np.ndarray) -> np.ndarray:
        """Derivatives of log|V_e| with respect to each log ratio δ. (n_par,)"""
        return 2.0 * self.counts[1:]

    def restricted(self, index: np.ndarray | None, owner: np.ndarray, groups: int) -> StratifiedErrors:
        """The same structure for some rows of the moments (all for None), summed over groups with the same owner."""
        out = copy(self)
        size = len(self.strata.strata)
        key = owner[self.strata.group] * size + self.strata.stratum
        out.products, keys = _sum_by_owner(_take(self.products, index), key, None)
        empty = np.zeros(len(keys), dtype=int)
        out.strata = StratumMoments(self.strata.strata, keys // size, keys % size, empty, np.zeros(0))
        out.groups = groups
        return out

    def starts(self) -> list[np.ndarray]:
        """Equal variances."""
        return [np.zeros(self.n_par)]

    def inverse_hessian(self, phi: np.ndarray) -> np.ndarray:
        """Initial inverse Hessian of the deviance in δ: information 2n_s."""
        return 1.0 / (4.0 * np.maximum(self.counts[1:], 1.0))

    def sigmas(self, sigma: float, phi: np.ndarray) -> dict[str, float]:
        """Residual standard deviation of each stratum."""
        ratios = np.concatenate([[1.0], np.exp(phi)])
        return {str(name): float(sigma * r) for name, r in zip(self.strata.strata, ratios, strict=True)}

    def spread(self, phi: np.ndarray) -> tuple[float, np.ndarray]:
        """Residual variance averaged over the rows, relative to σ², and its derivatives. (n_par,)"""
        return mean_square(self.counts, ratios(phi))

    def at(self, rho: float | None, sigmas: Mapping[str, float]) -> np.ndarray:
        """Parameters of given standard deviations by stratum. (n_par,)"""
        sd = np.array([sigmas[str(name)] for name in self.strata.strata])
        return np.log(sd[1:] / sd[0])


def refuse_exact(problem: Problem, strata: StratumMoments, cells: np.ndarray) -> None:
    """Refuse strata whose rows the model can fit exactly.

    Args:
        cells: the strata's sums of products in the working columns. (q, q, K)

    Raises:
        ModelError: there is one; the likelihood has no maximum.
    """
    x, y = problem.basis.x_index, problem.basis.y_index
    for s, name in enumerate(strata.strata):
        members = np.flatnonzero(strata.stratum == s)
        products, rows = cells[..., members], int(strata.n[members].sum())
        rest, rank = products.sum(axis=2), 0
        if problem.levels:
            # One column per group of the innermost level absorbs at least what outer levels do.
            index = problem.levels[0].index
            owner = np.searchsorted(problem.levels[0].starts, strata.group[members], side="right") - 1
            first = np.flatnonzero(np.diff(owner, prepend=-1))
            products = np.add.reduceat(products, first, axis=2)
            root = cholesky_semidefinite(products[np.ix_(index, index)], np.full(products.shape[2], 1e-12))
            cross = solve_upper_transposed(root, products[index])
            rank = int(np.count_nonzero(root[range(len(index)), range(len(index))]))
            rest = products.sum(axis=2) - np.einsum("aig,ajg->ij", cross, cross)
        xx, xy = rest[np.ix_(x, x)], rest[x, y]
        beta = np.linalg.lstsq(xx, xy, rcond=1e-11)[0] if len(x) else np.zeros(0)
        rss = rest[y, y] - xy @ beta
        if rss <= 1e-10 * max(products[y, y].sum(), 1e-300) and rows > rank:
            raise ModelError(
                f"the {rows} rows of stratum {name} can be fitted exactly: their variance would go to zero and the "
                "likelihood has no maximum.",
                "variances",
                "Merge this stratum with another, or use equal variances.",
            )
