"""A small panel and the stages that a kept run needs, for the tests of the history."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hierreport import stages

FORMULA = "y ~ x + z + (1 | region/firm)"
Row = dict[str, Any]


def rows(seed: int = 1, regions: int = 4, firms: int = 6, years: int = 6) -> list[Row]:
    """Rows of firms in regions, with intercepts of both."""
    random = np.random.default_rng(seed)
    found = []
    for r in range(regions):
        region = random.normal()
        for f in range(firms):
            firm = region + random.normal()
            for year in range(2000, 2000 + years):
                x, z = random.normal(size=2)
                y = 1.0 + 0.5 * x - 0.2 * z + firm + random.normal()
                found.append({"region": f"r{r}", "firm": f"f{f}", "year": year, "x": x, "z": z, "y": y})
    return found


class Project:
    """A folder with one analysis ``a``, run by its stages without Snakemake."""

    def __init__(self, base: Path, **options: Any) -> None:
        self.base, self.folder = base, base / "results" / "a"
        self.folder.mkdir(parents=True)
        self.options = {
            "panel": str(base / "panel.csv"),
            "formula": FORMULA,
            "time": "year",
            "errors": "iid",
            **options,
        }

    def data(self, table: Iterable[Row]) -> None:
        table = list(table)
        with (self.base / "panel.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)

    def stage(self, *names: str) -> None:
        for name in names:
            given = {k: v for k, v in self.options.items() if k in stages.STAGES[name]}
            getattr(stages, name)(self.folder, given)

    def compare(self) -> dict[str, Any]:
        """Panel, fits, checks and changes.json."""
        self.stage("ingest", "fit", "diagnose", "changes")
        return self.changes()

    def changes(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "changes.json").read_text())
        return found

    def run(self) -> dict[str, Any]:
        """``compare``, and keep the run."""
        from hierreport import history

        found = self.compare()
        (self.folder / "summary.json").write_text("{}\n")
        history.record(self.folder, self.options)
        return found
