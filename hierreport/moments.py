"""Group moments: the only thing a fit needs to know of the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from hierreport.frame import Frame


@dataclass(frozen=True)
class Moments:
    """Sums of products per innermost group, of centred and scaled columns.

    With the model columns W = [1, x_1 … x_k, y] (q of them), the stored columns are w_j = (W_j − shift_j) / scale_j
    (shift 0 and scale 1 for the constant), and with weights every row is multiplied by the square root of its weight.
    The shift may be approximate; users of the moments re-centre exactly.

    Attributes:
        columns: names of W's columns, ``(Intercept)`` first and the outcome last. (q)
        shift, scale: location and scale that were taken out of each column. (q,)
        levels: names of the grouping levels by path, outermost first: ``("sector", "sector/firm")``. (L)
        labels: one array of ids (strings) per group column, an entry per innermost group. (L arrays of (G,))
        n: rows per innermost group. (G,)
        products: ``products[a, j, g] = Σ w_{z_index[a]} w_j`` over the rows of group g. (r, q, G)
        z_index: the columns that have a row in ``products``; all of them unless the model is wide. (r,)
        parent_products: full sums of products per group of the level above (per panel where there is one level
            only), so that a wide model needs no (q, q, G) array. (q, q, P)
        sum_log_weight: Σ log w over rows, 0 without weights.
        unweighted: sums of products over all rows without weights, same columns, for descriptive variances. (q, q)

    Groups are sorted so that the groups of every ancestor are contiguous.
    """

    columns: tuple[str, ...]
    shift: np.ndarray
    scale: np.ndarray
    levels: tuple[str, ...]
    labels: tuple[np.ndarray, ...]
    n: np.ndarray
    products: np.ndarray
    z_index: np.ndarray
    parent_products: np.ndarray
    sum_log_weight: float = 0.0
    unweighted: np.ndarray | None = None

    @property
    def n_obs(self) -> int:
        return int(self.n.sum())

    def starts(self, depth: int) -> np.ndarray:
        """First innermost group of each group of level ``depth`` (0 = outermost). (groups at that level,)"""
        change = np.zeros(len(self.n), dtype=bool)
        change[:1] = True
        for ids in self.labels[: depth + 1]:
            change[1:] |= ids[1:] != ids[:-1]
        return np.flatnonzero(change)


@dataclass(frozen=True)
class LagMoments:
    """Lagged sums of products for AR(1) errors, same columns, shift and scale as the ``Moments`` beside them.

    A *step* joins a row to the one before it in time within its innermost group; its gap is measured in time steps.
    Rows are summed by (group, gap), sorted by group, then gap.

    Attributes:
        group: index of the innermost group of each entry. (K,)
        gap: distance in time steps of each entry, > 0. (K,)
        count: number of steps of that gap in the group. (K,)
        now, cross, before: Σ w_t w_t', Σ (w_t w_{t−d}' + transpose), Σ w_{t−d} w_{t−d}'. (q, q, K) each
        first: w_1 w_1' of each group's first row. (q, q, G)
        step: length of one time step in the time column's unit.
        unit: what the time column counts: "number", "month", "quarter", "day" or "second".
        stratum, stratum_before, stratum_first: strata of the row, of the row before it, and of each group's first row,
            where rows are summed by (group, stratum, stratum before, gap), in that order; else None. (K,), (K,), (G,)
    """

    group: np.ndarray
    gap: np.ndarray
    count: np.ndarray
    now: np.ndarray
    cross: np.ndarray
    before: np.ndarray
    first: np.ndarray
    step: float = 1.0
    unit: str = ""
    stratum: np.ndarray | None = None
    stratum_before: np.ndarray | None = None
    stratum_first: np.ndarray | None = None

    @property
    def uneven(self) -> bool:
        """Whether some gap is no whole number of steps."""
        return bool(np.abs(self.gap - np.round(self.gap)).max(initial=0.0) > 1e-9)


@dataclass(frozen=True)
class PeriodMoments:
    """Sums of products per period and per (innermost group, period), for a crossed time effect.

    Attributes:
        periods: labels of the periods in time order. (T,)
        total: Σ w over the rows of each period; with weights every row counts by its weight. (q, T)
        count: rows per period. (T,)
        group, period: indices of each (group, period) cell that has rows. (K,) each
        cell: the same sums over the rows of the cell. (q, K)
        cell_count: rows of the cell. (K,)
        times: the periods on the time axis, in the time column's unit; None where unknown. (T,)
        stratum: stratum of each cell, where rows are summed by (group, period, stratum); else None. (K,)
    """

    periods: np.ndarray
    total: np.ndarray
    count: np.ndarray
    group: np.ndarray
    period: np.ndarray
    cell: np.ndarray
    cell_count: np.ndarray
    times: np.ndarray | None = None
    stratum: np.ndarray | None = None


@dataclass(frozen=True)
class StratumMoments:
    """Moments by (innermost group, stratum), for residual variances that differ by stratum.

    Attributes:
        strata: labels. (S,)
        group, stratum: indices of each cell. (K,) each
        n: rows of the cell. (K,)
        products: full sums of products of the cell. (q, q, K)
        lags, cells: lagged moments and sums by period that keep the strata apart, where serial correlation or a
            crossed effect goes with the variances; else None.
    """

    strata: np.ndarray
    group: np.ndarray
    stratum: np.ndarray
    n: np.ndarray
    products: np.ndarray
    lags: LagMoments | None = None
    cells: PeriodMoments | None = None


@dataclass(frozen=True)
class PanelMoments:
    """Everything that the fits of one analysis read. Lag, period and stratum moments are present where asked for."""

    moments: Moments
    lags: LagMoments | None = None
    periods: PeriodMoments | None = None
    strata: dict[str, StratumMoments] = field(default_factory=dict)


def reduce_all(frame: Frame, like: Moments | None = None) -> PanelMoments:
    """Moments, and beside them lag and period moments where the panel has a time column that allows them.

    Lags need one row per group and time; they and the periods are left out where they would be larger than is
    practical (``reduce.LAG_BYTES``, ``reduce.PERIODS``).

    Args:
        frame: the checked rows.
        like: moments whose location and scale are taken, to compare with them.

    Raises:
        DataError: see ``reduce``.
    """
    from hierreport.reduce import reduce_panel

    return reduce_panel(frame, like)


def reduce(frame: Frame) -> Moments:
    """Reduce a checked model frame to group moments.

    Reads the frame's table once, in one thread of DuckDB, so that the result is the same to the last bit on every run
    and machine. Up to ``reduce.SQL_COLUMNS`` columns the sums are made in SQL; wider designs are streamed, and where
    full products of every innermost group would be too large only the rows of ``z_index`` are kept per group.

    Raises:
        DataError: no rows, infinite values or weights that are not positive; too many columns for memory.
    """
    from hierreport.reduce import reduce_frame

    return reduce_frame(frame)


def reduce_lags(frame: Frame, moments: Moments, step: float | None = None) -> LagMoments:
    """Lagged sums of products, rows taken in time order within the innermost group.

    Args:
        frame: a frame with a time column, a number in the unit of its ``info["time_axis"]``.
        moments: the frame's moments (columns, shift and scale are taken over).
        step: length of one time step in that unit; by default the axis' own step, or else the smallest one found
            within a group.

    Raises:
        DataError: no time column, two rows of a group at the same time, or too many columns and gaps for memory.
    """
    from hierreport.reduce_lags import reduce_lagged

    return reduce_lagged(frame, moments, step)


def reduce_periods(frame: Frame, moments: Moments) -> PeriodMoments:
    """Sums per period and per (innermost group, period).

    Raises:
        DataError: the frame has no time column, or too many cells for memory.
    """
    from hierreport.reduce_cells import reduce_by_period

    return reduce_by_period(frame, moments)


def reduce_strata(
    frame: Frame, moments: Moments, column: str, *, step: float | None = None, periods: bool = False
) -> StratumMoments:
    """Moments by (innermost group, stratum) for a column of the frame's table.

    Args:
        step: length of a time step: lagged moments by stratum are made too.
        periods: sums by period and stratum too.

    Raises:
        DataError: there is no such column, or too many cells for memory.
    """
    from hierreport.reduce_cells import reduce_by_stratum

    return reduce_by_stratum(frame, moments, column, step, periods)


def write(directory: str | Path, panel: PanelMoments) -> list[Path]:
    """Write moments.parquet and what goes beside it; exact doubles, the same bytes for the same moments.

    Returns:
        The files written.
    """
    from hierreport.moments_io import write_panel_moments

    return write_panel_moments(directory, panel)


def read(directory: str | Path) -> PanelMoments:
    """Read what ``write`` wrote.

    Raises:
        DataError: there are no moments in the directory, or they are damaged.
    """
    from hierreport.moments_io import read_panel_moments

    return read_panel_moments(directory)
