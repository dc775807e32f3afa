"""The model frame with each row's standardised residual, as a relation in SQL: no row leaves the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ..diagnostics.posterior import row_covariance, whitened_products
from ..diagnostics.residual_sql import identifier, number
from ..frame import Frame
from ..problem import INTERCEPT
from .basis import Basis

LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Predictor:
    """What a row's residual is taken from.

    Attributes:
        fixed: coefficients by term.
        random: random coefficients summed over levels, by term, per innermost group. (G,) each
        sigma: residual standard deviation.
        rho: AR(1) correlation one step apart, None for independent errors.
        share: Var(residual) / sigma² of each innermost group, on average over its rows. (G,)
    """

    fixed: Mapping[str, float]
    random: Mapping[str, np.ndarray]
    sigma: float
    rho: float | None
    share: np.ndarray


def residual_shares(basis: Basis) -> np.ndarray:
    """Var(residual) / σ² per innermost group, averaged over its rows: what is left after fitting the chosen rung.

    From the covariance of each group's predicted coefficients (see ``diagnostics.posterior``). (G,)
    """
    panel, estimate = basis.panel, basis.record["reml"]
    moments, products = panel.moments, None
    if estimate["rho"] is not None and panel.lags is not None:
        products = whitened_products(moments, panel.lags, float(estimate["rho"]))
    terms = [e["term"] for e in estimate["fixed"]]
    cov = np.asarray(estimate["fixed_cov"], float)
    found = row_covariance(moments, estimate["random"], float(estimate["sigma"]), terms, cov, products)
    if products is None:
        place = {int(j): i for i, j in enumerate(moments.z_index)}
        products = moments.products[[place[int(j)] for j in found.columns]][:, found.columns]
    else:
        products = products[found.columns][:, found.columns]
    fitted = np.einsum("abg,gba->g", products, found.covariance) / moments.n / float(estimate["sigma"]) ** 2
    return np.maximum(1.0 - fitted, LEAST_SHARE) * (1.0 - found.left_out / moments.n_obs)


@contextmanager
def standardised(basis: Basis, at: Predictor) -> Iterator[str]:
    """The frame's columns and ``hr_s``, the residual over its own standard deviation, as a view.

    Under AR(1) errors ``hr_s`` is the innovation, (e_t − ρ^d e_{t−d}) over its standard deviation; the first row of a
    group has none before it. The frame's table is sorted by groups and time, and one thread keeps that order.

    Yields:
        The view's name.
    """
    frame, moments = basis.frame, basis.panel.moments
    con = frame.con
    groups: dict[str, np.ndarray] = {"hr_gid": np.arange(len(moments.n), dtype=np.int64)}
    for d, labels in enumerate(moments.labels):
        groups[f"hr_g{d}"] = np.array([str(x) for x in labels], dtype=object)
    texts = {c.name: c.sql for c in frame.columns}
    terms = [number(b) if t == INTERCEPT else f"{number(b)} * ({texts[t]})" for t, b in at.fixed.items()]
    for k, (term, values) in enumerate(at.random.items()):
        groups[f"hr_b{k}"] = np.ascontiguousarray(values, dtype=float)
        terms.append(f"hr_b{k}" if term == INTERCEPT else f"hr_b{k} * ({texts[term]})")
    groups["hr_sd"] = at.sigma * np.sqrt(at.share)
    con.register("hr_source", groups)
    con.execute("CREATE OR REPLACE TEMP TABLE hr_sensitivity_groups AS SELECT * FROM hr_source")
    con.unregister("hr_source")
    keys = [identifier(g) for g in frame.groups]
    on = " AND ".join(f"CAST({key} AS VARCHAR) = hr_g{d}" for d, key in enumerate(keys)) or "TRUE"
    root = f" * sqrt(CAST({identifier(frame.weights)} AS DOUBLE))" if frame.weights else ""
    rows = (
        f"SELECT f.*, hr_gid, hr_sd, (({frame.outcome.sql}) - ({' + '.join(terms) or '0.0'})){root} AS hr_e "
        f"FROM {frame.table} f JOIN hr_sensitivity_groups ON {on}"
    )
    if at.rho is None or frame.time is None or basis.panel.lags is None:
        sql = f"SELECT *, hr_e / hr_sd AS hr_s FROM ({rows})"
    else:
        time = f"CAST({identifier(frame.time)} AS DOUBLE)"
        same = "lag(hr_gid) OVER () = hr_gid"
        power = f"pow({number(at.rho)}, ({time} - lag({time}) OVER ()) / {number(basis.panel.lags.step)})"
        lagged = (
            f"SELECT *, CASE WHEN {same} THEN lag(hr_e) OVER () ELSE 0.0 END AS hr_before, "
            f"CASE WHEN {same} THEN {power} ELSE 0.0 END AS hr_phi FROM ({rows})"
        )
        sql = f"SELECT *, (hr_e - hr_phi * hr_before) / (hr_sd * sqrt(1.0 - hr_phi * hr_phi)) AS hr_s FROM ({lagged})"
    con.execute(f"CREATE OR REPLACE TEMP VIEW hr_sensitivity_rows AS {sql}")
    try:
        yield "hr_sensitivity_rows"
    finally:
        con.execute("DROP VIEW IF EXISTS hr_sensitivity_rows")
        con.execute("DROP TABLE IF EXISTS hr_sensitivity_groups")


def of_chosen(basis: Basis) -> Predictor:
    """The chosen rung's REML estimates."""
    estimate = basis.record["reml"]
    fixed = {e["term"]: float(e["estimate"]) for e in estimate["fixed"]}
    fitted = basis.rungs[basis.chosen]
    random = summed(basis, {lv.level: fitted.effects(lv.level) for lv in basis.spec.random})
    rho = None if estimate["rho"] is None else float(estimate["rho"])
    return Predictor(fixed, random, float(estimate["sigma"]), rho, residual_shares(basis))


def summed(basis: Basis, effects: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Random coefficients of all levels added up per innermost group, by term."""
    moments = basis.panel.moments
    out: dict[str, np.ndarray] = {}
    for level, found in effects.items():
        starts = moments.starts(moments.levels.index(level))
        counts = np.diff(np.append(starts, len(moments.n)))
        for term, values in zip(found["terms"], found["estimate"], strict=True):
            out[term] = out.get(term, 0.0) + np.repeat(values, counts)
    return out


def filtered(frame: Frame, sql: str) -> Frame:
    """The frame over another table expression with its columns."""
    return replace(frame, table=f"({sql})")
