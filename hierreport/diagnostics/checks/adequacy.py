"""Is there enough of everything: groups per level, rows per group, singletons."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...said import whole
from ..evidence import INTERCEPT, Evidence
from ..gls import add_group_columns, full_products
from ..record import LOOK, OK, PROBLEM, Check, not_applicable, worst
from ..words import fixed, listed, num, plural, share

NAME = "adequacy"
TITLE = "There are enough groups, and enough rows in them"
RULE = (
    "problem: a level of the model has fewer than 5 groups; look: fewer than 10 groups, more than half of the groups "
    "with no more rows than random coefficients, or half of a level's predictions with a reliability under 0.2"
)
SOURCE = "Maas & Hox (2005), Methodology 1; Snijders & Bosker (2012), Multilevel Analysis, section 4.8 (reliability)"
TOO_FEW, FEW, WEAK = 5, 10, 0.2


def check(evidence: Evidence) -> Check:
    """Counts of every level of the model, and how much each prediction rests on its own rows."""
    if not evidence.random:
        return not_applicable(NAME, TITLE, RULE, "The model has no random effects.", SOURCE)
    found = [level_counts(evidence, level) for level in evidence.levels]
    status = worst([f["status"] for f in found])
    fewest = min(found, key=lambda f: f["groups"])
    if status == OK:
        counts = listed([f"{whole(f['groups'])} at {f['level']}" for f in found])
        meaning = f"Every level has enough groups ({counts}) and rows in them."
        action = "Nothing to do."
    else:
        meaning = " ".join(sentence for f in found for sentence in f["reasons"])
        beside = as_fixed_effects(evidence, fewest["level"])
        fewest["as_fixed_effects"] = beside
        if beside:
            moved = max(beside, key=lambda b: abs(b["shift"]))
            action = (
                f"With {fewest['level']} as fixed effects instead no coefficient moves by more than "
                f"{fixed(abs(moved['shift']), 2)} standard errors ({moved['term']} {num(moved['random'])} → "
                f"{num(moved['fixed'])}); do not read its variance as a precise number."
            )
        elif fewest["groups"] < FEW:
            action = (
                f"Compare with a fit that has {fewest['level']} as fixed effects, and do not read its variance as a "
                "precise number."
            )
        else:
            action = "Read the spread between groups from the table, not from single groups' predictions."
    return Check(
        NAME,
        TITLE,
        status,
        float(fewest["groups"]),
        f"groups of the level with the fewest ({fewest['level']})",
        f"{FEW} or more",
        RULE,
        meaning,
        action,
        {"levels": found},
        SOURCE,
    )


def as_fixed_effects(evidence: Evidence, level: str) -> list[dict[str, Any]]:
    """Coefficients with a level's intercepts and slopes fixed, the other variances as estimated; [] where not possible.

    The groups' own columns sum to zero, so that a coefficient with slopes is the mean of the groups' slopes.
    """
    effects, products = evidence.effects[level], full_products(evidence)
    groups, moments = len(effects.n), evidence.moments
    if products is None or groups > FEW:
        return []
    contrast = np.vstack([np.eye(groups - 1), -np.ones(groups - 1)]).T
    columns = [moments.columns.index(t) for t in effects.terms]
    values = np.vstack([contrast] * len(columns))
    names = [f"{t} by {level}[{label}]" for t in effects.terms for label in effects.labels[:-1]]
    times = [c for c in columns for _ in range(groups - 1)]
    result = add_group_columns(evidence, products, values, names, effects.starts, leave_out=level, times=times)
    out = []
    for f, other in zip(evidence.estimate["fixed"], result.base, strict=False):
        if f["term"] != INTERCEPT and f["se"] > 0:
            shift = (other - f["estimate"]) / f["se"]
            out.append({"term": f["term"], "random": f["estimate"], "fixed": float(other), "shift": float(shift)})
    return out


def level_counts(evidence: Evidence, level: str) -> dict[str, Any]:
    """Counts of one level, with the sentences that apply."""
    effects = evidence.effects[level]
    n, groups, k = effects.n, len(effects.n), len(effects.terms)
    thin = int(np.sum(n <= k))
    reliability = [float(np.median(effects.reliability(i))) for i in range(k)]
    weak = [t for t, r in zip(effects.terms, reliability, strict=True) if r < WEAK]
    status, reasons = OK, []
    if groups < TOO_FEW:
        status = PROBLEM
        reasons.append(f"Level {level} has {plural(groups, 'group')}: a variance between so few is hardly known.")
    elif groups < FEW:
        status = LOOK
        reasons.append(f"Level {level} has {plural(groups, 'group')}: its variance is known only roughly.")
    if thin > groups / 2:
        status = worst([status, LOOK])
        reasons.append(
            f"{plural(thin, 'group')} of {level} ({share(thin / groups, 0)}) have no more rows than random "
            f"coefficients ({whole(k)})."
        )
    if weak:
        status = worst([status, LOOK])
        reasons.append(
            f"Half of the groups of {level} say next to nothing about their own {listed(weak)} (reliability under "
            f"{WEAK})."
        )
    return {
        "level": level,
        "groups": groups,
        "rows_min": int(n.min()),
        "rows_median": float(np.median(n)),
        "rows_max": int(n.max()),
        "singletons": int(np.sum(n == 1)),
        "thin": thin,
        "reliability": dict(zip(effects.terms, reliability, strict=True)),
        "status": status,
        "reasons": reasons,
    }
