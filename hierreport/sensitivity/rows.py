"""Without some rows: outlying ones, the first period, the last one. Each makes new moments by an SQL filter."""

from __future__ import annotations

from typing import Any

from .. import moments as reduction
from ..diagnostics.residual_sql import identifier, number
from ..errors import ModelError
from ..frame import Frame
from ..moments import PanelMoments
from ..said import mark, whole
from .basis import Basis
from .given import choice_again
from .judge import Analysis
from .residuals import filtered, of_chosen, query, standardised

BEYOND = 3.5


def reduced(basis: Basis, frame: Frame) -> PanelMoments:
    """Moments of changed rows, lagged ones where the chosen rung needs them."""
    moments = reduction.reduce(frame)
    if basis.spec.errors == "iid" or basis.panel.lags is None:
        return PanelMoments(moments)
    return PanelMoments(moments, reduction.reduce_lags(frame, moments, basis.panel.lags.step))


def without_outliers(basis: Basis) -> Analysis:
    """Rows whose standardised conditional residual is beyond ``BEYOND`` are left out."""
    kind = "innovation" if basis.spec.errors != "iid" else "conditional residual"
    what = f"Rows left out whose standardised {kind} is beyond {mark(BEYOND, f'{BEYOND:g}')}."

    def make() -> dict[str, Any]:
        with standardised(basis, of_chosen(basis)) as view:
            outside = f"SELECT * FROM {view} WHERE abs(hr_s) > {number(BEYOND)}"
            count = int(query(basis.frame, f"SELECT count(*) FROM ({outside})")[0])
            if not count:
                return basis.of_state(
                    basis.state, what=f"No row has a standardised {kind} beyond {mark(BEYOND, f'{BEYOND:g}')}."
                )
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
        return basis.of_state(basis.refit(panel), what=told, choice=choice_again(basis, panel), details=details)

    return basis.analysis("outlying_rows", "Without outlying rows", what, basis.chosen, make)


def without_periods(basis: Basis) -> list[Analysis]:
    """Without the first period, and without the last; none where there is no time."""
    return [_without(basis, which) for which in ("first", "last")] if basis.frame.time is not None else []


def _without(basis: Basis, which: str) -> Analysis:
    frame = basis.frame

    def make() -> dict[str, Any]:
        time = f"CAST({identifier(str(frame.time))} AS DOUBLE)"
        extreme, compare = ("min", ">") if which == "first" else ("max", "<")
        label = f"CAST({identifier(frame.time_label or str(frame.time))} AS VARCHAR)"
        edge, count = query(frame, f"SELECT {extreme}({time}), count(DISTINCT {time}) FROM {frame.table}")
        if count < 3:
            raise ModelError(f"there are {count} periods only.")
        shown, rows = query(frame, f"SELECT min({label}), count(*) FROM {frame.table} WHERE {time} = {number(edge)}")
        kept = filtered(frame, f"SELECT * FROM {frame.table} WHERE {time} {compare} {number(edge)}")
        panel = reduced(basis, kept)
        told = (
            f"The {which} period ({str(shown).removesuffix('.0').removesuffix(' 00:00:00')}, {whole(rows)} "
            f"rows) left out."
        )
        return basis.of_state(basis.refit(panel), what=told, choice=choice_again(basis, panel))

    what = f"The {which} period left out."
    return basis.analysis(f"{which}_period", f"Without the {which} period", what, basis.chosen, make)
