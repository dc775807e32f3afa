"""Looks closely at rows that are not simply complete: impossible values are refused, missing ones counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import DataError
from hierreport.formula import text

from .dropped import dropped_values
from .relation import Relation
from .scan import Stats

if TYPE_CHECKING:
    from .plan import Plan
    from .sample import Sample


@dataclass
class Missing:
    """Rows that the model cannot use.

    Attributes:
        rows: rows read; dropped: rows left out.
        columns: missing values by column, and by lag.
        by_group: rows left out by innermost group, largest first.
        lost: groups without a row left.
        zero_weights: rows left out for a weight of zero.
        values: how rows with a missing value differ from the others (``dropped``).
    """

    rows: int
    dropped: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    by_group: list[tuple[str, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    zero_weights: int = 0
    values: list[dict[str, Any]] = field(default_factory=list)


def refuse_bad_values(plan: Plan) -> None:
    """Refuse logarithms of non-positive values, infinities and negative weights, in rows that are otherwise complete.

    Raises:
        FormulaError or DataError: with the number of such rows and the first one.
    """
    relation, weight, weight_name, weight_where = plan.relation, plan.weight, plan.weight_name, plan.where("weights")
    present, rows = relation.present(), relation.rows()
    tests: list[tuple[str, str, Any]] = [
        (f"({g.bad}) AND {present}", g.value, ("guard", g)) for g in _once(relation.guards)
    ]
    for alias, name in relation.origin.items():
        if alias.startswith("n"):
            tests.append((f"ISINF({alias}) AND {present}", alias, ("column", name)))
    for needed in relation.needed.values():
        if needed.kind == "number":
            bad = f"(ISNAN({needed.alias}) OR ISINF({needed.alias})) AND {present}"
            tests.append((bad, needed.alias, ("value", needed)))
    if weight is not None:
        tests.append((f"{weight} < 0 AND {present}", weight, ("weight", None)))
    if not tests:
        return
    counts = relation.query(f"SELECT {', '.join(f'count(*) FILTER ({t[0]})' for t in tests)} FROM ({rows})")[0]
    for (bad, value, (kind, what)), count in zip(tests, counts, strict=True):
        if not count:
            continue
        row, shown = relation.query(
            f"SELECT min(__row), arg_min({value}, __row) FROM ({relation.rows(numbered=True)}) WHERE {bad}"
        )[0]
        many = f"{count} row{'s' if count != 1 else ''}"
        first = f"the first is row {row} ({shown!r})"
        if kind == "guard":
            sentence = f"{text(what.node)} is undefined for {many} where {what.what}; {first}."
            raise relation.formula.fault(what.node, sentence, what.do)
        if kind == "column":
            sentence = f"The column {what} is infinite in {many}; {first}."
            raise DataError(sentence, relation.formula.where, "Leave such values empty if they are missing.")
        if kind == "value":
            sentence = f"{what.label} is not a finite number in {many}; {first}."
            if what.node is None:
                raise DataError(sentence, weight_where, "Weights are positive numbers.")
            raise relation.formula.fault(what.node, sentence, "Leave such rows out, or transform the variable.")
        sentence = f"The weight {weight_name} is negative in {many}; {first}."
        raise DataError(sentence, weight_where, "Weights are positive numbers.")


def _once(guards: list[Any]) -> list[Any]:
    return list({g.bad: g for g in guards}.values())


def find_missing(relation: Relation, weight: str | None) -> Missing:
    """Count what is missing: by column, and by group."""
    present, complete = relation.present(), relation.complete()
    fine = complete + (f" AND {weight} > 0" if weight else "")
    columns: dict[str, str] = {}
    for alias, name in relation.origin.items():
        columns.setdefault(name, f"count(*) - count({alias})")
    if relation.axis is not None:
        columns.setdefault(relation.axis.name, "count(*) - count(tm)")
    for needed in relation.needed.values():
        if needed.lagged:
            columns[needed.label] = f"count(*) FILTER ({needed.alias} IS NULL AND {present})"
    items = [*columns.values(), f"count(*) FILTER ({fine})", "count(*)"]
    items.append(f"count(*) FILTER ({complete} AND {weight} = 0)" if weight else "0")
    *counts, used, rows, zero = relation.query(f"SELECT {', '.join(items)} FROM ({relation.rows()})")[0]
    by_column = dict(zip(columns, map(int, counts), strict=True))
    out = Missing(int(rows), int(rows - used), by_column, zero_weights=int(zero))
    if out.dropped:
        out.values = dropped_values(relation, fine)
    if out.dropped and relation.group_alias:
        keys = ", ".join(relation.group_alias.values())
        found = relation.query(
            f"SELECT {keys}, count(*) - count(*) FILTER ({fine}) AS lost, count(*) AS n FROM ({relation.rows()})"
            f" GROUP BY {keys} HAVING lost > 0 ORDER BY lost DESC, {keys}"
        )
        out.by_group = [("/".join("(missing)" if k is None else str(k) for k in r[:-2]), int(r[-2])) for r in found]
        whole = [r for r in found if r[-2] == r[-1] and None not in r[:-2]]
        out.lost = sorted("/".join(map(str, r[:-2])) for r in whole)
    return out


def refuse_bad_sample(sample: Sample) -> None:
    """Refuse undefined values of expressions with sample statistics: log(mean(x)) where a mean is not positive."""
    relation = sample.relation
    for guard in _once(sample.arithmetic.guards):
        rows = sample.rows(numbered=True)
        count, row, shown = relation.query(
            f"SELECT count(*), min(__row), arg_min({guard.value}, __row) FROM ({rows}) WHERE {guard.bad}"
        )[0]
        if count:
            first = f"the first is row {row} ({shown!r})"
            sentence = f"{text(guard.node)} is undefined for {count} rows where {guard.what}; {first}."
            raise relation.formula.fault(guard.node, sentence, guard.do)


def outcome_warnings(name: str, stats: Stats, whole: bool, other_values: bool) -> list[tuple[str, str]]:
    """Warn of a binary or a count outcome: the model is Gaussian.

    Args:
        name: the outcome.
        stats: its statistics.
        whole: whether all values are whole numbers.
        other_values: whether there are values besides the least and the largest.
    """
    mean, _, low, high = stats.total()
    if not other_values:
        message = (
            f"The outcome {name} has two values only ({low:g} and {high:g}): this is a Gaussian model, a linear"
            " probability model at best; a logistic mixed model is made for such data."
        )
        return [("binary_outcome", message)]
    if whole and low >= 0 and (mean < 20 or low == 0) and np.isfinite(high):
        message = (
            f"The outcome {name} looks like a count (whole numbers from {low:g} to {high:g}): this is a Gaussian model;"
            " log1p() of it, or a Poisson mixed model, may suit better."
        )
        return [("count_outcome", message)]
    return []
