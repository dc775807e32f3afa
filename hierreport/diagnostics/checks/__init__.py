"""The registry of checks: one module each, in the order of the report.

A module has ``NAME``, ``TITLE`` and ``check(evidence) -> Check``. Adding a check is adding its file and its name here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..record import Check

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
    return [import_module(f".{name}", __name__).check(evidence) for name in CHECKS]
