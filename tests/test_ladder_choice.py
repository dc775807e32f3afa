"""The choice: the climb, singular rungs and their simpler forms, error structures, AIC and BIC."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hierreport import rungs as ladder
from hierreport.errors import ModelError
from hierreport.records import Certificate, Estimate, RandomLevel, Rung
from hierreport.simplify import label, simpler
from hierreport.spec import LevelSpec, ModelSpec

ONE = "(Intercept)"
FIXED = (ONE, "x")
TERMS = (ONE, "x")
RANDOM = (LevelSpec("sector", (TERMS,)), LevelSpec("sector/firm", (TERMS,)))


def n_par(spec: ModelSpec) -> int:
    return (
        len(spec.fixed)
        + 1
        + sum(k * (k + 1) // 2 for s in spec.random for k in map(len, s.blocks))
        + (spec.errors != "iid")
    )


def estimate(
    spec: ModelSpec,
    loglik: float,
    *,
    covs: dict | None = None,
    singular: bool = False,
    converged: bool = True,
    rho=None,
) -> Estimate:
    """An estimate with the given log-likelihood; covariances are the identity unless given."""
    random = []
    for level in spec.random:
        k = len(level.terms)
        cov = np.asarray((covs or {}).get(level.level, np.eye(k)), dtype=float)[:k, :k]
        sd = np.sqrt(np.diag(cov))
        with np.errstate(invalid="ignore", divide="ignore"):
            corr = cov / np.outer(sd, sd)
        random.append(RandomLevel(level.level, list(level.terms), sd.tolist(), cov.tolist(), corr.tolist()))
    k = n_par(spec)
    n = 1000
    return Estimate(
        "ML",
        loglik,
        -2 * loglik,
        -2 * loglik + 2 * k,
        -2 * loglik + np.log(n) * k,
        k,
        1.0,
        rho,
        [],
        [],
        random,
        {"residual": 1.0},
        {"marginal": 0.5, "conditional": 0.5},
        converged,
        singular,
        Certificate(0.0, 1.0, None, 1, ""),
    )


class FakeEngine:
    """Stands in for mixed.fit: log-likelihoods by specification, so that only the ladder's logic is tested."""

    def __init__(self, answers: dict[ModelSpec, dict | str]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, panel, spec):
        self.asked.append(spec)
        answer = self.answers[spec]
        if isinstance(answer, str):
            raise ModelError(answer)
        found = estimate(spec, **answer)

        def record(rung, formula, df):
            groups = {s.level: 10 for s in spec.random}
            return Rung(rung, formula, 1000, groups, spec.errors, None, None, found, found)

        return SimpleNamespace(record=record)


PANEL = SimpleNamespace(columns=(ONE, "x", "y"), shift=np.array([0.0, 5.0, 0.0]), scale=np.array([1.0, 2.0, 1.0]))


def climb(answers: dict[str, dict | str], extra: dict[ModelSpec, dict] | None = None, errors=("iid",)) -> ladder.Ladder:
    rungs = ladder.derive(FIXED, RANDOM)
    by_spec = {}
    for name, spec in rungs:
        for kind in errors:
            key = name if kind == "iid" else f"{name}.{kind}"
            by_spec[ModelSpec(spec.fixed, spec.random, kind)] = answers[key]
    engine = FakeEngine(by_spec | (extra or {}))
    _, found = ladder.climb(PANEL, rungs, lambda s: f"y ~ x + {s.random}", errors=errors, fit=engine)
    return found


UK_FIRMS = {  # log-likelihoods of the shipped example, from lme4 and nlme
    "pooled": {"loglik": -831.3094},
    "random_intercept": {"loglik": 302.9526},
    "random_slope": {"loglik": 382.7817},
    "multilevel": {"loglik": 383.0098},
    "multilevel_slopes": {"loglik": 383.0186, "singular": True, "covs": {"sector": [[1.0, 0.5], [0.5, 0.25]]}},
    "pooled.ar1": {"loglik": 567.1300, "rho": 0.987},
    "random_intercept.ar1": {"loglik": 567.2501, "rho": 0.967},
    "random_slope.ar1": {"loglik": 606.3035, "rho": 0.985},
    "multilevel.ar1": {"loglik": 606.3500, "rho": 0.985},
    "multilevel_slopes.ar1": {"loglik": 606.4000, "rho": 0.985},
}
SIMPLER_TOP = ModelSpec(FIXED, (LevelSpec("sector", ((ONE,), ("x",))), RANDOM[1]))


