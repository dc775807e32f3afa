"""Missed slopes: does a predictor's coefficient vary between groups although the model gives it no random slope?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..distributions import any_of, chi2_mixture_upper
from ..evidence import Evidence
from ..gls import full_products
from ..posterior import half_covariance, to_stored
from ..record import OK, Check, graded, not_applicable, worst
from ..words import NO_PRODUCTS, NOTHING, fixed, num, one_of, pval, why_ok

NAME = "missed_slopes"
TITLE = "No coefficient varies between groups beyond the random part"
RULE = (
    "problem: p < 0.001 and the slopes' sd times the predictor's sd within groups is 0.3 residual sd or more; look: p "
    "< 0.01 and 0.15"
)
SOURCE = "Lin (1997), Biometrika 84 (score test of a variance component)"
LEAST_SHARE = 0.01  # of the predictor's variance within groups


def check(evidence: Evidence) -> Check:
    """Score test of a random slope for every numeric predictor at every level where it has none."""
    products = full_products(evidence)
    found = [] if products is None else [f for level in evidence.levels for f in at_level(evidence, products, level)]
    if not found:
        why = "The model has no random effects."
        if evidence.random:
            why = "Every numeric predictor that varies within groups has a random slope."
            why = NO_PRODUCTS if products is None else why
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    for f in found:
        f["p_adjusted"] = any_of(f["p"], len(found))
        f["status"] = graded(f["p_adjusted"], f["size"], 0.15, 0.3)
    status = worst([f["status"] for f in found])
    top = min((f for f in found if f["status"] == status), key=lambda f: (f["p"], -f["size"]))
    numbers = f"sd about {num(top['slope_sd'], 2)}, {fixed(top['size'])} residual sd, {pval(top['p_adjusted'])}"
    if status == OK:
        meaning = (
            f"That coefficients vary between groups is {why_ok(top['p_adjusted'])}: the strongest, {top['term']} by "
            f"{one_of(top['level'])} ({numbers})."
        )
        action = NOTHING
    else:
        meaning = (
            f"The coefficient of {top['term']} varies by {one_of(top['level'])} ({numbers}), and the model does not "
            "allow for it: its standard error is too small."
        )
        action = f"Add a random slope: (1 + {top['term']} | {top['level']})."
    return Check(
        NAME,
        TITLE,
        status,
        top["size"],
        f"sd of the slopes times sd of the predictor, in residual sd ({top['term']} by {top['level']})",
        f"0 if all groups share the coefficient, {pval(top['p'])}",
        RULE,
        meaning,
        action,
        {"slopes": found},
        SOURCE,
    )


def at_level(evidence: Evidence, products: np.ndarray, level: str) -> list[dict[str, Any]]:
    """Score tests at one level: with s_g = z'V⁻¹r of a group, Σ s_g² against Σ v_g χ²_1, v_g = Var(s_g)."""
    moments = evidence.moments
    starts = moments.starts(moments.levels.index(level))
    taken = set(evidence.effects[level].terms)
    plain = {c.name for c in evidence.frame.columns if c.factor is None}
    out = []
    information: np.ndarray | None = None
    residual = evidence.residual_columns()
    for term in evidence.coefficients:
        if term in taken or term not in plain:
            continue
        j = moments.columns.index(term)
        within = np.add.reduceat(products[j, j], starts) - np.add.reduceat(products[j, 0], starts) ** 2 / np.maximum(
            np.add.reduceat(products[0, 0], starts), 1e-300
        )
        total = products[j, j].sum() - products[j, 0].sum() ** 2 / products[0, 0].sum()
        if not total > 0 or within.sum() < LEAST_SHARE * total:
            continue
        if information is None:
            information = precision(evidence, products, level)
        # V⁻¹r within a group is R⁻¹ê: the sum of the predictor times the conditional residuals.
        score = np.add.reduceat(np.einsum("ag,ag->g", products[j], residual), starts) / evidence.sigma**2
        # About the grand mean: the stored columns are only roughly centred.
        mean = products[j, 0].sum() / products[0, 0].sum()
        score -= mean * np.add.reduceat(np.einsum("ag,ag->g", products[0], residual), starts) / evidence.sigma**2
        v = information[:, j, j] - 2 * mean * information[:, j, 0] + mean**2 * information[:, 0, 0]
        v = np.maximum(v, 0.0)
        if np.sum(v > 1e-8 * v.max()) < 3:
            continue
        q = float(np.sum(score**2))
        tau2 = max((q - v.sum()) / np.sum(v**2), 0.0)
        sd_within = np.sqrt(within.sum() / evidence.n_obs)
        out.append(
            {
                "term": term,
                "level": level,
                "statistic": q / float(v.sum()),
                "p": chi2_mixture_upper(q, v[v > 0]),
                "slope_sd": float(np.sqrt(tau2) / moments.scale[j]),
                "size": float(np.sqrt(tau2) * sd_within / evidence.sigma),
            }
        )
    return out


def precision(evidence: Evidence, products: np.ndarray, level: str) -> np.ndarray:
    """W'V⁻¹W of every group of a level, V with the effects up to that level. (groups, q, q)

    Levels above are left out: their effects are shared by all of a group's rows, and leaving them out makes the test
    conservative.
    """
    moments = evidence.moments
    part = np.ascontiguousarray(np.moveaxis(products, 2, 0)) / evidence.sigma**2
    below = np.arange(len(moments.n))
    for entry in reversed(evidence.random):
        starts = moments.starts(moments.levels.index(entry["level"]))
        half = to_stored(moments, entry["terms"]) @ half_covariance(np.asarray(entry["cov"], float))
        part = np.add.reduceat(part, np.searchsorted(below, starts), axis=0)
        reach = part @ half
        middle = np.linalg.inv(np.eye(half.shape[1]) + half.T @ reach)
        part = part - reach @ middle @ np.swapaxes(reach, 1, 2)
        below = starts
        if entry["level"] == level:
            break
    return part
