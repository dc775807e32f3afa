"""Which groups decide the choice: the ladder's tests without each group, by one Newton step per rung and group.

Where a test comes out otherwise without a group, or nearly so, the rungs concerned are refitted without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import lrt
from ..choice import LEVEL, Candidate, Choice, choose
from ..criterion import Criterion
from ..errors import HierreportError
from ..ladder_record import as_candidate, spec_from_dict
from ..mixed import is_singular, lifted, minimise, start_points
from ..one_out import OneOut, one_out
from .refit import criterion_of, descend, inverse_hessian, theta_of

if TYPE_CHECKING:
    from .evidence import Evidence

# Distance from a test's critical value within which the deviances of one Newton step are not trusted; and where the
# step is a long one.
NEAR, UNSURE = 0.1, 4.0
OTHER = "This rung is not the one that the ladder chooses by its tests."
MOST, EACH = 1e8, 50  # groups × (columns² + overhead) × variance parameters of all rungs: some seconds per level
REFITS, WORK = 12, 4e7  # groups of a level refitted at most, and groups × columns² × rungs × refits


@dataclass(frozen=True)
class Rung:
    """A rung of the climb: its candidate on the whole panel, its ML criterion there and its optimum."""

    candidate: Candidate
    criterion: Criterion
    theta: np.ndarray

    @cached_property
    def metric(self) -> np.ndarray:
        """Inverse Hessian there."""
        return inverse_hessian(self.criterion, self.theta)


def rungs_of(evidence: Evidence) -> tuple[list[str], dict[str, Rung]] | str:
    """The ladder's order and its rungs, or why the choice cannot be made again without each group."""
    fitted = {n: r for n, r in evidence.rungs.items() if not r.get("refused")}
    records = {n: r for n, r in fitted.items() if not (r.get("variances") or r.get("crossed"))}
    if any((r.get("extra") or {}).get("base") is None for r in records.values()) or evidence.rung not in records:
        return OTHER
    order = list(dict.fromkeys(r["extra"]["base"] for r in records.values()))
    if choose(order, map(as_candidate, records.values())).rung != evidence.rung:
        return OTHER
    parameters = sum(r["ml"]["n_par"] - len(r["ml"]["fixed"]) for r in records.values())
    if len(evidence.moments.n) * (len(evidence.moments.columns) ** 2 + EACH) * parameters > MOST:
        return "There are too many groups and columns to climb the ladder without each group."
    found = {}
    for name, record in records.items():
        try:
            criterion = criterion_of(evidence.panel_moments, spec_from_dict(record["extra"]["spec"]), reml=False)
        except HierreportError as refusal:
            return str(refusal)
        found[name] = Rung(as_candidate(record), criterion, theta_of(criterion, record["ml"]))
    return order, found


