"""Fitting linear mixed models by ML and REML, from group moments alone.

Terms follow Bates, Mächler, Bolker & Walker (2015): θ holds the entries of the relative covariance factors Λ, T = ΛΛ'
is a level's covariance in units of σ². θ is unconstrained in sign, so the criterion is smooth through zero variances.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .criterion import LARGE, Criterion, ErrorStructure, Evaluation, Parameters, factor
from .describe import describe
from .effects import random_effects
from .errors import ModelError
from .errors_structure import AutoregressiveErrors, StratifiedErrors
from .moments import Moments, PanelMoments, PeriodMoments, StratumMoments
from .optimizer import Descent, Optimum, bfgs, descent, newton, newton_descent, together
from .problem import Level, Problem, build
from .records import Estimate, Rung
from .spec import LevelSpec, ModelSpec
from .start import moment_start

__all__ = ["LevelSpec", "MixedFit", "ModelSpec", "State", "fit"]

SINGULAR = 1e-4
# Residual sum of squares, as a share of the outcome's, that sums of products cannot tell from zero.
EXACT = 1e-12
# Residual standard deviation of a stratum, as a share of the largest, that counts as zero.
VANISHED = 1e-3
# Curvature in every entry of θ as large as itself that tells all variances from zero.
CLEAR = 1.0
# So few groups leave room for several optima, and make further starts cheap.
FEW = 100
# Descents are rough, to a predicted gain in deviance of ROUGH, before they are compared; ends within SAME of the best
# and at similar parameters count as the same optimum.
ROUGH, SAME = 1e-2, 0.1
# Predicted gain that one Newton step turns into less than rounding.
NEARBY = 1e-4


@dataclass
class State:
    """One optimum (ML or REML) with what inference needs from it; engine coordinates.

    Attributes:
        criterion: the criterion that was minimised.
        optimum: θ, value, gradient, Hessian.
        evaluation: criterion quantities at θ.
        sigma: residual standard deviation in the outcome's units.
        restarts_agree: None where one start was tried.
        optima: distinct values that the starts ended in.
        rivals: θ of other local optima, best first.
    """

    criterion: Criterion
    optimum: Optimum
    evaluation: Evaluation
    sigma: float
    restarts_agree: bool | None
    optima: tuple[float, ...]
    rivals: tuple[np.ndarray, ...] = ()

    @property
    def theta(self) -> np.ndarray:
        return self.optimum.theta

    @property
    def components(self) -> tuple[Level, ...]:
        """The nested levels, innermost first, then the crossed factor: what ``factors`` belongs to."""
        return self.criterion.parameters.levels

    @cached_property
    def factors(self) -> list[np.ndarray]:
        """Relative factors Λ, innermost level first."""
        return self.criterion.parameters.factors(self.theta)

    @property
    def rho(self) -> float | None:
        """Autocorrelation of the errors one time step apart; None for independent errors."""
        errors = self.criterion.errors
        return None if errors is None else errors.rho(self.theta[self.criterion.parameters.n_lambda :])

    @property
    def stratum_sigmas(self) -> dict[str, float]:
        """Residual standard deviation of every stratum, for models with unequal variances."""
        errors: Any = self.criterion.errors
        return errors.sigmas(self.sigma, self.theta[self.criterion.parameters.n_lambda :])

    @property
    def residual_variance(self) -> float:
        """σ²; where residual variances differ, their mean over the rows."""
        errors = self.criterion.errors
        spread = 1.0 if errors is None else errors.spread(self.theta[self.criterion.parameters.n_lambda :])[0]
        return float(self.sigma**2 * spread)

    @cached_property
    def boundary_slope(self) -> float | None:
        """Smallest slope of the criterion away from the zero variances, per group; None where no variance is zero."""
        slopes = []
        for number, level in enumerate(self.components):
            t = self.factors[number] @ self.factors[number].T
            for block in blocks_of(level):
                values, vectors = np.linalg.eigh(t[block])
                null = vectors[:, values < null_below(self.criterion.problem, values)]
                if null.shape[1]:
                    by_t = self.evaluation.by_t[number][block].real
                    slopes.append(np.linalg.eigvalsh(null.T @ by_t @ null)[0] / level.groups)
        return float(min(slopes)) if slopes else None

    @property
    def singular(self) -> bool:
        """True where a covariance matrix of random effects is (nearly) rank-deficient."""
        # In units of an average row's noise: with weights of 1e9 that is far smaller than sigma.
        unit = np.sqrt(self.criterion.problem.mean_weight)
        return any(is_singular(unit * lam, level) for lam, level in zip(self.factors, self.components, strict=True))

    @property
    def beta_raw(self) -> np.ndarray:
        """Fixed effects on the user's scale. (p,)"""
        basis = self.criterion.problem.basis
        if not len(basis.x_index):
            return np.zeros(0)
        right = basis.y_scale * self.evaluation.beta.real
        if basis.y_shift:
            right = right.copy()
            right[list(basis.fixed).index("(Intercept)")] += basis.y_shift
        return np.linalg.solve(basis.p_x, right)

    @property
    def fixed_cov(self) -> np.ndarray:
        """Covariance of the fixed effects on the user's scale. (p, p)"""
        basis = self.criterion.problem.basis
        if not len(basis.x_index):
            return np.zeros((0, 0))
        half = np.linalg.solve(basis.p_x, np.linalg.inv(np.linalg.cholesky(self.evaluation.xx.real)).T)
        return self.sigma**2 * half @ half.T

    def covariance(self, number: int) -> np.ndarray:
        """Covariance matrix of a level's random coefficients on the user's scale (levels innermost first). (k, k)"""
        level, lam = self.components[number], self.factors[number]
        half = np.linalg.solve(level.to_raw, lam) * self.sigma
        return half @ half.T


