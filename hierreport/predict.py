"""Predictions for the fitted rows and for new ones, with the formula's transforms and their constants from the fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError
from .variants import stratum_label

if TYPE_CHECKING:
    from .api import Fit
    from .ingest.relation import Relation
    from .ingest.table import Recipe
    from .source import Source

INTERCEPT = "(Intercept)"
MANY = 1000
TYPES = {"n": "DOUBLE", "t": "VARCHAR", "b": "BOOLEAN", "d": "TIMESTAMP"}


@dataclass(frozen=True)
class Design:
    """What a prediction needs of each row, in the order of the rows. (n,) each

    Attributes:
        columns: the model's columns by name, the intercept too; NaN where a value is missing.
        at: per level of the model, outermost first, the position of the row's group among the fitted ones, -1 if new.
        known: path of the innermost known level, empty where there is none.
        period: position of the row's time among the fitted periods, -1 if new; None without a crossed effect.
        stratum: label of the row's residual variance, None where it is missing; None with equal variances.
    """

    columns: dict[str, np.ndarray]
    at: list[np.ndarray]
    known: np.ndarray
    period: np.ndarray | None = None
    stratum: np.ndarray | None = None


def predict(fit: Fit, new_rows: Any = None) -> dict[str, np.ndarray]:
    """Population and conditional predictions, in the order of the rows.

    Args:
        fit: the fit; its REML estimates are used. Serial correlation of the errors plays no part.
        new_rows: a table or path, or None for the fitted rows.

    Returns:
        ``population`` (fixed effects alone), ``conditional`` (with the random effects of every level whose group is
        known, and of the period with a crossed effect) and ``known`` (path of the innermost known level, empty where
        there is none), one entry per row.

    Raises:
        FormulaError: a column that the predictors need is missing or of another kind.
        DataError: a level of a factor that the fit has not seen.
    """
    return point_predictions(fit, design(fit, new_rows))


def point_predictions(fit: Fit, rows: Design) -> dict[str, np.ndarray]:
    """``predict`` of rows already read."""
    population = np.zeros(len(rows.known))
    for effect in fit.reml.fixed:
        population += effect.estimate * rows.columns[effect.term]
    conditional = population.copy()
    for spec, at in zip(fit.spec.random, rows.at, strict=True):
        effects = fit.engine.effects(spec.level)
        there = at >= 0
        for term, estimate in zip(effects["terms"], effects["estimate"], strict=True):
            conditional[there] += estimate[at[there]] * rows.columns[term][there]
    if rows.period is not None:
        there = rows.period >= 0
        conditional[there] += fit.engine.effects(str(fit.spec.crossed))["estimate"][0][rows.period[there]]
    return {"population": population, "conditional": conditional, "known": rows.known}


def intervals(
    fit: Fit,
    new_rows: Any = None,
    *,
    kind: str = "confidence",
    effects: bool = True,
    coverage: float = 0.95,
    scale: str = "model",
) -> dict[str, np.ndarray]:
    """Predictions with their intervals.

    Args:
        fit: the fit; REML.
        new_rows: a table or path, or None for the fitted rows.
        kind: ``"confidence"``: of the expected outcome; ``"prediction"``: of one new outcome (weight 1).
        effects: conditional on the groups' random effects (for new groups the effect's variance is added); without, of
            the population: the expected outcome over all groups, or a new outcome in a group nothing is known of.
        coverage: of the intervals.
        scale: ``"model"``, or ``"outcome"`` for a logarithmic outcome: the limits are exponentiated, ``fit`` is the
            median and ``mean`` the expected value under normality.

    Returns:
        ``fit``, ``se`` (of what the interval is for, model scale), ``df``, ``low``, ``high``, ``known``; ``mean`` with
        ``scale="outcome"``. The quantile is Student's with the fit's degrees of freedom for the population's expected
        outcome, with residual ones for pooled OLS, else normal (df infinite): variances are plugged in.

    Raises:
        ModelError: an unknown kind or scale, a scale that the outcome does not have, conditional intervals with a
            crossed effect.
        DataError: a prediction interval for a value whose residual variance the fit does not know.
    """
    from .api_inference import check_coverage
    from .errors import ModelError
    from .fixed_contrasts import covariance_and_df
    from .prediction_errors import conditional_variance, fixed_variance, random_variance

    if kind not in ("confidence", "prediction"):
        raise ModelError(f"unknown interval {kind!r}.", "predict", "Use confidence or prediction.")
    check_coverage(coverage, "predict")
    logarithm = fit.frame.outcome.name.startswith("log(")
    if scale not in ("model", "outcome") or (scale == "outcome" and not logarithm):
        raise ModelError(
            f"no predictions on the scale {scale!r}.",
            "predict",
            'Use "model", or "outcome" where the outcome is a logarithm.',
        )
    state = fit.engine.reml_state
    rows = design(fit, new_rows)
    points = point_predictions(fit, rows)
    terms = state.criterion.problem.basis.fixed
    x = np.column_stack([rows.columns[t] for t in terms]) if terms else np.zeros((len(rows.known), 0))
    good: np.ndarray = np.asarray(np.isfinite(x).all(axis=1))
    for spec in fit.spec.random:
        good &= np.all([np.isfinite(rows.columns[t]) for t in spec.terms], axis=0)
    columns = {name: values[good] for name, values in rows.columns.items()}
    at = [positions[good] for positions in rows.at[::-1]]
    df = np.full(len(good), np.inf)
    variance = np.full(len(good), np.nan)
    every = list(range(len(state.components)))
    if effects and fit.spec.random:
        variance[good] = conditional_variance(state, columns, at)
    else:
        cov = state.fixed_cov
        if terms and (kind == "confidence" or not every):
            cov, df[good], _ = covariance_and_df(state, x[good], fit.reml.fixed[0].df_method)
        variance[good] = fixed_variance(cov, x[good])
        if kind == "prediction" and every:
            variance[good] += random_variance(state, columns, every)
    needed = kind == "prediction" or scale == "outcome"
    residual = _residual_variance(fit, rows) if needed else np.zeros(len(good))
    if kind == "prediction":
        variance = variance + residual
    se = np.sqrt(np.maximum(variance, 0.0))
    half = se * _quantiles(0.5 + 0.5 * coverage, df)
    center = points["conditional" if effects else "population"]
    out = {"fit": center, "se": se, "df": df, "low": center - half, "high": center + half, "known": points["known"]}
    if scale == "outcome":
        spread = residual.copy()
        if not effects and every:
            spread[good] += random_variance(state, columns, every)
        elif effects:
            for number, positions in enumerate(at):
                new = positions < 0
                if new.any():
                    part = {name: values[new] for name, values in columns.items()}
                    spread[np.flatnonzero(good)[new]] += random_variance(state, part, [number])
        out["mean"] = np.exp(center + 0.5 * spread)
        for name in ("fit", "low", "high"):
            out[name] = np.exp(out[name])
    return out


def _quantiles(p: float, df: np.ndarray) -> np.ndarray:
    """Student's quantiles of many degrees of freedom; of very many different ones by SciPy, to ten digits. (n,)"""
    from .tails import student_quantile

    own, place = np.unique(df, return_inverse=True)
    if len(own) > MANY:
        from scipy.special import stdtrit

        return np.where(np.isinf(df), student_quantile(p, np.inf), stdtrit(df, p))
    return np.array([student_quantile(p, float(d)) for d in own])[place]


