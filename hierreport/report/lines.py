"""Each group's fitted line against one predictor, and its rows with the other predictors set to their means.

Sums and a few groups' rows are read by SQL from panel.parquet; nothing here grows with the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .effects import involved
from .names import INTERCEPT

if TYPE_CHECKING:
    from .context import Context


@dataclass(frozen=True)
class GroupLines:
    """Fitted lines of the innermost groups that the chosen rung knows.

    Attributes:
        level: their level. term: the predictor on the horizontal axis.
        labels: ids joined by the unit separator (chr 31). own: ids without the parents'. n: rows. (G)
        low, high: range of the predictor in the group. (G,)
        baseline, slope: the group's line, other predictors at their means. (G,)
        population: baseline and slope of the population's line.
        observed: mean of the outcome. (G,)
        by_predictors, by_model: mean prediction without and with the groups' effects. (G,)
    """

    level: str
    term: str
    labels: list[str]
    own: list[str]
    n: np.ndarray
    low: np.ndarray
    high: np.ndarray
    baseline: np.ndarray
    slope: np.ndarray
    population: tuple[float, float]
    observed: np.ndarray
    by_predictors: np.ndarray
    by_model: np.ndarray
    _sql: tuple[str, str, str]  # relation, label, adjusted outcome
    _x: str

    def rows(self, context: Context, groups: list[int], most: int = 400) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Rows of some groups: predictor, outcome with the other predictors at their means."""
        relation, label, adjusted = self._sql
        marks = ", ".join("?" * len(groups))
        table = context.data.con.execute(
            f"SELECT {label} AS label, {self._x} AS x, {adjusted} AS y FROM {relation} WHERE label IN ({marks}) "
            f"QUALIFY row_number() OVER (PARTITION BY label ORDER BY x, y) <= {most} ORDER BY label, x, y",
            [self.labels[g] for g in groups],
        ).fetchnumpy()
        x, y = np.asarray(table["x"], float), np.asarray(table["y"], float)
        own = np.array([str(v) for v in table["label"]], dtype=object)
        return {g: (x[own == self.labels[g]], y[own == self.labels[g]]) for g in groups}

    def all_rows(self, context: Context, most: int = 3000) -> tuple[np.ndarray, np.ndarray] | None:
        """All rows, as in ``rows``; None where there are more than ``most``."""
        if self.n.sum() > most:
            return None
        relation, _, adjusted = self._sql
        table = context.data.con.execute(
            f"SELECT {self._x} AS x, {adjusted} AS y FROM {relation} ORDER BY 1, 2"
        ).fetchnumpy()
        return np.asarray(table["x"], float), np.asarray(table["y"], float)


def _axis_term(context: Context) -> str | None:
    """The first random slope's predictor, else the first numeric predictor that can be read alone."""
    fixed, blocked = context.fixed(), involved(context)
    candidates = [t for t in context.slope_terms if t in fixed]
    candidates += [t for t in fixed if context.names.parse(t).kind in ("log", "linear")]
    return next((t for t in candidates if t not in blocked), None)


def read_lines(context: Context) -> GroupLines | None:
    """None where the chosen rung has no groups or no numeric predictor, or panel.parquet is not there."""
    effects = context.data.effects(context.chosen)
    levels = [lv for lv in context.levels if lv in effects]
    term = _axis_term(context)
    columns = {c["name"]: c["sql"] for c in context.panel.get("columns", []) if c.get("sql")}
    fixed = {t: f["estimate"] for t, f in context.fixed().items() if t != INTERCEPT}
    random = {t for lv in levels for t in effects[lv].terms if t != INTERCEPT}
    if context.data.panel_file is None or not levels or term is None or not {*fixed, *random} <= set(columns):
        return None
    level = levels[-1]
    relation = f"read_parquet('{str(context.data.panel_file).replace(chr(39), chr(39) * 2)}')"
    label = _label(context, level)
    outcome = context.panel.get("outcome_sql") or '"' + context.outcome.replace('"', '""') + '"'
    names = list(dict.fromkeys([*fixed, *random]))
    sums = ", ".join(f"sum({columns[t]}) AS s{i}" for i, t in enumerate(names))
    table = context.data.con.execute(
        f"SELECT {label} AS label, count(*) AS n, sum({outcome}) AS y, min({columns[term]}) AS low, "
        f"max({columns[term]}) AS high{', ' + sums if sums else ''} FROM {relation} GROUP BY 1 ORDER BY 1"
    ).fetchnumpy()
    n = np.asarray(table["n"], float)
    total = {t: np.asarray(table[f"s{i}"], float) for i, t in enumerate(names)}
    means = {t: float(v.sum() / n.sum()) for t, v in total.items()}
    labels = [str(v) for v in table["label"]]
    intercept = float((context.fixed().get(INTERCEPT) or {}).get("estimate") or 0.0)
    fixed_baseline = intercept + sum(b * means[t] for t, b in fixed.items() if t != term)
    own = {t: np.zeros(len(labels)) for t in (INTERCEPT, *random)}
    for lv in levels:
        depth, e = lv.count("/") + 1, effects[lv]
        place = {k: i for i, k in enumerate(e.labels)}
        at = np.array([place.get(_parent(k, depth, level), -1) for k in table["label"]])
        for k, t in enumerate(e.terms):
            own[t] += np.where(at >= 0, e.estimate[k, at], 0.0)
    by_predictors = intercept + sum(b * total[t] / n for t, b in fixed.items())
    by_model = by_predictors + own[INTERCEPT] + sum(own[t] * total[t] / n for t in random)
    baseline = fixed_baseline + own[INTERCEPT] + sum(own[t] * means[t] for t in random if t != term)
    slope = fixed.get(term, 0.0) + (own[term] if term in own else np.zeros(len(labels)))
    others = "".join(f" - ({b!r}) * (({columns[t]}) - ({means[t]!r}))" for t, b in fixed.items() if t != term)
    return GroupLines(
        level,
        term,
        labels,
        [k.split(SEPARATOR)[-1] for k in labels],
        n.astype(int),
        np.asarray(table["low"], float),
        np.asarray(table["high"], float),
        baseline,
        slope,
        (fixed_baseline, fixed.get(term, 0.0)),
        np.asarray(table["y"], float) / n,
        by_predictors + 0 * n,
        by_model + 0 * n,
        (relation, label, f"({outcome}){others}"),
        f"({columns[term]})",
    )


SEPARATOR = "\x1f"


def _label(context: Context, level: str) -> str:
    """SQL of a group's full id, parts joined by a character that no name has."""
    depth = level.count("/") + 1
    parts = ['CAST("' + g.replace('"', '""') + '" AS VARCHAR)' for g in context.panel["groups"][:depth]]
    return " || chr(31) || ".join(parts)


def _parent(key: Any, depth: int, level: str) -> str:
    from .artifacts import shown

    return "/".join(shown(p) for p in str(key).split(SEPARATOR)[:depth])
