"""Analyses that are on the ladder already: every rung under the chosen errors, and the other error structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..choice import Candidate, choose
from ..errors import HierreportError
from ..ladder_record import spec_from_dict
from ..mixed import State
from ..moments import PanelMoments
from ..spec import ModelSpec
from . import judge
from .basis import Basis
from .judge import Analysis

ERRORS = {"iid": "Independent errors", "ar1": "AR(1) errors", "car1": "Continuous-time AR(1) errors"}
# Groups times columns squared up to which the ladder is climbed again on changed moments.
CLIMB = 2e5


def rungs(basis: Basis) -> list[Analysis]:
    """Every other rung under the chosen rung's error structure."""
    out = []
    for name, record in basis.rungs.records.items():
        if name != basis.chosen and _structure(record) == _structure(basis.record):
            out.append(from_record(basis, f"rung:{name}", f"Rung {name}", f"The rung {name} of the ladder.", name))
    return out


def other_errors(basis: Basis) -> list[Analysis]:
    """The chosen rung's twins with other errors, and the choice had the ladder had these."""
    out = []
    for kind in dict.fromkeys(r["errors"] for r in basis.rungs.records.values()):
        if kind == basis.spec.errors:
            continue
        twin = basis.rungs.same(replace(basis.spec, errors=kind))
        name, title, what = f"errors:{kind}", ERRORS[kind], f"{ERRORS[kind]} instead."
        if twin is None:  # a simpler form of a rung has none on the ladder
            spec = replace(basis.spec, errors=kind)

            def make(spec: ModelSpec = spec) -> dict[str, Any]:
                return basis.of_state(basis.refit(basis.panel, spec))

            found = basis.analysis(name, title, what, basis.chosen, make)
        else:
            found = from_record(basis, name, title, what, twin)
        out.append(replace(found, choice=climb(basis, {n: r["ml"] for n, r in _climbing(basis, kind).items()})))
    return out


def from_record(basis: Basis, name: str, title: str, what: str, rung: str) -> Analysis:
    """An analysis that the ladder's records hold."""
    record = basis.rungs.records[rung]

    def make() -> dict[str, Any]:
        return {
            "n_obs": record["n_obs"],
            "coefficients": judge.compare(basis.main, record["reml"]["fixed"]),
            "icc": record["reml"]["icc"],
            "loglik": record["ml"]["loglik"],
        }

    return basis.analysis(name, title, what, rung, make)


def choice_again(basis: Basis, panel: PanelMoments) -> str | None:
    """The rung that the climb takes on changed moments, the error structure kept; None where that is dear.

    Every rung is refitted by ML from its own optimum on the whole panel.
    """
    moments = panel.moments
    if len(moments.n) * len(moments.columns) ** 2 > CLIMB:
        return None
    estimates = {}
    for name, record in _climbing(basis, basis.spec.errors).items():
        try:
            spec = spec_from_dict(record["extra"]["spec"])
            state = basis.refit(panel, spec, basis.ml_state(name), reml=False, curvature=False)
        except (HierreportError, np.linalg.LinAlgError):
            continue  # these rows do not identify that rung
        estimates[name] = ml_estimate(state)
    return climb(basis, estimates)


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


def _structure(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record["errors"], record.get("variances"), record.get("crossed")


def _climbing(basis: Basis, errors: str) -> dict[str, Mapping[str, Any]]:
    """Rungs of one error structure that the climb may take."""
    return {n: r for n, r in basis.rungs.records.items() if _structure(r) == (errors, None, None)}
