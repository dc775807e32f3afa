"""statsmodels MixedLM in the race: random intercepts and slopes of one level; nested slopes it cannot express."""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

RANDOM = {"random_intercept": None, "random_slope": "~market"}


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Fit rungs by ML."""
    import pandas as pd
    import statsmodels.formula.api as smf

    warnings.simplefilter("ignore")
    data = pd.read_parquet(task["panel"], columns=task["columns"])
    runs, logliks, failed = [], {}, []
    for _ in range(task["repeats"]):
        start, cpu = time.perf_counter(), time.process_time()
        for name in task["rungs"]:
            model = smf.mixedlm("ret ~ market + volume", data, groups="firm", re_formula=RANDOM[name])
            fit = model.fit(reml=False)
            logliks[name] = float(fit.llf)
            failed += [] if fit.converged else [name]
        runs.append({"all": {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}})
    return {"runs": runs, "logliks": logliks, "not_converged": sorted(set(failed))}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
