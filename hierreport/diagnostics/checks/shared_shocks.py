"""Shared shocks: are the errors of different groups correlated in the same period?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...said import whole
from ..distributions import normal_upper
from ..evidence import Evidence
from ..record import OK, Check, graded, not_applicable, worst
from ..words import NOTHING, fixed, pval, why_ok

NAME = "shared_shocks"
TITLE = "Groups do not share shocks within a period"
RULE = (
    "problem: p < 0.001 and a mean correlation between groups of 0.05 or a typical one (root of the mean square "
    "beyond chance) of 0.2; look: p < 0.01 and 0.02 or 0.1; the mean is not used where the model has period effects, "
    "which remove it"
)
SOURCE = (
    "Pesaran (2004), CESifo WP 1229 (CD); Juodis & Reese (2022), J. Bus. Econ. Stat. 40 (CD with period effects: "
    "CD_W+); Breusch & Pagan (1980), Rev. Econ. Stud. 47 (squared correlations)"
)
MOST_GROUPS, MOST_CELLS, FEWEST_PERIODS, FEWEST_GROUPS = 300, 1_000_000, 4, 5
SEED = 20240502


@dataclass(frozen=True)
class Dependence:
    """Cross-sectional dependence of a matrix of residuals (groups by periods, 0 where there is no row).

    Attributes:
        groups, periods, pairs: sizes; pairs of groups with at least three common periods.
        mean, z_mean: mean correlation, and its z given the pairs' own spread (valid whatever the serial correlation).
        excess, z_square: mean squared correlation beyond chance, and its z.
        cd: Pesaran's CD.
        cd_w_plus: Juodis & Reese's CD with random signs and power enhancement.
    """

    groups: int
    periods: int
    pairs: int
    mean: float
    z_mean: float
    excess: float
    z_square: float
    cd: float
    cd_w_plus: float


def check(evidence: Evidence) -> Check:
    """Correlations of scaled residuals between pairs of innermost groups, or of a stated subset of them."""
    rows = evidence.rows
    if not rows.ordered:
        why = "The analysis names no time column."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE, "Name the time column if there is one.")
    matrix = residual_matrix(evidence)
    found = dependence(matrix) if matrix is not None else None
    if found is None:
        why = f"Fewer than {FEWEST_GROUPS} groups share {FEWEST_PERIODS} periods: their errors cannot be compared."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    period_effects = has_period_effects(evidence)
    p_square = normal_upper(found.z_square)
    typical = float(np.sqrt(max(found.excess, 0.0)))
    parts = [graded(min(1.0, 2 * p_square), typical, 0.1, 0.2)]
    p_mean = normal_upper(found.z_mean)  # shared shocks correlate positively; period effects leave a negative mean
    if not period_effects:
        parts.append(graded(min(1.0, 2 * p_mean), max(found.mean, 0.0), 0.02, 0.05))
    status = worst(parts)
    by_mean = not period_effects and (parts[1] == status or typical == 0.0)
    p = min(1.0, 2 * (p_mean if by_mean else p_square))
    numbers = (
        f"mean correlation {fixed(found.mean)}, {pval(p)}"
        if by_mean
        else f"typical correlation {fixed(typical)}, {pval(p)}"
    )
    if status == OK:
        meaning = f"What groups have in common within a period is {why_ok(p)} ({numbers})."
        action = NOTHING
    else:
        meaning = (
            f"The errors of different groups move together ({numbers} between pairs of groups): there is less "
            "information than there are rows, and standard errors are too small."
        )
        action = advice(evidence, period_effects)
    used = (
        "all"
        if found.groups == len(evidence.moments.n)
        else f"{whole(found.groups)} of {whole(len(evidence.moments.n))}"
    )
    details: dict[str, Any] = {
        **asdict(found),
        "typical": typical,
        "p_mean": p_mean,
        "p_square": p_square,
        "period_effects": period_effects,
        "groups_used": used,
    }
    return Check(
        NAME,
        TITLE,
        status,
        found.mean if by_mean else typical,
        "mean correlation between groups" if by_mean else "typical correlation between groups beyond chance",
        f"0 if independent, {pval(p)}; CD {fixed(found.cd, 1)}, CD_W+ {fixed(found.cd_w_plus, 1)} ({used} groups)",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )


def advice(evidence: Evidence, period_effects: bool) -> str:
    """What to do, with the improvement by a crossed time effect where that variant was fitted."""
    other = evidence.rungs.get(f"{evidence.rung}.time")
    time = evidence.panel.get("time_column") or evidence.frame.time
    if other and other.get("ml"):
        gain = evidence.record["ml"]["aic"] - other["ml"]["aic"]
        if gain > 0:
            return f"Use the variant with a crossed time effect: it lowers AIC by {fixed(gain, 1)}."
    if period_effects:
        return (
            "Groups react differently to the same periods: add what drives them as predictors, and cluster errors by "
            "period."
        )
    return f"Add a crossed time effect or period dummies (C({time}))."


def has_period_effects(evidence: Evidence) -> bool:
    """Whether the model gives (nearly) every period a mean of its own: residual means by period do not vary."""
    if evidence.record.get("crossed"):
        return True
    time = {evidence.panel.get("time_column"), evidence.frame.time, evidence.frame.time_label}
    names = {str(c.factor) for c in evidence.frame.columns if c.factor and c.name in evidence.coefficients}
    plain = {n[2:-1] if n.startswith("C(") and n.endswith(")") else n for n in names}
    return bool(plain & {str(t) for t in time if t})


def residual_matrix(evidence: Evidence) -> np.ndarray | None:
    """Scaled residuals of up to ``MOST_GROUPS`` groups (the longest; ties evenly) by period. (groups, periods)"""
    n = evidence.moments.n
    usable = np.flatnonzero(n >= FEWEST_PERIODS)
    if len(usable) < FEWEST_GROUPS:
        return None
    if len(usable) > MOST_GROUPS:
        # An even spread over the panel, so that all outer groups are seen.
        usable = usable[np.linspace(0, len(usable) - 1, MOST_GROUPS).round().astype(int)]
    table = evidence.rows.rows_of(usable)
    periods, column = np.unique(table["t"], return_inverse=True)
    if len(periods) * len(usable) > 4 * MOST_CELLS:
        return None
    out = np.zeros((len(usable), len(periods)))
    out[np.searchsorted(usable, table["gid"].astype(int)), column] = table["scaled"]
    return out


def dependence(matrix: np.ndarray) -> Dependence | None:
    """Correlations between all pairs of rows of a matrix, and what chance would make of them.

    A pair's product sum c = Σ_t e_it e_jt has, if the groups are independent, the variance Σ_{t,s} γ_{ts}² over their
    common periods, γ the covariance of a group's residuals at two periods: estimation makes it negative, serial
    correlation positive. It is estimated from all groups by distance in time, so that neither can look like shared
    shocks.
    """
    present = (matrix != 0).astype(float)
    size = (matrix**2).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    keep = (present.sum(axis=1) >= FEWEST_PERIODS) & (size > 0)
    if keep.sum() < FEWEST_GROUPS:
        return None
    present = present[keep]
    e = matrix[keep] / np.sqrt(size[keep])[:, None]
    groups, periods = e.shape
    common = present @ present.T
    upper = np.triu(common >= 3, 1)
    if not upper.any():
        return None
    c = (e @ e.T)[upper]
    t = common[upper]
    chance = expected_square(e, present, common)[upper]
    mean = float(c.sum() / t.sum())
    z_mean = float(c.sum() / np.sqrt(np.sum(c**2)))
    centred = c - mean * t
    # The square of a normal sum of variance E has variance 2E².
    z_square = float(np.sum((centred**2 - chance) / chance) / np.sqrt(2.0 * len(c)))
    excess = float(np.average((centred**2 - chance) / t**2, weights=t))
    rng = np.random.default_rng([SEED, groups])
    signs = rng.choice([-1.0, 1.0], groups)
    r = c / t
    ww = np.outer(signs, signs)[upper]
    strong = np.abs(r) > 2.0 * np.sqrt(np.log(groups) / t)
    scale = np.sqrt(len(c))
    cd = float(np.sum(np.sqrt(t) * r) / scale)
    cd_w = float(np.sum(np.sqrt(t) * r * ww) / scale)
    return Dependence(
        groups, periods, len(c), mean, z_mean, excess, z_square, cd, cd_w + float(np.sum(np.abs(r[strong])))
    )


def expected_square(e: np.ndarray, present: np.ndarray, common: np.ndarray) -> np.ndarray:
    """E c² of independent groups: Σ γ_{|t−s|}² over common periods t, s, γ by distance. (groups, groups)"""
    periods = e.shape[1]
    out = common.copy()
    for k in range(1, min(periods - 1, 60) + 1):
        product = e[:, k:] * e[:, :-k]
        both = present[:, k:] * present[:, :-k]
        n, s = both.sum(), product.sum(axis=1)
        if n < 10:
            continue
        gamma = s.sum() / n
        noise = np.sum((s - gamma * both.sum(axis=1)) ** 2) / n**2
        out += 2.0 * max(gamma**2 - noise, 0.0) * (both @ both.T) if gamma**2 > noise else 0.0
    return out