def _residual_variance(fit: Fit, rows: Design) -> np.ndarray:
    """σ² of every row, its own with unequal variances; NaN where the row's stratum is missing. (n,)

    Raises:
        DataError: a stratum that the fit does not know.
    """
    state = fit.engine.reml_state
    if rows.stratum is None:
        return np.full(len(rows.known), state.sigma**2)
    own = state.stratum_sigmas
    if len(rows.stratum) and all(s is None for s in rows.stratum):
        raise DataError(
            f"residual variances go by {fit.spec.variances}, which these rows do not have.",
            "new rows",
            'Add the column, or use interval="confidence".',
        )
    new = next((i for i, s in enumerate(rows.stratum) if s is not None and s not in own), None)
    if new is not None:
        raise DataError(
            f"{fit.spec.variances} is {rows.stratum[new]!r}, whose residual variance the fit does not know ("
            f"{', '.join(list(own)[:8])}{', …' if len(own) > 8 else ''}).",
            f"new rows, row {new + 1}",
            'Leave such rows out, or use interval="confidence".',
        )
    return np.array([np.nan if s is None else own[s] ** 2 for s in rows.stratum])


def design(fit: Fit, new_rows: Any = None) -> Design:
    """The model's columns and the groups of each row.

    Raises:
        FormulaError, DataError: see ``predict``.
    """
    frame = fit.frame
    table = f"(SELECT * FROM {frame.table})" if new_rows is None else f"({_replay(fit, new_rows)})"
    columns = [c for c in frame.columns if c.name in _used(fit)]
    items = [f"{c.sql} AS c{i}" for i, c in enumerate(columns)]
    items += [f"{quoted(g)} AS g{i}" for i, g in enumerate(frame.groups)]
    if fit.spec.crossed is not None:
        items.append(f"{quoted(str(frame.time))} AS time")
    if fit.spec.variances is not None:
        items.append(f"{stratum_label(frame, fit.spec.variances)} AS stratum")
    _check_levels(fit, table)
    found = frame.con.execute(f"SELECT {', '.join([*items, '__row'])} FROM {table} ORDER BY __row").fetchnumpy()
    values = {c.name: filled(found[f"c{i}"]) for i, c in enumerate(columns)}
    n = len(found["__row"])
    values[INTERCEPT] = np.ones(n)
    known = np.full(n, "", dtype=object)
    ids = [_texts(found[f"g{i}"]) for i in range(len(frame.groups))]
    at = []
    for spec in fit.spec.random:
        labels = fit.engine.effects(spec.level)["labels"]
        at.append(_positions(labels, ids[: len(labels)]))
        known[at[-1] >= 0] = spec.level
    period = stratum = None
    if fit.spec.crossed is not None:
        period = _period_of(fit, filled(found["time"]))
    if fit.spec.variances is not None:
        stratum = _texts(found["stratum"])
    return Design(values, at, known, period, stratum)


