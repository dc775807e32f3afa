"""The bootstrap of serially correlated errors: rows against the moments, draws against a dense covariance, refits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy_panels import panel_moments

import hierreport
from hierreport import bootstrap_rows, mixed, moments
from hierreport.bootstrap import bootstrap, bootstrap_lrt
from hierreport.bootstrap_rows import Rows, RowSimulator, cell_rows, read_rows
from hierreport.bootstrap_serial import SerialFit, serial_pairs
from hierreport.errors import ModelError
from hierreport.spec import LevelSpec, ModelSpec

ONE = "(Intercept)"


def data(seed=1, rho=0.6, firms=20, most=7):
    """An unbalanced panel of sectors and firms with gaps in time."""
    rng = np.random.default_rng(seed)
    firm, time = [], []
    for f in range(firms):
        kept = np.sort(rng.choice(most + 3, size=rng.integers(3, most + 1), replace=False))
        firm += [f] * len(kept)
        time += list(kept)
    firm, time = np.array(firm), np.array(time)
    sector = firm % 4
    x = rng.normal(size=len(firm)) + 2
    gap = np.abs(time[:, None] - time[None, :])
    same = firm[:, None] == firm[None, :]
    e = np.linalg.cholesky(np.where(same, rho**gap, 0.0)) @ rng.normal(size=len(firm))
    y = 1 + 0.5 * x + 0.8 * rng.normal(size=firms)[firm] + 0.5 * rng.normal(size=4)[sector] + e
    order = np.lexsort((time, firm, sector))
    return {"x": x[order]}, y[order], {"sector": sector[order], "firm": firm[order]}, time[order]


def rows_of(panel, columns, y, groups, time):
    """Rows as the moments store them; the data are sorted by sector, firm (as text) and time."""
    ids = [g.astype(str) for g in groups.values()]
    order = sorted(range(len(y)), key=lambda i: (*(g[i] for g in ids), time[i]))
    m = panel.moments
    stored = (np.column_stack([np.ones(len(y)), *columns.values(), y])[order] - m.shift) / m.scale
    stored[:, 0] = 1.0
    key = np.array([f"{a}/{b}" for a, b in zip(ids[0], ids[1], strict=True)])[order]
    group = np.cumsum(np.append(True, key[1:] != key[:-1])) - 1
    when = time[order].astype(float)
    gap = np.append(0.0, np.diff(when))
    gap[np.append(True, np.diff(group) > 0)] = 0.0
    return Rows(stored, group, gap), order


SPECS = {
    "pooled": ModelSpec((ONE, "x"), (), "ar1"),
    "firm": ModelSpec((ONE, "x"), (LevelSpec("sector/firm", ((ONE, "x"),)),), "ar1"),
    "sector": ModelSpec((ONE, "x"), (LevelSpec("sector", ((ONE,),)), LevelSpec("sector/firm", ((ONE,),))), "ar1"),
    "car1": ModelSpec((ONE, "x"), (LevelSpec("sector/firm", ((ONE,),)),), "car1"),
}


class Unit:
    """Stands for a random generator: a single one among the normal numbers it is asked for."""

    def __init__(self, place):
        self.place, self.used = place, 0

    def standard_normal(self, shape):
        size = int(np.prod(shape))
        out = np.zeros(size)
        if 0 <= self.place - self.used < size:
            out[self.place - self.used] = 1.0
        self.used += size
        return out.reshape(shape)


@pytest.mark.parametrize("name", list(SPECS))
def test_draws_have_the_models_covariance(name, monkeypatch):
    columns, y, groups, time = data()
    panel = panel_moments(columns, y, groups, time=time)
    rows, order = rows_of(panel, columns, y, groups, time)
    state = mixed.fit(panel, SPECS[name]).reml_state
    simulator = RowSimulator(state, rows)
    count = Unit(-1)
    monkeypatch.setattr(bootstrap_rows, "generator", lambda seed, draw: count)
    simulator.draw(1, range(1))
    units = []
    for place in range(count.used):
        monkeypatch.setattr(bootstrap_rows, "generator", lambda seed, draw, place=place: Unit(place))
        units.append(simulator.draw(1, range(1))[:, 0])
    ours = np.array(units).T @ np.array(units)
    firm, when = groups["firm"][order], time[order]
    gap = np.abs(when[:, None] - when[None, :])
    theirs = state.sigma**2 * np.where(firm[:, None] == firm[None, :], state.rho**gap, 0.0)
    for number, level in enumerate(state.criterion.problem.levels):
        z = np.column_stack([np.ones(len(y)) if t == ONE else columns[t][order] for t in level.terms])
        key = groups[level.name.split("/")[-1]][order]
        theirs += z @ state.covariance(number) @ z.T * (key[:, None] == key[None, :])
    assert ours == pytest.approx(theirs, abs=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("method", ["ml", "reml"])
def test_refits_are_those_of_a_panel_with_the_drawn_outcome(name, method):
    columns, y, groups, time = data()
    panel = panel_moments(columns, y, groups, time=time)
    rows, order = rows_of(panel, columns, y, groups, time)
    state = mixed.fit(panel, SPECS[name]).state(method)
    drawn = RowSimulator(state, rows).draw(3, range(3))
    fits, rho = SerialFit(state, rows).fit(drawn)
    assert fits.converged.all()
    basis = state.criterion.problem.basis
    for d in range(3):
        outcome = np.empty(len(y))
        x = np.column_stack([np.ones(len(y)), columns["x"]])
        outcome[order] = drawn[:, d]
        again = mixed.fit(panel_moments(columns, outcome + x @ state.beta_raw, groups, time=time), SPECS[name])
        known = again.state(method)
        assert fits.value[d] == pytest.approx(known.optimum.value, abs=2e-6)
        assert rho[d] == pytest.approx(known.rho, abs=1e-3)
        assert fits.sigma[d] * basis.y_scale == pytest.approx(known.sigma, rel=2e-3)
        slope = fits.beta[d][1] * basis.y_scale / basis.p_x[1, 1]
        assert slope + state.beta_raw[1] == pytest.approx(known.beta_raw[1], abs=1e-3)


def test_an_iid_model_is_refitted_from_rows_too():
    columns, y, groups, time = data()
    panel = panel_moments(columns, y, groups, time=time)
    rows, _ = rows_of(panel, columns, y, groups, time)
    for spec in (replace(SPECS["sector"], errors="iid"), replace(SPECS["pooled"], errors="iid")):
        state = mixed.fit(panel, spec).ml_state
        basis = state.criterion.problem.basis
        x = rows.stored @ basis.transform[:, basis.x_index]
        observed = (rows.stored @ basis.transform[:, -1] - x @ state.evaluation.beta.real) * basis.y_scale
        fits, rho = SerialFit(state, rows).fit(observed[:, None])
        assert fits.value[0] == pytest.approx(state.optimum.value, abs=1e-8)
        assert np.isnan(rho[0])
        assert fits.beta[0] == pytest.approx(0.0, abs=1e-5)


def test_rows_read_from_a_panel_are_those_of_its_lagged_moments(example_data, tmp_path):
    lines = (example_data / "uk_firms.csv").read_text().splitlines()
    # Leave rows out, so that firms have gaps.
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join(line for i, line in enumerate(lines) if i % 9 != 4) + "\n")
    done = hierreport.fit(path, "log(emp) ~ log(wage) + (1 | sector/firm)", time="year", errors="ar1")
    rows, lags, moments = read_rows(done.frame, done.panel), done.panel.lags, done.panel.moments
    w = rows.stored
    begin = np.flatnonzero(rows.gap == 0)
    assert np.array_equal(np.diff(np.append(begin, len(w))), moments.n)
    products = np.add.reduceat(w[:, :, None] * w[:, None, :], begin, axis=0).transpose(1, 2, 0)
    assert products == pytest.approx(moments.products, abs=1e-10)
    assert set(np.unique(rows.gap)) == {0.0, *np.unique(lags.gap)} and len(np.unique(lags.gap)) > 1
    for j in range(0, len(lags.group), 7):
        steps = np.flatnonzero((rows.group == lags.group[j]) & (rows.gap == lags.gap[j]))
        assert len(steps) == lags.count[j]
        assert w[steps].T @ w[steps - 1] + w[steps - 1].T @ w[steps] == pytest.approx(lags.cross[..., j], abs=1e-10)


@pytest.mark.parametrize("weights", [None, "wage"])
def test_cells_of_group_and_period_hold_the_rows_too(example_data, tmp_path, weights):
    lines = (example_data / "uk_firms.csv").read_text().splitlines()
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join(line for i, line in enumerate(lines) if i % 9 != 4) + "\n")
    formula = "log(emp) ~ log(capital) + (1 | sector/firm)"
    done = hierreport.fit(path, formula, time="year", errors="ar1", weights=weights)
    panel = replace(done.panel, periods=moments.reduce_periods(done.frame, done.panel.moments))
    rows, cells = read_rows(done.frame, panel), cell_rows(panel)
    assert np.array_equal(rows.group, cells.group) and np.array_equal(rows.gap, cells.gap)
    assert cells.stored == pytest.approx(rows.stored, abs=1e-12)
    assert cell_rows(done.panel) is None


def test_from_python(example_data):
    path, formula = example_data / "us_states.csv", "log(gsp) ~ log(private) + unemp + (1 | region/state)"
    fit = hierreport.fit(path, formula, time="year", errors="ar1")
    found = fit.confint("bootstrap", draws=99).set_index("kind")
    assert found.loc["rho", "low"] < fit.reml.rho < found.loc["rho", "high"]
    ladder = hierreport.ladder(path, formula, time="year")
    test = ladder.bootstrap_lrt("random_intercept.ar1", "multilevel.ar1", 20)
    assert test.failures == 0 and 1 / 21 <= test.p <= 1


def test_bootstrap_gives_intervals_for_serial_correlation():
    columns, y, groups, time = data(firms=40)
    panel = panel_moments(columns, y, groups, time=time)
    rows, _ = rows_of(panel, columns, y, groups, time)
    fitted = mixed.fit(panel, SPECS["sector"])
    result = bootstrap(fitted, 120, seed=1, rows=rows)
    kinds = [q.kind for q in result.quantities]
    assert kinds.index("rho") == kinds.index("sigma") + 1
    rho = next(i for i in result.intervals() if i.kind == "rho")
    assert -1 < rho.low < rho.estimate == fitted.reml.rho < rho.high < 1
    assert result.failures == 0
    assert np.array_equal(result.draws[:30], bootstrap(fitted, 30, seed=1, rows=rows).draws, equal_nan=True)
    wald = next(e for e in fitted.reml.fixed if e.term == "x")
    assert np.std(result.draws[:, 1]) == pytest.approx(wald.se, rel=0.3)


def test_the_test_for_serial_correlation_is_chi_squared_under_independence():
    columns, y, groups, time = data(seed=2, rho=0.0, firms=60)
    panel = panel_moments(columns, y, groups, time=time)
    rows, _ = rows_of(panel, columns, y, groups, time)
    null, alternative = mixed.fit(panel, replace(SPECS["sector"], errors="iid")), mixed.fit(panel, SPECS["sector"])
    n = 150
    test = bootstrap_lrt(null, alternative, n, rows=rows)
    assert test.failures == 0
    assert np.mean(test.statistics) == pytest.approx(1.0, abs=4 * np.sqrt(2 / n))
    assert np.mean(test.statistics > 2.706) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / n))
    assert test.p == pytest.approx((1 + np.sum(test.statistics >= test.statistic)) / (n + 1))


def test_intercepts_beside_serial_correlation_never_lose_to_their_absence():
    columns, y, groups, time = data(seed=4, rho=0.9, firms=30)
    panel = panel_moments(columns, y, groups, time=time)
    rows, _ = rows_of(panel, columns, y, groups, time)
    null, alternative = mixed.fit(panel, SPECS["pooled"]), mixed.fit(panel, SPECS["sector"])
    base, other = serial_pairs(null.ml_state, alternative.ml_state, rows, 60, 2)
    assert (base.value - other.value).min() > -1e-6
    assert bootstrap_lrt(null, alternative, 20, rows=rows).share_zero > 0.1


def test_rows_are_asked_for_and_not_taken_when_too_many(example_data, monkeypatch):
    columns, y, groups, time = data()
    fitted = mixed.fit(panel_moments(columns, y, groups, time=time), SPECS["firm"])
    with pytest.raises(ModelError, match="serially correlated"):
        bootstrap(fitted, 10)
    formula = "log(emp) ~ log(wage) + (1 | sector/firm)"
    without = hierreport.fit(example_data / "uk_firms.csv", formula)
    with pytest.raises(ModelError, match="order of time"):
        read_rows(without.frame, without.panel)
    done = hierreport.fit(example_data / "uk_firms.csv", formula, time="year", errors="ar1")
    monkeypatch.setattr(bootstrap_rows, "LIMIT", 1000)
    with pytest.raises(ModelError, match="too many"):
        read_rows(done.frame, done.panel)
