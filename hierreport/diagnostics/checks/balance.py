"""Balance and gaps, and whether a group's size goes with its level."""

from __future__ import annotations

import numpy as np

from ...said import whole
from ..distributions import t_two_sided
from ..evidence import INTERCEPT, Evidence
from ..record import OK, Check, graded, not_applicable
from ..words import fixed, plural, pval, why_ok

NAME = "balance"
TITLE = "Missing rows and group sizes have nothing to do with the outcome"
RULE = (
    "problem: the groups' sizes and their random intercepts correlate with p < 0.001 and beyond ±0.3; look: p < 0.01 "
    "and beyond ±0.2"
)
SOURCE = "Neuhaus & McCulloch (2011), Biometrika 98 (informative group size)"


def check(evidence: Evidence) -> Check:
    """Correlation of scaled innermost BLUPs with the logarithm of the group's rows; gaps are reported."""
    periods = evidence.panel.get("periods") or {}
    gaps = periods.get("gaps") or {}
    details = {"gaps": gaps or None}
    level = evidence.levels[-1] if evidence.levels else None
    effects = evidence.effects.get(level) if level else None
    inner = effects.n if effects is not None else evidence.moments.n
    details["rows_min"], details["rows_max"] = int(inner.min()), int(inner.max())
    missing = gaps.get("missing_periods") or 0
    gap_text = f" Periods missing inside groups: {whole(int(missing))}." if missing else ""
    if inner.min() == inner.max():
        text = f"Every group has {plural(int(inner.min()), 'row')}: the panel is balanced.{gap_text}"
        return Check(
            NAME,
            TITLE,
            OK,
            0.0,
            "correlation of group size and group effect",
            "",
            RULE,
            text,
            "Nothing to do.",
            details,
            SOURCE,
        )
    if effects is None or INTERCEPT not in effects.terms or len(inner) < 10:
        text = (
            f"Groups have {whole(inner.min())} to {whole(inner.max())} rows; there are too few groups, or no "
            f"random intercept, "
            "to relate this to."
        )
        return not_applicable(NAME, TITLE, RULE, text, SOURCE, details=details)
    z = effects.scaled(effects.terms.index(INTERCEPT))
    use = np.isfinite(z)
    if use.sum() < 10:
        text = (
            f"Groups have {whole(inner.min())} to {whole(inner.max())} rows; their intercepts have no variance "
            f"to relate this to."
        )
        return not_applicable(NAME, TITLE, RULE, text, SOURCE, details=details)
    size = np.log(inner[use].astype(float))
    count = int(use.sum())
    r = float(np.corrcoef(size, z[use])[0, 1]) if count > 3 and np.ptp(size) > 0 else 0.0
    t = r * np.sqrt((count - 2) / max(1 - r**2, 1e-12))
    p = t_two_sided(t, count - 2)
    status = graded(p, r, 0.2, 0.3)
    spread = f"Groups have {whole(inner.min())} to {whole(inner.max())} rows.{gap_text}"
    if status == OK:
        meaning = (
            f"{spread} Whether large groups lie higher than small ones is {why_ok(p)} (correlation {fixed(r)}, "
            f"{pval(p)})."
        )
        action = "Nothing to do."
    else:
        meaning = (
            f"{spread} {'Large' if r > 0 else 'Small'} groups have a higher level (correlation {fixed(r)}, {pval(p)}): "
            "what decides which rows exist may also move the outcome."
        )
        action = "Find out why rows are missing; compare with a fit on the groups (or periods) that are complete."
    details |= {"r": r, "p": p, "groups": count}
    return Check(
        NAME,
        TITLE,
        status,
        r,
        "correlation of group size and group effect",
        f"0 if unrelated, {pval(p)}",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )
