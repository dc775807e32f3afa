"""A panel's rows, for drawing outcomes with serially correlated errors: lagged moments do not suffice for that."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ModelError
from .mixed import State
from .resample import generator

if TYPE_CHECKING:
    from .frame import Frame
    from .moments import LagMoments, PanelMoments

CELLS = 2_000_000
LIMIT = 20_000_000


@dataclass(frozen=True)
class Rows:
    """A panel's rows, sorted by innermost group and time.

    Attributes:
        stored: the columns of the moments, centred, scaled and weighted as they are. (n, q)
        group: index of the innermost group. (n,)
        gap: distance to the row before in time steps; 0 for a group's first row. (n,)
    """

    stored: np.ndarray
    group: np.ndarray
    gap: np.ndarray


def read_rows(frame: Frame, panel: PanelMoments) -> Rows:
    """Read the rows behind a panel's lagged moments.

    Raises:
        ModelError: there are no lagged moments, or the rows are too many to hold.
    """
    from .reduce import fetch, plan, quoted
    from .reduce_lags import rows_sql
    from .reduce_stream import group_table

    if panel.lags is None or frame.time is None:
        raise ModelError("serial correlation is simulated in the order of time.", "bootstrap", "Name the time column.")
    p = plan(frame, panel.moments)
    if panel.moments.n_obs * p.q > LIMIT:
        raise ModelError(
            f"{panel.moments.n_obs:,} rows of {p.q} columns are too many to simulate serially correlated errors.",
            "bootstrap",
            "Use profile or Wald intervals for this variant.",
        )
    group_table(frame.con, p)
    data = fetch(frame.con, rows_sql(p, quoted(str(frame.time)), True))
    group, time = data["k"].astype(np.int64), data["t"].astype(float)
    stored = np.column_stack([np.ones(len(group)), *(data[f"c{j}"].astype(float) for j in range(1, p.q))])
    if p.weight:
        stored *= data["root"][:, None]
    gap = np.zeros(len(group))
    later = np.flatnonzero(group[1:] == group[:-1]) + 1
    gap[later] = _as_known((time[later] - time[later - 1]) / panel.lags.step, panel.lags)
    return Rows(stored, group, gap)


def cell_rows(panel: PanelMoments) -> Rows | None:
    """The rows behind a panel's moments from its cells of group and period; None where these do not hold the rows."""
    cells, lags = panel.periods, panel.lags
    if cells is None or lags is None or cells.times is None or np.any(cells.cell_count != 1):
        return None
    order = np.lexsort((cells.period, cells.group))
    group, weighted = cells.group[order], cells.cell[:, order]
    gap = np.zeros(len(group))
    later = np.flatnonzero(group[1:] == group[:-1]) + 1
    time = np.asarray(cells.times, dtype=float)[cells.period[order]]
    gap[later] = _as_known((time[later] - time[later - 1]) / lags.step, lags)
    # A cell holds weight times row: over the root of the weight that is the row as the moments have it.
    return Rows((weighted / np.sqrt(weighted[0])).T, group, gap)


def _as_known(gap: np.ndarray, lags: LagMoments) -> np.ndarray:
    """Gaps as the lagged moments have them, to the last bit: the sums are found by them."""
    known = np.unique(lags.gap)
    at = np.clip(np.searchsorted(known, gap), 1, max(len(known) - 1, 1))
    below = known[at - 1]
    return known[at - 1] if len(known) == 1 else np.where(gap - below < known[at] - gap, below, known[at])


class RowSimulator:
    """Draws outcomes, less Xβ, of a fitted model row by row."""

    def __init__(self, state: State, rows: Rows) -> None:
        criterion = state.criterion
        problem = criterion.problem
        self.rows, self.scale = rows, problem.basis.y_scale
        self.sigma = state.sigma / self.scale
        errors: Any = criterion.errors
        rho = 0.0 if errors is None else float(state.rho or 0.0)
        gap = rows.gap if errors is not None and errors.continuous else np.round(rows.gap)
        first = rows.gap == 0
        self.memory = np.where(first, 0.0, np.sign(rho) ** gap * np.abs(rho) ** gap)
        starts = np.flatnonzero(first)
        place = np.arange(len(gap)) - np.repeat(starts, np.diff(np.append(starts, len(gap))))
        order = np.argsort(place, kind="stable")
        ends = np.cumsum(np.bincount(place))
        self.waves = [order[a:b] for a, b in pairwise(ends)] if rho else []
        self.effects = []
        for level, factor in zip(problem.levels, state.factors, strict=True):
            owner = np.searchsorted(level.starts, rows.group, side="right") - 1
            z = rows.stored @ problem.basis.transform[:, level.index] @ factor * self.sigma
            self.effects.append((z, owner, level.groups))

    def draw(self, seed: int, draws: range) -> np.ndarray:
        """Outcomes on the user's scale. (n, D)"""
        n = len(self.rows.gap)
        out = np.empty((n, len(draws)))
        random = [generator(seed, number) for number in draws]
        for d, own in enumerate(random):
            out[:, d] = own.standard_normal(n)
        out *= self.sigma * np.sqrt(1.0 - self.memory**2)[:, None]
        for wave in self.waves:
            out[wave] += self.memory[wave, None] * out[wave - 1]
        for z, owner, groups in self.effects:
            u = np.stack([own.standard_normal((z.shape[1], groups)) for own in random], axis=-1)
            for j in range(z.shape[1]):
                out += z[:, j, None] * u[j, owner]
        return out * self.scale


def chunk_size(rows: Rows) -> int:
    """How many draws are held as rows at once."""
    return int(np.clip(CELLS // max(len(rows.gap), 1), 1, 64))
