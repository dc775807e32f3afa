"""The Rust package mixedlm in the race; runs in an environment of its own. Reads with Polars, its fastest reader."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Fit rungs by ML, ``repeats`` times; ``warm`` fits a few rows first, so that lazy imports are not counted."""
    if task["mode"] == "versions":
        from importlib.metadata import version

        return {name: version(name) for name in ("mixedlm", "polars")}
    import mixedlm
    import polars

    data = polars.read_parquet(task["panel"], columns=task["columns"])
    if task.get("warm"):
        mixedlm.lmer("ret ~ market + (1 | firm)", data.head(2000), REML=False)
    runs, logliks = [], {}
    for _ in range(task["repeats"]):
        start, cpu = time.perf_counter(), time.process_time()
        for name, formula in task["rungs"].items():
            logliks[name] = float(mixedlm.lmer(formula, data, REML=False).logLik().value)
        runs.append({"all": {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}})
    return {"runs": runs, "logliks": logliks}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
