"""Outlying groups: predicted effects far from the rest of their level."""

from __future__ import annotations

import numpy as np

from ...said import whole
from ..distributions import t_two_sided
from ..evidence import Evidence
from ..record import LOOK, OK, P_LOOK, P_PROBLEM, PROBLEM, Check, not_applicable
from ..words import coefficient, fixed, listed, pval

NAME = "outlying_groups"
TITLE = "No group is far from the others of its level"
RULE = "problem: the most extreme group has p < 0.001 among all groups and coefficients (Bonferroni); look: p < 0.01"
SOURCE = "Langford & Lewis (1998), J. R. Stat. Soc. A 161"
FEWEST = 5


def check(evidence: Evidence) -> Check:
    """BLUPs over their own sd, externally studentised."""
    found = []
    tests = sum(len(e.n) * len(e.terms) for e in evidence.effects.values() if len(e.n) >= FEWEST)
    for level, effects in evidence.effects.items():
        groups = len(effects.n)
        if groups < FEWEST:
            continue
        df = groups - 1.0
        for k, term in enumerate(effects.terms):
            z = effects.scaled(k)
            order = np.argsort(-np.nan_to_num(np.abs(z)), kind="stable")[:10]
            for g in order:
                if not np.isfinite(z[g]):
                    continue
                t = z[g] * np.sqrt((df - 1) / max(df - z[g] ** 2, 1e-9 * df))
                p = min(1.0, tests * t_two_sided(float(t), df - 1))
                found.append(
                    {
                        "level": level,
                        "group": effects.labels[g],
                        "term": term,
                        "n": int(effects.n[g]),
                        "effect": float(effects.estimate[k, g]),
                        "scaled": float(z[g]),
                        "p": p,
                    }
                )
    if not found:
        why = "The model has no random effects." if not evidence.random else f"No level has {FEWEST} groups."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    # Perfectly correlated effects of a group tie up to rounding: the first term stands for them.
    found.sort(key=lambda r: (round(r["p"], 9), -round(abs(r["scaled"]), 6)))
    first = found[0]
    status = PROBLEM if first["p"] < P_PROBLEM else LOOK if first["p"] < P_LOOK else OK
    flagged = [r for r in found if r["p"] < P_LOOK]
    if status == OK:
        meaning = (
            f"The most extreme group, {first['group']} ({coefficient(first['term'])}, {fixed(first['scaled'], 1)} "
            "sd), is within what normal effects bring."
        )
        action = "Nothing to do."
    else:
        names = listed([f"{r['group']} ({coefficient(r['term'])}, {fixed(r['scaled'], 1)} sd)" for r in flagged])
        meaning = (
            f"Some groups are unlike the others of their level: {names}; they widen the spread between groups for all."
        )
        action = "Ask what sets these groups apart; see whether the coefficients hold without them."
    return Check(
        NAME,
        TITLE,
        status,
        first["scaled"],
        "most extreme scaled group effect (sd)",
        f"most extreme of {whole(tests)} normal effects, {pval(first['p'])}",
        RULE,
        meaning,
        action,
        {"groups": found[: max(10, len(flagged))]},
        SOURCE,
    )
