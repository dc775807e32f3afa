"""Robust estimation: rows and groups that stand apart count for less, by Huber weights that are iterated.

In the spirit of Koller's robust scoring equations (Koller 2016, J. Stat. Softw. 75(6); robustlmm): psi-functions on
standardised residuals and on spherical random effects. Given the weights, the estimating equations of the fixed and
random effects are the mixed-model equations of

    V = σ² diag(1/w) + Σ_l Z_l (T_l / ω_l) Z_l',     w = min(1, k/|s|),   ω = min(1, c/d),

s a row's residual over its own standard deviation, d the length of a group's random effects in units of their own
standard deviations, so that a row apart has a larger variance and a group apart is not pulled to the others (its random
effects are its own, and the fixed effects do not follow it). σ² and T come from REML given the weights, divided by what
the weights take away under normality: E[min(1, k/|x|) x²], and for T that share of each group's reliability. Koller
solves design-adaptive scale equations instead; where nothing stands apart the two differ in the second digit of the
variances, and hardly in the coefficients.

Each iteration makes new weighted moments in SQL; ω multiplies columns of the moments. Under AR(1) errors s is the
innovation, and w belongs to the step that ends in the row (``lags.step_weighted``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import gammainc, gammaincinv, gammaln, ndtr

from .. import moments as reduction
from ..diagnostics.evidence import group_labels
from ..diagnostics.posterior import average_variance
from ..diagnostics.residual_sql import identifier
from ..effects import random_effects
from ..frame import Frame
from ..further import Further
from ..inference import wald
from ..mixed import State
from ..moments import PanelMoments
from ..said import whole
from ..source import one_row
from ..spec import LevelSpec
from . import judge
from .basis import Basis
from .columns import times, with_columns
from .judge import Analysis
from .lags import step_weighted
from .residuals import Predictor, filtered, of_chosen, standardised, summed

K = 1.345  # 95 % efficiency at the normal
INSIDE = float(2.0 * ndtr(K) - 1.0)
ITERATIONS, MANY_ROWS, FEWER, TOLERANCE = 20, 1_000_000, 6, 0.01


@dataclass
class Levels:
    """A level's robust quantities: covariance T (k, k), weights and reliabilities of its groups. (groups,)"""

    level: str
    terms: tuple[str, ...]
    cov: np.ndarray
    weight: np.ndarray
    reliability: np.ndarray
    effects: np.ndarray


def row_share(k: float = K) -> float:
    """E[min(1, k/|x|) x²] for a standard normal x, which is P(|x| < k)."""
    return float(2.0 * ndtr(k) - 1.0)


def cutoff(q: int) -> float:
    """c: the length of q standard normals is below it as often as |x| is below ``K``."""
    return float(np.sqrt(2.0 * gammaincinv(q / 2.0, INSIDE)))


def group_share(q: int) -> float:
    """E[min(1, c/d) d²]/q for d² chi-squared with q degrees of freedom."""
    c = cutoff(q)
    inside = q * gammainc(q / 2.0 + 1.0, c * c / 2.0)
    mean = np.sqrt(2.0) * np.exp(gammaln((q + 1) / 2.0) - gammaln(q / 2.0))
    return float((inside + c * mean * (1.0 - gammainc((q + 1) / 2.0, c * c / 2.0))) / q)


def robust_estimation(basis: Basis, planned: Further) -> Analysis:
    """The chosen rung by iterated Huber weights of rows and groups."""
    return basis.analysis(planned, lambda: estimate(basis))


def estimate(basis: Basis) -> dict[str, Any]:
    """The robust estimates of the chosen rung; see the module's docstring."""
    at, levels = of_chosen(basis), _start(basis)
    frame, state = basis.frame, basis.state
    most = ITERATIONS if basis.panel.moments.n_obs <= MANY_ROWS else FEWER
    settled, light, count = False, 0, 0
    while count < most and not settled:
        count += 1
        weight = f"least(1.0, {K!r}e0 / greatest(abs(hr_s), 1e-300::DOUBLE))"
        with standardised(basis, at) as view:
            rows = f"SELECT *, {weight} AS hr_weight FROM {view}"
            made = "hr_sensitivity_kept"
            if basis.panel.moments.n_obs <= MANY_ROWS:
                frame.con.execute(f"CREATE OR REPLACE TEMP TABLE {made} AS {rows}")
                rows = f"SELECT * FROM {made}"
            panel = _weighted(basis, filtered(frame, rows))
            light = one_row(frame.con, f"SELECT count(*) FROM ({rows}) WHERE abs(hr_s) > {2 * K!r}e0")[0]
        state = _fit(basis, panel, levels, state)
        before = at
        at, levels = _update(basis, state, levels, at)
        moved = max((abs(at.fixed[t] - before.fixed[t]) / m["se"] for t, m in basis.main.items()), default=0.0)
        spread = abs(np.log(at.sigma / before.sigma))
        settled = bool(moved < TOLERANCE and spread < TOLERANCE)
    frame.con.execute("DROP TABLE IF EXISTS hr_sensitivity_kept")
    state.optimum.hessian = state.criterion.hessian(state.theta)
    # The weighted fit's errors lack what the weights took from the variances.
    effects = []
    for e in basis.effects(state):
        df = np.inf if e.df is None else e.df
        effects.append(wald(e.term, e.estimate, e.se / np.sqrt(row_share()), df, e.df_method))
    apart = {lv.level: _apart(basis, lv) for lv in levels}
    groups = sum(len(v) for v in apart.values())
    told = (
        f"Huber weights, {whole(count)} iterations{'' if settled else ' (not settled)'}: {whole(light)} rows and "
        f"{whole(groups) if groups else 'no'} group{'' if groups == 1 else 's'} "
        "count for less than half."
    )
    variance = {lv.level: average_variance(basis.panel.moments, lv.terms, lv.cov) for lv in levels}
    total = sum(variance.values()) + at.sigma**2
    return {
        "what": told,
        "n_obs": basis.panel.moments.n_obs,
        "coefficients": judge.compare(basis.main, effects),
        "icc": {name: v / total for name, v in variance.items()} | {"residual": at.sigma**2 / total},
        "details": {
            "iterations": count,
            "settled": settled,
            "sigma": at.sigma,
            "rho": at.rho,
            "sds": {lv.level: dict(zip(lv.terms, np.sqrt(np.diag(lv.cov)), strict=True)) for lv in levels},
            "rows_below_half": int(light),
            "groups_below_half": apart,
        },
    }


