"""inference.json of the synthetic panel in ``report_fixtures``: the stage's shape, numbers made up but consistent."""

from __future__ import annotations

from typing import Any

OFF = {"status": "not available", "reason": "the bootstrap cannot simulate serially correlated errors"}
DONE = {"status": "done", "reason": ""}


def inference(fits: dict[str, Any], chosen: str, *, rho: float | None = None) -> dict[str, Any]:
    """The file for a choice; with ``rho`` it has first differences, in which log(wage) has lost its effect."""
    iid = chosen.split(".")[0]
    both = list(dict.fromkeys([chosen, iid]))
    fixed = fits[chosen]["reml"]["fixed"]
    levels = [r["level"] for r in fits[chosen]["reml"]["random"]] or ["sector/firm"]
    return {
        "rung": chosen,
        "iid_rung": iid,
        "coverage": 0.95,
        "seed": 1,
        "draws": 1000,
        "intervals": {rung: _intervals(fits[rung], rung == iid) for rung in both},
        "tests": [_test("pooled", "random_intercept", 0.004, 249), _test("random_slope", "multilevel", 0.41, 1000)],
        "df_methods": [
            {"rung": rung, "method": m, **(DONE | {"fixed": _scaled(fits[rung], s, m)} if ok else OFF)}
            for rung in both
            for m, s, ok in (("satterthwaite", 1.0, True), ("kenward-roger", 1.05, rung == iid), ("normal", 1.0, True))
        ],
        "robust": [
            {
                "rung": rung,
                "kind": kind,
                **DONE,
                "method": "",
                "clusters": {levels[0]: 5},
                "fixed": _scaled(fits[rung], scale, f"{kind} df", p=0.2 if rung == chosen else 0.001),
                "notes": ["5 clusters are too few."],
            }
            for rung in dict.fromkeys(["pooled", chosen])
            for kind, scale in (("CR0", 1.2), ("CR1", 1.4), ("CR2", 1.8))
        ],
        "fixed_or_random": DONE | _fixed_or_random(fixed),
        "criteria": DONE | _criteria(fits, chosen),
        "missed_slopes": DONE
        | {
            "rung": chosen,
            "level": "sector/firm",
            "sentence": "No further predictor asks for a random slope.",
            "tried": [
                {
                    "term": "log(wage)",
                    "rung": f"{chosen}+slope[log(wage)]",
                    "formula": "",
                    "loglik": 383.1,
                    "statistic": 0.6,
                    "df": 3,
                    "p": 0.8,
                    "p_holm": 0.8,
                    "sd": 0.01,
                    "singular": True,
                    "asked": False,
                    "refused": None,
                }
            ],
        },
        "first_differences": None if rho is None else DONE | _differences(fixed, rho),
        "sentences": [],
    }


def _scaled(record: dict[str, Any], scale: float, method: str, p: float | None = None) -> list[dict[str, Any]]:
    """Fixed effects with standard errors ``scale`` times as large."""
    found = []
    for f in record["reml"]["fixed"]:
        se = f["se"] * scale
        found.append(
            f
            | {
                "se": se,
                "df": 4.7,
                "df_method": method,
                "statistic": f["estimate"] / se,
                "p": f["p"] if p is None else p,
                "ci_low": f["estimate"] - 2 * se,
                "ci_high": f["estimate"] + 2 * se,
            }
        )
    return found


def _intervals(record: dict[str, Any], simulated: bool) -> dict[str, Any]:
    reml, rows = record["reml"], []

    def row(kind: str, level: str, terms: list[str], value: float, low: float, high: float, wald: Any = None) -> None:
        rows.append(
            {
                "kind": kind,
                "level": level,
                "terms": terms,
                "name": " ".join([kind, level, *terms]),
                "estimate": value,
                "estimate_ml": value,
                "wald": wald,
                "profile": None if kind == "r2" else {"low": low, "high": high, "method": "profile ML", "note": ""},
                "profile_reml": None
                if kind in ("r2", "fixed")
                else {"low": low, "high": high, "method": "profile REML", "note": ""},
                "bootstrap": {"low": low, "high": high, "se": 0.1, "method": "bootstrap percentile", "note": ""}
                if simulated
                else None,
            }
        )

    for f in reml["fixed"]:
        wald = {"low": f["ci_low"], "high": f["ci_high"], "df": f["df"], "df_method": f["df_method"]}
        row("fixed", "", [f["term"]], f["estimate"], f["ci_low"] - 0.1 * f["se"], f["ci_high"] + 0.2 * f["se"], wald)
    for block in reml["random"]:
        for term, sd in zip(block["terms"], block["sd"], strict=True):
            row("sd", block["level"], [term], sd, 0.7 * sd, 1.5 * sd)
        if len(block["terms"]) > 1:
            row("correlation", block["level"], block["terms"], block["corr"][0][1], -0.6, 0.1)
    row("sigma", "residual", [], reml["sigma"], 0.9 * reml["sigma"], 1.1 * reml["sigma"])
    if reml["rho"] is not None:
        row("rho", "", [], reml["rho"], reml["rho"] - 0.1, min(0.99, reml["rho"] + 0.1))
    for level, share in reml["icc"].items():
        row("icc", level, [], share, 0.5 * share, min(1.0, 1.2 * share))
    row("r2", "", ["marginal"], reml["r2"]["marginal"], 0.6, 0.8)
    return {
        "rung": record["rung"],
        "estimate_method": "REML",
        "quantities": rows,
        "profile": DONE | {"method": "profile ML"},
        "profile_reml": DONE | {"method": "profile REML"},
        "bootstrap": DONE | {"n": 1000, "failures": 0, "method": "percentile"} if simulated else OFF,
        "agree": "",
    }


