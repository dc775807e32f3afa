"""The fitted rows once more with columns of the data changed: at their means, or moved a little."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from .errors import ModelError
from .predict import TYPES, filled, quoted, table_sql

if TYPE_CHECKING:
    from .api import Fit
    from .ingest.relation import Relation
    from .ingest.table import Recipe

# Steps of the central differences: of a column's standard deviation, and of a positive value itself, which keeps its
# logarithm defined.
STEP, SHARE = 1e-4, 1e-3


def numeric_columns(fit: Fit) -> list[str]:
    """Numeric columns of the data that the formula's right-hand side computes with."""
    from .formula import Name, walk

    recipe: Recipe = fit.frame.keep
    known = {recipe.relation.origin[a] for a in recipe.relation.base if a[0] == "n"}
    factors = {f["column"] for f in fit.frame.info.get("factors") or []}
    used = [n.name for v in recipe.relation.formula.variables for n in walk(v) if isinstance(n, Name)]
    return [name for name in dict.fromkeys(used) if name in known and name not in factors]


def reference_values(fit: Fit, variables: list[str]) -> dict[str, float]:
    """Numeric variables of the formula where the data's numeric columns are at their means over the fitted rows.

    Functions of a row are evaluated there: log(x) at the mean of x. What looks at other rows (lags, group means) and
    dates have no value there and are held at their own means.

    Args:
        variables: numeric columns of the frame's table.
    """
    frame = fit.frame
    recipe: Recipe = frame.keep
    if not variables:
        return {}
    means = frame.con.execute(f"SELECT {', '.join(f'avg({quoted(v)})' for v in variables)} FROM {frame.table}")
    own = dict(zip(variables, means.fetchone() or (), strict=True))
    if set(variables) <= set(numeric_columns(fit)):
        return own
    old = recipe.relation
    aliases = [a for a in old.base if a[0] == "n"]
    query = f"SELECT {', '.join(f'avg({a})' for a in aliases) or '1'} FROM ({_used_rows(fit, old.rows(numbered=True))})"
    found = dict(zip(aliases, frame.con.execute(query).fetchone() or (), strict=False))
    relation = copy.copy(old)
    relation.clean, relation.axis = True, None
    relation.base = {
        a: f"CAST({float(found[a])!r} AS DOUBLE)" if a in found else f"CAST(NULL AS {TYPES[a[0]]})" for a in old.base
    }
    relation.windows = dict.fromkeys(old.windows, "CAST(NULL AS DOUBLE)")
    items = ", ".join(quoted(v) for v in variables)
    row = frame.con.execute(f"SELECT {items} FROM ({table_sql(recipe, relation)}) LIMIT 1").fetchone() or ()
    return {v: own[v] if x is None else float(x) for v, x in zip(variables, row, strict=True)}


def _used_rows(fit: Fit, sql: str) -> str:
    return f"SELECT * FROM ({sql}) WHERE __row IN (SELECT __row FROM {fit.frame.table})"


def derivatives(fit: Fit, column: str) -> np.ndarray:
    """∂x/∂c of every fixed column x with respect to a numeric column c of the data, by fitted row. (n, p)

    Lags of the column move with it; group means and the constants of scale() and poly() stay.

    Raises:
        ModelError: a column that is no numeric predictor; one whose effect is not defined in some row.
    """
    frame = fit.frame
    recipe: Recipe = frame.keep
    known = numeric_columns(fit)
    if column not in known:
        raise ModelError(
            f"{column!r} is no numeric column of the model's predictors.",
            "marginal effects",
            f"Its numeric columns: {', '.join(known) or 'none'}; contrasts() compares the levels of a factor.",
        )
    old = recipe.relation
    alias = next(a for a in old.base if a[0] == "n" and old.origin[a] == column)
    query = f"SELECT stddev_samp({alias}), min({alias}) FROM ({_used_rows(fit, old.rows(numbered=True))})"
    spread, low = frame.con.execute(query).fetchone() or (None, None)
    step = f"{STEP * (spread or abs(low or 0.0) or 1.0)!r}::DOUBLE"
    if low is not None and low > 0:
        step = f"LEAST({step}, {SHARE!r} * {old.base[alias]})"
    chosen = [c for c in frame.columns if c.factor is None and c.name in {f.term for f in fit.reml.fixed}]
    ends = []
    for sign in "+-":
        relation: Relation = copy.copy(old)
        relation.clean, relation.base = True, {**old.base, alias: f"({old.base[alias]}) {sign} {step}"}
        rows = _used_rows(fit, table_sql(recipe, relation, (alias,)))
        items = ", ".join([alias, "__row", *(f"{c.sql} AS c{i}" for i, c in enumerate(chosen))])
        ends.append(frame.con.execute(f"SELECT {items} FROM ({rows}) ORDER BY __row").fetchnumpy())
    up, down = ends
    change = filled(up[alias]) - filled(down[alias])
    terms = [f.term for f in fit.reml.fixed]
    out = np.zeros((len(change), len(terms)))
    for i, c in enumerate(chosen):
        out[:, terms.index(c.name)] = (filled(up[f"c{i}"]) - filled(down[f"c{i}"])) / change
    if not out.any():
        raise ModelError(
            f"{column} has no effect of its own in the model: its terms were dropped or do not change with it.",
            "marginal effects",
            "Leave out the predictors that it is a combination of.",
        )
    bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
    if len(bad):
        raise ModelError(
            f"the effect of {column} is not defined in row {up['__row'][bad[0]]}, where its value is at an end of what "
            "the formula's functions take.",
            "marginal effects",
            "Leave such rows out.",
        )
    return out
