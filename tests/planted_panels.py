"""Panels with one planted trait each, run through all stages: what the verdict must say of them is known.

``y`` follows ``x`` with slope 0.5, firms within sectors, a row per year; every trait below is the only departure from
the plainest mixed model.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from hierreport import stages

FORMULA = "y ~ x + z + (1 + x | sector/firm)"
SECTORS, FIRMS, YEARS = 12, 10, 8


def rows(
    seed: int,
    sector_sd: float = 0.5,
    firm_sd: float = 0.7,
    slope_sd: float = 0.0,
    confounding: float = 0.0,
    degrees: float = 0.0,
    sectors: int = SECTORS,
) -> list[dict[str, Any]]:
    """Rows of a panel.

    Args:
        sector_sd, firm_sd: of the intercepts.
        slope_sd: of the firms' slopes of ``x``.
        confounding: how far a firm's mean of ``x`` moves with its intercept.
        degrees: degrees of freedom of Student's t errors, scaled to a standard deviation of 1; normal where 0.
    """
    random = np.random.default_rng(seed)
    found = []
    for s in range(sectors):
        sector = sector_sd * random.normal()
        for f in range(FIRMS):
            firm, slope = firm_sd * random.normal(), 0.5 + slope_sd * random.normal()
            middle = random.normal() + confounding * firm
            for year in range(2001, 2001 + YEARS):
                x, z = middle + random.normal(), random.normal()
                error = random.standard_t(degrees) * np.sqrt((degrees - 2) / degrees) if degrees else random.normal()
                y = 1.0 + slope * x - 0.3 * z + sector + firm + error
                found.append({"sector": f"s{s:02}", "firm": f"f{f}", "year": year, "x": x, "z": z, "y": y})
    return found


def run(folder: Path, table: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """All stages up to the report on a table; the summary."""
    results = folder / "results" / "planted"
    results.mkdir(parents=True)
    with (folder / "panel.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    given = {"panel": str(folder / "panel.csv"), "formula": FORMULA, "time": "year", "bootstrap": 100, **options}
    for stage in stages.STAGES:
        if stage not in ("changes", "audit"):
            getattr(stages, stage)(results, {k: v for k, v in given.items() if k in stages.STAGES[stage]})
    found: dict[str, Any] = json.loads((results / "summary.json").read_text())
    return found
