"""Evidence from an analysis' folder, or from a fit in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from .evidence import Effects, Evidence, effects_record
from .residual_sql import identifier

if TYPE_CHECKING:
    from ..frame import Frame
    from ..mixed import MixedFit
    from ..moments import PanelMoments


def load_effects(evidence: Evidence, path: Path) -> dict[str, Effects]:
    """Read effects.parquet and line it up with the moments' groups.

    Raises:
        DataError: a group of the panel has no effect in the file.
    """
    moments = evidence.moments
    con = evidence.frame.con.cursor()
    out = {}
    for level in evidence.random:
        name, terms = level["level"], tuple(level["terms"])
        depth = moments.levels.index(name)
        starts = moments.starts(depth)
        columns = evidence.frame.groups[: depth + 1]
        nodes: dict[str, np.ndarray] = {"node": np.arange(len(starts), dtype=np.int64)}
        for d in range(depth + 1):
            nodes[f"g{d}"] = np.array([str(x) for x in moments.labels[d][starts]], dtype=object)
        con.register("hr_nodes", nodes)
        join = " AND ".join(f"CAST(e.{identifier(c)} AS VARCHAR) = n.g{d}" for d, c in enumerate(columns))
        table = con.execute(
            "SELECT n.node, e.term, e.estimate, e.sd, e.se_prediction "
            f"FROM read_parquet(?) e JOIN hr_nodes n ON {join} WHERE e.level = ?",
            [str(path), name],
        ).fetchnumpy()
        con.unregister("hr_nodes")
        shape = (len(terms), len(starts))
        arrays = {key: np.full(shape, np.nan) for key in ("estimate", "sd", "se_prediction")}
        for k, term in enumerate(terms):
            rows = table["term"] == term
            for key, array in arrays.items():
                array[k, table["node"][rows]] = np.ma.filled(table[key][rows], np.nan)
        if np.isnan(arrays["estimate"]).any():
            lost = int(np.isnan(arrays["estimate"]).any(axis=0).sum())
            raise DataError(f"{lost} groups of {name} have no random effect.", str(path), "Fit the rung again.")
        out[name] = effects_record(evidence, level, arrays["estimate"], arrays["sd"], arrays["se_prediction"])
    return out


def load(directory: Path, options: dict[str, Any]) -> Evidence:
    """Open the artifacts of one analysis.

    Args:
        directory: ``results/<analysis>``.
        options: the stage's options; ``rung`` overrides the ladder's choice.

    Raises:
        DataError: an artifact is missing.
    """
    from .. import ingest, moments

    def read(name: str) -> Any:
        path = directory / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    rung = options.get("rung") or (read("ladder.json") or {}).get("choice", {}).get("rung")
    if not rung:
        raise DataError("no rung has been chosen yet.", where=str(directory), do="Run the stage fit first.")
    record, panel = read(f"rungs/{rung}.json"), read("panel.json")
    for what, name in ((record, f"rungs/{rung}.json"), (panel, "panel.json")):
        if what is None:
            raise DataError(f"{name} is missing.", where=str(directory), do="Run the stages ingest and fit first.")
    order = list((read("ladder.json") or {}).get("order") or [])
    files = {p.stem: p for p in sorted((directory / "rungs").glob("*.json"))}
    names = [n for n in order if n in files] + [n for n in files if n not in order]
    rungs = {n: json.loads(files[n].read_text(encoding="utf-8")) for n in names}
    effects = directory / "rungs" / f"{rung}.effects.parquet"
    opinions = [o for o in (read("verify.json") or {}).get("rungs") or [] if o["rung"] == rung and _of(o, record)]
    frame = ingest.load_frame(directory)
    return Evidence(panel, rung, record, frame, moments.read(directory), effects, rungs, opinions)


def _of(opinion: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether a second opinion was given, and on this fit and no earlier one."""
    if opinion.get("ok") is None:
        return False
    mine = record[opinion["kind"].lower()]["loglik"]
    return opinion.get("subset") is not None or abs(opinion["ours"] - mine) <= 1e-9 * max(1.0, abs(mine))


def of_fit(frame: Frame, panel_moments: PanelMoments, fit: MixedFit, rung: str = "model") -> Evidence:
    """Evidence on a fit that is in memory, without files."""
    record = fit.record(rung, str(frame.info.get("formula", ""))).to_dict()
    return Evidence(frame.info, rung, record, frame, panel_moments, fit, {rung: record})
