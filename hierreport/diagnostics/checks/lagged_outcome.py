"""A lagged outcome among the predictors (Nickell's bias)."""

from __future__ import annotations

import re

import numpy as np

from ..evidence import Evidence
from ..record import LOOK, OK, PROBLEM, Check
from ..words import NOTHING, fixed, listed

NAME = "lagged_outcome"
TITLE = "The outcome's past is not among the predictors"
RULE = (
    "problem: a lag of the outcome is a predictor beside group effects, with fewer than 30 rows per group; look: with "
    "more rows, or without group effects"
)
SOURCE = "Nickell (1981), Econometrica 49; Arellano & Bond (1991), Rev. Econ. Stud. 58"
LONG = 30


def check(evidence: Evidence) -> Check:
    """Recognise lag(outcome, k) by its text, whatever function the outcome is under."""
    outcome = evidence.frame.outcome.name
    inner = re.sub(r"^\w+\((.*)\)$", r"\1", outcome)
    wanted = {outcome, inner}
    lags = [
        t for t in evidence.coefficients if (m := re.match(r"lag\((.*?)(?:,\s*\d+)?\)$", _bare(t))) and m[1] in wanted
    ]
    rows = float(np.median(evidence.moments.n))
    if not lags:
        meaning = "No predictor is a lag of the outcome."
        return Check(NAME, TITLE, OK, 0.0, "lags of the outcome", "0", RULE, meaning, NOTHING, {"terms": []}, SOURCE)
    rho = evidence.coefficients[lags[0]]
    bias = -(1.0 + rho) / max(rows - 1.0, 1.0)
    status = PROBLEM if evidence.random and rows < LONG else LOOK
    meaning = (
        f"{listed(lags)} is a lag of the outcome: group effects are part of it, so that its coefficient ({fixed(rho)}) "
        "takes up differences between groups (too high), and with group means taken out it would be about "
        f"{fixed(abs(bias))} too low."
    )
    action = (
        "Use AR(1) errors instead of the lag, or an instrumental-variable estimator (Arellano and Bond 1991) outside "
        "this report."
    )
    details = {"terms": lags, "coefficient": rho, "nickell_bias": bias, "rows_per_group": rows}
    return Check(
        NAME,
        TITLE,
        status,
        float(len(lags)),
        "lags of the outcome among the predictors",
        "0",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )


def _bare(term: str) -> str:
    """A term without an outer function: log(lag(y, 1)) is looked at as lag(y, 1)."""
    match = re.match(r"^(?!lag\()\w+\((lag\(.*\))\)$", term)
    return match[1] if match else term
