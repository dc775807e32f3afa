"""The certificate of the optimum: is this the maximum of the likelihood?"""

from __future__ import annotations

from typing import Any

from ..evidence import Evidence
from ..record import LOOK, OK, PROBLEM, Check
from ..words import listed, num

NAME = "optimum"
TITLE = "The estimates are the optimum of the likelihood"
RULE = (
    "problem: the optimizer did not converge, the Hessian has a negative direction, or a second engine gives another "
    "log-likelihood at the estimates; look: another start ended elsewhere"
)
ENGINES = {"dense": "dense covariance matrices", "statsmodels": "statsmodels"}
SOURCE = "Bates, Mächler, Bolker & Walker (2015), J. Stat. Softw. 67(1), section 3"


def check(evidence: Evidence) -> Check:
    """Gradient, Hessian and restarts of both fits, as the engine recorded them, and the second engine's opinion."""
    faults, doubts = [], []
    details: dict[str, Any] = {"second_engine": evidence.opinions}
    for method in ("ml", "reml"):
        fit = evidence.record.get(method) or {}
        certificate = fit.get("certificate") or {}
        details[method] = {"converged": fit.get("converged"), "singular": fit.get("singular"), **certificate}
        name = method.upper()
        lowest = certificate.get("hessian_min_eigenvalue")
        if not fit.get("converged", False):
            faults.append(f"the {name} optimizer did not converge ({certificate.get('message') or 'no reason given'})")
        elif lowest is not None and lowest < -1e-4 and not fit.get("singular"):
            faults.append(f"the {name} likelihood still rises in one direction (eigenvalue {num(lowest)})")
        if certificate.get("restarts_agree") is False:
            doubts.append(f"another start of the {name} fit ended at a different optimum; the better one is reported")
    for o in evidence.opinions:
        if not o["ok"]:
            said = f"{num(o['theirs'], 8)} by {ENGINES.get(o['method'], o['method'])}, {num(o['ours'], 8)} here"
            faults.append(f"a second engine gives another {o['kind']} log-likelihood ({said})")
    status = PROBLEM if faults else LOOK if doubts else OK
    gradient = details["reml"].get("gradient_norm")
    if status == OK:
        singular = ", it does not rise away from the boundary" if details["reml"]["singular"] else ""
        restarts = "fits from other starts end there too" if details["reml"].get("restarts_agree") else "one start"
        slope = f"is zero to rounding ({num(gradient)})" if gradient is not None else "was not recorded"
        meaning = (
            f"Certified: the likelihood's gradient {slope}, its curvature is that of an optimum{singular}, "
            f"{restarts}, and {second_engine(evidence)}."
        )
        action = "Nothing to do."
    else:
        meaning = f"Not certified: {'; '.join(faults + doubts)}."
        action = (
            "Do not use these numbers before the two engines agree."
            if any(not o["ok"] for o in evidence.opinions)
            else "Simplify the random part or rescale predictors."
            if faults
            else "Look at the other optimum before relying on this one."
        )
    return Check(
        NAME,
        TITLE,
        status,
        gradient,
        "largest gradient entry (scaled)",
        "0 at an optimum",
        RULE,
        meaning,
        action,
        details,
        SOURCE,
    )


def second_engine(evidence: Evidence) -> str:
    """What the second engine says, where it has been asked and agrees."""
    if not evidence.opinions:
        return "no second engine was asked"
    engines = list(dict.fromkeys(ENGINES.get(o["method"], o["method"]) for o in evidence.opinions))
    part = ", on a random part of the rows" if any(o.get("subset") for o in evidence.opinions) else ""
    return f"a second engine ({listed(engines)}) gives the same log-likelihood{part}"
