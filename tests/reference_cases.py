"""The reference cases under tests/reference: R's numbers, and their models as specifications.

See tests/reference/README.md for the format and for what was computed how.
"""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hierreport.spec import LevelSpec, ModelSpec

ROOT = Path(__file__).parent / "reference"


@dataclass(frozen=True)
class Case:
    """One data set with its models and R's answers."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name / "data.csv"

    @cached_property
    def spec(self) -> dict[str, Any]:
        return json.loads((ROOT / self.name / "spec.json").read_text())

    @cached_property
    def ref(self) -> dict[str, Any]:
        plain = ROOT / self.name / "ref.json"
        if plain.exists():
            return json.loads(plain.read_text())
        with gzip.open(plain.with_suffix(".json.gz"), "rt") as file:
            return json.load(file)

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        with self.path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [row[name] for row in rows] for name in rows[0]}

    def model(self, name: str) -> dict[str, Any]:
        """A model of ``spec.json`` by its id."""
        return next(m for m in self.spec["models"] if m["id"] == name)

    def fixed_columns(self, name: str) -> tuple[str, ...]:
        """Names of the fixed columns of a model as hierreport writes them."""
        wanted = self.model(name)["fixed"]
        terms = self.spec["fixed"] if wanted == "all" else wanted
        out = ["(Intercept)"]
        for term in terms:
            if term in self.spec["categorical"]:
                out += [f"{term}[{level}]" for level in self.spec["levels"][term][1:]]
            else:
                out.append(term)
        return tuple(out)

    def model_spec(self, name: str) -> ModelSpec:
        """A model as a specification, outermost level first."""
        levels = []
        for part in self.model(name)["random"]:
            terms = tuple("(Intercept)" if t == "1" else t for t in part["terms"])
            blocks = (terms,) if part["cov"] == "full" else tuple((t,) for t in terms)
            levels.append(LevelSpec("/".join(part["level"]), blocks))
        return ModelSpec(self.fixed_columns(name), tuple(sorted(levels, key=lambda s: s.level.count("/"))))

    def formula(self, name: str) -> str:
        """A model in lme4's notation."""

        def quoted(column: str) -> str:
            return column if column.isidentifier() else f"`{column}`"

        wanted = self.model(name)["fixed"]
        terms = self.spec["fixed"] if wanted == "all" else wanted
        fixed = []
        for term in terms:
            if term in self.spec["categorical"]:
                fixed.append(f"C({quoted(term)}, ref='{self.spec['levels'][term][0]}')")
            else:
                fixed.append(quoted(term))
        random = []
        for part in self.model(name)["random"]:
            group = ":".join(part["level"])
            terms = " + ".join(t if t == "1" else quoted(t) for t in part["terms"])
            random.append(f"({terms} {'|' if part['cov'] == 'full' else '||'} {group})")
        return f"{quoted(self.spec['outcome'])} ~ {' + '.join(['1', *fixed, *random])}"

    @cached_property
    def used(self) -> np.ndarray:
        """Rows that R used: complete in outcome, fixed part, groups and slopes."""
        needed = [self.spec["outcome"], *self.spec["fixed"], *self.spec["groups"], *self.spec["slopes"]]
        return np.array([all(self.columns[c][i] != "" for c in needed) for i in range(len(self.columns[needed[0]]))])

    def matrix(self, names: tuple[str, ...]) -> np.ndarray:
        """Columns by hierreport's names, straight from the CSV text. (rows used, columns)"""
        out = []
        for name in names:
            if name == "(Intercept)":
                out.append(np.ones(len(self.used)))
            elif name in self.columns:
                out.append(np.array([float(v) if v != "" else np.nan for v in self.columns[name]]))
            else:
                factor, level = name[:-1].split("[")
                out.append(np.array([float(v == level) for v in self.columns[factor]]))
        return np.column_stack(out)[self.used]

    def keys(self, level: str) -> np.ndarray:
        """Group of every row used at a level given by its path, ids joined by a slash."""
        parts = [np.array(self.columns[group])[self.used] for group in level.split("/")]
        return np.array(["/".join(ids) for ids in zip(*parts, strict=True)])


@cache
def case(name: str) -> Case:
    """A case by name, read once."""
    return Case(name)


def names() -> list[str]:
    """All cases."""
    return sorted(path.parent.name for path in ROOT.glob("*/spec.json"))


def fitted_models() -> list[tuple[str, str]]:
    """(case, model) of all mixed models that R fitted."""
    return [
        (name, model)
        for name in names()
        for model, result in case(name).ref.get("models", {}).items()
        if "ML" in result and case(name).spec["kind"] != "crossed"
    ]


def pooled_models() -> list[tuple[str, str]]:
    """(case, model) of all pooled models."""
    return [
        (name, model)
        for name in names()
        for model, result in case(name).ref.get("models", {}).items()
        if result.get("estimator") == "OLS"
    ]
