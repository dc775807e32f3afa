"""The report of the shipped companies panel, from the real stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def companies(run_stages: Any) -> Path:
    return run_stages("uk_firms")


def test_size(companies):
    assert (companies / "report.html").stat().st_size < 1_000_000


def test_verdict_names_the_rung_the_effect_and_the_errors(companies):
    plain = json.loads((companies / "summary.json").read_text(encoding="utf-8"))
    rung = json.loads((companies / "rungs" / f"{plain['rung']}.json").read_text(encoding="utf-8"))
    text = plain["text"].replace("\u202f", " ")
    assert f"rung {plain['rung']}." in text
    # 0.5 between neighbouring years where errors are taken to be independent
    assert "errors that carry over from one year to the next" in text and "tests ask for correlated errors (p" in text
    wage = next(f["estimate"] for f in rung["reml"]["fixed"] if f["term"] == "log(wage)")
    change = 100 * (1.1**wage - 1)
    assert f"A 10 % increase in real wage goes with {-change:.1f} % lower employment" in text
    effect = plain["verdict"]["effects"][0]["numbers"]
    assert effect["value"]["value"] == pytest.approx(-change, rel=1e-12)


def test_every_figure_and_table_is_there(companies):
    figures = {p.stem for p in (companies / "figures").glob("*.svg")}
    assert {"coverage", "nesting", "ladder", "variance", "forest", "residual_fitted", "residual_qq"} <= figures
    assert any(name.startswith("caterpillar") for name in figures)
    assert any(name.startswith("shrinkage") for name in figures)
    tables = {p.stem for p in (companies / "tables").glob("*.csv")}
    assert {"ladder", "ladder_tests", "effects", "effects_by_rung", "icc", "checks", "second_opinion"} <= tables
