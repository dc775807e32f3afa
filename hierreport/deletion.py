"""A prepared problem without some of its groups: exact refits for influence and prediction, no rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from .clusters import check_products
from .criterion import Criterion, Factored, factor, full_products, spanned
from .errors import ModelError
from .kept import KeptMoments, kept_moments
from .mixed import State, again, leave_boundary, residual_sd
from .moments import Moments
from .optimizer import Optimum, updated
from .problem import Level, Problem, build, check_identified, independent_columns
from .smallmat import sum_of_outer

# Remainders are subtracted unless less than this share of a diagonal entry stays: then they are summed anew.
CANCELLATION = 0.01


def without_groups(problem: Problem, factored: Factored | None, drop: np.ndarray) -> tuple[Problem, Factored | None]:
    """A prepared problem with some groups left out, ready for a criterion.

    Columns stay centred where they were (an exact change of coordinates), the columns of the dropped groups go out of R
    and G, their part of the remainders is subtracted. Where a fixed effect is lost with the groups, or the model's
    innermost groups are cut through, the problem is prepared anew from the moments.

    Args:
        problem: with equal variances and nested levels only; serially correlated errors lose the groups by ``kept``.
        factored: the problem's ``Factored``; None for pooled OLS.
        drop: True for the innermost groups (of the moments) to leave out. (G,)

    Raises:
        ModelError: nothing would stay that identifies the model; unequal variances or a crossed effect; a wide panel
            that would lose part of a parent.
    """
    spec = problem.spec
    if problem.crossed is not None or spec.variances is not None:
        raise ModelError("groups can be left out of models with equal variances and nested levels only.", "deletion")
    drop = np.asarray(drop, dtype=bool)
    keep = ~drop
    if not drop.any():
        return problem, factored
    if not keep.any():
        raise ModelError("no group would be left.", "deletion")
    moments = problem.moments
    n_obs = int(moments.n[keep].sum())
    levels = tuple(_kept_level(level, keep) for level in problem.levels)
    if _cuts(problem, keep):
        return _anew(problem, keep)
    if factored is None:
        lost = _lost_products(problem, drop)
        total, fresh = problem.total - lost, None
    else:
        fresh, lost = _kept_factored(problem, factored, levels, keep)
        total = problem.total - lost
    x = problem.basis.x_index
    kept_columns, _ = independent_columns(total[np.ix_(x, x)], n_obs)
    if len(kept_columns) < len(x) or len(x) >= n_obs:
        return _anew(problem, keep)
    small = replace(
        problem,
        levels=levels,
        total=total,
        n=problem.n[keep],
        n_obs=n_obs,
        sum_log_weight=problem.sum_log_weight * n_obs / problem.n_obs,
        moments=cast(Moments, KeptMoments(moments, keep)),
    )
    _check(small)
    return small, fresh


def criterion_without(whole: Criterion, drop: np.ndarray) -> Criterion | None:
    """A criterion without some innermost groups (True in ``drop``), from its prepared arrays.

    Returns:
        None where they do not suffice: under serially correlated errors, a column that went with the groups.

    Raises:
        ModelError: see ``without_groups``.
    """
    problem, factored = without_groups(whole.problem, whole.factored, drop)
    if whole.errors is None:
        return Criterion(problem, whole.reml, factored)
    if problem.basis is not whole.problem.basis:
        return None
    errors: Any = whole.errors  # unequal variances are refused above
    return Criterion(problem, whole.reml, factored, errors.kept(~np.asarray(drop, dtype=bool)))


def refit(state: State, criterion: Criterion, *, curvature: bool = True) -> State:
    """The optimum of a criterion from ``criterion_without``, started at the whole panel's; ML or REML as there.

    Args:
        state: the whole panel's optimum.
        curvature: compute the Hessian too, which standard errors of variances and degrees of freedom need.
    """
    near = descend(criterion, state)
    if near is None:
        return again(criterion, state.theta, state.optimum.hessian, curvature)
    if curvature:
        near.optimum.hessian = criterion.hessian(near.theta)
    return near


def descend(criterion: Criterion, state: State, max_steps: int = 15) -> State | None:
    """Quasi-Newton steps from another optimum with its Hessian as the metric: a handful where little has changed.

    A variance that is zero there is held at zero (its column of Λ has no gradient), and must be optimal at zero here.

    Returns:
        None where that fails, or where a variance comes or does not stay near zero: then the whole search is needed.
    """
    theta, hessian = state.theta.copy(), state.optimum.hessian
    if not len(theta) or len(theta) != criterion.parameters.size or hessian is None:
        return None
    moving, bounded = _moving(state), state.singular
    if bounded and (moving.all() or not moving.any()):
        return None
    scale = state.optimum.scale
    inner = np.ix_(moving, moving)
    values, vectors = np.linalg.eigh((hessian * np.outer(scale, scale))[inner])
    if values[0] <= 1e-6 * values[-1]:
        return None
    metric = np.zeros((len(theta), len(theta)))
    metric[inner] = (vectors / values) @ vectors.T * (state.criterion.nu / criterion.nu)
    out = criterion.evaluate(theta)
    f, g = float(out.value.real), out.gradient * scale
    for _ in range(max_steps):
        step = -metric @ g
        promise = -0.5 * float(step @ g)
        if promise < max(1e-12, 1e-14 * abs(f)):
            optimum = Optimum(theta, f, g / scale, scale, True)
            found = State(criterion, optimum, out, residual_sd(criterion, out), None, (f,))
            pivots = np.flatnonzero(criterion.parameters.diagonal & moving[: criterion.parameters.n_lambda])
            if promise < 0 or (np.abs(theta[pivots]) < 0.05).any() or found.singular != bounded:
                return None
            return None if bounded and leave_boundary(criterion, optimum) is not None else found
        for t in (1.0, 0.4, 0.1):
            trial = criterion.evaluate(theta + t * step * scale)
            if float(trial.value.real) < f:
                break
        else:
            return None
        s, d = t * step, trial.gradient * scale - g
        theta, out, f, g = theta + s * scale, trial, float(trial.value.real), trial.gradient * scale
        curve = float(s @ d)
        if curve <= 0:
            return None
        metric = updated(metric, s, d, curve)
    return None


def _moving(state: State) -> np.ndarray:
    """Entries of θ that are not in a zero column of Λ; those of the errors too. (θ,)"""
    entries = [bool(state.factors[number][:, column].any()) for number, _, column in state.criterion.parameters.entries]
    return np.array(entries + [True] * (len(state.theta) - len(entries)))


def _anew(problem: Problem, keep: np.ndarray) -> tuple[Problem, Factored | None]:
    small = build(kept_moments(problem.moments, keep), problem.spec)
    return small, factor(small) if small.levels else None


def _cuts(problem: Problem, keep: np.ndarray) -> bool:
    """True where a group of the model's innermost level would stay in part."""
    if not problem.levels:
        return False
    starts = problem.levels[0].starts
    kept = np.add.reduceat(keep.astype(int), starts)
    return bool(np.any((kept > 0) & (kept < np.diff(np.append(starts, len(keep))))))


