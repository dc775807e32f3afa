"""The ladder of one analysis: from its panel's description and moments to files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import further
from .errors import ConfigError, FormulaError
from .formula import INTERCEPT, Formula, parse
from .rungs import Entry, Ladder, climb, derive
from .spec import LevelSpec, ModelSpec
from .variants import period_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from .mixed import MixedFit
    from .moments import PanelMoments


@dataclass(frozen=True)
class Result:
    """Everything that was fitted, and the comparison of it."""

    entries: list[Entry]
    ladder: Ladder
    groups: tuple[str, ...]
    periods: np.ndarray | None = None


def run(panel: PanelMoments, info: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Result:
    """Fit and compare the rungs of an analysis.

    Args:
        panel: its moments.
        info: panel.json (``formula``, ``fixed``, ``random``, ``levels``, ``groups``, ``terms``, ``variables``).
        options: ``rungs`` (own formulas by name), ``df``, ``errors`` (auto, iid, ar1, car1), ``variances``, ``crossed``
            (columns), ``absorb``: what later stages will fit stands in the register too.

    Raises:
        FormulaError: an own rung's formula has a term that the analysis' formula does not have.
        ConfigError: errors that the panel does not allow.
        ModelError: no rung could be fitted.
    """
    options = options or {}
    formula = parse(info["formula"])
    terms, groups = info.get("terms") or {}, tuple(info["groups"])
    text = formula_text(formula, tuple(info["fixed"]), terms, groups)
    if options.get("rungs"):
        rungs = own_rungs(options["rungs"], info)
    else:
        random = [LevelSpec(r["level"], tuple(tuple(b) for b in r["blocks"])) for r in info["random"]]
        rungs = derive(info["fixed"], random, info["levels"])
    variables = {v["name"]: v for v in info.get("variables") or []}
    df = options.get("df") or "satterthwaite"
    labels = None if panel.periods is None else panel.periods.periods
    entries, ladder = climb(
        panel,
        rungs,
        text,
        errors=error_structures(panel, options.get("errors") or "auto"),
        variances=options.get("variances"),
        crossed=options.get("crossed"),
        replaced=period_columns(((c["name"], c.get("factor")) for c in info["columns"]), info),
        df=df,
        variables=variables,
    )
    ladder = with_missed_slopes(panel, entries, ladder, info["columns"], text)
    specs = {e.rung: e.spec for e in entries if not e.refused}
    specs = {name: specs[name] for name in ladder.order}
    rho = ladder.rungs[ladder.choice.rung]["rho"]
    chosen = ladder.choice.rung
    later = [
        *further.sensitivity(info, specs, chosen),
        *further.inference(info, specs, chosen, rho, options.get("absorb")),
        *further.checks(specs, chosen),
    ]
    ladder = replace(ladder, register=[*ladder.register, *further.register(later, text)])
    return Result(entries, ladder, groups, labels)


def with_missed_slopes(
    panel: PanelMoments,
    entries: Sequence[Entry],
    ladder: Ladder,
    columns: Sequence[Mapping[str, Any]],
    text: Callable[[ModelSpec], str],
) -> Ladder:
    """The ladder with every numeric predictor tried as a random slope of the innermost level; fits in the register.

    Args:
        panel, entries, ladder: what was fitted and compared.
        columns: columns of the panel by ``name`` and ``factor``; dummies are not tried.
        text: writes a specification's formula.
    """
    fitted = next((e.fit for e in entries if e.rung == ladder.choice.rung), None)
    if fitted is None or not hasattr(fitted, "ml_state"):
        return ladder
    from .missed_slopes import missed_slopes

    numeric = [c["name"] for c in columns if c["factor"] is None and "[" not in c["name"]]
    found = missed_slopes(panel, ladder.choice.rung, fitted, numeric, text)
    return replace(ladder, register=[*ladder.register, *found.register()], missed_slopes=found.to_dict())


def formula_text(
    formula: Formula, fixed: Sequence[str], terms: Mapping[str, str], groups: Sequence[str]
) -> Callable[[ModelSpec], str]:
    """Writes a specification's formula; the fixed part as the user wrote it, where it is the same."""

    def text(spec: ModelSpec) -> str:
        own = None if tuple(spec.fixed) == tuple(fixed) else list(spec.fixed)
        written = formula.rung_text(own, spec.random, terms, list(groups))
        return f"{written} + (1 | {spec.crossed})" if spec.crossed else written

    return text


def error_structures(panel: PanelMoments, asked: str = "auto") -> tuple[str, ...]:
    """Error structures to fit: independent errors, and the one asked for.

    Args:
        panel: the moments.
        asked: ``"auto"``: what the moments allow: AR(1) where time is known, its continuous form on uneven times;
            ``"iid"``: no other; ``"ar1"`` or ``"car1"``.

    Raises:
        ConfigError: serial correlation without a time column, or with rows of a group at the same time.
    """
    if asked == "iid":
        return ("iid",)
    if asked != "auto":
        if panel.lags is None or not len(panel.lags.gap):
            raise ConfigError(
                f"{asked} errors need the time of each row, and one row per group and time.",
                "errors",
                "Name the time column, or set errors: iid.",
            )
        return ("iid", asked)
    if panel.lags is None or not len(panel.lags.gap):
        return ("iid",)
    return ("iid", "car1" if panel.lags.uneven else "ar1")


