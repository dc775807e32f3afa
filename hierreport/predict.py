"""Predictions for the fitted rows and for new ones, with the formula's transforms and their constants from the fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError

if TYPE_CHECKING:
    from .api import Fit
    from .ingest.relation import Relation
    from .ingest.table import Recipe
    from .source import Source

INTERCEPT = "(Intercept)"
_TYPES = {"n": "DOUBLE", "t": "VARCHAR", "b": "BOOLEAN", "d": "TIMESTAMP"}


def predict(fit: Fit, new_rows: Any = None) -> dict[str, np.ndarray]:
    """Population and conditional predictions, in the order of the rows.

    Args:
        fit: the fit; its REML estimates are used. Serial correlation of the errors and a crossed
            effect of time play no part.
        new_rows: a table or path, or None for the fitted rows.

    Returns:
        ``population`` (fixed effects alone), ``conditional`` (with the random effects of every level whose group is
        known) and ``known`` (path of the innermost known level, empty where there is none), one entry per row.

    Raises:
        FormulaError: a column that the predictors need is missing or of another kind.
        DataError: a level of a factor that the fit has not seen.
    """
    frame = fit.frame
    table = f"(SELECT * FROM {frame.table})" if new_rows is None else f"({_replay(fit, new_rows)})"
    columns = [c for c in frame.columns if c.name in _used(fit)]
    items = [f"{c.sql} AS c{i}" for i, c in enumerate(columns)]
    items += [f"{_quoted(g)} AS g{i}" for i, g in enumerate(frame.groups)]
    _check_levels(fit, table)
    found = frame.con.execute(f"SELECT {', '.join([*items, '__row'])} FROM {table} ORDER BY __row").fetchnumpy()
    values = {c.name: _filled(found[f"c{i}"]) for i, c in enumerate(columns)}
    n = len(found["__row"])
    values[INTERCEPT] = np.ones(n)
    population = np.zeros(n)
    for effect in fit.reml.fixed:
        population += effect.estimate * values[effect.term]
    conditional = population.copy()
    known = np.full(n, "", dtype=object)
    ids = [_texts(found[f"g{i}"]) for i in range(len(frame.groups))]
    for spec in fit.spec.random:
        effects = fit.engine.effects(spec.level)
        at = _positions(effects["labels"], ids[: len(effects["labels"])])
        there = at >= 0
        for term, estimate in zip(effects["terms"], effects["estimate"], strict=True):
            conditional[there] += estimate[at[there]] * values[term][there]
        known[there] = spec.level
    return {"population": population, "conditional": conditional, "known": known}


def _used(fit: Fit) -> set[str]:
    """Columns that the model's fixed and random parts use; aliased ones are not among them."""
    return {f.term for f in fit.reml.fixed} | {t for spec in fit.spec.random for t in spec.terms}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _filled(column: Any) -> np.ndarray:
    """A column with NaN where it is NULL."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def _texts(column: Any) -> np.ndarray:
    """A column of labels with None where it is NULL."""
    return np.ma.filled(np.ma.asarray(column, dtype=object), None)


def _positions(labels: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> np.ndarray:
    """Index of every row's group among the fitted ones, -1 for a new group. (n,)"""
    where = {key: i for i, key in enumerate(zip(*(column.tolist() for column in labels), strict=True))}
    return np.array([where.get(key, -1) for key in zip(*(column.tolist() for column in ids), strict=True)], dtype=int)


def _check_levels(fit: Fit, table: str) -> None:
    """Refuse factor levels without a dummy: they would silently pass for the reference level."""
    for factor in fit.frame.info.get("factors") or []:
        levels = [entry["level"] for entry in factor["levels"]]
        column = _quoted(factor["column"])
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
    relation = _relation(recipe, source)
    sql = relation.rows(numbered=True)
    for step in recipe.sample.steps:
        if isinstance(step, str):
            sql = f"SELECT *, {step} FROM ({sql})"
        else:
            means, by, alias = step
            on = " AND ".join(f"r.{a} = {means}.{a}" for a in by) or "TRUE"
            sql = f"SELECT r.*, {means}.m AS {alias} FROM ({sql}) AS r LEFT JOIN {means} ON {on}"
    items = {name: alias for name, alias in recipe.table.items() if relation.axis or alias not in ("tm", "tl")}
    return f"SELECT __row, {', '.join(f'{alias} AS {_quoted(name)}' for name, alias in items.items())} FROM ({sql})"


def _relation(recipe: Recipe, source: Source) -> Relation:
    """The fit's relation over another source: the same aliases, typed anew; NULL for what prediction does not need."""
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
            relation.base[alias] = f"CAST(NULL AS {_TYPES[alias[0]]})"
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
            relation.base[alias] = f"CAST({_quoted(name)} AS {_TYPES[alias[0]]})"
    if not old.windows:
        relation.axis = None
    elif old.axis is not None and old.axis.name not in source.columns:
        column_type(source, old.axis.name, "new rows")
    return relation
