"""Which scale does the outcome ask for? The profile of a Box-Cox parameter on the chosen rung."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from ..distributions import chi2_upper
from ..evidence import Evidence
from ..record import OK, Check, graded, not_applicable
from ..refit import can_refit, criterion_of, descend, inverse_hessian, select_columns, specification, theta_of
from ..residual_sql import number
from ..words import NOTHING, fixed, pval, why_ok

NAME = "transformation"
TITLE = "The outcome is on the scale that the data ask for"
RULE = (
    "problem: the Box-Cox parameter is 0.35 or more from the scale in use, with p < 0.001; look: 0.25 or more, with p "
    "< 0.01 (0 is the logarithm, 0.5 the square root, 1 no transformation)"
)
SOURCE = "Box & Cox (1964), J. R. Stat. Soc. B 26; Gurka et al. (2006), J. R. Stat. Soc. A 169 (mixed models)"
GRID = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
NAMES = {
    -1.0: "the reciprocal",
    0.0: "the logarithm",
    0.5: "the square root",
    1.0: "no transformation",
    2.0: "the square",
}
# Outcomes that are already transformed: what undoes them, and their parameter.
KNOWN = {
    "log": ("exp({})", 0.0),
    "log2": ("pow(2.0, {})", 0.0),
    "log10": ("pow(10.0, {})", 0.0),
    "sqrt": ("(({}) * ({}))", 0.5),
}
CHI2_95 = 3.841458820694124
# Half a unit lies between the square root and its neighbours: beyond a quarter another of them is nearer, and 0.35 is
# past that by more than the parameter's usual error, so that an outcome to be square-rooted is seen as one.
LOOK_AWAY, PROBLEM_AWAY = 0.25, 0.35


def check(evidence: Evidence) -> Check:
    """Maximised likelihood over the Box-Cox parameter, refined around its top, against the scale in use."""
    spec = specification(evidence)
    original, current = outcome_sql(evidence)
    if not can_refit(spec):
        return not_applicable(NAME, TITLE, RULE, "This variant's likelihood is not profiled here.", SOURCE)
    (low,) = evidence.frame.con.execute(
        f"SELECT min(v), avg(ln(v)) FROM (SELECT {original} AS v FROM {evidence.frame.table}) WHERE v > 0"
    ).fetchall()
    ((negative,),) = evidence.frame.con.execute(
        f"SELECT count(*) FROM {evidence.frame.table} WHERE NOT ({original} > 0)"
    ).fetchall()
    if low[0] is None or negative:
        why = "The outcome has values that are not positive: a power or a logarithm is not defined for them."
        return not_applicable(NAME, TITLE, RULE, why, SOURCE)
    found = profile(evidence, original, float(low[1]), current)
    if found is None:
        return not_applicable(NAME, TITLE, RULE, "The panel is too wide, or the refits failed.", SOURCE)
    p = chi2_upper(found["statistic"], 1)
    away = abs(found["lambda"] - current)
    status = graded(p, away, LOOK_AWAY, PROBLEM_AWAY)
    nearest = min(NAMES, key=lambda k: abs(k - found["lambda"]))
    interval = f"{fixed(found['lambda'])}, 95 % interval {fixed(found['low'])} to {fixed(found['high'])}"
    using = NAMES.get(current, "the scale in use")
    if status == OK:
        meaning = f"That the data ask for another scale than {using} is {why_ok(p)} (Box-Cox parameter {interval})."
        action = NOTHING
    else:
        meaning = f"The data ask for another scale than {using}: the Box-Cox parameter is {interval}."
        action = f"Try {NAMES[nearest]} of the outcome, if that can be read, and see whether the conclusions hold."
    # On the scale in use, so that it can be set against the ladder's.
    loglik = evidence.record["ml"]["loglik"] + 0.5 * found["statistic"]
    details = {**found, "p": p, "current": current, "suggested": NAMES[nearest], "loglik": loglik}
    if current == 0.0:
        details["retransformation"] = retransformation(evidence)
    return Check(
        NAME,
        TITLE,
        status,
        found["lambda"],
        "Box-Cox parameter",
        f"{fixed(current, 1)} is in use; {pval(p)}",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )


def outcome_sql(evidence: Evidence) -> tuple[str, float]:
    """SQL of the outcome before its transformation, and the Box-Cox parameter in use."""
    column = evidence.frame.outcome
    match = re.fullmatch(r"(\w+)\((.*)\)", column.name)
    if match and match[1] in KNOWN:
        undo, current = KNOWN[match[1]]
        return undo.replace("{}", column.sql), current
    return f"({column.sql})", 1.0


def profile(evidence: Evidence, original: str, log_mean: float, current: float) -> dict[str, Any] | None:
    """Maximised log-likelihoods on a grid and around the top, the maximum and its likelihood-ratio interval."""
    values = logliks(evidence, original, log_mean, sorted({*GRID, current}))
    if values is None:
        return None
    top, curvature = _peak(values)
    half = float(np.sqrt(CHI2_95 / max(2.0 * curvature, 1e-12)))
    # A second look where the top is, as wide as the interval.
    near = [top + d * min(half, 1.0) for d in (-1.5, -0.75, 0.0, 0.75, 1.5)]
    more = logliks(evidence, original, log_mean, near)
    if more is None:
        return None
    values |= more
    top, curvature = _peak(more)
    half = float(np.sqrt(CHI2_95 / max(2.0 * curvature, 1e-12)))
    best = max([*values.values(), _value(more, top)])
    return {
        "lambda": float(top),
        "low": float(top - half),
        "high": float(top + half),
        "statistic": float(max(2.0 * (best - values[current]), 0.0)),
        "profile": [{"lambda": float(k), "loglik": float(v)} for k, v in sorted(values.items())],
    }


def _peak(values: dict[float, float]) -> tuple[float, float]:
    """Vertex and (negative half second derivative) curvature of the parabola through the highest point's neighbours."""
    grid = np.array(sorted(values))
    height = np.array([values[g] for g in grid])
    i = int(np.clip(np.argmax(height), 1, len(grid) - 2))
    a, b, c = np.polyfit(grid[i - 1 : i + 2] - grid[i], height[i - 1 : i + 2] - height[i], 2)
    del c
    if a >= 0:
        return float(grid[np.argmax(height)]), 1e-6
    return float(np.clip(grid[i] - b / (2 * a), grid[0], grid[-1])), float(-a)


