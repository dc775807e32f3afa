"""Residuals over time: their distribution in each period, and their autocorrelation within groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .residual_sql import number

if TYPE_CHECKING:
    from .evidence import Evidence

PERIODS = 120  # bins of time; more periods than these are joined
LAGS = 10
ROWS = 200_000  # the autocorrelation looks at whole groups of about so many rows
FEWEST = 20  # pairs, for a lag to be worth a number
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def by_period(evidence: Evidence) -> dict[str, Any] | None:
    """Counts, means and quantiles of residuals in each period (``PERIODS`` bins of neighbouring ones where there are
    more); of scaled innovations under AR(1) errors. None without a time column.

    ``first`` is the place of each bin's first period among all periods in order, ``periods`` how many there are.
    """
    rows = evidence.rows
    if not rows.ordered:
        return None
    times = rows.query("SELECT DISTINCT t FROM hr_rows ORDER BY t")["t"]
    per_bin = -(-len(times) // PERIODS)
    starts = times[::per_bin]
    value = "scaled" if evidence.rho is not None else "residual"
    bins = " + ".join(f"(t >= {number(t)})::INT" for t in starts[1:]) or "0"
    kind = "quantile_cont" if rows.exact else "approx_quantile"
    quantiles = ", ".join(f"{kind}({value}, {p}) AS q{round(100 * p):02d}" for p in QUANTILES)
    found = rows.query(
        f"SELECT {bins} AS bin, count(*) AS n, avg({value}) AS mean, {quantiles} FROM hr_rows GROUP BY bin ORDER BY bin"
    )
    out: dict[str, Any] = {"value": value, "periods": len(times), "first": np.arange(len(starts)) * per_bin}
    out["n"] = found["n"].astype(int)
    return out | {k: found[k] for k in ("mean", *(f"q{round(100 * p):02d}" for p in QUANTILES))}


def autocorrelation(evidence: Evidence) -> dict[str, Any] | None:
    """Correlation of residuals k time steps apart within innermost groups, k = 1, 2, …; None without time order.

    r is mean(e_t e_{t−k}) over such pairs, over mean(e²), and ``expected`` what independent errors would show, as
    estimated coefficients tie a group's residuals together (−z'Cz summed in the same way, C the coefficients'
    posterior covariance). Under AR(1) errors e are innovations, and ``raw`` is r of the residuals themselves.
    ``rows`` were looked at: all of them, or those of every so-manieth group.
    """
    rows = evidence.rows
    if not rows.ordered:
        return None
    every = -(-rows.n // ROWS)
    lags = range(1, min(LAGS, _periods(evidence) - 1) + 1)
    if not lags:
        return None
    serial = evidence.rho is not None
    e = "innovation" if serial else "residual"
    m = len(evidence.row_covariance.columns)
    carried = ["e", *(f"u{a}" for a in range(m)), *(["raw"] if serial else [])]
    tied = [f"{_tied(m, b)} AS c{b}" for b in range(m)]  # once per row: there are many pairs of lags and rows
    source = ", ".join(
        ["gid", "t", "variance", f"{e} AS e", *carried[1 : m + 1], *tied, *(["residual AS raw"] * serial)]
    )
    before = ", ".join(f"lag({name}, {i}) OVER w AS {name}_{i}" for i in lags for name in ["t", *carried])
    lagged = (
        f"SELECT *, {before} FROM (SELECT {source} FROM hr_rows JOIN hr_groups USING (gid) WHERE gid % {every} = 0) "
        "WINDOW w AS (PARTITION BY gid ORDER BY t)"
    )
    sums = [
        "count(*) AS n",
        "sum(e * e) AS squares",
        "sum(variance) AS variance",
        *(["sum(raw * raw) AS raw_squares"] * serial),
    ]
    for k in lags:
        terms: dict[str, list[str]] = {"pairs": [], "r": [], "expected": [], "raw": []}
        for i in range(1, k + 1):  # with gaps, k steps are fewer than k rows
            apart = f"CASE WHEN abs((t - t_{i}) / {number(rows.step)} - {k}) < 1e-6 THEN"
            terms["pairs"].append(f"count({apart} 1 END)")
            for name, product in (("r", f"e * e_{i}"), ("expected", _dot(m, i)), ("raw", f"raw * raw_{i}")):
                terms[name].append(f"coalesce(sum({apart} {product} END), 0.0)")
        sums += [f"{' + '.join(t)} AS {name}{k}" for name, t in terms.items() if name != "raw" or serial]
    total = {k: v[0] for k, v in rows.query(f"SELECT {', '.join(sums)} FROM ({lagged})").items()}
    pairs = np.array([total[f"pairs{k}"] for k in lags], dtype=int)
    kept = [k for k in lags if pairs[k - 1] >= FEWEST]
    if not kept:
        return None

    def correlation(name: str, square: str) -> np.ndarray:
        return np.array([total[f"{name}{k}"] / pairs[k - 1] for k in kept]) / (total[square] / total["n"])

    out = {
        "lag": kept,
        "pairs": pairs[[k - 1 for k in kept]],
        "r": correlation("r", "squares"),
        "expected": correlation("expected", "variance"),
        "raw": correlation("raw", "raw_squares") if serial else None,
        "rows": int(total["n"]),
    }
    return out


def _periods(evidence: Evidence) -> int:
    """Time steps from the first period to the last, both counted."""
    ends = evidence.rows.query("SELECT min(t) AS a, max(t) AS b FROM hr_rows")
    return round(float(ends["b"][0] - ends["a"][0]) / evidence.rows.step) + 1


def _tied(m: int, b: int) -> str:
    """Entry b of Cu of a row."""
    # hr_groups holds twice the off-diagonal
    own = (f"c{b}_{b} * u{b}" if a == b else f"0.5 * c{min(a, b)}_{max(a, b)} * u{a}" for a in range(m))
    return " + ".join(own) or "0.0"


def _dot(m: int, i: int) -> str:
    """−u'Cu_i, the covariance of two residuals of one group that estimating its coefficients brings."""
    return f"-({' + '.join(f'c{b} * u{b}_{i}' for b in range(m)) or '0.0'})"
