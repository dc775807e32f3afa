"""The SQL that turns the model frame into residuals.

One statement of nested SELECTs: base columns → the one or two rows before (streaming windows over the sorted frame) →
joined to each innermost group's coefficients → residuals, gaps → scaled residuals and products of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ONE_STEP = "abs(gap - 1.0) < 1e-6"
# A row whose group's coefficients fit it almost exactly says nothing: its variance is kept above this share.
FLOOR = 0.01


def number(value: float) -> str:
    """A float as an exact DOUBLE literal (without an exponent SQL would read a DECIMAL)."""
    return f"({float(value):.17e})"


def identifier(name: str) -> str:
    """A column's name quoted for SQL; names that come quoted stay as they are."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Plan:
    """What the statement needs to know; all texts are SQL expressions over ``table``.

    Attributes:
        table: the frame's table, sorted by groups, time, row.
        keys: group columns, outermost first.
        outcome, linear: outcome and fixed part Xβ.
        columns: the columns that random effects and posterior covariances multiply (w0, w1, …).
        used: numbers of those that carry a random coefficient (columns b<number> of ``hr_groups``).
        weight: weight of a row.
        time: time as a number, None where there is none.
        step: length of one time step.
        sigma: residual standard deviation.
        rho: AR(1) correlation of neighbouring errors, None when errors are iid.
        spread: share of the variance left by fixed coefficients that are not among ``columns``.
        predictors: further expressions that are carried along as x0, x1, …
        crossed: whether table ``hr_periods`` (pt, pe) has an effect to take out of each period.
    """

    table: str
    keys: Sequence[str]
    outcome: str
    linear: str
    columns: Sequence[str]
    used: Sequence[int]
    weight: str
    time: str | None
    step: float
    sigma: float
    rho: float | None
    spread: float
    predictors: Sequence[str] = ()
    crossed: bool = False

    @property
    def depth(self) -> int:
        """Rows before that are looked at: two under AR(1), whose innovations take one already."""
        return 0 if self.time is None else (2 if self.rho is not None else 1)


def residual_sql(plan: Plan) -> str:
    """The statement; see the module's docstring and ``rows.RowPass`` for the columns it gives."""
    rows = _joined(plan, _lagged(plan, _base(plan)))
    return _whitened(plan, rows) if plan.rho is not None and plan.time is not None else _plain(plan, rows)


def _base(plan: Plan) -> str:
    columns = [f"CAST({key} AS VARCHAR) AS k{d}" for d, key in enumerate(plan.keys)]
    columns += [
        "__row AS row",
        f"{plan.linear} AS f0",
        f"({plan.outcome}) - ({plan.linear}) AS r0",
        f"{plan.weight} AS weight",
    ]
    columns += [f"{sql} AS w{a}" for a, sql in enumerate(plan.columns)]
    columns += [f"{sql} AS x{a}" for a, sql in enumerate(plan.predictors)]
    if plan.time is not None:
        columns.append(f"{plan.time} AS t")
    return f"SELECT {', '.join(columns)} FROM {plan.table}"


def _lagged(plan: Plan, source: str) -> str:
    columns = []
    for i in range(1, plan.depth + 1):
        same = " AND ".join(f"lag(k{d}, {i}) OVER () = k{d}" for d in range(len(plan.keys)))
        columns += [f"({same}) AS same{i}", f"lag(t, {i}) OVER () AS t_{i}", f"lag(r0, {i}) OVER () AS r0_{i}"]
        columns += [f"lag(w{a}, {i}) OVER () AS w{a}_{i}" for a in range(len(plan.columns))]
    return f"SELECT *, {', '.join(columns)} FROM ({source})" if columns else source


def _joined(plan: Plan, source: str) -> str:
    def effect(suffix: str) -> str:
        terms = [f"b{a} * w{a}{suffix}" for a in plan.used]
        terms += [f"coalesce(p{suffix}.pe, 0.0)"] if plan.crossed else []
        return " + ".join(terms) or "0.0"

    columns = [f"r0 - ({effect('')}) AS residual", f"f0 + ({effect('')}) AS fitted"]
    columns += [f"r0_{i} - ({effect(f'_{i}')}) AS e_{i}" for i in range(1, plan.depth + 1)]
    if plan.depth:
        columns.append(f"CASE WHEN same1 THEN (t - t_1) / {number(plan.step)} END AS gap")
    if plan.depth == 2:
        columns.append(f"CASE WHEN same2 THEN (t_1 - t_2) / {number(plan.step)} END AS gap_1")
    on = " AND ".join(f"k{d} = g{d}" for d in range(len(plan.keys)))
    joins = f"({source}) JOIN hr_groups ON {on}"
    if plan.crossed:
        lags = [""] + [f"_{i}" for i in range(1, plan.depth + 1)]
        joins += "".join(f" LEFT JOIN hr_periods AS p{suffix} ON t{suffix} = p{suffix}.pt" for suffix in lags)
    return f"SELECT *, {', '.join(columns)} FROM {joins}"


