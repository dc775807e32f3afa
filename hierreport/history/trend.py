"""The few numbers of a run that are followed over all runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .run import Run

MOST = 200  # runs in a chart; the newest


def estimates(run: Run) -> dict[str, Any]:
    """Chosen rung, its fixed effects with their intervals, ICC, rows, last period."""
    record = run.record
    keys = ("term", "estimate", "se", "ci_low", "ci_high")
    periods = run.panel.get("periods") or {}
    return {
        "rung": run.chosen,
        "n_obs": record["n_obs"],
        "groups": {level: s["groups"] for level, s in run.panel["structure"].items()},
        "last_period": periods.get("last"),
        "fixed": [{k: f[k] for k in keys} for f in record["reml"]["fixed"]],
        "icc": record["reml"].get("icc") or {},
    }


def trend(earlier: Sequence[Run], run: Run) -> list[dict[str, Any]]:
    """The numbers of earlier runs, oldest first, and of this one."""
    listed = [{"run_id": r.run_id, "number": r.number, **_known(r)} for r in earlier[-(MOST - 1) :]]
    return [*listed, {"run_id": run.run_id, "number": run.number, **estimates(run)}]


def _known(run: Run) -> dict[str, Any]:
    """What entry.json has of ``estimates``."""
    return {k: run.about.get(k) for k in ("rung", "n_obs", "groups", "last_period", "fixed", "icc")}
