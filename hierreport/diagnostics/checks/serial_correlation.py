"""Serial correlation within groups, in time order, gaps honoured, corrected for what group effects induce."""

from __future__ import annotations

import numpy as np

from ..distributions import normal_two_sided
from ..evidence import Evidence
from ..record import OK, Check, graded, not_applicable
from ..words import fixed, pval

NAME = "serial_correlation"
TITLE = "Errors of neighbouring periods are independent"
RULE = "problem: p < 0.001 and the corrected correlation is beyond ±0.1; look: p < 0.01 and beyond ±0.05"
SOURCE = (
    "Nickell (1981), Econometrica 49, and Bhargava, Franzini & Narendranathan (1982), Rev. Econ. Stud. 49, for the "
    "correction"
)
FEW_GROUPS = 10


def check(evidence: Evidence) -> Check:
    """Compare the sum of products of neighbouring residuals with what estimation alone would make it.

    r = mean(e_t e_{t−1}) / mean(e²) over pairs one time step apart in the same innermost group. Estimated group effects
    make it negative without any serial correlation; that part is known exactly from the model and is taken out. Its
    standard error comes from the sums by group (valid whatever the tails) or by pair, whichever is larger.
    """
    rows = evidence.rows
    if not rows.ordered:
        why = "The analysis names no time column: the order of the rows has no meaning, and none is tested."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE, "Name the time column if there is one.")
    sums, pairs = rows.sums, rows.total("pairs")
    if pairs < 10:
        why = "Fewer than ten pairs of rows are one time step apart within a group."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE, details={"pairs": int(pairs)})
    scale = pairs * rows.total("i2" if evidence.rho is not None else "e2") / rows.n
    r = rows.total("pair") / scale
    expected = rows.total("pair_expected") / pairs / (rows.total("variance") / rows.n)
    by_group = sums["pair"] - sums["pair_expected"]
    variance = rows.total("pair2")
    if np.sum(sums["pairs"] > 0) >= FEW_GROUPS:
        variance = max(variance, float(np.sum(by_group**2)))
    corrected, se = r - expected, np.sqrt(variance) / scale
    z = corrected / se if se > 0 else 0.0
    p = normal_two_sided(z)
    status = graded(p, corrected, 0.05, 0.1)
    details = {
        "r": r,
        "expected": expected,
        "corrected": corrected,
        "se": se,
        "z": z,
        "p": p,
        "pairs": int(pairs),
        "of": "innovations" if evidence.rho is not None else "residuals",
        **variant(evidence),
    }
    numbers = f"{fixed(r)} between neighbouring periods, {fixed(expected)} expected from independent errors"
    left = "After the AR(1) errors" if evidence.rho is not None else "Within groups, in time order,"
    if status == OK:
        meaning = f"{left} the errors look independent (correlation {numbers})."
        action = "Nothing to do."
    else:
        effect = "too small" if corrected > 0 else "too large"
        meaning = (
            f"{left} the errors are not independent (correlation {numbers}): standard errors of what changes over time "
            f"are {effect}, and tests between rungs are misled."
        )
        action = advice(evidence, details)
    return Check(
        NAME,
        TITLE,
        status,
        r,
        "lag-1 correlation of " + details["of"],
        f"{fixed(expected)} expected under independence, ± {fixed(1.96 * se)}; {pval(p)}",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )


def variant(evidence: Evidence) -> dict[str, float | None]:
    """What AR(1) errors improve, where that variant was fitted."""
    other = evidence.rungs.get(f"{evidence.rung}.ar1")
    if evidence.rho is not None or not other or not other.get("ml"):
        return {"aic_gain_ar1": None, "rho_ar1": None}
    return {"aic_gain_ar1": evidence.record["ml"]["aic"] - other["ml"]["aic"], "rho_ar1": other["ml"]["rho"]}


def advice(evidence: Evidence, details: dict[str, float | None]) -> str:
    """What to do, with the improvement by AR(1) where it is known."""
    if evidence.rho is not None:
        return (
            "AR(1) is too simple here: add a lag of the predictors or period effects, and lean on cluster-robust "
            "errors."
        )
    gain = details["aic_gain_ar1"]
    if gain is not None:
        return (
            f"Use the variant with AR(1) errors: it lowers AIC by {fixed(gain, 1)} (rho "
            f"{fixed(float(details['rho_ar1'] or 0))})."
        )
    return "Use AR(1) errors, and compare the coefficients and standard errors."
