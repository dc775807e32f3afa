"""Second opinions on frames: the whole panel, a random part of it, and disagreement."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import pytest

from hierreport import mixed, moments, rungs, verify
from hierreport.frame import Column, Frame
from hierreport.spec import LevelSpec, ModelSpec
from hierreport.verify import ours
from hierreport.verify import rows as rows_module

ONE = "(Intercept)"
FIXED = (ONE, "x", "f[b]")
RANDOM = (LevelSpec("a", ((ONE,),)), LevelSpec("a/b", ((ONE, "x"),)))


def make_frame(tops: int = 6, inner: int = 5, size: int = 8, weights: bool = False, seed: int = 3) -> Frame:
    """A panel of three levels with gaps in time and ids that are reused within every top-level group."""
    rng = np.random.default_rng(seed)
    con = duckdb.connect()
    data = []
    for a in range(tops):
        top = rng.normal(0, 3)
        for b in range(inner):
            level, slope, error = rng.normal(0, 2), rng.normal(0, 0.5), 0.0
            for t in sorted(rng.choice(2 * size, size, replace=False)):
                x, f = rng.normal(3, 2), rng.integers(0, 2)
                error = 0.5 * error + rng.normal()
                w = rng.uniform(0.5, 2)
                data.append(
                    (f"g{a}", f"h{b}", 1990 + int(t), x, "ab"[f], 2 + 0.3 * x + top + level + slope * x + error, w)
                )
    con.execute(
        'CREATE TABLE "panel" (a VARCHAR, b VARCHAR, t DOUBLE, x DOUBLE, f VARCHAR, y DOUBLE, w DOUBLE, __row BIGINT)'
    )
    con.executemany('INSERT INTO "panel" VALUES (?, ?, ?, ?, ?, ?, ?, ?)', [(*r, i + 1) for i, r in enumerate(data)])
    values = np.array([[r[3], r[4] == "b", r[5]] for r in data], dtype=float)
    names = ("x", "f[b]", "y")
    return Frame(
        con,
        '"panel"',
        Column("y", '"y"'),
        (Column("x", '"x"'), Column("f[b]", "CAST(\"f\" = 'b' AS DOUBLE)", "f", "b")),
        FIXED,
        RANDOM,
        ("a", "b"),
        ("a", "a/b"),
        "t",
        "w" if weights else None,
        dict(zip(names, values.mean(axis=0), strict=True)),
        dict(zip(names, values.std(axis=0), strict=True)),
        {"time_axis": {"kind": "number"}},
    )


def fit_records(frame: Frame, errors: tuple[str, ...] = ("iid",)) -> tuple[moments.PanelMoments, list[dict]]:
    first = moments.reduce(frame)
    lags = moments.reduce_lags(frame, first, 1.0) if len(errors) > 1 else None
    panel = moments.PanelMoments(first, lags)
    steps = rungs.derive(frame.fixed, frame.random, frame.levels)
    entries, _ = rungs.climb(panel, steps, lambda spec: "y ~ x + f", errors=errors)
    return panel, [e.to_dict() for e in entries]


def test_the_whole_panel_is_verified_rung_by_rung():
    frame = make_frame()
    panel, records = fit_records(frame, ("iid", "ar1"))
    found = verify.verify(frame, panel, records)
    assert found["ok"]
    assert found["subset"] is None
    assert found["max_relative_difference"] < 1e-9
    methods = {(e["rung"], e["kind"]): e["method"] for e in found["rungs"]}
    assert methods["pooled", "ML"] == "statsmodels"
    assert methods["random_intercept", "REML"] == "statsmodels"
    assert methods["random_slope", "ML"] == "statsmodels"
    assert methods["multilevel", "ML"] == "dense"  # slopes below another level: statsmodels cannot say that
    assert methods["random_slope.ar1", "REML"] == "dense"
    assert all(e["rows"] == 240 for e in found["rungs"])
    assert len(found["rungs"]) == 2 * len(records)


def test_nested_intercepts_go_through_variance_components():
    frame = replace(make_frame(), random=(LevelSpec("a", ((ONE,),)), LevelSpec("a/b", ((ONE,),))))
    panel, records = fit_records(frame)
    found = verify.verify(frame, panel, records)
    assert {e["method"] for e in found["rungs"] if e["rung"] == "multilevel"} == {"statsmodels"}
    assert found["max_relative_difference"] < 1e-10


def test_weights_are_verified_densely():
    frame = make_frame(weights=True)
    panel, records = fit_records(frame)
    found = verify.verify(frame, panel, records)
    assert found["max_relative_difference"] < 1e-9
    assert {e["method"] for e in found["rungs"]} == {"dense"}


@pytest.mark.parametrize(("tops", "inner", "size"), [(20, 8, 10), (3, 2, 200)])
def test_a_random_part_of_a_large_panel(monkeypatch, tops, inner, size):
    """Whole groups, then groups too long to be taken whole."""
    for name, value in (("MAX_ROWS", 500), ("MAX_BLOCK", 80), ("PART_ROWS", 300)):
        monkeypatch.setattr(rows_module, name, value)
    frame = make_frame(tops, inner, size)
    panel, records = fit_records(frame, ("iid", "ar1"))
    found = verify.verify(frame, panel, records, seed=7)
    assert found["ok"]
    assert found["max_relative_difference"] < 1e-9
    part = found["subset"]
    assert part["of_rows"] == tops * inner * size
    assert 100 < part["rows"] <= 300
    assert part["rows_per_group"] == (None if size == 10 else 20)
    assert part["seed"] == 7
    assert verify.verify(frame, panel, records, seed=7) == found
    if tops > 3:
        assert verify.verify(frame, panel, records, seed=8)["rungs"][0]["ours"] != found["rungs"][0]["ours"]


def fit_variants(frame: Frame, errors: tuple[str, ...] = ("iid",)) -> tuple[moments.PanelMoments, list[dict]]:
    first = moments.reduce(frame)
    panel = moments.PanelMoments(
        first,
        moments.reduce_lags(frame, first, 1.0),
        moments.reduce_periods(frame, first),
        {name: moments.reduce_strata(frame, first, name, step=1.0, periods=True) for name in ("f", "a")},
    )
    steps = rungs.derive(frame.fixed, frame.random, frame.levels)
    made = [
        rungs.climb(panel, steps, lambda spec: "y ~ x + f", errors=errors, variances="f", crossed="t")[0],
        rungs.climb(panel, steps[-1:], lambda spec: "y ~ x + f", variances="a")[0],
    ]
    return panel, [e.to_dict() | ({"rung": "by_a.var"} if e.spec.variances == "a" else {}) for m in made for e in m]


@pytest.mark.parametrize("weights", [False, True])
def test_unequal_variances_and_crossed_effects_are_verified_densely(weights):
    frame = make_frame(weights=weights)
    panel, records = fit_variants(frame, ("iid", "ar1"))
    found = verify.verify(frame, panel, records)
    assert found["max_relative_difference"] < 1e-9
    entries = {(e["rung"], e["kind"]): e for e in found["rungs"]}
    combined = [f"{rung}.{v}" for rung in ("pooled", "multilevel") for v in ("ar1.var", "ar1.time", "var.time")]
    combined += ["pooled.ar1.var.time", "multilevel.ar1.var.time"]
    for rung in ("pooled.var", "random_slope.var", "multilevel.var", "by_a.var", "pooled.time", *combined):
        assert entries[rung, "REML"]["method"] == "dense", rung
        assert entries[rung, "ML"]["ok"] and entries[rung, "REML"]["ok"]
        assert entries[rung, "ML"]["rows"] == 240


@pytest.mark.parametrize(("tops", "inner", "size"), [(20, 8, 10), (3, 2, 200)])
def test_variants_on_a_random_part(monkeypatch, tops, inner, size):
    for name, value in (("MAX_ROWS", 500), ("MAX_BLOCK", 80), ("PART_ROWS", 300)):
        monkeypatch.setattr(rows_module, name, value)
    monkeypatch.setattr(verify, "MAX_CROSSED", 150)
    frame = make_frame(tops, inner, size)
    panel, records = fit_variants(frame, ("iid", "ar1"))
    found = verify.verify(frame, panel, records)
    assert found["max_relative_difference"] < 1e-9
    rows = {e["rung"]: e["rows"] for e in found["rungs"]}
    assert 100 < rows["multilevel.time"] == rows["multilevel.ar1.var.time"] <= 150
    assert rows["multilevel.ar1.var"] == rows["multilevel.var"]
    assert 100 < rows["multilevel.var"] <= 300
    record = next(r for r in records if r["rung"] == "multilevel.var")
    read = ours.part_of

    def without_a_cell(*args, **kwargs):
        """A part whose moments by stratum miss a cell."""
        part = read(*args, **kwargs)
        cells = part.strata["f"]
        cells = replace(cells, products=cells.products * (np.arange(len(cells.n)) > 0))
        return replace(part, strata=part.strata | {"f": cells})

    monkeypatch.setattr(ours, "part_of", without_a_cell)
    assert not verify.verify(frame, panel, [record])["ok"]


def test_weights_on_a_random_part(monkeypatch):
    for name, value in (("MAX_ROWS", 500), ("MAX_BLOCK", 80), ("PART_ROWS", 300)):
        monkeypatch.setattr(rows_module, name, value)
    frame = make_frame(20, 8, 10, weights=True)
    panel, records = fit_records(frame)
    assert verify.verify(frame, panel, records)["max_relative_difference"] < 1e-9


def test_a_wrong_number_is_found():
    frame = make_frame()
    panel, records = fit_records(frame)
    slope = next(r for r in records if r["rung"] == "random_slope")
    slope["ml"]["loglik"] *= 1 + 3e-6
    found = verify.verify(frame, panel, records)
    assert not found["ok"]
    assert [(e["rung"], e["kind"]) for e in found["rungs"] if not e["ok"]] == [("random_slope", "ML")]
    assert found["max_relative_difference"] == pytest.approx(3e-6, rel=1e-3)


def test_wrong_estimates_are_found_on_a_part_too(monkeypatch):
    """Moments that are not those of the rows: one group's sums are off."""
    for name, value in (("MAX_ROWS", 500), ("MAX_BLOCK", 80), ("PART_ROWS", 10_000)):
        monkeypatch.setattr(rows_module, name, value)
    frame = make_frame(20, 8, 10)
    panel, records = fit_records(frame)
    m = panel.moments
    broken = moments.PanelMoments(replace(m, products=m.products * np.where(np.arange(len(m.n)) % 9 == 0, 1.001, 1.0)))
    assert not verify.verify(frame, broken, records)["ok"]


