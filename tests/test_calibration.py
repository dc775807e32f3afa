"""Calibration on a few panels with fixed seeds: what benchmarks/calibration shows on many must not break here.

Bounds are four Monte-Carlo standard errors of the share that the method promises (or that exact theory gives).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from hierreport.bootstrap import bootstrap
from hierreport.inference import fixed_effects
from hierreport.mixed import fit
from hierreport.profile import profile

HERE = Path(__file__).parent.parent / "benchmarks" / "calibration"


@pytest.fixture(scope="module")
def calibration():
    """Imports a script of benchmarks/calibration."""
    if not HERE.exists():
        pytest.skip("the benchmarks are not part of this distribution")
    sys.path.insert(0, str(HERE))
    yield importlib.import_module
    sys.path.remove(str(HERE))


def within(hits, promised):
    """Whether a share is as promised, up to four standard errors."""
    return abs(np.mean(hits) - promised) <= 4 * np.sqrt(promised * (1 - promised) / len(hits))


def test_intervals_cover_the_truth(calibration):
    """20 groups of 8: Satterthwaite, profile and bootstrap percentile intervals, and all shares of variance."""
    designs, running = calibration("designs"), calibration("running")
    design, runs = designs.COVERAGE[1], 100
    hits: dict[str, list[bool]] = {}
    for run in range(runs):
        panel = design.draw(running.stream(7, 0, run))
        done, truth = fit(panel, design.true_spec), design.truth(panel.moments)
        for effect in fixed_effects(done.reml_state)[0]:
            hits.setdefault(f"Wald {effect.term}", []).append(
                effect.ci_low <= truth[f"fixed {effect.term}"] <= effect.ci_high
            )
        drawn = bootstrap(done, 99, seed=run, workers=1).intervals()
        for interval in profile(done, method="reml") + [i for i in drawn if i.kind in ("fixed", "sigma")]:
            name = " ".join([interval.kind, *([interval.level] if interval.level else []), *interval.terms])
            hits.setdefault(f"{interval.method} {name}", []).append(interval.low <= truth[name] <= interval.high)
    assert len(hits) == 3 + 4 + 4
    assert {name: np.mean(h) for name, h in hits.items() if not within(h, 0.95)} == {}


def test_tests_at_the_boundary_reject_as_often_as_they_say(calibration):
    """A first intercept that is not there, 6 groups of 10: the naive and the corrected test are too shy."""
    lrt_size = calibration("lrt_size")
    runs = [lrt_size.once(3, 0, run) for run in range(150)]
    p = {kind: np.array([r[kind] for r in runs]) for kind in lrt_size.KINDS}
    assert (p["p_naive"] >= p["p_boundary"]).all()
    assert not any(r["failures"] for r in runs)
    for level in (0.05, 0.2):
        assert within(p["p_bootstrap"] <= level, level)
    # Corrected p-values can only err towards safety here: fewer groups, more zeros than one half.
    assert np.mean(p["p_boundary"] <= 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 150)
    # The statistic is zero where the likelihood falls from λ = 0 on: Σ_g(Σ_i e_gi)² <= Σ e², e the residuals of OLS.
    running, design = calibration("running"), lrt_size.CELLS[0].design
    for run in range(0, 150, 5):
        products = design.draw(running.stream(3, 0, run)).moments.products
        total = products.sum(axis=2)
        b = np.append(-np.linalg.solve(total[:3, :3], total[:3, 3]), 1.0)
        assert (np.sum((b @ products[:, 0]) ** 2) <= b @ total @ b) == bool(runs[run]["zero"])


def test_satterthwaite_holds_under_serial_correlation(calibration):
    """8 groups of 10, AR(1) errors of 0.5, rho estimated: as many degrees of freedom as between-group effects have."""
    serial = calibration("serial")
    found = [serial.once(11, 0, run) for run in range(120)]
    for term in ("(Intercept)", "x", "z"):
        assert within([f[term]["satterthwaite"][0] for f in found], 0.95), term
    df = {term: np.median([f[term]["satterthwaite"][1] for f in found]) for term in ("x", "z")}
    assert df["x"] > 30 and 4 < df["z"] < 8  # 8 groups, 2 coefficients that vary between them
    # The normal distribution is too sure of what varies between groups only.
    missed = [np.mean([not f["z"][m][0] for f in found]) for m in ("satterthwaite", "normal")]
    assert missed[1] > missed[0]


def test_the_choice_finds_what_is_there(calibration):
    choice = calibration("choice")
    for cell in (2, 3):
        found = [choice.once(5, cell, run)["right"] for run in range(4)]
        assert sum(found) >= 2


def test_results_do_not_depend_on_the_number_of_processes(calibration):
    running, lrt_size = calibration("running"), calibration("lrt_size")
    one, two = (running.replicate(lrt_size.once, 2, 2, 1, workers) for workers in (1, 2))
    assert one == two
    rate = running.rate([True] * 95 + [False] * 5)
    assert rate["rate"] == 0.95 and rate["error"] == pytest.approx(0.0243, abs=1e-3)
