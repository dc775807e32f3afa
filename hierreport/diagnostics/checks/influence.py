"""Influence of whole groups on coefficients, variances and the choice, by leaving each of them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...said import whole
from ..choice_deletion import changes, rungs_of
from ..deletion import Deletions, deletions
from ..evidence import Evidence, group_labels
from ..record import LOOK, OK, PROBLEM, Check, not_applicable, worst
from ..words import NO_PRODUCTS, NOTHING, fixed, listed, num, one_of, share

NAME = "influence"
TITLE = "No single group carries the result"
RULE = (
    "problem: leaving out one group moves a coefficient by one standard error or more (8/√groups where that is more); "
    "look: by half a standard error or more (6/√groups), or the ladder would choose another rung without it"
)
SOURCE = (
    "Demidenko & Stukel (2005), Stat. Med. 24; Nieuwenhuis, te Grotenhuis & Pelzer (2012), R Journal 4 (influence.ME)"
)
SHOWN = 15


def check(evidence: Evidence) -> Check:
    """Every group of every level left out, one at a time: coefficients, variances, and the ladder's choice."""
    # Every level of the model, and the panel's innermost groups where they have no effects of their own.
    levels_tried = list(evidence.levels)
    if evidence.moments.levels[-1] not in levels_tried:
        levels_tried.append(evidence.moments.levels[-1])
    made = [d for level in levels_tried if (d := deletions(evidence, level)) is not None]
    found = [d for d in made if np.isfinite(d.shift).any()]
    if not found:
        why = "The model cannot be fitted without any of the groups." if made else NO_PRODUCTS
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    ladder = rungs_of(evidence)
    climbed = not isinstance(ladder, str)
    levels = [
        summary(evidence, d, None if isinstance(ladder, str) or len(d.cook) < 3 else changes(evidence, d.level, ladder))
        for d in found
    ]
    status = worst([s["status"] for s in levels])
    top = max((s for s in levels if s["status"] == status), key=lambda s: s["relative"])
    first = top["groups"][0]
    who = f"{one_of(top['level'])} {first['label']}"
    moved = (
        f"{first['term']} from {num(first['with'])} to {num(first['without'])}, {fixed(abs(first['shift']), 2)} "
        "standard errors"
    )
    if top["relative"] < 1.0:
        meaning = (
            f"No group moves a coefficient by {fixed(top['threshold'])} standard errors when it is left out; "
            f"{who} moves most ({moved})."
        )
        action = NOTHING
    else:
        meaning = f"Leaving out {who} alone moves {moved}{variance_words(first)}."
        action = "Look at this group's data; report the coefficients with and without it."
    if climbed and any(s["choice"] for s in levels):
        meaning += choice_words(levels)
    if status != OK and top["relative"] < 1.0:
        action = "Report that the choice of the rung hangs on this; see what the coefficients are under both rungs."
    return Check(
        NAME,
        TITLE,
        status,
        abs(first["shift"]),
        "largest change of a coefficient without one group (standard errors)",
        f"below {fixed(top['threshold'])}; {how(levels)}",
        RULE,
        meaning,
        action,
        {"levels": levels, "choice_not_examined": ladder if isinstance(ladder, str) else ""},
        SOURCE,
    )


def how(levels: list[dict[str, Any]]) -> str:
    """By which method the groups were left out."""
    refitted, everyone = (sum(s[key] for s in levels) for key in ("exact", "count"))
    if refitted == everyone:
        return "every group left out and the model refitted"
    said = "every group left out, by one Newton step"
    if refitted:
        said += f"; the {whole(refitted)} most influential refitted in full, which changes no coefficient by more "
        said += f"than {num(max(s['apart'] for s in levels), 1)} standard errors"
    return said


def choice_words(levels: list[dict[str, Any]]) -> str:
    """Whether the ladder chooses the same rung without each group."""
    flips = [(s["level"], c) for s in levels if s["choice"] for c in s["choice"]["changes"]]
    if not flips:
        return " Whichever group is left out, the ladder chooses the same rung."
    rungs = listed(list(dict.fromkeys(c["rung"] for _, c in flips)), 3)
    if len(flips) == 1:
        level, only = flips[0]
        return f" Without {one_of(level)} {only['label']} the ladder would choose {rungs}."
    who = listed([f"{one_of(level)} {c['label']}" for level, c in flips])
    return f" Without any one of {whole(len(flips))} groups ({who}) the ladder would choose another rung: {rungs}."


def variance_words(group: dict[str, Any]) -> str:
    """A clause on the variance that changes most, where it changes by a quarter or more."""
    if abs(group["sd_change"]) < 0.25:
        return ""
    change = "falls" if group["sd_change"] < 0 else "rises"
    return f"; the sd of {group['sd_of']} {change} by {share(abs(group['sd_change']), 0)}"


def summary(evidence: Evidence, d: Deletions, choice: dict[str, Any] | None) -> dict[str, Any]:
    """The most influential groups of a level, and its verdict.

    ``choice`` holds how many groups the ladder was climbed without, how many of them by refits, and the groups without
    which it ends elsewhere; None where another rung than the ladder's choice is checked.
    """
    starts = evidence.moments.starts(evidence.moments.levels.index(d.level))
    labels, rows = group_labels(evidence.moments, d.level), np.add.reduceat(evidence.moments.n, starts)
    groups = len(starts)
    look, problem = max(0.5, 6.0 / np.sqrt(groups)), max(1.0, 8.0 / np.sqrt(groups))
    size = np.abs(np.nan_to_num(d.shift)).max(axis=1)
    flips = {c["group"]: c["rung"] for c in choice["changes"]} if choice else {}
    se = {f["term"]: f["se"] for f in evidence.estimate["fixed"]}

    def one(g: int) -> dict[str, Any]:
        k, v = int(np.argmax(np.abs(np.nan_to_num(d.shift[g])))), int(np.argmax(np.abs(np.nan_to_num(d.sds[g]))))
        term, shift = d.terms[k], float(np.nan_to_num(d.shift[g, k]))
        return {
            "label": labels[g],
            "n": int(rows[g]),
            "term": term,
            "with": evidence.coefficients[term],
            "without": evidence.coefficients[term] - shift * se[term],
            "shift": shift,
            "cook": float(d.cook[g]),
            "sd_of": d.sd_names[v],
            "sd_change": float(np.nan_to_num(d.sds[g, v])),
            "refitted": bool(d.exact[g]),
            "choice": flips.get(g, evidence.rung) if choice else None,
        }

    order = np.argsort(-size, kind="stable")[:SHOWN]
    largest = float(size[order[0]])
    moved = PROBLEM if largest >= problem else LOOK if largest >= look else OK
    if choice:
        choice = choice | {"changes": [{"label": labels[c["group"]], **c} for c in choice["changes"]]}
    return {
        "level": d.level,
        "count": groups,
        "exact": int(d.exact.sum()),
        "apart": d.apart,
        "impossible": int(np.isnan(d.shift).any(axis=1).sum()),
        "threshold": look,
        "relative": largest / look,
        "status": worst([moved, LOOK if flips else OK]),
        "groups": [one(int(g)) for g in order],
        "variances": one(int(np.argmax(np.abs(np.nan_to_num(d.sds)).max(axis=1)))),
        "choice": choice,
        "terms": d.terms,
        "cook": np.sort(d.cook)[::-1][:200],
    }
