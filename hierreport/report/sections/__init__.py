"""The report's sections in their order: one small module each with ``TITLE`` and ``build(context)``.

``build`` returns a ``Content`` (findings, pictures, tables), or None where the artifacts hold nothing for it: the
report has no empty sections. The folded "how to read this" is ``templates/help/<name>.html``, the section's own
markup, where it has any, ``templates/extra/<name>.html``.
"""

from __future__ import annotations

from importlib import import_module

from ..parts import Section

NAMES = (
    "changes",
    "panel",
    "ladder",
    "variance",
    "effects",
    "groups",
    "assumptions",
    "second_opinion",
    "sensitivity",
    "methods",
    "glossary",
    "audit",
)


def sections() -> list[Section]:
    """Every section of the report."""
    found = []
    for name in NAMES:
        module = import_module(f".{name}", __package__)
        found.append(Section(name, module.TITLE, module.build))
    return found
