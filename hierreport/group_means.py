"""Group means and deviations from them as further columns of the moments, without going back to the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .errors import ModelError
from .moments import Moments
from .problem import INTERCEPT


def mean_name(column: str) -> str:
    """Name of a column's group mean."""
    return f"mean({column})"


def within_name(column: str) -> str:
    """Name of a column's deviation from its group mean."""
    return f"within({column})"


def moments_with_group_means(
    moments: Moments, columns: tuple[str, ...] | list[str], level: str | None = None, within: bool = False
) -> Moments:
    """Moments with ``mean(x)`` (and ``within(x)``) of some columns appended before the outcome.

    A group mean is constant in its group, so that its products with any column are n times a mean: exact, no rows. With
    weights the means are weighted.

    Args:
        moments: the panel's moments, wide ones too.
        columns: names of the columns to average.
        level: grouping level of the means; by default the innermost.
        within: append ``within(x) = x − mean(x)`` too, all means first.

    Raises:
        ModelError: an unknown predictor or level; no groups.
    """
    level = moments.levels[-1] if level is None and moments.levels else level
    if level not in moments.levels:
        raise ModelError(
            f"the panel has no level {level!r}.", "group means", f"Its levels: {', '.join(moments.levels)}."
        )
    unknown = [c for c in columns if c not in moments.columns[:-1]]
    if unknown:
        raise ModelError(f"the moments have no predictor {unknown[0]!r}.", "group means")
    chosen = [moments.columns.index(c) for c in columns]
    constant = int(np.flatnonzero(moments.z_index == moments.columns.index(INTERCEPT))[0])
    sums = moments.products[constant]
    starts = moments.starts(moments.levels.index(level))
    by_group = np.add.reduceat(sums, starts, axis=1)
    means = np.repeat(by_group[chosen] / by_group[0], np.diff(np.append(starts, len(moments.n))), axis=1)

    # A new column is a multiple of the constant that differs by group, and for within(x) x itself.
    q, k = len(moments.columns), len(chosen)
    base: list[tuple[int | None, np.ndarray]] = [(None, m) for m in means]
    if within:
        base += [(c, -m) for c, m in zip(chosen, means, strict=True)]
    new = len(base)
    products = np.empty((moments.products.shape[0], q + new, len(moments.n)))
    products[:, : q - 1], products[:, -1] = moments.products[:, :-1], moments.products[:, -1]
    for j, (column, multiple) in enumerate(base):
        products[:, q - 1 + j] = multiple * moments.products[:, 0]
        if column is not None:
            products[:, q - 1 + j] += moments.products[:, column]
    # The constant's row gives Σ w_j; the new columns' own rows follow from it and from x's row.
    whole = len(moments.z_index) == q
    extra = np.empty((new, q + new, len(moments.n) if whole else 0))
    parents = moments.starts(len(moments.levels) - 2) if len(moments.levels) > 1 else np.array([0])
    if whole:
        for j, (column, multiple) in enumerate(base):
            extra[j] = multiple * products[constant]
            if column is not None:
                extra[j] += products[column]
        order = [*range(q - 1), *range(q, q + new), q - 1]
        products = np.concatenate([products, extra])[order]
        parent = np.add.reduceat(products, parents, axis=2)
        z_index = np.arange(q + new)
    else:
        parent = _wide_parents(moments, products[constant], base, parents)
        z_index = np.where(moments.z_index == q - 1, q - 1 + new, moments.z_index)
    shift = np.concatenate(
        [moments.shift[:-1], moments.shift[chosen], np.zeros(k if within else 0), moments.shift[-1:]]
    )
    scale = np.concatenate([moments.scale[:-1], *([moments.scale[chosen]] * (new // max(k, 1))), moments.scale[-1:]])
    names = [mean_name(c) for c in columns] + ([within_name(c) for c in columns] if within else [])
    return replace(
        moments,
        columns=(*moments.columns[:-1], *names, moments.columns[-1]),
        shift=shift,
        scale=scale,
        products=products,
        z_index=z_index,
        parent_products=parent,
        unweighted=None if moments.unweighted is None else _unweighted(moments, parent, new),
    )


def _wide_parents(moments: Moments, sums: np.ndarray, base: list, parents: np.ndarray) -> np.ndarray:
    """Full products per parent with the new columns, from the constant's row per innermost group (new columns last)."""
    q, new = len(moments.columns), len(base)
    old = [*range(q - 1), q - 1 + new]
    out = np.zeros((q + new, q + new, moments.parent_products.shape[2]))
    out[np.ix_(old, old)] = moments.parent_products
    for j, (column, multiple) in enumerate(base):
        row = np.add.reduceat(multiple * sums, parents, axis=1)
        if column is not None:
            row[old] += moments.parent_products[column]
            for i, (other, m) in enumerate(base):
                row[q - 1 + i] += np.add.reduceat(m * sums[column], parents)
                if other is not None:
                    row[q - 1 + i] += moments.parent_products[column, other]
        out[q - 1 + j] = out[:, q - 1 + j] = row
    return out


def _unweighted(moments: Moments, parent: np.ndarray, new: int) -> np.ndarray:
    """Unweighted totals: as they were for the old columns. The new ones' sums without weights are not known: the
    weighted totals, brought to the number of rows, stand in (they serve descriptive variances only)."""
    q = len(moments.columns)
    out = parent.sum(axis=2)
    out = out * (moments.n_obs / out[0, 0])
    old = [*range(q - 1), q - 1 + new]
    out[np.ix_(old, old)] = moments.unweighted
    return out
