"""Reads an analysis' artifacts: what must be there, what may be, and every file's size and digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError

if TYPE_CHECKING:
    import duckdb
    import numpy as np

HASH_LIMIT = 64 * 2**20  # larger files are listed by size; the manifest has their digest


@dataclass(frozen=True)
class LevelEffects:
    """Random effects of one level of one rung.

    Attributes:
        level: path of the level.
        labels: one text per group, outer groups' ids first, joined by "/".
        own: each group's own id, without its parents'.
        terms: random coefficients.
        estimate, sd, se: (terms, groups) BLUP, conditional sd, standard error of prediction.
    """

    level: str
    labels: list[str]
    own: list[str]
    terms: list[str]
    estimate: np.ndarray
    sd: np.ndarray
    se: np.ndarray


@dataclass(frozen=True)
class Source:
    """A file that the report was made from."""

    name: str
    size: int
    sha256: str | None


@dataclass
class Artifacts:
    """Everything under ``results/<analysis>`` that the report reads; optional parts are None."""

    path: Path
    panel: dict[str, Any]
    ladder: dict[str, Any]
    rungs: dict[str, dict[str, Any]]
    checks: dict[str, Any] | None = None
    verify: dict[str, Any] | None = None
    residuals: dict[str, Any] | None = None
    sensitivity: dict[str, Any] | None = None
    inference: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None
    sources: list[Source] = field(default_factory=list)
    _effects: dict[str, dict[str, LevelEffects]] = field(default_factory=dict)

    @cached_property
    def con(self) -> duckdb.DuckDBPyConnection:
        """One DuckDB connection for all reads; a single thread, so that every read is in the same order."""
        import duckdb

        return duckdb.connect(config={"threads": 1})

    @property
    def panel_file(self) -> Path | None:
        file = self.path / "panel.parquet"
        return file if file.exists() else None

    def effects(self, rung: str) -> dict[str, LevelEffects]:
        """Random effects of a rung by level; empty where the rung has none (or was not written)."""
        if rung not in self._effects:
            file = self.path / "rungs" / f"{rung}.effects.parquet"
            self._effects[rung] = read_effects(self.con, file, self.panel["groups"]) if file.exists() else {}
        return self._effects[rung]

    def digest(self, name: str) -> None:
        """Note a file as a source of the report."""
        file = self.path / name
        if file.exists() and all(s.name != name for s in self.sources):
            size = file.stat().st_size
            sha = hashlib.sha256(file.read_bytes()).hexdigest() if size <= HASH_LIMIT else None
            self.sources.append(Source(name, size, sha))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("The artifact is missing.", str(path), "Run the stages before the report first.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"The artifact cannot be read ({error}).", str(path), "Delete it and run again.") from error


def load(path: Path) -> Artifacts:
    """Read an analysis' directory.

    Raises: DataError where panel.json, ladder.json or every rung is missing.
    """
    panel, ladder = read_json(path / "panel.json"), read_json(path / "ladder.json")
    if isinstance(panel.get("outcome"), dict):  # the report needs its name, not how it is computed
        panel["outcome"] = panel["outcome"]["name"]
    names = [n for n in ladder.get("order", []) if (path / "rungs" / f"{n}.json").exists()]
    names += sorted(f.stem for f in (path / "rungs").glob("*.json") if f.stem not in names)
    records = {name: read_json(path / "rungs" / f"{name}.json") for name in names}
    rungs = {name: record for name, record in records.items() if not record.get("refused")}
    if not rungs:
        raise DataError("No rung was fitted.", str(path / "rungs"), "Run the fits before the report.")
    optional = {
        name: read_json(path / f"{name}.json")
        for name in ("checks", "verify", "residuals", "sensitivity", "inference", "changes")
        if (path / f"{name}.json").exists()
    }
    panel["groups"] = [str(g).strip('"') for g in panel["groups"]]
    data = Artifacts(path, panel, ladder, rungs, **optional)
    for name in ["panel.json", "panel.parquet", "ladder.json", *(f"rungs/{n}.json" for n in names)]:
        data.digest(name)
    for name in optional:
        data.digest(f"{name}.json")
    return data


def read_effects(con: Any, file: Path, groups: list[str]) -> dict[str, LevelEffects]:
    """Random effects from ``rungs/<rung>.effects.parquet``, groups in the file's order."""
    table = con.read_parquet(str(file)).fetchnumpy()
    level = [str(v) for v in table["level"]]
    columns = [table[g] for g in groups if g in table]
    found: dict[str, LevelEffects] = {}
    for name in dict.fromkeys(level):
        rows = [i for i, v in enumerate(level) if v == name]
        found[name] = _one_level(name, table, rows, columns[: name.count("/") + 1])
    return found


def shown(label: object) -> str:
    """A group's id as text; something to see where it is empty."""
    return str(label).strip() or "(blank)"


def _one_level(name: str, table: dict[str, Any], rows: list[int], columns: list[Any]) -> LevelEffects:
    import numpy as np

    term = [str(table["term"][i]) for i in rows]
    keys = [tuple(shown(c[i]) for c in columns) for i in rows]
    terms, groups = list(dict.fromkeys(term)), list(dict.fromkeys(keys))
    row_of, column_of = {t: i for i, t in enumerate(terms)}, {k: i for i, k in enumerate(groups)}
    values = {}
    for field_name in ("estimate", "sd", "se_prediction"):
        array = np.full((len(terms), len(groups)), np.nan)
        source: np.ndarray = np.ma.filled(np.ma.asarray(table[field_name], dtype=float), np.nan)
        array[[row_of[t] for t in term], [column_of[k] for k in keys]] = source[rows]
        values[field_name] = array
    return LevelEffects(
        name,
        ["/".join(k) for k in groups],
        [k[-1] for k in groups],
        terms,
        values["estimate"],
        values["sd"],
        values["se_prediction"],
    )
