"""The textbook panel estimators and tests of one grouping level, from group moments.

Within, between, Swamy-Arora random effects, Hausman's test, Breusch & Pagan's LM test, the F test of unit effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .criterion import full_products
from .errors import ModelError
from .moments import Moments
from .problem import INTERCEPT, build, independent_columns
from .records import Record
from .spec import ModelSpec
from .tails import chi2_sf, f_sf

# A share of a column's variance below this is rounding: the column is constant within (or between) groups.
NO_VARIATION = 1e-12


@dataclass(frozen=True)
class PanelEstimate(Record):
    """One estimator: coefficients on the user's scale, their covariance, and the residual degrees of freedom."""

    estimator: str
    terms: list[str]
    estimate: list[float]
    se: list[float]
    cov: list[list[float]]
    df: int
    sigma2: float

    def coefficients(self) -> dict[str, float]:
        """Estimates by term."""
        return dict(zip(self.terms, self.estimate, strict=True))

    def standard_errors(self) -> dict[str, float]:
        """Standard errors by term."""
        return dict(zip(self.terms, self.se, strict=True))


@dataclass(frozen=True)
class PanelTest(Record):
    """One test: statistic, degrees of freedom (df2 for an F test), p, and what limits its use."""

    test: str
    statistic: float
    df1: int
    df2: int | None
    p: float
    informative: bool = True
    note: str = ""


@dataclass(frozen=True)
class PanelEstimators(Record):
    """What a panel's units say within and between, by predictor.

    Attributes:
        unit: path of the level; groups, balanced: number of units, and whether all have as many rows.
        time_varying, time_invariant: predictors with and without variation within units.
        no_between_variation: predictors whose unit means are all equal.
        within, between, random: estimates; None where there is nothing to estimate.
        sigma2_unit, sigma2_error: Swamy-Arora's variance components; sigma2_unit is set to zero where it is negative.
        hausman, breusch_pagan, f_test: tests; None where they do not exist. The F test is against pooled OLS of the
            predictors that vary within units: others are combinations of the unit effects that it tests.
    """

    unit: str
    groups: int
    balanced: bool
    time_varying: list[str]
    time_invariant: list[str]
    no_between_variation: list[str]
    within: PanelEstimate | None
    between: PanelEstimate | None
    random: PanelEstimate | None
    sigma2_unit: float | None
    sigma2_error: float | None
    hausman: PanelTest | None
    breusch_pagan: PanelTest | None
    f_test: PanelTest | None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Sums:
    """Sums of products of working columns (centred and scaled) for one level: total, within, and per unit n and Σw."""

    names: tuple[str, ...]
    n: np.ndarray
    sums: np.ndarray
    total: np.ndarray
    within: np.ndarray


@dataclass(frozen=True)
class _Fit:
    columns: list[int]
    beta: np.ndarray
    inverse: np.ndarray
    rss: float