def test_the_choice_among_iid_fits():
    found = climb(UK_FIRMS, {SIMPLER_TOP: {"loglik": 383.0120}})
    assert found.choice.rung == "random_slope"
    assert [(t.rung, t.against, t.accepted) for t in found.choice.path] == [
        ("pooled", "", True),
        ("random_intercept", "pooled", True),
        ("random_slope", "random_intercept", True),
        ("multilevel", "random_slope", False),
        ("multilevel_slopes", "random_slope", False),
    ]
    sector = next(c for c in found.comparisons if (c.null, c.alternative) == ("random_slope", "multilevel"))
    assert sector.consecutive
    assert sector.statistic == pytest.approx(0.456, abs=5e-4)
    assert sector.p_naive == pytest.approx(0.499, abs=1e-3)
    assert sector.p_boundary == pytest.approx(0.250, abs=1e-3)
    assert "p = 0.250" in found.choice.reason
    assert found.choice.errors == "iid"
    assert found.choice.agrees
    assert (found.choice.aic, found.choice.bic) == ("random_slope", "random_slope")


def test_the_error_structure_is_chosen_first():
    found = climb(UK_FIRMS, {SIMPLER_TOP: {"loglik": 383.0120}}, errors=("iid", "ar1"))
    assert found.choice.rung == "random_slope.ar1"
    assert found.choice.errors == "ar1"
    steps = {t.rung: t for t in found.choice.path}
    # given AR(1), firm intercepts alone add nothing; slopes are tested against pooled, and are needed
    assert not steps["random_intercept.ar1"].accepted
    assert steps["random_slope.ar1"].against == "pooled.ar1"
    assert steps["random_slope.ar1"].accepted
    assert "rho = 0" in found.choice.reason
    fates = {r["rung"]: r["fate"] for r in found.register}
    assert fates["random_slope.ar1"] == "chosen"
    assert "ar1 errors" in fates["random_slope"]
    first = next(c for c in found.comparisons if (c.null, c.alternative) == ("pooled.ar1", "random_intercept.ar1"))
    assert not first.exact
    assert {(c.null, c.alternative) for c in found.comparisons} >= {(n, f"{n}.ar1") for n in ("pooled", "random_slope")}


def test_ar1_is_not_taken_without_evidence():
    quiet = UK_FIRMS | {
        f"{n}.ar1": {"loglik": UK_FIRMS[n]["loglik"] + 0.5, "rho": 0.02} for n in UK_FIRMS if "." not in n
    }
    quiet["multilevel_slopes.ar1"] = {"loglik": 383.5186, "rho": 0.02}
    found = climb(quiet, {SIMPLER_TOP: {"loglik": 383.0120}}, errors=("iid", "ar1"))
    assert (found.choice.rung, found.choice.errors) == ("random_slope", "iid")
    assert "not needed" in found.choice.errors_reason


def test_a_correlation_at_its_limit_gives_way_to_independent_slopes():
    perfect = {"sector/firm": [[1.0, 0.5], [0.5, 0.25]]}
    answers = UK_FIRMS | {
        "random_slope": {"loglik": 382.0, "singular": True, "covs": perfect},
        "multilevel": {"loglik": 382.1, "singular": True, "covs": perfect},
        "multilevel_slopes": {"loglik": 382.2, "singular": True, "covs": perfect},
    }
    firm = LevelSpec("sector/firm", ((ONE,), ("x",)))
    extra = {
        ModelSpec(FIXED, (firm,)): {"loglik": 381.0},
        ModelSpec(FIXED, (LevelSpec("sector", ((ONE,),)), firm)): {"loglik": 391.0},
        ModelSpec(FIXED, (LevelSpec("sector", (TERMS,)), firm)): {"loglik": 391.5},
    }
    found = climb(answers, extra)
    assert list(found.rungs)[2:5] == ["random_slope", "random_slope_independent", "multilevel"]
    accepted = [t.rung for t in found.choice.path if t.accepted]
    # `multilevel` itself fits no better than the independent slopes by enough; only its own test decides
    assert accepted == ["pooled", "random_intercept", "random_slope_independent"]
    assert not found.rungs["random_slope"]["admissible"]
    assert found.rungs["random_slope_independent"]["admissible"]
    register = {r["rung"]: r["fate"] for r in found.register}
    assert "singular" in register["random_slope"]
    assert "random_slope_independent is tried" in register["random_slope"]


