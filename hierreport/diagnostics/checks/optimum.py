"""The certificate of the optimum: is this the maximum of the likelihood?"""

from __future__ import annotations

from ..evidence import Evidence
from ..record import LOOK, OK, PROBLEM, Check
from ..words import num

NAME = "optimum"
TITLE = "The estimates are the optimum of the likelihood"
RULE = (
    "problem: the optimizer did not converge, or the Hessian has a negative direction; look: another start ended "
    "elsewhere"
)
SOURCE = "Bates, Mächler, Bolker & Walker (2015), J. Stat. Softw. 67(1), section 3"


def check(evidence: Evidence) -> Check:
    """Gradient, Hessian and restarts of both fits, as the engine recorded them."""
    faults, doubts = [], []
    details = {}
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
    status = PROBLEM if faults else LOOK if doubts else OK
    gradient = details["reml"].get("gradient_norm")
    if status == OK:
        singular = ", it does not rise away from the boundary" if details["reml"]["singular"] else ""
        restarts = "fits from other starts end there too" if details["reml"].get("restarts_agree") else "one start"
        slope = f"is zero to rounding ({num(gradient)})" if gradient is not None else "was not recorded"
        meaning = (
            f"Certified: the likelihood's gradient {slope}, its curvature is that of an optimum{singular}, and "
            f"{restarts}."
        )
        action = "Nothing to do."
    else:
        meaning = f"Not certified: {'; '.join(faults + doubts)}."
        action = (
            "Simplify the random part or rescale predictors."
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
