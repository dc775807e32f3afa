"""Residual variance against fitted values."""

from __future__ import annotations

import numpy as np

from ..distributions import chi2_upper
from ..evidence import Evidence
from ..record import OK, Check, graded
from ..words import fixed, pval, why_ok

NAME = "constant_variance"
TITLE = "Residual variance does not change with the fitted value"
RULE = (
    "problem: p < 0.001 and the sd changes by half or more between the lowest and highest fifth; look: p < 0.01 and "
    "by a fifth or more"
)
SOURCE = "Koenker (1981), J. Econometrics 17 (studentised Breusch-Pagan test)"


def check(evidence: Evidence) -> Check:
    """Koenker's test of squared scaled residuals on the fitted value, and the sd in fifths of the fitted value."""
    rows = evidence.rows
    n = rows.n
    f, f2, s2, s4, s2f = (rows.total(k) / n for k in ("f", "f2", "s2", "s4", "s2f"))
    var_f, var_s2 = f2 - f**2, s4 - s2**2
    cov = s2f - s2 * f
    statistic = n * cov**2 / (var_f * var_s2) if var_f > 1e-12 * f2 and var_s2 > 0 else 0.0
    p = chi2_upper(statistic, 1)
    fifths = rows.fifths_by_fitted()
    sds = np.sqrt(fifths["s2"])
    ratio = float(sds[-1] / sds[0]) if len(sds) > 1 and sds[0] > 0 else 1.0
    change = max(ratio, 1 / ratio) if ratio > 0 else np.inf
    status = graded(p, change, 1.2, 1.5)
    if status == OK:
        meaning = (
            f"The change of the residuals' spread from low to high fitted values is {why_ok(p)} (sd ratio "
            f"{fixed(ratio)}, {pval(p)})."
        )
        action = "Nothing to do."
    else:
        here, there = ("high", "low") if ratio > 1 else ("low", "high")
        meaning = (
            f"Residuals at {here} fitted values spread {fixed(change)} times as much as at {there} ones ({pval(p)}): "
            "standard errors and intervals are too narrow where the spread is large."
        )
        another = "" if "(" in evidence.frame.outcome.name else " with the outcome's logarithm or square root,"
        action = f"Compare with cluster-robust standard errors,{another} or let the variance differ between strata."
    details = {
        "statistic": statistic,
        "df": 1,
        "p": p,
        "sd_ratio": ratio,
        "fitted": fifths["fitted"],
        "sd_scaled": sds,
        "n": fifths["n"],
    }
    return Check(
        NAME,
        TITLE,
        status,
        ratio,
        "sd of residuals, highest over lowest fifth of fitted values",
        f"1 if constant; Koenker's χ²(1) = {fixed(statistic)}, {pval(p)}",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )
