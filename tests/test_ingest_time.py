"""Time columns of all kinds, the length of a step, and gaps."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from hierreport.errors import DataError
from hierreport.ingest import build_frame
from hierreport.source import open_source

DAY = dt.date(2020, 1, 1)


def panel_of(times: list, groups: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = len(times) * groups
    ids = np.repeat([f"g{i}" for i in range(groups)], len(times))
    return pd.DataFrame({"g": ids, "t": list(times) * groups, "x": rng.normal(size=n), "y": rng.normal(size=n)})


def build(times: list, formula: str = "y ~ x + (1 | g)", **options):
    return build_frame(open_source(panel_of(times)), formula, time="t", **options)


@pytest.mark.parametrize(
    ("times", "unit", "step", "missing", "numbers"),
    [
        ([1976, 1977, 1978, 1980], "number", 1, 1, [1976, 1977, 1978, 1980]),
        ([2000.0, 2002.0, 2004.0, 2008.0], "number", 2, 1, [2000, 2002, 2004, 2008]),
        ([-3, -2, 0], "number", 1, 1, [-3, -2, 0]),
        ([0.1, 0.2, 0.30000000000000004, 0.5], "number", 0.1, 1, [0.1, 0.2, 0.3, 0.5]),
        ([10**12, 10**12 + 1, 10**12 + 3], "number", 1, 1, [10**12, 10**12 + 1, 10**12 + 3]),
        ([0, 250_000, 500_000, 1_000_000], "number", 250_000, 1, [0, 250_000, 500_000, 1_000_000]),
        ([dt.date(2020, m, 1) for m in (1, 2, 3, 5)], "month", 1, 1, [24240, 24241, 24242, 24244]),
        ([dt.date(2020, 1, 31), dt.date(2020, 2, 29), dt.date(2020, 3, 31)], "month", 1, 0, [24240, 24241, 24242]),
        ([dt.date(y, 12, 31) for y in (2000, 2001, 2003)], "month", 12, 1, [24011, 24023, 24047]),
        ([dt.date(2020, m, 15) for m in (1, 4, 7, 10)], "month", 3, 0, [24240, 24243, 24246, 24249]),
        ([DAY + dt.timedelta(i) for i in (0, 1, 2, 5)], "day", 1, 2, [18262, 18263, 18264, 18267]),
        ([DAY + dt.timedelta(7 * i) for i in (0, 1, 2, 4)], "day", 7, 1, [18262, 18269, 18276, 18290]),
        (
            [dt.datetime(2020, 1, 1, 0, 15 * i) for i in (0, 1, 3)],
            "second",
            900,
            1,
            [1577836800, 1577837700, 1577839500],
        ),
        ([201911, 201912, 202001], "month", 1, 0, [24238, 24239, 24240]),
        ([20191230, 20191231, 20200101], "day", 1, 0, [18260, 18261, 18262]),
        (["2019-11", "2019-12", "2020-02"], "month", 1, 1, [24238, 24239, 24241]),
        (["2019m11", "2019m12", "2020m1"], "month", 1, 0, [24238, 24239, 24240]),
        (["2019q4", "2020q1", "2020q3"], "quarter", 1, 1, [8079, 8080, 8082]),
        (["2019-Q4", "2020-Q1"], "quarter", 1, 0, [8079, 8080]),
        (["2020-W01", "2020-W02", "2020-W04"], "day", 7, 1, [18260, 18267, 18281]),
        (["1999", "2000", "2001"], "number", 1, 0, [1999, 2000, 2001]),
        (["2020-01-01", "2020-01-02"], "day", 1, 0, [18262, 18263]),
    ],
)
def test_times_are_counted(times, unit, step, missing, numbers):
    frame = build(times)
    info = frame.info
    assert (info["time"], info["time_axis"]["unit"]) == ("t", unit)
    assert info["time_axis"]["step"] == pytest.approx(step)
    gaps = {"groups_with_gaps": 3 if missing else 0, "missing_periods": 3 * missing}
    assert (info["periods"]["count"], info["periods"]["gaps"]) == (len(times), gaps)
    rows = frame.con.execute(f'SELECT DISTINCT "{frame.time}" AS t FROM {frame.table} ORDER BY t').fetchall()
    np.testing.assert_allclose([r[0] for r in rows], numbers, rtol=1e-12)
    steps = int(np.isclose(np.diff(numbers), step).sum())
    if steps > 1:
        assert build(times, "y ~ lag(x) + (1 | g)").info["n_obs"] == 3 * steps


@pytest.mark.parametrize(
    ("times", "what"),
    [
        (["2020-01", "soon", "2020-03"], r"holds 'soon' \(row 2\), which is no time"),
        (["Monday", "Tuesday"], r"holds 'Monday' \(row 1\)"),
        ([True, False], "is a truth value"),
        ([1.0, np.inf], "infinite"),
    ],
)
def test_what_is_no_time(times, what):
    with pytest.raises(DataError, match=what):
        build(times)


def test_rows_without_time_are_dropped():
    panel = panel_of([2000, 2001, 2002]).astype({"t": float})
    panel.loc[[1, 4], "t"] = np.nan
    frame = build_frame(open_source(panel), "y ~ x + (1 | g)", time="t")
    assert (frame.info["n_obs"], frame.info["missing"]["t"]) == (7, 2)


DAYS = [DAY + dt.timedelta(i) for i in (0, 1, 2, 5, 6, 7)]


@pytest.mark.parametrize(
    ("times", "step", "unit", "length", "missing"),
    [
        (DAYS, "day", "day", 1, 2),
        (DAYS, "days", "day", 1, 2),
        (DAYS, "period", "period", 1, 0),
        (DAYS, 1, "day", 1, 2),
        (DAYS, "1", "day", 1, 2),
        ([DAY, dt.date(2020, 2, 1), dt.date(2020, 4, 1)], "month", "month", 1, 1),
        ([DAY, dt.date(2020, 2, 1), dt.date(2020, 4, 1)], "day", "day", 1, 89),
        ([DAY, dt.date(2020, 4, 2), dt.date(2020, 7, 5)], "quarter", "month", 3, 0),
        ([DAY, dt.date(2021, 4, 2), dt.date(2023, 7, 5)], "year", "month", 12, 1),
        ([1990, 1991, 1993], "year", "number", 1, 1),
        ([1990, 1991, 1993], "period", "period", 1, 0),
        (["2019q4", "2020q4"], "year", "quarter", 4, 0),
    ],
)
def test_the_step_can_be_set(times, step, unit, length, missing):
    info = build(times, time_step=step).info
    assert info["time_axis"] == {"name": "t", "unit": unit, "step": length}
    assert info["periods"]["gaps"]["missing_periods"] == 3 * missing


def test_lags_follow_the_step():
    n_day = build(DAYS, "y ~ lag(x) + (1 | g)", time_step="day").info["n_obs"]
    n_period = build(DAYS, "y ~ lag(x) + (1 | g)", time_step="period").info["n_obs"]
    assert (n_day, n_period) == (3 * 4, 3 * 5)


@pytest.mark.parametrize("step", [0, -1, float("nan"), "fortnight", "month"])
def test_steps_that_mean_nothing(step):
    with pytest.raises(DataError) as refused:
        build([1, 2, 3], time_step=step, where="analyses.a.formula")
    assert str(refused.value).startswith("analyses.a.time_step: The time step is")


def test_labels_stay_as_the_data_have_them():
    frame = build([dt.date(2020, m, 1) for m in (1, 2, 3)])
    rows = frame.con.execute(f'SELECT DISTINCT "{frame.time_label}" AS t FROM {frame.table} ORDER BY t').fetchall()
    assert [str(r[0])[:10] for r in rows] == ["2020-01-01", "2020-02-01", "2020-03-01"]
    assert (frame.info["periods"]["first"][:10], frame.info["periods"]["last"][:10]) == ("2020-01-01", "2020-03-01")


def test_time_can_be_a_predictor_a_factor_and_a_slope_at_once():
    frame = build([2000, 2001, 2002, 2003], "y ~ t + C(t) + (t | g)")
    assert (frame.time, frame.fixed[1]) == ("t", "t")
    assert frame.random[0].blocks == (("(Intercept)", "t"),)
    assert [c.factor for c in frame.columns] == [None, "C(t)", "C(t)", "C(t)"]


def test_many_groups_and_times_are_counted_without_sorting():
    """The count by bits agrees with the count by sorting."""
    rng = np.random.default_rng(4)
    panel = pd.DataFrame({"g": rng.integers(0, 200, 5000), "t": rng.integers(0, 300, 5000), "y": rng.normal(size=5000)})
    info = build_frame(open_source(panel), "y ~ 1 + (1 | g)", time="t").info
    keys = panel[["g", "t"]].drop_duplicates()
    spans = keys.groupby("g")["t"].agg(["min", "max", "count"])
    missing = spans["max"] - spans["min"] + 1 - spans["count"]
    assert info["duplicates"]["count"] == 5000 - len(keys)
    gaps = {"groups_with_gaps": int((missing > 0).sum()), "missing_periods": int(missing.sum())}
    assert info["periods"]["gaps"] == gaps
    sparse = panel.assign(t=panel["t"] * 1000.0 + 0.5)  # whole numbers no more: sorted
    info = build_frame(open_source(sparse), "y ~ 1 + (1 | g)", time="t").info
    assert (info["periods"]["gaps"], info["duplicates"]["count"]) == (gaps, 5000 - len(keys))
