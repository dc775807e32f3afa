"""How uncertain a ranking of groups is."""

from __future__ import annotations

import numpy as np

DRAWS = 2_000_000  # numbers drawn in all, so that the cost does not grow with the groups


def rank_intervals(estimate: np.ndarray, sd: np.ndarray, seed: int = 20240517) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of each group's rank (1 = largest), by drawing effects from their conditional distributions.

    Effects of different groups are drawn as independent, which they are given the fixed effects.

    Returns: lowest and highest rank. (groups,) each
    """
    groups = len(estimate)
    draws = int(np.clip(DRAWS // max(groups, 1), 200, 2000))
    rng = np.random.default_rng(seed)
    sample = estimate + sd * rng.standard_normal((draws, groups))
    order = np.argsort(-sample, axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(1, groups + 1), order.shape), axis=1)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="nearest")
    return low.astype(int), high.astype(int)
