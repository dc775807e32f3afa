"""What every section and figure is given: the artifacts, the names in words, the number format, and shortcuts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .artifacts import Artifacts
from .names import INTERCEPT, Names
from .numbers import Num, Numbers, finite, prose_decimals

if TYPE_CHECKING:
    from .coverage import Coverage


@dataclass
class Context:
    """Read-only view of one analysis for the presentation."""

    data: Artifacts
    options: dict[str, Any]

    @cached_property
    def names(self) -> Names:
        return Names.of(self.data.panel, self.options)

    @cached_property
    def num(self) -> Numbers:
        return Numbers(str(self.options.get("locale") or "en"))

    @property
    def panel(self) -> dict[str, Any]:
        return self.data.panel

    @cached_property
    def order(self) -> list[str]:
        """Rungs that have estimates, in the ladder's order, variants after them."""
        listed = [n for n in self.data.ladder.get("order", []) if n in self.data.rungs]
        return listed + [n for n in self.data.rungs if n not in listed]

    @cached_property
    def chosen(self) -> str:
        """Name of the chosen rung (the last fitted one where the ladder has no choice)."""
        name = (self.data.ladder.get("choice") or {}).get("rung")
        return name if name in self.data.rungs else self.order[-1]

    @property
    def record(self) -> dict[str, Any]:
        """The chosen rung's record."""
        return self.data.rungs[self.chosen]

    @property
    def estimate(self) -> dict[str, Any]:
        """The chosen rung's REML estimate, which the report shows."""
        return self.record["reml"]

    @property
    def random(self) -> list[dict[str, Any]]:
        return self.estimate.get("random") or []

    @property
    def levels(self) -> list[str]:
        """Grouping levels of the panel, outermost first."""
        return list(self.panel["levels"])

    @property
    def innermost(self) -> str:
        return self.levels[-1]

    @cached_property
    def coverage(self) -> Coverage | None:
        from .coverage import read_coverage

        return read_coverage(self.data)

    @cached_property
    def slope_terms(self) -> list[str]:
        """Covariates of the chosen rung's random slopes, in the order of the model."""
        return list(dict.fromkeys(t for r in self.random for t in r["terms"] if t != INTERCEPT))

    def fixed(self, rung: str | None = None) -> dict[str, dict[str, Any]]:
        """Fixed effects of a rung by term (REML)."""
        return {f["term"]: f for f in self.data.rungs[rung or self.chosen]["reml"]["fixed"]}

    def variable_info(self, name: str) -> dict[str, Any]:
        return next((v for v in self.panel.get("variables", []) if v["name"] == name), {})

    def reference_level(self, factor: str) -> str | None:
        """The level of a factor that has no dummy; None where it cannot be told."""
        if self.data.panel_file is None:
            return None
        have = {level for f, level in self.names.columns.values() if f == factor}
        quoted = '"' + factor.replace('"', '""') + '"'
        try:
            values = self.data.con.execute(
                f"SELECT DISTINCT CAST({quoted} AS VARCHAR) AS v, {quoted} FROM read_parquet(?) ORDER BY 2 LIMIT ?",
                [str(self.data.panel_file), len(have) + 3],
            ).fetchall()
        except Exception:  # the factor may be an expression, not a column of the frame
            return None
        # a year read as 1976.0 is the level 1976
        left = [v for v, _ in values if v not in have and v.removesuffix(".0") not in have]
        return left[0].removesuffix(".0") if len(left) == 1 else None

    # numbers with their source ------------------------------------------------------------------

    def whole(self, value: float | None, source: str = "") -> Num:
        return Num(value, self.num.count(value), source)

    def rounded(self, value: float | None, se: float | None, source: str = "") -> Num:
        """For running text."""
        text = self.num.fixed(value, prose_decimals(se)) if finite(se) and se else self.num.significant(value, 3)
        return Num(value, text, source)

    def share(self, value: float | None, source: str = "", decimals: int | None = None) -> Num:
        return Num(value, self.num.percent(value, decimals), source)

    def figure(self, value: float | None, digits: int = 3, source: str = "") -> Num:
        return Num(value, self.num.significant(value, digits), source)

    def fixed_point(self, value: float | None, decimals: int, source: str = "") -> Num:
        return Num(value, self.num.fixed(value, decimals), source)

    def p_value(self, value: float | None, source: str = "") -> Num:
        return Num(value, self.num.p_phrase(value), source)


def rung_pointer(rung: str, *steps: Any) -> str:
    """Where a number of a rung stands: ``rungs/<rung>.json#/reml/fixed/1/estimate``."""
    return f"rungs/{rung}.json#/" + "/".join(str(s).replace("~", "~0").replace("/", "~1") for s in steps)
