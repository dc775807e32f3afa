"""Second opinions: the log-likelihood of every rung, evaluated on the rows by engines that are not ours.

statsmodels where it can express the model, dense covariance matrices with scipy's multivariate normal elsewhere; both
at our estimates, so that optimizers play no part. Panels too large for that are judged on a stated random part: the
density of its rows at the estimates of the whole, theirs from the rows and ours from the moments.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierreport.rungs import spec_from_dict
from hierreport.spec import ModelSpec

from . import dense, ours, peer
from .rows import Rows, read

if TYPE_CHECKING:
    from hierreport.frame import Frame
    from hierreport.moments import PanelMoments

__all__ = ["TOLERANCE", "second_opinion", "verify"]

# Largest relative difference of two log-likelihoods that still counts as agreement.
TOLERANCE = 1e-6
# A crossed effect ties all rows together in one dense matrix: panels of more rows are judged on a part of as many rows.
MAX_CROSSED = 1_200


def second_opinion(folder: Path, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Verify the rungs of an analysis from its folder.

    Args:
        folder: holds panel.parquet, panel.json, moments*.parquet, rungs/*.json.
        options: ``seed`` of the random part.

    Returns:
        What becomes verify.json.
    """
    from hierreport import ingest, moments

    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "rungs").glob("*.json"))]
    frame = ingest.load_frame(folder)
    return verify(frame, moments.read(folder), records, seed=int((options or {}).get("seed") or 1))


def verify(frame: Frame, panel: PanelMoments, records: Iterable[Mapping[str, Any]], *, seed: int = 1) -> dict[str, Any]:
    """Verify rungs on the rows of a frame.

    Args:
        frame: the checked model frame.
        panel: its moments, as the fits used them.
        records: rungs as ``rungs/<rung>.json`` has them; refused ones are passed over.
        seed: seed of the random part of large panels.

    Returns:
        ``max_relative_difference``, ``ok``, ``tolerance``, ``subset`` and an entry per rung and kind of estimate.
    """
    step = panel.lags.step if panel.lags is not None else None
    fitted = [(r, spec_from_dict(r["extra"]["spec"])) for r in records if not r.get("refused")]
    strata = sorted({spec.variances for _, spec in fitted if spec.variances})
    rows = read(frame, step=step, seed=seed, strata=strata)
    part = None if rows.inner is None else ours.part_of(panel, frame, rows)
    tied, tied_part = rows, part
    if any(spec.crossed for _, spec in fitted) and (part is not None or len(rows.y) > MAX_CROSSED):
        tied = read(frame, step=step, seed=seed, strata=strata, at_most=MAX_CROSSED)
        tied_part = ours.part_of(panel, frame, tied, crossed=True)
    entries = []
    for record, spec in fitted:
        of = (tied, panel, tied_part) if spec.crossed else (rows, panel, part)
        for kind in ("ML", "REML"):
            entries.append(_opinion(record, spec, kind, *of, seed))
    compared = [e for e in entries if e["relative_difference"] is not None]
    return {
        "max_relative_difference": max((e["relative_difference"] for e in compared), default=None),
        "ok": all(e["ok"] for e in compared),
        "tolerance": TOLERANCE,
        "subset": rows.describe(seed),
        "rungs": entries,
    }


def _opinion(
    record: Mapping[str, Any],
    spec: ModelSpec,
    kind: str,
    rows: Rows,
    panel: PanelMoments,
    part: PanelMoments | None,
    seed: int,
) -> dict[str, Any]:
    estimate = _with_strata(record, spec, kind)
    top = rows.codes[spec.random[0].level if spec.random else list(rows.codes)[-1]] if rows.codes else None
    entry = {
        "rung": record["rung"],
        "method": "dense",
        "kind": kind,
        "rows": len(rows.y),
        "groups": int(top.max()) + 1 if top is not None else 0,
        "subset": rows.describe(seed),
        "ours": None,
        "theirs": None,
        "relative_difference": None,
        "ok": None,
    }
    if part is None:
        mine = estimate["loglik"]
        method, theirs = _whole(spec, estimate, rows, reml=kind == "REML")
    else:
        mine = ours.log_density(panel, part, spec, estimate)
        method, theirs = "dense", dense.loglik(rows, estimate, reml=False)
    difference = abs(theirs - mine) / max(abs(mine), 1.0)
    return entry | {
        "method": method,
        "ours": mine,
        "theirs": theirs,
        "relative_difference": difference,
        "ok": bool(difference <= TOLERANCE),
    }


def _with_strata(record: Mapping[str, Any], spec: ModelSpec, kind: str) -> Mapping[str, Any]:
    """The estimate, and the strata's residual standard deviations where they differ."""
    estimate: Mapping[str, Any] = record[kind.lower()]
    if not spec.variances:
        return estimate
    sigmas = record["extra"]["sigmas_ml" if kind == "ML" else "sigmas"]
    return {**estimate, "variances": spec.variances, "sigmas": sigmas}


def _whole(spec: ModelSpec, estimate: Mapping[str, Any], rows: Rows, *, reml: bool) -> tuple[str, float]:
    if peer.expressible(spec, estimate, rows) and not (reml and not spec.random):
        return "statsmodels", peer.loglik(rows, spec, estimate, reml=reml)
    return "dense", dense.loglik(rows, estimate, reml=reml)
