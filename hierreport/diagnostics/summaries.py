"""residuals.json: what the report draws of the chosen rung's residuals and random effects."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from .distributions import normal_scores
from .envelope import EXACT_LIMIT, reference
from .evidence import INTERCEPT, Effects, Evidence, group_labels
from .over_time import autocorrelation, by_period
from .posterior import to_stored

POINTS_LIMIT = 4000
QQ_POINTS = 200
GROUPS_SHOWN = 40
NO_POOLING_SHOWN = 1000


def residuals(evidence: Evidence) -> dict[str, Any]:
    """All sections of residuals.json.

    Besides the shape that the stages agree on: quantiles of residuals are of *scaled* residuals (each over its own sd
    under the model), those of random effects of BLUPs over their own sd, with a simulated 95 % simultaneous envelope.
    """
    rows = evidence.rows
    small = rows.n <= POINTS_LIMIT
    smooth = rows.binned_by_fitted
    return {
        "rung": evidence.rung,
        "n": rows.n,
        "points": points(evidence) if small else None,
        "bins2d": None if small else rows.grid(60, 40),
        "smooth": {
            "fitted": smooth["fitted"],
            "mean": smooth["mean"],
            "sd": smooth["sd"],
            "n": smooth["n"].astype(int),
        },
        "qq": residual_qq(evidence),
        "by_group": [entry for level in evidence.moments.levels for entry in by_group(evidence, level)],
        "lag1": lag1(evidence),
        "by_period": by_period(evidence),
        "autocorrelation": autocorrelation(evidence),
        "random_qq": {level: random_qq(effects) for level, effects in evidence.effects.items()},
        "no_pooling": no_pooling(evidence),
    }


def points(evidence: Evidence) -> dict[str, Any]:
    """Every row of a small panel."""
    table = evidence.rows.points()
    labels = np.array(group_labels(evidence.moments, evidence.moments.levels[-1]), dtype=object)
    return {
        "fitted": table["fitted"],
        "residual": table["residual"],
        "scaled": table["scaled"],
        "group": labels[table["gid"].astype(int)],
        "row": table["row"].astype(int),
    }


def residual_qq(evidence: Evidence) -> dict[str, Any]:
    """Quantiles of scaled residuals against the normal's."""
    size = min(evidence.rows.n, QQ_POINTS)
    probabilities = (np.arange(1, size + 1) - 0.5) / size
    return {
        "theoretical": ndtri(probabilities),
        "sample": evidence.rows.quantiles("scaled", probabilities),
        "scaled": True,
    }


def by_group(evidence: Evidence, level: str) -> list[dict[str, Any]]:
    """Residuals of the groups of a level; the 40 with the largest mean where there are more."""
    moments, sums = evidence.moments, evidence.rows.sums
    starts = moments.starts(moments.levels.index(level))
    n, e, e2 = (np.add.reduceat(sums[key], starts) for key in ("n", "e", "e2"))
    mean = e / n
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.maximum(e2 - n * mean**2, 0.0) / (n - 1))
    shown = np.arange(len(starts))
    if len(starts) > GROUPS_SHOWN:
        shown = np.sort(np.lexsort((shown, -np.abs(mean)))[:GROUPS_SHOWN])
    ends = np.append(starts[1:], len(moments.n))
    quartiles = evidence.rows.quartiles_of([np.arange(starts[g], ends[g]) for g in shown])
    labels = group_labels(moments, level)
    return [
        {
            "level": level,
            "label": labels[g],
            "n": int(n[g]),
            "mean": mean[g],
            "sd": sd[g] if n[g] > 1 else None,
            "q25": q[0],
            "median": q[1],
            "q75": q[2],
        }
        for g, q in zip(shown, quartiles, strict=True)
    ]


def lag1(evidence: Evidence) -> dict[str, Any] | None:
    """Correlation of residuals one time step apart within innermost groups; None without time order.

    r is mean(e_t e_{t−1}) over such pairs, over mean(e²); under AR(1) errors the innovations' correlation stands
    beside it.
    """
    rows = evidence.rows
    if not rows.ordered or rows.total("pairs") == 0:
        return None
    pairs, n = rows.total("pairs"), rows.n
    out: dict[str, Any] = {
        "r": rows.total("pair") / pairs / (rows.total("e2") / n),
        "pairs": int(pairs),
        "expected_under_independence": rows.total("pair_expected") / pairs / (rows.total("variance") / n),
    }
    if evidence.rho is not None:
        innovations = {
            "r": rows.total("pair") / pairs / (rows.total("i2") / n),
            "expected": out["expected_under_independence"],
        }
        out |= {"r": rows.total("raw_pair") / pairs / (rows.total("e2") / n), "innovations": innovations}
    return out


