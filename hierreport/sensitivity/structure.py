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
from ..further import LEAST_ROWS, MOST_STRATA, Further, stratum
from ..group_means import mean_name
from ..mixed import fit
from ..problem import INTERCEPT
from ..robust import cluster_robust
from ..said import whole
from . import judge
from .basis import Basis
from .columns import Added, lagged_as, with_columns
from .judge import Analysis


def unequal_variances(basis: Basis, planned: Further) -> Analysis:
    """Residual variances that differ by outermost group, else by a factor other than time."""
    strata = stratum(basis.frame.info)
    by = strata[0] if strata else "group"

    def make() -> dict[str, Any]:
        if strata is None:
            raise ModelError(
                f"neither the outermost groups nor a factor give 2 to {MOST_STRATA} strata of {LEAST_ROWS} rows."
            )
        step = None if basis.spec.errors == "iid" else lagged_as(basis.panel.lags)
        cells = reduction.reduce_strata(basis.frame, basis.panel.moments, strata[1], step=step)
        panel = replace(basis.panel, strata={by: cells})
        spec = planned.spec
        state = basis.refit(panel, spec, start=np.concatenate([basis.state.theta, np.zeros(len(cells.strata) - 1)]))
        ml = basis.refit(panel, spec, like=state, reml=False, curvature=False)
        return basis.of_state(state, loglik=-0.5 * ml.optimum.value, details={"sigmas": state.stratum_sigmas})

    return basis.analysis(planned, make)


def crossed_time(basis: Basis, planned: Further) -> Analysis:
    """A random effect of the period, shared by all groups, instead of time dummies."""

    def make() -> dict[str, Any]:
        panel = basis.panel
        if panel.periods is None:
            raise ModelError("the panel has too many periods and groups for a crossed effect.")
        start = None
        if basis.spec.errors != "iid":
            # The chosen rung's own optimum, and shocks of a third of the noise level.
            start = np.insert(basis.state.theta, basis.state.criterion.parameters.n_lambda, 0.3)
        fitted = fit(panel, planned.spec, start=start, restarts=0)
        return basis.of_state(fitted.reml_state, loglik=-0.5 * fitted.ml_state.optimum.value)

    return basis.analysis(planned, make)


def within_between(basis: Basis, planned: Further) -> Analysis:
    """Group means of the numeric predictors beside them: their coefficients are what happens within groups."""
    moments = basis.panel.moments
    level = basis.spec.random[-1].level if basis.spec.random else moments.levels[-1]

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
        spec = replace(basis.spec, fixed=fixed)
        state = basis.refit(panel, spec)
        between = [e.to_dict() for e in basis.effects(state) if e.term in {a.name for a in added}]
        details = {"level": level, "contextual": between}
        return basis.of_state(state, loglik=basis.loglik(panel, state, spec), details=details)

    return basis.analysis(planned, make)


def robust_errors(basis: Basis, planned: Further) -> Analysis:
    """The same estimates with standard errors that are robust to what happens within clusters."""

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

    return basis.analysis(planned, make)
