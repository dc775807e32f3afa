"""Random effects normal, level by level: BLUPs over their own sd against a simulation envelope."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...said import whole
from ..distributions import any_of
from ..envelope import normality
from ..evidence import Evidence
from ..record import OK, Check, graded, not_applicable, worst
from ..words import coefficient, fixed, one_of, plural, pval, share

NAME = "random_effects_normal"
TITLE = "Random effects follow a normal distribution"
FEWEST = 5
RULE = (
    "problem: p < 0.001 and skewness beyond ±1 or excess kurtosis above 2 (for flat shapes below −1.2); look: p < "
    "0.01 and skewness beyond ±0.5 or excess kurtosis beyond ±1; p is the share of simulated normal samples of the "
    "same size whose quantile plot is as far from a line"
)
SOURCE = "Lange & Ryan (1989), Ann. Stat. 17; McCulloch & Neuhaus (2011), Stat. Sci. 26"


def check(evidence: Evidence) -> Check:
    """Judge every random coefficient of every level; levels with fewer than five groups are left out."""
    tests = sum(len(e.terms) for e in evidence.effects.values())
    rows: list[dict[str, Any]] = []
    for level, effects in evidence.effects.items():
        for k, term in enumerate(effects.terms):
            z = effects.scaled(k)
            z = z[np.isfinite(z)]
            if len(z) < FEWEST:
                continue
            found = normality(z)
            p = any_of(found.p, tests)
            size = max(abs(found.skewness), found.excess_kurtosis / 2.0, -found.excess_kurtosis / 1.2)
            rows.append(
                {
                    "level": level,
                    "term": term,
                    "groups": found.n,
                    "p": found.p,
                    "p_adjusted": p,
                    "correlation": found.correlation,
                    "skewness": found.skewness,
                    "excess_kurtosis": found.excess_kurtosis,
                    "outside_envelope": found.outside,
                    "median_reliability": float(np.median(effects.reliability(k))),
                    "status": graded(p, size, 0.5, 1.0),
                }
            )
    if not rows:
        why = (
            "The model has no random effects."
            if not evidence.random
            else "No level has enough groups to judge a shape."
        )
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    status = worst([r["status"] for r in rows])
    top = min((r for r in rows if r["status"] == status), key=lambda r: r["p"])
    shape = f"skewness {fixed(top['skewness'])}, excess kurtosis {fixed(top['excess_kurtosis'])}"
    what = f"the {whole(top['groups'])} {coefficient(top['term'], many=True)} by {one_of(top['level'])}"
    if status == OK:
        few = " With so few groups only gross departures would show." if min(r["groups"] for r in rows) < 15 else ""
        weak = min(r["median_reliability"] for r in rows)
        dim = f" The weakest are shrunk to {share(weak, 0)} reliability, which hides shapes." if weak < 0.4 else ""
        meaning = f"The random effects look like normal samples of their size ({what}: {shape}).{few}{dim}"
        action = "Nothing to do."
    else:
        meaning = (
            f"{what[0].upper()}{what[1:]} are not normal ({shape}, {pval(top['p_adjusted'])}): coefficients and their "
            "errors hardly suffer, but the spread between groups and the predictions for extreme groups do."
        )
        action = (
            "Look at the groups in the tails of the quantile plot: a missing predictor of that level, two kinds of "
            "groups, or a skewed outcome that asks for a transformation."
        )
    outside = (
        f", {plural(top['outside_envelope'], 'effect')} outside the 95 % envelope" if top["outside_envelope"] else ""
    )
    reference = f"normal samples of {whole(top['groups'])}: {pval(top['p'])}{outside}"
    return Check(
        NAME,
        TITLE,
        status,
        top["correlation"] if top["correlation"] is not None else top["skewness"],
        "correlation of the quantile plot" if top["correlation"] is not None else "skewness",
        reference,
        RULE,
        meaning,
        action,
        {"effects": rows},
        SOURCE,
    )
