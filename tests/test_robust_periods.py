"""Two-way clusters and Driscoll-Kraay against sandwich and plm."""

from __future__ import annotations

import json
from pathlib import Path

import case_moments
import numpy as np
import pytest
import reference_cases as references

from hierreport import mixed, robust_periods
from hierreport.errors import ModelError

PANELS = json.loads((Path(__file__).parent / "robust_reference" / "reference.json").read_text())["panel"]


def standard_errors(found) -> dict[str, float]:
    return {f.term: f.se for f in found.fixed}


def fitted(name: str) -> mixed.MixedFit:
    return mixed.fit(case_moments.panel(name).moments, references.case(name).model_spec("pooled"))


@pytest.mark.parametrize("theirs", PANELS, ids=lambda r: r["case"])
@pytest.mark.parametrize("source", ["period_moments", "stratum_moments"])
def test_two_way_agrees_with_sandwich(theirs, source):
    name = theirs["case"]
    cells = getattr(case_moments, source)(case_moments.panel(name))
    fit = fitted(name)
    if name == "p_dup_time" and source == "period_moments":
        with pytest.raises(ModelError, match="3 cells of group and period have several rows"):
            robust_periods.two_way(fit, cells)
        return
    for kind in ("CR0", "CR1"):
        found = robust_periods.two_way(fit, cells, kind=kind)
        assert standard_errors(found) == pytest.approx(theirs[kind], rel=1e-10)
    if "outer_CR0" in theirs:
        # Not positive semidefinite here: sandwich's fix = TRUE sets negative eigenvalues to zero, as we do.
        outer = case_moments.panel(name).moments.levels[0]
        found = robust_periods.two_way(fit, cells, outer, "CR0")
        assert standard_errors(found) == pytest.approx(theirs["outer_CR0"], rel=1e-10)
        assert any("negative eigenvalues" in note for note in found.notes)


@pytest.mark.parametrize("theirs", [p for p in PANELS if "driscoll_kraay" in p], ids=lambda r: r["case"])
def test_driscoll_kraay_agrees_with_plm(theirs):
    panel = case_moments.panel(theirs["case"])
    fit = fitted(theirs["case"])
    for cells in (case_moments.period_moments(panel), case_moments.stratum_moments(panel)):
        for entry in theirs["driscoll_kraay"]:
            found = robust_periods.driscoll_kraay(fit, cells, entry["lag"])
            assert standard_errors(found) == pytest.approx(entry["se"], rel=1e-10)


def test_weighted_cells():
    # The same rows with weights, through both kinds of cells, and by the definition with the rows themselves.
    panel = case_moments.panel("grunfeld")
    weights = 0.5 + (np.arange(len(panel.w)) % 5) / 4
    names = panel.moments.columns
    moments = case_moments.reduce_rows(panel.w, names, [panel.keys["firm"]], ("firm",), weights)
    fit = mixed.fit(moments, references.case("grunfeld").model_spec("pooled"))
    stored = (panel.w - moments.shift) / moments.scale
    weighted = case_moments.Panel(moments, panel.w, panel.keys, panel.code, panel.time)
    periods = case_moments.period_moments(weighted)
    scaled = type(periods)(
        periods.periods, periods.total, periods.count, periods.group, periods.period,
        (stored * weights[:, None])[np.lexsort([panel.time, panel.code])].T, periods.cell_count,
    )  # fmt: skip
    x = panel.columns(fit.ml_state.criterion.problem.basis.fixed)
    bread = np.linalg.inv(x.T @ (weights[:, None] * x))
    beta = bread @ x.T @ (weights * panel.y)
    scores = x * (weights * (panel.y - x @ beta))[:, None]
    middle = np.zeros_like(bread)
    for t in np.unique(panel.time):
        s = scores[panel.time == t].sum(axis=0)
        middle += np.outer(s, s)
    expected = bread @ middle @ bread
    found = np.array(robust_periods.driscoll_kraay(fit, scaled, 0).fixed_cov)
    assert np.abs(found - expected).max() < 1e-9 * np.abs(expected).max()


def test_bandwidth_follows_the_documented_rule():
    assert [robust_periods.bandwidth(t) for t in (2, 9, 20, 100, 101, 300)] == [1, 2, 2, 4, 4, 5]


def test_mixed_models_and_bad_arguments_are_refused():
    panel = case_moments.panel("grunfeld")
    cells = case_moments.period_moments(panel)
    mixed_fit = mixed.fit(panel.moments, references.case("grunfeld").model_spec("ri"))
    with pytest.raises(ModelError, match="for pooled OLS"):
        robust_periods.driscoll_kraay(mixed_fit, cells)
    with pytest.raises(ModelError, match="20 lags with 20 periods"):
        robust_periods.driscoll_kraay(fitted("grunfeld"), cells, 20)
    with pytest.raises(ModelError, match="no kind 'CR2'"):
        robust_periods.two_way(fitted("grunfeld"), cells, kind="CR2")


def test_from_a_file_through_sql():
    from hierreport import moments
    from hierreport.ingest import build_frame
    from hierreport.source import open_source
    from hierreport.spec import ModelSpec

    case = references.case("empluk")
    theirs = next(r for r in PANELS if r["case"] == "empluk")
    frame = build_frame(open_source(case.path), case.formula("ri"), time="year")
    reduced = moments.reduce(frame)
    fit = mixed.fit(reduced, ModelSpec(case.fixed_columns("pooled")))
    cells = (moments.reduce_periods(frame, reduced), moments.reduce_strata(frame, reduced, frame.time))
    for found in (robust_periods.two_way(fit, c) for c in cells):
        assert standard_errors(found) == pytest.approx(theirs["CR1"], rel=1e-9)
        assert found.clusters == {"sector/firm": 140, "period": 9}
