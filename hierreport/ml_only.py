"""The ML optimum alone, for tests and scores that have no use for REML."""

from __future__ import annotations

import numpy as np

from .criterion import Criterion, factor
from .mixed import State, error_structure, fit, minimise, start_points
from .moments import PanelMoments
from .problem import build
from .spec import ModelSpec


def fit_ml(panel: PanelMoments, spec: ModelSpec, start: np.ndarray | None = None, restarts: int | None = 0) -> State:
    """Fit a model by ML.

    Args:
        panel: moments of the panel.
        spec: the model.
        start: θ to start from.
        restarts: as for ``mixed.fit``.

    Raises:
        ModelError: see ``mixed.fit``.
    """
    if spec.crossed is not None:
        return fit(panel, spec, start=start, restarts=restarts).ml_state
    problem = build(panel.moments, spec)
    criterion = Criterion(problem, False, factor(problem) if problem.levels else None, error_structure(problem, panel))
    return minimise(criterion, start_points(criterion, start, restarts))
