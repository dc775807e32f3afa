"""Models of one run fitted to the rows of another."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..infer import Rungs
from ..ladder_record import spec_from_dict
from ..spec import LevelSpec, ModelSpec
from .run import Run

if TYPE_CHECKING:
    from ..mixed import MixedFit
    from ..moments import PanelMoments


class Rows:
    """The moments of a run's rows, and fits to them."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def moments(self) -> PanelMoments:
        """From the moments' files where they are there, else reduced again from the kept rows.

        Raises:
            HierreportError: neither can be read any more.
        """
        from .. import ingest, moments, reduce_lags, variants

        if (self.run.path / "moments.parquet").exists():
            return moments.read(self.run.path)
        if not self.run.rows.exists():
            raise DataError("the rows are missing.", str(self.run.rows))
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copyfile(self.run.rows, Path(scratch) / "panel.parquet")
            shutil.copyfile(self.run.path / "panel.json", Path(scratch) / "panel.json")
            frame = ingest.load_frame(scratch)
            reduced = moments.reduce_all(frame)
            config = self.run.about.get("config") or {}
            asked = (config.get("errors") or "auto",)
            reduced = reduce_lags.in_time_units(reduced, asked, config.get("time_step"))
            return variants.with_variants(frame, reduced, config.get("variances"), config.get("crossed"))

    def rung(self, name: str) -> MixedFit:
        """A rung of this run, fitted again by the present code from its recorded optimum."""
        return Rungs(self.moments, self.run.rungs)[name]

    def fit(self, record: dict[str, Any], origin: Run) -> MixedFit | None:
        """Another run's rung on these rows; None where they lack a term of it.

        Raises:
            HierreportError: it cannot be fitted to them.
        """
        from ..mixed import fit

        spec = translated(spec_from_dict(record["extra"]["spec"]), origin.panel, self.run.panel)
        return None if spec is None else fit(self.moments, spec)


def translated(spec: ModelSpec, origin: dict[str, Any], target: dict[str, Any]) -> ModelSpec | None:
    """A model in the columns of another panel, where a factor may have other levels; None where a term is missing."""
    terms, there = origin.get("terms") or {}, target.get("terms") or {}
    by_term: dict[str, list[str]] = {}
    for column in (c["name"] for c in target["columns"]):
        by_term.setdefault(there.get(column, column), []).append(column)
    fixed: list[str] = []
    for column in spec.fixed:
        term = terms.get(column, column)
        if column != "(Intercept)" and term not in by_term:
            return None
        fixed += [column] if column == "(Intercept)" else [c for c in by_term[term] if c not in fixed]
    known = {"(Intercept)", *(c["name"] for c in target["columns"])}
    random = [LevelSpec(level.level, level.blocks) for level in spec.random]
    if any(t not in known for level in random for t in level.terms) or any(
        level.level not in target["levels"] for level in random
    ):
        return None
    return replace(spec, fixed=tuple(dict.fromkeys(fixed)), random=tuple(random))


