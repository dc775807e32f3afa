"""What a check says: one record, the same shape for all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..records import Spoken

OK, LOOK, PROBLEM, NOT_APPLICABLE = "ok", "look", "problem", "not applicable"
SEVERITY = {NOT_APPLICABLE: 0, OK: 1, LOOK: 2, PROBLEM: 3}

# A departure counts when it is clear (its p-value) and large enough to matter (its size). With some twenty tests on a
# report, 0.001 keeps the chance that a clean panel shows any problem below 5 % (benchmarks/calibration).
P_PROBLEM = 0.001
P_LOOK = 0.01


@dataclass(frozen=True)
class Check(Spoken):
    """One assumption, checked.

    Attributes:
        name: identifier, the file's name.
        title: what is checked, in a few words.
        status: ``ok``, ``look``, ``problem`` or ``not applicable``.
        statistic: the number that decides; None where there is none.
        statistic_name: what that number is.
        reference: what it is compared with, in words.
        rule: when the status is what it is.
        meaning: one sentence: what it means for this analysis.
        action: one sentence: what to do.
        consequences: how far the conclusions move when that is done, one entry per analysis of sensitivity.json that
            does it (``consequences.py``).
        details: every number behind it, for tables and tests.
        source: literature.
    """

    name: str
    title: str
    status: str
    statistic: float | None
    statistic_name: str
    reference: str
    rule: str
    meaning: str
    action: str
    details: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    consequences: list[dict[str, Any]] = field(default_factory=list)


def not_applicable(
    name: str,
    title: str,
    rule: str,
    why: str,
    source: str = "",
    action: str = "Nothing to do.",
    details: dict[str, Any] | None = None,
) -> Check:
    """The record of a check that has nothing to judge here, with the reason."""
    return Check(name, title, NOT_APPLICABLE, None, "", "", rule, why, action, details or {}, source)


def graded(p: float, size: float, look: float, problem: float) -> str:
    """Status of a departure from its p-value and its size: both must speak."""
    if not (math.isfinite(p) and math.isfinite(size)):
        return OK
    if p < P_PROBLEM and abs(size) >= problem:
        return PROBLEM
    if p < P_LOOK and abs(size) >= look:
        return LOOK
    return OK


def worst(statuses: list[str]) -> str:
    """The most serious of several statuses; ``not applicable`` where there is none."""
    return max(statuses, key=SEVERITY.__getitem__, default=NOT_APPLICABLE)