def panel_estimators(moments: Moments, fixed: tuple[str, ...], level: str | None = None) -> PanelEstimators:
    """All estimators of one model.

    Args:
        moments: the panel's moments (without weights).
        fixed: names of the model's fixed columns with the intercept.
        level: the units; by default the innermost level.

    Sources: Swamy & Arora (1972), Econometrica 40, in Baltagi & Chang's (1994, J. Econometrics 62, sec. 3) form for
    unbalanced panels; Hausman (1978), Econometrica 46; Breusch & Pagan (1980), Rev. Econ. Stud. 47, with Baltagi & Li's
    (1990) form for unbalanced panels. The same statistics as plm's ``plm``, ``phtest``, ``plmtest`` and ``pFtest``.

    Raises:
        ModelError: an unknown level, no intercept, weights, a single unit or one row per unit.
    """
    level = moments.levels[-1] if level is None and moments.levels else level
    if level not in moments.levels:
        raise ModelError(
            f"the panel has no level {level!r}.", "within estimator", f"Its levels: {', '.join(moments.levels)}."
        )
    if moments.unweighted is not None:
        raise ModelError(
            "the classical panel estimators are defined without weights.",
            "within estimator",
            "Use the Mundlak regression of the weighted model.",
        )
    if INTERCEPT not in fixed:
        raise ModelError("the panel estimators need a model with an intercept.", "within estimator")
    starts = moments.starts(moments.levels.index(level))
    s, to_user = _prepare(moments, fixed, starts)
    x, y = list(range(1, len(s.names))), len(s.names)
    groups, n_obs = len(s.n), int(s.n.sum())
    if groups < 2 or groups == n_obs:
        what = "one unit" if groups < 2 else "one row per unit"
        raise ModelError(f"level {level} has {what}: within and between cannot be told apart.", "within estimator")

    between_products = (s.sums / s.n) @ s.sums.T
    spread = np.diag(s.total) - s.sums.sum(axis=1) ** 2 / n_obs
    across = np.diag(between_products) - s.sums.sum(axis=1) ** 2 / n_obs
    means = s.sums / s.n
    unequal = np.ptp(means, axis=1) > 1e-7 * np.sqrt(spread / n_obs)
    varying = [j for j in x if s.within[j, j] > NO_VARIATION * n_obs**0.5 * spread[j]]
    between_varying = [j for j in x if unequal[j] and across[j] > NO_VARIATION * spread[j]]

    within = _least_squares(s.within, varying, y, n_obs)
    df_within = n_obs - groups - len(within.columns)
    sigma2_error = within.rss / df_within if df_within > 0 else None
    mean_products = means @ means.T
    between = _least_squares(mean_products, [0, *between_varying], y, groups)
    df_between = groups - len(between.columns)
    balanced = bool(np.all(s.n == s.n[0]))

    sigma2_unit, random, notes = None, None, []
    if sigma2_error is not None and df_between > 0:
        weighted = _least_squares(between_products, [0, *between_varying], y, groups)
        kept = np.ix_(weighted.columns, weighted.columns)
        lost = float(np.trace(np.linalg.solve(between_products[kept], (s.sums @ s.sums.T)[kept])))
        sigma2_unit = (weighted.rss - df_between * sigma2_error) / (n_obs - lost)
        if sigma2_unit < 0:
            notes.append("Swamy and Arora's variance between units is negative; it is taken as zero.")
            sigma2_unit = 0.0
        share = sigma2_error / (sigma2_error + s.n * sigma2_unit)
        random_products = s.total - (s.sums * ((1.0 - share) / s.n)) @ s.sums.T
        quasi = _least_squares(random_products, [0, *x], y, n_obs)
        random = _estimate("Swamy-Arora", quasi, n_obs - len(quasi.columns), s, to_user)
    within_estimate = _estimate("within", within, df_within, s, to_user) if varying and df_within > 0 else None
    between_estimate = _estimate("between", between, df_between, s, to_user) if df_between > 0 else None

    pooled = _least_squares(s.total, [0, *varying], y, n_obs)
    f_test = None
    if df_within > 0:
        f = (pooled.rss - within.rss) / (groups - 1) / (within.rss / df_within)
        f_test = PanelTest("F test of unit effects", f, groups - 1, df_within, f_sf(f, groups - 1, df_within))
    return PanelEstimators(
        level,
        groups,
        balanced,
        [s.names[j] for j in varying],
        [s.names[j] for j in x if j not in varying],
        [s.names[j] for j in x if j not in between_varying],
        within_estimate,
        between_estimate,
        random,
        None if sigma2_unit is None else sigma2_unit * to_user[-1, -1] ** 2,
        None if sigma2_error is None else sigma2_error * to_user[-1, -1] ** 2,
        hausman(within_estimate, random, balanced),
        _breusch_pagan(s, x, y),
        f_test,
        notes,
    )


def hausman(within: PanelEstimate | None, random: PanelEstimate | None, balanced: bool) -> PanelTest | None:
    """Hausman's (1978) test of the within against the random-effects estimates.

    Returns:
        The classic statistic, flagged where it is uninformative; None without common predictors.
    """
    if within is None or random is None:
        return None
    common = [t for t in random.terms if t in within.terms]
    if not common:
        return None
    a, b = [within.terms.index(t) for t in common], [random.terms.index(t) for t in common]
    v_within, v_random = np.array(within.cov)[np.ix_(a, a)], np.array(random.cov)[np.ix_(b, b)]
    difference = np.array(within.estimate)[a] - np.array(random.estimate)[b]
    gap = v_within - v_random
    # In units of the within standard errors, so that the rank does not depend on the predictors' scales.
    se = np.sqrt(np.diag(v_within))
    values, vectors = np.linalg.eigh(gap / np.outer(se, se))
    along = vectors.T @ (difference / se)
    statistic = float(np.sum(along**2 / values)) if np.all(values != 0) else float("nan")
    notes = []
    if values[0] < -1e-9:
        notes.append(
            "The difference of the two covariance matrices is not positive definite: the statistic has no chi-squared "
            "distribution and its p is not to be used."
        )
    elif values[0] < 1e-9:
        notes.append("The two estimators coincide in some direction: the statistic is rounding noise there.")
    if not balanced:
        notes.append("On an unbalanced panel the statistic is erratic; read the Mundlak regression instead.")
    df = len(common)
    p = chi2_sf(statistic, df) if np.isfinite(statistic) and statistic >= 0 else float("nan")
    return PanelTest("Hausman", statistic, df, None, p, not notes, " ".join(notes))


