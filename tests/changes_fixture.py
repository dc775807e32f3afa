"""A changes.json in the stage's shape, for tests of the presentation: rows came and were revised, a check turned."""

from __future__ import annotations

from typing import Any


def changes(fits: dict[str, Any], chosen: str, panel: dict[str, Any], runs: int = 8) -> dict[str, Any]:
    """The run is the last of ``runs``; every estimate was 3 % smaller before."""
    reml = fits[chosen]["reml"]

    def moved(value: float, **more: Any) -> dict[str, Any]:
        change = 0.03 * value
        return {
            "before": value - change,
            "now": value,
            "change": change,
            "parts": {"data": change},
            "attributed_to": "data" if change else "",
            **more,
        }

    fixed = [
        {
            "term": f["term"],
            **moved(f["estimate"]),
            "se_before": 1.05 * f["se"],
            "se_now": f["se"],
            "se_change": 0.2 * f["se"],
            "z": 0.15 * f["estimate"] / f["se"],
            "df": 25.0,
            "p": 0.004 if f["term"] == "log(wage)" else 0.4,
            "method": "groups",
        }
        for f in reml["fixed"]
    ]
    variance = [
        {"level": r["level"], "term": t, "what": "sd", **moved(sd)}
        for r in reml["random"]
        for t, sd in zip(r["terms"], r["sd"], strict=True)
    ]
    variance.append({"level": "residual", "term": "", "what": "sigma", **moved(reml["sigma"])})
    keys = ("term", "estimate", "se", "ci_low", "ci_high")
    trend = [
        {
            "run_id": f"{k:04d}-0123456789ab",
            "number": k,
            "rung": "pooled" if k < runs // 2 else chosen,
            "n_obs": panel["n_obs"],
            "groups": {},
            "last_period": None,
            "fixed": [{key: f[key] for key in keys} for f in reml["fixed"]],
            "icc": {"residual": 1.0} if k < runs // 2 else reml["icc"],
        }
        for k in range(1, runs + 1)
    ]
    structure = {level: s["groups"] for level, s in panel["structure"].items()}
    inner = panel["levels"][-1]
    unchanged = {"came_count": 0, "went_count": 0, "came": [], "went": []}
    groups = {level: {"before": n, "now": n, **unchanged} for level, n in structure.items()}
    groups[inner] |= {"before": structure[inner] - 2, "came_count": 2, "came": ["A/new one", "B/<b>new</b>"]}
    key = {"sector": "A", "firm": "<i>x</i>", "year": "1977"}
    cause = {"changed": False, "what": []}
    found: dict[str, Any] = {
        "format": "hierreport-changes/1",
        "run": {"run_id": f"{runs:04d}-0123456789ab", "number": runs, "digest": "0" * 16},
        "previous": {"run_id": f"{runs - 1:04d}-ba9876543210", "number": runs - 1, "digest": "1" * 16, "rung": chosen},
        "trend": trend,
        "identical": False,
        "causes": {
            "data": {"changed": True, "what": [{"name": "panel.csv", "before": "1", "now": "2"}]},
            "config": cause,
            "code": {"changed": True, "what": [{"name": "infer", "before": "1", "now": "2"}]},
            "environment": cause,
        },
        "data": {
            "rows": {"before": panel["n_obs"] - 9, "now": panel["n_obs"], "added": 9, "removed": 0, "revised": 1},
            "groups": groups,
            "columns": {"came": [], "went": []},
            "revised": {
                "values": 1,
                "by_column": {"log(wage)": 1},
                "examples": [{"column": "log(wage)", "key": key, "old": 3.0, "new": 3.125}],
            },
            "added": [key],
            "removed": [],
            "note": "",
        },
        "steps": [{"cause": "data", "what": f"{chosen} on the earlier and on the present rows"}],
        "noise": {"level": inner, "groups": structure[inner], "not_available": None},
        "fixed": fixed,
        "variance": variance,
        "icc": [{"level": level, **moved(share)} for level, share in reml["icc"].items()],
        "choice": {"before": chosen, "now": chosen, "changed": False, "reason": "", "attributed_to": ""},
        "checks": [
            {"name": "residual_normality", "title": "Residuals", "before": "ok", "now": "look", "attributed_to": "data"}
        ],
    }
    return found | {"sentence": ""}
