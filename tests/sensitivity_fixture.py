"""sensitivity.json of the synthetic panel in ``report_fixtures``: the rungs' numbers, judged by the stage's rule."""

from __future__ import annotations

from typing import Any

from hierreport.records import plain
from hierreport.sensitivity import judge


def sensitivity(fits: dict[str, dict[str, Any]], chosen: str) -> dict[str, Any]:
    """Every rung as an analysis, one that breaks the conclusion, and one that could not be made."""
    main = {f["term"]: f for f in fits[chosen]["reml"]["fixed"] if f["term"].startswith("log(")}
    analyses = []
    for rung, record in fits.items():
        if rung == chosen:
            continue
        found = judge.compare(main, record["reml"]["fixed"])
        stands = not any(c.broken for c in found)
        said = judge.sentence(main, found)
        what = f"The rung {rung} of the ladder."
        made = judge.Analysis(f"rung:{rung}", f"Rung {rung}", what, rung, "done", "", record["n_obs"], found)
        analyses.append(plain(made) | {"stands": stands, "sentence": said, "icc": record["reml"]["icc"]})
    shifted = [f | {k: -f[k] for k in ("estimate", "ci_low", "ci_high")} for f in main.values()]
    shifted = [f | {"ci_low": f["ci_high"], "ci_high": f["ci_low"]} for f in shifted]
    found = judge.compare(main, shifted)
    robust = judge.Analysis(
        "robust", "Robust estimation", "Huber weights.", chosen, "done", "", 100, found, choice=chosen, stands=False
    )
    analyses.append(plain(robust) | {"sentence": judge.sentence(main, found)})
    none = judge.Analysis("variances", "Unequal variances", "Variances.", chosen, "not available", "Too few rows.")
    analyses.append(plain(none))
    return {
        "rung": chosen,
        "main": list(main),
        "chosen": {"rung": chosen, "coefficients": list(main.values())},
        "rule": judge.RULE,
        "verdict": "The conclusions do not stand in 1: Robust estimation.",
        "analyses": analyses,
    }
