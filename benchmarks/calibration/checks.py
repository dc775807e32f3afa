"""How often do the checks raise a false alarm, and how often do they find a planted fault?

    python benchmarks/calibration/checks.py [--panels 400] [--faults 100] [--seed 1] [--out FILE]

Prints, and writes to benchmarks/calibration/checks.json and checks.md: per check and shape of clean panel the share
flagged (look and
problem), the share of clean panels with any problem at all, and per fault the share found, each with its Monte-Carlo
standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import panels  # noqa: E402
import pyarrow as pa  # noqa: E402

from hierreport import ingest, mixed, moments, source  # noqa: E402
from hierreport.diagnostics.checks import CHECKS, run_all  # noqa: E402
from hierreport.diagnostics.loading import of_fit  # noqa: E402
from hierreport.spec import ModelSpec  # noqa: E402


def statuses(
    shape: panels.Shape, seed: list[int], formula: str | None = None, only: str | None = None, **fault: Any
) -> dict[str, str]:
    """Status of every check (or one) on one simulated panel, the true (clean) model fitted."""
    table = pa.table(panels.draw(shape, np.random.default_rng(seed), **fault))
    frame = ingest.build_frame(source.open_source(table), formula or shape.formula, time="t")
    panel = moments.reduce_all(frame)
    fit = mixed.fit(panel, ModelSpec(frame.fixed, frame.random))
    evidence = of_fit(frame, panel, fit)
    if only is not None:
        return {only: import_module(f"hierreport.diagnostics.checks.{only}").check(evidence).status}
    return {check.name: check.status for check in run_all(evidence)}


def rate(hits: int, runs: int) -> dict[str, float]:
    """A share with its Monte-Carlo standard error."""
    p = hits / runs
    return {"rate": p, "mc_error": float(np.sqrt(max(p * (1 - p), 0.5 / runs) / runs)), "runs": runs}


def clean(runs: int, seed: int, only: str = "") -> list[dict[str, Any]]:
    """False alarms on every shape (or those whose name matches)."""
    out = []
    for number, shape in enumerate(panels.SHAPES):
        if not re.search(only, shape.name):
            continue
        looks: Counter[str] = Counter()
        problems: Counter[str] = Counter()
        any_problem = 0
        for run in range(runs):
            found = statuses(shape, [seed, number, run])
            problems.update(name for name, status in found.items() if status == "problem")
            looks.update(name for name, status in found.items() if status in ("look", "problem"))
            # Facts of the design (few groups, the singular fit that a true zero variance gives) are no false alarms.
            any_problem += any(status == "problem" for name, status in found.items() if name not in FACTS)
        out.append(
            {
                "shape": shape.name,
                "any_problem": rate(any_problem, runs),
                "problem": {name: rate(problems[name], runs) for name in CHECKS if problems[name]},
                "look": {name: rate(looks[name], runs) for name in CHECKS if looks[name]},
            }
        )
        print(json.dumps(out[-1]), flush=True)
    return out


FACTS = ("adequacy", "random_part", "collinearity", "dropped_rows")


def planted(runs: int, seed: int, only: str = "") -> list[dict[str, Any]]:
    """Power against every fault (or those whose name matches)."""
    out = []
    for number, fault in enumerate(panels.FAULTS):
        if not re.search(only, fault.name):
            continue
        found = Counter(
            statuses(fault.shape, [seed, 1000 + number, run], fault.formula, fault.check, **fault.options)[fault.check]
            for run in range(runs)
        )
        flagged = found["problem"] + found["look"]
        out.append(
            {
                "fault": fault.name,
                "size": fault.size,
                "shape": fault.shape.name,
                "check": fault.check,
                "flagged": rate(flagged, runs),
                "problem": rate(found["problem"], runs),
            }
        )
        print(json.dumps(out[-1]), flush=True)
    return out


def merged(new: list[dict[str, Any]], old: list[dict[str, Any]], key: str, order: list[str]) -> list[dict[str, Any]]:
    """New rows, and old ones where there is no new one, in order."""
    rows = {row[key]: row for row in [*old, *new]}
    return [rows[name] for name in order if name in rows]


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""

    def share(r: dict[str, float]) -> str:
        return f"{100 * r['rate']:.1f} ± {100 * r['mc_error']:.1f} %"

    lines = [
        "# Checks: false alarms and power",
        "",
        f"By `python benchmarks/calibration/checks.py --panels {result['panels']} --faults {result['faults']} --seed "
        f"{result['seed']}`; ± is the Monte-Carlo standard error. The true model is fitted. Facts of a design (few "
        "groups, a "
        "variance that is truly zero) are not counted as false alarms.",
        "",
        f"## Clean panels ({result['panels']} of each shape)",
        "",
        "| shape | any problem | checks that showed a problem | looks per check, largest |",
        "|---|---|---|---|",
    ]
    for row in result["clean"]:
        problems = ", ".join(f"{n} {share(r)}" for n, r in row["problem"].items()) or "none"
        looks = sorted(((r["rate"], n, r) for n, r in row["look"].items() if n not in FACTS), reverse=True)
        most = f"{looks[0][1]} {share(looks[0][2])}" if looks else "none"
        lines.append(f"| {row['shape']} | {share(row['any_problem'])} | {problems} | {most} |")
    lines += [
        "",
        f"## Planted faults ({result['faults']} panels of each)",
        "",
        "| fault | size | panel | check | flagged (look or problem) | problem |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["planted"]:
        cells = (row["fault"], row["size"], row["shape"], row["check"], share(row["flagged"]), share(row["problem"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=400, help="clean panels per shape (default: 400)")
    parser.add_argument("--faults", type=int, default=100, help="panels per fault (default: 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--part", choices=["clean", "planted", "both"], default="both", help="keep the other part of OUT"
    )
    parser.add_argument("--only", default="", help="shapes and faults whose name matches; keep the others of OUT")
    parser.add_argument("--out", type=Path, default=HERE / "checks.json")
    options = parser.parse_args()
    start = time.time()
    result: dict[str, Any] = {"panels": options.panels, "faults": options.faults, "seed": options.seed}
    before = json.loads(options.out.read_text()) if options.part != "both" or options.only else {}
    if options.part != "both":
        kept = {"planted": ("panels", "clean"), "clean": ("faults", "planted")}[options.part]
        result |= {key: before[key] for key in kept}
    if options.part != "clean":
        found = planted(options.faults, options.seed, options.only)
        result["planted"] = merged(found, before.get("planted", []), "fault", [f.name for f in panels.FAULTS])
    if options.part != "planted":
        found = clean(options.panels, options.seed, options.only)
        result["clean"] = merged(found, before.get("clean", []), "shape", [s.name for s in panels.SHAPES])
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(result), encoding="utf-8")
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
