"""Artifacts of a small synthetic nested panel in the stages' exact shapes, for tests of the presentation.

Only the shapes and the arithmetic between the numbers matter here; the fits are moment estimates, not maxima.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import changes_fixture
import inference_fixture
import numpy as np
import sensitivity_fixture

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "Société Générale & Cie \u2014 Établissement de crédit à l\u2019international, succursale de Saint-Barthélemy",
    "株式会社東京証券取引所グループ",
    "شركة النفط الوطنية",
    "Ελληνικά Πετρέλαια",
    "</style><svg onload=alert(1)>",
    "a\u0000b\u0007c",
    "{{ 7*7 }} ${x} %s",
    "line\nbreak\ttab",
    "",
    "👩🏽‍🏭 works",
]
LADDER = ("pooled", "random_intercept", "random_slope", "multilevel")
FIXED = "log(emp) ~ log(wage) + log(capital) + C(year)"
RANDOM = {
    "pooled": [],
    "random_intercept": [("sector/firm", ["(Intercept)"])],
    "random_slope": [("sector/firm", ["(Intercept)", "log(capital)"])],
    "multilevel": [("sector", ["(Intercept)"]), ("sector/firm", ["(Intercept)", "log(capital)"])],
}
LME4 = {
    "pooled": "",
    "random_intercept": " + (1 | firm)",
    "random_slope": " + (1 + log(capital) | firm)",
    "multilevel": " + (1 + log(capital) | firm) + (1 | sector)",
}


def write_artifacts(
    directory: Path,
    firms: int = 30,
    sectors: int = 5,
    years: int = 8,
    chosen: str = "random_slope",
    nasty: bool = False,
    optional: bool = True,
    serial: float = 0.5,
    singular: bool = False,
    time: bool = True,
    ar1: bool = False,
    inference: float | bool = False,
    seed: int = 1,
) -> Path:
    """Write the artifacts of one analysis.

    ``optional`` parts are checks, verify, residuals, sensitivity and changes; with ``ar1`` every rung has its twin with
    AR(1) errors, and the choice falls on ``<chosen>.ar1``; with ``inference`` there is an inference.json, with first
    differences where it is a number (rho).
    """
    rng = np.random.default_rng(seed)
    sector_of = np.sort(rng.integers(0, sectors, firms))
    sector_of[:sectors] = np.arange(sectors)
    sector_of.sort()
    sector_names = [NASTY[i % 3] if nasty and i < 3 else f"Sector {i + 1:02d}" for i in range(sectors)]
    firm_names = [NASTY[i] if nasty and i < len(NASTY) else f"F{i + 1:04d}" for i in range(firms)]
    b0, b1 = rng.normal(0, 0.5, firms), rng.normal(0, 0.12, firms)
    u0 = rng.normal(0, 0.05, sectors)
    rows = []
    for i in range(firms):
        first = int(rng.integers(0, max(1, years // 4)))
        error = 0.0
        level = rng.normal(0, 1)
        for t in range(first, years):
            if rng.random() < 0.04 and t > first:
                continue
            error = serial * error + rng.normal(0, 0.08 * math.sqrt(1 - serial**2))
            wage, capital = rng.normal(3.1, 0.2), level + rng.normal(0, 0.3)
            y = 1.5 - 0.3 * wage + 0.6 * capital + 0.02 * t + u0[sector_of[i]] + b0[i] + b1[i] * capital + error
            rows.append((sector_names[sector_of[i]], firm_names[i], 1976 + t, y, wage, capital, i, error))
    n = len(rows)
    sector, firm = [r[0] for r in rows], [r[1] for r in rows]
    year, y, wage, capital = (np.array([r[k] for r in rows], float) for k in (2, 3, 4, 5))
    index = np.array([r[6] for r in rows])
    error = np.array([r[7] for r in rows])
    used_years = np.unique(year)
    dummies = [f"year[{int(v)}]" for v in used_years[1:]]
    terms = ["(Intercept)", "log(wage)", "log(capital)", *dummies]
    x = np.column_stack([np.ones(n), wage, capital, *(year == v for v in used_years[1:])]).astype(float)
    counts = np.bincount(index, minlength=firms)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rungs").mkdir(exist_ok=True)
    _parquet(
        directory / "panel.parquet",
        {
            "sector": sector,
            "firm": firm,
            "year": year,
            "log(emp)": y,
            "log(wage)": wage,
            "log(capital)": capital,
            "__row": np.arange(1, n + 1),
        },
    )
    base = [n for n in LADDER if n != "multilevel" or sectors > 1]
    names = base + [f"{n}.ar1" for n in base] * ar1
    chosen = f"{chosen}.ar1" if ar1 else chosen
    fits = {}
    for rung in names:
        fits[rung] = _rung(rung, x, y, terms, index, error, firms, sectors, singular)
        _dump(directory / "rungs" / f"{rung}.json", fits[rung])
        if RANDOM[rung.split(".")[0]]:
            _effects(directory, rung, sector_names, firm_names, sector_of, counts, b0, b1, u0)
    panel = _panel(
        n,
        counts,
        sector_of,
        sectors,
        firm_names,
        terms,
        dummies,
        used_years,
        {"log(emp)": y, "log(wage)": wage, "log(capital)": capital},
        time,
    )
    _dump(directory / "panel.json", panel)
    _dump(directory / "ladder.json", _ladder(names, fits, chosen))
    if optional:
        _dump(
            directory / "residuals.json",
            _residuals(chosen, x @ _beta(x, y), error, index, firm_names, counts, b0, b1, year if time else None),
        )
        _dump(directory / "checks.json", _checks(chosen, serial, ar1))
        _dump(directory / "verify.json", _verify(fits))
        _dump(directory / "sensitivity.json", sensitivity_fixture.sensitivity(fits, chosen))
        _dump(directory / "changes.json", changes_fixture.changes(fits, chosen, panel, years))
    if inference:
        rho = None if inference is True else inference
        _dump(directory / "inference.json", inference_fixture.inference(fits, chosen, rho=rho))
    return directory


def _beta(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(x, y, rcond=None)[0]


def _rung(rung, x, y, terms, index, error, firms, sectors, singular) -> dict[str, Any]:
    base, _, errors = rung.partition(".")
    n, p = x.shape
    residual = y - x @ _beta(x, y) if base == "pooled" else error
    sigma = float(np.std(residual))
    random = []
    for level, names in RANDOM[base]:
        sds = [0.06] if level == "sector" else [0.5, 0.12][: len(names)]
        if singular and level == "sector":
            sds = [0.0]
        corr = np.eye(len(names))
        if len(names) == 2:
            corr[0, 1] = corr[1, 0] = -0.3
        cov = corr * np.outer(sds, sds)
        random.append({"level": level, "terms": names, "sd": sds, "cov": cov.tolist(), "corr": corr.tolist()})
    shares = {r["level"]: r["sd"][0] ** 2 for r in random} | {"residual": sigma**2}
    total = sum(shares.values())
    scale = np.array([1.0 if base == "pooled" else 0.25] * p)
    cov = np.linalg.inv(x.T @ x) * float(np.var(y - x @ _beta(x, y)))
    beta = _beta(x, y)
    fixed = []
    for k, term in enumerate(terms):
        se = float(np.sqrt(cov[k, k]) * scale[k])
        fixed.append(
            {
                "term": term,
                "estimate": float(beta[k]),
                "se": se,
                "df": 87.3,
                "df_method": "satterthwaite",
                "statistic": float(beta[k] / se),
                "p": 0.0004,
                "ci_low": float(beta[k] - 2 * se),
                "ci_high": float(beta[k] + 2 * se),
            }
        )
    loglik = {"pooled": -831.0, "random_intercept": 302.9, "random_slope": 382.8, "multilevel": 383.0}[base]
    loglik += 200.0 if errors else 0.0
    n_par = p + bool(errors) + 1 + {"pooled": 0, "random_intercept": 1, "random_slope": 3, "multilevel": 4}[base]

    def estimate(method: str) -> dict[str, Any]:
        return {
            "method": method,
            "loglik": loglik,
            "deviance": -2 * loglik,
            "aic": -2 * loglik + 2 * n_par,
            "bic": -2 * loglik + math.log(n) * n_par,
            "n_par": n_par,
            "sigma": sigma,
            "rho": 0.6 if errors else None,
            "fixed": fixed,
            "fixed_cov": cov.tolist(),
            "random": random,
            "icc": {k: v / total for k, v in shares.items()},
            "r2": {"marginal": 0.7, "conditional": 0.9},
            "converged": True,
            "singular": singular and base == "multilevel",
            "certificate": {
                "gradient_norm": 1e-9,
                "hessian_min_eigenvalue": 0.4,
                "restarts_agree": True,
                "evaluations": 14,
                "message": "converged",
            },
        }

    groups = {"sector/firm": firms} | ({"sector": sectors} if sectors > 1 else {})
    return {
        "rung": rung,
        "formula": FIXED + LME4[base],
        "n_obs": n,
        "groups": {r["level"]: groups[r["level"]] for r in random},
        "errors": errors or "iid",
        "variances": None,
        "crossed": None,
        "ml": estimate("ML"),
        "reml": estimate("REML"),
        "extra": {"base": base, "step": 0, "note": ""},
    }


def _effects(directory, rung, sector_names, firm_names, sector_of, counts, b0, b1, u0) -> None:
    table: dict[str, list[Any]] = {
        k: [] for k in ("level", "sector", "firm", "term", "estimate", "sd", "se_prediction")
    }
    for level, names in RANDOM[rung.split(".")[0]]:
        for term in names:
            if level == "sector":
                values = [(s, None, u0[i], 0.03) for i, s in enumerate(sector_names)]
            else:
                b = b0 if term == "(Intercept)" else b1
                values = [
                    (sector_names[sector_of[i]], f, b[i], 0.3 * float(np.std(b)) / math.sqrt(max(counts[i], 1) / 4))
                    for i, f in enumerate(firm_names)
                ]
            for s, f, e, sd in values:
                for key, value in zip(table, (level, s, f, term, float(e), sd, sd * 1.1), strict=True):
                    table[key].append(value)
    _parquet(directory / "rungs" / f"{rung}.effects.parquet", table)


def _panel(n, counts, sector_of, sectors, firm_names, terms, dummies, used_years, variables, time) -> dict[str, Any]:
    levels = ["sector", "sector/firm"]
    per_sector = np.bincount(sector_of, weights=counts, minlength=sectors)

    def structure(c: np.ndarray) -> dict[str, Any]:
        return {
            "groups": len(c),
            "rows_per_group": {
                "min": int(c.min()),
                "median": float(np.median(c)),
                "max": int(c.max()),
                "mean": float(c.mean()),
            },
            "singletons": int((c == 1).sum()),
            "balanced": bool(c.min() == c.max()),
        }

    def variable(name: str, x: np.ndarray) -> dict[str, Any]:
        return {
            "name": name,
            "mean": float(x.mean()),
            "sd": float(x.std(ddof=1)),
            "min": float(x.min()),
            "max": float(x.max()),
            "share_within": 0.2,
            "share_between": {"sector": 0.1, "sector/firm": 0.7},
        }

    def column(name: str) -> dict[str, Any]:
        quoted = '"' + name + '"'
        if name in dummies:
            return {"name": name, "sql": f'CAST("year"={name[5:-1]} AS DOUBLE)', "factor": "year", "level": name[5:-1]}
        return {"name": name, "sql": quoted, "factor": None, "level": None}

    return {
        "analysis": "demo",
        "title": "Employment",
        "source": {"files": ["demo.csv"], "description": "demo.csv", "rows_read": n + 7},
        "formula": FIXED + " + (1 + log(capital) | sector/firm)",
        "outcome": {"name": "log(emp)", "sql": '"log(emp)"', "factor": None, "level": None},
        "factors": [{"name": "year", "column": "C(year)", "reference": str(int(used_years[0])), "levels": []}],
        "columns": [column(t) for t in terms[1:]],
        "fixed": terms,
        "random": [{"level": le, "blocks": [["(Intercept)", "log(capital)"]]} for le in levels],
        "groups": ["sector", "firm"],
        "levels": levels,
        "time": "year" if time else None,
        "time_step": 1.0,
        "weights": None,
        "n_obs": n,
        "rows_read": n + 7,
        "rows_dropped": 7,
        "missing": {"log(emp)": 0, "log(wage)": 5, "log(capital)": 2},
        "dropped_by_group": [
            {"group": "Sector 01/" + firm_names[0], "rows": 4},
            {"group": "Sector 02/F0009", "rows": 3},
        ],
        "groups_lost": [],
        "structure": {"sector": structure(per_sector), "sector/firm": structure(counts)},
        "periods": {
            "first": 1976,
            "last": int(used_years[-1]),
            "count": len(used_years),
            "gaps": {"groups_with_gaps": 6, "missing_periods": 9},
        }
        if time
        else None,
        "duplicates": {"count": 0, "examples": []},
        "variables": [variable(k, v) for k, v in variables.items()],
        "aliased": [{"term": "log(output)", "explained_by": ["year[1979]", "log(wage)"]}],
        "constant": [],
        "warnings": [{"code": "unbalanced", "message": "The panel is unbalanced: 5 to 8 rows per firm."}],
        "notes": [],
    }


def _ladder(names: list[str], fits: dict[str, Any], chosen: str) -> dict[str, Any]:
    rungs = {
        k: {
            "formula": f["formula"],
            "n_par": f["ml"]["n_par"],
            "loglik_ml": f["ml"]["loglik"],
            "loglik_reml": f["reml"]["loglik"],
            "aic": f["ml"]["aic"],
            "bic": f["ml"]["bic"],
            "sigma": f["ml"]["sigma"],
            "icc": f["reml"]["icc"],
            "r2": f["reml"]["r2"],
            "singular": f["ml"]["singular"],
            "converged": True,
            "admissible": not f["ml"]["singular"],
        }
        for k, f in fits.items()
    }
    comparisons, errors = [], "ar1" if chosen.endswith(".ar1") else "iid"
    climb = [n for n in names if n.endswith(".ar1") == (errors == "ar1")]
    pairs = list(itertools.pairwise(climb)) + [(n, f"{n}.ar1") for n in names if f"{n}.ar1" in names]
    for null, alternative in pairs:
        lr = 2 * (fits[alternative]["ml"]["loglik"] - fits[null]["ml"]["loglik"])
        df = fits[alternative]["ml"]["n_par"] - fits[null]["ml"]["n_par"]
        naive = 0.52 if lr < 1 else 1e-30
        comparisons.append(
            {
                "null": null,
                "alternative": alternative,
                "consecutive": alternative != f"{null}.ar1",
                "statistic": lr,
                "df": df,
                "p_naive": naive,
                "p_boundary": naive / 2,
                "mixture": f"0.5 chi2({df - 1}) + 0.5 chi2({df})",
                "weights": {str(df - 1): 0.5, str(df): 0.5},
                "note": "",
            }
        )
    at = climb.index(chosen)
    path: list[dict[str, Any]] = [
        {"rung": climb[0], "against": "", "accepted": True, "p": None, "reason": "the start of the climb"}
    ]
    for i, c in enumerate(comparisons[: len(climb) - 1]):
        p = 1e-30 if i < at else max(c["p_boundary"], 0.26)
        path.append({"rung": c["alternative"], "against": climb[min(i, at)], "accepted": i < at, "p": p, "reason": ""})
    best = min(fits, key=lambda k: fits[k]["ml"]["aic"])
    return {
        "analysis": "demo",
        "order": names,
        "rungs": rungs,
        "comparisons": comparisons,
        "choice": {
            "rung": chosen,
            "reason": "The test of the next rung does not reject.",
            "path": path,
            "aic": best,
            "bic": best,
            "agrees": best == chosen,
            "sentence": "",
            "errors": errors,
            "errors_reason": "Serially correlated errors are needed: on random_slope the test" * (errors == "ar1"),
        },
        "register": [
            {
                "rung": k,
                "formula": f["formula"],
                "loglik": f["ml"]["loglik"],
                "fate": "chosen" if k == chosen else "compared",
            }
            for k, f in fits.items()
        ]
        + [{"rung": "hopeless", "formula": "log(emp) ~ 1 + (1 | year)", "loglik": None, "fate": "refused: one group"}],
    }


def _residuals(rung, fitted, error, index, labels, counts, b0, b1, periods) -> dict[str, Any]:
    n = len(error)
    theoretical = _normal_quantiles(min(n, 200))
    sample = np.quantile(error, (np.arange(len(theoretical)) + 0.5) / len(theoretical))
    order = np.argsort(fitted)
    bins = [b for b in np.array_split(order, 12) if len(b)]
    small = n <= 4000
    counts2d, xe, ye = np.histogram2d(fitted, error, bins=(40, 30))
    means = np.array([error[index == i].mean() if counts[i] else 0.0 for i in range(len(labels))])
    largest = np.argsort(-np.abs(means))[:40]
    by_group = []
    for i in largest:
        e = error[index == i]
        if len(e):
            q = np.quantile(e, [0.25, 0.5, 0.75])
            by_group.append(
                {
                    "level": "sector/firm",
                    "label": labels[i],
                    "n": len(e),
                    "mean": float(e.mean()),
                    "sd": float(e.std()),
                    "q25": float(q[0]),
                    "median": float(q[1]),
                    "q75": float(q[2]),
                }
            )
    pairs = index[1:] == index[:-1]
    r = float(np.corrcoef(error[1:][pairs], error[:-1][pairs])[0, 1])
    groups = [
        {
            "label": labels[i],
            "n": int(counts[i]),
            "separate": {"(Intercept)": float(b0[i] * 1.2 + 1.5), "log(capital)": float(b1[i] * 1.6 + 0.6)},
            "pooled": {"(Intercept)": float(b0[i] + 1.5), "log(capital)": float(b1[i] + 0.6)},
        }
        for i in range(len(labels))
    ]
    qq = {"theoretical": _normal_quantiles(len(b0)).tolist()}
    by_period = autocorrelation = None
    if periods is not None:
        used = np.unique(periods)
        parts = [error[periods == t] for t in used]
        by_period = {"value": "residual", "periods": len(used), "first": list(range(len(used)))}
        by_period |= {"n": [len(p) for p in parts], "mean": [float(p.mean()) for p in parts]}
        by_period |= {f"q{q:02d}": [float(np.quantile(p, q / 100)) for p in parts] for q in (5, 25, 50, 75, 95)}
        autocorrelation = {"lag": [1, 2, 3], "pairs": [200, 150, 90], "r": [r, r / 2, 0.01], "rows": n}
        autocorrelation |= {"expected": [-0.13] * 3, "raw": [0.9, 0.8, 0.7] if rung.endswith(".ar1") else None}
    return {
        "rung": rung,
        "n": n,
        "points": {
            "fitted": fitted.tolist(),
            "residual": error.tolist(),
            "scaled": (error / error.std()).tolist(),
            "group": [labels[i] for i in index],
            "row": list(range(1, n + 1)),
        }
        if small
        else None,
        "bins2d": None if small else {"x_edges": xe.tolist(), "y_edges": ye.tolist(), "counts": counts2d.tolist()},
        "smooth": {
            "fitted": [float(fitted[b].mean()) for b in bins],
            "mean": [float(error[b].mean()) for b in bins],
            "sd": [float(error[b].std()) for b in bins],
        },
        "qq": {"theoretical": theoretical.tolist(), "sample": sample.tolist(), "scaled": False},
        "by_group": by_group,
        "lag1": {
            "r": r,
            "pairs": int(pairs.sum()),
            "expected_under_independence": -0.13,
            "innovations": {"r": 0.02, "expected": -0.02} if rung.endswith(".ar1") else None,
        },
        "by_period": by_period,
        "autocorrelation": autocorrelation,
        "random_qq": {
            "sector/firm": {
                "(Intercept)": qq | {"sample": np.sort(b0 / b0.std()).tolist()},
                "log(capital)": qq | {"sample": np.sort(b1 / b1.std()).tolist()},
            }
        },
        "no_pooling": {"level": "sector/firm", "terms": ["(Intercept)", "log(capital)"], "groups": groups},
    }


def _normal_quantiles(n: int) -> np.ndarray:
    from statistics import NormalDist

    return np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])


def _checks(rung: str, serial: float, ar1: bool) -> dict[str, Any]:
    def check(name: str, title: str, status: str, statistic: float | None, meaning: str, action: str) -> dict[str, Any]:
        return {
            "name": name,
            "title": title,
            "status": status,
            "statistic": statistic,
            "statistic_name": "largest",
            "source": "",
            "reference": "0 if so",
            "rule": "problem: p < 0.001",
            "meaning": meaning,
            "action": action,
            "details": {},
        }

    x = [1.0, 2.0, 3.0, 4.0]
    binned = {
        t: {"x": x, "n": [9] * 4, "mean": [-0.1, 0.2, 0.1, -0.2], "sd": [0.3] * 4}
        for t in ("log(wage)", "log(capital)")
    }
    curve = check("nonlinearity", "Predictors act in a straight line", "ok", 0.1, "No curve.", "Nothing to do.")
    rows = check("outlying_rows", "No row is far out", "look", 4.1, "2 rows are far out.", "Check these rows.")
    far = [
        {
            "row": 3,
            "group": "Sector 01/<b>F</b>",
            "fitted": 1.0,
            "residual": 0.4,
            "scaled": 4.1,
            "p": 1e-5,
            "time": 1977.0,
        }
    ]
    moved = [
        {
            "label": f"Sector 01/F000{i}",
            "n": 8,
            "term": "log(wage)",
            "with": -0.3,
            "without": -0.3 + 0.02 * i,
            "shift": 0.4 * i,
            "cook": 0.1 * i,
            "sd_of": "",
            "sd_change": 0.0,
        }
        for i in range(1, 6)
    ]
    group = check("influence", "No single group carries the result", "look", 2.0, "One group matters.", "Look at it.")
    left_out = {"levels": [{"level": "sector/firm", "count": 30, "threshold": 0.8, "groups": moved}]}
    return {
        "rung": rung,
        "counts": {},
        "checks": [
            check(
                "serial_correlation",
                "Errors are independent",
                "problem" if serial > 0.2 and not ar1 else "ok",
                serial,
                "Residuals of one firm in neighbouring periods are alike.",
                "Fit AR(1) errors.",
            ),
            check(
                "residuals_normal",
                "Residuals are normal",
                "problem",
                0.4,
                "The residuals have heavy tails.",
                "Take care.",
            ),
            curve | {"details": {"binned": binned}},
            group | {"details": left_out},
            rows | {"details": {"flagged": 1, "rows": far}},
            check("balance", "Group sizes", "not applicable", None, "Enough groups.", "Nothing to do."),
        ],
    }


def _verify(fits: dict[str, Any]) -> dict[str, Any]:
    rungs = [
        {
            "rung": k,
            "method": "statsmodels",
            "kind": "ML",
            "rows": f["n_obs"],
            "groups": 5,
            "subset": None,
            "ours": f["ml"]["loglik"],
            "theirs": f["ml"]["loglik"] * (1 + 1e-12),
            "relative_difference": 1e-12,
            "ok": True,
        }
        for k, f in fits.items()
    ]
    return {"max_relative_difference": 1e-12, "ok": True, "tolerance": 1e-6, "subset": None, "rungs": rungs}


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _parquet(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({k: pa.array(v.tolist() if hasattr(v, "tolist") else v) for k, v in columns.items()}), path)
