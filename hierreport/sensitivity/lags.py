"""Lagged moments in which every step of AR(1) errors has a weight of its own: its innovation's precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from ..diagnostics.residual_sql import identifier
from ..frame import Frame
from ..gram import run_starts
from ..moments import LagMoments, Moments
from ..reduce import plan
from ..reduce_lags import batch_rows, batch_sums, collect, merge, significant, snap
from ..reduce_plan import Plan
from ..reduce_stream import group_table, numpy_batches, with_codes


def step_weighted(frame: Frame, moments: Moments, lags: LagMoments, weight: str) -> LagMoments:
    """Lagged sums as ``moments.reduce_lags`` makes them, the step that ends in a row multiplied by the row's weight.

    With e_t = ρ^d e_{t−d} + v_t, Var(v_t) = σ²(1 − ρ^2d)/w_t: a row apart has a large innovation, and the errors of its
    neighbours are left as they are. (A weight of the row itself would change the size of its error instead, which a ρ
    near one cannot follow.)

    Args:
        frame: rows sorted by group and time, with the column ``weight`` (its own ``weights`` scale rows, as ever).
        moments: gives groups, columns, shift and scale.
        lags: gives the time step.
    """
    p = plan(frame, moments)
    _, n = group_table(frame.con, p)
    first = np.zeros((p.q, p.q, len(n)))
    group, length, count, *sums = collect(_steps(frame, p, weight, first))
    group, gap, count, *sums = merge([[group, snap(length / lags.step), count, *sums]])
    now, cross, before = (np.ascontiguousarray(part.transpose(1, 2, 0)) for part in sums)
    return LagMoments(group, gap, count, now, cross, before, first, lags.step, lags.unit)


def _steps(frame: Frame, p: Plan, weight: str, first: np.ndarray) -> Iterator[list[np.ndarray]]:
    source, code = with_codes(p)
    items = [f"{code} AS k", f"CAST({identifier(str(frame.time))} AS DOUBLE) AS t"]
    items += [f"{e} AS c{k}" for k, e in enumerate(p.expressions) if k]
    items += [f"sqrt(CAST({p.weight or '1.0'} AS DOUBLE)) AS root", f"sqrt(CAST({weight} AS DOUBLE)) AS own"]
    last_row, last_time, last_group = np.zeros(p.q), np.nan, -1
    batches = numpy_batches(frame.con, f"SELECT {', '.join(items)} FROM {source}", batch_rows(p.q))
    with closing(batches):
        for columns in batches:
            group, time, root, own = columns[0], columns[1], columns[-2], columns[-1]
            rows = np.column_stack([np.ones(len(group)), *columns[2:-2]]) * root[:, None]
            before, length = np.vstack([last_row, rows[:-1]]), np.diff(time, prepend=last_time)
            opening = np.append(group[0] != last_group, group[1:] != group[:-1])
            last_row, last_time, last_group = rows[-1], time[-1], group[-1]
            start = rows[opening] * own[opening, None]
            first[:, :, group[opening]] = np.einsum("gi,gj->ijg", start, start)
            later = ~opening
            scale = own[later, None]
            yield _sorted_sums(group[later], length[later], rows[later] * scale, before[later] * scale)


def _sorted_sums(group: np.ndarray, length: np.ndarray, now: np.ndarray, before: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    if len(group) and len(run_starts(group)) != len(np.unique(group)):
        group, length, now, before = group[order], length[order], now[order], before[order]
    return batch_sums(group, significant(length) if len(length) else length, now, before)