def test_refused_rungs_are_passed_over():
    frame = make_frame()
    panel, records = fit_records(frame)
    refused = rungs.Entry("extra", ModelSpec(FIXED), "y ~ x", "extra", refused="no").to_dict()
    assert len(verify.verify(frame, panel, [*records, refused])["rungs"]) == 2 * len(records)


def test_the_engine_is_not_reused():
    """Nothing of the engine is imported by the second engines."""
    import ast
    import inspect

    from hierreport.verify import dense, peer

    for module in (dense, peer, rows_module):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hierreport"):
                assert node.module in {
                    "hierreport.spec",
                    "hierreport.frame",
                    "hierreport.reduce",
                    "hierreport.variants",
                }, node.module


def test_rows_keep_ids_apart_that_are_reused():
    frame = make_frame(3, 2, 4)
    found = rows_module.read(frame)
    assert len(np.unique(found.codes["a"])) == 3
    assert len(np.unique(found.codes["a/b"])) == 6
    assert mixed.fit(moments.reduce(frame), ModelSpec(FIXED, RANDOM)).groups == {"a": 3, "a/b": 6}


@pytest.mark.parametrize("time", [None, "t"])
def test_without_groups(monkeypatch, time):
    """Pooled OLS of one long series: all rows, or the first ones where serial correlation would make them dense."""
    monkeypatch.setattr(rows_module, "MAX_BLOCK", 60)
    frame = make_frame(1, 1, 100)
    frame = replace(frame, random=(), groups=(), levels=(), time=time)
    panel, records = fit_records(frame, ("iid", "ar1") if time else ("iid",))
    found = verify.verify(frame, panel, records)
    assert found["ok"]
    assert found["max_relative_difference"] < 1e-9
    assert {e["rows"] for e in found["rungs"]} == {60 if time else 100}
    assert len(found["rungs"]) == (4 if time else 2)
