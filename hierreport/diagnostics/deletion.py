"""Leaving out one group at a time: one Newton step for every group, and refits as far as the work allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import deletion
from ..criterion import Criterion
from ..errors import ModelError
from ..one_out import OneOut, one_out
from .gls import halves as random_halves
from .posterior import to_stored
from .refit import Refit, can_refit, criterion_of, descend, inverse_hessian, specification, theta_of, without

if TYPE_CHECKING:
    from .evidence import Evidence

WORK, OVERHEAD = 6.0e7, 2.0e4  # groups refitted × (overhead + entries of the moments): a few seconds per level
REFITTED = 25  # of the most influential groups where not all can be


@dataclass(frozen=True)
class Deletions:
    """What leaving out each group of a level does.

    Attributes:
        level: the level.
        terms: fixed effects. (p)
        exact: True where the model was refitted without the group until nothing moved; elsewhere one exact Newton step
            (``one_out``). (groups,)
        shift: change of each coefficient, full minus without the group, in standard errors of the full fit. NaN where
            the coefficient is not identified without the group. (groups, p)
        cook: d'Var(β)⁻¹d / p. (groups,)
        sds: change of σ and of each random coefficient's sd, as a share of the full fit's. (groups, v)
        sd_names: what these are.
        apart: largest difference of the two methods in a coefficient, in standard errors, where both were made.
        refits: the refits by group number; None where the model cannot be fitted without the group.
    """

    level: str
    terms: list[str]
    exact: np.ndarray
    shift: np.ndarray
    cook: np.ndarray
    sds: np.ndarray
    sd_names: list[str]
    apart: float
    refits: dict[int, Refit | None]


def deletions(evidence: Evidence, level: str, work: float = WORK) -> Deletions | None:
    """Leave out every group of a level, one at a time; the most influential are refitted as long as the work allows.

    Returns:
        None where the moments are too wide to lose groups, or the model's variant cannot be refitted here.
    """
    spec = specification(evidence)
    moments, estimate = evidence.moments, evidence.estimate
    if moments.products.shape[0] != moments.products.shape[1] or not can_refit(spec):
        return None
    depth = moments.levels.index(level)
    starts = moments.starts(depth)
    ends = np.append(starts[1:], len(moments.n))
    groups = len(starts)
    terms = [f["term"] for f in estimate["fixed"]]
    se = np.array([f["se"] for f in estimate["fixed"]])
    beta = np.array([f["estimate"] for f in estimate["fixed"]])
    cov = np.asarray(estimate["fixed_cov"], float)
    scale = np.where(se > 0, se, 1.0)
    precision = np.linalg.pinv(cov / np.outer(scale, scale), hermitian=True)

    def cook(shift: np.ndarray) -> np.ndarray:
        return np.einsum("gi,ij,gj->g", np.nan_to_num(shift), precision, np.nan_to_num(shift)) / max(len(terms), 1)

    lags = evidence.panel_moments.lags if evidence.rho is not None else None
    criterion = criterion_of(evidence.panel_moments, spec, reml=True)
    theta = theta_of(criterion, estimate)
    step = one_out(criterion, theta, starts, depth, lags)
    shift = (beta - users_coefficients(criterion, step.beta, terms)) / scale
    names, sds = _sds(evidence, criterion, step)
    entries = len(moments.n) + (3 * len(lags.group) if lags is not None else 0)
    each = OVERHEAD + entries * len(moments.columns) ** 2
    affordable = int(np.clip(work // each, 0, groups))
    if affordable < groups:
        affordable = min(affordable, REFITTED)
    size = np.maximum(cook(shift), np.abs(np.nan_to_num(shift)).max(axis=1, initial=0.0))
    chosen = np.argsort(-np.where(step.far, np.inf, size), kind="stable")[:affordable]
    metric = inverse_hessian(criterion, theta)
    refits: dict[int, Refit | None] = {}
    exact, apart = np.zeros(groups, dtype=bool), 0.0
    for g in sorted(int(c) for c in chosen):
        drop = np.zeros(len(moments.n), dtype=bool)
        drop[starts[g] : ends[g]] = True
        try:
            smaller = criterion_without(evidence, criterion, drop)
            found = descend(smaller, theta_of(smaller, estimate), metric)
        except (ModelError, np.linalg.LinAlgError):
            refits[g], shift[g], sds[g] = None, np.nan, np.nan
            continue
        refits[g], exact[g] = found, True
        again = (beta - np.array([found.coefficients.get(t, np.nan) for t in terms])) / scale
        if not step.far[g]:
            apart = max(apart, float(np.abs(np.nan_to_num(again - shift[g])).max(initial=0.0)))
        shift[g] = again
        parts = [found.sigma, *(s for r in evidence.random for s in found.sds[r["level"]])]
        sds[g] = _relative(evidence, np.array(parts))
    return Deletions(level, terms, exact, shift, cook(shift), sds, names, apart, refits)


def users_coefficients(criterion: Criterion, beta: np.ndarray, terms: list[str]) -> np.ndarray:
    """Fixed effects of the working columns (groups, x) on the user's scale, in the order of ``terms``."""
    basis = criterion.problem.basis
    right = basis.y_scale * beta.T
    if basis.y_shift and len(right):
        right[list(basis.fixed).index("(Intercept)")] += basis.y_shift
    out = np.linalg.solve(basis.p_x, right) if len(right) else right
    place = {term: j for j, term in enumerate(basis.fixed)}
    return out[[place[t] for t in terms]].T


