"""How well each group's coefficients are known: what residuals and random effects owe to having been estimated.

The best linear unbiased prediction ê of an error obeys Var(ê) = Var(e) − Var(ê − e), and the error of prediction of a
row's residual is that of its fitted value (Searle, Casella & McCulloch 1992, section 7.4). So the covariance of the
predicted coefficients, group by group, gives each residual its own variance, and each pair of residuals the covariance
that estimation puts between them: the "about −1/(T−1)" of group effects, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..moments import LagMoments, Moments

# Above these, only the random part's columns are carried: entries of (groups, columns, columns), and columns (the
# quadratic form is written out in SQL).
FULL_LIMIT, FULL_COLUMNS = 2_000_000, 16


@dataclass(frozen=True)
class RowCovariance:
    """Covariance of a group's predicted coefficients, per innermost group.

    Attributes:
        columns: indices into ``Moments.columns`` of the coefficients carried, in stored (centred, scaled) coordinates.
            (m,)
        covariance: Var(coefficients | data) per innermost group. (G, m, m)
        left_out: fixed coefficients that are not carried; their leverage is spread evenly over the rows.
    """

    columns: np.ndarray
    covariance: np.ndarray
    left_out: int


def to_stored(moments: Moments, terms: Sequence[str]) -> np.ndarray:
    """B with raw columns = stored columns × B, so that raw coefficients c become B c. (q, len(terms))"""
    place = {name: j for j, name in enumerate(moments.columns)}
    out = np.zeros((len(moments.columns), len(terms)))
    for k, term in enumerate(terms):
        j = place[term]
        out[j, k] = moments.scale[j]
        if j:
            out[0, k] += moments.shift[j]
    return out


def total_products(moments: Moments) -> np.ndarray:
    """Σ w w' over all rows. (q, q)"""
    full = moments.products.shape[0] == moments.products.shape[1]
    return (moments.products if full else moments.parent_products).sum(axis=2)


def average_variance(moments: Moments, terms: Sequence[str], cov: np.ndarray) -> float:
    """Mean over the rows of z'Σz: what a level's random coefficients contribute to the variance (Johnson 2014)."""
    total = total_products(moments)
    stored = to_stored(moments, terms)
    return float(np.sum((stored @ np.asarray(cov, float) @ stored.T) * total) / total[0, 0])


def half_covariance(cov: np.ndarray) -> np.ndarray:
    """A with A A' = cov for a positive semidefinite matrix, singular ones included."""
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(np.clip(values, 0.0, None))


def whitened_products(moments: Moments, lags: LagMoments, rho: float) -> np.ndarray:
    """Σ w V_e⁻¹ w' per innermost group under AR(1) errors (relative to σ²), from the lagged moments. (q, q, G)"""
    out = lags.first.copy()
    power = rho**lags.gap
    step = (lags.now - power * lags.cross + power**2 * lags.before) / (1.0 - power**2)
    starts = (
        np.flatnonzero(np.append(True, lags.group[1:] != lags.group[:-1])) if len(lags.group) else np.array([], int)
    )
    if len(starts):
        out[:, :, lags.group[starts]] += np.add.reduceat(step, starts, axis=2)
    return out


def row_covariance(
    moments: Moments,
    random: Sequence[Mapping[str, Any]],
    sigma: float,
    fixed: Sequence[str],
    fixed_cov: np.ndarray,
    products: np.ndarray | None = None,
) -> RowCovariance:
    """Posterior covariance of the coefficients that make up each group's fitted values.

    Args:
        moments: of the panel.
        random: the estimate's random part, outermost first (``level``, ``terms``, ``cov`` on the user's scale).
        sigma: residual standard deviation.
        fixed, fixed_cov: the estimated fixed effects and their covariance on the user's scale.
        products: Σ w V_e⁻¹ w' per innermost group where errors are not iid. (q, q, G)
    """
    place = {name: j for j, name in enumerate(moments.columns)}
    fixed_index = [place[name] for name in fixed]
    random_index = {place[term] for level in random for term in level["terms"]}
    carried = sorted(set(fixed_index) | random_index | {0})
    available = {int(j): i for i, j in enumerate(moments.z_index)}
    too_large = len(moments.n) * len(carried) ** 2 > FULL_LIMIT or len(carried) > FULL_COLUMNS
    if too_large or not set(carried) <= set(available):
        carried = sorted(random_index | {0})
    columns = np.array(carried)
    if products is None:
        products = moments.products[[available[j] for j in carried]][:, columns]
    else:
        products = products[columns][:, columns]
    information = np.ascontiguousarray(np.moveaxis(products, 2, 0)) / sigma**2

    half_levels = []
    for level in reversed(list(random)):
        half = to_stored(moments, level["terms"])[columns] @ half_covariance(np.asarray(level["cov"], float))
        half_levels.append((moments.starts(moments.levels.index(level["level"])), half))
    prior, left_out = np.zeros((len(columns), len(columns))), len(fixed)
    if set(fixed_index) <= set(carried):
        b = to_stored(moments, fixed)[columns]
        prior, left_out = b @ np.asarray(fixed_cov, float).reshape(len(fixed), len(fixed)) @ b.T, 0
    return RowCovariance(columns, _tree_posterior(information, half_levels, prior), left_out)


def _tree_posterior(
    information: np.ndarray, levels: list[tuple[np.ndarray, np.ndarray]], prior: np.ndarray
) -> np.ndarray:
    """Up the tree for the information on each group's coefficients, down again for what is left uncertain. (G, m, m)"""
    m, innermost = len(prior), len(information)
    below = np.arange(innermost)
    up = []
    for starts, half in levels:
        c = np.add.reduceat(information, np.searchsorted(below, starts), axis=0)
        middle = np.linalg.inv(np.eye(half.shape[1]) + half.T @ c @ half)
        own = half @ middle @ half.T
        up.append((starts, c, own))
        information = c - c @ own @ c
        below = starts
    posterior, above = prior[None], np.array([0])
    for starts, c, own in reversed(up):
        parent = posterior[np.searchsorted(above, starts, side="right") - 1]
        keep = np.eye(m) - own @ c
        posterior = keep @ parent @ np.swapaxes(keep, 1, 2) + own
        above = starts
    return posterior[np.searchsorted(above, np.arange(innermost), side="right") - 1]