def own_rungs(formulas: Mapping[str, str], info: Mapping[str, Any]) -> list[tuple[str, ModelSpec]]:
    """Rungs listed in the configuration, as specifications over the panel's columns.

    Args:
        formulas: lme4 formulas by name, lowest rung first.
        info: panel.json of the richest formula.

    Raises:
        FormulaError: another outcome, or a term, level or coding that the panel was not read for.
    """
    richest, terms = parse(info["formula"]), info.get("terms") or {}
    columns = [INTERCEPT, *[c["name"] for c in info["columns"]]]
    rungs = []
    for name, source in formulas.items():
        where = f"rungs.{name}"
        formula = parse(source, where)
        if formula.outcome_name != richest.outcome_name:
            raise FormulaError(
                f"the outcome is {formula.outcome_name}, that of the analysis {richest.outcome_name}.",
                where,
                "The rungs of a ladder explain the same outcome.",
            )

        def of(term: Any, where: str = where) -> tuple[str, ...]:
            found = tuple(c for c in columns if terms.get(c, c) == term.name)
            if not found:
                raise FormulaError(
                    f"the term {term.name} is not in the analysis' formula.", where, "Add it to the key `formula` too."
                )
            return found

        fixed = tuple(c for t in formula.terms for c in of(t))
        levels: dict[str, list[tuple[str, ...]]] = {}
        for part in formula.random:
            path = "/".join(g for g in info["groups"] if g in part.groups)
            if path not in info["levels"]:
                raise FormulaError(
                    f"the grouping {':'.join(part.groups)} is not a level of the panel ({', '.join(info['levels'])}).",
                    where,
                    "Use the groupings of the key `formula`.",
                )
            block = tuple(c for t in part.terms for c in of(t))
            levels.setdefault(path, []).extend([block] if part.correlated else [(c,) for c in block])
        random = tuple(LevelSpec(path, tuple(levels[path])) for path in info["levels"] if path in levels)
        rungs.append((name, ModelSpec(((INTERCEPT,) if formula.intercept else ()) + fixed, random)))
    return rungs


def write(folder: Path, result: Result) -> None:
    """Write rungs/<rung>.json, rungs/<rung>.effects.parquet and ladder.json; each appears when it is complete."""
    fresh = folder / f".rungs.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        for entry in result.entries:
            write_json(fresh / f"{entry.rung}.json", entry.to_dict())
            if entry.fit is not None and effect_levels(entry.spec):
                write_effects(fresh / f"{entry.rung}.effects.parquet", entry.fit, result.groups, result.periods)
        old = folder / "rungs"
        old.mkdir(exist_ok=True)
        for path in sorted(fresh.iterdir()):
            os.replace(path, old / path.name)
        for path in old.iterdir():
            if path.name.removesuffix(".json").removesuffix(".effects.parquet") not in {e.rung for e in result.entries}:
                path.unlink()
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    temporary = folder / f".ladder.json.{os.getpid()}"
    write_json(temporary, result.ladder.to_dict())
    os.replace(temporary, folder / "ladder.json")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """JSON with full precision."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")


def effect_levels(spec: ModelSpec) -> list[str]:
    """Levels with random effects: outermost first, a crossed effect before them."""
    return ([spec.crossed] if spec.crossed else []) + [level.level for level in spec.random]


def effect_columns(
    fit: MixedFit, level: str, groups: Sequence[str], periods: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Random effects of one level in long form: level, group columns, term, estimate, sd, se_prediction.

    A crossed effect of time has its own column beside the group columns; ``periods`` are its labels.
    """
    found = fit.effects(level)
    count, terms = found["estimate"].shape[1], list(found["terms"])
    crossed = level == fit.spec.crossed
    labels: dict[str, np.ndarray] = {} if crossed else dict(zip(groups, found["labels"], strict=False))
    if crossed:
        labels[level] = np.arange(1, count + 1).astype(str) if periods is None else periods
    out: dict[str, np.ndarray] = {"level": np.full(count * len(terms), level, dtype=object)}
    for name in [*groups, *([fit.spec.crossed] if fit.spec.crossed else [])]:
        ids = labels[name].astype(object) if name in labels else np.full(count, None, dtype=object)
        out[name] = np.tile(ids, len(terms))
    out["term"] = np.repeat(np.array(terms, dtype=object), count)
    for quantity in ("estimate", "sd", "se_prediction"):
        out[quantity] = np.asarray(found[quantity], dtype=float).ravel()
    return out


def write_effects(path: Path, fit: MixedFit, groups: Sequence[str], periods: np.ndarray | None = None) -> None:
    """Random effects of every level, outermost first, as Parquet; ``periods``: labels of a crossed effect of time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [effect_columns(fit, level, groups, periods) for level in effect_levels(fit.spec)]
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    table = pa.Table.from_arrays([arrow_column(v) for v in columns.values()], names=list(columns))
    pq.write_table(table, path, compression="zstd", store_schema=False)


def arrow_column(values: np.ndarray) -> pa.Array:
    """An Arrow array from buffers (``pa.array`` would import pandas); None becomes null in columns of text."""
    import pyarrow as pa

    if values.dtype != object:
        values = np.ascontiguousarray(values, dtype=np.float64)
        return pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(values)])
    present = np.array([v is not None for v in values], dtype=bool)
    texts = ["" if v is None else str(v) for v in values]
    encoded = [t.encode() for t in texts]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(t) for t in encoded], out=offsets[1:])
    valid = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)
