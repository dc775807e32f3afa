"""What the checks look at: the artifacts of one analysis, and the chosen rung's residuals as summaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..moments import Moments, PanelMoments
from .posterior import RowCovariance, row_covariance, to_stored, whitened_products

if TYPE_CHECKING:
    from ..frame import Frame
    from ..mixed import MixedFit
    from .rows import RowPass

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Effects:
    """Random effects of one level.

    Attributes:
        level: path of the level.
        terms: random coefficients. (k)
        labels: one text per group, outer ids first, joined by "/". (groups)
        n: rows per group. (groups,)
        starts: first innermost group of each group. (groups,)
        estimate, sd, se: BLUP, its conditional sd, its standard error of prediction. (k, groups)
        cov: covariance of the coefficients. (k, k)
    """

    level: str
    terms: tuple[str, ...]
    labels: list[str]
    n: np.ndarray
    starts: np.ndarray
    estimate: np.ndarray
    sd: np.ndarray
    se: np.ndarray
    cov: np.ndarray

    def scaled(self, k: int) -> np.ndarray:
        """BLUPs of term k over their own standard deviation, sqrt(Var(u) − Var(û − u)); NaN where there is none."""
        variance = self.cov[k, k]
        own = variance - self.se[k] ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(own > 1e-4 * variance, self.estimate[k] / np.sqrt(own), np.nan)

    def reliability(self, k: int) -> np.ndarray:
        """Share of a BLUP's variance that is signal, 1 − se²/Var(u), within [0, 1]. (groups,)"""
        variance = self.cov[k, k]
        if not variance > 0:
            return np.zeros(len(self.n))
        return np.clip(1.0 - self.se[k] ** 2 / variance, 0.0, 1.0)


@dataclass
class Evidence:
    """Inputs of every check. Expensive parts are made on first use and shared.

    Attributes:
        panel: panel.json.
        rung: name of the chosen rung.
        record: its JSON.
        frame: the model frame over panel.parquet.
        panel_moments: moments of the panel.
        source: where its random effects are: the file, or the fit itself.
        rungs: records of the other rungs by name.
        opinions: what verify.json says of the rung, by kind of estimate; empty where no second engine was asked.
    """

    panel: dict[str, Any]
    rung: str
    record: dict[str, Any]
    frame: Frame
    panel_moments: PanelMoments
    source: Path | MixedFit
    rungs: dict[str, dict[str, Any]] = field(default_factory=dict)
    opinions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def estimate(self) -> dict[str, Any]:
        """The REML estimates of the chosen rung."""
        return self.record["reml"]

    @property
    def moments(self) -> Moments:
        return self.panel_moments.moments

    @property
    def random(self) -> list[dict[str, Any]]:
        """Nested random part of the estimates, outermost level first (without a crossed time effect)."""
        return [r for r in self.estimate.get("random") or [] if r["level"] != self.record.get("crossed")]

    @property
    def sigma(self) -> float:
        return float(self.estimate["sigma"])

    @property
    def rho(self) -> float | None:
        """Correlation of errors one time step apart where the rung has AR(1) errors."""
        rho = self.estimate.get("rho")
        return float(rho) if self.record.get("errors", "iid") != "iid" and rho is not None else None

    @property
    def coefficients(self) -> dict[str, float]:
        """Fixed effects by term."""
        return {f["term"]: float(f["estimate"]) for f in self.estimate["fixed"]}

    @property
    def n_obs(self) -> int:
        return int(self.record["n_obs"])

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Levels in the chosen rung, outermost first."""
        return tuple(level["level"] for level in self.random)

    @cached_property
    def effects(self) -> dict[str, Effects]:
        """Random effects by level, outermost first."""
        if not self.random:
            return {}
        if isinstance(self.source, Path):
            from .loading import load_effects

            return load_effects(self, self.source)
        out = {}
        for level in self.random:
            found = self.source.effects(level["level"])
            out[level["level"]] = effects_record(self, level, found["estimate"], found["sd"], found["se_prediction"])
        return out

    @cached_property
    def period_effects(self) -> np.ndarray | None:
        """Predicted crossed effects in the order of time; None where the rung has none. (periods,)"""
        crossed = self.record.get("crossed")
        if not crossed:
            return None
        if not isinstance(self.source, Path):
            return self.source.effects(crossed)["estimate"][0]
        query = "SELECT estimate FROM read_parquet(?) WHERE level = ?"
        return self.frame.con.execute(query, [str(self.source), crossed]).fetchnumpy()["estimate"]

    @cached_property
    def row_covariance(self) -> RowCovariance:
        """Covariance of each innermost group's predicted coefficients."""
        products = None
        if self.rho is not None:
            if self.panel_moments.lags is None:
                raise DataError("AR(1) residuals need the panel's lagged moments.", do="Run the stage ingest again.")
            products = whitened_products(self.moments, self.panel_moments.lags, self.rho)
        terms = [f["term"] for f in self.estimate["fixed"]]
        cov = np.asarray(self.estimate["fixed_cov"], float)
        return row_covariance(self.moments, self.random, self.sigma, terms, cov, products)

    @cached_property
    def rows(self) -> RowPass:
        """Residuals, as a relation in SQL."""
        from .rows import RowPass

        return RowPass(self)

    def total_effects(self) -> dict[str, np.ndarray]:
        """Random coefficients summed over levels, per innermost group, by term. (G,) each"""
        groups = len(self.moments.n)
        out: dict[str, np.ndarray] = {}
        for effects in self.effects.values():
            node = np.searchsorted(effects.starts, np.arange(groups), side="right") - 1
            for k, term in enumerate(effects.terms):
                out[term] = out.get(term, 0.0) + effects.estimate[k][node]
        return out

    def residual_columns(self) -> np.ndarray:
        """Residuals as combinations of the stored columns: e = W a_g for the rows of innermost group g. (q, G)"""
        moments, coefficients = self.moments, self.coefficients
        a = np.zeros((len(moments.columns), len(moments.n)))
        a[-1], a[0] = moments.scale[-1], moments.shift[-1]
        terms = list(coefficients)
        if terms:
            a -= (to_stored(moments, terms) @ np.array([coefficients[t] for t in terms]))[:, None]
        for term, values in self.total_effects().items():
            a -= to_stored(moments, [term]) * values
        return a


def group_labels(moments: Moments, level: str) -> list[str]:
    """One text per group of a level, outer ids first, joined by "/"."""
    depth = moments.levels.index(level)
    starts = moments.starts(depth)
    parts = [moments.labels[d][starts] for d in range(depth + 1)]
    return ["/".join(str(p) for p in label) for label in zip(*parts, strict=True)]


def effects_record(
    evidence: Evidence, level: dict[str, Any], estimate: np.ndarray, sd: np.ndarray, se: np.ndarray
) -> Effects:
    """One level's effects with the counts and labels of its groups."""
    moments, name = evidence.moments, level["level"]
    starts = moments.starts(moments.levels.index(name))
    n = np.add.reduceat(moments.n, starts)
    cov = np.asarray(level["cov"], float)
    return Effects(name, tuple(level["terms"]), group_labels(moments, name), n, starts, estimate, sd, se, cov)