def test_a_correlation_at_its_limit_stays_where_independence_is_rejected():
    """uk_firms with AR(1) errors: 606.32 with a correlation of one, 595.97 with independent slopes."""
    perfect = {"sector/firm": [[1.0, 0.5], [0.5, 0.25]]}
    limits = ("random_slope.ar1", "multilevel.ar1", "multilevel_slopes.ar1")
    answers = UK_FIRMS | {n: UK_FIRMS[n] | {"singular": True, "covs": perfect} for n in limits}
    firm = LevelSpec("sector/firm", ((ONE,), ("x",)))
    extra = {
        SIMPLER_TOP: {"loglik": 383.0120},
        ModelSpec(FIXED, (firm,), "ar1"): {"loglik": 595.97},
        ModelSpec(FIXED, (LevelSpec("sector", ((ONE,),)), firm), "ar1"): {"loglik": 596.56},
        ModelSpec(FIXED, (LevelSpec("sector", (TERMS,)), firm), "ar1"): {"loglik": 598.60},
    }
    found = climb(answers, extra, errors=("iid", "ar1"))
    assert found.choice.rung == "random_slope.ar1"
    assert not found.rungs["random_slope.ar1"]["admissible"]
    step = next(t for t in found.choice.path if t.rung == "random_slope.ar1")
    assert step.accepted
    assert "random_slope_independent.ar1 fits worse (likelihood-ratio statistic 20.67" in step.reason
    assert "singular" in found.choice.reason
    later = next(t for t in found.choice.path if t.rung == "multilevel.ar1")
    assert (later.against, later.accepted) == ("random_slope.ar1", False)
    assert found.choice.agrees


def test_a_variance_of_zero_drops_the_term():
    flat = {"sector": [[1.0, 0.0], [0.0, 0.0]]}
    answers = UK_FIRMS | {
        "multilevel": {"loglik": 400.0},
        "multilevel_slopes": {"loglik": 405.0, "singular": True, "covs": flat},
    }
    found = climb(answers)
    # the simpler form is `multilevel` again: nothing new is fitted
    assert list(found.rungs) == ["pooled", "random_intercept", "random_slope", "multilevel", "multilevel_slopes"]
    assert found.choice.rung == "multilevel"
    assert "no simpler form" in {r["rung"]: r["fate"] for r in found.register}["multilevel_slopes"]


def test_a_refused_rung_does_not_stop_the_climb():
    answers = UK_FIRMS | {
        "random_slope": "too few groups",
        "multilevel": {"loglik": 390.0},
        "multilevel_slopes": "too few",
    }
    found = climb(answers)
    assert found.choice.rung == "multilevel"
    fates = {r["rung"]: r["fate"] for r in found.register}
    assert fates["random_slope"] == "refused: too few groups"
    assert next(r for r in found.register if r["rung"] == "random_slope")["loglik"] is None
    assert "random_slope" not in found.rungs
    assert next(t for t in found.choice.path if t.rung == "random_slope").p is None


def test_nothing_fitted_is_an_error():
    with pytest.raises(ModelError, match="too few"):
        climb(dict.fromkeys(UK_FIRMS, "too few"))


def test_a_fit_that_did_not_converge_is_not_chosen():
    answers = UK_FIRMS | {"multilevel": {"loglik": 500.0, "converged": False}}
    answers["multilevel_slopes"] = {"loglik": 382.9}
    found = climb(answers)
    assert found.choice.rung == "random_slope"
    assert "did not converge" in next(t for t in found.choice.path if t.rung == "multilevel").reason
    assert "Not admissible: multilevel" in found.choice.reason


