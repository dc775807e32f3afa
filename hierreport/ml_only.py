"""The ML optimum alone, for tests and scores that have no use for REML."""

from __future__ import annotations

import numpy as np

from .deletion import refit
from .mixed import State, minimise, prepared, start_points
from .moments import PanelMoments
from .spec import ModelSpec


def fit_ml(
    panel: PanelMoments,
    spec: ModelSpec,
    start: np.ndarray | None = None,
    restarts: int | None = 0,
    near: State | None = None,
) -> State:
    """Fit a model by ML.

    Args:
        panel: moments of the panel.
        spec: the model.
        start: θ to start from.
        restarts: as for ``mixed.fit``.
        near: the ML optimum of nearly the same panel, from which a few steps may be enough (no Hessian then).

    Raises:
        ModelError: see ``mixed.fit``.
    """
    _, criterion = prepared(panel, spec)
    if near is not None and len(near.theta) == criterion.parameters.size:
        return refit(near, criterion, curvature=False)
    return minimise(criterion, start_points(criterion, start, restarts), curvature=False)
