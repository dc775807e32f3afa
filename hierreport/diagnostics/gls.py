"""Added columns tested by generalised least squares at the estimated covariance, from group moments.

With V held at its estimate, adding columns H to the model gives coefficients, their covariance and a Wald statistic in
closed form from W'V⁻¹W, W = [X H y]. V was estimated without H, so that it carries what H would explain: the test errs
on the side of the null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..moments import Moments
from .evidence import INTERCEPT, Evidence
from .posterior import half_covariance, to_stored, whitened_products

CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Added:
    """Result of adding columns.

    Attributes:
        names: columns that entered (aliased ones are left out).
        estimate: their coefficients on the scale in which they were given.
        covariance: of the coefficients.
        base: the model's own coefficients beside them, on the user's scale but for the intercept (where columns are
            centred, it is the centred one).
        wald: estimate' covariance⁻¹ estimate.
    """

    names: tuple[str, ...]
    estimate: np.ndarray
    covariance: np.ndarray
    base: np.ndarray
    wald: float


def total_information(
    products: np.ndarray | Callable[[int, int], np.ndarray],
    groups: int,
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
    sigma: float,
) -> np.ndarray:
    """W'V⁻¹W over all groups.

    Args:
        products: Σ w w' per innermost group (of whitened rows where errors are not iid), (q, q, G), or what gives them
            for a range of groups.
        groups: G.
        halves: per level, innermost first: first innermost group of each group, and A with AA' the covariance of the
            coefficients on W's columns. (groups,), (q, k)
        sigma: residual standard deviation.
    """

    def give(first: int, last: int) -> np.ndarray:
        return products(first, last) if callable(products) else products[:, :, first:last]

    q = len(give(0, 1))
    outer = halves[-1][0] if halves else np.arange(groups)
    total = np.zeros((q, q))
    per_chunk = max(1, CHUNK_ENTRIES // (q * q))
    first = 0
    while first < groups:
        # Whole outermost groups at a time: they are independent of each other.
        later = outer[outer >= first + per_chunk]
        last = int(later[0]) if len(later) else groups
        part = np.ascontiguousarray(np.moveaxis(give(first, last), 2, 0)) / sigma**2
        below = np.arange(first, last)
        for starts, half in halves:
            nodes = starts[(starts >= first) & (starts < last)]
            part = np.add.reduceat(part, np.searchsorted(below, nodes), axis=0)
            reach = part @ half
            middle = np.linalg.inv(np.eye(half.shape[1]) + half.T @ reach)
            part = part - reach @ middle @ np.swapaxes(reach, 1, 2)
            below = nodes
        total += part.sum(axis=0)
        first = last
    return total


def halves(
    evidence: Evidence, moments: Moments, width: int, leave_out: str | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The estimated random part as ``total_information`` wants it, on ``moments``' columns padded to ``width``."""
    out = []
    for level in reversed(evidence.random):
        if level["level"] == leave_out:
            continue
        half = to_stored(moments, level["terms"]) @ half_covariance(np.asarray(level["cov"], float))
        padded = np.zeros((width, half.shape[1]))
        padded[: len(half)] = half
        out.append((moments.starts(moments.levels.index(level["level"])), padded))
    return out


def full_products(evidence: Evidence) -> np.ndarray | None:
    """Σ w V_e⁻¹ w' of the panel's own columns; None where it is not known. (q, q, G)

    That is where the moments are too wide to hold full products, and for rungs with a crossed effect or unequal
    variances.
    """
    moments = evidence.moments
    if evidence.record.get("crossed") or evidence.record.get("variances"):
        return None
    if moments.products.shape[0] != moments.products.shape[1]:
        return None
    if evidence.rho is not None and evidence.panel_moments.lags is not None:
        return whitened_products(moments, evidence.panel_moments.lags, evidence.rho)
    return moments.products


def test_added(
    information: np.ndarray, moments: Moments, fixed: Sequence[str], added: Sequence[tuple[str, int]]
) -> Added:
    """Wald test of added columns.

    Args:
        information: W'V⁻¹W of the stored columns, V on the outcome's own scale. (q, q)
        moments: whose first columns these are (the outcome among them; added columns may follow).
        fixed: the model's fixed effects.
        added: names and positions of the added columns.
    """
    outcome = moments.columns[-1]
    basis = to_stored(moments, [*fixed, outcome])
    if INTERCEPT in fixed:
        # The intercept takes up every shift: stay with centred columns.
        shifted = [k for k, name in enumerate([*fixed, outcome]) if name != INTERCEPT]
        basis[0, shifted] = 0.0
    columns = np.zeros((len(information), basis.shape[1] + len(added)))
    columns[: len(basis), : basis.shape[1]] = basis
    for k, (_, j) in enumerate(added):
        columns[j, basis.shape[1] + k] = 1.0
    gram = columns.T @ information @ columns
    y, keep, names = len(fixed), list(range(len(fixed))), []
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    unit = gram / np.outer(scale, scale)
    for k, (name, _) in enumerate(added):
        # What is left of the column after those before it; an alias leaves nothing.
        j = y + 1 + k
        left = unit[j, j] - unit[j, keep] @ np.linalg.lstsq(unit[np.ix_(keep, keep)], unit[keep, j], rcond=None)[0]
        if left > 1e-9:
            keep.append(j)
            names.append(name)
    if not names:
        return Added((), np.zeros(0), np.zeros((0, 0)), np.zeros(0), 0.0)
    inverse = np.linalg.pinv(unit[np.ix_(keep, keep)], hermitian=True)
    beta = inverse @ unit[keep, y] * scale[y] / scale[keep]
    cov = inverse / np.outer(scale[keep], scale[keep])
    k = len(names)
    estimate, covariance = beta[-k:], cov[-k:, -k:]
    wald = float(estimate @ np.linalg.solve(covariance, estimate))
    return Added(tuple(names), estimate, covariance, beta[:-k], wald)


def add_group_columns(
    evidence: Evidence,
    products: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    starts: np.ndarray,
    leave_out: str | None = None,
    times: Sequence[int] | None = None,
) -> Added:
    """Add columns that are constant within the groups of a level, or such a constant times a column, and test them.

    Args:
        products: from ``full_products``.
        values: one row per added column, a value per group of the level. (k, groups)
        times: for each added column the stored column that it multiplies; the intercept's by default. (k,)
        names: of the added columns.
        starts: first innermost group of each of the level's groups.
        leave_out: a level whose random effects are taken out of the model.
    """
    moments = evidence.moments
    q, k = len(moments.columns), len(values)
    of = np.zeros(k, dtype=int) if times is None else np.asarray(times)
    node = np.searchsorted(starts, np.arange(len(moments.n)), side="right") - 1

    def widened(first: int, last: int) -> np.ndarray:
        part, by_group = products[:, :, first:last], values[:, node[first:last]]
        wide = np.empty((q + k, q + k, part.shape[2]))
        wide[:q, :q] = part
        wide[q:, :q] = by_group[:, None] * part[of]
        wide[:q, q:] = np.swapaxes(wide[q:, :q], 0, 1)
        wide[q:, q:] = by_group[:, None] * by_group[None] * part[of][:, of]
        return wide

    steps = halves(evidence, moments, q + k, leave_out)
    information = total_information(widened, len(moments.n), steps, evidence.sigma)
    added = [(name, q + i) for i, name in enumerate(names)]
    return test_added(information, moments, list(evidence.coefficients), added)
