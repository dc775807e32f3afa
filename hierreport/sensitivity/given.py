"""Analyses that are on the ladder already: every rung under the chosen errors, and the other error structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..choice import Candidate, choose
from ..errors import HierreportError
from ..further import Further
from ..ladder_record import spec_from_dict
from ..mixed import State
from ..moments import PanelMoments
from . import judge
from .basis import Basis
from .judge import Analysis

# Groups times columns squared up to which the ladder is climbed again on changed moments.
CLIMB = 2e5


def from_record(basis: Basis, planned: Further) -> Analysis:
    """An analysis that the ladder's records hold."""
    record = basis.rungs.records[planned.rung]

    def make() -> dict[str, Any]:
        return {
            "n_obs": record["n_obs"],
            "coefficients": judge.compare(basis.main, record["reml"]["fixed"]),
            "icc": record["reml"]["icc"],
            "loglik": record["ml"]["loglik"],
        }

    return basis.analysis(planned, make)


def other_errors(basis: Basis, planned: Further) -> Analysis:
    """The chosen rung's twin with other errors, and the choice had the ladder had these."""
    if planned.on_ladder:
        found = from_record(basis, planned)
    else:

        def make() -> dict[str, Any]:
            state = basis.refit(basis.panel, planned.spec)
            return basis.of_state(state, loglik=basis.loglik(basis.panel, state, planned.spec))

        found = basis.analysis(planned, make)
    return replace(found, choice=climb(basis, {n: r["ml"] for n, r in _climbing(basis, planned.spec.errors).items()}))


def on_fewer_rows(basis: Basis, panel: PanelMoments, **known: Any) -> dict[str, Any]:
    """What an analysis says of the chosen rung fitted to changed moments, and of the ladder's choice there.

    Raises:
        ModelError: the model cannot be identified from these moments.
    """
    state = basis.refit(panel)
    choice, logliks = choice_again(basis, panel)
    loglik = logliks[basis.chosen] if basis.chosen in logliks else basis.loglik(panel, state)
    return basis.of_state(state, loglik=loglik, choice=choice, **known)


def choice_again(basis: Basis, panel: PanelMoments) -> tuple[str | None, dict[str, float]]:
    """The rung that the climb takes on changed moments, the error structure kept, and the rungs' log-likelihoods.

    Every rung is refitted by ML from its own optimum on the whole panel; (None, {}) where that is dear.
    """
    moments = panel.moments
    if len(moments.n) * len(moments.columns) ** 2 > CLIMB:
        return None, {}
    estimates = {}
    for name, record in _climbing(basis, basis.spec.errors).items():
        try:
            spec = spec_from_dict(record["extra"]["spec"])
            state = basis.refit(panel, spec, basis.ml_state(name), reml=False, curvature=False)
        except (HierreportError, np.linalg.LinAlgError):
            continue  # these rows do not identify that rung
        estimates[name] = ml_estimate(state)
    return climb(basis, estimates), {name: ml["loglik"] for name, ml in estimates.items()}


def ml_estimate(state: State) -> dict[str, Any]:
    """The parts of an ML estimate that tests and the choice read."""
    problem, deviance = state.criterion.problem, state.optimum.value
    n_par = len(problem.basis.x_index) + state.criterion.parameters.size + 1
    return {
        "loglik": -0.5 * deviance,
        "n_par": n_par,
        "aic": deviance + 2.0 * n_par,
        "bic": deviance + float(np.log(problem.n_obs)) * n_par,
        "singular": state.singular,
        "converged": state.optimum.converged,
    }


def climb(basis: Basis, estimates: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The rung that the climb takes, given ML estimates of rungs of one error structure."""
    candidates, order = [], []
    for name, ml in estimates.items():
        record = basis.rungs.records[name]
        spec, extra = spec_from_dict(record["extra"]["spec"]), record["extra"]
        fine = bool(ml["converged"] and not ml["singular"])
        # The error structure is not in question here: the climb sees one.
        plain = replace(spec, errors="iid")
        candidates.append(Candidate(name, plain, ml, fine, "" if fine else "singular", extra["base"], extra["step"]))
        order.append(extra["base"])
    return choose(list(dict.fromkeys(order)), candidates).rung if candidates else None


def _climbing(basis: Basis, errors: str) -> dict[str, Mapping[str, Any]]:
    """Rungs of one error structure that the climb may take."""
    kept = {n for n, s in basis.specs.items() if (s.errors, s.variances, s.crossed) == (errors, None, None)}
    return {n: r for n, r in basis.rungs.records.items() if n in kept}
