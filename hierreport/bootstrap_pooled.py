"""The bootstrap of pooled models: closed forms, no levels, no batch."""

from __future__ import annotations

import numpy as np

from .batch_fit import Fits
from .mixed import State
from .resample import generator, in_terms_of


def pooled_fits(state: State, n: int, seed: int) -> Fits:
    """Fits of outcomes simulated from a pooled model, from their known distribution (working columns, less Xβ)."""
    x = state.criterion.problem.basis.x_index
    problem = state.criterion.problem
    noise = state.sigma / problem.basis.y_scale
    freedom = problem.n_obs - len(x)
    half = np.linalg.inv(np.linalg.cholesky(problem.total[np.ix_(x, x)])) if len(x) else np.zeros((0, 0))
    beta, rss = np.empty((n, len(x))), np.empty(n)
    for d in range(n):
        random = generator(seed, d)
        beta[d] = noise * random.standard_normal(len(x)) @ half
        rss[d] = noise**2 * random.chisquare(freedom)
    return _pooled(state, beta, rss)


def closed_form(state: State, xy: np.ndarray, yy: np.ndarray) -> Fits:
    """Pooled fits from A'y (D, a) and y'y (D,) over all rows."""
    problem = state.criterion.problem
    x = problem.basis.x_index
    xx = problem.total[np.ix_(x, x)]
    beta = np.linalg.solve(xx, xy[:, x].T).T if len(x) else np.zeros((len(yy), 0))
    return _pooled(state, beta, yy - np.einsum("dp,dp->d", beta, xy[:, x]))


def _pooled(state: State, beta: np.ndarray, rss: np.ndarray) -> Fits:
    nu = state.criterion.nu
    value = nu * (1.0 + np.log(2.0 * np.pi * rss / nu)) + state.criterion.constant
    if state.criterion.reml and beta.shape[1]:
        value = value + np.linalg.slogdet(state.evaluation.xx.real)[1]
    return Fits(value, [], beta, np.sqrt(rss / nu), np.ones(len(rss), dtype=bool))


def pooled_pair(null: State, alternative: State, n: int, seed: int) -> tuple[Fits, Fits]:
    """Both fits of outcomes simulated from a pooled null, for a pooled alternative."""
    problem, small = alternative.criterion.problem, null.criterion.problem
    x, x_null = problem.basis.x_index, small.basis.x_index
    change = in_terms_of(problem.basis.transform, small.basis.transform)[np.ix_(x, x_null)]
    noise = null.sigma / problem.basis.y_scale
    root = np.linalg.cholesky(problem.total[np.ix_(x, x)])
    xy, yy = np.empty((n, len(x))), np.empty(n)
    for d in range(n):
        random = generator(seed, d)
        z = random.standard_normal(len(x)) * noise
        xy[d], yy[d] = root @ z, z @ z + noise**2 * random.chisquare(problem.n_obs - len(x))
    scale = small.basis.y_scale / problem.basis.y_scale
    wide = np.zeros((n, len(problem.total) - 1))
    wide[:, x] = xy
    narrow = np.zeros((n, len(small.total) - 1))
    narrow[:, x_null] = xy @ change / scale
    return closed_form(null, narrow, yy / scale**2), closed_form(alternative, wide, yy)
