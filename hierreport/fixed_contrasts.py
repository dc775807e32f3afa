"""Marginal means of a factor's levels and their pairwise contrasts, multiplicity handled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from .api_inference import check_coverage
from .errors import ModelError
from .inference import has_kenward_roger, kenward_roger, satterthwaite, wald
from .mixed import State
from .records import FixedEffect, Record
from .reference_rows import reference_values
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
    """Marginal means and all pairwise contrasts of a factor's levels.

    Other factors are averaged over their levels with equal weights, numeric columns of the data are held at their means
    and the formula's functions evaluated there (log(x) at the mean of x), as emmeans does; lags and group means are
    held at their own means. Kenward-Roger's covariance and degrees of freedom where the fit has them.

    Sources: Searle, Speed & Milliken (1980), Am. Stat. 34, for marginal means; Holm (1979), Scand. J. Stat. 6; Tukey's
    studentized range with Kramer's (1956) form for unequal standard errors.

    Raises:
        ModelError: no such factor, an unknown adjustment, or a level that was dropped because it is aliased.
    """
    check_adjust(adjust, coverage)
    frame, state = fit.frame, fit.engine.reml_state
    factors = {f["name"]: f for f in frame.info.get("factors") or []}
    named = factors.get(factor) or next((f for f in factors.values() if f["column"] == factor), None)
    if named is None:
        do = f"Its factors: {', '.join(factors)}." if factors else "It has none; C(x) makes a factor of numbers."
        raise ModelError(f"the model has no factor {factor!r}.", "contrasts", do)
    levels = [entry["level"] for entry in named["levels"]]
    aliased = [term for term, _ in fit.engine.aliased]
    lost = [c.level for c in frame.columns if c.factor == named["column"] and c.name in aliased]
    if lost:
        raise ModelError(
            f"the level {lost[0]} of {factor} cannot be told from other predictors: its mean is not estimable.",
            "contrasts",
            "Leave out the predictor that it coincides with.",
        )
    terms = [*state.criterion.problem.basis.fixed, *aliased]
    parts = {t: _parts(frame, factors, t) for t in terms}
    if not any(type(p) is tuple and p[0] == named["column"] for found in parts.values() for p in found):
        raise ModelError(f"{factor} has no part in {fit.rung}.", "contrasts", f"Its formula: {fit.formula}.")
    held = reference_values(fit, list(dict.fromkeys(p for found in parts.values() for p in found if type(p) is str)))
    grid = np.array([[_value(parts[t], factors, held, named["column"], level) for t in terms] for level in levels])
    for level, free in zip(levels, _estimable(fit, grid, terms), strict=True):
        if not free:
            raise ModelError(
                f"the mean of {factor} {level} cannot be estimated: some combination of factor levels has no rows.",
                "contrasts",
                f"Leave out the interaction ({', '.join(aliased)} was dropped), or the level.",
            )
    means, adjusted, plain = compare_levels(fit, grid[:, : len(grid[0]) - len(aliased)], levels, adjust, coverage)
    others = [f["name"] for f in factors.values() if f is not named]
    note = "Numeric predictors are held at their means" + (
        f"; {', '.join(others)} averaged over levels with equal weights." if others else "."
    )
    return FactorContrasts(factor, levels, adjust, means, adjusted, [f.p for f in plain], note)


def _estimable(fit: Fit, grid: np.ndarray, terms: list[str]) -> np.ndarray:
    """Whether dropped columns take, at each row of a grid, the value that the kept ones give them in the data.

    Args:
        grid: values of the fixed columns, dropped ones last. (m, k)
    """
    kept = len(fit.engine.reml_state.criterion.problem.basis.fixed)
    if kept == len(terms):
        return np.ones(len(grid), dtype=bool)
    moments = fit.panel.moments
    at = [moments.columns.index(t) for t in terms]
    total = moments.parent_products.sum(axis=2)[np.ix_(at, at)]
    values = (grid - moments.shift[at]) / moments.scale[at]
    given = np.linalg.lstsq(total[:kept, :kept], total[:kept, kept:], rcond=None)[0]
    return np.all(np.abs(values[:, kept:] - values[:, :kept] @ given) < 1e-6, axis=1)


def check_adjust(adjust: str, coverage: float) -> None:
    """Refuse an unknown adjustment, and what is no coverage."""
    check_coverage(coverage, "contrasts")
    if adjust not in ADJUST:
        raise ModelError(f"unknown adjustment {adjust!r}.", "adjust", f"Use one of {', '.join(ADJUST)}.")


def compare_levels(
    fit: Fit, rows: np.ndarray, levels: list[str], adjust: str, coverage: float
) -> tuple[list[FixedEffect], list[FixedEffect], list[FixedEffect]]:
    """Linear combinations of the fixed effects by level, and their pairwise differences, adjusted and plain.

    Args:
        rows: one combination per level. (levels, p)
    """
    state, method = fit.engine.reml_state, fit.reml.fixed[0].df_method
    pairs = list(combinations(range(len(levels)), 2))
    means = estimates(state, rows, levels, coverage, method)
    if not pairs:
        return means, [], []
    names = [f"{levels[j]} - {levels[i]}" for i, j in pairs]
    plain = estimates(state, np.array([rows[j] - rows[i] for i, j in pairs]), names, coverage, method)
    return means, _adjusted(plain, adjust, len(levels), coverage), plain


def estimates(
    state: State, rows: np.ndarray, names: list[str], coverage: float = 0.95, method: str = "satterthwaite"
) -> list[FixedEffect]:
    """Wald-t tests and intervals of linear combinations of the fixed effects.

    Args:
        rows: the combinations. (m, p)
        method: degrees of freedom, as for ``inference.fixed_effects``.
    """
    beta = state.beta_raw
    cov, df, method = covariance_and_df(state, rows, method)
    out = []
    for row, name, own in zip(rows, names, df, strict=True):
        se = float(np.sqrt(max(row @ cov @ row, 0.0)))
        out.append(wald(name, float(row @ beta), se, float(own), method, coverage))
    return out


def covariance_and_df(state: State, rows: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Covariance of the fixed effects, degrees of freedom of linear combinations (m, p), and the method that gave them.

    Satterthwaite's stand in where Kenward and Roger's do not exist; pooled OLS has its residual ones.
    """
    cov = state.fixed_cov
    if not state.criterion.parameters.size:
        return cov, np.full(len(rows), float(state.criterion.problem.n_obs - rows.shape[1])), "residual"
    if method == "normal":
        return cov, np.full(len(rows), np.inf), method
    if method == "kenward-roger" and has_kenward_roger(state):
        return *kenward_roger(state, rows), method
    return cov, satterthwaite(state, rows), "satterthwaite"


