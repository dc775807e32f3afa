"""The stage ``sensitivity``: do the conclusions stand when the model, the rows or the groups are others?

The chosen rung's main coefficients under every rung, other errors, unequal variances, a crossed time effect, group
means, cluster-robust errors, without influential groups, outlying rows, the first and the last period, and by robust
estimation. Rows are read by SQL that returns moments; everything else is computed from the moments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import further
from ..further import Further
from ..records import plain
from .basis import Basis, load
from .judge import RULE, Analysis, verdict

__all__ = ["Analysis", "Basis", "analyses", "run", "sensitivity"]


def run(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """``sensitivity.json`` of an analysis' folder.

    Args:
        folder: with panel.parquet, panel.json, moments*.parquet, rungs/ and ladder.json.
        options: ``df``, the method for degrees of freedom.

    Raises:
        DataError: an artifact is missing or damaged.
    """
    return sensitivity(load(folder, options))


def sensitivity(basis: Basis) -> dict[str, Any]:
    """All analyses and the verdict, as plain dictionaries."""
    found = analyses(basis)
    said = verdict(found)
    return plain(
        {
            "rung": basis.chosen,
            "main": list(basis.main),
            "chosen": {
                "rung": basis.chosen,
                "n_obs": basis.record["n_obs"],
                "coefficients": [
                    {k: e[k] for k in ("term", "estimate", "se", "ci_low", "ci_high")} for e in basis.main.values()
                ],
                "icc": basis.record["reml"]["icc"],
                "loglik": basis.record["ml"]["loglik"],
            },
            "rule": RULE,
            "verdict": said,
            "sentence": said,
            "analyses": found,
        }
    )


def analyses(basis: Basis) -> list[Analysis]:
    """Every analysis, in the order of the table: those, and no others, that the register names (``further``)."""
    from . import deleted, given, robust, rows, structure

    makers: dict[str, Callable[[Basis, Further], Analysis]] = {
        "rung": given.from_record,
        "errors": given.other_errors,
        "variances": structure.unequal_variances,
        "crossed": structure.crossed_time,
        "within_between": structure.within_between,
        "cluster_robust": structure.robust_errors,
        "groups": deleted.without_groups,
        "outlying_rows": rows.without_outliers,
        "first_period": rows.without_period,
        "last_period": rows.without_period,
        "robust": robust.robust_estimation,
    }
    planned = further.sensitivity(basis.frame.info, basis.specs, basis.chosen)
    return [makers[f.name.partition(":")[0]](basis, f) for f in planned]
