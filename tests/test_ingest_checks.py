"""What is wrong with data is counted, warned of or refused, with the column, the number of rows and the first one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hierreport.errors import DataError, FormulaError, HierreportError
from hierreport.ingest import build_frame
from hierreport.source import open_source


def make_panel() -> pd.DataFrame:
    """Two sectors with three firms each, five years."""
    rng = np.random.default_rng(11)
    index = pd.MultiIndex.from_product([["S1", "S2"], ["a", "b", "c"], range(2000, 2005)])
    panel = index.to_frame(index=False, name=["sector", "firm", "year"])
    n = len(panel)
    panel["x"], panel["z"] = rng.lognormal(size=n), rng.normal(size=n)
    panel["y"] = rng.normal(size=n)
    panel["kind"] = np.where(np.arange(n) % 3 == 0, "lo", "hi")
    return panel


@pytest.fixture
def panel():
    return make_panel()


def build(panel: pd.DataFrame, formula: str = "y ~ x + z + (1 | sector/firm)", **options):
    return build_frame(open_source(panel), formula, **options)


def refusal(panel: pd.DataFrame, formula: str = "y ~ x + z + (1 | sector/firm)", **options) -> str:
    with pytest.raises(HierreportError) as refused:
        build(panel, formula, **options)
    return str(refused.value)


def codes(frame) -> list[str]:
    return [w["code"] for w in frame.info["warnings"]]


def test_a_clean_panel_has_nothing_to_report(panel):
    info = build(panel, time="year").info
    assert (info["n_obs"], info["rows_read"], info["rows_dropped"]) == (30, 30, 0)
    assert info["missing"] == {"sector": 0, "firm": 0, "x": 0, "z": 0, "y": 0}
    assert [w["code"] for w in info["warnings"]] == ["few_groups"]
    assert info["duplicates"] == {"count": 0, "examples": []}
    assert info["periods"] == {
        "first": 2000.0,
        "last": 2004.0,
        "count": 5,
        "gaps": {"groups_with_gaps": 0, "missing_periods": 0},
    }


def test_missing_values_are_dropped_and_counted_by_column_and_group(panel):
    panel.loc[[0, 1, 7], "x"] = np.nan
    panel.loc[[1, 2], "z"] = np.nan
    panel.loc[[20, 21, 22, 23, 24], "y"] = np.nan
    panel["sector"] = panel["sector"].astype(object)
    panel.loc[29, "sector"] = None
    info = build(panel).info
    assert (info["n_obs"], info["rows_dropped"]) == (20, 10)
    assert info["missing"] == {"sector": 1, "firm": 0, "x": 3, "z": 2, "y": 5}
    assert info["dropped_by_group"] == [
        {"group": "S2/b", "rows": 5},
        {"group": "S1/a", "rows": 3},
        {"group": "S1/b", "rows": 1},
        {"group": "(missing)/c", "rows": 1},
    ]
    assert info["groups_lost"] == ["S2/b"]
    assert info["structure"]["sector/firm"]["groups"] == 5


@pytest.mark.parametrize("empty", ["", None, np.nan])
def test_empty_ids_and_labels_are_missing(panel, empty):
    panel["firm"] = panel["firm"].astype(object)
    panel.loc[3, "firm"] = empty
    panel["kind"] = panel["kind"].astype(object)
    panel.loc[4, "kind"] = empty
    info = build(panel, "y ~ kind + (1 | sector/firm)").info
    assert (info["n_obs"], info["missing"]["firm"], info["missing"]["kind"]) == (28, 1, 1)
    assert [f["levels"] for f in info["factors"]] == [[{"level": "hi", "rows": 19}, {"level": "lo", "rows": 9}]]


def test_no_row_left(panel):
    panel["z"] = np.nan
    message = refusal(panel)
    assert "No row of 30 is complete" in message
    assert "z: 30" in message


def test_no_rows_at_all(panel):
    assert "here are no rows" in refusal(panel.iloc[:0].astype({"x": float}))


def test_log_of_a_non_positive_value(panel):
    panel.loc[[4, 17, 22], "x"] = [0, -1, -2]
    message = refusal(panel, "y ~ log(x) + (1 | sector/firm)", where="analyses.mine.formula")
    assert message.startswith(
        "analyses.mine.formula: log(x) is undefined for 3 rows where x <= 0; the first is row 5 (0.0)"
    )
    assert message.splitlines()[-1].index("^") - 4 == "y ~ log(x)".index("log")


def test_log_counts_only_rows_that_could_be_used(panel):
    panel.loc[[4, 17], "x"] = -1.0
    panel.loc[4, "z"] = np.nan
    assert "for 1 row where x <= 0; the first is row 18 (-1.0)" in refusal(panel, "y ~ log(x) + z + (1 | firm:sector)")
    panel.loc[17, "y"] = np.nan
    assert build(panel, "y ~ log(x) + z + (1 | firm:sector)").info["n_obs"] == 28


@pytest.mark.parametrize(
    ("formula", "value", "what"),
    [
        ("log(y) ~ x", -1.0, "log(y) is undefined for"),
        ("y ~ log10(x)", 0.0, "log10(x) is undefined for 1 row where x <= 0"),
        ("y ~ log2(x)", 0.0, "log2(x) is undefined for 1 row where x <= 0"),
        ("y ~ log1p(x)", -1.0, "log1p(x) is undefined for 1 row where x <= -1"),
        ("y ~ sqrt(x)", -0.5, "sqrt(x) is undefined for 1 row where x < 0"),
        ("y ~ I(1/x)", 0.0, "1/x is undefined for 1 row where x = 0"),
        ("y ~ I(z/(x - 2))", 2.0, "z/(x - 2) is undefined for 1 row where x - 2 = 0"),
        ("y ~ exp(x)", 1e4, "exp(x) is not a finite number in 1 row; the first is row 8 (inf)"),
        ("y ~ I(x^0.5)", -2.0, "I(x^0.5) is not a finite number in 1 row; the first is row 8 (nan)"),
        ("y ~ I(x^-1)", 0.0, "I(x^-1) is not a finite number in 1 row"),
        ("y ~ log(log(x + 2))", -1.0, "log(log(x + 2)) is undefined for 1 row where log(x + 2) <= 0"),
        ("y ~ x", np.inf, "The column x is infinite in 1 row; the first is row 8 (inf)"),
        ("y ~ log(x)", np.inf, "The column x is infinite in 1 row"),
        ("y ~ x", -np.inf, "The column x is infinite in 1 row; the first is row 8 (-inf)"),
        ("x ~ z", np.inf, "The column x is infinite in 1 row"),
        ("y ~ scale(x)", np.inf, "The column x is infinite in 1 row"),
    ],
)
def test_impossible_values(panel, formula, value, what):
    panel.loc[7, "x"] = value
    assert what in refusal(panel, formula)


def test_infinite_values_in_unused_rows_do_not_matter(panel):
    panel.loc[7, "x"] = np.inf
    panel.loc[7, "z"] = np.nan
    assert build(panel).info["n_obs"] == 29


def test_a_text_column_in_arithmetic(panel):
    panel["x"] = panel["x"].astype(str)
    panel.loc[12, "x"] = "n.a. yet"
    message = refusal(panel, "y ~ log(x) + (1 | sector/firm)")
    assert "The column x is text (VARCHAR), and arithmetic needs numbers" in message
    assert "'n.a. yet' (row 13)" in message


def test_numbers_spoilt_by_a_few_words_are_no_factor(panel):
    panel["x"] = panel["x"].astype(str)
    panel.loc[12, "x"] = "secret"
    assert "'secret' (row 13)" in refusal(panel, "y ~ x + (1 | sector/firm)")
    assert len(build(panel, "y ~ C(x) + (1 | sector/firm)").columns) == 29


def test_text_outcome(panel):
    assert "The outcome kind is text (VARCHAR)" in refusal(panel, "kind ~ x + (1 | sector/firm)")


def test_unknown_columns_are_pointed_at(panel):
    message = refusal(panel, "y ~ x + zz + (1 | sector/firm)")
    assert "There is no column zz" in message and "Did you mean z?" in message
    assert message.splitlines()[-1].index("^") - 4 == "y ~ x + ".index("+ ") + 2
    assert "Did you mean firm?" in refusal(panel, "y ~ x + (1 | Firm)")
    assert "Did you mean x?" in refusal(panel, "y ~ X + (1 | firm)")
    assert refusal(panel, time="yaer", where="analyses.a.formula").startswith(
        "analyses.a.time: There is no column yaer"
    )
    assert refusal(panel, weights="ww", where="analyses.a.formula").startswith("analyses.a.weights: There is no column")


def test_constant_outcome(panel):
    panel["y"] = 3.5
    assert "The outcome y is constant: 3.5 in all 30 rows used" in refusal(panel)


def test_a_constant_predictor_is_kept_and_named(panel):
    panel["z"] = 1.0
    frame = build(panel)
    assert frame.info["constant"] == ["z"]
    assert "constant" in codes(frame)


def test_binary_and_count_outcomes_are_warned_of(panel):
    assert codes(build(panel, "z > 0 ~ x")) == ["binary_outcome"]
    panel["y"] = np.where(panel["z"] > 0, 7.25, -1.5)
    assert codes(build(panel, "y ~ x")) == ["binary_outcome"]
    panel["y"] = panel["z"] > 0
    assert codes(build(panel, "y ~ x")) == ["binary_outcome"]
    panel["y"] = np.arange(30) % 7
    assert codes(build(panel, "y ~ x")) == ["count_outcome"]
    assert codes(build(panel, "log1p(y) ~ x")) == []
    panel["y"] = np.arange(30) * 1000.0 + 5
    assert codes(build(panel, "y ~ x")) == []
    panel["y"] = [-1.0, 0.0, 1.0] * 10
    assert codes(build(panel, "y ~ x")) == []


def test_duplicate_keys_are_warned_of_and_refused_where_order_matters(panel):
    panel.loc[panel.index[-1], "year"] = 2003
    panel.loc[6, "year"] = 2000
    frame = build(panel, time="year")
    assert "duplicate_keys" in codes(frame)
    assert frame.info["duplicates"] == {
        "count": 2,
        "examples": [{"group": "S1/b", "time": "2000", "rows": 2}, {"group": "S2/c", "time": "2003", "rows": 2}],
    }
    message = refusal(panel, "y ~ lag(x) + (1 | sector/firm)", time="year")
    assert "2 rows repeat a key: S1/b has 2 rows at 2000" in message


def test_gaps(panel):
    panel = panel.drop(index=[1, 2, 8, 29])
    info = build(panel, time="year").info
    assert info["periods"]["gaps"] == {"groups_with_gaps": 2, "missing_periods": 3}
    assert info["structure"]["sector/firm"]["balanced"] is False


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ([1.0] * 29 + [-1], "The weight w is negative in 1 row; the first is row 30 (-1.0)"),
        ([1.0] * 29 + [np.inf], "The column w is infinite in 1 row; the first is row 30"),
        (["a"] * 30, "The column w is text"),
    ],
)
def test_bad_weights(panel, weights, what):
    panel["w"] = weights
    message = refusal(panel, weights="w", where="analyses.a.formula")
    assert message.startswith("analyses.a.weights") or "infinite" in what
    assert what in message


def test_rows_without_weight_are_left_out(panel):
    panel["w"] = 2.0
    panel.loc[[3, 4], "w"] = 0.0
    panel.loc[5, "w"] = np.nan
    frame = build(panel, weights="w")
    assert (frame.info["n_obs"], frame.info["missing"]["w"], frame.weights) == (27, 1, "w")
    assert "zero_weights" in codes(frame)
    assert frame.con.execute(f"SELECT min(w), max(w) FROM {frame.table}").fetchone() == (2.0, 2.0)


def test_factor_levels(panel):
    panel["code"] = [10, 9, 2] * 10
    frame = build(panel, "y ~ C(code) + kind")
    assert frame.fixed == ("(Intercept)", "code[9]", "code[10]", "kind[lo]")
    assert build(panel, "y ~ C(code, ref='9')").fixed == ("(Intercept)", "code[2]", "code[10]")
    assert build(panel, "y ~ C(code, ref=10)").fixed == ("(Intercept)", "code[2]", "code[9]")
    message = refusal(panel, "y ~ C(kind, ref='loo')")
    assert "There is no level 'loo'" in message and "Did you mean 'lo'?" in message
    panel["code"] = panel["code"] / 4
    assert build(panel, "y ~ C(code)").fixed == ("(Intercept)", "code[2.25]", "code[2.5]")


def test_levels_that_no_used_row_has_are_dropped(panel):
    panel.loc[panel["kind"] == "lo", "x"] = np.nan
    frame = build(panel, "y ~ x + kind")
    assert frame.fixed == ("(Intercept)", "x")
    assert "one_level" in codes(frame)


def test_a_categorical_column_keeps_its_order(panel):
    panel["size"] = pd.Categorical(["small", "tiny", "large"] * 10, categories=["tiny", "small", "huge", "large"])
    assert build(panel, "y ~ size").fixed == ("(Intercept)", "size[small]", "size[large]")
    assert build(panel, "y ~ C(size)").fixed == ("(Intercept)", "size[small]", "size[large]")


def test_truth_values_are_a_factor(panel):
    panel["ok"] = panel["z"] > 0
    assert build(panel, "y ~ ok").fixed == ("(Intercept)", "ok[TRUE]")
    assert build(panel, "y ~ C(ok, ref=TRUE)").fixed == ("(Intercept)", "ok[FALSE]")
    assert build(panel, "y ~ I(ok * x)").fixed == ("(Intercept)", "I(ok * x)")


def test_thousands_of_levels_are_refused():
    n = 6000
    table = pd.DataFrame({"y": np.arange(n) % 17 * 0.5, "id": [f"id{i}" for i in range(n)]})
    assert "6000 levels are too many" in refusal(table, "y ~ id")


def test_dates_can_be_compared_and_are_days_as_numbers(panel):
    panel["day"] = pd.to_datetime("2020-01-01") + pd.to_timedelta(np.arange(30), "D")
    frame = build(panel, "y ~ I(day >= '2020-01-11') + day")
    row = frame.con.execute(
        f"SELECT {frame.columns[0].sql}, {frame.columns[1].sql} FROM {frame.table} WHERE __row = 11"
    )
    assert row.fetchone() == (1.0, 18272.0)
    assert frame.means["I(day >= '2020-01-11')"] == pytest.approx(2 / 3)
    assert "is not a date" in refusal(panel, "y ~ I(day > 'soon')")


def test_messages_name_types(panel):
    lists = pa.Table.from_pandas(panel.assign(many=[[1, 2]] * 30))
    with pytest.raises(FormulaError, match="The column many is of type"):
        build(lists, "y ~ many")
    with pytest.raises(FormulaError, match="The column many is of type"):
        build(lists, "y ~ x + (1 | many)")
    with pytest.raises(FormulaError, match="cannot be compared"):
        build(panel, "y ~ I(kind > x)")
    with pytest.raises(FormulaError, match="Drop the quotes"):
        build(panel, "y ~ I(x > '2')")
    with pytest.raises(DataError, match="time column many is of type"):
        build(lists, "y ~ x", time="many")


def test_an_outcome_that_is_text_is_refused_with_its_first_value(panel):
    panel["y"] = panel["y"].map("{:.2f}".format)
    panel.loc[3, "y"] = "7 %"
    said = refusal(panel)
    assert "The outcome y is text" in said and "'7 %' (row 4)" in said


def test_weights_of_zero_alone_are_refused(panel):
    panel["w"] = 0.0
    assert "No row of 30 is complete and of a weight above zero" in refusal(panel, weights="w")


def test_strata_of_residual_variances_are_any_column_of_categories(panel):
    panel["group"], panel["dose"] = np.arange(len(panel)) % 4, np.tile([0.5, 1.0, 2.5], 10)
    frame = build(panel, variances="group", time="year", weights="x")
    stored = frame.con.execute(f'SELECT DISTINCT "group" FROM {frame.table} ORDER BY 1').fetchall()
    assert [row[0] for row in stored] == ["0", "1", "2", "3"]
    for name in ("firm", "sector", "year"):  # what is in the table already is not stored again
        wide, narrow = (build(panel, time="year", **options) for options in ({"variances": name}, {}))
        assert (
            wide.con.execute(f"DESCRIBE {wide.table}").fetchall()
            == narrow.con.execute(f"DESCRIBE {narrow.table}").fetchall()
        )
    build(panel, "y ~ C(dose) + (1 | firm)", variances="dose")  # the formula says that these numbers are categories
    panel.loc[[3, 4], "kind"] = [None, ""]
    info = build(panel, variances="kind").info
    assert (info["n_obs"], info["missing"]["kind"]) == (28, 2)


def test_columns_that_give_no_strata_are_refused(panel):
    panel["one"], panel["code"] = "same", "k"
    panel["dose"] = np.tile([0.5, 1.0, 2.5], 10)
    message = refusal(panel, variances="knd", where="analyses.a.formula")
    assert "analyses.a.variances: there is no column 'knd' in the data. Did you mean kind?" in message
    assert "z is continuous (30 rows" in refusal(panel, variances="z")
    assert "dose is continuous (20 rows" in refusal(panel, variances="dose")
    assert "one has one value only" in refusal(panel, variances="one")
    many = pd.concat([panel.assign(firm=panel["firm"] + str(k), code=f"c{k}") for k in range(201)])
    assert "code has 201 values, and more than 200" in refusal(many, variances="code")
    spans = panel.assign(span=pd.to_timedelta(np.arange(len(panel)) % 3, unit="D"))
    assert "The column span is of type" in refusal(spans, variances="span")
