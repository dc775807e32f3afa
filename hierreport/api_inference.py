"""Intervals, robust inference, residuals of a fit from Python; tables are pandas data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ConfigError, ModelError

if TYPE_CHECKING:
    import pandas as pd

    from .api import Fit
    from .intervals import Interval
    from .predictive import PredictiveScore
    from .robust import ClusterRobust, RobustInference
    from .within_between import FixedOrRandom

RESIDUALS = ("conditional", "marginal", "standardised")


def confint(fit: Fit, method: str, coverage: float, draws: int, seed: int, estimate: str) -> pd.DataFrame:
    """See ``Fit.confint``."""
    import pandas as pd

    check_coverage(coverage, "confint")
    check_whole(draws, 1, "draws", "confint")
    check_whole(seed, 0, "seed", "confint")
    if estimate:
        check_estimate(estimate, "confint")
    if method == "wald":
        found = _wald(fit, coverage, estimate)
    elif method == "profile":
        from .profile import profile

        found = profile(fit.engine, method=estimate or "ml", coverage=coverage)
    elif method == "bootstrap":
        from .bootstrap import bootstrap
        from .bootstrap_rows import read_rows

        serial = fit.spec.errors != "iid"
        own = read_rows(fit.frame, fit.panel) if serial else None
        result = bootstrap(fit.engine, draws, seed, method=estimate or "reml", rows=own)
        found = result.intervals("percentile", coverage)
    else:
        raise ConfigError(f"unknown intervals {method!r}.", "confint", "Use wald, profile or bootstrap.")
    names = ("kind", "level", "terms", "estimate", "low", "high", "method", "note")
    rows = [{name: getattr(i, name) for name in names} | {"terms": ", ".join(i.terms)} for i in found]
    return pd.DataFrame(rows, columns=list(names))


def _wald(fit: Fit, coverage: float, estimate: str) -> list[Interval]:
    from .inference import fixed_effects
    from .intervals import Interval

    state = fit.engine.state(estimate or "reml")
    own = fit.reml.fixed[0].df_method if fit.reml.fixed else "satterthwaite"
    found = fixed_effects(state, own if own in ("kenward-roger", "normal") else "satterthwaite", coverage)[0]
    return [
        Interval("fixed", "", (f.term,), f.estimate, f.ci_low, f.ci_high, coverage, f"Wald, {f.df_method}")
        for f in found
    ]


def check_coverage(coverage: float, where: str) -> None:
    """Refuse what is no share between 0 and 1."""
    if not isinstance(coverage, (int, float)) or not 0.0 < coverage < 1.0:
        raise ConfigError(f"{coverage!r} is no coverage.", where, "Give a share between 0 and 1, such as 0.95.")


def check_whole(value: Any, least: int, what: str, where: str) -> None:
    """Refuse what is no whole number, or a smaller one."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{what}={value!r} will not do.", where, f"Give a whole number of at least {least}.")


def level_path(fit: Fit, name: str | None) -> str | None:
    """A grouping level's path, from its last part too where that is unique."""
    levels = fit.panel.moments.levels
    ends = [path for path in levels if name in (path, path.rsplit("/", 1)[-1])]
    return ends[0] if len(ends) == 1 else name


def check_estimate(estimate: str, where: str) -> None:
    """Refuse what is neither ML nor REML."""
    if estimate not in ("ml", "reml"):
        raise ConfigError(f"unknown estimate {estimate!r}.", where, "Use ml or reml.")


def robust(fit: Fit, kind: str, cluster: str | None, lags: int | None) -> RobustInference:
    """See ``Fit.robust``."""
    key = kind.lower() if isinstance(kind, str) else ""
    if lags is not None and (key != "driscoll-kraay" or not isinstance(lags, int)):
        raise ConfigError(f"lags={lags!r} with {kind!r}.", "robust", "A whole number of lags goes with driscoll-kraay.")
    if key in ("two-way", "driscoll-kraay"):
        from .robust_periods import driscoll_kraay, two_way

        cells = cells_of(fit)
        cluster = level_path(fit, cluster)
        return two_way(fit.engine, cells, cluster) if key == "two-way" else driscoll_kraay(fit.engine, cells, lags)
    return clustered(fit, kind, cluster).record()


