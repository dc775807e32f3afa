"""Whether the rows that miss a value differ, in the values that they have, from the rows used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .relation import Relation

MOST = 20  # expressions compared, the outcome first


def dropped_values(relation: Relation, fine: str) -> list[dict[str, Any]]:
    """Means of rows with a missing value against those of rows used, per numeric expression of the formula.

    Args:
        relation: the rows.
        fine: SQL that is true of the rows used.

    Returns:
        ``column``, ``rows`` (incomplete ones that have it), ``groups`` with such rows, ``difference`` of the means in
        standard deviations of the rows used, and its cluster-robust ``se``; nothing of columns that fewer than two
        groups (or rows, where there are no groups) can tell about.
    """
    columns = [n for n in relation.needed.values() if n.kind == "number" and n.node is not None and not n.lagged][:MOST]
    if not columns:
        return []
    keys = ", ".join(relation.group_alias.values())
    lost = f"NOT ({relation.present()})"
    sides = [
        (f"{lost} AND isfinite({n.alias})", f"({fine}) AND isfinite({n.alias})", f"CAST({n.alias} AS DOUBLE)")
        for n in columns
    ]
    totals = [
        f"count(*) FILTER ({gone}), avg({v}) FILTER ({gone}), count(*) FILTER ({kept}), avg({v}) FILTER ({kept}), "
        f"stddev_samp({v}) FILTER ({kept})"
        for gone, kept, v in sides
    ]
    flat = relation.query(f"SELECT {', '.join(totals)} FROM ({relation.rows()})")[0]
    found = np.array([[np.nan if x is None else float(x) for x in flat]]).reshape(len(columns), 5)
    usable = [j for j, (n, _, m, _, sd) in enumerate(found) if n >= 2 and m >= 2 and np.isfinite(sd) and sd > 0]
    if not usable:
        return []
    # A group's (without groups: a row's) share in the difference of the means; their squares add to its variance.
    inner, outer = [], []
    for j in usable:
        gone, kept, v = sides[j]
        n, mean, m, other, sd = (repr(float(x)) for x in found[j])
        inner.append(
            f"coalesce(sum(({v} - {mean}) / {sd}) FILTER ({gone}), 0.0) / {n} - "
            f"coalesce(sum(({v} - {other}) / {sd}) FILTER ({kept}), 0.0) / {m} AS d{j}, "
            f"count(*) FILTER ({gone}) > 0 AS g{j}"
        )
        outer.append(f"sum(d{j} * d{j}), count(*) FILTER (g{j}), count(*)")
    by = f" GROUP BY {keys}" if keys else " GROUP BY __row"
    rows = relation.rows(numbered=not keys)
    spread = relation.query(f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} FROM ({rows}){by})")[0]
    out = []
    for i, j in enumerate(usable):
        square, holding, clusters = (float(x) for x in spread[3 * i : 3 * i + 3])
        if holding < 2 or clusters < 3:
            continue
        n, mean, _, other, sd = found[j]
        out.append(
            {
                "column": columns[j].label,
                "rows": int(n),
                "groups": int(holding),
                "difference": float((mean - other) / sd),
                "se": float(np.sqrt(square * clusters / (clusters - 1.0))),
            }
        )
    return out
