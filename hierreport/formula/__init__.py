"""Formulas in lme4's notation: parsed into a tree from a list of known functions, never evaluated as code."""

from __future__ import annotations

from .model import INTERCEPT, Formula, RandomTerm, parse
from .nodes import Call, Name, Node, Number, Op, Paren, Sign, Text, quote, strip, text, walk
from .terms import Term

__all__ = [
    "INTERCEPT",
    "Call",
    "Formula",
    "Name",
    "Node",
    "Number",
    "Op",
    "Paren",
    "RandomTerm",
    "Sign",
    "Term",
    "Text",
    "parse",
    "quote",
    "strip",
    "text",
    "walk",
]
