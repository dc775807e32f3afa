"""Glossary: the terms that the report uses."""

from __future__ import annotations

from ..context import Context
from ..parts import Content

TITLE = "Glossary"


def build(context: Context) -> Content:
    return Content()