def _period_of(fit: Fit, time: np.ndarray) -> np.ndarray:
    """Position of every row's time among the fitted periods, -1 for a new one. (n,)"""
    assert fit.panel.periods is not None and fit.panel.periods.times is not None
    times = np.asarray(fit.panel.periods.times, dtype=float)
    order = np.argsort(times)
    at = np.clip(np.searchsorted(times[order], time), 0, len(times) - 1)
    return np.where(times[order][at] == time, order[at], -1)


def _used(fit: Fit) -> set[str]:
    """Columns that the model's fixed and random parts use; aliased ones are not among them."""
    return {f.term for f in fit.reml.fixed} | {t for spec in fit.spec.random for t in spec.terms}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def filled(column: Any) -> np.ndarray:
    """A column with NaN where it is NULL."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def _texts(column: Any) -> np.ndarray:
    """A column of labels with None where it is NULL."""
    found: Any = np.ma.asarray(column, dtype=object)
    out: np.ndarray = np.array(np.ma.getdata(found), dtype=object)
    out[np.ma.getmaskarray(found)] = None  # np.ma.filled(…, None) would fill with "?"
    return out


def _positions(labels: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> np.ndarray:
    """Index of every row's group among the fitted ones, -1 for a new group. (n,)"""
    where = {key: i for i, key in enumerate(zip(*(column.tolist() for column in labels), strict=True))}
    return np.array([where.get(key, -1) for key in zip(*(column.tolist() for column in ids), strict=True)], dtype=int)


