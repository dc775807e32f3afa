"""The race: hierreport against its peers, all in one go. ``python benchmarks/race.py --help``; see README.md here."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cases import CASES
from field import HERE, Field, Row
from timing import machine, missing

RESULT = HERE / "results" / "race.json"
TABLE = HERE / "README.md"


def main() -> int:
    """Run the cases; write results/race.json and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", default="".join(CASES), help="letters of the cases to run")
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes of each quick program")
    parser.add_argument("--small", action="store_true", help="tiny panels, to try the script; writes no table")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "hierreport-race")
    options = parser.parse_args()
    if absent := missing("Rscript", "pandoc"):
        print(f"not installed: {', '.join(absent)}; see benchmarks/README.md", file=sys.stderr)
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    field = Field(options.folder, options.small, options.repeats)
    result: dict[str, Any] = {"date": datetime.now().strftime("%Y-%m-%d %H:%M"), "machine": machine()}
    result["repeats"] = options.repeats
    result["versions"] = {}
    for name in ("mixedlm", "lme4"):
        result["versions"] |= field.peer(name, mode="versions").answer or {}
    result["versions"] |= field.ours(mode="versions").answer
    rows: list[Row] = []
    start = time.perf_counter()
    for letter, case in CASES.items():
        if letter in options.only:
            rows += show(case(field), time.perf_counter() - start)
    result["minutes"] = round((time.perf_counter() - start) / 60, 1)
    result["load_at_end"] = os.getloadavg()[0]
    result["rows"] = [asdict(row) for row in sorted(rows, key=lambda r: r.case)]
    result["logliks"] = agreement(field)
    if options.small or set(options.only) != set(CASES):
        print(json.dumps(result["logliks"], indent=1))
        return 0
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = TABLE.read_text(encoding="utf-8")
    text = re.sub(r"(<!-- table -->\n).*(<!-- end -->)", lambda m: m[1] + table(result) + m[2], text, flags=re.DOTALL)
    TABLE.write_text(text, encoding="utf-8")
    return 0


def show(rows: list[Row], seconds: float) -> list[Row]:
    """Say how it goes."""
    for row in rows:
        print(f"{seconds:5.0f} s  {line(asdict(row))}", flush=True)
    return rows


def agreement(field: Field) -> dict[str, Any]:
    """Log-likelihoods (ML) of every program, and how far they are from ours; negative where theirs is lower."""
    out: dict[str, Any] = {}
    for panel, rungs in field.log.items():
        for rung, values in rungs.items():
            ours = values.get("hierreport")
            if ours is not None:
                gaps = {name: value - ours for name, value in values.items() if name != "hierreport"}
                out[f"{panel}, {rung}"] = {"hierreport": ours, "theirs_less_ours": gaps}
    return out


def table(result: dict[str, Any]) -> str:
    """The table in Markdown, with the facts that belong to it."""
    m, v = result["machine"], result["versions"]
    names = ("hierreport", "python", "numpy", "duckdb", "statsmodels", "snakemake", "mixedlm", "polars")
    names = (*names, "R", "lme4", "performance", "rmarkdown")
    programs = ", ".join(f"{k} {v[k]}" for k in names if k in v)
    misses = [r for r in result["rows"] if r["met"] is False]
    met = sum(r["met"] is True for r in result["rows"])
    gaps = [entry["theirs_less_ours"] for entry in result["logliks"].values()]
    worst = [gap for entry in gaps for name, gap in entry.items() if name != "statsmodels"]
    lines = [
        f"{result['date']}, {result['minutes']} minutes. {m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB, "
        f"{m['system']}; load {m['load']:.1f} before the start and {result['load_at_end']:.1f} at the end (the race "
        "itself makes 1 to 2).",
        f"{programs}; R's BLAS: {Path(v.get('blas', '?')).name}.",
        "",
        f"{met} targets met, {len(misses)} missed. Log-likelihoods (ML) of lme4 and mixedlm less ours: between "
        f"{min(worst, default=0):.2g} and {max(worst, default=0):.2g}.",
        "",
        "| | program | what | wall s | CPU s | MB | × ours | target | met | |",
        "|---|---|---|--:|--:|--:|--:|---|---|---|",
    ]
    return "\n".join([*lines, *(line(row) for row in result["rows"])]) + "\n"


def line(row: dict[str, Any]) -> str:
    """One row of the table."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"

    cells = [row["case"], row["program"], row["what"], number(row["wall"]), number(row["cpu"]), number(row["memory"])]
    verdict = "" if row["met"] is None else "yes" if row["met"] else "**no**"
    cells += [number(row["ratio"]), row["target"], verdict, row["note"]]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
