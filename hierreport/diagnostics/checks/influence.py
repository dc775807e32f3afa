"""Influence of whole groups, by leaving each of them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...said import whole
from ..deletion import Deletions, deletions
from ..evidence import Evidence, group_labels
from ..record import LOOK, OK, PROBLEM, Check, not_applicable, worst
from ..words import NO_PRODUCTS, NOTHING, fixed, num, share

NAME = "influence"
TITLE = "No single group carries the result"
RULE = (
    "problem: leaving out one group moves a coefficient by one standard error or more (8/√groups where that is more); "
    "look: by half a standard error or more (6/√groups)"
)
SOURCE = (
    "Demidenko & Stukel (2005), Stat. Med. 24; Nieuwenhuis, te Grotenhuis & Pelzer (2012), R Journal 4 (influence.ME)"
)
SHOWN = 15


def check(evidence: Evidence) -> Check:
    """Exact refits without each group of every level (of the most influential ones in large panels)."""
    # Every level of the model, and the panel's innermost groups where they have no effects of their own.
    levels_tried = list(evidence.levels)
    if evidence.moments.levels[-1] not in levels_tried:
        levels_tried.append(evidence.moments.levels[-1])
    found = [
        d for level in levels_tried if (d := deletions(evidence, level)) is not None and np.isfinite(d.shift).any()
    ]
    if not found:
        return not_applicable(NAME, TITLE, RULE, NO_PRODUCTS, SOURCE)
    levels = [summary(evidence, d) for d in found]
    status = worst([s["status"] for s in levels])
    top = max((s for s in levels if s["status"] == status), key=lambda s: s["relative"])
    first = top["groups"][0]
    moved = (
        f"{first['term']} from {num(first['with'])} to {num(first['without'])}, {fixed(abs(first['shift']), 2)} "
        "standard errors"
    )
    variances = variance_words(first)
    if status == OK:
        meaning = (
            f"Leaving out any group moves no coefficient much; {first['label']} of {top['level']} moves most ({moved})."
        )
        action = NOTHING
    else:
        meaning = f"Leaving out {first['label']} of {top['level']} alone moves {moved}{variances}."
        action = "Look at this group's data; report the coefficients with and without it."
    exact = sum(s["exact"] for s in levels)
    everyone = sum(s["count"] for s in levels)
    how = (
        "every group left out, exactly"
        if exact == everyone
        else f"the {whole(exact)} most influential of {whole(everyone)} groups left out exactly"
    )
    return Check(
        NAME,
        TITLE,
        status,
        abs(first["shift"]),
        "largest change of a coefficient without one group (standard errors)",
        f"below {fixed(top['threshold'])}; {how}",
        RULE,
        meaning,
        action,
        {"levels": levels},
        SOURCE,
    )


def variance_words(group: dict[str, Any]) -> str:
    """A clause on the variance that changes most, where it changes by a quarter or more."""
    if abs(group["sd_change"]) < 0.25:
        return ""
    change = "falls" if group["sd_change"] < 0 else "rises"
    return f"; the sd of {group['sd_of']} {change} by {share(abs(group['sd_change']), 0)}"


def summary(evidence: Evidence, d: Deletions) -> dict[str, Any]:
    """The most influential groups of a level, and its verdict."""
    starts = evidence.moments.starts(evidence.moments.levels.index(d.level))
    labels, rows = group_labels(evidence.moments, d.level), np.add.reduceat(evidence.moments.n, starts)
    groups = len(starts)
    look, problem = max(0.5, 6.0 / np.sqrt(groups)), max(1.0, 8.0 / np.sqrt(groups))
    size = np.abs(np.nan_to_num(d.shift)).max(axis=1)
    order = np.argsort(-np.where(d.exact, size, 0.0), kind="stable")[:SHOWN]
    coefficients = evidence.coefficients
    listed = []
    for g in order:
        g = int(g)
        k = int(np.argmax(np.abs(np.nan_to_num(d.shift[g]))))
        refit = d.refits.get(g)
        term = d.terms[k]
        of, change = sd_change(evidence, refit)
        listed.append(
            {
                "label": labels[g],
                "n": int(rows[g]),
                "term": term,
                "with": coefficients[term],
                "without": refit.coefficients.get(term) if refit else None,
                "shift": float(d.shift[g, k]),
                "cook": float(d.cook[g]),
                "sd_of": of,
                "sd_change": change,
            }
        )
    largest = float(size[order[0]])
    return {
        "level": d.level,
        "count": groups,
        "exact": int(d.exact.sum()),
        "impossible": int(sum(r is None for r in d.refits.values())),
        "threshold": look,
        "relative": largest / look,
        "status": PROBLEM if largest >= problem else LOOK if largest >= look else OK,
        "groups": listed,
        "terms": d.terms,
        "cook": np.sort(d.cook)[::-1][:200],
    }


def sd_change(evidence: Evidence, refit: Any) -> tuple[str, float]:
    """The standard deviation that changes most without the group, relative to the full fit."""
    best = ("sigma", (refit.sigma - evidence.sigma) / evidence.sigma) if refit else ("sigma", 0.0)
    for level in evidence.random if refit else []:
        for term, full, part in zip(level["terms"], level["sd"], refit.sds[level["level"]], strict=True):
            if full > 1e-6 * evidence.sigma and abs(part - full) / full > abs(best[1]):
                best = (f"{term} by {level['level']}", (part - full) / full)
    return best[0], float(best[1])
