"""Deriving the rungs, their names and formulas."""

from __future__ import annotations

from itertools import pairwise

import pytest
import reference_cases as references

from hierreport import lrt
from hierreport import rungs as ladder
from hierreport.spec import LevelSpec, ModelSpec

FIXED = ("(Intercept)", "log(wage)", "log(capital)", "year[1977]", "year[1978]")
ONE = "(Intercept)"


def rungs(*random: LevelSpec) -> dict[str, ModelSpec]:
    return dict(ladder.derive(FIXED, random, [s.level for s in random]))


def adds(specs: list[ModelSpec]) -> list[int]:
    return [len(lrt.difference(a, b).terms) for a, b in pairwise(specs)]


def test_the_ladder_of_a_formula():
    terms = (ONE, "log(capital)")
    found = rungs(LevelSpec("sector", (terms,)), LevelSpec("sector/firm", (terms,)))
    inner, slopes = LevelSpec("sector/firm", ((ONE,),)), LevelSpec("sector/firm", (terms,))
    assert found == {
        "pooled": ModelSpec(FIXED),
        "random_intercept": ModelSpec(FIXED, (inner,)),
        "random_slope": ModelSpec(FIXED, (slopes,)),
        "multilevel": ModelSpec(FIXED, (LevelSpec("sector", ((ONE,),)), slopes)),
        "multilevel_slopes": ModelSpec(FIXED, (LevelSpec("sector", (terms,)), slopes)),
    }


def test_several_slopes_and_several_levels():
    terms = (ONE, "log(wage)", "log(capital)")
    found = rungs(LevelSpec("a", (terms,)), LevelSpec("a/b", ((ONE,),)), LevelSpec("a/b/c", (terms,)))
    assert list(found) == [
        "pooled",
        "random_intercept",
        "random_slope_log_wage",
        "random_slope_log_capital",
        "multilevel_b",
        "multilevel_a",
        "multilevel_a_slopes_log_wage",
        "multilevel_a_slopes_log_capital",
    ]
    assert adds(list(found.values())) == [1] * 7


def test_independent_slopes_stay_independent():
    found = rungs(LevelSpec("g", ((ONE,), ("log(wage)",))))
    assert found["random_slope"].random == (LevelSpec("g", ((ONE,), ("log(wage)",))),)


def test_a_factor_is_one_term():
    found = rungs(LevelSpec("g", ((ONE, "year[1977]", "year[1978]"),)))
    assert list(found) == ["pooled", "random_intercept", "random_slope"]
    assert found["random_slope"].random[0].terms == (ONE, "year[1977]", "year[1978]")


def test_slopes_only_above():
    found = rungs(LevelSpec("a", ((ONE, "log(wage)"),)), LevelSpec("a/b", ((ONE,),)))
    assert list(found) == ["pooled", "random_intercept", "multilevel", "multilevel_slopes"]


def test_no_random_intercept():
    assert list(rungs(LevelSpec("g", (("log(wage)",),)))) == ["pooled", "random_slope"]
    found = rungs(LevelSpec("a", (("log(wage)",),)), LevelSpec("a/b", ((ONE,),)))
    assert list(found) == ["pooled", "random_intercept", "multilevel_slopes"]


def test_an_outer_level_alone_is_the_innermost_with_random_terms():
    found = ladder.derive(FIXED, [LevelSpec("a", ((ONE,),))], ["a", "a/b"])
    assert [name for name, _ in found] == ["pooled", "random_intercept"]


def test_no_random_part():
    assert ladder.derive(FIXED, []) == [("pooled", ModelSpec(FIXED))]


def test_names_do_not_collide():
    found = rungs(LevelSpec("g", ((ONE, "log(x)", "log x", "x.1"),)))
    assert list(found)[2:] == ["random_slope_log_x", "random_slope_log_x_2", "random_slope_x_1"]


def test_terms_of_an_interaction_with_a_factor():
    found = rungs(LevelSpec("g", ((ONE, "log(wage):year[1977]", "log(wage):year[1978]", "log(wage)"),)))
    assert list(found)[2:] == ["random_slope_log_wage_year", "random_slope_log_wage"]


@pytest.mark.parametrize("name", references.names())
def test_rungs_of_the_references_are_nested_and_add_one_term(name):
    case = references.case(name)
    for model in case.spec["models"]:
        spec = case.model_spec(model["id"])
        found = [s for _, s in ladder.derive(spec.fixed, spec.random)]
        assert found[0].random == ()
        assert found[-1] == spec
        assert adds(found) == [1] * (len(found) - 1)


def test_specification_survives_json():
    spec = ModelSpec(FIXED, (LevelSpec("g", ((ONE,), ("log(wage)",))),), "ar1", None, "year")
    record = ladder.Entry("x", spec, "f", "x", refused="because").to_dict()
    assert ladder.spec_from_dict(record["extra"]["spec"]) == spec
    assert record["refused"] == "because"