def _test(null: str, alternative: str, p: float, draws: int) -> dict[str, Any]:
    return DONE | {
        "null": null,
        "alternative": alternative,
        "statistic": 2.4,
        "df": 1,
        "p_naive": p,
        "p_boundary": p / 2,
        "mixture": "0.5 chi2(0) + 0.5 chi2(1)",
        "note": "",
        "p_bootstrap": p,
        "p_bootstrap_error": 0.004,
        "draws": draws,
        "failures": 0,
        "share_zero": 0.7,
    }


def _fixed_or_random(fixed: list[dict[str, Any]]) -> dict[str, Any]:
    def part(f: dict[str, Any]) -> dict[str, Any]:
        return {"term": f["term"], "estimate": f["estimate"], "se": f["se"], "df": 4.0, "p": 0.03}

    tests = {
        "f_test": {"statistic": 76.7, "df1": 47, "df2": 762, "p": 1e-9, "informative": True, "note": ""},
        "hausman": {"statistic": 18.3, "df1": 6, "df2": None, "p": 0.0055, "informative": False, "note": "Erratic."},
    }
    return {
        "unit": "sector/firm",
        "cluster": "sector",
        "panel": tests,
        "joint": {"statistic": 20.5, "df1": 6, "df2": 0.6, "p": 0.29, "method": "HTZ", "terms": [], "chisq": 1.0},
        "wald_ml": None,
        "wald_reml": None,
        "verdicts": [
            {
                "term": f["term"],
                "verdict": "defended",
                "random": part(f),
                "within": part(f),
                "between": None,
                "contextual": None,
                "bias": part(f),
                "sentence": f"{f['term']}'s estimate can be defended.",
            }
            for f in fixed[1:3]
        ],
        "sentence": "Effects within and between do not differ by more than chance.",
        "notes": [],
    }


def _criteria(fits: dict[str, Any], chosen: str) -> dict[str, Any]:
    table = []
    for k, (rung, record) in enumerate(fits.items()):
        score = {"scheme": "", "level": "sector", "total": 9.0, "behind": 3.5 * k, "behind_se": 1.2, "note": ""}
        table.append(
            {
                "rung": rung,
                "n_par": record["ml"]["n_par"],
                "aic": record["ml"]["aic"],
                "aicc": record["ml"]["aic"] + 0.2,
                "bic": record["ml"]["bic"],
                "caic": None if "ar1" in rung else record["ml"]["aic"] - 50,
                "caic_df": 30.0,
                "singular": False,
                "notes": [],
                "scores": {"sector": score},
            }
        )
    best = {"aic": chosen, "aicc": chosen, "bic": chosen, "caic": "random_intercept", "sector": "pooled"}
    return {"table": table, "best": best, "sentence": "AIC and the log score choose differently.", "notes": ["A note."]}


def _differences(fixed: list[dict[str, Any]], rho: float) -> dict[str, Any]:
    found = []
    for f in fixed[1:3]:
        value = 0.01 if f["term"] == "log(wage)" else f["estimate"]
        se = f["se"]
        ends = {"ci_low": value - 2 * se, "ci_high": value + 2 * se}
        if f["term"] == "log(wage)":
            ends = {"ci_low": -0.03, "ci_high": 0.05}
        found.append(f | {"estimate": value, "se": 0.02 if f["term"] == "log(wage)" else se, "p": 0.6, **ends})
    return {
        "rho": rho,
        "n_obs": 200,
        "groups": 30,
        "fixed": found,
        "clusters": {"sector/firm": 30},
        "sigma": 0.1,
        "r2": 0.4,
        "sentence": "",
        "dropped": ["founded"],
    }
