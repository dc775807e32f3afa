"""What panel.json says of a model frame: rows, structure, gaps, variables, warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import DataError
from hierreport.frame import Column, Frame

from .checks import outcome_warnings
from .kinds import kind_of
from .plan import first_duplicates
from .scan import Scan, Stats, scan
from .structure import all_starts, check_sizes, group_sizes, reorder, variance_shares

if TYPE_CHECKING:
    from .checks import Missing
    from .design import Variable
    from .plan import Plan
    from .table import Design, Table
    from .timefacts import TimeFacts

TINY, HUGE = 1e-140, 1e140  # beyond, squares and their sums under- or overflow
LISTED = 200  # entries of a list of groups; the totals beside it are complete


@dataclass(frozen=True)
class Findings:
    """Everything that was found out about a panel on the way to its frame."""

    plan: Plan
    table: Table
    used: Scan
    missing: Missing
    facts: TimeFacts | None
    variables: dict[str, Variable]
    design: Design
    whole_outcome: bool


def describe(frame: Frame, found: Findings) -> Frame:
    """Fill a frame's means, standard deviations and info; refuse what no model can be fitted to.

    Raises:
        DataError: a constant outcome, values too small or too large to be squared, a level of one group, or of
            groups of size 1 only.
    """
    plan, table, used, missing = found.plan, found.table, found.used, found.missing
    source, axis, tree = plan.source, plan.relation.axis, table.tree
    stats = variable_stats(frame, found)
    shown = {name: s.total() for name, s in stats.items()}
    _check_magnitudes(plan, shown)
    _check_outcome(frame, found, stats)
    first = all_starts(used, tree.columns)
    structure = {level: group_sizes(used.n, start) for level, start in zip(tree.levels, first, strict=True)}
    random_terms = {spec.level: list(spec.terms) for spec in frame.random}
    plan.warnings += check_sizes(plan.formula, structure, random_terms)
    plan.warnings += _constant_slopes(frame, stats, first)
    means, sds = _column_moments(frame, found, shown)
    constant = [name for name, (_, _, low, high) in shown.items() if low == high and name != frame.outcome.name]
    if constant:
        plan.warnings += [("constant", f"{name} has one value in the rows used.") for name in constant]
    info: dict[str, Any] = {
        "source": {
            "files": list(source.files),
            "description": source.description,
            "rows_read": missing.rows,
            "query": source.query,
            "columns": {name: kind_of(kind) for name, kind in source.columns.items()},
        },
        "formula": plan.formula.text,
        "where": plan.formula.where,
        "outcome": _column(frame.outcome),
        "columns": [_column(c) for c in frame.columns],
        "terms": found.design.terms,
        "fixed": list(frame.fixed),
        "random": [{"level": s.level, "blocks": [list(b) for b in s.blocks]} for s in frame.random],
        "groups": list(frame.groups),
        "levels": list(frame.levels),
        "time": None if axis is None else axis.name,
        "time_column": frame.time,
        "time_label": frame.time_label,
        "time_axis": None if axis is None else {"name": axis.name, "unit": axis.unit, "step": axis.step},
        "weights": frame.weights,
        "n_obs": used.rows,
        "rows_read": missing.rows,
        "rows_dropped": missing.dropped,
        "missing": missing.columns or dict.fromkeys(dict.fromkeys(plan.relation.origin.values()), 0),
        "dropped_by_group": [{"group": g, "rows": n} for g, n in missing.by_group[:LISTED]],
        "groups_with_dropped_rows": len(missing.by_group),
        "dropped_values": missing.values,
        "groups_lost": missing.lost[:LISTED],
        "groups_lost_count": len(missing.lost),
        "structure": structure,
        "periods": _periods(found),
        "duplicates": {"count": 0, "examples": []},
        "variables": [
            {"name": name, "mean": mean, "sd": sd, "min": low, "max": high}
            | variance_shares(stats[name], tree.levels, first)
            for name, (mean, sd, low, high) in shown.items()
        ],
        "factors": [
            {
                "name": v.name,
                "column": v.factor,
                "reference": v.reference,
                "levels": [{"level": level, "rows": table.level_counts[v.factor][level]} for level in v.levels],
                **table.factor_shares[v.factor],
            }
            for v in found.variables.values()
            if v.factor is not None
        ],
        "aliased": [],
        "constant": constant,
        "means": means,
        "sds": sds,
    }
    facts = found.facts
    if facts is not None and facts.duplicates:
        examples = first_duplicates(plan.relation, table.sample.rows())
        info["duplicates"] = {"count": facts.duplicates, "examples": examples}
        example = examples[0]
        message = (
            f"{facts.duplicates} rows repeat a (group, time) key: {example['group']} has {example['rows']} rows at"
            f" {example['time']}. AR(1) errors and lags are not possible."
        )
        plan.warnings.append(("duplicate_keys", message))
    info["warnings"] = [{"code": code, "message": message} for code, message in plan.warnings]
    info["notes"] = list(dict.fromkeys(plan.notes))
    return replace(frame, means=means, sds=sds, info=info)


def variable_stats(frame: Frame, findings: Findings) -> dict[str, Stats]:
    """Statistics by group of the outcome and every numeric variable, by name."""
    table, used, relation = findings.table, findings.used, findings.plan.relation
    names = [(frame.outcome.name, table.outcome_column)]
    names += [pair for v in findings.variables.values() for pair in v.columns]
    found: dict[str, Stats] = {}
    late = {}
    for name, column in dict(names).items():
        alias = table.columns[column]
        if alias in used.stats:
            found[name] = used.stats[alias]
        else:
            late[name] = alias
    if late:  # variables that needed sample statistics are known only now
        more, _ = scan(relation, table.sample.rows(), list(late.values()), [])
        more = reorder(more, table.tree.columns)
        for name, alias in late.items():
            found[name] = more.stats[alias]
            mean, _, low, high = found[name].total()
            if not (math.isfinite(mean) and math.isfinite(low) and math.isfinite(high)):
                raise DataError(f"{name} is not a finite number in some rows.", findings.plan.formula.where)
    return {name: found[name] for name, _ in names}


def _constant_slopes(frame: Frame, stats: dict[str, Stats], first: list[np.ndarray]) -> list[tuple[str, str]]:
    """Warn of random slopes of variables that do not vary within the groups of their level."""
    warnings = []
    for spec in frame.random:
        start = first[frame.levels.index(spec.level)]
        for name in dict.fromkeys(t for t in spec.terms if t in stats):
            s = stats[name]
            size = np.diff(np.append(start, len(s.mean)))
            mean = np.repeat(np.add.reduceat(s.mean, start) / size, size)
            if not s.var.any() and np.allclose(s.mean, mean, rtol=1e-12, atol=0.0):
                message = (
                    f"{name} does not vary within the groups of {spec.level}: its slopes by {spec.level} cannot be told"
                )
                warnings.append(("constant_slope", message + " apart from the intercepts."))
    return warnings


def _check_magnitudes(plan: Plan, shown: dict[str, tuple[float, float, float, float]]) -> None:
    for name, (_, _, low, high) in shown.items():
        largest = max(abs(low), abs(high))
        if largest and not TINY < largest < HUGE:
            size = "small" if largest <= TINY else "large"
            what = f"The values of {name} are too {size} to be squared (from {low:g} to {high:g})."
            raise DataError(what, plan.formula.where, "Change its unit.")


def _check_outcome(frame: Frame, found: Findings, stats: dict[str, Stats]) -> None:
    plan = found.plan
    name = frame.outcome.name
    mean, sd, low, high = stats[name].total()
    n = int(stats[name].count.sum())
    if low == high:
        what = f"The outcome {name} is constant: {low:g} in all {n} rows used."
        raise DataError(what, plan.formula.where, "There is nothing to explain.")
    other = True
    if abs((mean - low) * (high - mean) - sd * sd * (n - 1) / n) <= 1e-9 * (high - low) ** 2:
        y = frame.outcome.sql
        rows = plan.relation.query(
            f"SELECT count(*) FROM {frame.table} WHERE {y} NOT IN ({low!r}::DOUBLE, {high!r}::DOUBLE)"
        )
        other = rows[0][0] > 0
    plan.warnings += outcome_warnings(name, stats[name], found.whole_outcome, other)


def _column_moments(
    frame: Frame, found: Findings, shown: dict[str, tuple[float, float, float, float]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of every column and the outcome; only products need another pass."""
    means, sds = {}, {}
    rest = []
    for column in (*frame.columns, frame.outcome):
        if column.name in shown:
            means[column.name], sds[column.name] = shown[column.name][:2]
        elif column.factor is not None:
            counts = found.table.level_counts[column.factor]
            n = sum(counts.values())
            share = counts[str(column.level)] / n
            means[column.name] = share
            sds[column.name] = math.sqrt(share * (1 - share) * n / max(n - 1, 1))
        else:
            rest.append(column)
    for start in range(0, len(rest), 200):
        part = rest[start : start + 200]
        items = ", ".join(f"avg({c.sql}), stddev_samp({c.sql})" for c in part)
        row = found.plan.relation.query(f"SELECT {items} FROM {frame.table}")[0]
        for k, column in enumerate(part):
            means[column.name], sds[column.name] = row[2 * k], row[2 * k + 1] or 0.0
    return means, sds


def _periods(found: Findings) -> dict[str, Any] | None:
    facts, relation = found.facts, found.plan.relation
    if facts is None:
        return None
    rows = found.table.sample.rows()
    first, last = (int(t) if t == int(t) else t for t in (facts.first, facts.last))
    if relation.axis is not None and relation.axis.unit != "number":
        first, last = relation.query(f"SELECT arg_min(tl, tm), arg_max(tl, tm) FROM ({rows})")[0]
    return {
        "first": first,
        "last": last,
        "count": facts.periods,
        "gaps": {"groups_with_gaps": facts.groups_with_gaps, "missing_periods": facts.missing_periods},
    }


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name, "sql": column.sql, "factor": column.factor, "level": column.level}
