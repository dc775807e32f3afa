"""What later stages fit beyond the ladder, as one list: the register is written from it before they run.

A specification is a model, or the rows that it is fitted to. The later stages go by the same list, so that nothing is
tried there that the register does not name, refused or not. Refits that serve a number of one specification
(bootstrap draws, profiles, groups left out one by one, folds, another start) are not specifications.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .first_differences import NEAR_ONE
from .problem import INTERCEPT
from .said import Said, mark, whole
from .spec import LevelSpec, ModelSpec
from .variants import period_columns

SENSITIVITY, INFERENCE, CHECKS = "sensitivity.json", "inference.json", "checks.json"
LEAST_ROWS, MOST_STRATA = 8, 60  # of a stratum; strata that are tried unasked
SHARE, MOST, FEWEST = 0.05, 10, 3  # influential groups left out together; groups that a level must have
BEYOND = 3.5  # standardised residuals of outlying rows
ERRORS = {"iid": "Independent errors", "ar1": "AR(1) errors", "car1": "Continuous-time AR(1) errors"}


@dataclass(frozen=True)
class Further:
    """A specification that a later stage tries.

    Attributes:
        file: where its result will stand; name: what it is called there.
        title, what: what the reader sees; what is done, a sentence.
        rung: the rung that it varies, or is.
        spec: the model, where it can be written in the formula's columns; that of the rung otherwise.
        on_ladder: the ladder has this very fit: the rung's entry in the register is its.
    """

    file: str
    name: str
    title: str
    what: str
    rung: str
    spec: ModelSpec
    on_ladder: bool = False


def register(tried: Sequence[Further], text: Callable[[ModelSpec], str]) -> list[dict[str, Any]]:
    """Entries of ``ladder.json``'s register for what later stages will try.

    Args:
        tried: the lists of these stages.
        text: writes a specification's formula.

    Returns:
        ``rung`` (file and name), ``formula``, ``loglik`` (None: it stands in the file), ``fate``, and ``what`` is
        done, ``file`` and ``name``, where the log-likelihood and the result are found.
    """
    return [
        {
            "rung": entry_name(f),
            "formula": text(f.spec),
            "loglik": None,
            "fate": f"tried by a later stage, beside the climb: its log-likelihood and its fate are in {f.file}",
            "what": Said(f"{f.title} ({f.rung}): {f.what}"),
            "file": f.file,
            "name": f.name,
        }
        for f in tried
        if not f.on_ladder
    ]


def entry_name(further: Further) -> str:
    """The name of its entry in the register."""
    return further.rung if further.on_ladder else f"{further.file.removesuffix('.json')}:{further.name}"


def sensitivity(info: Mapping[str, Any], specs: Mapping[str, ModelSpec], chosen: str) -> list[Further]:
    """The analyses of the stage ``sensitivity``, in the order of its table."""
    own = specs[chosen]
    out: list[Further] = []

    def add(name: str, title: str, what: str, rung: str = chosen, spec: ModelSpec = own, known: bool = False) -> None:
        out.append(Further(SENSITIVITY, name, title, what, rung, spec, known))

    for name, spec in specs.items():
        if name != chosen and _structure(spec) == _structure(own):
            add(f"rung:{name}", f"Rung {name}", f"The rung {name} of the ladder.", name, spec, True)
    for kind in dict.fromkeys(s.errors for s in specs.values()):
        if kind != own.errors:
            twin = replace(own, errors=kind)
            same = _same(specs, twin)  # a simpler form of a rung has no twin on the ladder
            add(f"errors:{kind}", ERRORS[kind], f"{ERRORS[kind]} instead.", same or chosen, twin, same is not None)
    by = (stratum(info) or ("group", ""))[0]
    what = f"Residual variances of their own for every {by}."
    add("variances", f"Unequal variances by {by}", what, spec=replace(own, variances=by))
    time = info.get("time")
    if time and info.get("time_column"):
        dummies = set(period_columns(((c["name"], c["factor"]) for c in info["columns"]), info))
        instead = " instead of the time dummies" if dummies else ""
        what = f"A random effect of {time}, shared by all groups{instead}."
        fixed = tuple(t for t in own.fixed if t not in dummies)
        spec = ModelSpec(fixed, own.random, own.errors, None, str(time))
        add("crossed", f"Crossed effect of {time}", what, spec=spec)
    if info["levels"]:
        unit = (own.random[-1].level if own.random else info["levels"][-1]).rsplit("/", 1)[-1]
        what = f"Means by {unit} of the predictors added, so that the coefficients are those within groups."
        add("within_between", "Within groups only", what)
        add("cluster_robust", "Cluster-robust errors", "The same estimates with cluster-robust standard errors.")
    for level in [s.level for s in own.random] or info["levels"][-1:]:
        groups = info["structure"][level]["groups"]
        if groups < FEWEST:
            continue
        name, several = level.rsplit("/", 1)[-1], min(MOST, round(SHARE * groups))
        for k in (1, several) if several > 1 else (1,):
            most = f"Without the most influential {name}"
            title = most if k == 1 else f"Without the {whole(k)} most influential ({name})"
            left = f"group of {level}" if k == 1 else f"{whole(k)} groups of {level}"
            add(f"groups:{level}:{k}", title, f"The most influential {left} left out.")
    kind = "innovation" if own.errors != "iid" else "conditional residual"
    beyond = mark(BEYOND, f"{BEYOND:g}")
    add("outlying_rows", "Without outlying rows", f"Rows left out whose standardised {kind} is beyond {beyond}.")
    if info.get("time_column"):
        for which in ("first", "last"):
            add(f"{which}_period", f"Without the {which} period", f"The {which} period left out.")
    add("robust", "Robust estimation", "Rows and groups that stand apart down-weighted (Huber, after Koller).")
    return out


def stratum(info: Mapping[str, Any]) -> tuple[str, str] | None:
    """What residual variances may differ by: the outermost groups, else a factor other than time.

    Returns:
        Its name and its column in the frame's table; None where nothing gives 2 to ``MOST_STRATA`` strata of
        ``LEAST_ROWS`` rows.
    """
    options = []
    if info["levels"]:
        level = info["structure"][info["levels"][0]]
        options.append((info["levels"][0], info["groups"][0], level["groups"], level["rows_per_group"]["min"]))
    for f in info.get("factors") or []:
        if f["name"] != info.get("time"):
            counts = [level["rows"] for level in f["levels"]]
            options.append((f["name"], f["column"], len(counts), min(counts, default=0)))
    for name, column, count, least in options:
        if 2 <= count <= MOST_STRATA and least >= LEAST_ROWS:
            return name, column
    return None


def inference(
    info: Mapping[str, Any],
    specs: Mapping[str, ModelSpec],
    chosen: str,
    rho: float | None,
    absorb: Sequence[str] | None = None,
) -> list[Further]:
    """The models that the stage ``infer`` fits, in the order of inference.json's ``further``."""
    own = specs[chosen]
    out: list[Further] = []

    def add(name: str, title: str, what: str, spec: ModelSpec, rung: str = chosen, known: bool = False) -> None:
        out.append(Further(INFERENCE, name, title, what, rung, spec, known))

    if info["levels"]:
        unit = info["levels"][-1]
        name = unit.rsplit("/", 1)[-1]
        baseline = ModelSpec(own.fixed, (LevelSpec(unit, ((INTERCEPT,),)),))
        pooled = ModelSpec(own.fixed)
        what = f"Fixed or random effects: a baseline per {name}, independent errors"
        same = _same(specs, baseline)
        add("random_effects", "Random effects", f"{what}.", baseline, same or chosen, same is not None)
        add("mundlak", "Mundlak's regression", f"{what}, and the predictors' means by {name}.", baseline)
        what = f"{what}, the predictors split into their means by {name} and the differences from them."
        add("within_between", "Within-between model", what, baseline)
        for key, title, how in (
            ("within", "Within estimator", f"least squares of differences from the means by {name}"),
            ("between", "Between estimator", f"least squares of the means by {name}"),
            ("swamy_arora", "Swamy-Arora's random effects", "generalised least squares"),
        ):
            add(key, title, f"Fixed or random effects: {how}.", pooled)
    for rung, spec in intercept_models(specs, chosen).items():
        same = _same(specs, spec)
        what = f"R² of Snijders and Bosker: the levels of {rung} with intercepts alone"
        add(f"intercepts:{rung}", "Intercepts alone", f"{what}.", spec, same or rung, same is not None)
        null = replace(spec, fixed=(INTERCEPT,))
        same = _same(specs, null)
        add(f"null:{rung}", "Without predictors", f"{what}, without predictors.", null, same or rung, same is not None)
    if rho is not None and rho > NEAR_ONE:
        what = "Least squares of each period's changes on the changes of the predictors."
        add("first_differences", "First differences", what, ModelSpec(own.fixed))
    if absorb:
        what = f"Least squares with a fixed effect for every {' and '.join(absorb)}."
        add("absorbed", "Absorbed fixed effects", what, ModelSpec(own.fixed))
    return out