def null_below(problem: Problem, values: np.ndarray) -> float:
    """Eigenvalues of T below this are zero up to rounding."""
    return 1e-12 * max(1.0 / problem.mean_weight, float(values[-1]))


def is_singular(lam: np.ndarray, level) -> bool:
    """True where a block's T has an eigenvalue below ``SINGULAR``² of the noise level or of its largest."""
    for b in range(level.block.max() + 1):
        members = np.flatnonzero(level.block == b)
        values = np.linalg.svd(lam[np.ix_(members, members)], compute_uv=False)
        if values[-1] < SINGULAR * min(1.0, max(values[0], 1e-300)) or values[-1] < SINGULAR:
            return True
    return False


@dataclass
class MixedFit:
    """A fitted model: ML and REML optima of one specification. For pooled OLS both are closed-form."""

    problem: Problem
    ml_state: State
    reml_state: State
    periods: PeriodMoments | None = field(default=None, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def spec(self) -> ModelSpec:
        return self.problem.spec

    @property
    def n_obs(self) -> int:
        return self.problem.n_obs

    @property
    def groups(self) -> dict[str, int]:
        """Number of groups of every level in the model, outermost first."""
        return {level.name: level.groups for level in reversed(self.problem.components)}

    @property
    def aliased(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Fixed effects dropped because they are linear combinations of others, with those others."""
        return self.problem.basis.aliased

    def state(self, method: str) -> State:
        """The optimum of ``"ml"`` or ``"reml"``."""
        return self.ml_state if method.lower() == "ml" else self.reml_state

    @property
    def ml(self) -> Estimate:
        """The ML estimate as a record, with Satterthwaite degrees of freedom."""
        return self.estimate("ml")

    @property
    def reml(self) -> Estimate:
        """The REML estimate as a record, with Satterthwaite degrees of freedom."""
        return self.estimate("reml")

    def estimate(self, method: str, df: str = "satterthwaite") -> Estimate:
        """ML or REML estimate as a record; see ``inference.fixed_effects`` for ``df``."""
        return describe(self.state(method), df)

    def record(self, rung: str, formula: str, df: str = "satterthwaite") -> Rung:
        """The rung's record, as written to ``rungs/<rung>.json``."""
        spec = self.spec
        ml, reml = self.estimate("ml", df), self.estimate("reml", df)
        return Rung(rung, formula, self.n_obs, self.groups, spec.errors, spec.variances, spec.crossed, ml, reml)

    def effects(self, level: str, method: str = "reml") -> dict[str, Any]:
        """Random effects of one level: ``labels`` (an array per group column), ``n``, ``terms``, and ``estimate``,
        ``sd`` (conditional, lme4's postVar), ``se_prediction``, each (k, groups), on the user's scale.

        Raises:
            ModelError: the model has no such level.
        """
        levels = [lv.name for lv in self.problem.components]
        if level not in levels:
            raise ModelError(
                f"the model has no random effects at level {level!r}.", do=f"Its levels: {', '.join(levels[::-1])}."
            )
        number = levels.index(level)
        out = dict(self._effects(method)[number])
        if level == self.spec.crossed:
            if self.periods is not None:
                out["labels"], out["n"] = (self.periods.periods,), self.periods.count
            return out
        moments, starts = self.problem.moments, self.problem.levels[number].starts
        depth = moments.levels.index(level)
        out["labels"] = tuple(ids[starts] for ids in moments.labels[: depth + 1])
        out["n"] = np.add.reduceat(moments.n, starts)
        return out

    def _effects(self, method: str) -> list[dict[str, Any]]:
        if method not in self._cache:
            self._cache[method] = random_effects(self.state(method))
        return self._cache[method]


def fit(
    panel: PanelMoments | Moments,
    spec: ModelSpec,
    *,
    start: np.ndarray | None = None,
    restarts: int | None = None,
) -> MixedFit:
    """Fit a model by ML and by REML.

    Args:
        panel: moments of the panel.
        spec: fixed columns and random terms; no random terms means pooled OLS.
        start: θ to start from besides the moment start (a smaller rung's optimum, say), engine units, may be None.
        restarts: further starts tried; by default one where the fit is cheap.

    Raises:
        ModelError: the model cannot be identified from these data.
    """
    if isinstance(panel, Moments):
        panel = PanelMoments(panel)
    problem, criterion = prepared(panel, spec)
    found = fit_criterion(criterion, start=start, restarts=restarts)
    found.periods = panel.periods if problem.crossed is not None else None
    return found


def prepared(panel: PanelMoments, spec: ModelSpec, reml: bool = False) -> tuple[Problem, Criterion]:
    """A model's working columns and its criterion.

    Raises:
        ModelError: the model cannot be identified from these data, or they lack what it needs.
    """
    if spec.crossed and panel.periods is None:
        raise ModelError("a crossed time effect needs a time column.", "crossed", "Name the time column.")
    problem = build(panel.moments, spec, len(panel.periods.periods) if spec.crossed and panel.periods else 0)
    return problem, criterion_of(problem, panel, reml)


def criterion_of(problem: Problem, panel: PanelMoments, reml: bool = False, given: bool = False) -> Criterion:
    """The criterion of a prepared problem.

    Args:
        panel: moments of the problem's rows, in its stored columns.
        given: variances by stratum are known, not estimated: see ``errors_structure.StratifiedErrors``.

    Raises:
        ModelError: the moments lack what the model needs.
    """
    errors = error_structure(problem, panel, given)
    if problem.crossed is None:
        return Criterion(problem, reml, factor(problem) if problem.levels else None, errors)
    if errors is None:
        from .crossed import crossed_criterion

        assert panel.periods is not None
        return crossed_criterion(problem, reml, panel.periods)
    from .crossed_errors import CrossedErrorsCriterion

    return CrossedErrorsCriterion(problem, reml, factor(problem) if problem.levels else None, errors)


def error_structure(problem: Problem, panel: PanelMoments, given: bool = False) -> ErrorStructure | None:
    """The residual structure that a specification asks for; None for independent errors of equal variance.

    Raises:
        ModelError: an unknown structure, or moments that lack what it needs.
    """
    spec = problem.spec
    if spec.errors not in ("iid", "ar1", "car1"):
        raise ModelError(f"unknown error structure {spec.errors!r}.", "errors", "Use iid, ar1 or car1.")
    serial, strata = spec.errors != "iid", None
    if serial and panel.lags is None:
        raise ModelError(
            "AR(1) errors need a time column without duplicate times within a group.",
            "errors",
            "Name the time column.",
        )
    if spec.variances:
        strata = panel.strata.get(spec.variances)
        if strata is None:
            raise ModelError(
                f"the moments were not computed by {spec.variances}.", "variances", "Name it when reading the panel."
            )
    if (problem.crossed is not None and (serial or strata is not None)) or (serial and strata is not None):
        return combined_errors(problem, panel, strata, given)
    if serial:
        assert panel.lags is not None
        return AutoregressiveErrors(problem, panel.lags, continuous=spec.errors == "car1")
    return None if strata is None else StratifiedErrors(problem, strata, given)


def combined_errors(
    problem: Problem, panel: PanelMoments, strata: StratumMoments | None, given: bool
) -> ErrorStructure:
    """AR(1) errors with unequal variances, or either beside a crossed effect."""
    from .errors_combined import CombinedErrors

    spec = problem.spec
    lags, cells = (panel.lags, panel.periods) if strata is None else (strata.lags, strata.cells)
    if spec.errors == "iid":
        lags = None
    elif lags is None:
        raise ModelError(
            f"the lagged moments were not computed by {spec.variances}.",
            "variances",
            "Name it with the time column when reading the panel.",
        )
    if problem.crossed is None:
        cells = None
    elif cells is None:
        raise ModelError(
            f"the moments by period were not computed by {spec.variances}.",
            "variances",
            "Name it with the time column when reading the panel.",
        )
    return CombinedErrors(problem, lags, strata, cells, spec.errors == "car1", given)


def fit_criterion(ml: Criterion, *, start: np.ndarray | None = None, restarts: int | None = None) -> MixedFit:
    """Both optima of a model given its ML criterion; REML starts from ML's optimum."""
    if not ml.dense:
        return _fit_criterion(ml, start, restarts)
    from .blas import one_thread

    with one_thread(ml.dense):
        return _fit_criterion(ml, start, restarts)


def _fit_criterion(ml: Criterion, start: np.ndarray | None, restarts: int | None) -> MixedFit:
    states: list[State] = []
    for reml in (False, True):
        criterion = ml.again(reml=True) if reml else ml
        starts = restricted_starts(criterion, states[0], restarts) if reml else start_points(criterion, start, restarts)
        hessian = states[0].optimum.hessian if reml and len(starts) == 1 else None
        with np.errstate(invalid="ignore", divide="ignore"):  # where nothing is left, which is refused next
            state = minimise(criterion, starts, hessian)
        check_residual(state)
        if ml.problem.spec.variances:
            check_strata(state)
        if reml and len(starts) == 1:
            state.restarts_agree = states[0].restarts_agree
        states.append(state)
    return MixedFit(ml.problem, states[0], states[1])


def start_points(criterion: Criterion, warm: np.ndarray | None, restarts: int | None) -> list[np.ndarray]:
    """Starts in order of promise: the warm one, the moment start, and others where that is cheap.

    In 3,624 fits to random panels (``benchmarks/starts.py``) the moment start alone missed the best optimum four times,
    three of them with 12 groups or fewer: with many groups a second start is for the certificate.
    """
    parameters = criterion.parameters
    if not parameters.size:
        return [np.zeros(0)]
    if criterion.errors is not None:
        return structured_starts(criterion, warm, restarts)
    starts = [lifted(criterion, warm)] if warm is not None and len(warm) == parameters.size else []
    if restarts == 0 and starts:
        return starts
    starts.append(parameters.theta(start_factors(criterion)))
    if restarts is None:
        restarts = int(is_cheap(criterion))
    if restarts:
        levels, few = parameters.levels, len(criterion.problem.n) <= FEW
        if few or len(levels) == 1:
            starts.append(parameters.theta([np.eye(level.size) for level in levels]))
        if len(levels) > 1:
            # Variance that one level takes from another makes local optima: try the outer levels alone.
            sizes = [0.1] + [1.0] * (len(levels) - 1)
            starts.append(parameters.theta([r * np.eye(lv.size) for r, lv in zip(sizes, levels, strict=True)]))
        if few:
            starts += leaning_starts(criterion)
    return starts


def leaning_starts(criterion: Criterion) -> list[np.ndarray]:
    """Slopes larger than intercepts, and slopes that go with the intercepts entirely, up or down.

    A slope whose covariate varies between groups more than within them has optima of each kind.
    """
    if all(np.bincount(level.block).max() == 1 for level in criterion.parameters.levels):
        return []
    steep = [np.diag(np.where(np.arange(level.size) > 0, 3.0, 1.0)) for level in criterion.parameters.levels]
    out = [criterion.parameters.theta(steep)]
    for sign in (1.0, -1.0):
        factors = start_factors(criterion)
        for lam, level in zip(factors, criterion.parameters.levels, strict=True):
            for b in range(level.block.max() + 1):
                first, *rest = np.flatnonzero(level.block == b)
                for row in rest:
                    lam[row] *= 0.1 * lam[first, first] / max(np.linalg.norm(lam[row]), 1e-12)
                    lam[row, first] = sign * lam[first, first]
        out.append(criterion.parameters.theta(factors))
    return out


def restricted_starts(criterion: Criterion, ml: State, restarts: int | None) -> list[np.ndarray]:
    """REML starts from ML's optima, the worse ones too; from the moment start where ML's is singular (beside an optimum
    that ML has at the boundary REML may have a better one); with few groups from all of ML's."""
    starts = [lifted(criterion, theta) for theta in (ml.theta, *ml.rivals)]
    if criterion.errors is not None or not criterion.parameters.size or restarts == 0:
        return starts
    if len(criterion.problem.n) <= FEW:
        return starts + start_points(criterion, None, restarts)
    if ml.singular:
        starts.append(criterion.parameters.theta(start_factors(criterion)))
    return starts


def is_cheap(criterion: Criterion) -> bool:
    """Whether an evaluation takes so little that a further start or two do not count."""
    problem = criterion.problem
    return len(problem.n) * len(problem.total) ** 2 + 0.1 * criterion.dense**3 < 3e5


def check_residual(state: State) -> None:
    """Refuse a fit that leaves no residual variance: its likelihood grows without bound.

    Raises:
        ModelError: the residual sum of squares is below ``EXACT`` of the outcome's.
    """
    problem = state.criterion.problem
    whole = problem.total[problem.basis.y_index, problem.basis.y_index]
    if not state.evaluation.r2.real > EXACT * whole:
        spared = " and the random effects" if problem.components else ""
        raise ModelError(
            f"the fixed effects{spared} reproduce the outcome {problem.moments.columns[-1]} up to rounding: no "
            "residual variance is left to estimate.",
            do="Look for predictors that the outcome was made of, or an outcome that does not vary within groups.",
        )


def check_strata(state: State) -> None:
    """Refuse a stratum whose variance goes to zero: the model reproduces its rows, say a single one.

    Raises:
        ModelError: its standard deviation is less than ``VANISHED`` of the largest.
    """
    sigmas = state.stratum_sigmas
    least = min(sigmas, key=lambda name: sigmas[name])
    if sigmas[least] < VANISHED * max(sigmas.values()):
        raise ModelError(
            f"the residual variance of stratum {least} goes to zero: the rest of the model reproduces its rows.",
            "variances",
            "Merge this stratum with another, or use equal variances.",
        )


def start_factors(criterion: Criterion) -> list[np.ndarray]:
    """Moment start of the nested levels; a crossed factor starts at a third of the noise level."""
    crossed = [np.full((1, 1), 0.3)] if criterion.problem.crossed is not None else []
    return moment_start(criterion) + crossed


def structured_starts(criterion: Criterion, warm: np.ndarray | None, restarts: int | None) -> list[np.ndarray]:
    """Starts of a model with an error structure: each of its starts with the iid optimum's and the moment Λ."""
    parameters = criterion.parameters
    if restarts == 0 and warm is not None and len(warm) == parameters.size:
        return [lifted(criterion, warm)]
    heads = [parameters.theta(start_factors(criterion))]
    if parameters.n_lambda:
        iid = Criterion(criterion.problem, criterion.reml, criterion.factored)
        scale, inverse = parameter_scale(iid, heads[0])
        heads.append(lifted(iid, bfgs(iid, heads[0], scale, inverse).theta))
    assert criterion.errors is not None
    tails = criterion.errors.starts()
    starts = [np.concatenate([head, tail]) for tail in tails for head in heads]
    if warm is not None and len(warm) == parameters.size:
        starts.insert(0, lifted(criterion, warm))
    return starts


def lifted(criterion: Criterion, theta: np.ndarray) -> np.ndarray:
    """θ with zero diagonals raised: zero is stationary, a descent could not leave it."""
    theta = theta.copy()
    diagonal = np.flatnonzero(criterion.parameters.diagonal)
    small = diagonal[np.abs(theta[diagonal]) < 0.02]
    theta[small] = 0.02
    return theta


def parameter_scale(criterion: Criterion, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Typical size of each entry of θ, and the initial inverse Hessian in those units."""
    scale, inverse = criterion.parameters.sizes(theta), np.ones(len(theta))
    for i, (number, row, column) in enumerate(criterion.parameters.entries):
        groups = criterion.parameters.levels[number].groups
        inverse[i] = 1.0 / (4.0 * groups) if row == column else 1.0 / (2.0 * groups)
    if criterion.errors is not None:
        inverse[criterion.parameters.n_lambda :] = criterion.errors.inverse_hessian(
            theta[criterion.parameters.n_lambda :]
        )
    return scale, inverse


def again(criterion: Criterion, theta: np.ndarray, hessian: np.ndarray | None, curvature: bool = True) -> State:
    """The optimum near θ, zero variances too: where a model was fitted to nearly the same data.

    Args:
        theta: where that one's optimum is.
        hessian: its Hessian, the metric of the descent; None where it is not known.
        curvature: Newton steps and a Hessian at the end; comparisons and scores do without.
    """
    theta = lifted(criterion, theta)
    end = bfgs(criterion, theta, *first_metric(criterion, theta, hessian))
    best = polish(criterion, end) if curvature else snap(criterion, end)
    evaluation = criterion.evaluate(best.theta)
    return State(criterion, best, evaluation, residual_sd(criterion, evaluation), None, (best.value,))


def first_metric(
    criterion: Criterion, theta: np.ndarray, hessian: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """``parameter_scale``, with the inverse of a Hessian known nearby where that is positive definite."""
    scale, inverse = parameter_scale(criterion, theta)
    if hessian is not None and len(theta):
        values, vectors = np.linalg.eigh(hessian * np.outer(scale, scale))
        if values[0] > 1e-6 * values[-1]:
            inverse = (vectors / values) @ vectors.T
    return scale, inverse


def minimise(
    criterion: Criterion, starts: list[np.ndarray], hessian: np.ndarray | None = None, curvature: bool = True
) -> State:
    """The best optimum from several starts, polished, with zero variances where they are optimal.

    Args:
        hessian: known near a single start, say of the same model's ML criterion.
        curvature: the Hessian exactly there; comparisons and scores do with one from nearby.
    """
    if not criterion.parameters.size:
        theta = np.zeros(0)
        evaluation = criterion.evaluate(theta, gradient=False)
        value = float(evaluation.value.real)
        optimum = Optimum(theta, value, np.zeros(0), np.zeros(0), True, np.zeros((0, 0)), "closed form")
        return State(criterion, optimum, evaluation, residual_sd(criterion, evaluation), None, (value,))
    ends = descend(criterion, starts, hessian)
    best = polish(criterion, min(ends, key=lambda end: end.value), 0.0 if curvature else NEARBY)
    best.others = [end.value for end in ends]
    gaps = [value - best.value for value in best.others if np.isfinite(value)]
    tolerance = SAME if len(starts) > 1 else 0.0
    agree = None if len(ends) == 1 else len(gaps) == len(ends) and max(gaps) < tolerance
    rivals = tuple(end.theta for end in sorted(ends, key=lambda end: end.value) if end.value - best.value > tolerance)[
        :2
    ]
    distinct = tuple(best.value + gap for gap in sorted({round(max(gap, 0.0), 5) for gap in gaps}))
    evaluation = best.evaluation or criterion.evaluate(best.theta)
    return State(criterion, best, evaluation, residual_sd(criterion, evaluation), agree, distinct, rivals)


def descend(criterion: Criterion, starts: list[np.ndarray], hessian: np.ndarray | None = None) -> list[Optimum]:
    """Where descents from the starts end; rough at first, and only those that lead elsewhere are followed.

    Newton steps where a Hessian costs little more than a gradient, BFGS elsewhere.
    """
    criterion.prepare(starts[0], LARGE)
    if criterion.stacks(starts[0]) and (ends := newton_ends(criterion, starts)):
        return ends
    enough = ROUGH if len(starts) > 1 else 0.0
    ends = together(criterion, [descent(x, *first_metric(criterion, x, hessian), enough=enough) for x in starts])
    ends.sort(key=lambda end: end.value)
    if len(starts) == 1:
        return ends
    followed = distinct(criterion, ends)
    met = ends[-1].value - ends[0].value < SAME and len(followed) == 1
    further = together(criterion, [onward(criterion, ends[i], met) for i in followed])
    for i, end in zip(followed, further, strict=True):
        ends[i] = end
    return ends


def distinct(criterion: Criterion, ends: list[Optimum]) -> list[int]:
    """The ends, sorted by value, that may lead to other optima than those before them, and to good ones."""
    out: list[int] = []
    for i, end in enumerate(ends):
        if not np.isfinite(end.value) or end.value > ends[0].value + 2.0:
            continue
        if not any(end.value - ends[o].value < SAME and alike(criterion, end.theta, ends[o].theta) for o in out):
            out.append(i)
    return out


def onward(criterion: Criterion, rough: Optimum, met: bool) -> Descent:
    """The descent from a rough end; with the metric that it has learnt where all starts met there.

    Elsewhere a rough end may be no end at all, but a metric that was misled.
    """
    known = (rough.value, rough.gradient, None)
    if met and rough.metric is not None:
        return descent(rough.theta, rough.scale, rough.metric, known=known)
    return descent(rough.theta, *parameter_scale(criterion, rough.theta), known=known)


def newton_ends(criterion: Criterion, starts: list[np.ndarray]) -> list[Optimum]:
    """Where Newton steps from the starts end; roughly where all meet: the polish goes on from there.

    A descent that is led to where another ended counts as ending there. Coefficients are taken in the order of falling
    variance at the first start, as ``polish`` does.

    Returns:
        The ends; none where the best did not converge.
    """
    ordered, _ = largest_first(criterion, starts[0])
    if ordered is not criterion:
        starts = [ordered.parameters.from_covariances(covariances(criterion, theta)) for theta in starts]
    sizes = ordered.parameters.sizes
    known: list[Optimum] = []

    def met(theta: np.ndarray, value: float) -> Optimum | None:
        there = (end for end in known if value > end.value - SAME and alike(ordered, theta, end.theta))
        return next(there, None)

    def walk(theta: np.ndarray) -> Descent:
        end = yield from newton_descent(theta, sizes(theta), sizes, ROUGH, flat=ROUGH, met=met)
        if end.converged:
            known.append(end)
        return end

    ends = together(ordered, [walk(theta) for theta in starts], curvature=True)
    ends.sort(key=lambda end: end.value)
    followed = distinct(ordered, ends)
    if len(followed) > 1:
        on = [
            newton_descent(end.theta, end.scale, sizes, known=(end.value, end.gradient, end.hessian))
            for end in (ends[i] for i in followed)
        ]
        for i, end in zip(followed, together(ordered, on, curvature=True), strict=True):
            ends[i] = end
    if not min(ends, key=lambda end: end.value).converged:
        return []
    if ordered is not criterion:
        for i, end in enumerate(ends):
            theta = criterion.parameters.from_covariances(covariances(ordered, end.theta))
            ends[i] = replace(end, theta=theta, hessian=None)
    return ends


def alike(criterion: Criterion, one: np.ndarray, other: np.ndarray) -> bool:
    """True where two rough ends are on their way to the same optimum.

    By ρ where there is one: it tells the optima apart, while Λ moves along flat valleys where ρ is near one.
    """
    split = criterion.parameters.n_lambda
    rho = [criterion.errors.rho(theta[split:]) if criterion.errors else None for theta in (one, other)]
    if rho[0] is not None and rho[1] is not None:
        return abs(rho[0] - rho[1]) < 0.05
    if not criterion.levels:  # pooled, with residual variances by stratum
        return bool(np.all(np.abs(one - other) < 0.05))
    sds, pivots = [], []
    for theta in (one, other):
        sds.append(np.concatenate([np.sqrt(np.diag(t)) for t in covariances(criterion, theta)]))
        pivots.append(np.abs(theta[:split][criterion.parameters.diagonal]))  # tell perfect correlations from others
    return all(np.all(np.abs(a - b) < 0.05 + 0.2 * np.maximum(a, b)) for a, b in (sds, pivots))


def polish(criterion: Criterion, best: Optimum, enough: float = 0.0) -> Optimum:
    """From the end of a descent to the optimum: Newton steps, zero variances, signs.

    Worked in the coefficients' order of falling variance, where Λ stays well conditioned as it loses rank.

    Args:
        enough: see ``newton``.
    """
    ordered, theta = largest_first(criterion, best.theta)
    if ordered is not criterion and ordered.stacks(theta):
        best = replace(best, theta=theta, hessian=None)
    elif ordered is not criterion:
        scale, inverse = parameter_scale(ordered, theta)
        best = bfgs(ordered, theta, scale, inverse)
    best.scale, _ = parameter_scale(ordered, best.theta)
    end = newton(ordered, best, enough=enough)
    if not end.converged and ordered.stacks(best.theta):
        scale, inverse = parameter_scale(ordered, best.theta)
        end = newton(ordered, bfgs(ordered, best.theta, scale, inverse))
    best = snap(ordered, end)
    for _ in range(3):
        # A zero variance is stationary whether or not it is optimal: leave it where the criterion falls beside it.
        escape = leave_boundary(ordered, best)
        if escape is None:
            break
        scale, inverse = parameter_scale(ordered, escape)
        again = snap(ordered, newton(ordered, bfgs(ordered, escape, scale, inverse)))
        if again.value >= best.value:
            break
        best = again
    parameters = criterion.parameters
    theta = parameters.from_covariances(covariances(ordered, best.theta), best.theta[parameters.n_lambda :])
    if ordered is criterion and best.hessian is not None:
        # Where only columns of Λ turned round, what is known turns with them.
        signs = parameters.signs(best.theta)
        if np.allclose(signs * best.theta, theta, rtol=1e-9, atol=1e-9):
            return turned(best, signs)
    evaluation = criterion.evaluate(theta)
    scale, _ = parameter_scale(criterion, theta)
    return Optimum(
        theta,
        float(evaluation.value.real),
        evaluation.gradient,
        scale,
        best.converged,
        criterion.hessian(theta),
        best.message,
        evaluation=evaluation,
    )


def turned(optimum: Optimum, signs: np.ndarray) -> Optimum:
    """The same optimum with the signs of θ's entries changed."""
    evaluation = optimum.evaluation
    if evaluation is not None:
        evaluation = replace(evaluation, gradient=signs * evaluation.gradient)
    return replace(
        optimum,
        theta=signs * optimum.theta,
        gradient=signs * optimum.gradient,
        hessian=None if optimum.hessian is None else signs[:, None] * signs * optimum.hessian,
        evaluation=evaluation,
    )


def covariances(criterion: Criterion, theta: np.ndarray) -> list[np.ndarray]:
    """Relative covariances T = ΛΛ' of every component at θ."""
    return [lam @ lam.T for lam in criterion.parameters.factors(theta)]


def largest_first(criterion: Criterion, theta: np.ndarray) -> tuple[Criterion, np.ndarray]:
    """The same criterion with every Λ triangular in the order of pivoted Cholesky, and θ there."""
    parameters = criterion.parameters
    orders = []
    for t, level in zip(covariances(criterion, theta), parameters.levels, strict=True):
        order: list[int] = []
        for b in range(level.block.max() + 1):
            left = [int(m) for m in np.flatnonzero(level.block == b)]
            rest = t.copy()
            while left:
                pick = max(left, key=lambda m: rest[m, m])
                order.append(pick)
                left.remove(pick)
                if rest[pick, pick] > 0:
                    rest = rest - np.outer(rest[:, pick], rest[pick]) / rest[pick, pick]
        orders.append(np.array(order))
    if all(np.array_equal(a, b) for a, b in zip(orders, parameters.orders, strict=True)):
        return criterion, theta
    ordered = copy(criterion)
    ordered.parameters = Parameters(parameters.levels, parameters.size - parameters.n_lambda, orders)
    tail = theta[parameters.n_lambda :]
    return ordered, ordered.parameters.from_covariances(covariances(criterion, theta), tail)


def residual_sd(criterion: Criterion, evaluation: Evaluation) -> float:
    return float(np.sqrt(evaluation.r2.real / criterion.nu) * criterion.problem.basis.y_scale)


def snap(criterion: Criterion, optimum: Optimum) -> Optimum:
    """Set variances that are zero up to rounding to exactly zero where the criterion agrees."""
    if optimum.hessian is not None and len(optimum.theta):
        curvature = np.linalg.eigvalsh(optimum.hessian * (optimum.scale[:, None] * optimum.scale))
        if curvature[0] > CLEAR:
            return optimum
    parameters = criterion.parameters
    tail = optimum.theta[parameters.n_lambda :]
    current = covariances(criterion, optimum.theta)
    noise = 2e-13 * max(abs(optimum.value), 1.0)
    for number, level in enumerate(parameters.levels):
        for block in blocks_of(level):
            values, vectors = np.linalg.eigh(current[number][block])
            sds = np.sqrt(np.maximum(values, 0.0))
            for drop in range(1, len(values) + 1):
                # The smallest is tried at any size: under REML, of groups that are fixed effects too, it is arbitrary.
                if drop > 1 and sds[drop - 1] > 0.02 * max(1.0, sds[-1]):
                    break
                trial = [t.copy() for t in current]
                trial[number][block] = (vectors[:, drop:] * values[drop:]) @ vectors[:, drop:].T
                theta = parameters.from_covariances(trial, tail)
                if not criterion(theta) <= optimum.value + noise:
                    break
                current, out = trial, criterion.evaluate(theta)
                optimum = Optimum(
                    theta, float(out.value), out.gradient, optimum.scale, optimum.converged, None, optimum.message
                )
    return optimum


def blocks_of(level: Level) -> list[tuple[np.ndarray, ...]]:
    """Index grids of a level's blocks of mutually correlated coefficients."""
    return [np.ix_(m, m) for m in (np.flatnonzero(level.block == b) for b in range(level.block.max() + 1))]


def leave_boundary(criterion: Criterion, optimum: Optimum) -> np.ndarray | None:
    """θ moved along a null direction of some T in which the criterion decreases; None at a true boundary optimum."""
    parameters = criterion.parameters
    tail = optimum.theta[parameters.n_lambda :]
    current = covariances(criterion, optimum.theta)
    by_t = None
    best, value = None, optimum.value - 2e-14 * abs(optimum.value)
    for number, level in enumerate(parameters.levels):
        for block in blocks_of(level):
            values, vectors = np.linalg.eigh(current[number][block])
            null = vectors[:, values < null_below(criterion.problem, values)]
            if not null.shape[1]:
                continue
            by_t = criterion.evaluate(optimum.theta).by_t if by_t is None else by_t
            slope, directions = np.linalg.eigh(null.T @ by_t[number][block] @ null)
            if slope[0] >= 0:
                continue
            step = null @ directions[:, 0]
            for size in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
                trial = [t.copy() for t in current]
                trial[number][block] += size * np.outer(step, step)
                theta = parameters.from_covariances(trial, tail)
                reached = criterion(theta)
                if reached < value:
                    best, value = theta, reached
    return best
