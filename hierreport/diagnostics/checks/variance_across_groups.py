"""Residual variance across groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import polygamma

from ...said import whole
from ..distributions import f_upper
from ..evidence import Evidence, group_labels
from ..record import OK, Check, graded, not_applicable
from ..words import fixed, listed, pval, share

NAME = "variance_across_groups"
TITLE = "Residual variance is the same in all groups"
RULE = (
    "problem: p < 0.001 and the groups' sds differ by 25 % or more (sd of their logarithms, sampling noise removed); "
    "look: p < 0.01 and by 15 % or more"
)
SOURCE = "Brown & Forsythe (1974), J. Am. Stat. Assoc. 69"
SMALLEST = 4


def check(evidence: Evidence) -> Check:
    """Brown-Forsythe test over innermost groups (over absolute residuals where rows are too many for exact medians)."""
    sums = evidence.rows.sums
    usable = sums["n"] >= SMALLEST
    if usable.sum() < 2:
        return not_applicable(
            NAME,
            TITLE,
            RULE,
            f"Fewer than two groups have {SMALLEST} rows or more: their variances cannot be compared.",
            SOURCE,
        )
    test = brown_forsythe(evidence, usable)
    n, s, s2 = (sums[k][usable] for k in ("n", "s", "s2"))
    variance = np.maximum(s2 - s**2 / n, 1e-300) / (n - 1)
    logs = np.log(variance)
    noise = polygamma(1, (n - 1) / 2.0)
    weight = 1.0 / noise
    centre = np.sum(weight * logs) / weight.sum()
    between = np.sum(weight * ((logs - centre) ** 2 - noise)) / weight.sum()
    spread = 0.5 * float(np.sqrt(max(between, 0.0)))
    status = graded(test["p"], spread, 0.15, 0.25)
    labels = np.array(group_labels(evidence.moments, evidence.moments.levels[-1]), dtype=object)[usable]
    order = np.argsort(-np.abs(logs - centre) / np.sqrt(noise), kind="stable")[:10]
    unusual = [
        {"label": labels[g], "n": int(n[g]), "sd_relative": float(np.exp(0.5 * (logs[g] - centre)))} for g in order
    ]
    if status == OK:
        meaning = (
            f"The groups' residual spreads differ no more than chance or too little to matter ({share(spread, 0)}, "
            f"{pval(test['p'])})."
        )
        action = "Nothing to do."
    else:
        names = listed([f"{u['label']} (×{fixed(u['sd_relative'], 1)})" for u in unusual[:3]])
        meaning = (
            f"The residual spread differs between groups by about {share(spread, 0)} ({pval(test['p'])}; furthest from "
            f"the rest: {names}): noisy groups count too much, calm ones too little."
        )
        action = (
            "Compare the coefficients with a fit that lets the variance differ between strata, and with "
            "cluster-robust errors."
        )
    details = {**test, "sd_of_log_sd": spread, "groups_used": int(usable.sum()), "most_unusual": unusual}
    return Check(
        NAME,
        TITLE,
        status,
        spread,
        "spread of the groups' residual sds",
        f"0 if equal; {test['method']} F({whole(test['df1'])}, {whole(test['df2'])}) = {fixed(test['F'])}, "
        f"{pval(test['p'])}",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )


def brown_forsythe(evidence: Evidence, usable: np.ndarray, column: str = "scaled") -> dict[str, Any]:
    """F test of mean absolute deviations from the group medians (from zero for very many rows)."""
    medians = evidence.rows.brown_forsythe(column)
    if medians is not None:
        n, d, d2 = (medians[k][usable] for k in ("n", "d", "d2"))
        method = "Brown-Forsythe"
    else:
        sums = evidence.rows.sums
        n, d, d2 = sums["n"][usable], sums["s_abs"][usable], sums["s2"][usable]
        method = "Levene"
    total, groups = n.sum(), len(n)
    mean = d.sum() / total
    between = np.sum(d**2 / n) - total * mean**2
    within = np.sum(d2) - np.sum(d**2 / n)
    df1, df2 = int(groups - 1), int(total - groups)
    f = (between / df1) / (within / df2) if within > 0 else 0.0
    return {"method": method, "F": float(f), "df1": df1, "df2": df2, "p": f_upper(f, df1, df2)}
