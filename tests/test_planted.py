"""The verdict on simulated panels with one planted trait each, through all stages: it must say the right thing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from planted_panels import rows, run

TRAITS: dict[str, dict[str, Any]] = {
    "slope": {"slope_sd": 0.5},
    "none": {"sector_sd": 0.0, "firm_sd": 0.0},
    "no_sectors": {"sector_sd": 0.0},
    "confounded": {"confounding": 1.2},
    "tails": {"degrees": 3.0},
}


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``summaries("slope")`` is the summary of a panel of ``TRAITS``, made once."""
    base = tmp_path_factory.mktemp("planted")
    return cache(lambda name: run(base / name, rows(11, **TRAITS[name])))


def said(summary: dict[str, Any], part: str) -> str:
    """A part of the verdict as plain text."""
    text = " ".join(s["text"] for s in summary["verdict"][part])
    return text.replace("\u202f", " ").replace("\u00a0", " ")


def effect(summary: dict[str, Any], term: str) -> dict[str, Any]:
    return next(e for e in summary["sections"]["effects"]["numbers"]["in_units"] if e["term"] == term)


def test_a_true_random_slope_is_found_sized_and_no_other_is(summaries: Any) -> None:
    summary = summaries("slope")
    choice = said(summary, "choice")
    assert choice.startswith("The data call for a baseline and a slope of x per firm")
    assert "for a slope of x per firm (p < 0.001)" in choice and "not for a slope of x per sector" in choice
    text = next(s for s in summary["verdict"]["variance"] if "differs between firms" in s["text"])
    assert text["numbers"]["sd"]["value"] == pytest.approx(0.5, abs=0.15)
    assert effect(summary, "x")["low"] < 0.5 < effect(summary, "x")["high"]
    assert effect(summary, "z")["high"] < 0
    assert all("choice of the rung is a close one" in s["text"] for s in summary["verdict"]["limits"])  # of sectors
    assert "differs between" not in said(summaries("tails"), "variance")


def test_no_group_effect_at_all_is_said_so(summaries: Any) -> None:
    summary = summaries("none")
    assert summary["rung"] == "pooled"
    choice = said(summary, "choice")
    assert choice.startswith("The data call for one baseline and one set of slopes for all: rung pooled.")
    assert "Likelihood-ratio tests do not ask for a baseline per firm" in choice
    assert "has no group levels" in said(summary, "variance") and "between firms" not in said(summary, "variance")
    assert effect(summary, "x")["low"] < 0.5 < effect(summary, "x")["high"]


def test_a_level_without_variance_is_not_called_for(summaries: Any) -> None:
    summary = summaries("no_sectors")
    assert said(summary, "choice").startswith("The data call for a baseline per firm: rung random_intercept.")
    assert "between sectors" not in said(summary, "variance") and "between firms" in said(summary, "variance")
    share = summary["verdict"]["variance"][0]["numbers"]["share_0"]["value"]
    assert share == pytest.approx(0.49 / 1.49, abs=0.08)


def test_a_singular_level_that_a_ladder_insists_on_is_left_out_and_named(tmp_path: Path) -> None:
    own = {"pooled": "y ~ x + z", "nested": "y ~ x + z + (1 | sector/firm)"}
    summary = run(tmp_path, rows(14, sector_sd=0.0), rungs=own)
    rung = json.loads((tmp_path / "results" / "planted" / "rungs" / "nested.json").read_text())
    assert rung["ml"]["singular"] and rung["ml"]["random"][0]["sd"] == [0.0]
    choice = said(summary, "choice")
    assert choice.startswith("The data call for a baseline per firm: rung nested_reduced.")
    assert "A baseline per sector is left out: the estimate of its variance is zero." in choice
    assert "between sectors" not in said(summary, "variance")


def test_a_confounded_predictor_limits_the_conclusion(summaries: Any) -> None:
    summary = summaries("confounded")
    limits = said(summary, "limits")
    assert "The predictors act differently within a firm than between them (p < 0.001)" in limits
    assert "with the means by firm in the model x goes from 0.6" in limits  # upwards of the true 0.5
    assert effect(summary, "x")["low"] > 0.5  # which its interval misses: the warning is needed
    assert "Random effects are unrelated to the predictors" in summary["checks"]["problem"]
    assert "act differently" not in said(summaries("slope"), "limits")


def test_heavy_tails_limit_what_is_said_of_rows_and_not_of_coefficients(summaries: Any) -> None:
    summary = summaries("tails")
    limits = said(summary, "limits")
    assert "heavy tails" in limits and "Intervals for coefficients rest on many rows and hold" in limits
    assert "Residuals follow a normal distribution" in summary["checks"]["problem"]
    assert effect(summary, "x")["low"] < 0.5 < effect(summary, "x")["high"]
    assert "heavy tails" not in said(summaries("slope"), "limits")