def test_criteria_that_differ_are_explained():
    answers = UK_FIRMS | {"multilevel": {"loglik": 383.9}, "multilevel_slopes": {"loglik": 384.0}}
    found = climb(answers)
    assert found.choice.rung == "random_slope"  # p = 0.067 with the boundary taken into account
    assert (found.choice.aic, found.choice.bic) == ("multilevel", "random_slope")
    assert not found.choice.agrees
    assert "AIC prefers multilevel (lower by 0.2)" in found.choice.sentence
    assert "BIC chooses the same rung" in found.choice.sentence


def test_pooled_alone():
    engine = FakeEngine({ModelSpec(FIXED): {"loglik": -1.0}})
    _, found = ladder.climb(PANEL, ladder.derive(FIXED, ()), lambda s: "y ~ x", fit=engine)
    assert found.choice.rung == "pooled"
    assert found.comparisons == []
    assert "only rung" in found.choice.reason


def test_ladder_is_plain_json():
    import json

    found = climb(UK_FIRMS, {SIMPLER_TOP: {"loglik": 383.0120}}, errors=("iid", "ar1")).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) >= {"order", "rungs", "comparisons", "choice", "register"}
    assert set(found["comparisons"][0]) >= {"null", "alternative", "consecutive", "statistic", "df", "p_naive"}
    assert set(found["choice"]) >= {"rung", "reason", "path", "aic", "bic", "agrees", "sentence"}


class TestSimpler:
    spec = ModelSpec(FIXED, (LevelSpec("g", ((ONE, "x"),)),))

    def test_nothing_to_do_without_random_terms(self):
        assert simpler(ModelSpec(FIXED), estimate(ModelSpec(FIXED), 0.0)) is None

    def test_zero_slope_variance(self):
        form, note = simpler(self.spec, estimate(self.spec, 0.0, covs={"g": [[1, 0], [0, 0]]}))
        assert form.random == (LevelSpec("g", ((ONE,),)),)
        assert "slopes of x by g" in note
        assert label(self.spec, form) == "reduced"

    def test_both_zero_leaves_pooled(self):
        form, _ = simpler(self.spec, estimate(self.spec, 0.0, covs={"g": np.zeros((2, 2))}))
        assert form.random == ()

    def test_a_slope_variance_is_judged_by_the_size_of_its_column(self):
        tiny = estimate(self.spec, 0.0, covs={"g": [[1, 0.5e-6], [0.5e-6, 1e-12]]})
        form, _ = simpler(self.spec, tiny, {"x": (0.0, 1e6)})
        assert label(self.spec, form) == "independent"  # sd 1e-6 on a column of size 1e6 is as large as sigma
        form, _ = simpler(self.spec, tiny, {"x": (0.0, 1.0)})
        assert label(self.spec, form) == "reduced"

    def test_a_large_mean_is_not_a_correlation(self):
        """Two dependent blocks by raw correlation, one by centred columns: only that one is split."""
        spec = ModelSpec(FIXED, (LevelSpec("a", ((ONE, "x"),)), LevelSpec("a/b", ((ONE, "x"),))))
        back = np.array([[1.0, -1980.0], [0.0, 1.0]])  # from the centred year to the year
        healthy = back @ np.eye(2) @ back.T
        flat = back @ np.array([[1.0, 0.5], [0.5, 0.25]]) @ back.T
        form, _ = simpler(spec, estimate(spec, 0.0, covs={"a": healthy, "a/b": flat}), {"x": (1980.0, 2.5)})
        assert form.random == (LevelSpec("a", ((ONE, "x"),)), LevelSpec("a/b", ((ONE,), ("x",))))

    def test_a_factor_goes_only_as_a_whole(self):
        spec = ModelSpec(FIXED, (LevelSpec("g", ((ONE, "f[b]", "f[c]"),)),))
        form, _ = simpler(spec, estimate(spec, 0.0, covs={"g": np.diag([1.0, 0.0, 2.0])}))
        assert form.random == (LevelSpec("g", ((ONE,), ("f[b]",), ("f[c]",))),)
        form, _ = simpler(spec, estimate(spec, 0.0, covs={"g": np.diag([1.0, 0.0, 0.0])}))
        assert form.random == (LevelSpec("g", ((ONE,),)),)
