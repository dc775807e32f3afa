"""Intervals of a rung by several methods, simulated tests between rungs, and degrees of freedom by three methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .bootstrap import bootstrap, bootstrap_lrt, refuse_rows
from .errors import HierreportError, ModelError
from .infer import (
    CLEAR,
    CLEAR_ABOVE,
    CLEAR_BELOW,
    COVERAGE,
    DRAWS,
    LIMIT,
    PLAIN,
    PLAIN_ABOVE,
    SERIAL_ROWS,
    Rungs,
    attempt,
    draws_for,
    neighbours,
)
from .inference import fixed_effects
from .intervals import Interval, Quantity, quantities, values
from .mixed import MixedFit, State
from .profile import profile

OFF = "The bootstrap is switched off (bootstrap: 0)."
KENWARD_ROGER = (
    "Kenward-Roger's adjustment is not available with serially correlated errors, unequal variances or a crossed "
    "effect: its expansion is for covariances that are linear in their parameters."
)
# Kenward-Roger takes a second derivative for every pair of covariance parameters; more groups than this only add time.
KR_LIMIT = 3e6


def intervals(rungs: Rungs, rung: str, draws: int | None, seed: int, most: int = DRAWS) -> dict[str, Any]:
    """Wald, profile and bootstrap intervals of every quantity of one rung; draws: asked for, ``most`` by default.

    ``profile`` is of the likelihood, as lme4's; ``profile_reml``, of the restricted likelihood, is for variances and
    what is made of them, where the other is too short with few groups.
    """
    fitted, record = rungs[rung], rungs.records[rung]
    names = with_rho(fitted)
    by_ml, by_reml = (point_estimates(fitted.state(m)) for m in ("ml", "reml"))
    wald = {f["term"]: f for f in record["reml"]["fixed"]}
    profiled: dict[str, dict[Quantity, Interval]] = {"profile": {}, "profile_reml": {}}
    simulated: dict[Quantity, tuple[Interval, float | None]] = {}

    def profiles(key: str, method: str) -> dict[str, Any]:
        if rungs.cost(rung) > LIMIT:
            raise ModelError("profiles of this many groups would take minutes; the Wald intervals stand in.")
        # Under serial correlation each end costs hundreds of evaluations; the restricted profile has the variances.
        kinds = ("fixed", "rho") if method == "ml" and fitted.spec.errors != "iid" else None
        found = profile(fitted, method=method, coverage=COVERAGE, kinds=kinds)
        profiled[key].update({Quantity(i.kind, i.level, i.terms): i for i in found})
        return {"method": f"profile {method.upper()}"}

    def simulations() -> dict[str, Any]:
        serial = fitted.spec.errors != "iid"
        n = draws_for(rungs.cost(rung), draws, most=PLAIN if serial else most)
        if serial and draws is None and fitted.n_obs > SERIAL_ROWS:
            n = 0
        rows = rungs.rows() if serial and n else None
        if n or not serial:
            refuse_rows(fitted, rows)
        if not n:
            reason = OFF if draws == 0 else "Simulating this many groups would take minutes; set bootstrap to do it."
            return {"status": "off", "reason": reason, "n": 0}
        result = bootstrap(fitted, n, seed, rows=rows)
        ses = result.standard_errors()
        for i, se in zip(result.intervals("percentile", COVERAGE), ses, strict=True):
            simulated[Quantity(i.kind, i.level, i.terms)] = (i, float(se) if np.isfinite(se) else None)
        return {"n": result.n, "failures": result.failures, "method": "bootstrap percentile, REML"}

    sections = {
        "profile": attempt(lambda: profiles("profile", "ml")),
        "profile_reml": attempt(lambda: profiles("profile_reml", "reml")),
        "bootstrap": attempt(simulations),
    }
    rows = []
    for quantity in names:
        row: dict[str, Any] = {
            "kind": quantity.kind,
            "level": quantity.level,
            "terms": list(quantity.terms),
            "name": quantity.name,
            "estimate": by_reml[quantity],
            "estimate_ml": by_ml[quantity],
            "wald": None,
            "profile": None,
            "profile_reml": None,
            "bootstrap": None,
        }
        if quantity.kind == "fixed" and quantity.terms[0] in wald:
            own = wald[quantity.terms[0]]
            row["wald"] = {
                "low": own["ci_low"],
                "high": own["ci_high"],
                "df": own["df"],
                "df_method": own["df_method"],
            }
        for key, known in profiled.items():
            if (found := known.get(quantity)) is not None:
                row[key] = {"low": found.low, "high": found.high, "method": found.method, "note": found.note}
        if quantity in simulated:
            found, se = simulated[quantity]
            row["bootstrap"] = {
                "low": found.low,
                "high": found.high,
                "se": se,
                "method": found.method,
                "note": found.note,
            }
        rows.append(row)
    return {"rung": rung, "estimate_method": "REML", "quantities": rows, **sections, "agree": agreement(rung, rows)}


def with_rho(fitted: MixedFit) -> list[Quantity]:
    """All quantities of a fit, ρ after σ where it has one."""
    names = quantities(fitted.problem)
    if fitted.reml_state.rho is not None:
        names.insert(1 + max(i for i, q in enumerate(names) if q.kind == "sigma"), Quantity("rho"))
    return names


def point_estimates(state: State) -> dict[Quantity, float]:
    """Every quantity's estimate at one optimum."""
    problem = state.criterion.problem
    covariances = [(f @ f.T)[None] for f in state.factors]
    spread = state.residual_variance / state.sigma**2
    found = values(problem, covariances, np.array([state.sigma]), state.evaluation.beta.real[None], spread)[0]
    out = dict(zip(quantities(problem), map(float, found), strict=True))
    if state.rho is not None:
        out[Quantity("rho")] = float(state.rho)
    return out