def _value(values: dict[float, float], at: float) -> float:
    grid = np.array(sorted(values))
    height = np.array([values[g] for g in grid])
    i = int(np.clip(np.argmin(np.abs(grid - at)), 1, len(grid) - 2))
    return float(
        height[i]
        + np.polyval(np.polyfit(grid[i - 1 : i + 2] - grid[i], height[i - 1 : i + 2] - height[i], 2), at - grid[i])
    )


def logliks(evidence: Evidence, original: str, log_mean: float, powers: list[float]) -> dict[float, float] | None:
    """Maximised ML log-likelihood of the outcome over its geometric mean (whose Jacobian is 1) at each power."""
    from ...frame import Column
    from ...moments import PanelMoments, reduce, reduce_lags

    frame = evidence.frame
    u = f"({original}) / exp({number(log_mean)})"
    extra = []
    for i, power in enumerate(powers):
        sql = f"ln({u})" if abs(power) < 1e-9 else f"(pow({u}, {number(power)}) - 1.0) / {number(power)}"
        extra.append(Column(f"power{i}", sql))
    wide = replace(frame, columns=(*frame.columns, *extra))
    moments = reduce(wide)
    if moments.products.shape[0] != moments.products.shape[1]:
        return None
    lags = None
    if evidence.rho is not None and evidence.panel_moments.lags is not None:
        lags = reduce_lags(wide, moments, evidence.panel_moments.lags.step)
    panel = PanelMoments(moments, lags)
    spec = specification(evidence)
    base = list(evidence.moments.columns[:-1])
    estimate = evidence.record["ml"]
    out: dict[float, float] = {}
    metric: np.ndarray | None = None
    for i, power in enumerate(powers):
        criterion = criterion_of(select_columns(panel, [*base, f"power{i}"]), spec, reml=False)
        theta = theta_of(criterion, estimate)
        if metric is None:
            metric = inverse_hessian(criterion, theta)
        fit = descend(criterion, theta, metric)
        if not fit.converged:
            return None
        out[power] = -0.5 * fit.deviance
    return out


def retransformation(evidence: Evidence) -> dict[str, float]:
    """Factors from exp(prediction) to the outcome's mean: by normal theory, and Duan's (1983) smearing estimate."""
    row = evidence.rows.query("SELECT avg(exp(residual)) AS smearing FROM hr_rows")
    from ..posterior import average_variance

    between = sum(average_variance(evidence.moments, e.terms, e.cov) for e in evidence.effects.values())
    half = 0.5 * evidence.sigma**2
    return {
        "known_group_normal": float(np.exp(half)),
        "known_group_smearing": float(row["smearing"][0]),
        "new_group_normal": float(np.exp(half + 0.5 * between)),
    }
