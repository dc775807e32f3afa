"""Evidence for the checks' tests: a panel through the real ingest and moments, one model fitted, nothing mocked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import reference_cases as references

from hierreport import ingest, mixed, moments, source
from hierreport.diagnostics.evidence import Evidence
from hierreport.diagnostics.loading import of_fit
from hierreport.diagnostics.refit import specification
from hierreport.spec import ModelSpec


def evidence(
    data: Any,
    formula: str,
    *,
    errors: str = "iid",
    crossed: str | None = None,
    spec: ModelSpec | None = None,
    **options: Any,
) -> Evidence:
    """Fit the formula in full (or ``spec``) on a path or a pandas frame."""
    opened = source.open_source(data)
    frame = ingest.build_frame(opened, formula, **options)
    panel = moments.reduce_all(frame)
    if spec is None:
        spec = ModelSpec(frame.fixed, frame.random, errors, None, crossed)
    return of_fit(frame, panel, mixed.fit(panel, spec))


def reference(name: str, model: str | None = None) -> Evidence:
    """Evidence on a reference case's main model."""
    case = references.case(name)
    model = model or case.spec["extras"]["main"]
    return evidence(case.path, case.formula(model), time=case.spec.get("time"))


def dense(e: Evidence) -> dict[str, np.ndarray]:
    """The chosen model's matrices from the rows, in the frame's order: y, X, V, R, group ids, row numbers."""
    frame = e.frame
    names = [f["term"] for f in e.estimate["fixed"]]
    columns = {c.name: c.sql for c in frame.columns}
    wanted = sorted({t for level in e.random for t in level["terms"]} | set(names))
    selects = ["1.0::DOUBLE" if t == "(Intercept)" else columns[t] for t in wanted]
    keys = [f'CAST("{g}" AS VARCHAR)' for g in frame.groups]
    time = [f'"{frame.time}"'] if frame.time else []
    rows = frame.con.execute(
        f"SELECT __row, {frame.outcome.sql}, {', '.join(selects + keys + time)} FROM {frame.table} ORDER BY __row"
    ).fetchall()
    x = np.array([[float(v) for v in r[2 : 2 + len(wanted)]] for r in rows])
    column = {t: x[:, j] for j, t in enumerate(wanted)}
    n = len(rows)
    v = np.zeros((n, n))
    if e.record["crossed"]:
        t = np.array([float(row[-1]) for row in rows])
        variance = next(r["cov"][0][0] for r in e.estimate["random"] if r["level"] == e.record["crossed"])
        v += variance * (t[:, None] == t[None])
    inner: np.ndarray | None = None
    for depth in range(len(frame.groups)):
        ids = np.array(["/".join(r[2 + len(wanted) : 3 + len(wanted) + depth]) for r in rows], dtype=object)
        same = ids[:, None] == ids[None]
        inner = same
        for level in e.random:
            if level["level"] == frame.levels[depth]:
                z = np.column_stack([column[t] for t in level["terms"]])
                v += same * (z @ np.array(level["cov"]) @ z.T)
    r = np.eye(n)
    if e.rho is not None and inner is not None:
        t = np.array([float(row[-1]) for row in rows])
        r = np.where(inner, e.rho ** np.abs(t[:, None] - t[None]), 0.0)
    if frame.weights:
        weights = frame.con.execute(f'SELECT "{frame.weights}" AS w FROM {frame.table} ORDER BY __row').fetchnumpy()[
            "w"
        ]
        r = np.diag(1.0 / weights.astype(float))
    return {
        "y": np.array([float(row[1]) for row in rows]),
        "x": np.column_stack([column[t] for t in names]),
        "v": v + e.sigma**2 * r,
        "r": e.sigma**2 * r,
        "row": np.array([row[0] for row in rows]),
        "time": np.array([float(row[-1]) for row in rows]) if frame.time else np.zeros(n),
        "same": inner if inner is not None else np.ones((n, n), bool),
    }


def write(e: Evidence, directory: Path) -> None:
    """The files that the stage reads, for one model called ``model``."""
    import json

    from hierreport.rungs_io import write_effects

    ingest.write_panel(e.frame, directory)
    moments.write(directory, e.panel_moments)
    (directory / "rungs").mkdir()
    record = {**e.record, "extra": {"spec": asdict(specification(e))}}
    (directory / "rungs" / "model.json").write_text(json.dumps(record))
    if e.random:
        write_effects(directory / "rungs" / "model.effects.parquet", e.source, e.frame.groups)  # type: ignore[arg-type]
    (directory / "ladder.json").write_text(json.dumps({"choice": {"rung": "model"}}))
