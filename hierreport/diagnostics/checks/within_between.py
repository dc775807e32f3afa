"""Random effects uncorrelated with the predictors: do groups differ by more than their rows do?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...said import whole
from ..distributions import any_of, f_upper
from ..evidence import Evidence
from ..gls import Added, add_group_columns, full_products
from ..posterior import average_variance
from ..record import OK, Check, graded, not_applicable, worst
from ..words import NO_PRODUCTS, NOTHING, fixed, num, pval, why_ok

NAME = "within_between"
TITLE = "Random effects are unrelated to the predictors"
RULE = (
    "problem: the group means of the predictors, added to the model, have p < 0.001 and move a coefficient by one "
    "standard error or more; look: p < 0.01 and half a standard error"
)
SOURCE = "Mundlak (1978), Econometrica 46; Bell & Jones (2015), Polit. Sci. Res. Methods 3"
LEAST_SHARE = 1e-4  # of a predictor's variance must lie within, and between, groups


def check(evidence: Evidence) -> Check:
    """Mundlak's test at every level: group means added to the model, Wald F at the estimated covariance."""
    products = full_products(evidence)
    found = []
    if products is not None:
        for level in evidence.levels:
            result = at_level(evidence, products, level)
            if result is not None:
                found.append(result)
    if products is None:
        return not_applicable(NAME, TITLE, RULE, NO_PRODUCTS, SOURCE)
    if not found:
        why = (
            "The model has no random effects."
            if not evidence.random
            else "No numeric predictor varies both within and between groups, or there are too few groups to tell."
        )
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    for result in found:
        result["p_adjusted"] = any_of(result["p"], len(found))
        result["status"] = graded(result["p_adjusted"], result["shift"], 0.5, 1.0)
    status = worst([r["status"] for r in found])
    top = min((r for r in found if r["status"] == status), key=lambda r: (r["p"], -r["shift"]))
    moved = max(top["coefficients"], key=lambda c: abs(c["shift"]))
    change = f"{moved['term']} goes from {num(moved['model'])} to {num(moved['within'])}"
    change += f", {fixed(top['shift'], 1)} standard errors"
    one = top["level"].split("/")[-1]
    if status == OK:
        meaning = (
            f"That the predictors act differently within a {one} than between them is {why_ok(top['p_adjusted'])} "
            f"({pval(top['p_adjusted'])}; with the means by {one} in the model {change})."
        )
        action = NOTHING
    else:
        meaning = (
            f"The predictors act differently within a {one} than between them ({pval(top['p_adjusted'])}), and the "
            f"coefficients mix the two: with the means by {one} in the model {change}."
        )
        strong = [t["term"] for t in top["terms"] if abs(t["statistic"]) > 2] or [t["term"] for t in top["terms"]]
        action = f"Add the group means (a within-between model): {means_formula(top, strong)}."
    return Check(
        NAME,
        TITLE,
        status,
        top["shift"],
        "largest change of a coefficient (standard errors)",
        f"0 if unrelated; {top['level']}: F({whole(top['df1'])}, {whole(top['df2'])}) = {fixed(top['F'])}, "
        f"{pval(top['p'])}",
        RULE,
        meaning,
        action,
        {"levels": found},
        SOURCE,
    )


def means_formula(result: dict[str, Any], terms: list[str]) -> str:
    """The terms to add, in the formula's notation."""
    by = result["level"].split("/")[-1]
    return " + ".join(f"mean({t}, by={by})" for t in terms[:4])


def at_level(evidence: Evidence, products: np.ndarray, level: str) -> dict[str, Any] | None:
    """The test at one level; None where no predictor qualifies or groups are too few."""
    moments = evidence.moments
    starts = moments.starts(moments.levels.index(level))
    groups = len(starts)
    candidates, means = predictor_means(evidence, starts)
    # Groups limit how many means can be told apart; keep the formula's first ones.
    candidates = candidates[: max(0, (groups - 4) // 2)]
    if not candidates:
        return None
    means = means[: len(candidates)]
    names = [evidence.moments.columns[j] for j in candidates]
    result = add_group_columns(evidence, products, means, names, starts)
    if not result.names:
        return None
    k = len(result.names)
    df2 = groups - k - 1
    entered = means[[names.index(n) for n in result.names]]
    n = np.add.reduceat(moments.n, starts)
    # Weighted by rows, like the variance that it is compared with, less what estimation noise alone would explain.
    centred = entered - np.average(entered, axis=1, weights=n)[:, None]
    spread = centred * n @ centred.T / n.sum()
    explained = max(float(result.estimate @ spread @ result.estimate - np.sum(result.covariance * spread)), 0.0)
    total = average_variance(moments, evidence.effects[level].terms, evidence.effects[level].cov)
    coefficients = moved_coefficients(evidence, result, names)
    f = result.wald / k
    scale = {name: moments.scale[j] for name, j in zip(names, candidates, strict=True)}
    se = np.sqrt(np.diag(result.covariance))
    return {
        "level": level,
        "groups": groups,
        "F": f,
        "df1": k,
        "df2": df2,
        "p": f_upper(f, k, df2),
        "wald": result.wald,
        "shift": max(abs(c["shift"]) for c in coefficients),
        "coefficients": coefficients,
        "share_of_level_variance": explained / max(explained + total, 1e-300),
        "terms": [
            {"term": t, "difference": float(b / scale[t]), "se": float(s / scale[t]), "statistic": float(b / s)}
            for t, b, s in zip(result.names, result.estimate, se, strict=True)
        ],
    }


def moved_coefficients(evidence: Evidence, result: Added, names: list[str]) -> list[dict[str, Any]]:
    """Coefficients of the predictors without and with the group means, the change in standard errors."""
    out = []
    for f, with_means in zip(evidence.estimate["fixed"], result.base, strict=True):
        if f["term"] in names and f["se"] > 0:
            shift = (with_means - f["estimate"]) / f["se"]
            out.append({"term": f["term"], "model": f["estimate"], "within": float(with_means), "shift": float(shift)})
    return out


def predictor_means(evidence: Evidence, starts: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Numeric fixed columns that vary within and between groups, and their group means (stored scale)."""
    moments = evidence.moments
    products = moments.products
    plain = {c.name for c in evidence.frame.columns if c.factor is None}
    place = {name: j for j, name in enumerate(moments.columns)}
    weight = np.add.reduceat(products[0, 0], starts)
    candidates, means = [], []
    for term in evidence.coefficients:
        if term not in plain:
            continue
        j = place[term]
        sums = np.add.reduceat(products[0, j], starts)
        mean = sums / weight
        total = products[j, j].sum() - sums.sum() ** 2 / weight.sum()
        between = np.sum(weight * (mean - sums.sum() / weight.sum()) ** 2)
        if total > 0 and LEAST_SHARE < between / total < 1 - LEAST_SHARE:
            candidates.append(j)
            means.append(mean)
    return candidates, np.array(means).reshape(len(candidates), len(starts))
