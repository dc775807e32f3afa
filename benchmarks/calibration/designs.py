"""Nested panels drawn from a known model, reduced to moments by NumPy: a truth for intervals, tests and the choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hierreport.moments import LagMoments, Moments, PanelMoments
from hierreport.spec import LevelSpec, ModelSpec

ONE = "(Intercept)"
BETA = {ONE: 1.0, "x": 0.5, "z": -0.3}


@dataclass(frozen=True)
class Design:
    """y = 1 + 0.5 x − 0.3 z + sector + firm (+ slope of x by firm) + e; x varies within firms, z only between them.

    Attributes:
        sectors: groups of the outer level; 0 for two levels.
        firms: firms in all.
        rows: rows per firm, fewest and most (drawn evenly between).
        sector, firm, slope: sds of random coefficients; corr that of firm intercepts and slopes.
        sigma: sd of the errors, rho their autocorrelation within firms.
    """

    name: str
    firms: int
    rows: tuple[int, int]
    sectors: int = 0
    sector: float = 0.0
    firm: float = 0.0
    slope: float = 0.0
    corr: float = 0.0
    sigma: float = 1.0
    rho: float = 0.0

    @property
    def level(self) -> str:
        """Path of the innermost level."""
        return "sector/firm" if self.sectors else "firm"

    def spec(self, sector: int = 0, firm: int = 0, errors: str = "iid") -> ModelSpec:
        """A model with so many random coefficients (none, intercept, slope of x too) at each level."""
        terms = (ONE, "x")
        random = [LevelSpec("sector", (terms[:sector],))] if sector else []
        if firm:
            random.append(LevelSpec(self.level, (terms[:firm],)))
        return ModelSpec(tuple(BETA), tuple(random), errors)

    @property
    def true_spec(self) -> ModelSpec:
        """The model that the data come from."""
        firm = 0 if not self.firm else 2 if self.slope else 1
        return self.spec(int(self.sector > 0), firm, "ar1" if self.rho else "iid")

    def draw(self, random: np.random.Generator) -> PanelMoments:
        """One panel, with lagged moments."""
        low, high = self.rows
        n = random.integers(low, high + 1, self.firms)
        if self.sectors:
            # Every sector has a firm at least; the others fall where they fall when the panel is unbalanced.
            member = np.arange(self.firms) % self.sectors
            if low != high:
                member[self.sectors :] = random.integers(0, self.sectors, self.firms - self.sectors)
            member = np.sort(member)
        else:
            member = np.zeros(self.firms, dtype=int)
        firm = np.repeat(np.arange(self.firms), n)
        rows = len(firm)
        x = random.normal(size=rows) + 0.5 * random.normal(size=self.firms)[firm]
        z = random.normal(size=self.firms)[firm]
        half = np.array([[1.0, 0.0], [self.corr, np.sqrt(1.0 - self.corr**2)]])
        u = (half @ random.normal(size=(2, self.firms))) * np.array([[self.firm], [self.slope]])
        first = np.diff(firm, prepend=-1) > 0
        e = random.normal(size=rows)
        if self.rho:
            for i in np.flatnonzero(~first):
                e[i] = self.rho * e[i - 1] + np.sqrt(1.0 - self.rho**2) * e[i]
        y = 1.0 + 0.5 * x - 0.3 * z + u[0, firm] + u[1, firm] * x + self.sigma * e
        if self.sector:
            y += self.sector * random.normal(size=self.sectors)[member[firm]]
        return reduce(np.column_stack([np.ones(rows), x, z, y]), firm, member if self.sectors else None)

    def truth(self, moments: Moments) -> dict[str, float]:
        """True values by ``intervals.Quantity.name``; shares of variance are those of the rows drawn."""
        total = moments.products.sum(axis=2)
        mean = total[0, 1] / total[0, 0]
        x = moments.shift[1] + moments.scale[1] * mean
        x2 = moments.scale[1] ** 2 * (total[1, 1] / total[0, 0] - mean**2) + x**2
        firm = self.firm**2 + 2 * self.corr * self.firm * self.slope * x + self.slope**2 * x2
        whole = self.sector**2 + firm + self.sigma**2
        out = {f"fixed {term}": value for term, value in BETA.items()}
        out |= {
            f"sd {self.level} {ONE}": self.firm,
            f"sd {self.level} x": self.slope,
            f"correlation {self.level} {ONE} x": self.corr,
            f"sd sector {ONE}": self.sector,
            "sigma": self.sigma,
            f"icc {self.level}": firm / whole,
            "icc sector": self.sector**2 / whole,
            "icc residual": self.sigma**2 / whole,
        }
        return out


def reduce(w: np.ndarray, firm: np.ndarray, member: np.ndarray | None) -> PanelMoments:
    """Moments and lagged moments of rows in order of firm and time, one period apart."""
    shift, scale = w.mean(axis=0), w.std(axis=0)
    shift[0], scale[0] = 0.0, 1.0
    scale[scale == 0] = 1.0
    v = (w - shift) / scale
    v[:, 0] = 1.0
    starts = np.flatnonzero(np.diff(firm, prepend=-1))
    products = np.add.reduceat(v[:, :, None] * v[:, None, :], starts, axis=0).transpose(1, 2, 0).copy()
    firms = np.array([f"f{i:04d}" for i in range(len(starts))])
    levels, labels, parents = ("firm",), (firms,), np.array([0])
    if member is not None:
        levels, labels = ("sector", "sector/firm"), (np.array([f"s{i:03d}" for i in member]), firms)
        parents = np.flatnonzero(np.diff(member, prepend=-1))
    n = np.diff(np.append(starts, len(w)))
    moments = Moments(
        (*BETA, "y"),
        shift,
        scale,
        levels,
        labels,
        n,
        products,
        np.arange(4),
        np.add.reduceat(products, parents, axis=2),
    )
    step = np.flatnonzero(np.diff(firm, prepend=-1) == 0)
    late, early = v[step], v[step - 1]
    group, begin = np.unique(firm[step], return_index=True)

    def summed(product: np.ndarray) -> np.ndarray:
        return np.add.reduceat(product, begin, axis=0).transpose(1, 2, 0).copy()

    cross = late[:, :, None] * early[:, None, :]
    begins = (v[starts][:, :, None] * v[starts][:, None, :]).transpose(1, 2, 0)
    lags = None
    if len(step):
        lags = LagMoments(
            group, np.ones(len(group)), np.diff(np.append(begin, len(step))),
            summed(late[:, :, None] * late[:, None, :]), summed(cross + cross.transpose(0, 2, 1)),
            summed(early[:, :, None] * early[:, None, :]), begins,
        )  # fmt: skip
    return PanelMoments(moments, lags)


COVERAGE = (
    Design("6 groups of 10", 6, (10, 10), firm=0.65),
    Design("20 groups of 8", 20, (8, 8), firm=0.65),
    Design("20 groups of 2-20", 20, (2, 20), firm=0.65),
    Design("20 groups of 8, small ICC", 20, (8, 8), firm=0.25),
    Design("100 groups of 5", 100, (5, 5), firm=0.65),
    Design("100 groups of 1-12", 100, (1, 12), firm=0.65),
    Design("slopes, 15 groups of 10", 15, (10, 10), firm=0.65, slope=0.4, corr=0.3),
    Design("slopes, 60 groups of 4-10", 60, (4, 10), firm=0.65, slope=0.4, corr=0.3),
    Design("three levels, 8 sectors of 8 firms of 5", 64, (5, 5), 8, 0.5, 0.65),
    Design("three levels, 30 sectors, 180 firms of 2-8", 180, (2, 8), 30, 0.5, 0.65),
)