def _parts(frame: Any, factors: dict[str, Any], term: str) -> list[str | tuple[str, str]]:
    """The factors of a fixed column: numeric columns of the frame's table, and dummies as (factor column, level)."""
    if term == INTERCEPT:
        return []
    known: dict[str, str | tuple[str, str]] = {name: name for name in frame.keep.table}
    known |= {f"{n}[{e['level']}]": (f["column"], e["level"]) for n, f in factors.items() for e in f["levels"]}
    known |= {c.name: (c.factor, c.level) for c in frame.columns if c.factor is not None}
    found = _split(term, known)
    if found is None:
        raise ModelError(f"the term {term} cannot be taken apart into factors and columns.", "contrasts")
    return found


def _split(term: str, known: dict[str, Any]) -> list[Any] | None:
    """The known parts that a term is made of, joined by colons, which names and levels may hold too."""
    if term in known:
        return [known[term]]
    for at in (i for i, char in enumerate(term) if char == ":" and term[:i] in known):
        rest = _split(term[at + 1 :], known)
        if rest is not None:
            return [known[term[:at]], *rest]
    return None


def _value(parts: list[Any], factors: dict[str, Any], held: dict[str, float], column: str, level: str) -> float:
    """A fixed column's value at one level of the factor, everything else at its reference."""
    sizes = {f["column"]: len(f["levels"]) for f in factors.values()}
    out = 1.0
    for part in parts:
        if type(part) is str:
            out *= held[part]
        else:
            out *= float(part[1] == level) if part[0] == column else 1.0 / sizes.get(part[0], 2)
    return out


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
