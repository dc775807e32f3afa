"""Outlying rows: the largest scaled residuals against what that many rows would show."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...said import whole
from ..distributions import t_two_sided
from ..evidence import Evidence, group_labels
from ..record import LOOK, OK, P_LOOK, P_PROBLEM, PROBLEM, Check
from ..words import fixed, listed, plural, pval

NAME = "outlying_rows"
TITLE = "No row is far from what the model expects"
RULE = "problem: the largest residual has p < 0.001 among that many rows (Bonferroni); look: p < 0.01"
SOURCE = "Cook & Weisberg (1982), Residuals and Influence in Regression, section 2.2 (outlier test)"
SHOWN = 10


def check(evidence: Evidence) -> Check:
    """Externally studentised residuals, each over its own sd under the model."""
    rows = evidence.rows
    table = rows.largest(50)
    labels = group_labels(evidence.moments, evidence.moments.levels[-1])
    df = max(rows.total("kept"), 3.0)
    s = table["scaled"]
    with np.errstate(invalid="ignore", divide="ignore"):
        t = s * np.sqrt((df - 1) / np.maximum(df - s**2, 1e-9 * df))
    p = np.array([min(1.0, rows.n * t_two_sided(float(x), df - 1)) for x in t])
    status = PROBLEM if p[0] < P_PROBLEM else LOOK if p[0] < P_LOOK else OK
    flagged = int(np.sum(p < P_LOOK))
    listed_rows: list[dict[str, Any]] = [
        {
            "row": int(table["row"][i]),
            "group": labels[int(table["gid"][i])],
            "fitted": float(table["fitted"][i]),
            "residual": float(table["residual"][i]),
            "scaled": float(s[i]),
            "p": float(p[i]),
            **({"time": float(table["t"][i])} if rows.ordered else {}),
        }
        for i in range(min(max(SHOWN, flagged), len(s)))
    ]
    first = listed_rows[0]
    if status == OK:
        meaning = (
            f"The largest of {whole(rows.n)} residuals, {fixed(first['scaled'], 1)} sd in row {whole(first['row'])} "
            f"({first['group']}), is what so many rows bring."
        )
        action = "Nothing to do."
    else:
        names = listed(
            [
                f"row {whole(r['row'])} ({r['group']}, {fixed(r['scaled'], 1)} sd)"
                for r in listed_rows[: min(flagged, 6)]
            ]
        )
        more = "At least " if flagged == len(s) else ""
        meaning = f"{more}{plural(flagged, 'row')} cannot be explained by normal errors: {names}."
        action = (
            "Check these rows against their source; if they are right, see whether the coefficients hold without them."
        )
    return Check(
        NAME,
        TITLE,
        status,
        first["scaled"],
        "largest scaled residual (sd)",
        f"largest of {whole(rows.n)} normal residuals, {pval(float(p[0]))}",
        RULE,
        meaning,
        action,
        {"flagged": flagged, "rows": listed_rows, "df": df},
        SOURCE,
    )