def _plain(plan: Plan, rows: str) -> str:
    m = len(plan.columns)
    sigma2 = f"{number(plan.sigma**2)} / weight"
    variance = (
        f"{number(plan.spread)} * greatest({sigma2} - ({_quadratic(m, 'w{}', 'w{}')}), {FLOOR} * {sigma2}) AS variance"
    )
    columns = ["gid", "row", "fitted", "residual", "variance", f"variance / ({sigma2}) AS kept"]
    columns.append("residual / sqrt(variance) AS scaled")
    columns += [f"x{a}" for a in range(len(plan.predictors))] + [f"w{a} AS u{a}" for a in range(m)]
    if plan.time is not None:
        columns += [
            "t",
            "gap",
            f"CASE WHEN {ONE_STEP} THEN residual * e_1 END AS pair",
            f"CASE WHEN {ONE_STEP} THEN -({_quadratic(m, 'w{}', 'w{}_1')}) END AS pair_expected",
        ]
    return f"SELECT {', '.join(columns)} FROM (SELECT *, {variance} FROM ({rows}))"


def _whitened(plan: Plan, rows: str) -> str:
    """AR(1): each row's innovation (e_t − ρ^d e_{t−d}) / sqrt(1 − ρ^2d), and the one before it."""
    m = len(plan.columns)
    rho, sigma2 = number(plan.rho or 0.0), number(plan.sigma**2)
    phi = ", ".join(
        f"CASE WHEN {gap} > 0 THEN pow({rho}, {gap}) ELSE 0.0 END AS phi{i}" for i, gap in enumerate(("gap", "gap_1"))
    )

    def white(now: str, before: str, i: int) -> str:
        return f"({now} - phi{i} * coalesce({before}, 0.0)) / sqrt(1 - phi{i} * phi{i})"

    columns = [f"{white('residual', 'e_1', 0)} AS innovation", f"{white('e_1', 'e_2', 1)} AS innovation_1"]
    for a in range(m):
        columns += [f"{white(f'w{a}', f'w{a}_1', 0)} AS v{a}", f"{white(f'w{a}_1', f'w{a}_2', 1)} AS v{a}_1"]
    rows = f"SELECT *, {', '.join(columns)} FROM (SELECT *, {phi} FROM ({rows}))"
    variance = (
        f"{number(plan.spread)} * greatest({sigma2} - ({_quadratic(m, 'v{}', 'v{}')}), {FLOOR} * {sigma2}) AS variance"
    )
    out = [
        "gid",
        "row",
        "fitted",
        "residual",
        "innovation",
        "variance",
        f"variance / {sigma2} AS kept",
        "innovation / sqrt(variance) AS scaled",
        "t",
        "gap",
        f"CASE WHEN {ONE_STEP} THEN innovation * innovation_1 END AS pair",
        f"CASE WHEN {ONE_STEP} THEN -({_quadratic(m, 'v{}', 'v{}_1')}) END AS pair_expected",
        f"CASE WHEN {ONE_STEP} THEN residual * e_1 END AS raw_pair",
        *[f"x{a}" for a in range(len(plan.predictors))],
        *[f"v{a} AS u{a}" for a in range(m)],
    ]
    return f"SELECT {', '.join(out)} FROM (SELECT *, {variance} FROM ({rows}))"


def _quadratic(m: int, left: str, right: str) -> str:
    """left'C right with C symmetric; ``hr_groups`` has its diagonal and twice its off-diagonal as c<a>_<b>."""
    terms = []
    for a in range(m):
        terms.append(f"c{a}_{a} * {left.format(a)} * {right.format(a)}")
        for b in range(a + 1, m):
            if left == right:
                terms.append(f"c{a}_{b} * {left.format(a)} * {left.format(b)}")
            else:
                cross = f"{left.format(a)} * {right.format(b)} + {left.format(b)} * {right.format(a)}"
                terms.append(f"0.5 * c{a}_{b} * ({cross})")
    return " + ".join(terms)
