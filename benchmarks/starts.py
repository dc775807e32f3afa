"""How often starts of a fit miss the best optimum known. ``python benchmarks/starts.py`` (6 minutes); see README.md.

Random panels of 3 to 4,500 groups, balanced and not, with covariates that vary between groups, zero to large variances
at two levels, normal and heavy-tailed errors. Every model is fitted from each set of starts; the best of all fits,
those from further starts too, is the optimum to be found.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from field import HERE

from hierreport import ingest, moments, rungs, source
from hierreport.criterion import Criterion
from hierreport.errors import HierreportError
from hierreport.mixed import FEW, leaning_starts, minimise, prepared, start_factors, start_points

RESULT = HERE / "results" / "starts.json"
MISSED = 1e-6
FORMULAS = (
    "y ~ x + z + (1 | s/g)",
    "y ~ x + z + (1 + x | s/g)",
    "y ~ x + z + (1 + x | g)",
    "y ~ x + z + (1 + x || s/g)",
    "y ~ x + (1 + x + z | g)",
)


def panel(rng: np.random.Generator) -> pa.Table:
    """A panel of a design drawn at random."""
    sectors, each = int(rng.choice([3, 6, 12, 40, 150])), int(rng.choice([1, 3, 8, 30]))
    if sectors * each <= FEW and rng.random() < 0.7:
        sectors, each = 30, 8
    firms = sectors * each
    n = rng.integers(1, int(rng.choice([4, 12, 40])) + 1, size=firms) + 2 * int(rng.random() < 0.5)
    firm = np.repeat(np.arange(firms), n)
    sector, rows = firm // each, len(firm)
    x = rng.normal(size=rows) + rng.choice([0, 1, 5]) * rng.normal(size=firms)[firm]
    x += rng.choice([0, 0, 3]) * rng.normal(size=sectors)[sector] + rng.choice([0, 0, 5, 50])
    z = rng.normal(size=rows)
    y = 1 + 0.5 * x + 0.2 * z + (rng.normal(size=rows) if rng.random() < 0.7 else rng.standard_t(3, size=rows))
    for groups, of in ((firms, firm), (sectors, sector)):
        sds, correlation = rng.choice([0, 0.05, 0.3, 1, 3], size=2), rng.uniform(-1, 1)
        own, other = rng.normal(size=(2, groups))
        slope = correlation * own + np.sqrt(1 - correlation**2) * other
        y += sds[0] * own[of] + sds[1] * slope[of] * x
    return pa.table({"y": y, "x": x, "z": z, "s": [f"s{v}" for v in sector], "g": [f"g{v}" for v in firm]})


def sets(criterion: Criterion) -> dict[str, list[np.ndarray]]:
    """The starts to be compared; the last set is for finding the best optimum."""
    parameters = criterion.parameters
    factors, levels = start_factors(criterion), parameters.levels
    moment = parameters.theta(factors)
    unit = [np.eye(level.size) for level in levels]
    outer = parameters.theta([0.1 * unit[0], *unit[1:]])
    between = [np.diag(np.sqrt(np.linalg.norm(lam, axis=1))) for lam in factors]
    further = [parameters.theta(between), parameters.theta([0.1 * between[0], *between[1:]])]
    return {
        "moment start": [moment],
        "the product's starts": start_points(criterion, None, None),
        "all": [moment, parameters.theta(unit), outer, *further, *leaning_starts(criterion)],
    }


def main() -> None:
    """Fit all, count, write results/starts.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--panels", type=int, default=2000)
    options = parser.parse_args()
    missed: dict[str, Counter[str]] = {"few": Counter(), "many": Counter()}
    fits: Counter[str] = Counter()
    cases: list[dict[str, Any]] = []
    for seed in range(options.panels):
        formula = FORMULAS[seed % len(FORMULAS)]
        try:
            frame = ingest.build_frame(source.open_source(panel(np.random.default_rng(seed))), formula, moments=True)
            spec = rungs.derive(frame.fixed, frame.random, frame.levels)[-1][1]
            problem, ml = prepared(moments.PanelMoments(moments.reduce(frame)), spec)
        except HierreportError:
            continue  # the design has one firm per sector, say
        size = "few" if len(problem.n) <= FEW else "many"
        for criterion in (ml, ml.again(reml=True)):
            with np.errstate(all="ignore"):
                found = {name: minimise(criterion, starts).optimum for name, starts in sets(criterion).items()}
            best = min(end.value for end in found.values())
            fits[size] += 1
            worse = {name: end.value - best for name, end in found.items() if end.value > best + MISSED}
            missed[size].update(worse.keys())
            missed[size].update(f"{name}: not converged" for name, end in found.items() if not end.converged)
            if worse:
                cases.append({"seed": seed, "groups": len(problem.n), "reml": criterion.reml, "deviance above": worse})
    result = {
        "panels": options.panels,
        "fits": dict(fits),
        "missed": {size: dict(counts) for size, counts in missed.items()},
        "cases": cases,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
