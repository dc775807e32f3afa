"""What every section and figure is given: the artifacts, the names in words, the number format, and shortcuts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .artifacts import Artifacts
from .names import INTERCEPT, Names
from .numbers import Num, Numbers, Told, finite, prose_decimals
from .ranks import rank_intervals

if TYPE_CHECKING:
    import numpy as np

    from .artifacts import LevelEffects
    from .coverage import Coverage
    from .lines import GroupLines


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

    @cached_property
    def told(self) -> Told:
        """``num`` for sentences: what it formats keeps its value."""
        return Told(self.num)

    @property
    def panel(self) -> dict[str, Any]:
        return self.data.panel

    @cached_property
    def outcome(self) -> str:
        """The outcome as the formula writes it."""
        outcome = self.panel["outcome"]
        return str(outcome["name"] if isinstance(outcome, dict) else outcome)

    def groups_table(self, level: str) -> str:
        """Name of the table of a level's groups."""
        return "groups" if level == self.innermost else f"groups_{level.split('/')[-1]}"

    def ranks(self, effects: LevelEffects) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest rank that each group of a level may have by its first coefficient. (groups,) each"""
        if effects.level not in self._ranks:
            self._ranks[effects.level] = rank_intervals(effects.estimate[0], effects.sd[0])
        return self._ranks[effects.level]

    @cached_property
    def _ranks(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}

    @cached_property
    def period(self) -> str:
        """What one step of time is called."""
        time = str(self.panel.get("time_label") or self.panel.get("time") or "").strip('"')
        return time if time in ("year", "quarter", "month", "week", "day", "hour", "wave") else "period"

    @cached_property
    def blocks(self) -> list[tuple[str, list[str]]]:
        """(error structure in words, rungs): the ladder without the simpler forms that were not chosen."""
        found: dict[str, list[str]] = {}
        for rung in self.order:
            if rung == self.chosen or not (self.data.rungs[rung].get("extra") or {}).get("step"):
                found.setdefault(error_words(self.data.rungs[rung], self.names), []).append(rung)
        return list(found.items())

    @cached_property
    def shown(self) -> list[str]:
        """The rungs of ``blocks`` in one list."""
        return [rung for _, rungs in self.blocks for rung in rungs]

    @cached_property
    def compared(self) -> list[str]:
        """The chosen rung, its twin with other errors, and the rungs with the chosen one's error structure."""
        own = next(rungs for _, rungs in self.blocks if self.chosen in rungs)
        base = (self.record.get("extra") or {}).get("base", self.chosen)
        twins = [
            r for r in self.shown if r not in own and (self.data.rungs[r].get("extra") or {}).get("base", r) == base
        ]
        return [self.chosen, *twins, *(r for r in own if r != self.chosen)]

    def short(self, rung: str) -> str:
        """A rung's name below a heading that says its error structure."""
        return rung.split(".")[0] if len(self.blocks) > 1 else rung

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

    def singular(self, rung: str) -> bool:
        record = self.data.rungs[rung]
        return bool(record["reml"].get("singular") or record["ml"].get("singular"))

    def variable_info(self, name: str) -> dict[str, Any]:
        return next((v for v in self.panel.get("variables", []) if v["name"] == name), {})

    @cached_property
    def lines(self) -> GroupLines | None:
        from .lines import read_lines

        return read_lines(self)

    def reference_level(self, factor: str) -> str | None:
        """The level of a factor that has no dummy; None where it cannot be told."""
        for known in self.panel.get("factors") or []:
            if known.get("name") == factor and known.get("reference") is not None:
                return str(known["reference"])
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


def error_words(record: dict[str, Any], names: Names) -> str:
    """A rung's error structure: "independent errors", "AR(1) errors, a variance per region"."""
    errors = {"ar1": "AR(1) errors", "car1": "continuous-time AR(1) errors"}.get(
        str(record.get("errors")), "independent errors"
    )
    if record.get("variances"):
        errors += f", a variance per {names.variable(record['variances'])}"
    if record.get("crossed"):
        errors += f", shocks per {names.variable(record['crossed'])}"
    return errors


def rung_pointer(rung: str, *steps: Any) -> str:
    """Where a number of a rung stands: ``rungs/<rung>.json#/reml/fixed/1/estimate``."""
    return f"rungs/{rung}.json#/" + "/".join(map(pointed, steps))


def pointed(step: Any) -> str:
    """A key or place as a JSON pointer writes it (RFC 6901)."""
    return str(step).replace("~", "~0").replace("/", "~1")