def intercept_models(specs: Mapping[str, ModelSpec], chosen: str) -> dict[str, ModelSpec]:
    """The models of R² by Snijders and Bosker: fixed part and levels of a rung, intercepts alone, independent errors.

    Returns:
        By the first rung with that fixed part and these levels, of those whose criteria are computed.
    """
    out: dict[str, ModelSpec] = {}
    for name, spec in specs.items():
        if name == chosen or name in with_criteria(specs, chosen):
            plain = ModelSpec(spec.fixed, tuple(LevelSpec(s.level, ((INTERCEPT,),)) for s in spec.random))
            if INTERCEPT in spec.fixed and plain not in out.values():
                out[name] = plain
    return out


def with_criteria(specs: Mapping[str, ModelSpec], chosen: str) -> list[str]:
    """Rungs whose criteria beyond the ladder's are computed: those with the chosen errors or independent ones."""
    kinds = ("iid", specs[chosen].errors)
    return [n for n, s in specs.items() if s.variances is None and s.crossed is None and s.errors in kinds]


def checks(specs: Mapping[str, ModelSpec], chosen: str) -> list[Further]:
    """The models that the stage ``diagnose`` fits. Its other checks add terms at the chosen rung's estimated variances:
    tests of that rung."""
    what = "The outcome raised to a power (Box and Cox), the power estimated."
    return [Further(CHECKS, "transformation", "Another scale of the outcome", what, chosen, specs[chosen])]


def _same(specs: Mapping[str, ModelSpec], spec: ModelSpec) -> str | None:
    """The rung that has a specification."""
    return next((name for name, own in specs.items() if own == spec), None)


def _structure(spec: ModelSpec) -> tuple[str, str | None, str | None]:
    return spec.errors, spec.variances, spec.crossed
