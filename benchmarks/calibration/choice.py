"""How often does the ladder choose the true rung, and what is a 95 % interval worth after that choice?

    python benchmarks/calibration/choice.py [--runs 200] [--workers 2] [--seed 1]

Every panel is climbed with the richest model y ~ x + z + (1 + x | sector/firm) and its AR(1) twins. Writes choice.json
and choice.md beside this file: per truth the share of each rung chosen, and the coverage of the fixed effects'
Satterthwaite intervals in the chosen and in the true model.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import numpy as np
from designs import BETA, ONE, Design
from running import HERE, options, rate, replicate, stream, table

from hierreport.mixed import fit
from hierreport.rungs import climb, derive
from hierreport.spec import LevelSpec

SECTORS, FIRMS, ROWS = 10, 80, (7, 7)
TRUTHS = (
    ("pooled", Design("pooled", FIRMS, ROWS, SECTORS)),
    ("random_intercept", Design("random intercept", FIRMS, ROWS, SECTORS, firm=0.65)),
    ("random_slope", Design("random slope", FIRMS, ROWS, SECTORS, firm=0.65, slope=0.4, corr=0.3)),
    ("multilevel", Design("three levels", FIRMS, ROWS, SECTORS, 0.6, 0.65, 0.4, 0.3)),
    ("pooled.ar1", Design("pooled, AR(1) 0.5", FIRMS, ROWS, SECTORS, rho=0.5)),
    ("random_intercept.ar1", Design("random intercept, AR(1) 0.5", FIRMS, ROWS, SECTORS, firm=0.65, rho=0.5)),
    ("random_slope.ar1", Design("random slope, AR(1) 0.5", FIRMS, ROWS, SECTORS, 0.0, 0.65, 0.4, 0.3, rho=0.5)),
)
RICHEST = (LevelSpec("sector", ((ONE, "x"),)), LevelSpec("sector/firm", ((ONE, "x"),)))


def once(seed: int, cell: int, run: int) -> dict[str, Any]:
    """The rung chosen on one panel, and which fixed effects its intervals and those of the true model contain."""
    truth, design = TRUTHS[cell]
    panel = design.draw(stream(seed, cell, run))
    rungs = derive(tuple(BETA), RICHEST, panel.moments.levels)
    entries, ladder = climb(panel, rungs, str, errors=("iid", "ar1"))
    chosen = next(e for e in entries if e.rung == ladder.choice.rung)
    assert chosen.record is not None
    true_fit = fit(panel, design.true_spec)
    out: dict[str, Any] = {"chosen": chosen.rung, "right": chosen.rung == truth}
    for name, effects in (("after", chosen.record.reml.fixed), ("true", true_fit.reml.fixed)):
        out[name] = [e.ci_low <= BETA[e.term] <= e.ci_high for e in effects]
    return out


def main() -> None:
    asked = options(__doc__, 200, "truth")
    start = time.time()
    results = replicate(once, len(TRUTHS), asked.runs, asked.seed, asked.workers)
    seconds = time.time() - start
    records = []
    rows = [["truth", "found, %", "chosen instead", *(f"{t}: after / true model" for t in BETA)]]
    for (truth, _), runs in zip(TRUTHS, results, strict=True):
        right = rate(np.array([r["right"] for r in runs]))
        others = Counter(r["chosen"] for r in runs if not r["right"])
        coverage = {
            name: {term: rate(np.array([r[name][j] for r in runs])) for j, term in enumerate(BETA)}
            for name in ("after", "true")
        }
        records.append({"truth": truth, "found": right, "instead": dict(others.most_common()), "coverage": coverage})
        shown = ", ".join(f"{name} {100 * count / len(runs):.0f}" for name, count in others.most_common(3))
        pairs = [f"{100 * coverage['after'][t]['rate']:.1f} / {100 * coverage['true'][t]['rate']:.1f}" for t in BETA]
        rows.append([truth, f"{100 * right['rate']:.1f} ({100 * right['error']:.1f})", shown, *pairs])
    result = {"runs": asked.runs, "seed": asked.seed, "choice": records}
    (HERE / "choice.json").write_text(json.dumps(result, indent=1) + "\n")
    error = 100 * np.sqrt(0.95 * 0.05 / asked.runs)
    text = [
        "# How often the ladder's choice is right",
        "",
        f"By `benchmarks/calibration/choice.py`, {asked.runs} panels per row ({seconds:.0f} s): {FIRMS} firms in "
        f"{SECTORS} sectors, {ROWS[0]} periods. Percent of panels in which the true rung was chosen (Monte-Carlo "
        "standard error), what was chosen instead (percent), and percent of 95 % intervals that contain each fixed "
        f"effect, in the chosen and in the true model (standard error of 95: {error:.1f}).",
        "",
        table(rows),
    ]
    (HERE / "choice.md").write_text("\n".join(text) + "\n")
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
