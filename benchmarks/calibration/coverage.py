"""How often do 95 % intervals contain the truth?

    python benchmarks/calibration/coverage.py [--runs 1000] [--workers 2] [--seed 1]

Writes coverage.json and coverage.md beside this file: per design, quantity and method the share of intervals that
contain the true value, with its Monte-Carlo standard error, the shares that lie wholly below and above it, and the
median width.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from designs import COVERAGE
from running import HERE, options, rate, replicate, stream, table

from hierreport.bootstrap import bootstrap
from hierreport.inference import fixed_effects
from hierreport.intervals import Interval
from hierreport.mixed import fit
from hierreport.profile import profile

DRAWS = 199
METHODS = (
    "Wald z", "Satterthwaite", "Kenward-Roger", "profile ML", "profile REML", "bootstrap percentile", "bootstrap basic",
)  # fmt: skip


def name(interval: Interval) -> str:
    """The quantity's name as ``intervals.Quantity.name`` writes it."""
    return " ".join([interval.kind, *([interval.level] if interval.level else []), *interval.terms])


def once(seed: int, cell: int, run: int) -> dict[str, dict[str, tuple[float, float] | None]]:
    """One panel: distance of both ends from the truth, by quantity and method; None where there is no interval."""
    design = COVERAGE[cell]
    panel = design.draw(stream(seed, cell, run))
    done, truth = fit(panel, design.true_spec), design.truth(panel.moments)
    found: dict[str, dict[str, tuple[float, float] | None]] = {}

    def keep(quantity: str, method: str, low: float | None, high: float | None) -> None:
        value = truth.get(quantity)
        if value is not None:
            found.setdefault(quantity, {})[method] = (
                None if low is None or high is None else (low - value, high - value)
            )

    for method, df in (("Wald z", "normal"), ("Satterthwaite", "satterthwaite"), ("Kenward-Roger", "kenward-roger")):
        for effect in fixed_effects(done.reml_state, df)[0]:
            keep(f"fixed {effect.term}", method, effect.ci_low, effect.ci_high)
    intervals = profile(done) + profile(done, method="reml")
    drawn = bootstrap(done, DRAWS, seed=run + 1, workers=1)
    for interval in intervals + drawn.intervals() + drawn.intervals("basic"):
        keep(name(interval), interval.method, interval.low, interval.high)
    return found


def summarise(results: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One record per design, quantity and method."""
    out = []
    for design, runs in zip(COVERAGE, results, strict=True):
        for quantity in runs[0]:
            for method in METHODS:
                ends = [r[quantity][method] for r in runs if r[quantity].get(method) is not None]
                if not ends:
                    continue
                low, high = np.array(ends).T
                record = {"design": design.name, "quantity": quantity, "method": method}
                record |= rate((low <= 0) & (high >= 0))
                record |= {"below": float(np.mean(high < 0)), "above": float(np.mean(low > 0))}
                record |= {"width": float(np.median(high - low)), "undefined": len(runs) - len(ends)}
                out.append(record)
    return out


def markdown(records: list[dict[str, Any]], runs: int, seconds: float) -> str:
    """The tables for people."""
    error = np.sqrt(0.95 * 0.05 / runs)
    text = [
        "# Coverage of 95 % intervals",
        "",
        f"By `benchmarks/calibration/coverage.py`, {runs} panels per design ({seconds:.0f} s). Percent of intervals "
        f"that contain the truth; the Monte-Carlo standard error of 95 is {100 * error:.1f}. Marked (*) are entries "
        "more than three of them from 95. Wald and bootstrap intervals rest on REML; the bootstrap has 199 draws.",
    ]
    quantities = list(dict.fromkeys((r["quantity"].split()[0], r["quantity"]) for r in records))
    known = {(r["design"], r["quantity"], r["method"]): r for r in records}
    for kind, heading in (
        ("fixed", "Fixed effects (x varies within groups, z between them)"),
        ("sd", "Standard deviations of random coefficients"),
        ("correlation", "Correlations"),
        ("sigma", "Residual standard deviation"),
        ("icc", "Shares of variance (ICC)"),
    ):
        methods = [m for m in METHODS if any(r["method"] == m and r["quantity"].split()[0] == kind for r in records)]
        rows = [["design", "quantity", *methods]]
        for design in COVERAGE:
            for _, quantity in (q for q in quantities if q[0] == kind):
                cells = [known.get((design.name, quantity, m)) for m in methods]
                if any(cells):
                    shown = [f"{100 * c['rate']:.1f}" + ("*" if abs(c["rate"] - 0.95) > 3 * error else "") if c else ""
                             for c in cells]  # fmt: skip
                    rows.append([design.name, quantity.removeprefix(f"{kind} ") or kind, *shown])
        text += ["", f"## {heading}", "", table(rows)]
    return "\n".join(text) + "\n"


def main() -> None:
    asked = options(__doc__, 1000, "design")
    start = time.time()
    records = summarise(replicate(once, len(COVERAGE), asked.runs, asked.seed, asked.workers))
    seconds = time.time() - start
    result = {"runs": asked.runs, "seed": asked.seed, "draws": DRAWS, "coverage": records}
    (HERE / "coverage.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "coverage.md").write_text(markdown(records, asked.runs, seconds))
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