def clustered(fit: Fit, kind: str, cluster: str | None) -> ClusterRobust:
    """The cluster-robust covariance of a fit."""
    from .robust import cluster_robust

    levels = fit.panel.moments.levels
    if not levels:
        raise ModelError(
            "the model has no groups to cluster by.",
            "cluster",
            'Take the pooled rung of a ladder whose formula names them: ladder(data, "y ~ x + (1 | g)")["pooled"].',
        )
    if cluster is None and not fit.spec.random:
        cluster = levels[0]
    return cluster_robust(fit.engine, level_path(fit, cluster), str(kind).upper())


def fixed_or_random(fit: Fit, level: str | None, cluster: str | None) -> FixedOrRandom:
    """See ``Fit.fixed_or_random``."""
    from .within_between import fixed_or_random as decide

    moments = fit.panel.moments
    if not moments.levels:
        raise ModelError("the model has no groups.", "fixed or random effects", "Name one in the formula: (1 | g).")
    if cluster is None and len(moments.levels) > 1:
        cluster = moments.levels[0]
    return decide(moments, fit.spec.fixed, level_path(fit, level), cluster=level_path(fit, cluster))


def log_score(fit: Fit, level: str | None, folds: int | None, seed: int) -> PredictiveScore:
    """See ``Fit.log_score``."""
    from .predictive import left_out_score
    from .predictive_ahead import forward_score

    check_whole(seed, 0, "seed", "log score")
    if folds is not None:
        check_whole(folds, 2, "folds", "log score")
    if level != "ahead":
        return left_out_score(fit.engine, level_path(fit, level), k=folds, seed=seed, panel=fit.panel)
    step = None if fit.panel.lags is None else fit.panel.lags.step
    return forward_score(fit.panel.moments, cells_of(fit), fit.spec, step=step)


def cells_of(fit: Fit) -> Any:
    """Moments by group and period: sums where every cell has one row, else by stratum of the time column.

    Raises:
        ModelError: no time column.
    """
    from .moments import reduce_periods, reduce_strata

    if fit.frame.time is None:
        raise ModelError("what is by period needs a time column.", "periods", "Name it with time=.")
    periods = fit.panel.periods or reduce_periods(fit.frame, fit.panel.moments)
    if int(periods.cell_count.max()) == 1:
        return periods
    return reduce_strata(fit.frame, fit.panel.moments, fit.frame.time)


def fitted(fit: Fit, kind: str) -> np.ndarray:
    """See ``Fit.fitted``."""
    from .predict import predict

    if kind not in ("conditional", "marginal"):
        raise ConfigError(f"unknown fitted values {kind!r}.", "fitted", "Use conditional or marginal.")
    return predict(fit)["conditional" if kind == "conditional" else "population"]


def residuals(fit: Fit, kind: str) -> np.ndarray:
    """See ``Fit.residuals``."""
    if kind not in RESIDUALS:
        raise ConfigError(f"unknown residuals {kind!r}.", "residuals", f"Use one of {', '.join(RESIDUALS)}.")
    frame = fit.frame
    weight = '"' + frame.weights.replace('"', '""') + '"' if frame.weights else "1.0"
    items = f"{frame.outcome.sql} AS y, {weight} AS w"
    stratum = fit.spec.variances
    if stratum is not None and kind == "standardised":
        from .variants import stratum_label

        items += f", {stratum_label(frame, stratum)} AS s"
    found = frame.con.execute(f"SELECT {items} FROM {frame.table} ORDER BY __row").fetchnumpy()
    y: np.ndarray = np.ma.filled(np.ma.asarray(found["y"], dtype=float), np.nan)
    raw = y - fitted(fit, "marginal" if kind == "marginal" else "conditional")
    if kind != "standardised":
        return raw
    sigma: Any = fit.reml.sigma
    if stratum is not None:
        own = fit.engine.reml_state.stratum_sigmas
        sigma = np.array([own[str(s)] for s in found["s"]])
    return raw * np.sqrt(np.ma.filled(np.ma.asarray(found["w"], dtype=float), np.nan)) / sigma
