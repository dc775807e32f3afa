"""Group moments from the pass that checks the rows, where the model's columns are plain variables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hierreport.moments import Moments
from hierreport.reduce import SQL_COLUMNS, sum_parents, text_array
from hierreport.reduce_plan import INTERCEPT

from .relation import uses_sample

if TYPE_CHECKING:
    from hierreport.frame import Frame

    from .plan import Plan
    from .scan import Scan
    from .table import Table

# The pass shifts by a value seen in the first rows. Further than this many standard deviations from the mean, sums of
# squares would lose digits, and the moments are made in a pass of their own.
FAR = 8.0


def products_suffice(plan: Plan) -> bool:
    """Whether sums of products of the formula's variables are all that its moments hold."""
    formula = plan.formula
    numbers = [n for n in plan.relation.needed.values() if n.kind == "number"]
    terms = [*formula.terms, *(t for random in formula.random for t in random.terms)]
    return (
        not plan.factors
        and plan.weight is None
        and plan.outcome is not None
        and len(numbers) < SQL_COLUMNS
        and all(len(term.factors) <= 1 for term in terms)
        and not any(uses_sample(v) for v in formula.variables)
    )


def scanned_moments(frame: Frame, table: Table, used: Scan) -> Moments | None:
    """The frame's moments from the sums of a pass over its rows.

    Args:
        frame: the described frame.
        table: where its columns come from.
        used: the pass, sorted as the frame's groups are.

    Returns:
        None where a column is no plain variable, or a shift was too far off.
    """
    columns = [*frame.columns, frame.outcome]
    aliases = [table.columns.get(c.name, "") for c in columns]
    if any(a not in used.shifts for a in aliases) or INTERCEPT not in frame.fixed:
        return None
    q = len(columns) + 1
    shift, scale = np.zeros(q), np.ones(q)
    for k, (column, alias) in enumerate(zip(columns, aliases, strict=True), start=1):
        mean, sd = frame.means[column.name], frame.sds[column.name]
        shift[k] = used.shifts[alias]
        if not (abs(mean - shift[k]) <= FAR * sd and sd > 1e-13 * abs(mean)):  # constant columns too
            return None
        scale[k] = 2.0 ** round(math.log2(sd))  # a power of two rounds nothing
    products = np.empty((q, q, len(used.n)))
    names = ["", *aliases]
    for i in range(q):
        for j in range(i, q):
            pair = (names[i], names[j])
            found = used.n if j == 0 else used.products.get(pair, used.products.get(pair[::-1]))
            assert found is not None
            products[i, j] = products[j, i] = np.asarray(found, dtype=float) / (scale[i] * scale[j])
    if not np.isfinite(products).all():
        return None
    labels = tuple(text_array(used.keys[name]) for name in table.tree.columns)
    n = np.asarray(used.n, dtype=np.int64)
    return Moments(
        (INTERCEPT, *(c.name for c in columns)),
        shift,
        scale,
        tuple(frame.levels),
        labels,
        n,
        products,
        np.arange(q),
        sum_parents(products, labels),
    )