def _prepare(moments: Moments, fixed: tuple[str, ...], starts: np.ndarray) -> tuple[_Sums, np.ndarray]:
    """Centred and scaled columns [1, x…, y] and their sums per unit; the map of coefficients to the user's scale."""
    problem = build(moments, ModelSpec(fixed))
    basis = problem.basis
    columns = [int(basis.x_index[basis.fixed.index(INTERCEPT)])]
    columns += [int(j) for name, j in zip(basis.fixed, basis.x_index, strict=True) if name != INTERCEPT]
    names = tuple(basis.fixed[list(basis.x_index).index(j)] for j in columns)
    working = [*columns, basis.y_index]
    constant = int(np.flatnonzero(moments.z_index == moments.columns.index(INTERCEPT))[0])
    by_unit = np.add.reduceat(moments.products[constant], starts, axis=1)
    sums = (basis.transform.T @ by_unit)[working]
    n = np.add.reduceat(moments.n, starts).astype(float)
    total = problem.total[np.ix_(working, working)]
    within = total - (sums / n) @ sums.T
    if moments.products.shape[0] == moments.products.shape[1]:
        # Unit by unit nothing cancels but the unit's own mean.
        full = full_products(problem, starts)[np.ix_(working, working)]
        within = (full - sums[:, None, :] * sums[None, :, :] / n).sum(axis=2)
    order = [list(basis.x_index).index(j) for j in columns]
    p_x = basis.p_x[np.ix_(order, order)]
    to_user = np.zeros((len(working), len(working)))
    to_user[:-1, :-1] = np.linalg.inv(p_x)
    to_user[0, -1], to_user[-1, -1] = basis.y_shift, basis.y_scale
    return _Sums(names, n, sums, total, within), to_user


def _least_squares(gram: np.ndarray, columns: list[int], y: int, rows: int) -> _Fit:
    """Least squares of y on the independent ones of some columns."""
    keep, _ = independent_columns(gram[np.ix_(columns, columns)], rows)
    kept = [columns[j] for j in keep]
    inverse = np.linalg.inv(gram[np.ix_(kept, kept)]) if kept else np.zeros((0, 0))
    beta = inverse @ gram[kept, y]
    b = np.zeros(len(gram))
    b[y], b[kept] = 1.0, -beta
    return _Fit(kept, beta, inverse, max(float(b @ gram @ b), 0.0))


def _estimate(name: str, fit: _Fit, df: int, s: _Sums, to_user: np.ndarray) -> PanelEstimate:
    """An estimate on the user's scale; without an intercept of its own it has no intercept there either."""
    sigma2 = fit.rss / df
    rows = fit.columns
    move = to_user[np.ix_(rows, rows)]
    scale = to_user[-1, -1]
    estimate = scale * move @ fit.beta
    if 0 in rows:
        estimate[rows.index(0)] += to_user[0, -1]
    cov = sigma2 * scale**2 * move @ fit.inverse @ move.T
    se = np.sqrt(np.diag(cov))
    terms = [s.names[j] for j in rows]
    return PanelEstimate(name, terms, estimate.tolist(), se.tolist(), cov.tolist(), df, sigma2 * scale**2)


def _breusch_pagan(s: _Sums, x: list[int], y: int) -> PanelTest:
    """LM test of a unit effect from the residuals of pooled OLS."""
    n_obs = s.n.sum()
    fit = _least_squares(s.total, [0, *x], y, int(n_obs))
    b = np.zeros(len(s.total))
    b[y], b[fit.columns] = 1.0, -fit.beta
    ratio = float(np.sum((b @ s.sums) ** 2) / fit.rss) - 1.0
    statistic = n_obs**2 / 2.0 * ratio**2 / (np.sum(s.n**2) - n_obs)
    return PanelTest("Breusch-Pagan LM", float(statistic), 1, None, chi2_sf(float(statistic), 1))