def _weighted(basis: Basis, frame: Frame) -> PanelMoments:
    """Moments of rows with the column ``hr_weight``: weights of rows, or of the steps between them under AR(1)."""
    own = f"CAST({identifier(frame.weights)} AS DOUBLE) * hr_weight" if frame.weights else "hr_weight"
    both = replace(filtered(frame, f"SELECT *, {own} AS hr_both FROM {frame.table}"), weights="hr_both")
    moments = reduction.reduce(both)
    if basis.spec.errors == "iid" or basis.panel.lags is None:
        return PanelMoments(moments)
    return PanelMoments(moments, step_weighted(frame, moments, basis.panel.lags, "hr_weight"))


def _start(basis: Basis) -> list[Levels]:
    """The chosen rung's levels: covariances, reliabilities (kept throughout), weights from its random effects."""
    out = []
    fitted, record = basis.rungs[basis.chosen], basis.record["reml"]["random"]
    for level in record:
        found = fitted.effects(level["level"])
        cov = np.asarray(level["cov"], float)
        variance = np.diag(cov)[:, None]
        known = np.where(variance > 0, 1.0 - found["se_prediction"] ** 2 / np.where(variance > 0, variance, 1.0), 0.0)
        reliability = np.clip(known.mean(axis=0), 0.05, 1.0)
        item = Levels(level["level"], tuple(level["terms"]), cov, np.ones(0), reliability, found["estimate"])
        out.append(replace(item, weight=_weights(item)))
    return out


def _weights(level: Levels) -> np.ndarray:
    """Huber weights of a level's groups from the length of their random effects. (groups,)"""
    values, vectors = np.linalg.eigh(level.cov)
    good = values > 1e-10 * max(values[-1], 1e-300)
    if not good.any() or values[-1] <= 0:
        return np.ones(level.effects.shape[1])
    spherical = (vectors[:, good] / np.sqrt(values[good])).T @ level.effects
    d = np.sqrt((spherical**2).sum(axis=0) / level.reliability)
    return np.minimum(1.0, cutoff(int(good.sum())) / np.maximum(d, 1e-300))


def _fit(basis: Basis, panel: PanelMoments, levels: list[Levels], like: State) -> State:
    """REML on weighted moments; groups' weights go into columns of the random part."""
    moments = panel.moments
    added, random = [], []
    for level in basis.spec.random:
        weight = next(lv.weight for lv in levels if lv.level == level.level)
        starts = moments.starts(moments.levels.index(level.level))
        spread = np.repeat(1.0 / np.sqrt(weight), np.diff(np.append(starts, len(moments.n))))
        names = {t: f"{t}\t{level.level}" for t in level.terms}
        added += [times(moments, t, spread, name) for t, name in names.items()]
        random.append(LevelSpec(level.level, tuple(tuple(names[t] for t in block) for block in level.blocks)))
    if not added:
        return basis.refit(panel, like=like, curvature=False)
    spec = replace(basis.spec, random=tuple(random))
    return basis.refit(with_columns(panel, added), spec, like, curvature=False)


def _update(basis: Basis, state: State, levels: list[Levels], at: Predictor) -> tuple[Predictor, list[Levels]]:
    """From a weighted fit: σ and T put right, random effects, and the groups' new weights."""
    sigma = state.sigma / np.sqrt(row_share())
    effects = {e["level"]: e for e in random_effects(state)}
    numbers = {level.name: number for number, level in enumerate(state.components)}
    out, shown = [], {}
    for level in levels:
        found = effects[level.level]
        order = [t.split("\t")[0] for t in found["terms"]]
        place = [order.index(t) for t in level.terms]
        cov = state.covariance(numbers[level.level])[np.ix_(place, place)]
        own = found["estimate"][place] / np.sqrt(level.weight)
        rank = max(int(np.linalg.matrix_rank(cov, hermitian=True)), 1)
        kept = 1.0 - (1.0 - group_share(rank)) * float(level.reliability.mean())
        fresh = replace(level, cov=cov / kept, effects=own)
        out.append(replace(fresh, weight=_weights(fresh)))
        shown[level.level] = {"terms": level.terms, "estimate": own}
    basis_of = state.criterion.problem.basis
    fixed = dict(zip(basis_of.fixed, map(float, state.beta_raw), strict=True))
    return Predictor(fixed, summed(basis, shown), float(sigma), state.rho, at.share), out


def _apart(basis: Basis, level: Levels) -> list[str]:
    """Groups that count for less than half, the lightest first."""
    labels = group_labels(basis.panel.moments, level.level)
    light = np.flatnonzero(level.weight < 0.5)
    return [labels[g] for g in light[np.argsort(level.weight[light], kind="stable")]][:50]
