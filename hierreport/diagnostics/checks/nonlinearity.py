"""Nonlinearity per predictor: an added curve, and residuals in bins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...said import whole
from ..distributions import any_of, chi2_upper
from ..evidence import Evidence
from ..gls import halves, test_added, total_information
from ..posterior import average_variance, total_products, whitened_products
from ..record import OK, Check, graded, not_applicable, worst
from ..words import NO_PRODUCTS, fixed, listed, pval, why_ok

NAME = "nonlinearity"
TITLE = "Numeric predictors act in a straight line"
RULE = (
    "problem: a quadratic and cubic curve added for the predictor has p < 0.001 and moves the outcome by 0.3 residual "
    "sd or more (its sd over the rows); look: p < 0.01 and 0.15"
)
SOURCE = "Ramsey (1969), J. R. Stat. Soc. B 31 (added powers); Gelman & Hill (2007), section 5.6 (binned residuals)"
BINS = 20
MOST_ENTRIES = 1.5e7  # of one set of moments with curves among the columns
CLIP = 4.0  # a curve must not be decided by a few far values
FEWEST_VALUES = 5


def check(evidence: Evidence) -> Check:
    """Wald test of the square and the cube of each standardised predictor at the estimated covariance."""
    candidates = curved_candidates(evidence)
    at_once = int(np.clip((np.sqrt(MOST_ENTRIES / len(evidence.moments.n)) - len(evidence.moments.columns)) / 2, 1, 20))
    found = []
    if not evidence.record.get("crossed"):
        for first in range(0, len(candidates), at_once):
            found += added_curves(evidence, candidates[first : first + at_once])
    if not found:
        why = NO_PRODUCTS
        if not candidates:
            why = f"The model has no numeric predictor with {FEWEST_VALUES} values or more."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    for f in found:
        f["p_adjusted"] = any_of(f["p"], len(found))
        f["status"] = graded(f["p_adjusted"], f["size"], 0.15, 0.3)
    binned = evidence.rows.binned_by_predictor([f["term"] for f in found], BINS)
    status = worst([f["status"] for f in found])
    top = min((f for f in found if f["status"] == status), key=lambda f: (f["p"], -f["size"]))
    if status == OK:
        meaning = (
            f"No numeric predictor asks for a curve: the strongest, of {top['term']} ({fixed(top['size'])} residual "
            f"sd, {pval(top['p_adjusted'])}), is {why_ok(top['p_adjusted'])}."
        )
        action = "Nothing to do."
    else:
        bent = [f["term"] for f in found if f["status"] != OK]
        meaning = (
            f"Not a straight line: {listed(bent)} (the curve of {top['term']} moves the outcome by "
            f"{fixed(top['size'])} residual sd away from the line, {pval(top['p_adjusted'])}); one coefficient "
            "describes such a predictor badly at its ends."
        )
        action = f"Try {' and '.join(f'poly({t}, 2)' for t in bent[:2])} or a logarithm, and compare."
    return Check(
        NAME,
        TITLE,
        status,
        top["size"],
        f"sd of the added curve over residual sd ({top['term']})",
        f"0 if straight; χ²({whole(top['df'])}) = {fixed(top['wald'])}, {pval(top['p'])}",
        RULE,
        meaning,
        action,
        {"terms": found, "binned": binned},
        SOURCE,
    )


def curved_candidates(evidence: Evidence) -> list[str]:
    """Numeric predictors with at least five values; products of predictors are left to their parts."""
    names = [n for n in evidence.rows.predictors if ":" not in n]
    if not names:
        return []
    places = [evidence.rows.predictors.index(n) for n in names]
    counts = ", ".join(f"approx_count_distinct(x{a}) AS d{i}" for i, a in enumerate(places))
    row = evidence.rows.query(f"SELECT {counts} FROM hr_rows")
    return [n for i, n in enumerate(names) if row[f"d{i}"][0] >= FEWEST_VALUES]


def added_curves(evidence: Evidence, names: list[str]) -> list[dict[str, Any]]:
    """Reduce the rows once more with every candidate's square and cube among the columns, and test each pair."""
    from ...frame import Column
    from ...moments import reduce, reduce_lags

    frame, moments = evidence.frame, evidence.moments
    place = {name: j for j, name in enumerate(moments.columns)}
    total = total_products(moments)
    mean, weight = total[0] / total[0, 0], total[0, 0]
    extra = []
    for i, name in enumerate(names):
        j = place[name]
        centre = moments.shift[j] + moments.scale[j] * mean[j]
        sd = moments.scale[j] * np.sqrt(max(total[j, j] / weight - mean[j] ** 2, 1e-300))
        z = f"least(greatest((({frame.column(name).sql}) - ({centre:.17e})) / ({sd:.17e}), -{CLIP}), {CLIP})"
        extra += [Column(f"curve{i}_2", f"(({z}) * ({z}))"), Column(f"curve{i}_3", f"(({z}) * ({z}) * ({z}))")]
    wider = replace(frame, columns=(*frame.columns, *extra))
    reduced = reduce(wider)
    if reduced.products.shape[0] != reduced.products.shape[1] or evidence.record.get("variances"):
        return []
    products = reduced.products
    if evidence.rho is not None and evidence.panel_moments.lags is not None:
        lags = reduce_lags(wider, reduced, evidence.panel_moments.lags.step)
        products = whitened_products(reduced, lags, evidence.rho)
    # The random part's covariance in the new moments' coordinates.
    steps = halves(evidence, reduced, len(reduced.columns))
    information = total_information(products, len(reduced.n), steps, evidence.sigma)
    place = {name: j for j, name in enumerate(reduced.columns)}
    terms = list(evidence.coefficients)
    totals = total_products(reduced)
    spread = totals / totals[0, 0] - np.outer(totals[0], totals[0]) / totals[0, 0] ** 2
    out = []
    for i, name in enumerate(names):
        added = [(f"curve{i}_{k}", place[f"curve{i}_{k}"]) for k in (2, 3)]
        result = test_added(information, reduced, terms, added)
        k = len(result.names)
        if not k:
            continue
        # The part of the curve that the straight line cannot follow.
        mine, line = [place[n] for n in result.names], [place[name]]
        left = spread[np.ix_(mine, mine)] - spread[np.ix_(mine, line)] @ spread[np.ix_(line, mine)] / max(
            spread[line[0], line[0]], 1e-300
        )
        variance = float(result.estimate @ left @ result.estimate - np.trace(result.covariance @ left))
        size = float(np.sqrt(max(variance, 0.0))) / noise_scale(evidence, name)
        out.append({"term": name, "wald": result.wald, "df": k, "p": chi2_upper(result.wald, k), "size": size})
    return out


def noise_scale(evidence: Evidence, name: str) -> float:
    """The sd that a predictor's effect is seen against: between groups, theirs counts too."""
    moments = evidence.moments
    j = moments.columns.index(name)
    total = total_products(moments)
    whole = total[j, j] - total[0, j] ** 2 / total[0, 0]
    variance = evidence.sigma**2
    for level in evidence.effects.values():
        sums, weight = (np.add.reduceat(moments.products[0, k], level.starts) for k in (j, 0))
        within = total[j, j] - np.sum(sums**2 / weight)
        if whole > 0 and within < 0.05 * whole:
            variance += average_variance(moments, level.terms, level.cov)
    return float(np.sqrt(variance))
