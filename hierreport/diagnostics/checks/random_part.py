"""Singular or over-complex random part: principal components of each level's covariance, and the simpler form."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..evidence import INTERCEPT, Evidence
from ..posterior import half_covariance, to_stored, total_products
from ..record import LOOK, OK, PROBLEM, Check, not_applicable, worst
from ..words import coefficient, fixed, listed, one_of, share

NAME = "random_part"
TITLE = "The random part is no richer than the data support"
RULE = (
    "problem: a level's covariance is singular (smallest component under 0.01 % of its variance); look: a correlation "
    "beyond ±0.95 or a component under 1 %"
)
SOURCE = "Bates, Kliegl, Vasishth & Baayen (2018), Parsimonious mixed models, arXiv:1506.04967"
ZERO, SMALL, EXTREME = 1e-4, 1e-2, 0.95


def check(evidence: Evidence) -> Check:
    """Components of what each coefficient contributes (at centred predictors, times their sd): free of units."""
    if not evidence.random:
        return not_applicable(NAME, TITLE, RULE, "The model has no random effects.", SOURCE)
    found = [level_components(evidence, level) for level in evidence.random]
    status = worst([f["status"] for f in found])
    # Where nothing is wrong, levels with several coefficients are the ones to speak of.
    top = min((f for f in found if f["status"] == status), key=lambda f: (f["smallest"], -len(f["terms"])))
    if status == OK and all(len(f["terms"]) == 1 for f in found):
        meaning = "Every level has one random coefficient, and it has variance of its own."
        action = "Nothing to do."
    elif status == OK:
        meaning = (
            f"Every random coefficient has variance of its own (smallest component {share(top['smallest'])} of level "
            f"{top['level']})."
        )
        action = "Nothing to do."
    else:
        names = listed([coefficient(t, many=True) for t in top["terms"]])
        numbers = f"smallest component {share(top['smallest'], 2)}, correlation {fixed(top['extreme_correlation'])}"
        how = "is singular" if status == PROBLEM else f"is close to singular ({numbers})"
        meaning = f"The covariance of the {names} by {one_of(top['level'])} {how}: the data do not tell these apart."
        action = f"Compare with the simpler form: {top['simpler']}; keep this one only if a test rejects that."
    return Check(
        NAME,
        TITLE,
        status,
        top["smallest"],
        "smallest component's share of its level's variance",
        f"above {share(SMALL, 0)} when all are needed",
        RULE,
        meaning,
        action,
        {"levels": found},
        SOURCE,
    )


def level_components(evidence: Evidence, level: dict[str, Any]) -> dict[str, Any]:
    """Principal components of one level's covariance on the scale of its contributions."""
    moments, terms = evidence.moments, list(level["terms"])
    stored = to_stored(moments, terms)
    total = total_products(moments)
    gram = stored.T @ (total / total[0, 0]) @ stored
    cov = np.asarray(level["cov"], float)
    half = half_covariance(cov)
    values = np.clip(np.sort(np.linalg.eigvalsh(half.T @ gram @ half))[::-1], 0.0, None)
    sizes = values / max(values.sum(), 1e-300)
    ratio = float(values.sum() / evidence.sigma**2)
    smallest = float(sizes[-1]) if ratio > 1e-8 else 0.0
    # Correlations between coefficients at the predictors' means: free of where zero happens to lie.
    centred = np.eye(len(terms))
    if INTERCEPT in terms:
        mean = total[0] / total[0, 0]
        centred[terms.index(INTERCEPT)] = [
            1.0 if t == INTERCEPT else float(mean @ stored[:, k]) for k, t in enumerate(terms)
        ]
    at_means = centred @ cov @ centred.T
    sd = np.sqrt(np.clip(np.diag(at_means), 1e-300, None))
    off = (at_means / np.outer(sd, sd))[np.triu_indices(len(terms), 1)]
    extreme = float(off[np.argmax(np.abs(off))]) if off.size else 0.0
    simpler = _simpler(level["level"], terms, np.diag(at_means) * np.diag(gram), extreme, evidence.sigma**2)
    status = PROBLEM if smallest < ZERO else LOOK if smallest < SMALL or abs(extreme) > EXTREME else OK
    return {
        "level": level["level"],
        "terms": terms,
        "components": sizes,
        "smallest": smallest,
        "extreme_correlation": extreme,
        "variance_over_residual": ratio,
        "simpler": simpler,
        "status": status,
    }


def _simpler(level: str, terms: list[str], variances: np.ndarray, extreme: float, noise: float) -> str:
    """The form to use instead: without a term of no variance, or with independent terms."""
    inner = "1" if "(Intercept)" in terms else "0"
    slopes = [t for t in terms if t != "(Intercept)"]
    if not slopes:
        return f"without (1 | {level})"
    weak = [t for t, v in zip(terms, variances, strict=False) if v < 1e-4 * noise]
    if weak and len(weak) < len(terms):
        keep = [t for t in slopes if t not in weak]
        return f"({' + '.join([inner, *keep])} | {level}), without {listed(weak)}"
    if abs(extreme) > EXTREME:
        return f"({' + '.join([inner, *slopes])} || {level}), independent coefficients"
    return f"({' + '.join([inner, *slopes[:-1]])} | {level})"
