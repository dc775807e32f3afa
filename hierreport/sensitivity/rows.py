"""Without some rows: outlying ones, the first period, the last one. Each makes new moments by an SQL filter."""

from __future__ import annotations

from typing import Any

from .. import moments as reduction
from ..diagnostics.residual_sql import identifier, number
from ..errors import ModelError
from ..frame import Frame
from ..further import BEYOND, Further
from ..moments import PanelMoments
from ..said import mark, whole
from ..source import one_row
from .basis import Basis
from .given import on_fewer_rows
from .judge import Analysis
from .residuals import filtered, of_chosen, standardised


def reduced(basis: Basis, frame: Frame) -> PanelMoments:
    """Moments of changed rows, lagged ones where the chosen rung needs them."""
    moments = reduction.reduce(frame)
    if basis.spec.errors == "iid" or basis.panel.lags is None:
        return PanelMoments(moments)
    return PanelMoments(moments, reduction.reduce_lags(frame, moments, basis.panel.lags.step))


def without_outliers(basis: Basis, planned: Further) -> Analysis:
    """Rows whose standardised conditional residual is beyond ``BEYOND`` are left out."""
    kind = "innovation" if basis.spec.errors != "iid" else "conditional residual"

    def make() -> dict[str, Any]:
        with standardised(basis, of_chosen(basis)) as view:
            outside = f"SELECT * FROM {view} WHERE abs(hr_s) > {number(BEYOND)}"
            count = int(one_row(basis.frame.con, f"SELECT count(*) FROM ({outside})")[0])
            if not count:
                told = f"No row has a standardised {kind} beyond {mark(BEYOND, f'{BEYOND:g}')}."
                return basis.of_state(basis.state, loglik=basis.record["ml"]["loglik"], what=told)
            kept = filtered(basis.frame, f"SELECT * FROM {view} WHERE abs(hr_s) <= {number(BEYOND)}")
            panel = reduced(basis, kept)
            listed = basis.frame.con.execute(
                f"SELECT __row, hr_s FROM ({outside}) ORDER BY abs(hr_s) DESC, __row LIMIT 20"
            ).fetchall()
        rows = [{"row": int(r), "standardised": float(s)} for r, s in listed]
        told = (
            f"{whole(count)} row{'s' * (count > 1)} left out whose standardised {kind} is beyond "
            f"{mark(BEYOND, f'{BEYOND:g}')}."
        )
        details = {"left_out": count, "rows": rows}
        return on_fewer_rows(basis, panel, what=told, details=details)

    return basis.analysis(planned, make)


def without_period(basis: Basis, planned: Further) -> Analysis:
    """Without the first period, or without the last."""
    frame, which = basis.frame, planned.name.removesuffix("_period")

    def make() -> dict[str, Any]:
        time = f"CAST({identifier(str(frame.time))} AS DOUBLE)"
        extreme, compare = ("min", ">") if which == "first" else ("max", "<")
        label = f"CAST({identifier(frame.time_label or str(frame.time))} AS VARCHAR)"
        edge, count = one_row(frame.con, f"SELECT {extreme}({time}), count(DISTINCT {time}) FROM {frame.table}")
        if count < 3:
            raise ModelError(f"there are {count} periods only.")
        shown, rows = one_row(
            frame.con, f"SELECT min({label}), count(*) FROM {frame.table} WHERE {time} = {number(edge)}"
        )
        kept = filtered(frame, f"SELECT * FROM {frame.table} WHERE {time} {compare} {number(edge)}")
        panel = reduced(basis, kept)
        told = (
            f"The {which} period ({str(shown).removesuffix('.0').removesuffix(' 00:00:00')}, {whole(rows)} "
            f"rows) left out."
        )
        return on_fewer_rows(basis, panel, what=told)

    return basis.analysis(planned, make)
