"""AR(1) errors and residual variances by stratum together, and either of them beside a crossed effect of time.

V_e = D^½ C(ρ) D^½ with D by stratum: nlme's corAR1 (or corCAR1) with varIdent (Pinheiro & Bates 2000, secs. 5.2, 5.3).
A row whitened by the one before it is (w_t e^{−δ_s} − r w_{t−d} e^{−δ_s'})/√(1 − r²), r = ρ^d, so that what the fit
reads are sums over rows that share a *kind* (gap, stratum, stratum before, and which of the two rows), each with a
coefficient. A crossed effect's indicator columns stand beside the working columns: they are whitened like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .errors import ModelError
from .errors_structure import Serial, mean_square, ratios, refuse_exact, whole_gaps
from .moments import LagMoments, PeriodMoments, StratumMoments
from .problem import Problem, transform_products

# Parts of a product of whitened rows: of a group's first row; of a row, of it with the one before it, of that one.
FIRST, NOW, CROSS, BEFORE = range(4)
LIMIT = 2e9


@dataclass(frozen=True)
class Kinds:
    """What a coefficient depends on. (n,) each"""

    part: np.ndarray
    gap: np.ndarray
    stratum: np.ndarray
    before: np.ndarray

    @cached_property
    def powers(self) -> tuple[np.ndarray, np.ndarray]:
        """How often e^−δ of the row's stratum, and of that of the row before, stands in a coefficient."""
        return np.array([2, 2, 1, 0])[self.part], np.array([0, 0, 1, 2])[self.part]

    def scale(self, delta: np.ndarray) -> np.ndarray:
        """What the strata's log ratios make of the coefficients."""
        now, before = self.powers
        return np.exp(-(now * delta[self.stratum] + before * delta[self.before]))

    @classmethod
    def of(cls, tables: list[np.ndarray]) -> tuple[Kinds, list[np.ndarray]]:
        """The distinct rows (part, gap, stratum, before) of several tables, and each table as numbers of kinds."""
        table = np.concatenate(tables)
        gaps, at = np.unique(table[:, 1], return_inverse=True)
        strata = int(table[:, 2:].max(initial=0)) + 1
        part, stratum, before = (table[:, j].astype(np.int64) for j in (0, 2, 3))
        code = ((at.ravel() * 4 + part) * strata + stratum) * strata + before
        _, first, number = np.unique(code, return_index=True, return_inverse=True)
        kinds = cls(part[first], gaps[at.ravel()[first]], stratum[first], before[first])
        return kinds, np.split(number.ravel(), np.cumsum([len(t) for t in tables])[:-1])


