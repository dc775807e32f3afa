"""What every analysis starts from: the chosen rung, its main coefficients, the panel, and refits from its optimum."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..deletion import descend
from ..describe import variance_shares
from ..errors import HierreportError
from ..further import Further, entry_name
from ..infer import Rungs
from ..inference import fixed_effects
from ..ladder_record import spec_from_dict
from ..mixed import State, again, minimise, prepared, start_points
from ..moments import PanelMoments
from ..problem import INTERCEPT
from ..spec import ModelSpec
from . import judge
from .judge import Analysis

if TYPE_CHECKING:
    from ..frame import Frame

MOST_TERMS = 20


@dataclass
class Basis:
    """The analysis that is put to the test.

    Attributes:
        frame: the model frame.
        ladder: ladder.json.
        rungs: moments, records and fits of the rungs.
        chosen: name of the chosen rung.
        df: method for degrees of freedom.
        main: main coefficients of the chosen rung (REML) by term: numeric predictors; where there is none the dummies
            of factors other than time, and where there is none of those either the intercept.
    """

    frame: Frame
    ladder: Mapping[str, Any]
    rungs: Rungs
    chosen: str
    df: str = "satterthwaite"
    main: dict[str, dict[str, Any]] = field(default_factory=dict)
    _ml: dict[str, State] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        effects = {e["term"]: e for e in self.record["reml"]["fixed"] if e["se"]}
        columns = {c.name: c for c in self.frame.columns}
        plain = [t for t in effects if t in columns and columns[t].factor is None and "[" not in t]
        time = set(self.time_columns())
        dummies = [t for t in effects if t != INTERCEPT and t not in time]
        terms = plain or dummies or [t for t in effects if t == INTERCEPT]
        self.main = {t: effects[t] for t in terms[:MOST_TERMS]}

    @property
    def panel(self) -> PanelMoments:
        return self.rungs.panel

    @property
    def record(self) -> Mapping[str, Any]:
        """The chosen rung's JSON."""
        return self.rungs.records[self.chosen]

    @property
    def spec(self) -> ModelSpec:
        return spec_from_dict(self.record["extra"]["spec"])

    @property
    def state(self) -> State:
        """The chosen rung's REML optimum."""
        return self.rungs[self.chosen].reml_state

    @property
    def specs(self) -> dict[str, ModelSpec]:
        """Specifications of the fitted rungs, in the ladder's order."""
        return {name: spec_from_dict(r["extra"]["spec"]) for name, r in self.rungs.records.items()}

    def time_columns(self) -> list[str]:
        """Dummies of the time column."""
        from ..variants import period_columns

        return list(period_columns(((c.name, c.factor) for c in self.frame.columns), self.frame.info))

    def refit(
        self,
        panel: PanelMoments,
        spec: ModelSpec | None = None,
        like: State | None = None,
        reml: bool = True,
        curvature: bool = True,
        start: np.ndarray | None = None,
    ) -> State:
        """The optimum of a model on changed moments.

        Args:
            panel: the changed moments.
            spec: the model; by default the chosen rung's.
            like: an optimum of nearly the same criterion, to start from and to take the metric from; by default the
                chosen rung's.
            reml: REML or ML.
            curvature: compute the Hessian there, which degrees of freedom need.
            start: θ to start from instead, where no optimum of this model is near.

        Raises:
            ModelError: the model cannot be identified from these moments.
        """
        spec = spec or self.spec
        like = like or self.state
        _, criterion = prepared(panel, spec, reml)
        if start is not None:
            found = again(criterion, start, None, curvature=False)
            found.optimum.hessian = criterion.hessian(found.theta) if curvature else None
            return found
        near = descend(criterion, like)
        if near is not None:
            near.optimum.hessian = criterion.hessian(near.theta) if curvature else like.optimum.hessian
            return near
        if not len(like.theta) or len(like.theta) != criterion.parameters.size:
            return minimise(criterion, start_points(criterion, None, None))
        found = again(criterion, like.theta, like.optimum.hessian, curvature)
        found.optimum.hessian = like.optimum.hessian if found.optimum.hessian is None else found.optimum.hessian
        return found

    def ml_state(self, rung: str) -> State:
        """ML optimum of a rung on the whole panel."""
        if rung not in self._ml:
            extra = self.rungs.records[rung]["extra"]
            spec, theta = spec_from_dict(extra["spec"]), np.array(extra.get("theta") or [], dtype=float)
            _, criterion = prepared(self.panel, spec)
            starts = start_points(criterion, theta if len(theta) == criterion.parameters.size else None, 0)
            self._ml[rung] = minimise(criterion, starts)
        return self._ml[rung]

    def loglik(self, panel: PanelMoments, state: State, spec: ModelSpec | None = None) -> float:
        """ML log-likelihood of a model whose REML optimum is known."""
        return -0.5 * self.refit(panel, spec, like=state, reml=False, curvature=False).optimum.value

    def effects(self, state: State) -> list[Any]:
        """Wald intervals of a refit's fixed effects, by the analysis' method where it applies."""
        return fixed_effects(state, self.df)[0]

    def of_state(self, state: State, **known: Any) -> dict[str, Any]:
        """What an analysis says of a refit: rows, coefficients, ICC."""
        found = {
            "n_obs": state.criterion.problem.n_obs,
            "coefficients": judge.compare(self.main, self.effects(state)),
            "icc": variance_shares(state)[0],
        }
        return found | known

    def analysis(self, planned: Further, make: Callable[[], dict[str, Any]]) -> Analysis:
        """An analysis: what ``make`` gives, judged, or why there is none."""
        known: dict[str, Any] = {k: getattr(planned, k) for k in ("name", "title", "what", "rung")}
        known["register"] = entry_name(planned)
        why = ""
        try:
            found = make()
        except HierreportError as refusal:
            why = str(refusal)
        except np.linalg.LinAlgError:
            why = "A matrix of this computation is singular."
        if why:
            return Analysis(**known, status="not available", reason=why)
        found = known | {"reason": ""} | found
        coefficients = found["coefficients"]
        stands = not any(c.broken for c in coefficients) if coefficients else None
        said = judge.sentence(self.main, coefficients)
        return Analysis(status="done", stands=stands, sentence=said, **found)


def load(folder: Path, options: Mapping[str, Any]) -> Basis:
    """Read an analysis' artifacts.

    Args:
        folder: with panel.parquet, panel.json, moments*.parquet, rungs/ and ladder.json.
        options: ``df``.
    """
    from .. import ingest, moments

    ladder = json.loads((folder / "ladder.json").read_text(encoding="utf-8"))
    names: Sequence[str] = ladder["order"]
    records = {n: json.loads((folder / "rungs" / f"{n}.json").read_text(encoding="utf-8")) for n in names}
    rungs = Rungs(moments.read(folder), records)
    df = options.get("df") or "satterthwaite"
    return Basis(ingest.load_frame(folder), ladder, rungs, ladder["choice"]["rung"], df)
