"""What came of the models that the stage ``infer`` fits beyond the ladder: inference.json's ``further``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .absorbed import gaussian_loglik
from .further import Further, entry_name
from .moments import Moments

NO_LIKELIHOOD = {
    "between": "least squares of group means",
    "swamy_arora": "its variances are estimated by moments",
    "first_differences": "least squares of changes, of which there are fewer than rows",
}


def results(planned: Sequence[Further], found: Mapping[str, Any], moments: Moments) -> dict[str, dict[str, Any]]:
    """The models by name, as the register names them.

    Args:
        planned: ``further.inference``.
        found: the sections of inference.json.
        moments: the panel's.

    Returns:
        ``status`` and ``reason`` (of the section that the model is part of, where it could not be fitted), ``loglik``
        (ML, of the rows of the panel), ``note``: why there is none though it was fitted, and ``register``: the entry.
    """
    return {f.name: {"register": entry_name(f), **_result(f.name, found, moments)} for f in planned}


def _result(name: str, found: Mapping[str, Any], moments: Moments) -> dict[str, Any]:
    kind, _, rung = name.partition(":")
    part = {"intercepts": "criteria", "null": "criteria"}.get(kind, name if name in found else "fixed_or_random")
    section = found[part]
    out = {"status": section["status"], "reason": section["reason"], "loglik": None, "note": ""}
    if section["status"] != "done":
        return out
    out["note"] = NO_LIKELIHOOD.get(name, "")
    if part == "criteria":
        row = next(r for r in section["table"] if r["rung"] == rung)
        return out | {"loglik": row["loglik_intercepts"][kind == "null"]}
    if part == "absorbed":
        return out | {"loglik": section["loglik"]}
    if name in ("within", "between", "swamy_arora"):
        panel = section["panel"] or {}
        own = panel.get({"swamy_arora": "random"}.get(name, name))
        if own is None:
            why = " ".join(section["notes"]) if not panel else "No predictor varies there, or too few rows do."
            return out | {"status": "not available", "reason": why, "note": ""}
        if name == "within":
            return out | {"loglik": gaussian_loglik(own["sigma2"] * own["df"], moments.n_obs)}
    elif part == "fixed_or_random":
        return out | {"loglik": section["logliks"][name]}
    return out
