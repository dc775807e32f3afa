"""The simpler form of a singular rung: what the data can tell apart, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .lrt import term_label
from .spec import LevelSpec, ModelSpec

INTERCEPT = "(Intercept)"
# A standard deviation below this share of sigma (per sd of its column) is zero, as in lme4's isSingular.
ZERO = 1e-4
# Below this smallest eigenvalue of their correlation matrix, random coefficients are linearly dependent.
DEPENDENT = 1e-6


def simpler(
    spec: ModelSpec, estimate: Any, centres: Mapping[str, tuple[float, float]] | None = None
) -> tuple[ModelSpec, str] | None:
    """The next simpler specification of a singular fit.

    Zero variances go first (the term is dropped; all columns of a factor together, when all of them are zero); where
    none is zero, the coefficients of a linearly dependent block become independent of each other.

    Args:
        spec: the fitted specification.
        estimate: its estimate (``random`` with terms and cov, ``sigma``).
        centres: mean and standard deviation of each random column; (0, 1) where missing.

    Returns:
        The specification and what was done, in words; None where nothing is left to simplify.
    """
    random: list[LevelSpec] = []
    notes: list[str] = []
    for level in spec.random:
        blocks = tuple(_without(level.level, block, estimate, centres or {}, notes) for block in level.blocks)
        if any(blocks):
            random.append(LevelSpec(level.level, tuple(block for block in blocks if block)))
    if not notes:
        random = _split(spec, estimate, centres or {}, notes)
    if not notes:
        return None
    return ModelSpec(spec.fixed, tuple(random), spec.errors, spec.variances, spec.crossed), " and ".join(notes)


def label(before: ModelSpec, after: ModelSpec) -> str:
    """Suffix of the simpler form's name: ``independent`` where only correlations went, else ``reduced``."""
    columns = {(s.level, c) for s in before.random for c in s.terms}
    return "independent" if columns == {(s.level, c) for s in after.random for c in s.terms} else "reduced"


def _block_cov(level: str, block: Sequence[str], estimate: Any) -> np.ndarray:
    """Covariance of a block's coefficients in units of sigma squared."""
    found = next(entry for entry in estimate["random"] if entry["level"] == level)
    at = [list(found["terms"]).index(column) for column in block]
    return np.asarray(found["cov"], dtype=float)[np.ix_(at, at)] / estimate["sigma"] ** 2


def _without(
    level: str, block: tuple[str, ...], estimate: Any, centres: Mapping[str, tuple[float, float]], notes: list[str]
) -> tuple[str, ...]:
    """The block without its terms of zero variance."""
    sd = np.sqrt(np.maximum(np.diag(_block_cov(level, block, estimate)), 0.0))
    size = np.array([1.0 if c == INTERCEPT else centres.get(c, (0.0, 1.0))[1] for c in block])
    zero = {c for c, value in zip(block, sd * size, strict=True) if value < ZERO}
    gone = []
    for term in dict.fromkeys(term_label(c) for c in block):
        columns = [c for c in block if term_label(c) == term]
        if zero.issuperset(columns):
            gone += columns
            what = "intercepts" if term == INTERCEPT else f"slopes of {term}"
            notes.append(f"without {what} by {level} (variance zero)")
    return tuple(c for c in block if c not in gone)


def _split(
    spec: ModelSpec, estimate: Any, centres: Mapping[str, tuple[float, float]], notes: list[str]
) -> list[LevelSpec]:
    """Independent coefficients in the blocks that are linearly dependent; in the worst one where none is exactly so."""
    worst = {
        (level.level, i): _dependence(block, _block_cov(level.level, block, estimate), centres)
        for level in spec.random
        for i, block in enumerate(level.blocks)
        if len(block) > 1
    }
    if not worst:
        return list(spec.random)
    limit = max(DEPENDENT, min(worst.values()))
    out = []
    for level in spec.random:
        blocks: list[tuple[str, ...]] = []
        for i, block in enumerate(level.blocks):
            if worst.get((level.level, i), 1.0) <= limit:
                blocks += [(column,) for column in block]
                notes.append(f"independent coefficients by {level.level} (correlation at its limit)")
            else:
                blocks.append(block)
        out.append(LevelSpec(level.level, tuple(blocks)))
    return out


def _dependence(block: Sequence[str], cov: np.ndarray, centres: Mapping[str, tuple[float, float]]) -> float:
    """Smallest eigenvalue of the coefficients' correlation matrix, for centred columns.

    Centring matters: over calendar years the intercept of the year 0 is correlated with the slope to many digits, and
    the fit is none the worse for it.
    """
    mean = np.array([0.0 if c == INTERCEPT else centres.get(c, (0.0, 1.0))[0] for c in block])
    if INTERCEPT in block:
        shift = np.eye(len(block))
        shift[list(block).index(INTERCEPT)] += mean
        cov = shift @ cov @ shift.T
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0))
    if not sd.all():
        return 0.0
    return float(np.linalg.eigvalsh(cov / np.outer(sd, sd))[0])
