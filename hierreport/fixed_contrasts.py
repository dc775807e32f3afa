"""Marginal means of a factor's levels and their pairwise contrasts, multiplicity handled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ModelError
from .inference import satterthwaite, wald
from .mixed import State
from .records import FixedEffect, Record
from .tails import student_quantile

if TYPE_CHECKING:
    from .api import Fit

INTERCEPT = "(Intercept)"
ADJUST = ("holm", "tukey", "bonferroni", "none")


@dataclass(frozen=True)
class FactorContrasts(Record):
    """Marginal means and contrasts of one factor (REML).

    Attributes:
        factor, levels: the factor and its levels.
        adjust: how p-values and intervals of the contrasts allow for their number. Holm's p-values go with Bonferroni's
            intervals; the means are not adjusted.
        means: one per level; ``term`` is the level.
        contrasts: one per pair; ``term`` is ``"b - a"``, ``p`` and the interval are adjusted.
        p_unadjusted: of the contrasts.
        note: what the means are averaged over.
    """

    factor: str
    levels: list[str]
    adjust: str
    means: list[FixedEffect]
    contrasts: list[FixedEffect]
    p_unadjusted: list[float]
    note: str


def contrasts(fit: Fit, factor: str, adjust: str = "holm", coverage: float = 0.95) -> FactorContrasts:
    """Marginal means and all pairwise contrasts of a factor's levels, Satterthwaite degrees of freedom.

    Other factors are averaged over their levels with equal weights, numeric columns are held at their means, as
    emmeans does (but a transformed column such as log(x) is held at its own mean, not at the log of the mean of x:
    contrasts are the same). Interactions take products of these.

    Sources: Searle, Speed & Milliken (1980), Am. Stat. 34, for marginal means; Holm (1979), Scand. J. Stat. 6; Tukey's
    studentized range with Kramer's (1956) form for unequal standard errors.

    Raises:
        ModelError: no such factor, an unknown adjustment, or a level that was dropped because it is aliased.
    """
    if adjust not in ADJUST:
        raise ModelError(f"unknown adjustment {adjust!r}.", "adjust", f"Use one of {', '.join(ADJUST)}.")
    frame, state = fit.frame, fit.engine.reml_state
    factors = {f["name"]: f for f in frame.info.get("factors") or []}
    named = factors.get(factor) or next((f for f in factors.values() if f["column"] == factor), None)
    if named is None:
        do = f"Its factors: {', '.join(factors)}." if factors else "It has none; C(x) makes a factor of numbers."
        raise ModelError(f"the model has no factor {factor!r}.", "contrasts", do)
    levels = [entry["level"] for entry in named["levels"]]
    aliased = {term for term, _ in fit.engine.aliased}
    lost = [c.level for c in frame.columns if c.factor == named["column"] and c.name in aliased]
    if lost:
        raise ModelError(
            f"the level {lost[0]} of {factor} cannot be told from other predictors: its mean is not estimable.",
            "contrasts",
            "Leave out the predictor that it coincides with.",
        )
    terms = state.criterion.problem.basis.fixed
    grid = np.array([[_value(frame, factors, t, named["column"], level) for t in terms] for level in levels])
    pairs = list(combinations(range(len(levels)), 2))
    rows = np.array([grid[j] - grid[i] for i, j in pairs])
    means = estimates(state, grid, levels, coverage)
    plain = estimates(state, rows, [f"{levels[j]} - {levels[i]}" for i, j in pairs], coverage)
    adjusted = _adjusted(plain, adjust, len(levels), coverage)
    others = [f["name"] for f in factors.values() if f is not named]
    note = "Numeric predictors are held at their means" + (
        f"; {', '.join(others)} averaged over levels with equal weights." if others else "."
    )
    return FactorContrasts(factor, levels, adjust, means, adjusted, [f.p for f in plain], note)


def estimates(state: State, rows: np.ndarray, names: list[str], coverage: float = 0.95) -> list[FixedEffect]:
    """Wald-t tests and intervals of linear combinations of the fixed effects. rows (m, p)"""
    cov, beta = state.fixed_cov, state.beta_raw
    df = degrees_of_freedom(state, rows)
    method = "satterthwaite" if state.criterion.parameters.size else "residual"
    out = []
    for row, name, own in zip(rows, names, df, strict=True):
        se = float(np.sqrt(max(row @ cov @ row, 0.0)))
        out.append(wald(name, float(row @ beta), se, float(own), method, coverage))
    return out


def degrees_of_freedom(state: State, rows: np.ndarray) -> np.ndarray:
    """Satterthwaite's, or the residual ones of pooled OLS. (m,)"""
    if state.criterion.parameters.size:
        return satterthwaite(state, rows)
    return np.full(len(rows), float(state.criterion.problem.n_obs - rows.shape[1]))


