"""The registry of checks: one module each, in the order of the report.

A module has ``NAME``, ``TITLE`` and ``check(evidence) -> Check``. Adding a check is adding its file and its name here.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from ..record import Check, not_applicable

if TYPE_CHECKING:
    from ..evidence import Evidence

CHECKS: tuple[str, ...] = (
    "optimum",
    "serial_correlation",
    "shared_shocks",
    "constant_variance",
    "variance_across_groups",
    "residuals_normal",
    "random_effects_normal",
    "outlying_rows",
    "outlying_groups",
    "influence",
    "within_between",
    "lagged_outcome",
    "nonlinearity",
    "transformation",
    "missed_slopes",
    "random_part",
    "collinearity",
    "adequacy",
    "balance",
    "dropped_rows",
)


def run_all(evidence: Evidence) -> list[Check]:
    """Every check of the registry, in order."""
    return [_run(import_module(f".{name}", __name__), evidence) for name in CHECKS]


# Checks that take one residual variance for all rows.
ONE_VARIANCE = ("constant_variance", "variance_across_groups", "residuals_normal", "outlying_rows")


def _run(module: ModuleType, evidence: Evidence) -> Check:
    by = evidence.record.get("variances")
    if by and module.NAME in ONE_VARIANCE:
        why = f"The rung has residual variances of its own by {by}, which this check does not take into account."
        return not_applicable(module.NAME, module.TITLE, module.RULE, why, module.SOURCE)
    return module.check(evidence)