def changes(evidence: Evidence, level: str, ladder: tuple[list[str], dict[str, Rung]]) -> dict[str, Any]:
    """What the ladder would choose without each group of a level.

    Returns:
        ``examined`` groups, ``refitted`` ones, and ``changes``: group number, rung chosen without it, whether refitted.
    """
    order, rungs = ladder
    moments, lags = evidence.moments, evidence.panel_moments.lags
    depth = moments.levels.index(level)
    starts = moments.starts(depth)
    steps = _Steps(lambda r: one_out(r.criterion, r.theta, starts, depth, lags), rungs)
    whole = choose(order, [r.candidate for r in rungs.values()])
    distance = _distance(whole, steps, len(starts))
    close = np.flatnonzero(distance < NEAR)
    close = close[np.argsort(np.abs(distance[close]), kind="stable")]  # refits are for those that are in doubt
    entries = len(moments.n) * len(moments.columns) ** 2 * len(rungs)
    left = int(np.clip(WORK // entries, 1, REFITS))
    found, refitted = [], 0
    for g in map(int, close):
        candidates = {name: _without(r.candidate, steps[name], g) for name, r in rungs.items()}
        usable = {name: c for name, c in candidates.items() if c is not None}
        chosen = choose(order, usable.values()) if usable else whole
        exact = refitted < left
        if exact:
            refitted += 1
            asked = {t for c in (whole, chosen) for test in c.comparisons for t in (test.null, test.alternative)}
            again = {n: (rungs[n], steps[n].theta[g]) for n in sorted(asked) if n in usable}
            usable |= _refitted(evidence, again, starts, g)
            chosen = choose(order, usable.values())
        if chosen.rung != whole.rung:
            found.append({"group": g, "rung": chosen.rung, "refitted": exact})
    return {"examined": len(starts), "refitted": refitted, "changes": found}


class _Steps(dict[str, OneOut]):
    """The Newton steps of every rung, taken when they are asked for: most rungs are in no test of the climb."""

    def __init__(self, step: Callable[[Rung], OneOut], rungs: Mapping[str, Rung]) -> None:
        super().__init__()
        self._step, self._rungs = step, rungs

    def __missing__(self, name: str) -> OneOut:
        self[name] = self._step(self._rungs[name])
        return self[name]


def _distance(whole: Choice, steps: Mapping[str, OneOut], groups: int) -> np.ndarray:
    """How far each test of the climb stays on its side of the critical value without each group; negative where it does
    not. (T,)"""
    out = np.full(groups, np.inf)
    for test in whole.comparisons:
        if test.p_boundary is None or test.statistic is None:
            continue
        at = critical({int(df): w for df, w in test.weights.items()})
        statistic = steps[test.null].value - steps[test.alternative].value
        side = 1.0 if test.p_boundary < LEVEL else -1.0
        unsure = steps[test.null].far | steps[test.alternative].far
        away = side * (statistic - at) - np.where(unsure, UNSURE, 0.0)
        out = np.minimum(out, np.where(np.isfinite(away), away, 0.0))
    return out


def critical(weights: Mapping[int, float]) -> float:
    """The statistic at which a test at the ladder's level begins to reject."""
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if lrt.mixture_tail(middle, weights) > LEVEL else (low, middle)
    return 0.5 * (low + high)


def _without(whole: Candidate, step: OneOut, g: int) -> Candidate | None:
    """A rung as the choice would see it without a group, by one Newton step."""
    if not np.isfinite(step.value[g]):
        return None
    known = {key: whole.ml.get(key) for key in ("singular", "converged", "rho")}
    rows = int(step.n.sum() - step.n[g])
    return replace(whole, ml=_criteria(float(step.value[g]), int(whole.ml["n_par"]), rows) | known)


def _criteria(deviance: float, n_par: int, rows: int) -> dict[str, Any]:
    return {
        "loglik": -0.5 * deviance,
        "n_par": n_par,
        "aic": deviance + 2.0 * n_par,
        "bic": deviance + float(np.log(rows)) * n_par,
    }


def _refitted(
    evidence: Evidence, rungs: Mapping[str, tuple[Rung, np.ndarray]], starts: np.ndarray, g: int
) -> dict[str, Candidate]:
    """Rungs fitted anew (by ML) without a group, each from a θ nearby; those that cannot be are left out."""
    from .deletion import criterion_without

    drop = np.zeros(len(evidence.moments.n), dtype=bool)
    drop[starts[g] : starts[g + 1] if g + 1 < len(starts) else None] = True
    out = {}
    for name, (rung, start) in rungs.items():
        try:
            smaller = criterion_without(evidence, rung.criterion, drop)
            converged = False
            if not rung.candidate.ml["singular"]:
                fit = descend(smaller, lifted(smaller, start), rung.metric)
                deviance, theta, converged = fit.deviance, fit.theta, fit.converged
            if not converged or _singular(smaller, theta):
                # Near a boundary a descent may end too early.
                end = minimise(smaller, start_points(smaller, start, 0)).optimum
                deviance, theta, converged = end.value, end.theta, end.converged
        except (HierreportError, np.linalg.LinAlgError):
            continue
        singular = _singular(smaller, theta)
        n_par = len(smaller.problem.basis.x_index) + smaller.parameters.size + 1
        ml = _criteria(float(deviance), n_par, smaller.problem.n_obs)
        ml |= {"singular": singular, "converged": converged, "rho": rung.candidate.ml.get("rho")}
        fine = bool(converged and not singular)
        out[name] = replace(rung.candidate, ml=ml, admissible=fine, trouble="" if fine else "singular")
    return out


def _singular(criterion: Criterion, theta: np.ndarray) -> bool:
    factors = criterion.parameters.factors(theta)
    problem = criterion.problem
    unit = np.sqrt(problem.mean_weight)
    return any(is_singular(unit * lam, level) for lam, level in zip(factors, problem.components, strict=True))
