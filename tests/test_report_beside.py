"""What the ladder section says of the variants beside the climb."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hierreport.report import choice


def told(*variants):
    """The sentences for variants (name, p, aic, variances, crossed) of a chosen rung with AIC 100."""
    rungs = {"rung": {"ml": {"aic": 100.0}, "variances": None, "crossed": None}}
    comparisons = []
    for name, p, aic, variances, crossed in variants:
        rungs[name] = {"ml": {"aic": aic}, "variances": variances, "crossed": crossed}
        comparisons.append({"null": "rung", "alternative": name, "p_boundary": p})
    context = SimpleNamespace(
        chosen="rung",
        data=SimpleNamespace(ladder={"comparisons": comparisons}, rungs=rungs),
        names=SimpleNamespace(variable=str),
        p_value=lambda p, source: f"p = {p:.3f} at {source}",
        fixed_point=lambda value, decimals: f"{value:.{decimals}f}",
    )
    return [sentence.text for sentence in choice.beside(context)]


def test_unequal_variances_that_the_data_ask_for_are_named():
    (sentence,) = told(("rung.var", 0.004, 80.0, "sector", None))
    assert "a residual variance per sector (p = 0.004 at ladder.json#/comparisons/0/p_boundary)" in sentence
    assert "rung.var" in sentence


def test_a_crossed_effect_goes_by_aic():
    (sentence,) = told(("rung.time", None, 93.5, None, "year"))
    assert "per year" in sentence and "lower by 6.5" in sentence


@pytest.mark.parametrize(
    "variant",
    [
        ("rung.var", 0.2, 99.0, "sector", None),
        ("rung.time", None, 99.0, None, "year"),
        ("higher", 0.001, 50.0, None, None),
    ],
)
def test_nothing_is_said_otherwise(variant):
    assert told(variant) == []
