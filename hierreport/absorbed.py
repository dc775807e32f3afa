"""Fixed effects for every group, every period or both, without writing out their dummies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .criterion import full_products
from .errors import ConfigError, ModelError
from .inference import wald
from .moments import Moments, PanelMoments, PeriodMoments, reduce_periods
from .problem import INTERCEPT, build, independent_columns
from .records import FixedEffect, Record
from .spec import ModelSpec

if TYPE_CHECKING:
    from .frame import Frame

CHUNK = 4096


@dataclass(frozen=True)
class AbsorbedEstimate(Record):
    """Least squares with absorbed effects.

    absorbed: level path and/or the time; n_obs: rows; clusters: the level's number of groups; fixed: with CR1 errors
    clustered by them; classical: with the classical standard errors; dropped: predictors that the absorbed effects
    explain; df: residual degrees of freedom; r2_within: share of what the absorbed effects leave that the predictors
    explain; loglik: with the dummies as parameters, as R's ``logLik(lm())``.
    """

    absorbed: list[str]
    n_obs: int
    clusters: dict[str, int]
    fixed: list[FixedEffect]
    fixed_cov: list[list[float]]
    classical: list[FixedEffect]
    dropped: list[str]
    df: int
    sigma: float
    r2_within: float
    loglik: float
    notes: list[str] = field(default_factory=list)


def absorb(
    panel: PanelMoments,
    fixed: tuple[str, ...],
    names: Sequence[str],
    info: Mapping[str, Any],
    frame: Callable[[], Frame] | None = None,
    where: str = "absorb",
) -> AbsorbedEstimate:
    """Least squares with an effect of its own for every value of the named groups and of the time.

    Args:
        panel: the panel's moments.
        fixed: names of the model's fixed columns.
        names: grouping columns or level paths of the formula, and the time column; of nested groups the innermost
            counts, which the others' effects are part of. Where there is none, the innermost level.
        info: panel.json.
        frame: gives the rows, for period moments that ``panel`` does not hold.
        where: config key, for messages.

    Raises:
        ConfigError: a name that is neither.
        ModelError: see ``absorbed``.
    """
    level, timed = named_effects(names, info, where)
    periods = panel.periods if timed else None
    if timed and periods is None:
        if frame is None:
            raise ModelError("the panel has too many periods and groups to absorb both.", "absorbed effects")
        periods = reduce_periods(frame(), panel.moments)
    groups = level is not None or not timed
    return absorbed(panel.moments, fixed, level, periods, groups=groups, time=str(info.get("time") or "period"))


def named_effects(names: Sequence[str], info: Mapping[str, Any], where: str = "absorb") -> tuple[str | None, bool]:
    """The innermost of the named levels (None where none is named), and whether the time is among the names.

    Raises:
        ConfigError: a name that is neither a level nor the time.
    """
    levels, depths, timed = list(info["levels"]), [], False
    ends = [path.rsplit("/", 1)[-1] for path in levels]
    for name in names:
        if name in levels:
            depths.append(levels.index(name))
        elif name in ends:
            depths.append(ends.index(name))
        elif info.get("time") and name in (info["time"], info.get("time_column")):
            timed = True
        else:
            time = f" and the time column {info['time']}" if info.get("time") else " (no time column is named)"
            raise ConfigError(
                f"{name!r} is neither a group of the formula nor the time column.",
                where,
                f"Effects can be absorbed of {', '.join(ends)}{time}; write others as C({name}) in the formula.",
            )
    return (levels[max(depths)] if depths else None), timed


def absorbed(
    moments: Moments,
    fixed: tuple[str, ...],
    level: str | None = None,
    periods: PeriodMoments | None = None,
    *,
    groups: bool = True,
    time: str = "period",
) -> AbsorbedEstimate:
    """Least squares of the outcome with an effect of its own for every group and, with period moments, every period.

    The errors are clustered by the level's groups: CR1 with the factor G/(G−1)·(N−1)/(N−K), where of the clusters' own
    effects one, the intercept, counts as a parameter, as in Stata's ``xtreg, fe`` and ``reghdfe`` and R's ``fixest``
    (its ``fixef.K = "nested"``); ``areg`` counts them all.

    Args:
        moments: the panel's moments with full products per group.
        fixed: names of the model's fixed columns.
        level: grouping level; by default the innermost.
        periods: the panel's period moments, for an effect per period.
        groups: an effect per group; False leaves the periods alone.
        time: what the periods are called in the result.

    Raises:
        ModelError: an unknown level, a wide panel, nothing to absorb, no predictor left, a single group.
    """
    if not moments.levels:
        do = "Add a random term, for example (1 | firm)."
        raise ModelError("the formula has no groups.", "absorbed effects", do)
    level = moments.levels[-1] if level is None else level
    if level not in moments.levels:
        do = f"Its levels: {', '.join(moments.levels)}."
        raise ModelError(f"the panel has no level {level!r}.", "absorbed effects", do)
    if not groups and periods is None:
        raise ModelError("there is nothing to absorb.", "absorbed effects", "Name a group or a time column.")
    if moments.products.shape[0] != moments.products.shape[1]:
        raise ModelError(
            f"with {len(moments.columns)} columns the moments keep no full sums of products of single groups.",
            "absorbed effects",
            "Use a formula with fewer columns.",
        )
    terms = (INTERCEPT, *(t for t in fixed if t != INTERCEPT))
    problem = build(moments, ModelSpec(terms))
    basis, starts = problem.basis, moments.starts(moments.levels.index(level))
    products = full_products(problem, starts)
    clusters = len(starts)
    if clusters < 2:
        raise ModelError(f"{level} has one group, and clustered errors need two.", "absorbed effects")
    reduced, lost = sweep(products, starts, groups, periods, basis.transform)

    total = reduced.sum(axis=2)
    candidates = [int(j) for t, j in zip(basis.fixed, basis.x_index, strict=True) if t != INTERCEPT]
    names = dict(zip((int(j) for j in basis.x_index), basis.fixed, strict=True))
    tolerance = 1e-12 * moments.n_obs**0.5
    candidates = [j for j in candidates if total[j, j] > tolerance * problem.total[j, j]]
    keep, _ = independent_columns(total[np.ix_(candidates, candidates)], moments.n_obs)
    x, y = [candidates[j] for j in keep], basis.y_index
    df = moments.n_obs - lost - len(x)
    if not x or df < 1:
        raise ModelError("the absorbed effects explain every predictor.", "absorbed effects", "Use random effects.")
    bread = np.linalg.inv(total[np.ix_(x, x)])
    b = np.zeros(len(total))
    b[y], b[x] = 1.0, -(bread @ total[x, y])
    sigma2 = float(b @ total @ b) / df
    scores = np.tensordot(b, reduced[x], axes=([0], [1]))
    k = len(x) + (lost - clusters + 1 if groups else lost)
    factor = clusters / (clusters - 1.0) * (moments.n_obs - 1.0) / (moments.n_obs - k)
    scale = basis.y_scale / np.array([basis.p_x[j, j] for j in (list(basis.x_index).index(i) for i in x)])
    robust = factor * bread @ (scores @ scores.T) @ bread * np.outer(scale, scale)
    classical = sigma2 * bread * np.outer(scale, scale)
    beta, labels = -b[x] * scale, [names[j] for j in x]

    def effects(cov: np.ndarray, freedom: float, method: str) -> list[FixedEffect]:
        se = np.sqrt(np.diag(cov))
        return [wald(t, float(v), float(s), freedom, method) for t, v, s in zip(labels, beta, se, strict=True)]

    notes = []
    if clusters < 40:
        notes.append(f"With {clusters} clusters the clustered errors are usually too small.")
    return AbsorbedEstimate(
        [*([level] if groups else []), *([time] if periods is not None else [])],
        moments.n_obs,
        {level: clusters},
        effects(robust, clusters - 1.0, "clusters - 1"),
        robust.tolist(),
        effects(classical, float(df), "residual"),
        [t for t in terms[1:] if t not in labels],
        df,
        float(np.sqrt(sigma2)) * basis.y_scale,
        1.0 - sigma2 * df / float(total[y, y]),
        gaussian_loglik(sigma2 * df * basis.y_scale**2, moments.n_obs, moments.sum_log_weight),
        notes,
    )


def gaussian_loglik(rss: float, n: int, sum_log_weight: float = 0.0) -> float:
    """Log-likelihood of least squares at its own error variance, rss/n."""
    return -0.5 * (n * (1.0 + np.log(2.0 * np.pi * rss / n)) - sum_log_weight)


def sweep(
    products: np.ndarray,
    starts: np.ndarray,
    groups: bool,
    periods: PeriodMoments | None,
    transform: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Products per group of the residuals of every column on the absorbed dummies: w − B_group − A_period.

    Args:
        products: full products per group in working columns, the constant first. (q, q, G)
        starts: first innermost group of each group. (G,)
        transform: from stored to working columns, for the period moments.

    Returns:
        Products (q, q, G); number of parameters absorbed.
    """
    sums, n = products[0], products[0, 0]  # of weights, where there are any
    if periods is None:
        return products - sums[:, None, :] * sums[None, :, :] / n, len(n)
    size, count = len(periods.periods), len(n)
    owner = np.searchsorted(starts, periods.group, side="right") - 1
    cells, which = np.unique(owner * size + periods.period, return_inverse=True)
    owner, period = cells // size, cells % size
    cell = np.stack([np.bincount(which, weights=row) for row in transform.T @ periods.cell])
    weight = cell[0]
    by_period = np.stack([np.bincount(period, weights=row, minlength=size) for row in cell])
    left = np.diag(np.bincount(period, weights=weight, minlength=size))
    if groups:
        for first in range(0, count, CHUNK):
            some = (owner >= first) & (owner < first + CHUNK)
            incidence = np.zeros((min(CHUNK, count - first), size))
            incidence[owner[some] - first, period[some]] = weight[some]
            part = slice(first, first + len(incidence))
            left -= (incidence / n[part, None]).T @ incidence
            by_period -= (sums[:, part] / n[part]) @ incidence
    values, vectors = np.linalg.eigh(left)
    good = values > 1e-10 * values[-1]
    a = (vectors[:, good] / values[good]) @ (vectors[:, good].T @ by_period.T)
    out = products.copy()
    shift = a.T[:, period]
    if groups:
        carried = np.stack([np.bincount(owner, weights=weight * row, minlength=count) for row in shift])
        shift = shift + ((sums - carried) / n)[:, owner]
    order = np.argsort(owner, kind="stable")
    runs = np.flatnonzero(np.diff(owner[order], prepend=-1))
    moved = (cell - 0.5 * weight * shift)[:, order]
    shift = shift[:, order]
    for i in range(len(out)):
        for j in range(len(out)):
            out[i, j] -= np.add.reduceat(moved[i] * shift[j] + shift[i] * moved[j], runs)
    return out, int(good.sum()) + (count if groups else 0)
