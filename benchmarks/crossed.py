"""A random effect of the day crossed with firms, against lme4. ``python benchmarks/crossed.py``; see README.md here."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from field import HERE, Field
from timing import Run, machine, run

RESULT, TABLE = HERE / "results" / "crossed.json", HERE / "README.md"
COLUMNS = ["sector", "firm", "day", "x", "z", "y"]
# Firms, sectors, days, and on how many of the days each firm is seen.
PANELS = {
    "50 firms on each of 1,000 days": (50, 5, 1000, 1000),
    "200 firms on each of 1,000 days": (200, 10, 1000, 1000),
    "2,000 firms, each on 10 of 1,000 days": (2000, 20, 1000, 10),
    "5,000 firms, each on 20 of 1,000 days": (5000, 50, 1000, 20),
}
MODELS = {
    "random intercept": ("(1 | sector:firm)", "(1 | firm)"),
    "random slope": ("(1 + x | sector:firm)", "(1 + x | firm)"),
    "two levels with slopes": ("(1 + x | sector/firm)", "(1 + x | sector) + (1 + x | firm)"),
}


def panel(path: Path, firms: int, sectors: int, days: int, seen: int) -> None:
    """Write a panel with intercepts and slopes of both levels and shocks of the days, as Parquet and CSV."""
    rng = np.random.default_rng(1)
    firm = np.repeat(np.arange(firms), seen)
    day = np.concatenate([np.sort(rng.permutation(days)[:seen]) for _ in range(firms)])
    sector = firm * sectors // firms
    x, shock = rng.normal(size=len(firm)), rng.normal(size=(2, days))
    z = 0.3 * shock[0][day] + rng.normal(size=len(firm))
    own = rng.multivariate_normal([0, 0], [[0.5, 0.1], [0.1, 0.2]], firms).T
    above = rng.multivariate_normal([0, 0], [[0.3, 0.05], [0.05, 0.1]], sectors).T
    y = 1 + 0.5 * x - 0.2 * z + own[0][firm] + own[1][firm] * x + above[0][sector] + above[1][sector] * x
    y += 0.4 * shock[1][day] + rng.normal(size=len(firm))
    pq.write_table(pa.table(dict(zip(COLUMNS, (sector, firm, day, x, z, y), strict=True))), path)
    duckdb.execute(f"COPY (FROM read_parquet('{path}')) TO '{path.with_suffix('.csv')}'")


def main() -> None:
    """Fit every model of every panel by both programs; write results/crossed.json and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "hierreport-race")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that lme4 has for a fit")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    field = Field(options.folder, False, 3)
    rows = []
    for number, (what, design) in enumerate(PANELS.items()):
        path = options.folder / f"crossed{number}.parquet"
        if not path.exists():
            panel(path, *design)
        for model, (formula, theirs) in MODELS.items():
            task = {
                "mode": "crossed",
                "panel": str(path),
                "formula": f"y ~ x + z + {formula}",
                "repeats": field.repeats,
            }
            ours = field.ours(**task)
            rungs = {model: f"y ~ x + z + {theirs} + (1 | day)"}
            task = {
                "mode": "fit",
                "panel": str(path.with_suffix(".csv")),
                "columns": COLUMNS,
                "rungs": rungs,
                "repeats": 1,
            }
            lme4 = run(["Rscript", str(HERE / "racers" / "lme4_peer.R"), json.dumps(task)], options.limit)
            rows.append({"panel": what, "model": model, "hierreport": measured(ours), "lme4": measured(lme4)})
            print(line(rows[-1]), flush=True)
    result = {"date": datetime.now().strftime("%Y-%m-%d %H:%M"), "machine": machine(), "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    m = result["machine"]
    head = f"{result['date']}, {m['cpu']}, {m['cores']} cores, load {m['load']:.1f} at the end.\n\n"
    head += (
        "| panel | model | hierreport, CPU s | lme4, CPU s | × ours | MB | lme4, MB | lme4's log-likelihood less ours"
    )
    head += " |\n"
    head += "|---|---|--:|--:|--:|--:|--:|--:|\n"
    text = TABLE.read_text(encoding="utf-8")
    table = head + "\n".join(map(line, rows)) + "\n"
    text = re.sub(r"(<!-- crossed -->\n).*(<!-- end crossed -->)", lambda m: m[1] + table + m[2], text, flags=re.DOTALL)
    TABLE.write_text(text, encoding="utf-8")


def measured(one: Run) -> dict[str, Any]:
    """Processor time of the fastest fit of a process, its memory, the log-likelihood."""
    if one.failed:
        return {"failed": one.failed} | {k: v for k, v in asdict(one).items() if k in ("cpu", "memory")}
    cpu = min(again["all"]["cpu"] for again in one.answer["runs"])
    return {"cpu": cpu, "memory": one.memory, "loglik": next(iter(one.answer["logliks"].values()))}


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    ours, theirs = row["hierreport"], row["lme4"]
    late = "> " if "failed" in theirs else ""
    gap = "" if late else f"{theirs['loglik'] - ours['loglik']:.1e}"
    cells = [row["panel"], row["model"], f"{ours['cpu']:.2f}", f"{late}{theirs['cpu']:.1f}"]
    cells += [f"{late}{theirs['cpu'] / ours['cpu']:.0f}", f"{ours['memory']:.0f}", f"{theirs['memory']:.0f}", gap]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
