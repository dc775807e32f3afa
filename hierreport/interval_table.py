"""All intervals of a fit in one table: profile likelihood and bootstrap beside each other, within a budget of work."""

from __future__ import annotations

from typing import Any

import numpy as np

from .bootstrap import bootstrap, refuse_rows
from .errors import ModelError
from .intervals import Interval
from .mixed import MixedFit
from .profile import KINDS, profile

# Which interval is to be trusted, by kind: benchmarks/calibration/coverage.md.
TRUSTED = {
    "fixed": "Wald",
    "sd": "profile REML",
    "correlation": "profile REML",
    "sigma": "profile REML",
    "rho": "profile REML",
    "icc": "profile REML",
    "r2": "bootstrap percentile",
}


def interval_table(
    fit: MixedFit,
    *,
    coverage: float = 0.95,
    draws: int = 1000,
    seed: int = 1,
    seconds: float = 20.0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Intervals for everything a fit estimates, by every method that applies.

    Work is estimated from the size of the problem, not measured, so that the table is the same on every machine.

    Args:
        fit: any fit.
        coverage: nominal coverage.
        draws, seed, workers: of the bootstrap.
        seconds: about how long each of the two may take on one processor; what would take longer is left out, with a
            note.

    Returns:
        ``{"coverage", "draws", "failures", "intervals": [Interval records], "trusted": {kind: method}, "notes"}``.
    """
    found: list[Interval] = []
    notes: list[str] = []
    without = KINDS[1:]
    if profile_seconds(fit, fixed=False) > seconds:
        notes.append("profile intervals were left out: they would take too long on a panel of this size")
    else:
        all_in_time = profile_seconds(fit) <= seconds
        if not all_in_time:
            notes.append("profile intervals of the fixed effects were left out: they are too many for the time allowed")
        found += profile(fit, coverage=coverage, kinds=KINDS if all_in_time else without)
        found += profile(fit, method="reml", coverage=coverage, kinds=without)
    used = 0
    failures: int | None = None
    try:
        refuse_rows(fit)
        if bootstrap_seconds(fit, draws) > seconds:
            notes.append(f"the bootstrap was left out: {draws} draws would take too long on a panel of this size")
        else:
            result = bootstrap(fit, draws, seed, workers=workers)
            used, failures = draws, result.failures
            found += result.intervals("percentile", coverage) + result.intervals("basic", coverage)
    except ModelError as refusal:
        notes.append(f"no bootstrap: {refusal}")
    return {
        "coverage": coverage,
        "draws": used,
        "failures": failures,
        "intervals": [i.to_dict() for i in found],
        "trusted": dict(TRUSTED),
        "notes": notes,
    }


def profile_seconds(fit: MixedFit, fixed: bool = True) -> float:
    """About how long the profiles of a fit take: two ends each, a dozen evaluations of the criterion an end."""
    problem = fit.problem
    numbers = 2 + len(problem.basis.fixed) * fixed
    for level in problem.components:
        pairs = int(np.sum(level.block[:, None] == level.block[None, :]) - level.size) // 2
        numbers += level.size + pairs + 1
    return 24.0 * numbers * (4e-4 + 8e-9 * len(problem.n) * len(problem.total) ** 2)


def bootstrap_seconds(fit: MixedFit, draws: int) -> float:
    """About how long a bootstrap takes: seven evaluations a draw."""
    problem = fit.problem
    if not problem.levels:
        return 2e-5 * draws
    return draws * 7.0 * (3e-5 + problem.levels[0].groups * (4e-8 + 1.5e-9 * len(problem.total) ** 2))
