"""Inference from a fit: the methods of ``api.Fit`` beyond its estimates and predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .absorbed import AbsorbedEstimate
    from .conditional_aic import ConditionalAIC
    from .fixed_contrasts import FactorContrasts
    from .marginal_effects import MarginalEffects
    from .predictive import PredictiveScore
    from .robust import RobustInference, RobustTest
    from .within_between import FixedOrRandom


class Inference:
    """Methods of ``api.Fit``, which has the attributes."""

    def confint(
        self: Any, method: str = "wald", *, coverage: float = 0.95, draws: int = 1000, seed: int = 1, estimate: str = ""
    ) -> pd.DataFrame:
        """Intervals: kind, level, terms, estimate, low, high, method, note.

        Args:
            method: ``"wald"`` (fixed effects; the fit's degrees of freedom), ``"profile"`` (fixed effects, standard
                deviations, correlations, sigma, rho, ICC) or ``"bootstrap"`` (all of these, and R2; parametric,
                percentile).
            coverage: of the intervals.
            draws, seed: of the bootstrap.
            estimate: ``"ml"`` or ``"reml"``; by default REML, but ML for profiles (as lme4).

        Raises:
            ModelError: a method that this model does not have; the bootstrap is not for unequal variances and crossed
                effects.

        Sources: Bates, Mächler, Bolker & Walker (2015), sec. 5.1 (profiles); Davison & Hinkley (1997), eq. 5.6.
        """
        from .api_inference import confint

        return confint(self, method, coverage, draws, seed, estimate)

    def contrasts(self: Any, factor: str, adjust: str = "holm", coverage: float = 0.95) -> FactorContrasts:
        """Marginal means of a factor's levels and all pairwise contrasts (REML, the fit's degrees of freedom).

        Args:
            factor: a factor of the formula.
            adjust: for the number of contrasts: ``"holm"``, ``"tukey"``, ``"bonferroni"`` or ``"none"``.
            coverage: of the intervals.

        Returns:
            ``means`` and ``contrasts``; see ``fixed_contrasts.contrasts`` for what is held where, and the sources.

        Raises:
            ModelError: no such factor, or a level that cannot be estimated.
        """
        from .fixed_contrasts import contrasts

        return contrasts(self, factor, adjust, coverage)

    def marginal_effects(
        self: Any, column: str, by: str | None = None, adjust: str = "holm", coverage: float = 0.95
    ) -> MarginalEffects:
        """Average marginal effects of a numeric column of the data, and their contrasts between levels of a factor.

        Args:
            column: a numeric column; every term that it is part of counts (interactions, powers, logarithms).
            by: a factor of the formula: an effect per level, averaged over its rows, and all pairwise differences.
            adjust, coverage: as for ``contrasts``.

        Returns:
            ``effects`` and ``contrasts``: change of the expected outcome, on the model's scale, per unit of the column.

        Raises:
            ModelError: no such numeric predictor or factor; an effect that is not defined in some row.

        Source: Stata's ``margins, dydx()``; marginaleffects' ``avg_slopes``.
        """
        from .marginal_effects import marginal_effects

        return marginal_effects(self, column, by, adjust, coverage)

    def robust(self: Any, kind: str = "CR2", cluster: str | None = None, *, lags: int | None = None) -> RobustInference:
        """Fixed effects with errors that do not rest on the model's covariance.

        Args:
            kind: ``"CR0"``, ``"CR1"`` (Stata's), ``"CR2"`` (bias-reduced, with its degrees of freedom); for pooled OLS
                also ``"two-way"`` (groups and periods, each with its CR1 factor) and ``"driscoll-kraay"``. With weights
                and serially correlated errors CR2 is taken on whitened rows.
            cluster: level of the clusters, of those that the formula names; by default the outermost random level, the
                outermost of all for pooled OLS (two-way: the innermost).
            lags: of Driscoll and Kraay's Bartlett kernel; by default 4 (T/100)^(2/9), as Stata's xtscc.

        Raises:
            ModelError: an unknown kind or level, clusters finer than the outermost random level, or what pooled OLS
                alone has.

        Sources: Pustejovsky & Tipton (2018), J. Bus. Econ. Stat. 36; Cameron, Gelbach & Miller (2011), J. Bus. Econ.
        Stat. 29; Driscoll & Kraay (1998), Rev. Econ. Stat. 80.
        """
        from .api_inference import robust

        return robust(self, kind, cluster, lags)

    def robust_test(self: Any, terms: list[str], kind: str = "CR2", cluster: str | None = None) -> RobustTest:
        """Joint cluster-robust test that some fixed effects are zero.

        Args:
            terms: names of fixed effects.
            kind: ``"CR0"``, ``"CR1"`` (F with clusters − 1 degrees of freedom) or ``"CR2"`` (approximate Hotelling T²,
                clubSandwich's HTZ).
            cluster: as for ``robust``.

        Raises:
            HierreportError: an unknown term or kind; see ``robust``.
        """
        from .api_inference import clustered

        return clustered(self, kind, cluster).test([terms] if isinstance(terms, str) else list(terms))

    def absorbed(self: Any, *names: str) -> AbsorbedEstimate:
        """Least squares with a fixed effect for every group, every period or both, without their dummies.

        Args:
            names: grouping columns (or level paths) of the formula, the time column; the innermost level by default.
                The errors are clustered by the innermost one named, where it is the time alone by the innermost level.

        Raises:
            ConfigError: a name that is neither a group nor the time.
            ModelError: no predictor left, one group, too many columns.
        """
        from .absorbed import absorb

        return absorb(self.panel, self.spec.fixed, names, self.frame.info, lambda: self.frame)

    def fixed_or_random(self: Any, level: str | None = None, cluster: str | None = None) -> FixedOrRandom:
        """Fixed or random effects of a level: within estimator, Hausman's test, Mundlak's regression, verdicts.

        The model's fixed effects with an intercept per group of the level, by itself, with group means (Mundlak) and as
        within-between model.

        Args:
            level: grouping level; the innermost by default.
            cluster: level that the robust tests are clustered by; the outermost by default.

        Returns:
            ``panel`` (within, between, Swamy-Arora, Hausman, Breusch-Pagan, F test), ``joint`` (cluster-robust test of
            all contextual effects), ``verdicts`` per predictor and ``sentence``.

        Raises:
            ModelError: no groups, no intercept, or a model that cannot be identified.

        Sources: Hausman (1978), Econometrica 46; Mundlak (1978), Econometrica 46; Bell, Fairbrother & Jones (2019),
        Qual. Quant. 53.
        """
        from .api_inference import fixed_or_random

        return fixed_or_random(self, level, cluster)

    def conditional_aic(self: Any, estimate: str = "ml") -> ConditionalAIC:
        """Conditional AIC, with the correction for estimated covariance parameters.

        cAIC4 1.0 gives a slightly larger penalty: its analytic correction halves one term.

        Args:
            estimate: ``"ml"`` or ``"reml"``.

        Raises:
            ModelError: structured errors or a crossed effect.

        Source: Greven & Kneib (2010), Biometrika 97, theorem 3.
        """
        from .api_inference import check_estimate
        from .conditional_aic import conditional_aic

        check_estimate(estimate, "conditional_aic")
        return conditional_aic(self.engine.state(estimate))

    def log_score(self: Any, level: str | None = None, *, folds: int | None = None, seed: int = 1) -> PredictiveScore:
        """Predictive log score of groups left out; refitted by ML without them (larger is better).

        Args:
            level: level whose groups are left out, the outermost by default; ``"ahead"``: each of the last periods,
                predicted from those before it.
            folds: random folds of groups; by default every group is left out in turn, up to 200 groups.
            seed: of the folds.

        Raises:
            ModelError: an unknown level, too many folds, no time column for ``"ahead"``.
        """
        from .api_inference import log_score

        return log_score(self, level, folds, seed)

    def snijders_bosker(self: Any) -> dict[str, float] | None:
        """R² for single rows and for the group means of every level; None without an intercept.

        Nakagawa's marginal and conditional R² (in Johnson's extension to slopes) are in ``reml.r2``.

        Source: Snijders & Bosker (2012), Multilevel Analysis, 2nd ed., sec. 7.1.
        """
        from .explained import snijders_bosker

        return snijders_bosker(self.panel.moments, self.spec)

    def fitted(self: Any, kind: str = "conditional") -> np.ndarray:
        """Fitted values in the order of the rows: ``"conditional"`` (Xβ + Zu) or ``"marginal"`` (Xβ); REML."""
        from .api_inference import fitted

        return fitted(self, kind)

    def residuals(self: Any, kind: str = "conditional") -> np.ndarray:
        """Residuals in the order of the rows; REML.

        Args:
            kind: ``"conditional"`` (y − Xβ − Zu), ``"marginal"`` (y − Xβ), or ``"standardised"``: the conditional one
                over its residual standard deviation (with weights and unequal variances its own), as lme4's
                ``residuals(type = "pearson", scaled = TRUE)``.
        """
        from .api_inference import residuals

        return residuals(self, kind)