def _kept_level(level: Level, keep: np.ndarray) -> Level:
    alive = np.add.reduceat(keep.astype(int), level.starts) > 0
    before = np.concatenate([[0], np.cumsum(keep)])
    return replace(level, starts=before[level.starts[alive]])


def _lost_products(problem: Problem, drop: np.ndarray) -> np.ndarray:
    """Sums of products over the groups left out, in working columns. (q, q)"""
    starts = np.flatnonzero(np.diff(drop.astype(int), prepend=0) != 0)
    edges = np.concatenate([[0], starts]) if not len(starts) or starts[0] else starts
    check_products(problem.moments, edges)
    return full_products(problem, edges)[:, :, drop[edges]].sum(axis=2)


def _kept_factored(
    problem: Problem, factored: Factored, levels: tuple[Level, ...], keep: np.ndarray
) -> tuple[Factored, np.ndarray]:
    """The ``Factored`` of the groups that stay, and the products of those that go."""
    inner = problem.levels[0]
    stay = np.add.reduceat(keep.astype(int), inner.starts) > 0
    counts = np.diff(np.append(factored.starts, len(stay)))
    kept_counts = np.add.reduceat(stay.astype(int), factored.starts)
    alive = kept_counts > 0
    partly = np.flatnonzero(alive & (kept_counts < counts))
    gone = np.flatnonzero(~alive)
    zero = spanned(problem, inner)
    lost = np.zeros_like(problem.total)
    if len(gone):
        lost += factored.rest[:, :, gone].sum(axis=2)
        lost_inner = np.repeat(~alive, counts)
        lost += sum_of_outer(factored.cross[:, :, lost_inner], np.array([0]))[:, :, 0]
    rest = factored.rest[:, :, alive].copy()
    place = np.cumsum(alive) - 1
    for p in partly:
        run = np.arange(factored.starts[p], factored.starts[p] + counts[p])
        removed = run[~stay[run]]
        part = _remainder(problem, factored, removed, zero)
        lost += part + sum_of_outer(factored.cross[:, :, removed], np.array([0]))[:, :, 0]
        left = rest[:, :, place[p]] - part
        before = np.diag(rest[:, :, place[p]])
        if np.any(np.diag(left) < CANCELLATION * before):
            left = _remainder(problem, factored, run[stay[run]], zero)
        rest[:, :, place[p]] = left
    starts = np.searchsorted(levels[0].starts, levels[1].starts) if len(levels) > 1 else np.array([0])
    fresh = Factored(factored.root[:, :, stay], factored.cross[:, :, stay], rest, starts, factored.rank[stay])
    return fresh, lost


def _remainder(problem: Problem, factored: Factored, groups: np.ndarray, zero: list[int]) -> np.ndarray:
    """Σ (W'W − G'G) over some groups of the model's innermost level. (q, q)"""
    starts = problem.levels[0].starts
    ends = np.append(starts[1:], len(problem.n))
    moments, transform = problem.moments, problem.basis.transform
    check_products(moments, starts)
    members = np.concatenate([np.arange(starts[g], ends[g]) for g in groups])
    out = transform.T @ moments.products[:, :, members].sum(axis=2) @ transform
    out -= sum_of_outer(factored.cross[:, :, groups], np.array([0]))[:, :, 0]
    out[zero] = 0.0
    out[:, zero] = 0.0
    return out


def _check(problem: Problem) -> None:
    """The refusals that ``build`` makes; the moments are made only where there is something to refuse."""
    if any(level.groups < 2 or level.groups * level.size >= problem.n_obs for level in problem.levels):
        check_identified(problem.spec, problem.moments)
