"""Moments with further columns, other weights or fewer groups, made from moments alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ModelError
from ..moments import LagMoments, Moments, PanelMoments


@dataclass(frozen=True)
class Added:
    """A column that is, within each innermost group, a fixed combination of stored columns.

    Attributes:
        name: its name.
        parts: (stored column, multiple per innermost group) pairs. (G,) each
        shift, scale: what its stored form is measured in.
    """

    name: str
    parts: Sequence[tuple[int, np.ndarray]]
    shift: float
    scale: float


def times(moments: Moments, column: str, multiple: np.ndarray, name: str) -> Added:
    """A column multiplied by a number of each innermost group's own."""
    j = moments.columns.index(column)
    shift, scale = float(moments.shift[j]), float(moments.scale[j])
    parts = [(j, multiple)] if not shift or not j else [(j, multiple), (0, multiple * (shift / scale))]
    return Added(name, parts, 0.0, scale)


def with_columns(panel: PanelMoments, added: Sequence[Added]) -> PanelMoments:
    """The panel's moments with columns appended before the outcome; no rows are needed.

    Raises:
        ModelError: a wide panel, whose moments keep no full products per group.
    """
    moments = panel.moments
    q, new = len(moments.columns), len(added)
    _check(moments)
    a = np.zeros((new, q, len(moments.n)))
    for k, column in enumerate(added):
        for j, multiple in column.parts:
            a[k, j] += multiple
    products = _extended(moments.products, a)
    starts = moments.starts(len(moments.levels) - 2) if len(moments.levels) > 1 else np.array([0])
    unweighted = moments.unweighted
    if unweighted is not None:
        # The new columns' sums without weights are not known; they serve descriptive variances only.
        total = products.sum(axis=2)
        total = total * (moments.n_obs / total[0, 0])
        old = [*range(q - 1), q - 1 + new]
        total[np.ix_(old, old)] = unweighted
        unweighted = total
    names = tuple(c.name for c in added)
    more = replace(
        moments,
        columns=(*moments.columns[:-1], *names, moments.columns[-1]),
        shift=np.concatenate([moments.shift[:-1], [c.shift for c in added], moments.shift[-1:]]),
        scale=np.concatenate([moments.scale[:-1], [c.scale for c in added], moments.scale[-1:]]),
        products=products,
        z_index=np.arange(q + new),
        parent_products=np.add.reduceat(products, starts, axis=2),
        unweighted=unweighted,
    )
    lags = panel.lags
    if lags is not None:
        own = a[:, :, lags.group]
        now, cross, before = (_extended(m, own) for m in (lags.now, lags.cross, lags.before))
        lags = replace(lags, now=now, cross=cross, before=before, first=_extended(lags.first, a))
    return PanelMoments(more, lags)


def lagged_as(lags: LagMoments | None) -> float | None:
    """Length of the time step that lagged moments were made with."""
    return None if lags is None else lags.step


def _check(moments: Moments) -> None:
    if moments.products.shape[0] != moments.products.shape[1]:
        raise ModelError(f"with {len(moments.columns)} columns the moments keep no full products per group.", "moments")


def _extended(products: np.ndarray, a: np.ndarray) -> np.ndarray:
    """[I; A] M [I; A]' per group, the new columns before the last one. (q + new, q + new, K)"""
    q, new = products.shape[0], a.shape[0]
    mixed = np.einsum("ajg,jkg->akg", a, products, optimize=True)
    own = np.einsum("akg,bkg->abg", mixed, a, optimize=True)
    out = np.empty((q + new, q + new, products.shape[2]))
    old = np.array([*range(q - 1), q - 1 + new])
    place = np.arange(q - 1, q - 1 + new)
    out[np.ix_(old, old)] = products
    out[np.ix_(place, old)] = mixed
    out[np.ix_(old, place)] = mixed.transpose(1, 0, 2)
    out[np.ix_(place, place)] = own
    return out
