"""Collinearity: variance inflation of the fixed effects, condition numbers of the fixed part and of each level."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..evidence import INTERCEPT, Evidence
from ..record import LOOK, OK, PROBLEM, Check, not_applicable
from ..words import fixed, listed, num

NAME = "collinearity"
TITLE = "Predictors can be told apart"
RULE = (
    "problem: a (generalised) variance inflation above 100 or a scaled condition number above 100; look: inflation "
    "above 10 or condition number above 30"
)
SOURCE = "Belsley, Kuh & Welsch (1980), Regression Diagnostics; Fox & Monette (1992), J. Am. Stat. Assoc. 87 (factors)"


def check(evidence: Evidence) -> Check:
    """Inflation from the correlations of the estimates (what the model makes of them) and from those of the columns."""
    terms = [t for t in evidence.coefficients if t != INTERCEPT]
    if not terms:
        return not_applicable(NAME, TITLE, RULE, "The model has no predictors.", SOURCE)
    names = [f["term"] for f in evidence.estimate["fixed"]]
    keep = [names.index(t) for t in terms]
    cov = np.asarray(evidence.estimate["fixed_cov"], float)[np.ix_(keep, keep)]
    factors = {c.name: c.factor for c in evidence.frame.columns}
    model = inflation(np.linalg.pinv(correlation(cov), hermitian=True), terms, factors)
    columns, total = column_moments(evidence, terms)
    data = inflation(correlation(total), terms, factors)
    rows = [{**m, "gvif_data": d["gvif"], "vif_data": d["vif"]} for m, d in zip(model, data, strict=True)]
    fixed_condition = condition(columns)
    levels = level_conditions(evidence)
    worst_row = max(rows, key=lambda r: r["vif"])
    worst_condition = max([fixed_condition, *[v["condition"] for v in levels]])
    vif = worst_row["vif"]
    status = PROBLEM if vif > 100 or worst_condition > 100 else LOOK if vif > 10 or worst_condition > 30 else OK
    high = [r["term"] for r in rows if r["vif"] > 10]
    if status == OK:
        meaning = (
            f"No predictor is nearly a combination of the others (largest inflation {fixed(vif, 1)}, "
            f"{worst_row['term']})."
        )
        action = "Nothing to do."
    elif high:
        meaning = (
            f"Nearly a combination of other predictors: {listed(high)} (inflation up to {num(vif)}); the standard "
            f"errors are up to {num(np.sqrt(vif))} times what they would be if the predictors were unrelated."
        )
        action = "Do not read these coefficients one by one; combine or drop predictors if the question allows."
    else:
        part = "random" if levels and worst_condition > fixed_condition else "fixed"
        meaning = f"The columns of the {part} part are close to dependent (condition number {num(worst_condition)})."
        action = "Centre or rescale slope variables, or drop one of those that move together."
    return Check(
        NAME,
        TITLE,
        status,
        vif,
        f"largest variance inflation ({worst_row['term']})",
        f"1 if unrelated; condition number {num(fixed_condition)}",
        RULE,
        meaning,
        action,
        {"terms": rows, "condition": fixed_condition, "levels": levels},
        SOURCE,
    )


def correlation(cov: np.ndarray) -> np.ndarray:
    """Correlation matrix."""
    sd = np.sqrt(np.maximum(np.diag(cov), 1e-300))
    return cov / np.outer(sd, sd)


def inflation(corr: np.ndarray, terms: list[str], factors: dict[str, str | None]) -> list[dict[str, Any]]:
    """Variance inflation per term from the columns' correlations; all dummies of a factor are one term.

    ``gvif`` is det(R₁₁)·det(R₂₂)/det(R); ``vif`` is gvif^(1/df), comparable between terms.
    """
    groups: dict[str, list[int]] = {}
    for i, term in enumerate(terms):
        groups.setdefault(factors.get(term) or term, []).append(i)
    _, whole = np.linalg.slogdet(corr + 1e-14 * np.eye(len(corr)))
    out = []
    for name, members in groups.items():
        others = [i for i in range(len(terms)) if i not in members]
        inner = np.linalg.slogdet(corr[np.ix_(members, members)])[1]
        outer = np.linalg.slogdet(corr[np.ix_(others, others)])[1] if others else 0.0
        log = max(inner + outer - whole, 0.0)
        gvif, vif = (float(np.exp(min(x, 600.0))) for x in (log, log / len(members)))
        out.append({"term": name, "df": len(members), "gvif": gvif, "vif": vif})
    return out


def column_moments(evidence: Evidence, terms: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """X'X of the fixed columns about the predictors' means (intercept first), and their covariance."""
    moments = evidence.moments
    full = moments.products.shape[0] == moments.products.shape[1]
    total = (moments.products if full else moments.parent_products).sum(axis=2)
    place = {name: j for j, name in enumerate(moments.columns)}
    index = [place[t] for t in terms]
    mean = total[0] / total[0, 0]
    cov = (total / total[0, 0] - np.outer(mean, mean))[np.ix_(index, index)]
    return cov, cov


def condition(cov: np.ndarray) -> float:
    """Largest over smallest singular value of the columns, each centred and scaled to length one."""
    values = np.linalg.eigvalsh(correlation(cov))
    return float(np.sqrt(values[-1] / max(values[0], 1e-300)))


def level_conditions(evidence: Evidence) -> list[dict[str, Any]]:
    """Condition number of each level's random columns (slopes about their means)."""
    out = []
    for level in evidence.random:
        slopes = [t for t in level["terms"] if t != INTERCEPT]
        if len(slopes) > 1:
            cov, _ = column_moments(evidence, slopes)
            out.append({"level": level["level"], "condition": condition(cov)})
    return out
