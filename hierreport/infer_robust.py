"""Cluster-robust inference, fixed or random effects, absorbed effects and first differences, as sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .absorbed import absorb, named_effects
from .errors import ModelError
from .first_differences import NEAR_ONE, first_differences
from .infer import LIMIT, Rungs, attempt
from .ladder_record import spec_from_dict
from .robust import KINDS, cluster_robust
from .robust_periods import driscoll_kraay, two_way
from .said import mark, whole
from .within_between import fixed_or_random as decide

FEW = 10


def robust(rungs: Rungs, chosen: str) -> list[dict[str, Any]]:
    """Robust inference for pooled OLS and for the chosen rung."""
    out = []
    levels = rungs.panel.moments.levels
    pooled = next((n for n in rungs.plain() if not rungs[n].spec.random), None)
    names = list(dict.fromkeys(n for n in (pooled, chosen) if n))
    for rung in names:
        for kind in KINDS:

            def make(rung: str = rung, kind: str = kind) -> dict[str, Any]:
                if not levels:
                    raise ModelError("the panel has no groups to cluster by.")
                found = cluster_robust(rungs[rung], levels[0], kind)
                record = found.record()
                if found.clusters < FEW:
                    few = (
                        f"{whole(found.clusters)} clusters of {found.level} are too few for robust errors to be "
                        "trusted; CR2's degrees of freedom say how little they know."
                    )
                    record = replace(record, notes=[few, *record.notes])
                return record.to_dict()

            out.append(attempt(make, rung=rung, kind=kind))
    if pooled is None or rungs.panel.periods is None:
        return out
    cells = rungs.panel.periods
    for kind, over_periods in (
        ("two-way CR1", lambda: two_way(rungs[pooled], cells).to_dict()),
        ("Driscoll-Kraay", lambda: driscoll_kraay(rungs[pooled], cells).to_dict()),
    ):
        out.append(attempt(over_periods, rung=pooled, kind=kind))
    return out


def fixed_or_random(rungs: Rungs, chosen: str) -> dict[str, Any]:
    """Within, between, Hausman, Mundlak and a verdict for each predictor, at the innermost level."""

    def make() -> dict[str, Any]:
        moments = rungs.panel.moments
        if not moments.levels:
            raise ModelError("the panel has no groups.")
        spec = rungs[chosen].spec
        # The within-between models have up to two columns more per predictor, and there are three of them.
        if rungs.cost(rungs.records[chosen]["extra"]["base"]) > LIMIT:
            raise ModelError("three more fits with all group means would take minutes here.")
        found = decide(moments, spec.fixed, cluster=moments.levels[0] if len(moments.levels) > 1 else None)
        return found.to_dict()

    return attempt(make)


def differences(rungs: Rungs, chosen: str) -> dict[str, Any] | None:
    """The chosen model in first differences where its errors are nearly a random walk, else None."""
    record = rungs.records[chosen]
    rho = record["reml"]["rho"]
    if rho is None or rho <= NEAR_ONE:
        return None

    def make() -> dict[str, Any]:
        spec = spec_from_dict(record["extra"]["spec"])
        found = first_differences(rungs.panel, spec.fixed).to_dict()
        levels = {f["term"]: f["estimate"] for f in record["reml"]["fixed"]}
        apart = [
            f["term"]
            for f in found["fixed"]
            if f["term"] in levels
            and f["term"] != "(Intercept)"
            and not f["ci_low"] <= levels[f["term"]] <= f["ci_high"]
        ]
        found["sentence"] = (
            f"With rho = {mark(rho, f'{rho:.3f}')} the errors are nearly a random walk: what groups differ by and "
            "what drifts cannot be told apart, and the model in first differences is shown beside it. "
            + (
                f"Estimates outside its 95 % interval: {', '.join(apart)}."
                if apart
                else "All estimates lie within its 95 % intervals."
            )
        )
        return found

    return attempt(make, rho=rho)


def absorbed_effects(
    rungs: Rungs, chosen: str, info: Mapping[str, Any], names: Sequence[str] | None, where: str
) -> dict[str, Any] | None:
    """Least squares of the chosen rung's fixed part with the named effects absorbed; None where none are named.

    Raises:
        ConfigError: a name that is neither a group nor the time.
    """
    if not names:
        return None
    named_effects(names, info, where)
    fixed = spec_from_dict(rungs.records[chosen]["extra"]["spec"]).fixed
    return attempt(lambda: absorb(rungs.panel, fixed, names, info, rungs.frame, where).to_dict())
