"""The rungs of an analysis as other programs need them: safe names, blocks of random terms, expected numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..frame import Frame
from ..rungs import spec_from_dict
from .names import safe_names

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Names:
    """Columns of the model frame's CSV, by what they are in the model."""

    outcome: str
    columns: dict[str, str]  # by term
    levels: dict[str, str]  # group codes, by level path
    labels: dict[str, str]  # group ids as text, by group column
    time: str | None
    weights: str | None


def names_of(frame: Frame) -> Names:
    """Choose the CSV's columns for a frame."""
    taken: set[str] = set()
    outcome = safe_names([frame.outcome.name], "y", taken)[frame.outcome.name]
    columns = safe_names([c.name for c in frame.columns], "x", taken)
    levels = safe_names(frame.levels, "g", taken)
    labels = safe_names(frame.groups, "id", taken)
    time = safe_names([frame.time_label or frame.time], "t", taken) if frame.time else {}
    weights = safe_names([frame.weights], "w", taken) if frame.weights else {}
    return Names(outcome, columns, levels, labels, next(iter(time.values()), None), next(iter(weights.values()), None))


@dataclass(frozen=True)
class Part:
    """The random terms of one level: the column with its group codes, and blocks of mutually correlated terms."""

    level: str
    group: str
    blocks: tuple[tuple[str, ...], ...]  # safe names; "1" is the intercept


@dataclass(frozen=True)
class Expected:
    """What a fit should give: by ML and REML the log-likelihood, by REML the fixed effects and their errors."""

    ml: float
    reml: float
    sigma: float
    rho: float | None
    fixed: tuple[dict[str, Any], ...]  # name, term, estimate, se, df


@dataclass(frozen=True)
class Model:
    """One rung."""

    name: str
    formula: str
    intercept: bool
    fixed: tuple[str, ...]  # safe names without the intercept
    random: tuple[Part, ...]  # outermost first
    errors: str
    singular: bool
    expected: Expected

    @property
    def statsmodels(self) -> bool:
        """Whether statsmodels' MixedLM can express it: one correlated block at the outermost level, else independent
        components, no serial correlation."""
        wide = [(k, b) for k, part in enumerate(self.random) for b in part.blocks if len(b) > 1]
        return self.errors == "iid" and (not wide or (len(wide) == 1 and wide[0][0] == 0))


def models_of(folder: Path, names: Names) -> tuple[list[Model], list[str]]:
    """The rungs, in the ladder's order, and the names of variants that no script here covers."""
    order = json.loads((folder / "ladder.json").read_text(encoding="utf-8"))["order"]
    files = {p.stem: p for p in (folder / "rungs").glob("*.json")}
    listed = [n for n in order if n in files] + sorted(n for n in files if n not in order)
    models, left = [], []
    for name in listed:
        record = json.loads(files[name].read_text(encoding="utf-8"))
        if record.get("refused"):
            continue
        spec = spec_from_dict(record["extra"]["spec"])
        if spec.variances or spec.crossed:
            left.append(name)
            continue
        safe = {**names.columns, INTERCEPT: "1"}
        fixed = [f for f in record["reml"]["fixed"] if f["estimate"] is not None]
        parts = [
            Part(s.level, names.levels[s.level], tuple(tuple(safe[t] for t in block) for block in s.blocks))
            for s in spec.random
        ]
        expected = Expected(
            record["ml"]["loglik"],
            record["reml"]["loglik"],
            record["reml"]["sigma"],
            record["reml"]["rho"],
            tuple(
                {"name": safe[f["term"]], **{k: f[k] for k in ("term", "estimate", "se", "df", "df_method")}}
                for f in fixed
            ),
        )
        terms = [f["term"] for f in fixed]
        models.append(
            Model(
                name,
                record["formula"],
                INTERCEPT in terms,
                tuple(safe[t] for t in terms if t != INTERCEPT),
                tuple(parts),
                spec.errors,
                bool(record["ml"]["singular"] or record["reml"]["singular"]),
                expected,
            )
        )
    return models, left
