"""The real stages one after another, on panels that not every rung can be fitted to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hierreport import stages
from hierreport.errors import HierreportError

FAULTLESS = ("fit", "infer", "verify", "sensitivity", "diagnose", "report")


def panel(per_group: int, noise: float) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), per_group)
    x = rng.normal(size=len(g))
    y = 1 + x + rng.normal(size=30)[g] + noise * rng.normal(size=len(g))
    return pd.DataFrame({"g": g, "t": np.tile(np.arange(per_group), 30), "x": x, "y": y})


@pytest.mark.parametrize(
    ("per_group", "noise", "formula", "refused", "why"),
    [
        (2, 0.5, "y ~ x + (1 + x | g)", "random_slope", "not fewer than the 60 rows"),
        (5, 0.0, "y ~ x + (1 | g)", "random_intercept", "no residual variance is left"),
    ],
)
def test_a_refused_rung_is_told_and_the_rest_reported(tmp_path, per_group, noise, formula, refused, why):
    folder = tmp_path / "a"
    folder.mkdir()
    panel(per_group, noise).to_csv(tmp_path / "d.csv", index=False)
    stages.ingest(folder, {"panel": str(tmp_path / "d.csv"), "formula": formula})
    for stage in FAULTLESS:
        getattr(stages, stage)(folder, {"title": "T"} if stage == "report" else {})
    record = json.loads((folder / "rungs" / f"{refused}.json").read_text())
    assert why in record["refused"]
    assert json.loads((folder / "ladder.json").read_text())["choice"]["rung"] != refused
    page = (folder / "report.html").read_text()
    assert "could not be fitted" in page and why in page


def test_a_report_needs_groups(tmp_path: Path):
    folder = tmp_path / "a"
    folder.mkdir()
    panel(5, 1.0).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(HierreportError, match=r"analyses\.a\.formula.*no random term"):
        stages.ingest(folder, {"panel": str(tmp_path / "d.csv"), "formula": "y ~ x", "time": "t"})
    assert not list(folder.iterdir())