@dataclass(frozen=True)
class Sums:
    """Sums with a kind each, sorted by where they go: ``values[…, i]`` is added at ``[…, place[:, i]]`` of the moments.

    place: positions of each sum: its group, or the period's column and its group, or two such columns and its group.
    runs: first sum of each place.
    """

    values: np.ndarray
    kind: np.ndarray
    place: np.ndarray
    runs: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, kind: np.ndarray, place: np.ndarray) -> Sums:
        """Add up sums of one kind that go to one place."""
        order = np.lexsort((kind, *place))
        values, kind, place = values[..., order], kind[order], place[:, order]
        moved = np.any(np.diff(place, axis=1, prepend=-1) != 0, axis=0)
        first = np.flatnonzero(moved | (np.diff(kind, prepend=-1) != 0))
        if len(first) != len(kind):
            values = np.add.reduceat(values, first, axis=-1)
        return cls(np.ascontiguousarray(values), kind[first], place[:, first], np.flatnonzero(moved[first]))

    def weighted(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the values times their coefficients by place, and the places."""
        total = self.values * coefficients[self.kind]
        if len(self.runs) != len(self.kind):
            total = np.add.reduceat(total, self.runs, axis=-1)
        return total, self.place[:, self.runs]


class CombinedErrors:
    """AR(1) errors, residual variances by stratum or both; parameters φ of ρ first, then the log ratios δ.

    Args:
        problem: gives the working columns.
        lags: lagged moments where errors are AR(1); those of the strata where variances are unequal too.
        strata: moments by stratum, where variances are unequal.
        cells: sums by period (and stratum) where there is a crossed effect.
        continuous: continuous-time AR(1).
        given: the variances are known, not estimated, so that rows that can be fitted exactly do no harm.

    Raises:
        ModelError: gaps that are not whole numbers under discrete AR(1); a stratum that can be fitted exactly; periods
            and groups that a dense elimination cannot hold.
    """

    def __init__(
        self,
        problem: Problem,
        lags: LagMoments | None = None,
        strata: StratumMoments | None = None,
        cells: PeriodMoments | None = None,
        continuous: bool = False,
        given: bool = False,
    ) -> None:
        self.serial: Serial | None = None
        self.names = [] if strata is None else [str(name) for name in strata.strata]
        self.counts: np.ndarray = np.zeros(0)
        self.groups = len(problem.n)
        self.columns = len(problem.total)
        self.periods = 0 if cells is None else len(cells.periods)
        transform = problem.basis.transform
        self.gaps: np.ndarray = np.zeros(0)
        self.steps: np.ndarray = np.zeros(0)
        if lags is not None:
            self.serial = Serial()
            self.serial.continuous, self.serial.steps = continuous, float(lags.count.sum())
            lags = replace(lags, gap=whole_gaps(lags.gap, continuous))
            self.gaps, number = np.unique(lags.gap, return_inverse=True)
            self.steps = np.asarray(np.bincount(number.ravel(), weights=lags.count))
        if strata is not None:
            self.counts = np.bincount(strata.stratum, weights=strata.n, minlength=len(self.names))
            if not given:
                refuse_exact(problem, strata, transform_products(strata.products, transform))
        self.n_par = (self.serial is not None) + max(len(self.names) - 1, 0)
        stack, group, table = _products(lags, strata, self.groups)
        tables = [table]
        if cells is not None:
            refuse_large(problem, cells)
            crossed = _crossed(cells, lags, strata is not None, continuous)
            tables.append(crossed.table)
        self.kinds, numbers = Kinds.of(tables)
        self.products = Sums.of(transform_products(stack, transform), numbers[0], group[None])
        self.vectors = self.scalars = None
        if cells is not None:
            at = self.columns + crossed.place[:1]
            self.vectors = Sums.of(transform.T @ crossed.values, numbers[1], np.vstack([at, crossed.place[1:]]))
            ends = np.vstack([self.columns + crossed.scalar_place[:2], crossed.scalar_place[2:]])
            self.scalars = Sums.of(crossed.scalars, numbers[1], ends)

    # ------------------------------------------------------------------ parameters

    def _split(self, phi: np.ndarray) -> tuple[Any, np.ndarray]:
        """ρ (zero where errors are independent) and the log ratios δ of all strata. (max(S, 1),)"""
        start = int(self.serial is not None)
        rho = 0.0 if self.serial is None else self.serial._rho(phi[0])
        return rho, ratios(phi[start:])

    def rho(self, phi: np.ndarray) -> float | None:
        """Autocorrelation one time step apart; None where errors are independent."""
        return None if self.serial is None else self.serial.rho(phi)

    def sigmas(self, sigma: float, phi: np.ndarray) -> dict[str, float]:
        """Residual standard deviation of each stratum."""
        ratios = np.exp(self._split(phi)[1])
        return {name: float(sigma * r) for name, r in zip(self.names, ratios, strict=True)}

    def at(self, rho: float | None, sigmas: Mapping[str, float]) -> np.ndarray:
        """Parameters of a given ρ and given standard deviations by stratum. (n_par,)"""
        head = np.zeros(0) if self.serial is None else self.serial.phi(float(rho or 0.0))
        sd = np.array([sigmas[name] for name in self.names])
        return np.concatenate([head, np.log(sd[1:] / sd[:1])])

    def starts(self) -> list[np.ndarray]:
        """Starting values: those of ρ, with equal variances."""
        equal = np.zeros(max(len(self.names) - 1, 0))
        heads = [np.zeros(0)] if self.serial is None else self.serial.starts()
        return [np.concatenate([head, equal]) for head in heads]

    def inverse_hessian(self, phi: np.ndarray) -> np.ndarray:
        """Initial inverse Hessian of the deviance: Fisher information of ρ; 2n_s for each δ."""
        head = np.zeros(0) if self.serial is None else self.serial.inverse_hessian(phi)
        return np.concatenate([head, 1.0 / (4.0 * np.maximum(self.counts[1:], 1.0))])

    # ------------------------------------------------------------------ coefficients

    def coefficients(self, phi: np.ndarray) -> np.ndarray:
        """The coefficient of every kind."""
        rho, delta = self._split(phi)
        r = rho**self.kinds.gap
        d = 1.0 - r * r
        by_part = [np.ones_like(d), 1.0 / d, -r / d, r * r / d]
        return np.choose(self.kinds.part, by_part) * self.kinds.scale(delta)

    def slopes(self, phi: np.ndarray) -> np.ndarray:
        """Derivatives of the coefficients in each parameter. (kinds, n_par)"""
        k, c = self.kinds, self.coefficients(phi)
        rho, delta = self._split(phi)
        out = np.zeros((len(c), self.n_par), dtype=c.dtype)
        start = 0
        if self.serial is not None:
            r = rho**k.gap
            d = 1.0 - r * r
            by_r = np.choose(k.part, [np.zeros_like(d), 2.0 * r / d**2, -(1.0 + r * r) / d**2, 2.0 * r / d**2])
            out[:, 0] = by_r * k.scale(delta) * k.gap * rho ** (k.gap - 1.0) * self.serial.by_phi(rho)
            start = 1
        now, before = k.powers
        for j in range(1, len(self.names)):
            out[:, start + j - 1] = -(now * (k.stratum == j) + before * (k.before == j)) * c
        return out

    # ------------------------------------------------------------------ moments

    def moments(self, phi: np.ndarray) -> tuple[np.ndarray, Any]:
        """Σ w V_e⁻¹ w' per group, a crossed effect's columns last (q + T, q + T, G), and log|V_e|."""
        c = self.coefficients(phi)
        rows, q = len(self.products.values), self.columns
        whole = rows + self.periods if self.scalars is not None else rows
        out = np.zeros((whole, q + self.periods, self.groups), dtype=c.dtype)
        total, (group,) = self.products.weighted(c)
        if len(group) == self.groups and not self.periods:
            out = total
        else:
            out[:rows, :q, group] = total
        if self.vectors is not None:
            total, (column, group) = self.vectors.weighted(c)
            out[:rows, column, group] = total
            if self.scalars is not None:
                out[column, :rows, group] = total.T
        if self.scalars is not None:
            total, place = self.scalars.weighted(c)
            out[tuple(place)] = total
        rho, delta = self._split(phi)
        logdet: Any = np.sum(self.steps * np.log(1.0 - rho ** (2.0 * self.gaps)))
        if len(self.counts):
            logdet = logdet + 2.0 * np.sum(self.counts * delta)
        return out, logdet

    def gradient(self, phi: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """Derivatives of Σ adjoint · moments in each parameter; adjoint as the moments, or of one group. (n_par,)"""
        rows, q = len(self.products.values), self.columns
        one = adjoint.shape[2] == 1
        by_kind = np.zeros(len(self.kinds.part), dtype=np.result_type(adjoint, phi))

        def add(sums: Sums, at: np.ndarray) -> None:
            np.add.at(by_kind, sums.kind, at)

        group = self.products.place[0]
        inner = adjoint[:rows, :q]
        add(self.products, np.einsum("ijk,ijk->k", inner if one else inner[..., group], self.products.values))
        if self.vectors is not None:
            column, group = self.vectors.place
            group = group * 0 if one else group
            at = adjoint[:rows, column, group]
            if self.scalars is not None:
                at = at + adjoint[column, :rows, group].T
            add(self.vectors, (at * self.vectors.values).sum(axis=0))
        if self.scalars is not None:
            one_, other, group = self.scalars.place
            add(self.scalars, adjoint[one_, other, group * 0 if one else group] * self.scalars.values)
        return by_kind @ self.slopes(phi)

    def log_gradient(self, phi: np.ndarray) -> np.ndarray:
        """Derivatives of log|V_e| in each parameter. (n_par,)"""
        if self.serial is None:
            return 2.0 * self.counts[1:]
        rho, _ = self._split(phi)
        r = rho**self.gaps
        by_r = -2.0 * self.steps * r / (1.0 - r * r)
        head = np.sum(by_r * self.gaps * rho ** (self.gaps - 1.0)) * self.serial.by_phi(rho)
        return np.append(head, 2.0 * self.counts[1:])

    def spread(self, phi: np.ndarray) -> tuple[float, np.ndarray]:
        """Residual variance averaged over the rows, relative to σ², and its derivatives. (n_par,)"""
        slope = np.zeros(self.n_par)
        if not self.names:
            return 1.0, slope
        value, slope[self.n_par - len(self.names) + 1 :] = mean_square(self.counts, self._split(phi)[1])
        return value, slope

    def restricted(self, index: np.ndarray | None, owner: np.ndarray, groups: int) -> CombinedErrors:
        """The same structure for some rows of the moments (all for None), summed over groups with the same owner."""
        out = copy(self)
        out.groups = groups

        def of(sums: Sums, values: np.ndarray) -> Sums:
            return Sums.of(values, sums.kind, np.vstack([sums.place[:-1], owner[sums.place[-1:]]]))

        p = self.products
        out.products = of(p, p.values if index is None else p.values[index])
        if self.vectors is not None and self.scalars is not None:
            v = self.vectors
            out.vectors = of(v, v.values if index is None else v.values[index])
            out.scalars = of(self.scalars, self.scalars.values) if index is None else None
        return out


# ---------------------------------------------------------------------------------------------------- sums of the panel


def _table(part: int, gap: Any, stratum: np.ndarray, before: Any) -> np.ndarray:
    """Rows (part, gap, stratum, stratum before) of ``Kinds``; what a part does not depend on is set to a constant."""
    n = len(stratum)
    out = np.empty((n, 4))
    out[:, 0] = part
    out[:, 1] = 1.0 if part == FIRST else gap
    out[:, 2] = 0 if part == BEFORE else stratum
    out[:, 3] = 0 if part in (FIRST, NOW) else before
    return out


def _products(
    lags: LagMoments | None, strata: StratumMoments | None, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of products of the stored columns (q, q, K), their groups, and their kinds."""
    if lags is None:
        assert strata is not None
        return strata.products, strata.group, _table(FIRST, 0, strata.stratum, 0)
    none = np.zeros(len(lags.group), dtype=int)
    own = none if lags.stratum is None else lags.stratum
    before = none if lags.stratum_before is None else lags.stratum_before
    opening = np.zeros(groups, dtype=int) if lags.stratum_first is None else lags.stratum_first
    tables = [_table(FIRST, 0, opening, 0)]
    tables += [_table(part, lags.gap, own, before) for part in (NOW, CROSS, BEFORE)]
    stack = np.concatenate([lags.first, lags.now, lags.cross, lags.before], axis=2)
    return stack, np.concatenate([np.arange(groups), *[lags.group] * 3]), np.concatenate(tables)


@dataclass(frozen=True)
class _Crossed:
    """Sums with a crossed effect's columns, K of each: with the stored columns (q, K), and among themselves (K,).

    place: period and group; scalar_place: both periods and the group; table: kinds, as ``_table`` has them.
    """

    values: np.ndarray
    place: np.ndarray
    table: np.ndarray
    scalars: np.ndarray
    scalar_place: np.ndarray


def _crossed(cells: PeriodMoments, lags: LagMoments | None, stratified: bool, continuous: bool) -> _Crossed:
    from .reduce_lags import snap

    stratum = np.zeros(len(cells.group), dtype=int)
    if stratified:
        if cells.stratum is None:
            raise ValueError("the sums by period do not keep the strata apart")
        stratum = cells.stratum
    if lags is None:
        table = _table(FIRST, 0, stratum, 0)
        place = np.vstack([cells.period, cells.period, cells.group])
        return _Crossed(cells.cell, place[1:], table, cells.cell[0], place)
    if cells.times is None or np.any(cells.cell_count != 1):
        raise ModelError(
            "a crossed effect of time beside AR(1) errors needs one row per group and period.",
            "crossed",
            "Use the time column with the periods' full detail.",
        )
    order = np.lexsort((cells.period, cells.group))
    group, period, stratum = cells.group[order], cells.period[order], stratum[order]
    root = np.sqrt(cells.cell[0, order])
    # A cell holds weight times row: over the root of the weight that is the row as the moments have it.
    rows = cells.cell[:, order] / root
    opening = np.diff(group, prepend=-1) != 0
    first, now = np.flatnonzero(opening), np.flatnonzero(~opening)
    gap = snap(np.diff(np.asarray(cells.times, dtype=float)[period], prepend=0.0)[now] / lags.step)
    gap = np.round(gap, 9) if continuous else np.round(gap)
    values, places = [rows[:, first] * root[first]], [(period[first], group[first])]
    scalars, ends = [root[first] ** 2], [(period[first], period[first], group[first])]
    tables = [_table(FIRST, 0, stratum[first], 0)]
    # Which of the two rows stands in W's columns, and which in the period's.
    for part, left, right in ((NOW, 0, 0), (CROSS, 1, 0), (CROSS, 0, 1), (BEFORE, 1, 1)):
        values.append(rows[:, now - left] * root[now - right])
        places.append((period[now - right], group[now]))
        tables.append(_table(part, gap, stratum[now], stratum[now - 1]))
        scalars.append(root[now - left] * root[now - right])
        ends.append((period[now - left], period[now - right], group[now]))
    return _Crossed(
        np.concatenate(values, axis=1),
        np.concatenate(places, axis=1),
        np.concatenate(tables),
        np.concatenate(scalars),
        np.concatenate(ends, axis=1),
    )


def refuse_large(problem: Problem, cells: PeriodMoments) -> None:
    """Refuse a crossed effect whose dense elimination beside an error structure does not fit into memory.

    Raises:
        ModelError: it does not.
    """
    t, q = len(cells.periods), len(problem.total)
    size = 4 * q * len(cells.group)
    if problem.levels:
        inner = problem.levels[0]
        parents = problem.levels[1].groups if len(problem.levels) > 1 else 1
        size = max(size, inner.size * (q + t) * inner.groups, parents * (q + t) ** 2)
    if 8.0 * size > LIMIT:
        raise ModelError(
            f"a crossed effect of {t} periods beside AR(1) errors or unequal variances needs matrices of "
            f"{8.0 * size / 2**30:.1f} GB: too large for memory.",
            "crossed",
            "Use coarser periods (months for days), period dummies, or the crossed effect without them.",
        )
