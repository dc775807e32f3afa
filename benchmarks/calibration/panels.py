"""Panels with a known truth, clean or with one fault planted, for calibrating the checks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A panel's shape and the model that is true for it.

    Attributes:
        name: what it is.
        sectors: groups of the outer level; 1 means that there is none.
        firms: groups per sector.
        periods: rows per group, (fewest, most); fewer than the most are a random stretch with random gaps.
        intercept_sd, slope_sd, sector_sd: sds of random intercepts and slopes (of x) by group, intercepts by sector.
        sigma: residual sd.
        year: dummies of the period in the model, with shocks of that sd in the data.
        levels: whether the predictor x has a mean of its own in each group (share of its variance).
        centre: mean of the outcome.
    """

    name: str
    sectors: int = 1
    firms: int = 50
    periods: tuple[int, int] = (10, 10)
    intercept_sd: float = 1.0
    slope_sd: float = 0.0
    sector_sd: float = 0.0
    sigma: float = 1.0
    year: float = 0.0
    levels: float = 0.5
    centre: float = 1.0

    @property
    def formula(self) -> str:
        """The true model in lme4's notation."""
        slope = "1 + x" if self.slope_sd else "1"
        group = "sector/firm" if self.sector_sd else "firm"
        random = f"({slope} | firm)" if not self.sector_sd else f"({slope} | firm) + (1 | sector)"
        del group
        return f"y ~ x + z{' + C(t)' if self.year else ''} + {random}"


SHAPES = (
    Shape("balanced, 50 groups of 10"),
    Shape("unbalanced, 200 groups of 1-12 with gaps", firms=200, periods=(1, 12), intercept_sd=0.7),
    Shape("random slopes, 80 groups of 8-14", firms=80, periods=(8, 14), slope_sd=0.5),
    Shape("three levels with year dummies, 10 sectors of 12 groups of 8", 10, 12, (8, 8), 1.0, 0.0, 0.7, year=0.5),
    Shape("short, 400 groups of 4", firms=400, periods=(4, 4)),
    Shape("long, 8 groups of 150", firms=8, periods=(150, 150)),
    Shape("groups nearly everything, 60 groups of 6-9", firms=60, periods=(6, 9), intercept_sd=8.0),
    Shape("no group effect at all, 60 groups of 8", firms=60, periods=(8, 8), intercept_sd=0.0),
    Shape("positive outcome, 60 groups of 10", firms=60, centre=9.0),
)


@dataclass(frozen=True)
class Fault:
    """A fault to plant: its name, the check that must find it, its size in words, and how to make it."""

    name: str
    check: str
    size: str
    shape: Shape
    options: dict[str, Any] = field(default_factory=dict)
    formula: str | None = None


