"""The pictures: one small module each, found through ``FIGURES``, all in the style of ``style.py``.

A figure is a function from the report's ``Context`` to a list of ``Picture``; the list is empty where there is
nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..report.context import Context
    from .style import Picture

# in the report's order; each names a module of this package with a function ``pictures``
FIGURES = (
    "nesting",
    "coverage",
    "ladder",
    "variance",
    "icc_curve",
    "forest",
    "profile",
    "spaghetti",
    "group_fits",
    "observed",
    "shrinkage",
    "arrows",
    "caterpillar",
    "ranks",
    "residual_fitted",
    "predictor_residuals",
    "residual_qq",
    "residual_groups",
    "residual_time",
    "random_qq",
    "influence",
    "sensitivity",
    "trend",
)


def pictures(name: str, context: Context) -> list[Picture]:
    """The pictures of one figure module.

    Raises: KeyError where there is no such figure.
    """
    if name not in FIGURES:
        raise KeyError(name)
    build: Callable[[Context], list[Picture]] = import_module(f".{name}", __package__).pictures
    return build(context)