def _sds(evidence: Evidence, criterion: Criterion, step: OneOut) -> tuple[list[str], np.ndarray]:
    """σ and the random coefficients' sds without each group, as relative changes; and their names. (groups, v)"""
    names = ["sigma"] + [f"{t} by {r['level']}" for r in evidence.random for t in r["terms"]]
    sigma = np.sqrt(step.sigma2) * criterion.problem.basis.y_scale
    # Λ of every level without each group. (size, groups, size)
    factors = [np.zeros((level.size, len(sigma), level.size)) for level in criterion.parameters.levels]
    for values, (number, row, column) in zip(step.theta.T, criterion.parameters.entries, strict=False):
        factors[number][row, :, column] = values
    columns = [sigma]
    place = {level.name: number for number, level in enumerate(criterion.parameters.levels)}
    for r in evidence.random:
        level = criterion.parameters.levels[place[r["level"]]]
        half = np.linalg.solve(level.to_raw, factors[place[r["level"]]].reshape(level.size, -1))
        half = half.reshape(level.size, len(sigma), level.size)
        order = [list(level.terms).index(t) for t in r["terms"]]
        columns += list(np.sqrt((half**2).sum(axis=2))[order] * sigma)
    return names, _relative(evidence, np.array(columns).T)


def _relative(evidence: Evidence, parts: np.ndarray) -> np.ndarray:
    """Change of σ and sds (…, v) as shares of the full fit's; 0 for those that are nothing there."""
    full = np.array([evidence.sigma, *(s for r in evidence.random for s in r["sd"])])
    some = full > 1e-6 * evidence.sigma
    return np.where(some, parts / np.where(some, full, 1.0) - 1.0, 0.0)


def criterion_without(evidence: Evidence, whole: Criterion, drop: np.ndarray) -> Criterion:
    """A criterion without some innermost groups: prepared arrays lose them, the moments where that is not enough."""
    smaller = deletion.criterion_without(whole, drop)
    if smaller is None:
        return criterion_of(without(evidence.panel_moments, drop), whole.problem.spec, whole.reml)
    return smaller


def at_fixed_variances(evidence: Evidence, products: np.ndarray, level: str, terms: list[str]) -> np.ndarray:
    """Change of the fixed effects, full minus without each group of a level, at the estimated variances. (groups, p)"""
    moments = evidence.moments
    q = len(moments.columns)
    steps = random_halves(evidence, moments, q)
    names = [entry["level"] for entry in reversed(evidence.random)]
    info = np.ascontiguousarray(np.moveaxis(products, 2, 0)) / evidence.sigma**2
    below = np.arange(len(moments.n))

    def swept(c: np.ndarray, half: np.ndarray) -> np.ndarray:
        reach = c @ half
        middle = np.linalg.inv(np.eye(half.shape[1]) + half.T @ reach)
        return c - reach @ middle @ np.swapaxes(reach, 1, 2)

    # What the deleted group contributes to the node that holds it; a group without effects of its own: its rows.
    own: np.ndarray | None = None if level in names else info
    target = moments.starts(moments.levels.index(level))
    node = target
    for name, (starts, half) in zip(names, steps, strict=True):
        c = np.add.reduceat(info, np.searchsorted(below, starts), axis=0)
        info = swept(c, half)
        if own is not None:
            member = np.searchsorted(starts, node, side="right") - 1
            # The node with the group and without it, after its own effects are taken out.
            own = info[member] - swept(c[member] - own, half)
        if name == level:
            own = info
        below = starts
    if own is None:
        return np.zeros((len(target), len(terms)))
    total = info.sum(axis=0)
    basis = to_stored(moments, [*terms, moments.columns[-1]])
    return _solve((basis.T @ total @ basis)[None]) - _solve(basis.T @ (total - own) @ basis)


def _solve(grams: np.ndarray) -> np.ndarray:
    """Least squares of the last column on the others, from stacks of their products. (G, p)"""
    scale = np.sqrt(np.maximum(np.einsum("gii->gi", grams), 1e-300))
    unit = grams / scale[:, :, None] / scale[:, None, :]
    left, right = unit[:, :-1, :-1], unit[:, :-1, -1:]
    try:
        solution = np.linalg.solve(left, right)
    except np.linalg.LinAlgError:  # a group alone identified a coefficient
        solution = np.linalg.pinv(left, rcond=1e-12, hermitian=True) @ right
    return solution[..., 0] * scale[:, -1:] / scale[:, :-1]