def draw(shape: Shape, rng: np.random.Generator, **fault: Any) -> dict[str, np.ndarray]:
    """Columns sector, firm, t, x, z, y of one panel.

    Args:
        fault: rho (AR(1) errors), re ("exponential", "two groups"), errors ("t3", "exponential"), trend (residual sd
            times exp(trend · standardised fitted value)), group_sd (sd of log residual sd between groups), row (an
            outlier of that many sigma), group (an outlying group of that many intercept sds), between (extra
            coefficient of the group mean of x), curve (sd of an added square of x, in sigma), common (sd of period
            shocks that hit all groups alike), shock (the same, with a loading of its own sign and size per group),
            slope (sd of an unmodelled slope of z), size (correlation of group size and intercept), leverage (a group
            with three times the range of x and a coefficient higher by this), power (of the outcome made positive),
            alike (correlation of x and z within and between groups), missing (share of rows without z, more in groups
            with a high intercept).
    """
    groups = shape.sectors * shape.firms
    low, high = shape.periods
    count = rng.integers(low, high + 1, groups) if high > low else np.full(groups, high)
    intercept = standard(fault.get("re"), rng, groups)
    if fault.get("size"):
        wanted = fault["size"] * standard_scores(count + rng.uniform(0, 0.5, groups)) if high > low else 0.0
        intercept = wanted + np.sqrt(1 - fault["size"] ** 2) * intercept
    if fault.get("group"):
        intercept[rng.integers(groups)] = fault["group"]
    firm = np.repeat(np.arange(groups), count)
    t = (
        np.concatenate([np.sort(rng.choice(high, k, replace=False)) for k in count])
        if high > low
        else np.tile(np.arange(high), groups)
    )
    n = len(firm)
    centre = np.sqrt(shape.levels) * rng.standard_normal(groups)
    x = centre[firm] + np.sqrt(1 - shape.levels) * rng.standard_normal(n)
    z = rng.standard_normal(n)
    if fault.get("alike"):
        z = fault["alike"] * x + np.sqrt(1 - fault["alike"] ** 2) * z
    fixed = shape.centre + 0.5 * x - 0.3 * z + fault.get("between", 0.0) * centre[firm]
    effect = shape.intercept_sd * intercept[firm] + shape.slope_sd * rng.standard_normal(groups)[firm] * x
    effect += shape.sector_sd * rng.standard_normal(shape.sectors)[firm // shape.firms]
    if fault.get("slope"):
        effect += fault["slope"] * rng.standard_normal(groups)[firm] * z
    if shape.year:
        effect += shape.year * rng.standard_normal(high)[t]
    if fault.get("common"):
        effect += fault["common"] * rng.standard_normal(high)[t]
    if fault.get("shock"):
        effect += fault["shock"] * rng.standard_normal(high)[t] * rng.standard_normal(groups)[firm]
    errors = standard(fault.get("errors"), rng, n)
    if fault.get("rho"):
        errors = autoregressive(errors, firm, t, fault["rho"])
    if fault.get("trend"):
        errors *= np.exp(fault["trend"] * standard_scores(fixed + effect))
    if fault.get("group_sd"):
        errors *= np.exp(fault["group_sd"] * rng.standard_normal(groups))[firm]
    if fault.get("row"):
        errors[rng.integers(n)] = fault["row"]
    curve = fault.get("curve", 0.0) * standard_scores(x**2)
    y = fixed + effect + shape.sigma * (errors + curve)
    if fault.get("leverage"):
        mine = firm == 0
        x[mine] *= 3.0
        y[mine] += (0.5 + fault["leverage"]) * x[mine] - 0.5 * x[mine] / 3.0
    if fault.get("power"):
        y = (y - y.min() + 3.0) ** fault["power"]
    if fault.get("missing"):
        chance = 2.0 * fault["missing"] / (1.0 + np.exp(-2.0 * standard_scores(intercept)))
        z = np.where(rng.random(n) < chance[firm], np.nan, z)
    names = np.array([f"f{i:05d}" for i in range(groups)], dtype=object)
    return {
        "sector": np.array([f"s{s:02d}" for s in firm // shape.firms], dtype=object),
        "firm": names[firm],
        "t": t,
        "x": x,
        "z": z,
        "y": y,
    }


def standard(kind: str | None, rng: np.random.Generator, n: int) -> np.ndarray:
    """n draws with mean 0 and variance 1."""
    if kind == "exponential":
        return rng.exponential(size=n) - 1.0
    if kind == "t3":
        return rng.standard_t(3, n) / np.sqrt(3.0)
    if kind == "two groups":
        return (np.where(rng.random(n) < 0.5, -1.0, 1.0) + 0.3 * rng.standard_normal(n)) / np.sqrt(1.09)
    return rng.standard_normal(n)


def standard_scores(x: np.ndarray) -> np.ndarray:
    """x with mean 0 and sd 1."""
    return (x - x.mean()) / x.std()


def autoregressive(noise: np.ndarray, firm: np.ndarray, t: np.ndarray, rho: float) -> np.ndarray:
    """AR(1) within groups, over gaps."""
    out = noise.copy()
    for i in range(1, len(out)):
        if firm[i] == firm[i - 1]:
            phi = rho ** (t[i] - t[i - 1])
            out[i] = phi * out[i - 1] + np.sqrt(1 - phi**2) * noise[i]
    return out


BASE, MIDDLE, LARGE = SHAPES[0], SHAPES[2], replace(SHAPES[0], name="balanced, 100 groups of 10", firms=100)
UNEVEN = replace(SHAPES[1], name="unbalanced, 200 groups of 2-12 with gaps", periods=(2, 12), intercept_sd=1.0)
CLEAR = replace(LARGE, intercept_sd=2.0)
FAULTS = (
    Fault("AR(1) errors", "serial_correlation", "rho 0.4", BASE, {"rho": 0.4}),
    Fault("AR(1) errors, short panel", "serial_correlation", "rho 0.4, 400 groups of 4", SHAPES[4], {"rho": 0.4}),
    Fault("shocks shared by all", "shared_shocks", "sd 0.4 sigma", BASE, {"common": 0.4}),
    Fault(
        "shocks with loadings, year dummies in the model",
        "shared_shocks",
        "sd 1.5 sigma",
        replace(BASE, name="balanced, 50 groups of 10, year dummies", year=0.5),
        {"shock": 1.5},
    ),
    Fault(
        "skewed group effects",
        "random_effects_normal",
        "exponential, 100 groups, sd 2 sigma",
        CLEAR,
        {"re": "exponential"},
    ),
    Fault(
        "two kinds of groups",
        "random_effects_normal",
        "two humps 2 sd apart, 100 groups, sd 2 sigma",
        CLEAR,
        {"re": "two groups"},
    ),
    Fault("heavy tails", "residuals_normal", "t with 3 df", LARGE, {"errors": "t3"}),
    Fault("skewed errors", "residuals_normal", "exponential", LARGE, {"errors": "exponential"}),
    Fault(
        "variance grows with the level",
        "constant_variance",
        "sd × 1.35 per sd of the fitted value",
        LARGE,
        {"trend": 0.3},
    ),
    Fault("groups of unequal noise", "variance_across_groups", "sd of log sd 0.5", LARGE, {"group_sd": 0.5}),
    Fault("outlying row", "outlying_rows", "7 sigma", LARGE, {"row": 7.0}),
    Fault("outlying group", "outlying_groups", "8 sd", LARGE, {"group": 8.0}),
    Fault(
        "random effects correlated with x",
        "within_between",
        "between-group coefficient 1 higher",
        LARGE,
        {"between": 1.0},
    ),
    Fault("curve", "nonlinearity", "square of x with sd 0.5 sigma", BASE, {"curve": 0.5}),
    Fault("missed slope", "missed_slopes", "sd of the slopes of z 0.5 sigma", BASE, {"slope": 0.5}),
    Fault("outcome not on its scale", "transformation", "square root of the outcome is normal", BASE, {"power": 2.0}),
    Fault(
        "one group decides",
        "influence",
        "one group with three times the range of x and a coefficient higher by 1",
        BASE,
        {"leverage": 1.0},
    ),
    Fault("collinear predictors", "collinearity", "correlation 0.999", BASE, {"alike": 0.999}),
    Fault("informative group size", "balance", "correlation 0.5", UNEVEN, {"size": 0.5}),
    Fault(
        "slopes that are not there",
        "random_part",
        "two, with correlations",
        replace(BASE, name="balanced, 20 groups of 6", firms=20, periods=(6, 6)),
        formula="y ~ x + z + (1 + x + z | firm)",
    ),
    Fault("few groups", "adequacy", "4 groups of 150", replace(SHAPES[5], name="long, 4 groups of 150", firms=4)),
    Fault(
        "the outcome's past as a predictor",
        "lagged_outcome",
        "lag of one period, 10 periods",
        BASE,
        formula="y ~ lag(y) + x + z + (1 | firm)",
    ),
    Fault("rows dropped where the outcome is high", "dropped_rows", "30 % of the rows", BASE, {"missing": 0.3}),
)
