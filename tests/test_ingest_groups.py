"""Nesting told from the formula or the data, reused ids, crossed groupings, sizes, and shares of variance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hierreport.errors import DataError
from hierreport.ingest import build_frame
from hierreport.source import open_source
from hierreport.spec import LevelSpec

ONE = (("(Intercept)",),)


def make_panel(unique: bool) -> pd.DataFrame:
    """Three regions, four states each (ids unique or used again in each region), six rows per state."""
    rng = np.random.default_rng(2)
    index = pd.MultiIndex.from_product([["N", "S", "W"], range(4), range(6)])
    panel = index.to_frame(index=False, name=["region", "state", "year"])
    if unique:
        panel["state"] = panel["region"] + panel["state"].astype(str)
    panel["x"], panel["y"] = rng.normal(size=len(panel)), rng.normal(size=len(panel))
    return panel


def build(panel, random, fixed="y ~ x"):
    return build_frame(open_source(panel), f"{fixed} + {random}")


@pytest.mark.parametrize(
    "random",
    [
        "(1 | region/state)",
        "(1 | region) + (1 | region:state)",
        "(1 | state:region) + (1 | region)",
        "(1 | state) + (1 | region)",
        "(1 | region) + (1 | state)",
    ],
)
def test_all_ways_to_write_two_levels(random):
    frame = build(make_panel(unique=True), random)
    assert frame.groups == ("region", "state")
    assert frame.levels == ("region", "region/state")
    assert frame.random == (LevelSpec("region", ONE), LevelSpec("region/state", ONE))


def test_reused_ids_are_safe_where_the_nesting_is_written():
    frame = build(make_panel(unique=False), "(1 | region/state)")
    assert frame.info["structure"]["region/state"]["groups"] == 12
    with pytest.raises(DataError) as refused:
        build(make_panel(unique=False), "(1 | state) + (1 | region)")
    message = str(refused.value)
    assert "The groups of state are not nested in region: 4 of 4 lie in more than one; 0 lies in 3 (N, S, W)" in message
    assert "(… | region/state)" in message


def test_a_single_mover_breaks_implicit_nesting():
    panel = make_panel(unique=True)
    panel.loc[5, "region"] = "W"
    with pytest.raises(DataError, match=r"1 of 12 lie in more than one; N0 lies in 2 \(N, W\)"):
        build(panel, "(1 | state) + (1 | region)")
    assert build(panel, "(1 | region/state)").info["structure"]["region/state"]["groups"] == 13


def test_nesting_is_told_from_the_rows_that_are_used():
    panel = make_panel(unique=True)
    panel.loc[5, "region"] = "W"
    panel.loc[5, "x"] = np.nan
    assert build(panel, "(1 | state) + (1 | region)").levels == ("region", "region/state")


def test_crossed_groupings_are_refused():
    with pytest.raises(DataError, match="Crossed groupings are not supported"):
        build(make_panel(unique=True), "(1 | state) + (1 | year)")


def test_only_the_inner_level_of_a_pair():
    frame = build(make_panel(unique=False), "(x | region:state)")
    assert (frame.groups, frame.levels) == (("region", "state"), ("region", "region/state"))
    assert frame.random == (LevelSpec("region/state", (("(Intercept)", "x"),)),)


def test_several_terms_of_one_level_are_independent_blocks():
    frame = build(make_panel(unique=False), "(1 | region/state) + (0 + x | region:state)")
    assert frame.random == (LevelSpec("region", ONE), LevelSpec("region/state", (("(Intercept)",), ("x",))))
    double = build(make_panel(unique=False), "(x || region/state)")
    assert double.random[1] == LevelSpec("region/state", (("(Intercept)",), ("x",)))
    implicit = build(make_panel(unique=True), "(1 | region) + (1 | region:state) + (0 + x | state)")
    assert implicit.random == frame.random
    with pytest.raises(DataError, match="two random coefficients at the level region/state"):
        build(make_panel(unique=False), "(x | region:state) + (1 | region:state)")


def test_three_levels_from_the_data():
    panel = make_panel(unique=True)
    panel["country"] = np.where(panel["region"] == "W", "B", "A")
    panel = pd.concat([panel, panel.assign(country="C", region=panel["region"] + "c", state=panel["state"] + "c")])
    frame = build(panel, "(1 | state) + (x | country) + (1 | region)")
    assert frame.levels == ("country", "country/region", "country/region/state")
    assert [s.blocks for s in frame.random] == [(("(Intercept)", "x"),), ONE, ONE]


def test_groups_that_cannot_be_told_apart():
    panel = make_panel(unique=True)
    panel["code"] = panel["state"] + "!"
    with pytest.raises(DataError, match="state and code are the same groups"):
        build(panel, "(1 | state) + (1 | code)")
    panel["state"] = panel["region"]
    with pytest.raises(DataError, match="Every group of region has a single group of region/state"):
        build(panel, "(1 | region/state)")


def test_levels_without_replication():
    panel = make_panel(unique=True)
    panel["id"] = [f"i{i}" for i in range(len(panel))]
    with pytest.raises(DataError, match="All 72 groups of id are groups of size 1"):
        build(panel, "(1 | id)")
    panel["all"] = "x"
    with pytest.raises(DataError, match="all has only 1 group"):
        build(panel, "(1 | all)")
    with pytest.raises(DataError, match="all has only 1 group"):
        build(panel, "(1 | all/state)")


def test_sizes_and_singletons():
    panel = make_panel(unique=True).drop(index=[*range(1, 6), 10, 11])
    frame = build(panel, "(1 | region/state)")
    assert frame.info["structure"] == {
        "region": {
            "groups": 3,
            "rows_per_group": {"min": 17, "median": 24.0, "max": 24, "mean": 65 / 3},
            "singletons": 0,
            "balanced": False,
        },
        "region/state": {
            "groups": 12,
            "rows_per_group": {"min": 1, "median": 6.0, "max": 6, "mean": 65 / 12},
            "singletons": 1,
            "balanced": False,
        },
    }
    messages = {w["code"]: w["message"] for w in frame.info["warnings"]}
    assert messages["singletons"] == "1 of 12 groups of region/state are groups of size 1."
    assert messages["few_groups"].startswith("region has few groups (3)")


def test_shares_of_variance_are_the_anova_decomposition():
    panel = make_panel(unique=False)
    panel["x"] += panel["region"].map({"N": 0, "S": 2, "W": 5}) + panel["state"] * 0.7
    panel = panel.drop(index=[0, 1, 2, 30, 31, 60])
    frame = build(panel, "(1 | region/state)")
    (entry,) = [v for v in frame.info["variables"] if v["name"] == "x"]
    state = panel.groupby(["region", "state"])["x"].transform("mean")
    region = panel.groupby("region")["x"].transform("mean")
    grand = panel["x"].mean()
    total = ((panel["x"] - grand) ** 2).sum()
    assert entry["share_within"] == pytest.approx(((panel["x"] - state) ** 2).sum() / total, rel=1e-10)
    assert entry["share_between"]["region/state"] == pytest.approx(((state - region) ** 2).sum() / total, rel=1e-10)
    assert entry["share_between"]["region"] == pytest.approx(((region - grand) ** 2).sum() / total, rel=1e-10)
    assert (entry["mean"], entry["sd"]) == (pytest.approx(grand), pytest.approx(panel["x"].std()))
    assert (entry["min"], entry["max"]) == (panel["x"].min(), panel["x"].max())


def test_a_variable_far_from_zero_keeps_its_shares():
    panel = make_panel(unique=False)
    before = build(panel, "(1 | region/state)").info["variables"][1]
    panel["x"] += 1e8
    after = build(panel, "(1 | region/state)").info["variables"][1]
    assert after["share_within"] == pytest.approx(before["share_within"], rel=1e-6)
    assert after["sd"] == pytest.approx(before["sd"], rel=1e-6)


@pytest.mark.parametrize("kind", ["int", "float", "text", "category", "bool", "date"])
def test_ids_of_any_type_become_text(kind):
    panel = make_panel(unique=False)
    ids = {
        "int": panel["state"],
        "float": panel["state"].astype(float),
        "text": panel["state"].astype(str),
        "category": panel["state"].astype("category"),
        "bool": panel["state"] > 1,
        "date": pd.to_datetime("2020-01-01") + pd.to_timedelta(panel["state"], "D"),
    }[kind]
    frame = build(panel.assign(state=ids), "(1 | region/state)")
    labels = frame.con.execute(f"SELECT DISTINCT state FROM {frame.table} ORDER BY state").fetchall()
    wanted = {"bool": ["FALSE", "TRUE"], "date": [f"2020-01-0{i}" for i in range(1, 5)]}.get(kind, list("0123"))
    assert [r[0].split(" ")[0] for r in labels] == wanted


def test_a_group_can_be_a_predictor_too():
    panel = make_panel(unique=False)
    frame = build(panel, "(1 | region/state)", "y ~ x + region + state + C(state) + year")
    assert frame.groups[0] == "region"
    table = frame.con.execute(f"SELECT * FROM {frame.table}").fetchnumpy()
    assert table["state"].dtype == float
    assert sorted(set(table[frame.groups[1]])) == list("0123")
    assert frame.fixed[-3:] == ("state[1]", "state[2]", "state[3]") or "year" in frame.fixed


def test_pooled_needs_no_groups():
    frame = build_frame(open_source(make_panel(unique=False)), "y ~ x")
    assert (frame.groups, frame.levels, frame.random) == ((), (), ())
    assert frame.info["structure"] == {}
    assert frame.info["variables"][0]["share_within"] == 1.0


def test_shares_of_a_factor_are_those_of_its_dummies_together():
    panel = make_panel(unique=False)
    rng = np.random.default_rng(8)
    panel["f"] = rng.choice(["a", "b", "c"], len(panel), p=[0.5, 0.3, 0.2])
    panel.loc[panel["region"] == "N", "f"] = "a"
    panel = panel.drop(index=[3, 9, 40])
    (entry,) = build(panel, "(1 | region/state)", "y ~ f").info["factors"]
    dummies = pd.get_dummies(panel["f"]).astype(float)
    state = dummies.groupby([panel["region"], panel["state"]]).transform("mean")
    region = dummies.groupby(panel["region"]).transform("mean")
    total = ((dummies - dummies.mean()) ** 2).to_numpy().sum()
    assert entry["share_within"] == pytest.approx(((dummies - state) ** 2).to_numpy().sum() / total)
    assert entry["share_between"]["region/state"] == pytest.approx(((state - region) ** 2).to_numpy().sum() / total)
    assert entry["share_between"]["region"] == pytest.approx(((region - dummies.mean()) ** 2).to_numpy().sum() / total)
    (alone,) = build_frame(open_source(panel), "y ~ f").info["factors"]
    assert (alone["share_within"], alone["share_between"]) == (1.0, {})


def test_a_slope_of_a_group_level_variable_is_warned_of():
    panel = make_panel(unique=False)
    panel["z"] = panel["region"].map({"N": 0.1, "S": 2.2, "W": 5.3})
    panel["w"] = panel["z"] + panel["state"]
    frame = build(panel, "(1 + z | region) + (1 + w + x | region:state)", "y ~ x + z + w")
    told = [w["message"] for w in frame.info["warnings"] if w["code"] == "constant_slope"]
    assert [m.split(" does not vary within the groups of ") for m in told] == [
        ["z", "region: its slopes by region cannot be told apart from the intercepts."],
        ["w", "region/state: its slopes by region/state cannot be told apart from the intercepts."],
    ]
    assert "constant_slope" not in {w["code"] for w in build(panel, "(w | region)").info["warnings"]}