def _check_levels(fit: Fit, table: str) -> None:
    """Refuse factor levels without a dummy: they would silently pass for the reference level."""
    for factor in fit.frame.info.get("factors") or []:
        levels = [entry["level"] for entry in factor["levels"]]
        column = quoted(factor["column"])
        query = f"SELECT {column}, min(__row) FROM {table} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2"
        for value, row in fit.frame.con.execute(query).fetchall():
            if value not in levels:
                raise DataError(
                    f"{factor['name']} is {value!r}, a level that the fit has not seen ({', '.join(levels[:8])}"
                    f"{', …' if len(levels) > 8 else ''}).",
                    f"new rows, row {row}",
                    "Leave such rows out.",
                )


def _replay(fit: Fit, new_rows: Any) -> str:
    """SQL of the new rows with the columns of the fitted frame's table and ``__row``."""
    from .source import open_source

    recipe: Recipe = fit.frame.keep
    source = open_source(new_rows, con=fit.frame.con)
    return table_sql(recipe, _relation(recipe, source, fit.spec.crossed is not None))


def table_sql(recipe: Recipe, relation: Relation, extra: Sequence[str] = ()) -> str:
    """SQL of a relation's rows with the columns of the fitted frame's table, ``__row`` and further relation columns."""
    sql = relation.rows(numbered=True)
    for step in recipe.sample.steps:
        if isinstance(step, str):
            sql = f"SELECT *, {step} FROM ({sql})"
        else:
            means, by, alias = step
            on = " AND ".join(f"r.{a} = {means}.{a}" for a in by) or "TRUE"
            sql = f"SELECT r.*, {means}.m AS {alias} FROM ({sql}) AS r LEFT JOIN {means} ON {on}"
    items = {name: alias for name, alias in recipe.table.items() if relation.axis or alias not in ("tm", "tl")}
    columns = ", ".join([*(f"{alias} AS {quoted(name)}" for name, alias in items.items()), *extra])
    return f"SELECT __row, {columns} FROM ({sql})"


def _relation(recipe: Recipe, source: Source, timed: bool) -> Relation:
    """The fit's relation over another source: the same aliases, typed anew; NULL for what prediction does not need.

    Args:
        timed: whether the rows' time is needed; lags need it anyway.
    """
    from .formula import Name, walk
    from .ingest.kinds import kind_of
    from .ingest.relation import Relation, column_type

    old = recipe.relation
    formula = old.formula
    nodes = {n.name: n for v in formula.variables for n in walk(v) if isinstance(n, Name)}
    fresh = Relation(source, formula, ())
    relation = copy.copy(old)
    relation.source, relation.base, relation.clean, relation.extra_condition = source, {}, True, ""
    for alias, name in old.origin.items():
        if name not in source.columns:
            if name in nodes:
                column_type(source, name, "new rows", formula, nodes[name])
            relation.base[alias] = f"CAST(NULL AS {TYPES[alias[0]]})"
            continue
        if alias[0] == "n":
            if kind_of(source.columns[name]) != "number":
                if name not in nodes:
                    relation.base[alias] = "CAST(NULL AS DOUBLE)"
                    continue
                raise fresh.not_a_number(nodes[name])
            relation.base[alias] = fresh.base[fresh.numeric(name)]
        elif alias[0] == "t":
            relation.base[alias] = fresh.base[fresh.label(name)]
        else:
            relation.base[alias] = f"CAST({quoted(name)} AS {TYPES[alias[0]]})"
    if not old.windows and not timed:
        relation.axis = None
    elif old.axis is not None and old.axis.name not in source.columns:
        column_type(source, old.axis.name, "new rows")
    return relation
