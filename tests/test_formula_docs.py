"""Every formula and function that docs/formulas.md shows is understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hierreport.formula import parse
from hierreport.formula.functions import FUNCTIONS

TEXT = (Path(__file__).parent.parent / "docs" / "formulas.md").read_text(encoding="utf-8").replace("\\|", "|")
SNIPPETS = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", TEXT)
FORMULAS = [s for s in SNIPPETS if re.match(r"y ~ ", s)]
TERMS = [s for s in SNIPPETS if re.match(r"\w+\(.+\)\Z", s) and s != "lag(mean(x))"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas(formula):
    assert parse(formula).terms


@pytest.mark.parametrize("term", TERMS)
def test_terms(term):
    assert [t.name for t in parse(f"y ~ {term}").terms]


def test_all_functions_are_described():
    described = set(re.findall(r"\w+", " ".join(SNIPPETS)))
    assert set(FUNCTIONS) <= described
    assert len(FORMULAS) >= 11 and len(TERMS) >= 18