def random_qq(effects: Effects) -> dict[str, Any]:
    """Sorted BLUPs over their own sd, against normal scores, with an envelope."""
    out: dict[str, Any] = {}
    for k, term in enumerate(effects.terms):
        z = np.sort(effects.scaled(k)[np.isfinite(effects.scaled(k))])
        n = len(z)
        if n < 3:
            out[term] = {"theoretical": [], "sample": [], "low": None, "high": None}
            continue
        if n > EXACT_LIMIT:
            probabilities = (np.arange(1, QQ_POINTS + 1) - 0.5) / QQ_POINTS
            out[term] = {
                "theoretical": ndtri(probabilities),
                "sample": np.quantile(z, probabilities),
                "low": None,
                "high": None,
            }
            continue
        ref, centre, spread = reference(n), z.mean(), z.std(ddof=1)
        out[term] = {
            "theoretical": normal_scores(n),
            "sample": z,
            "low": centre + spread * ref.low,
            "high": centre + spread * ref.high,
        }
    return out


def no_pooling(evidence: Evidence) -> dict[str, Any] | None:
    """Each innermost group's own least-squares estimate of the random coefficients beside the partially pooled one.

    The other fixed effects are held at their common estimates (in most panels a group alone could not give them). A
    group that cannot identify its coefficients has None.
    """
    if not evidence.random:
        return None
    moments, coefficients = evidence.moments, evidence.coefficients
    level = evidence.random[-1]["level"]
    terms = list(evidence.effects[level].terms)
    starts = moments.starts(moments.levels.index(level))
    available = {int(j): i for i, j in enumerate(moments.z_index)}
    z = to_stored(moments, terms)
    rows = np.flatnonzero(np.abs(z).sum(axis=1))
    if any(int(j) not in available for j in rows):
        return None
    cross = np.add.reduceat(moments.products[[available[int(j)] for j in rows]], starts, axis=2)
    zw = np.einsum("ak,ajg->gkj", z[rows], cross)
    # y − (fixed effects without the random terms), in stored columns.
    others = [t for t in coefficients if t not in terms]
    right = np.zeros(len(moments.columns))
    outcome = len(moments.columns) - 1
    right[outcome], right[0] = moments.scale[outcome], moments.shift[outcome]
    right -= to_stored(moments, others) @ np.array([coefficients[t] for t in others]) if others else 0.0
    gram, moment = zw @ z, zw @ right
    scale = np.sqrt(np.maximum(np.einsum("gkk->gk", gram), 1e-300))
    unit = gram / scale[:, :, None] / scale[:, None, :]
    identified = np.linalg.eigvalsh(unit)[:, 0] > 1e-8
    separate = np.full(moment.shape, np.nan)
    separate[identified] = (
        np.linalg.solve(unit[identified], (moment / scale)[identified][..., None])[..., 0] / scale[identified]
    )
    shared = evidence.total_effects()
    total = {t: coefficients.get(t, 0.0) + shared[t][starts] for t in terms}
    n = np.add.reduceat(moments.n, starts)
    labels = group_labels(moments, level)
    shown = np.arange(len(starts))
    if len(shown) > NO_POOLING_SHOWN:
        # Evenly spaced in order of size, so that small and large groups are both seen.
        shown = np.sort(np.argsort(n, kind="stable")[np.linspace(0, len(n) - 1, NO_POOLING_SHOWN).round().astype(int)])
    return {
        "level": level,
        "terms": terms,
        "total_groups": len(starts),
        "common": {t: coefficients.get(t, 0.0) for t in terms},
        "intercept": INTERCEPT if INTERCEPT in terms else None,
        "groups": [
            {
                "label": labels[g],
                "n": int(n[g]),
                "separate": {t: separate[g, k] for k, t in enumerate(terms)},
                "pooled": {t: total[t][g] for t in terms},
            }
            for g in shown
        ],
    }
