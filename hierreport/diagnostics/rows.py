"""Residuals of the chosen rung as a relation in SQL: rows stay in the database, summaries come back.

One relation, ``hr_rows``, is made over the frame's table, joined to the coefficients of each innermost group: gid
(innermost group), row (row number of the source), fitted, residual (conditional, y − Xβ − Zu), variance (of that
residual under the model), kept (the share of the error's variance that this is), scaled (residual over its own sd;
under AR(1) errors the innovation over its own sd); and, where there is a time column, t, gap (time steps since the row
before in the group, NULL for its first), pair (product of a residual and the one before it where they are one step
apart, NULL elsewhere; under AR(1) errors of innovations, the residuals' own product being raw_pair) and pair_expected
(what estimation alone puts there).

Up to ``TABLE_LIMIT`` rows it is a temporary table; above, a view that is evaluated by each summary, so that memory is
bounded whatever the number of rows. The frame's table is sorted by groups, time and row, and window functions without
an ORDER BY run in that order: the row before is one streaming step back.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .evidence import INTERCEPT, Evidence
from .residual_sql import Plan, identifier, number, residual_sql

if TYPE_CHECKING:
    import duckdb

TABLE_LIMIT = 2_000_000
PREDICTORS = 30  # at most so many are plotted against residuals


class RowPass:
    """Builds the relation and answers with summaries.

    Args:
        evidence: what is being checked.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.con: duckdb.DuckDBPyConnection = evidence.frame.con
        self.n = evidence.n_obs
        self.ordered = evidence.frame.time is not None
        self.exact = self.n <= TABLE_LIMIT
        # Numeric fixed columns, carried along for residuals against each of them.
        plain = {column.name for column in evidence.frame.columns if column.factor is None}
        self.predictors = [term for term in evidence.coefficients if term in plain][:PREDICTORS]
        self.step = 1.0  # length of one time step
        self._build()

    # ------------------------------------------------------------------ the relation

    def _build(self) -> None:
        evidence, frame = self.evidence, self.evidence.frame
        moments = evidence.moments
        carried = evidence.row_covariance
        texts = {column.name: column.sql for column in frame.columns}
        beta, shared = evidence.coefficients, evidence.total_effects()
        linear = " + ".join(
            number(b) if term == INTERCEPT else f"{number(b)} * ({texts[term]})" for term, b in beta.items() if b != 0.0
        )
        stored = []
        for j in carried.columns:
            name = moments.columns[j]
            stored.append(
                "1.0::DOUBLE"
                if j == 0
                else f"(({texts[name]}) - {number(moments.shift[j])}) / {number(moments.scale[j])}"
            )
        m = len(stored)
        # The columns carried have each group's posterior; the random coefficients in raw terms become stored ones.
        groups: dict[str, np.ndarray] = {"gid": np.arange(len(moments.n), dtype=np.int32)}
        for d, labels in enumerate(moments.labels):
            groups[f"g{d}"] = np.array([str(x) for x in labels], dtype=object)
        coefficients = np.zeros((m, len(moments.n)))
        position = {int(j): a for a, j in enumerate(carried.columns)}
        place = {name: j for j, name in enumerate(moments.columns)}
        for term, values in shared.items():
            j = place[term]
            coefficients[position[j]] += moments.scale[j] * values
            if j:
                coefficients[position[0]] += moments.shift[j] * values
        used = [a for a in range(m) if np.any(coefficients[a])]
        for a in used:
            groups[f"b{a}"] = coefficients[a]
        for a in range(m):
            for b in range(a, m):
                groups[f"c{a}_{b}"] = np.ascontiguousarray(carried.covariance[:, a, b]) * (1.0 if a == b else 2.0)
        self.con.register("hr_groups_source", groups)
        self.con.execute("CREATE OR REPLACE TEMP TABLE hr_groups AS SELECT * FROM hr_groups_source")
        self.con.unregister("hr_groups_source")

        time = f"CAST({identifier(frame.time)} AS DOUBLE)" if frame.time is not None else None
        crossed = evidence.period_effects
        if crossed is not None:
            periods = f"SELECT DISTINCT {time} AS pt FROM {frame.table} ORDER BY pt"
            times = self.con.execute(periods).fetchnumpy()["pt"]
            self.con.register("hr_periods_source", {"pt": times, "pe": np.asarray(crossed, float)})
            self.con.execute("CREATE OR REPLACE TEMP TABLE hr_periods AS SELECT * FROM hr_periods_source")
            self.con.unregister("hr_periods_source")
        lags = evidence.panel_moments.lags
        self.step = lags.step if lags is not None else float((frame.info.get("time_axis") or {}).get("step") or 1.0)
        plan = Plan(
            table=frame.table,
            keys=[identifier(c) for c in frame.groups],
            outcome=frame.outcome.sql,
            linear=linear or "0.0",
            columns=stored,
            used=used,
            weight=identifier(frame.weights) if frame.weights else "1.0::DOUBLE",
            time=time,
            crossed=crossed is not None,
            step=self.step,
            sigma=evidence.sigma,
            rho=evidence.rho,
            spread=1.0 - carried.left_out / max(self.n, 1),
            predictors=[texts[name] for name in self.predictors],
        )
        sql = residual_sql(plan)
        if self.exact:
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE hr_kept AS {sql}")
            sql = "SELECT * FROM hr_kept"
        self.con.execute(f"CREATE OR REPLACE TEMP VIEW hr_rows AS {sql}")

    # ------------------------------------------------------------------ summaries

    def query(self, sql: str) -> dict[str, np.ndarray]:
        """Columns of a query as arrays, NULL as NaN."""
        table = self.con.execute(sql).fetchnumpy()
        return {
            key: np.ma.filled(value.astype(float), np.nan)
            if np.ma.isMaskedArray(value) and value.dtype.kind in "if"
            else np.asarray(value)
            for key, value in table.items()
        }

    @cached_property
    def sums(self) -> dict[str, np.ndarray]:
        """Sums by innermost group, in the order of the moments. (G,) each"""
        c = number(self.evidence.moments.shift[-1])  # sums of squares about a centre: no cancellation
        pairs = ""
        if self.ordered:
            pairs = (
                ", count(pair) AS pairs, coalesce(sum(pair), 0.0) AS pair, coalesce(sum(pair * pair), 0.0) AS pair2, "
                "coalesce(sum(pair_expected), 0.0) AS pair_expected"
            )
            if self.evidence.rho is not None:
                pairs += ", coalesce(sum(raw_pair), 0.0) AS raw_pair, sum(innovation * innovation) AS i2"
        return self.query(
            "SELECT gid, count(*) AS n, sum(residual) AS e, sum(residual * residual) AS e2, sum(residual * residual * "
            "residual) AS e3, sum(residual * residual * residual * residual) AS e4, sum(scaled) AS s, sum(scaled * "
            "scaled) AS s2, sum(scaled * scaled * scaled) AS s3, sum(scaled * scaled * scaled * scaled) AS s4, "
            f"sum(abs(scaled)) AS s_abs, sum(variance) AS variance, sum(kept) AS kept, sum(fitted - {c}) AS f, "
            f"sum((fitted - {c}) * (fitted - {c})) AS f2, sum(scaled * scaled * (fitted - {c})) AS s2f, min(fitted) AS "
            "f_min, max(fitted) AS f_max, min(residual) AS e_min, max(residual) AS e_max, count(CASE WHEN abs(scaled) "
            "> 1.959963984540054 THEN 1 END) AS beyond95, count(CASE WHEN abs(scaled) > 2.5758293035489004 THEN 1 "
            f"END) AS beyond99{pairs} FROM hr_rows GROUP BY gid ORDER BY gid"
        )

    def total(self, name: str) -> float:
        """A column of ``sums`` over all groups."""
        return float(np.sum(self.sums[name]))

    def quantiles(self, column: str, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of a column over all rows: exact up to ``TABLE_LIMIT`` rows, by t-digest above."""
        kind = "quantile_cont" if self.exact else "approx_quantile"
        probs = "[" + ", ".join(f"{p:.9f}" for p in probabilities) + "]"
        ((found,),) = self.con.execute(f"SELECT {kind}({column}, {probs}) FROM hr_rows").fetchall()
        return np.array(found or [], dtype=float)

    def binned_by_predictor(self, names: list[str], bins: int) -> dict[str, dict[str, np.ndarray]]:
        """Counts, means and spreads of residuals in bins of equal count by each predictor, in two passes for all."""
        places = [self.predictors.index(name) for name in names]
        if not places:
            return {}
        kind = "quantile_cont" if self.exact else "approx_quantile"
        probs = "[" + ", ".join(f"{p:.9f}" for p in np.linspace(0, 1, bins + 1)[1:-1]) + "]"
        (edges,) = self.con.execute(
            f"SELECT {', '.join(f'{kind}(x{a}, {probs})' for a in places)} FROM hr_rows"
        ).fetchall()
        cuts = []
        for a, cut in zip(places, edges, strict=True):
            steps = " + ".join(f"(x{a} > {number(e)})::INT" for e in np.unique(np.array(cut, float)))
            cuts.append(f"{steps or '0'} AS bin{a}")
        sets = ", ".join(f"(bin{a})" for a in places)
        means = ", ".join(f"avg(x{a}) AS x{a}" for a in places)
        table = self.query(
            f"SELECT {', '.join(f'bin{a}, grouping(bin{a}) AS other{a}' for a in places)}, {means}, count(*) AS n, "
            f"avg(residual) AS mean, coalesce(stddev_samp(residual), 0.0) AS sd FROM (SELECT *, {', '.join(cuts)} FROM "
            f"hr_rows) GROUP BY GROUPING SETS ({sets}) ORDER BY {', '.join(f'bin{a}' for a in places)}"
        )
        out = {}
        for name, a in zip(names, places, strict=True):
            mine = table[f"other{a}"] == 0
            out[name] = {"x": table[f"x{a}"][mine], **{key: table[key][mine] for key in ("n", "mean", "sd")}}
        return out

    @cached_property
    def binned_by_fitted(self) -> dict[str, np.ndarray]:
        """Counts, means and spreads of residuals in bins of equal count by fitted value: 40, fewer in small panels."""
        bins = int(np.clip(self.n // 100, 1, 8)) * 5
        edges = np.unique(self.quantiles("fitted", np.linspace(0, 1, bins + 1)[1:-1]))
        cut = "+".join(f"(fitted > {number(e)})::INT" for e in edges) or "0"
        return self.query(
            f"SELECT {cut} AS bin, count(*) AS n, avg(fitted) AS fitted, avg(residual) AS mean, "
            "coalesce(stddev_samp(residual), 0.0) AS sd, avg(scaled * scaled) AS s2 "
            "FROM hr_rows GROUP BY bin ORDER BY bin"
        )

    def fifths_by_fitted(self) -> dict[str, np.ndarray]:
        """The same bins joined to (about) five of equal count: n, fitted, s2."""
        table = self.binned_by_fitted
        upto = np.cumsum(table["n"])
        fifth = np.minimum(((upto - 0.5 * table["n"]) * 5 / upto[-1]).astype(int), 4)
        starts = np.flatnonzero(np.append(True, fifth[1:] != fifth[:-1]))
        n = np.add.reduceat(table["n"], starts)
        return {"n": n, **{k: np.add.reduceat(table["n"] * table[k], starts) / n for k in ("fitted", "s2")}}

    def grid(self, nx: int, ny: int) -> dict[str, Any]:
        """Counts of rows on a grid of fitted value by residual."""
        s = self.sums
        x = np.linspace(s["f_min"].min(), s["f_max"].max(), nx + 1)
        y = np.linspace(s["e_min"].min(), s["e_max"].max(), ny + 1)
        wide = [max(a[-1] - a[0], 1e-300) for a in (x, y)]
        cells = self.query(
            f"SELECT least(floor((fitted - {number(x[0])}) / {number(wide[0])} * {nx}), {nx - 1})::INT AS i, "
            f"least(floor((residual - {number(y[0])}) / {number(wide[1])} * {ny}), {ny - 1})::INT AS j, "
            "count(*) AS n FROM hr_rows GROUP BY i, j ORDER BY i, j"
        )
        counts = np.zeros((nx, ny), dtype=int)
        counts[np.clip(cells["i"].astype(int), 0, nx - 1), np.clip(cells["j"].astype(int), 0, ny - 1)] = cells[
            "n"
        ].astype(int)
        return {"x_edges": x, "y_edges": y, "counts": counts}

    def largest(self, k: int) -> dict[str, np.ndarray]:
        """The k rows with the largest scaled residuals."""
        time = ", t" if self.ordered else ""
        return self.query(
            f"SELECT gid, row, fitted, residual, scaled{time} FROM hr_rows ORDER BY abs(scaled) DESC, row LIMIT "
            f"{int(k)}"
        )

    def points(self) -> dict[str, np.ndarray]:
        """All rows; for small panels."""
        return self.query("SELECT gid, row, fitted, residual, scaled FROM hr_rows ORDER BY row")

    def quartiles_of(self, gids: list[np.ndarray]) -> np.ndarray:
        """Quartiles of residuals in chosen sets of innermost groups. (sets, 3)"""
        if not gids:
            return np.zeros((0, 3))
        chosen = {
            "gid": np.concatenate(gids).astype(np.int32),
            "chosen": np.repeat(np.arange(len(gids), dtype=np.int32), [len(g) for g in gids]),
        }
        self.con.register("hr_chosen", chosen)
        kind = "quantile_cont" if self.exact else "approx_quantile"
        table = self.con.execute(
            f"SELECT {kind}(residual, [0.25, 0.5, 0.75]) AS q FROM hr_rows JOIN hr_chosen USING (gid) "
            "GROUP BY chosen ORDER BY chosen"
        ).fetchall()
        self.con.unregister("hr_chosen")
        return np.array([row[0] for row in table], dtype=float)

    def rows_of(self, gids: np.ndarray) -> dict[str, np.ndarray]:
        """gid, t and scaled residual of all rows of some innermost groups."""
        self.con.register("hr_chosen", {"gid": np.asarray(gids, np.int32)})
        table = self.query("SELECT gid, t, scaled FROM hr_rows JOIN hr_chosen USING (gid) ORDER BY gid, t")
        self.con.unregister("hr_chosen")
        return table

    def brown_forsythe(self, column: str = "scaled") -> dict[str, np.ndarray] | None:
        """Sums of |value − group median| per innermost group; None where rows are too many for exact medians."""
        if not self.exact:
            return None
        medians = f"SELECT gid, median({column}) AS m FROM hr_rows GROUP BY gid"
        return self.query(
            f"SELECT gid, count(*) AS n, sum(d) AS d, sum(d * d) AS d2 FROM (SELECT gid, abs({column} - m) AS d "
            f"FROM hr_rows JOIN ({medians}) USING (gid)) GROUP BY gid ORDER BY gid"
        )
