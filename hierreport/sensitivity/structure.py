"""Other models on the same rows: unequal variances, a crossed time effect, within-between, cluster-robust errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import moments as reduction
from ..decomposition import variation
from ..describe import variance_shares
from ..diagnostics.words import one_of
from ..errors import ModelError
from ..group_means import mean_name
from ..mixed import fit
from ..problem import INTERCEPT
from ..robust import cluster_robust
from ..said import whole
from ..spec import ModelSpec
from . import judge
from .basis import Basis
from .columns import Added, weighted, with_columns
from .judge import Analysis

LEAST_ROWS, MOST_STRATA = 8, 60


def unequal_variances(basis: Basis) -> Analysis:
    """Residual variances that differ by outermost group, else by a factor other than time."""
    strata = stratum(basis)
    by = strata[0] if strata else "group"
    what = f"Residual variances of their own for every {by}."

    def make() -> dict[str, Any]:
        if strata is None:
            raise ModelError(
                f"neither the outermost groups nor a factor give 2 to {MOST_STRATA} strata of {LEAST_ROWS} rows."
            )
        cells = reduction.reduce_strata(basis.frame, basis.panel.moments, strata[1])
        panel = replace(basis.panel, strata={by: cells})
        spec = replace(basis.spec, errors="iid", variances=by)
        state = basis.refit(panel, spec, start=equal_variances(basis, len(cells.strata)))
        sigmas = state.stratum_sigmas
        if basis.spec.errors == "iid":
            ml = basis.refit(panel, spec, like=state, reml=False, curvature=False)
            return basis.of_state(state, loglik=-0.5 * ml.optimum.value, details={"sigmas": sigmas})
        owner = np.full(len(basis.panel.moments.n), -1)
        owner[cells.group] = cells.stratum
        if len(np.unique(cells.group)) != len(cells.group):
            raise ModelError("with serially correlated errors only variances by whole groups are available here.")
        sd = np.array([sigmas[str(s)] for s in cells.strata])[owner]
        state = basis.refit(weighted(basis.panel, (np.exp(np.mean(np.log(sd))) / sd) ** 2))
        told = (
            f"{what[:-1]}, estimated under independent errors and then held while the model with serially correlated "
            "errors is fitted."
        )
        return basis.of_state(state, what=told, details={"sigmas": sigmas})

    return basis.analysis("variances", f"Unequal variances by {by}", what, basis.chosen, make)


def stratum(basis: Basis) -> tuple[str, str] | None:
    """What residual variances may differ by: its name and its column in the frame's table; None where nothing fits."""
    frame, moments = basis.frame, basis.panel.moments
    options = []
    if frame.levels:
        rows = np.add.reduceat(moments.n, moments.starts(0))
        options.append((frame.levels[0], frame.groups[0], len(rows), int(rows.min())))
    time = frame.info.get("time")
    for f in frame.info.get("factors") or []:
        if f["name"] != time and basis.spec.errors == "iid":
            counts = [level["rows"] for level in f["levels"]]
            options.append((f["name"], f["column"], len(counts), min(counts, default=0)))
    for name, column, count, least in options:
        if 2 <= count <= MOST_STRATA and least >= LEAST_ROWS:
            return name, column.strip('"')
    return None


def equal_variances(basis: Basis, strata: int) -> np.ndarray | None:
    """θ of the chosen rung with the log ratios of so many strata appended; None under serially correlated errors."""
    return None if basis.spec.errors != "iid" else np.concatenate([basis.state.theta, np.zeros(strata - 1)])


def crossed_time(basis: Basis) -> Analysis | None:
    """A random effect of the period, shared by all groups, instead of time dummies; None where there is no time."""
    time = basis.frame.info.get("time")
    if basis.frame.time is None or not time:
        return None
    dummies = set(basis.time_columns())
    instead = " instead of the time dummies" if dummies else ""
    iid = " Errors are independent here." if basis.spec.errors != "iid" else ""
    what = f"A random effect of {time}, shared by all groups{instead}.{iid}"

    def make() -> dict[str, Any]:
        panel = basis.panel
        if panel.periods is None:
            raise ModelError("the panel has too many periods and groups for a crossed effect.")
        fixed = tuple(t for t in basis.spec.fixed if t not in dummies)
        spec = ModelSpec(fixed, basis.spec.random, "iid", None, str(time))
        fitted = fit(panel, spec, restarts=0)
        return basis.of_state(fitted.reml_state, loglik=-0.5 * fitted.ml_state.optimum.value)

    return basis.analysis("crossed", f"Crossed effect of {time}", what, basis.chosen, make)


def within_between(basis: Basis) -> Analysis | None:
    """Group means of the numeric predictors beside them: their coefficients are what happens within groups."""
    moments = basis.panel.moments
    if not moments.levels:
        return None
    level = basis.spec.random[-1].level if basis.spec.random else moments.levels[-1]
    what = f"Means by {one_of(level)} of the predictors added, so that the coefficients are those within groups."

    def make() -> dict[str, Any]:
        plain = {c.name for c in basis.frame.columns if c.factor is None and "[" not in c.name}
        numeric = tuple(t for t in basis.spec.fixed if t in plain)
        varying, _, _ = variation(moments, numeric, level)
        if not varying or INTERCEPT not in basis.spec.fixed:
            raise ModelError(f"no numeric predictor varies both within a {one_of(level)} and between them.")
        starts = moments.starts(moments.levels.index(level))
        places = [moments.columns.index(t) for t in varying]
        constant = int(np.flatnonzero(moments.z_index == 0)[0])
        sums = np.add.reduceat(moments.products[constant], starts, axis=1)
        means = np.repeat(sums[places] / sums[0], np.diff(np.append(starts, len(moments.n))), axis=1)
        added = [
            Added(mean_name(t), [(0, m)], float(moments.shift[j]), float(moments.scale[j]))
            for t, j, m in zip(varying, places, means, strict=True)
        ]
        panel = with_columns(basis.panel, added)
        fixed = (*basis.spec.fixed, *(a.name for a in added))
        state = basis.refit(panel, replace(basis.spec, fixed=fixed))
        between = [e.to_dict() for e in basis.effects(state) if e.term in {a.name for a in added}]
        return basis.of_state(state, details={"level": level, "contextual": between})

    return basis.analysis("within_between", "Within groups only", what, basis.chosen, make)


def robust_errors(basis: Basis) -> Analysis | None:
    """The same estimates with standard errors that are robust to what happens within clusters."""
    if not basis.panel.moments.levels:
        return None
    what = "The same estimates with cluster-robust standard errors."

    def make() -> dict[str, Any]:
        found = cluster_robust(basis.rungs[basis.chosen], kind="auto")
        told = (
            f"The same estimates with cluster-robust ({found.kind}) errors, {whole(found.clusters)} clusters "
            f"of {one_of(found.level)}."
        )
        return {
            "what": told,
            "n_obs": basis.state.criterion.problem.n_obs,
            "coefficients": judge.compare(basis.main, found.fixed()),
            "icc": variance_shares(basis.state)[0],
            "loglik": basis.record["ml"]["loglik"],
            "details": {"kind": found.kind, "level": found.level, "clusters": found.clusters},
        }

    return basis.analysis("cluster_robust", "Cluster-robust errors", what, basis.chosen, make)
