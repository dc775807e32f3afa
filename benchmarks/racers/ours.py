"""hierreport in the race: one task (JSON, first argument), one line of JSON as the answer."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

HEAVY = ("pandas", "statsmodels", "matplotlib", "scipy.stats", "scipy.optimize", "pyarrow", "polars")


def clocks() -> tuple[float, float]:
    """Wall and processor time."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> dict[str, float]:
    """Seconds since a reading of the clocks."""
    now = clocks()
    return {"wall": now[0] - start[0], "cpu": now[1] - start[1]}


def loaded() -> list[str]:
    """Packages in memory that a process that only fits should do without."""
    return [name for name in HEAVY if name in sys.modules]


def memory(task: dict[str, Any]) -> dict[str, Any]:
    """Rungs from a table in memory, checks and moments included: by ML, which is what peers fit, and by ML and REML.

    "fits" is the last without checks and moments.
    """
    import pyarrow.parquet as pq

    from hierreport import ingest, mixed, ml_only, moments, rungs, simulate, source

    table = pq.read_table(task["panel"], columns=task["columns"])

    def prepared(rows: Any) -> tuple[Any, list[Any]]:
        frame = ingest.build_frame(source.open_source(rows), task["formula"], moments=True)
        panel = moments.PanelMoments(moments.reduce(frame))
        steps = rungs.derive(frame.fixed, frame.random, frame.levels)[1:]
        return panel, steps if task.get("rungs") != "last" else steps[-1:]

    def once(rows: Any) -> dict[str, Any]:
        start, ml = clocks(), {}
        if task.get("ml"):
            panel, wanted = prepared(rows)
            for _, spec in wanted:
                ml_only.fit_ml(panel, spec, restarts=None)
            ml, start = since(start), clocks()
        panel, wanted = prepared(rows)
        middle = clocks()
        fits = {name: mixed.fit(panel, spec) for name, spec in wanted}
        return {"ml": ml, "fits": since(middle), "all": since(start)} | {
            "logliks": {name: fit.ml_state.optimum.value / -2 for name, fit in fits.items()},
            "evaluations": {
                name: [state.criterion.evaluations for state in (fit.ml_state, fit.reml_state)]
                for name, fit in fits.items()
            },
        }

    once(simulate.simulate(days=10)[0].select(task["columns"]))
    runs = [once(table) for _ in range(task["repeats"])]
    return {"runs": runs, "logliks": runs[-1]["logliks"]}


def ladder(task: dict[str, Any]) -> dict[str, Any]:
    """The whole ladder from a file, as a user would: checks, ML, REML, degrees of freedom, comparison."""
    import hierreport

    found = hierreport.ladder(task["panel"], task["formula"])
    logliks = {name: fit.ml.loglik for name, fit in found.rungs.items() if name != "pooled"}
    return {"logliks": logliks, "chosen": found.choice.rung, "loaded": loaded()}


def phases(task: dict[str, Any]) -> dict[str, Any]:
    """The same as ``ladder``, by part."""
    out: dict[str, Any] = {}
    start = clocks()
    import duckdb  # noqa: F401

    from hierreport import formula, ingest, mixed, moments, rungs, rungs_io, source

    out["imports"], start = since(start), clocks()
    parsed, opened = formula.parse(task["formula"]), source.open_source(task["panel"])
    out["open"], start = since(start), clocks()
    frame = ingest.build_frame(opened, parsed, moments=True)
    out["checks"], start = since(start), clocks()
    panel = moments.PanelMoments(moments.reduce(frame))
    out["moments"], start = since(start), clocks()
    steps = rungs.derive(frame.fixed, frame.random, frame.levels)
    fits = [mixed.fit(panel, spec) for _, spec in steps]
    out["fits"], start = since(start), clocks()
    text = rungs_io.formula_text(parsed, frame.fixed, frame.info.get("terms") or {}, frame.groups)
    records = [fit.record(name, text(spec), "satterthwaite") for fit, (name, spec) in zip(fits, steps, strict=True)]
    out["records"] = since(start)
    evaluations = [[s.criterion.evaluations for s in (fit.ml_state, fit.reml_state)] for fit in fits[1:]]
    again = []
    for _ in range(task.get("repeats", 3)):
        start = clocks()
        for _, spec in steps:
            mixed.fit(panel, spec)
        again.append(since(start))
    return {"phases": out, "again": again, "evaluations": evaluations, "rows": records[0].n_obs}


def crossed(task: dict[str, Any]) -> dict[str, Any]:
    """A random effect of the day beside the groups', from a table in memory: checks, moments, ML and REML."""
    import pyarrow.parquet as pq

    import hierreport

    table = pq.read_table(task["panel"])
    runs = []
    for _ in range(task["repeats"]):
        start = clocks()
        fit = hierreport.fit(table, task["formula"], time="day", crossed=True)
        runs.append({"all": since(start)})
    return {"runs": runs, "logliks": {"crossed": fit.engine.ml_state.optimum.value / -2}}


def bootstrap(task: dict[str, Any]) -> dict[str, Any]:
    """Parametric bootstrap of the richest rung, by REML; reading and the first fit are not counted."""
    import hierreport
    from hierreport.bootstrap import bootstrap as simulate

    fit = hierreport.fit(task["panel"], task["formula"])
    start = clocks()
    result = simulate(fit.engine, task["refits"], seed=1)
    return {**since(start), "refits": result.n, "failures": result.failures}


def stage_fit(task: dict[str, Any]) -> dict[str, Any]:
    """The workflow's stage that fits, and what it has imported."""
    from hierreport import stages

    stages.fit(Path(task["folder"]), {})
    return {"loaded": loaded()}


def versions(task: dict[str, Any]) -> dict[str, Any]:
    """Versions of what takes part."""
    from importlib.metadata import version

    names = ("hierreport", "numpy", "scipy", "duckdb", "statsmodels", "snakemake")
    return {name: version(name) for name in names} | {"python": sys.version.split()[0]}


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    modes = (memory, ladder, phases, crossed, bootstrap, stage_fit, versions)
    print(json.dumps({f.__name__: f for f in modes}[task["mode"]](task)))