def _value(frame: Any, factors: dict[str, Any], term: str, column: str, level: str) -> float:
    """A fixed column's value at one level of the factor, everything else at its reference."""
    if term == INTERCEPT:
        return 1.0
    known = {c.name: c for c in frame.columns}
    if term in known and known[term].factor is not None:
        own = known[term]
        if own.factor == column:
            return float(own.level == level)
        sizes = {f["column"]: len(f["levels"]) for f in factors.values()}
        return 1.0 / sizes.get(own.factor, 2)
    parts = _split(term)
    if len(parts) > 1 and all(p in known or _dummy(p, factors) for p in parts):
        return float(np.prod([_part(frame, factors, p, column, level) for p in parts]))
    return float(frame.means[term])


def _part(frame: Any, factors: dict[str, Any], part: str, column: str, level: str) -> float:
    found = _dummy(part, factors)
    if found is None:
        return _value(frame, factors, part, column, level)
    if found[0] == column:
        return float(found[1] == level)
    return 1.0 / next(len(f["levels"]) for f in factors.values() if f["column"] == found[0])


def _dummy(part: str, factors: dict[str, Any]) -> tuple[str, str] | None:
    """Column and level of ``year[1979]``, also where the main effect has no such column."""
    for name, factor in factors.items():
        if part.startswith(f"{name}[") and part.endswith("]"):
            return factor["column"], part[len(name) + 1 : -1]
    return None


def _split(term: str) -> list[str]:
    """Parts of an interaction: colons outside brackets."""
    parts, depth = [""], 0
    for char in term:
        depth += char in "[("
        depth -= char in "])"
        if char == ":" and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _adjusted(plain: list[FixedEffect], adjust: str, levels: int, coverage: float) -> list[FixedEffect]:
    """Contrasts with adjusted p-values and simultaneous intervals."""
    m = len(plain)
    if adjust == "none" or m == 1:
        return plain
    p = np.array([f.p for f in plain])
    if adjust == "holm":
        order = np.argsort(p, kind="stable")
        new = np.empty(m)
        new[order] = np.minimum(np.maximum.accumulate(p[order] * (m - np.arange(m))), 1.0)
    elif adjust == "bonferroni":
        new = np.minimum(p * m, 1.0)
    else:
        from scipy.stats import studentized_range

        df = [np.inf if f.df is None else f.df for f in plain]
        new = np.array(
            [studentized_range.sf(abs(f.statistic) * np.sqrt(2.0), levels, d) for f, d in zip(plain, df, strict=True)]
        )
    out = []
    for f, own in zip(plain, new, strict=True):
        used = np.inf if f.df is None else f.df
        if adjust == "tukey":
            half = f.se * float(studentized_range.ppf(coverage, levels, used)) / np.sqrt(2.0)
        else:
            half = f.se * student_quantile(1.0 - (1.0 - coverage) / (2.0 * m), used)
        half = float(half)
        out.append(
            FixedEffect(
                f.term,
                f.estimate,
                f.se,
                f.df,
                f.df_method,
                f.statistic,
                float(own),
                f.estimate - half,
                f.estimate + half,
            )
        )
    return out
