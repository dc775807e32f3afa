"""The rows that a model can use: one pass where all is well, a closer look where it is not."""

from __future__ import annotations

import numpy as np

from hierreport.errors import DataError

from .checks import Missing, find_missing, refuse_bad_values
from .plan import Plan
from .scan import Scan, scan


def scan_rows(plan: Plan, products: bool = False) -> tuple[Scan, Missing, bool]:
    """Aggregate the complete rows by group; refuse impossible values; count what is missing.

    Args:
        plan: what the formula needs of the rows.
        products: sums of products too; see ``scan``.

    Returns:
        The aggregates, what is missing, and whether all values of the outcome are whole numbers.

    Raises:
        FormulaError or DataError: impossible values, or no row left.
    """
    relation, y = plan.relation, plan.outcome
    numbers = [n.alias for n in relation.needed.values() if n.kind == "number"]
    others = [n.alias for n in relation.needed.values() if n.kind != "number"]
    others += ["tm"] if relation.axis is not None else []
    extra = {"whole": f"bool_and({y} = FLOOR({y}))"} if y else {}
    found, more = scan(relation, relation.rows(), numbers, others, extra, products)
    if found.rows == 0:
        raise DataError("There are no rows.", plan.source.description)
    missing = Missing(rows=found.rows)
    if not _all_fine(found, numbers, plan.weight):
        refuse_bad_values(plan)
        missing = find_missing(relation, plan.weight)
        if missing.dropped == missing.rows:
            counts = ", ".join(f"{c}: {k}" for c, k in missing.columns.items() if k)
            what = f"No row of {missing.rows} is complete; missing values by column: {counts}."
            if missing.zero_weights:
                what = f"No row of {missing.rows} is complete and of a weight above zero."
            raise DataError(what, plan.source.description, "Leave such columns out, or fill them in.")
        if missing.zero_weights:
            message = f"{missing.zero_weights} rows with weight 0 are left out: they carry no information."
            plan.warnings.append(("zero_weights", message))
            relation.extra_condition = f"{plan.weight} > 0"
        if missing.dropped:
            complete = f"SELECT * FROM ({relation.rows()}) WHERE {relation.complete()}"
            found, more = scan(relation, complete, numbers, others, extra, products)
    whole = bool(np.all(np.asarray(more["whole"], dtype=bool))) if y else False
    return found, missing, whole


def _all_fine(found: Scan, numbers: list[str], weight: str | None) -> bool:
    """Whether every row is complete and every value finite, so that no second look is needed."""
    if any((c != found.n).any() for c in found.counts.values()):
        return False
    if any(None in ids for ids in found.keys.values()):
        return False
    if not all(found.stats[alias].finite for alias in numbers):
        return False
    return weight is None or found.stats[weight].low > 0