def agreement(rung: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the methods' intervals of the fixed effects agree: no end moves by more than a fifth of the width."""
    apart = []
    compared = []
    for row in rows:
        if row["kind"] != "fixed" or not row["wald"] or row["terms"] == ["(Intercept)"]:
            continue
        width = row["wald"]["high"] - row["wald"]["low"]
        for method in ("profile", "bootstrap"):
            other = row[method]
            if not other or other["low"] is None or other["high"] is None or not width > 0:
                continue
            compared.append(method)
            moved = max(abs(other[end] - row["wald"][end]) for end in ("low", "high"))
            if moved > 0.2 * width:
                apart.append(f"{row['terms'][0]} ({method})")
    if not compared:
        return ""
    methods = " and ".join(["Wald", *sorted(set(compared), key=["profile", "bootstrap"].index)])
    if not apart:
        return f"{methods} intervals of {rung}'s fixed effects agree to a fifth of their width."
    return (
        f"{methods} intervals of {rung} differ by more than a fifth of their width for {', '.join(apart)}: where they "
        "differ, groups are few or a variance is near zero, and the profile or bootstrap interval is the better one."
    )


def tests(rungs: Rungs, ladder: Mapping[str, Any], draws: int | None, seed: int) -> list[dict[str, Any]]:
    """Likelihood-ratio tests between rungs with naive, boundary-corrected and simulated p-values."""
    known = {(c["null"], c["alternative"]): c for c in ladder["comparisons"]}
    kept = ("statistic", "df", "p_naive", "p_boundary", "mixture", "note")
    out = []
    for null, alternative in neighbours(rungs, ladder, draws):
        comparison = known.get((null, alternative)) or {}
        row: dict[str, Any] = {"null": null, "alternative": alternative}
        row |= {key: comparison.get(key) for key in kept}
        row |= dict.fromkeys(("p_bootstrap", "p_bootstrap_error", "failures", "share_zero"))
        row |= {"draws": 0}
        p = row["p_boundary"]
        enough = DRAWS if p is None or CLEAR_BELOW < p < CLEAR_ABOVE else PLAIN if p > PLAIN_ABOVE else CLEAR

        def simulate(null: str = null, alternative: str = alternative, most: int = enough) -> dict[str, Any]:
            serial = rungs.records[alternative]["errors"] != "iid"
            n = draws_for(rungs.cost(alternative), draws, most=PLAIN if serial else most)
            if serial and draws is None:
                n = min(n, PLAIN) if rungs.panel.moments.n_obs <= SERIAL_ROWS else 0
            elif draws is None and ladder["choice"]["errors"] != "iid":
                n = min(n, PLAIN)  # independent errors were rejected: what is tested under them decides nothing
            if not n:
                return {"status": "off", "reason": OFF if draws == 0 else "Simulating this many groups is not cheap."}
            rows = rungs.rows() if serial else None
            found = bootstrap_lrt(rungs[null], rungs[alternative], n, seed, rows=rows)
            share = found.share_zero if np.isfinite(found.share_zero) else None
            return {
                "p_bootstrap": found.p,
                "p_bootstrap_error": found.p_error,
                "draws": n,
                "failures": found.failures,
                "share_zero": share,
            }

        out.append(attempt(simulate, **row))
    return out


def df_methods(rungs: Rungs, names: Sequence[str]) -> list[dict[str, Any]]:
    """Tests of the fixed effects by Satterthwaite, Kenward-Roger and the normal distribution, side by side (REML)."""
    out = []
    for rung in names:
        for method in ("satterthwaite", "kenward-roger", "normal"):

            def make(rung: str = rung, fitted: MixedFit = rungs[rung], method: str = method) -> dict[str, Any]:
                state, criterion = fitted.reml_state, fitted.reml_state.criterion
                linear = criterion.errors is None and criterion.problem.crossed is None
                if method == "kenward-roger" and not linear:
                    raise HierreportError(KENWARD_ROGER)
                if method == "kenward-roger" and rungs.cost(rung) > KR_LIMIT:
                    raise HierreportError("With this many groups Kenward-Roger and Satterthwaite coincide.")
                own = method if criterion.parameters.size else "satterthwaite"
                return {"fixed": [f.to_dict() for f in fixed_effects(state, own, COVERAGE)[0]]}

            out.append(attempt(make, rung=rung, method=method))
    return out
