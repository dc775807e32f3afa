"""Pairs of overlapping panels from one truth: the size of the test of a change is counted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from case_moments import reduce_rows

from hierreport.history import noise
from hierreport.mixed import MixedFit, fit
from hierreport.spec import LevelSpec, ModelSpec

TERMS = ("(Intercept)", "x", "z")
SPEC = ModelSpec(TERMS, (LevelSpec("g", (("(Intercept)", "x"),)),))


@dataclass(frozen=True)
class Case:
    """How two panels of one truth overlap.

    before, now: (first, last + 1) periods of every group; new, gone: groups in one run alone; revised: share of the
    present rows whose outcome has new noise; uneven: error variances that differ between groups, against the model.
    """

    name: str
    groups: int
    before: tuple[int, int] = (0, 8)
    now: tuple[int, int] = (0, 8)
    new: int = 0
    gone: int = 0
    revised: float = 0.0
    uneven: bool = False
    shift: float = 0.0  # of the slope of z in what is added: the power


CASES = (
    Case("a period for each of 100 groups", 100, now=(0, 9)),
    Case("a period for each of 12 groups", 12, now=(0, 9)),
    Case("20 groups beside 60", 60, new=20),
    Case("one group beside 40", 40, new=1),
    Case("ten groups of 50 gone", 50, gone=10),
    Case("a window that moves on, 80 groups", 80, before=(0, 8), now=(2, 10)),
    Case("5 % of the outcomes revised, 80 groups", 80, revised=0.05),
    Case("a period for each of 100 groups, error variances uneven", 100, now=(0, 9), uneven=True),
)


def pair(case: Case, random: np.random.Generator) -> tuple[MixedFit, MixedFit]:
    """The model fitted to both panels of a case."""
    count, periods = case.groups + case.new, max(case.before[1], case.now[1])
    g, t = np.repeat(np.arange(count), periods), np.tile(np.arange(periods), count)
    x = random.normal(size=count)[g] + random.normal(size=len(g))
    z = random.normal(size=len(g))
    sd = np.exp(0.5 * random.normal(size=count))[g] if case.uneven else 1.0
    effects = random.normal(size=(count, 2)) * (1.0, 0.3)
    added = (g >= case.groups) | (t >= case.before[1])
    systematic = 1.0 + effects[g, 0] + (0.5 + effects[g, 1]) * x - (0.2 - case.shift * added) * z
    y = systematic + sd * random.normal(size=len(g))
    later = np.where(random.random(len(g)) < case.revised, systematic + sd * random.normal(size=len(g)), y)
    fits = []
    for (first, last), outcome, kept in (
        (case.before, y, g < case.groups),
        (case.now, later, g >= case.gone),
    ):
        rows = kept & (t >= first) & (t < last)
        w = np.column_stack([np.ones(len(g)), x, z, outcome])[rows]
        fits.append(fit(reduce_rows(w, (*TERMS, "y"), [g[rows].astype(str)], ("g",)), SPEC))
    return fits[0], fits[1]


def nested(case: Case) -> str:
    """Which panel holds the other."""
    if case.revised or (case.before[0] != case.now[0]) or (case.new and case.gone):
        return ""
    return "before" if case.gone else "now"


def rejections(case: Case, draws: int, seed: int, level: float = 0.05) -> dict[str, tuple[float, int]]:
    """Share of draws in which a change is called more than noise, and the number of draws with a test, per term."""
    random = np.random.default_rng(seed)
    p: dict[str, list[float]] = {t: [] for t in TERMS}
    for _ in range(draws):
        found = noise.compare(*pair(case, random), nested(case))
        for t in TERMS:
            if found.terms[t]["p"] is not None:
                p[t].append(found.terms[t]["p"])
    return {t: (float(np.mean(np.array(v) < level)) if v else float("nan"), len(v)) for t, v in p.items()}
