"""Residuals normal: skewness and tails, and what they do to intervals."""

from __future__ import annotations

import numpy as np

from ..distributions import normal_two_sided
from ..evidence import Evidence
from ..record import OK, Check, graded, worst
from ..words import fixed, pval, share

NAME = "residuals_normal"
TITLE = "Residuals follow a normal distribution"
RULE = (
    "problem: p < 0.001 and skewness beyond ±1 or excess kurtosis above 3; look: p < 0.01 and skewness beyond ±0.5 or "
    "excess kurtosis above 1 (below −0.8 for short tails)"
)
SOURCE = "D'Agostino, Belanger & D'Agostino (1990), Am. Stat. 44"


def moments(evidence: Evidence) -> dict[str, float]:
    """Skewness and excess kurtosis of raw and scaled residuals, shares beyond normal limits, effective rows."""
    rows = evidence.rows
    n = rows.n
    out: dict[str, float] = {"n": n, "n_effective": rows.total("kept")}
    for prefix, name in (("e", "raw"), ("s", "scaled")):
        m1, m2, m3, m4 = (rows.total(prefix + str(k) if k > 1 else prefix) / n for k in (1, 2, 3, 4))
        c2 = m2 - m1**2
        out[f"skewness_{name}"] = (m3 - 3 * m1 * m2 + 2 * m1**3) / c2**1.5
        out[f"excess_kurtosis_{name}"] = (m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / c2**2 - 3
    out["beyond_95"] = rows.total("beyond95") / n
    out["beyond_99"] = rows.total("beyond99") / n
    return out


def check(evidence: Evidence) -> Check:
    """Judge the scaled residuals (each over its own sd, so that unequal leverage cannot look like heavy tails)."""
    found = moments(evidence)
    skew, kurt = found["skewness_scaled"], found["excess_kurtosis_scaled"]
    size = max(found["n_effective"], 4.0)
    p_skew = normal_two_sided(skew / np.sqrt(6 / size))
    p_kurt = normal_two_sided(kurt / np.sqrt(24 / size))
    tail = kurt / 3.0 if kurt > 0 else -kurt / 2.4
    status = worst([graded(min(1, 2 * p_skew), abs(skew), 0.5, 1.0), graded(min(1, 2 * p_kurt), tail, 1.0 / 3.0, 1.0)])
    numbers = f"skewness {fixed(skew)}, excess kurtosis {fixed(kurt)}"
    tails = (
        f"{share(found['beyond_95'])} of rows lie beyond ±1.96 sd (5 % if normal) and {share(found['beyond_99'])} "
        "beyond ±2.58 (1 %)"
    )
    if status == OK:
        meaning = f"The residuals are close enough to normal ({numbers}); {tails}."
        action = "Nothing to do."
    else:
        meaning = (
            "The residuals have "
            f"{'a lopsided shape' if abs(skew) > 0.5 else 'heavy tails' if kurt > 0 else 'short tails'} ({numbers}); "
            f"{tails}. Intervals for coefficients rest on many rows and hold; intervals for single rows do not."
        )
        action = (
            "Read prediction intervals with care, look at the outlying rows, and compare the coefficients with a fit "
            "without them" + (" or with a transformed outcome." if abs(skew) > 0.5 else ".")
        )
    found["p_skewness"], found["p_kurtosis"] = p_skew, p_kurt
    return Check(
        NAME,
        TITLE,
        status,
        kurt,
        "excess kurtosis of scaled residuals",
        f"0 if normal, ±{fixed(1.96 * np.sqrt(24 / size))} by chance; skewness {fixed(skew)}, "
        f"{pval(min(1.0, 2 * min(p_skew, p_kurt)))}",
        RULE,
        meaning,
        action,
        found,
        SOURCE,
    )
