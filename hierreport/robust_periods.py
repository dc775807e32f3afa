"""Covariances of pooled OLS that are robust to shocks shared by all groups in a period: two-way and Driscoll-Kraay."""

from __future__ import annotations

import numpy as np

from .clusters import cluster_starts
from .errors import ModelError
from .inference import wald
from .mixed import MixedFit, State
from .moments import PeriodMoments, StratumMoments
from .robust import RobustInference, residual
from .said import whole


def cell_scores(state: State, cells: PeriodMoments | StratumMoments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ x e per cell of innermost group and period, in working columns.

    Args:
        state: pooled OLS.
        cells: period moments where every cell has one row (its products follow from its sums), or else the panel's
            moments by stratum of the time column (``moments.reduce_strata(frame, moments, frame.time)``).

    Returns:
        Scores (p, K); index of the innermost group and of the period of each cell. (K,)

    Raises:
        ModelError: not pooled OLS with independent errors; period moments with several rows in a cell.
    """
    problem = state.criterion.problem
    if problem.levels or problem.crossed is not None or state.criterion.errors is not None:
        raise ModelError(
            "two-way and Driscoll-Kraay covariances are for pooled OLS: a mixed model's V couples the periods.",
            "robust",
            "Use the pooled rung, or clusters by group.",
        )
    transform, x = problem.basis.transform, problem.basis.x_index
    b = transform @ residual(state)
    if isinstance(cells, StratumMoments):
        out = transform[:, x].T @ np.tensordot(b, cells.products, axes=1)
        return out, cells.group, cells.stratum
    several = int(np.sum(cells.cell_count > 1))
    if several:
        raise ModelError(
            f"{whole(several)} cells of group and period have several rows, whose products their sums do not tell.",
            "robust",
            "Reduce the panel by strata of its time column and pass those moments.",
        )
    # One row: its sums are w·W with weight w = cell[0], and x e w = (w x)(w e)/w.
    return (transform[:, x].T @ cells.cell) * (b @ cells.cell) / cells.cell[0], cells.group, cells.period


def two_way(
    fit: MixedFit, cells: PeriodMoments | StratumMoments, level: str | None = None, kind: str = "CR1"
) -> RobustInference:
    """Covariance robust to correlation within groups and within periods: V_group + V_period − V_cell.

    Source: Cameron, Gelbach & Miller (2011), J. Bus. Econ. Stat. 29, eq. 2.10; each part has its own small-sample
    factor under CR1, and negative eigenvalues are set to zero (their sec. 2.3). Degrees of freedom: the smaller number
    of clusters − 1.

    Args:
        fit: pooled OLS.
        cells: see ``cell_scores``.
        level: grouping level of the first dimension; by default the innermost.
        kind: CR0 or CR1.

    Raises:
        ModelError: not pooled OLS, a single group or period, an unknown level.
    """
    if kind not in ("CR0", "CR1"):
        raise ModelError(f"two-way covariances have no kind {kind!r}.", "robust", "Use CR0 or CR1.")
    state = fit.state("reml")
    name, starts = cluster_starts(state, level)
    scores, group, period = cell_scores(state, cells)
    owner = np.searchsorted(starts, group, side="right") - 1
    n, k = fit.n_obs, len(scores)
    periods = int(period.max()) + 1
    if len(np.unique(period)) < 2:
        raise ModelError("the panel has a single period.", "two-way clusters")
    both = np.unique(owner * periods + period, return_inverse=True)[1]
    middle, counts = np.zeros((k, k)), []
    for index, sign in ((owner, 1.0), (period, 1.0), (both, -1.0)):
        sums = _sums(scores, index)
        counts.append(sums.shape[1])
        factor = counts[-1] / (counts[-1] - 1.0) * (n - 1.0) / (n - k) if kind == "CR1" else 1.0
        middle += sign * factor * sums @ sums.T
    cov = _sandwich(state, middle)
    values, vectors = np.linalg.eigh(cov)
    notes = []
    if values[0] < -1e-14 * values[-1]:
        cov = (vectors * np.maximum(values, 0.0)) @ vectors.T
        notes.append("The two-way covariance was not positive semidefinite; negative eigenvalues were set to zero.")
    df = min(counts[0], counts[1]) - 1.0
    if df < 30:
        notes.append(f"The smaller dimension has {whole(int(df) + 1)} clusters: intervals are approximate.")
    return _inference(state, cov, df, f"two-way {kind}", {name: counts[0], "period": counts[1]}, "clusters - 1", notes)


def bandwidth(periods: int) -> int:
    """Lags of the Bartlett kernel: ⌊4 (T/100)^(2/9)⌋ (Newey & West 1994, as Hoechle's ``xtscc``), below T."""
    return min(int(4.0 * (periods / 100.0) ** (2.0 / 9.0)), periods - 1)


def driscoll_kraay(fit: MixedFit, cells: PeriodMoments | StratumMoments, lags: int | None = None) -> RobustInference:
    """Covariance robust to correlation across groups and over time, for panels with many periods.

    Source: Driscoll & Kraay (1998), Rev. Econ. Stat. 80, with the Bartlett kernel 1 − l/(m + 1) over the observed
    periods in their order. No small-sample factor; degrees of freedom: periods − 1.

    Args:
        fit: pooled OLS.
        cells: see ``cell_scores``.
        lags: the kernel's bandwidth m; by default ``bandwidth(T)``.

    Raises:
        ModelError: not pooled OLS, a single period, a bandwidth out of range.
    """
    state = fit.state("reml")
    scores, _, period = cell_scores(state, cells)
    used = np.unique(period, return_inverse=True)[1]
    sums = _sums(scores, used)
    periods = sums.shape[1]
    if periods < 2:
        raise ModelError("the panel has a single period.", "Driscoll-Kraay")
    m = bandwidth(periods) if lags is None else lags
    if not 0 <= m < periods:
        raise ModelError(f"{m} lags with {periods} periods.", "Driscoll-Kraay", "Use fewer lags than periods.")
    middle = sums @ sums.T
    for lag in range(1, m + 1):
        part = sums[:, lag:] @ sums[:, :-lag].T
        middle += (1.0 - lag / (m + 1.0)) * (part + part.T)
    notes = []
    if periods < 20:
        notes.append(
            f"With {whole(periods)} periods Driscoll-Kraay errors are too small as a rule: they rest on many periods."
        )
    cov = _sandwich(state, middle)
    name = f"Driscoll-Kraay ({m} lags)"
    return _inference(state, cov, periods - 1.0, name, {"period": periods}, "periods - 1", notes)


def _sums(scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(index, weights=row) for row in scores])


def _sandwich(state: State, middle: np.ndarray) -> np.ndarray:
    basis = state.criterion.problem.basis
    bread = np.linalg.solve(basis.p_x, np.linalg.inv(state.evaluation.xx.real)) * basis.y_scale
    return bread @ middle @ bread.T


def _inference(
    state: State, cov: np.ndarray, df: float, kind: str, clusters: dict[str, int], method: str, notes: list[str]
) -> RobustInference:
    se = np.sqrt(np.maximum(np.diag(cov), 0.0))
    terms = state.criterion.problem.basis.fixed
    fixed = [wald(t, float(b), float(s), df, method) for t, b, s in zip(terms, state.beta_raw, se, strict=True)]
    return RobustInference(kind, "OLS", clusters, fixed, cov.tolist(), notes)
