"""The fixed effects of a model in first differences, from lagged moments: what is left where errors hardly decay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .errors import ModelError
from .inference import wald
from .moments import PanelMoments
from .problem import INTERCEPT, independent_columns
from .records import FixedEffect, Record

# From this serial correlation on, an error is nearly a random walk, and differences are what the data inform.
NEAR_ONE = 0.95


@dataclass(frozen=True)
class FirstDifferences(Record):
    """Least squares of the outcome's changes over one time step on the predictors' changes.

    Attributes:
        n_obs, groups: changes used, and innermost groups that have one.
        fixed: coefficients with cluster-robust errors; the intercept is the drift per step.
        fixed_cov: their covariance.
        clusters: number of groups that the errors are clustered by.
        sigma: residual standard deviation of a change.
        r2: share of the changes' variance about their mean.
        dropped: terms that do not change within groups, or change as others do.
        skipped: steps longer than one time step, left out.
    """

    n_obs: int
    groups: int
    fixed: list[FixedEffect]
    fixed_cov: list[list[float]]
    clusters: dict[str, int]
    sigma: float
    r2: float
    dropped: list[str] = field(default_factory=list)
    skipped: int = 0


def first_differences(panel: PanelMoments, fixed: tuple[str, ...], coverage: float = 0.95) -> FirstDifferences:
    """Estimate a model's fixed effects in first differences.

    With the sums over steps of one period, Σ(w_t − w_{t−1})(w_t − w_{t−1})' = now − cross + before. A constant is
    estimated with them (the drift), as plm's ``model = "fd"``; it is dropped where the predictors contain a trend.
    Standard errors are clustered by the innermost group (the differences of an uncorrelated error are correlated),
    Arellano (1987), with Stata's factor G/(G−1)·(N−1)/(N−K).

    Args:
        panel: moments with lags.
        fixed: names of the model's fixed columns.
        coverage: of the intervals.

    Raises:
        ModelError: no time column, weights, or too few changes.
    """
    lags, moments = panel.lags, panel.moments
    if lags is None:
        raise ModelError("first differences need a time column.", "first differences", "Name the time column.")
    if moments.unweighted is not None:
        raise ModelError("first differences are not defined with weights by row.", "first differences")
    near = np.abs(lags.gap - 1.0) < 1e-9
    at = np.flatnonzero(near)
    n = int(lags.count[at].sum())
    names = [t for t in fixed if t != INTERCEPT]
    columns = np.array([moments.columns.index(t) for t in names] + [len(moments.columns) - 1])
    if n <= len(names) + 1:
        raise ModelError(f"{n} changes over one time step are too few.", "first differences")
    grid = np.ix_(columns, columns, at)
    squares = lags.now[grid] - lags.cross[grid] + lags.before[grid]
    # Column 0 is the constant: Σ w_t − Σ w_{t−1} is in its rows.
    sums = lags.now[0][np.ix_(columns, at)] - lags.before[0][np.ix_(columns, at)]
    k = len(columns)
    products = np.empty((k + 1, k + 1, len(at)))
    products[:k, :k], products[:k, k], products[k, :k], products[k, k] = squares, sums, sums, lags.count[at]
    order = [*range(k - 1), k, k - 1]  # predictors, the drift, the outcome
    products = products[np.ix_(order, order, range(len(at)))]
    total = products.sum(axis=2)
    # Differences of rounding size are zero: the columns were scaled to a standard deviation of one.
    size = np.sqrt(np.diag(total)[:k] / n)
    moving = [j for j in range(k) if size[j] > 1e-7]
    keep, _ = independent_columns(total[np.ix_(moving, moving)], n)
    kept = [moving[j] for j in keep]
    inverse = np.linalg.inv(total[np.ix_(kept, kept)])
    b = np.zeros(k + 1)
    b[kept], b[k] = -inverse @ total[kept, k], 1.0
    rss = float(b @ total @ b)
    scores = np.tensordot(b, products, axes=1)[kept]
    owner = np.unique(lags.group[at], return_inverse=True)[1]
    by_group = np.stack([np.bincount(owner, weights=row) for row in scores])
    groups = by_group.shape[1]
    if groups < 2:
        raise ModelError("first differences need two groups for their standard errors.", "first differences")
    df = n - len(kept)
    factor = groups / (groups - 1.0) * (n - 1.0) / df
    y_scale = moments.scale[-1]
    unit = np.array([y_scale / (moments.scale[columns[j]] if j < k - 1 else 1.0) for j in kept])
    cov = factor * np.outer(unit, unit) * (inverse @ (by_group @ by_group.T) @ inverse)
    labels = [names[j] if j < k - 1 else INTERCEPT for j in kept]
    effects = [
        wald(t, float(-b[j] * u), float(np.sqrt(v)), groups - 1.0, "groups - 1", coverage)
        for t, j, u, v in zip(labels, kept, unit, np.diag(cov), strict=True)
    ]
    about_mean = total[k, k] - total[k - 1, k] ** 2 / n
    level = moments.levels[-1] if moments.levels else ""
    return FirstDifferences(
        n,
        groups,
        effects,
        cov.tolist(),
        {level: groups},
        float(np.sqrt(rss / df) * y_scale),
        1.0 - rss / about_mean,
        [t for j, t in enumerate(names) if j not in kept] + ([INTERCEPT] if k - 1 not in kept else []),
        int(lags.count[~near].sum()),
    )
