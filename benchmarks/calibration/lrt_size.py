"""How often do likelihood-ratio tests at 5 % reject a true null: naive, corrected for the boundary, simulated?

    python benchmarks/calibration/lrt_size.py [--runs 1000] [--workers 2] [--seed 1]

Writes lrt_size.json and lrt_size.md beside this file.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from designs import Design
from running import HERE, options, rate, replicate, stream, table

from hierreport import lrt
from hierreport.bootstrap import bootstrap_lrt
from hierreport.mixed import MixedFit, fit

DRAWS = 199
KINDS = ("p_naive", "p_boundary", "p_bootstrap")


@dataclass(frozen=True)
class Cell:
    """A test of a true null: random coefficients by sector and firm (how many) under the null and the alternative."""

    what: str
    design: Design
    null: tuple[int, int]
    alternative: tuple[int, int]


CELLS = (
    Cell("first intercept", Design("6 groups of 10", 6, (10, 10)), (0, 0), (0, 1)),
    Cell("first intercept", Design("20 groups of 8", 20, (8, 8)), (0, 0), (0, 1)),
    Cell("first intercept", Design("100 groups of 1-9", 100, (1, 9)), (0, 0), (0, 1)),
    Cell("correlated slope", Design("20 groups of 8", 20, (8, 8), firm=0.65), (0, 1), (0, 2)),
    Cell("correlated slope", Design("100 groups of 5", 100, (5, 5), firm=0.65), (0, 1), (0, 2)),
    Cell("level above", Design("8 sectors of 8 firms of 5", 64, (5, 5), 8, 0.0, 0.65), (0, 1), (1, 1)),
    Cell("level above", Design("30 sectors, 180 firms of 2-8", 180, (2, 8), 30, 0.0, 0.65), (0, 1), (1, 1)),
    Cell("correlated slope, null without variance", Design("20 groups of 8", 20, (8, 8)), (0, 1), (0, 2)),
    Cell("intercept and slope at once", Design("20 groups of 8", 20, (8, 8)), (0, 0), (0, 2)),
)


def summary(done: MixedFit) -> dict[str, Any]:
    """What ``lrt.test`` reads of an ML fit."""
    state = done.ml_state
    return {
        "loglik": -0.5 * state.optimum.value,
        "n_par": len(done.problem.basis.x_index) + len(state.theta) + 1,
        "singular": state.singular,
        "converged": state.optimum.converged,
    }


def once(seed: int, cell: int, run: int) -> dict[str, float]:
    """p-values of one panel."""
    c = CELLS[cell]
    moments = c.design.draw(stream(seed, cell, run)).moments
    null, alternative = (fit(moments, c.design.spec(*terms)) for terms in (c.null, c.alternative))
    tested = lrt.test(("null", null.spec, summary(null)), ("alternative", alternative.spec, summary(alternative)))
    simulated = bootstrap_lrt(null, alternative, DRAWS, seed=run + 1, workers=1)
    assert tested.p_naive is not None and tested.p_boundary is not None
    return {"p_naive": tested.p_naive, "p_boundary": tested.p_boundary, "p_bootstrap": simulated.p,
            "zero": float(tested.statistic == 0.0), "failures": simulated.failures}  # fmt: skip


def main() -> None:
    asked = options(__doc__, 1000, "cell")
    start = time.time()
    results = replicate(once, len(CELLS), asked.runs, asked.seed, asked.workers)
    seconds = time.time() - start
    records = []
    rows = [["added to the null", "design", "naive", "boundary", "bootstrap", "statistic zero"]]
    for cell, runs in zip(CELLS, results, strict=True):
        found = {kind: rate(np.array([r[kind] for r in runs]) <= 0.05) for kind in KINDS}
        zero = rate(np.array([r["zero"] for r in runs]) > 0)
        failures = int(sum(r["failures"] for r in runs))
        records.append({"added": cell.what, "design": cell.design.name, "zero": zero, "failures": failures} | found)
        shown = [f"{100 * f['rate']:.1f} ({100 * f['error']:.1f})" for f in found.values()]
        rows.append([cell.what, cell.design.name, *shown, f"{100 * zero['rate']:.0f}"])
    result = {"runs": asked.runs, "seed": asked.seed, "draws": DRAWS, "size": records}
    (HERE / "lrt_size.json").write_text(json.dumps(result, indent=1) + "\n")
    text = [
        "# Size of likelihood-ratio tests at 5 %",
        "",
        f"By `benchmarks/calibration/lrt_size.py`, {asked.runs} panels per row ({seconds:.0f} s), the null true. "
        f"Percent rejected, with the Monte-Carlo standard error; {DRAWS} draws per simulated test.",
        "",
        table(rows),
    ]
    (HERE / "lrt_size.md").write_text("\n".join(text) + "\n")
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
