"""Leaving out one group at a time: exact refits, and a cheap ranking where there are too many groups for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..criterion import Criterion
from ..deletion import without_groups
from ..errors import ModelError
from .gls import full_products
from .gls import halves as random_halves
from .posterior import to_stored
from .refit import Refit, can_refit, criterion_of, descend, inverse_hessian, specification, theta_of, without

if TYPE_CHECKING:
    from .evidence import Evidence

WORK, OVERHEAD = 6.0e7, 2.0e4  # groups refitted × (overhead + entries of the moments): a few seconds per level


@dataclass(frozen=True)
class Deletions:
    """What leaving out each group of a level does.

    Attributes:
        level: the level.
        terms: fixed effects. (p)
        exact: True where the group was left out and the model refitted, variances and all. (groups,)
        shift: change of each coefficient, full minus without the group, in standard errors of the full fit; from the
        fixed
            effects at unchanged variances where not exact. (groups, p)
        cook: d'Var(β)⁻¹d / p. (groups,)
        refits: the exact refits by group number; None where the model cannot be fitted without the group.
    """

    level: str
    terms: list[str]
    exact: np.ndarray
    shift: np.ndarray
    cook: np.ndarray
    refits: dict[int, Refit | None]


def deletions(evidence: Evidence, level: str, work: float = WORK) -> Deletions | None:
    """Leave out every group of a level, one at a time; exactly as long as the work allows, the most influential first.

    Returns:
        None where the moments are too wide to lose groups, or the model's variant cannot be refitted here.
    """
    spec = specification(evidence)
    products = full_products(evidence)
    if products is None or not can_refit(spec):
        return None
    moments, estimate = evidence.moments, evidence.estimate
    starts = moments.starts(moments.levels.index(level))
    ends = np.append(starts[1:], len(moments.n))
    groups = len(starts)
    terms = [f["term"] for f in estimate["fixed"]]
    se = np.array([f["se"] for f in estimate["fixed"]])
    beta = np.array([f["estimate"] for f in estimate["fixed"]])
    cov = np.asarray(estimate["fixed_cov"], float)
    change = at_fixed_variances(evidence, products, level, terms)
    scale = np.where(se > 0, se, 1.0)
    precision = np.linalg.pinv(cov / np.outer(scale, scale), hermitian=True)

    def cook(shift: np.ndarray) -> np.ndarray:
        return np.einsum("gi,ij,gj->g", np.nan_to_num(shift), precision, np.nan_to_num(shift)) / max(len(terms), 1)

    shift = change / scale
    lags = evidence.panel_moments.lags if evidence.rho is not None else None
    entries = len(moments.n) + (3 * len(lags.group) if lags is not None else 0)
    each = OVERHEAD + entries * len(moments.columns) ** 2
    affordable = int(np.clip(work // each, 10, groups))
    chosen = np.argsort(-np.maximum(cook(shift), np.abs(np.nan_to_num(shift)).max(axis=1)), kind="stable")[:affordable]
    criterion = criterion_of(evidence.panel_moments, spec, reml=True)
    metric = inverse_hessian(criterion, theta_of(criterion, estimate))
    refits: dict[int, Refit | None] = {}
    exact = np.zeros(groups, dtype=bool)
    for g in sorted(int(c) for c in chosen):
        drop = np.zeros(len(moments.n), dtype=bool)
        drop[starts[g] : ends[g]] = True
        try:
            smaller = criterion_without(evidence, criterion, drop)
            refits[g] = descend(smaller, theta_of(smaller, estimate), metric)
        except (ModelError, np.linalg.LinAlgError):
            refits[g] = None
            continue
        exact[g] = True
        found = refits[g]
        assert found is not None
        shift[g] = (beta - np.array([found.coefficients.get(t, np.nan) for t in terms])) / scale
    return Deletions(level, terms, exact, shift, cook(shift), refits)


def criterion_without(evidence: Evidence, whole: Criterion, drop: np.ndarray) -> Criterion:
    """The REML criterion without some innermost groups: prepared arrays lose them, or (AR(1)) the moments do."""
    spec = whole.problem.spec
    if spec.errors != "iid":
        return criterion_of(without(evidence.panel_moments, drop), spec, reml=True)
    problem, factored = without_groups(whole.problem, whole.factored, drop)
    return Criterion(problem, True, factored)


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
