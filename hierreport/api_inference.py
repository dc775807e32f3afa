"""Intervals, robust inference, residuals of a fit from Python; tables are pandas data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ConfigError, ModelError

if TYPE_CHECKING:
    import pandas as pd

    from .api import Fit
    from .intervals import Interval
    from .robust import RobustInference

RESIDUALS = ("conditional", "marginal", "standardised")


def confint(fit: Fit, method: str, coverage: float, draws: int, seed: int, estimate: str) -> pd.DataFrame:
    """See ``Fit.confint``."""
    import pandas as pd

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


def robust(fit: Fit, kind: str, cluster: str | None) -> RobustInference:
    """See ``Fit.robust``."""
    from .robust import cluster_robust

    key = kind.lower()
    if key in ("two-way", "driscoll-kraay"):
        from .robust_periods import driscoll_kraay, two_way

        cells = cells_of(fit)
        return two_way(fit.engine, cells, cluster) if key == "two-way" else driscoll_kraay(fit.engine, cells)
    levels = fit.panel.moments.levels
    if cluster is None and levels and not fit.spec.random:
        cluster = levels[0]
    return cluster_robust(fit.engine, cluster, kind.upper()).record()


def cells_of(fit: Fit) -> Any:
    """Moments by group and period: sums where every cell has one row, else by stratum of the time column.

    Raises:
        ModelError: no time column.
    """
    from .moments import reduce_periods, reduce_strata

    if fit.frame.time is None:
        raise ModelError("shocks shared by a period need a time column.", "robust", "Name it with time=.")
    periods = fit.panel.periods or reduce_periods(fit.frame, fit.panel.moments)
    if int(periods.cell_count.max()) == 1:
        return periods
    return reduce_strata(fit.frame, fit.panel.moments, fit.frame.time)


def fitted(fit: Fit, kind: str) -> np.ndarray:
    """See ``Fit.fitted``."""
    from .predict import predict

    if kind not in ("conditional", "marginal"):
        raise ConfigError(f"unknown fitted values {kind!r}.", "fitted", "Use conditional or marginal.")
    if kind == "conditional" and fit.spec.crossed is not None:
        raise ModelError(
            f"fitted values do not know the effects of {fit.spec.crossed}.",
            "fitted",
            'Use kind="marginal" and add effects() of the periods.',
        )
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
        from .variants import stratum_column

        column = stratum_column(frame, stratum).replace('"', '""')
        items += f", regexp_replace(CAST(\"{column}\" AS VARCHAR), '\\.0$', '') AS s"
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
