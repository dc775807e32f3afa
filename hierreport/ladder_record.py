"""The comparison of fitted rungs as ``ladder.json`` keeps it, from the rungs' records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .choice import Candidate, Choice, choose
from .errors import ModelError
from .icc_curve import icc_curves
from .lrt import Comparison, test
from .records import plain
from .said import Said, marked
from .spec import LevelSpec, ModelSpec


def spec_from_dict(data: Mapping[str, Any]) -> ModelSpec:
    """The specification kept in a rung's ``extra["spec"]``."""
    random = tuple(LevelSpec(r["level"], tuple(tuple(b) for b in r["blocks"])) for r in data["random"])
    return ModelSpec(tuple(data["fixed"]), random, data["errors"], data["variances"], data["crossed"])


@dataclass(frozen=True)
class Ladder:
    """Comparisons, choice and register of a set of fitted rungs: ``ladder.json`` by ``to_dict()``."""

    order: list[str]
    rungs: dict[str, dict[str, Any]]
    comparisons: list[Comparison]
    choice: Choice
    register: list[dict[str, Any]]
    icc_curves: dict[str, Any]
    missed_slopes: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return plain(self)


def compare(
    records: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Mapping[str, float]] | None = None,
    simplify: Callable[[str], Mapping[str, Any] | None] | None = None,
) -> Ladder:
    """Compare the rungs and choose one, from their records alone.

    Args:
        records: ``Entry.to_dict()`` of every specification, or the same read back from ``rungs/*.json``, in any order
            that keeps the ladder's (refused ones too).
        variables: mean, sd, min and max by column (``panel.json``'s ``variables``), for the ICC along the covariate of
            a random slope.
        simplify: fits the simpler form of a singular rung, by name, and gives its record; None where there is none.

    Returns:
        The ladder. How the choice is made: see ``choice``.

    Raises:
        ModelError: every rung was refused.
    """
    records = list(records)
    refused = {r["rung"]: r["refused"] for r in records if r.get("refused")}
    order = list(dict.fromkeys(r["extra"]["base"] for r in records))
    if len(refused) == len(records):
        raise ModelError(
            "no rung of the ladder could be fitted.",
            do="The refusals were: " + " ".join(dict.fromkeys(refused.values())),
        )

    def further(rung: str) -> Candidate | None:
        made = simplify(rung) if simplify else None
        if made is None:
            return None
        records.insert([r["rung"] for r in records].index(rung) + 1, made)
        return None if made.get("refused") else as_candidate(made)

    climbing = [c for r in records if not r.get("refused") and not beside(c := as_candidate(r))]
    chosen = choose(order, climbing, refused, further)
    fitted = [r for r in records if not r.get("refused")]
    candidates = [as_candidate(r) for r in fitted]
    return Ladder(
        [r["rung"] for r in fitted],
        {r["rung"]: _row(r, c) for r, c in zip(fitted, candidates, strict=True)},
        _comparisons(order, candidates, chosen),
        chosen,
        _register(records, candidates, chosen),
        # Where residual variances differ there is no one curve.
        {
            r["rung"]: curve
            for r in fitted
            if not r.get("variances") and (curve := icc_curves(r["reml"], variables or {}))
        },
    )


def beside(candidate: Candidate) -> bool:
    """Whether a rung stands beside the climb: a variant with unequal variances or a crossed effect."""
    return candidate.spec.variances is not None or candidate.spec.crossed is not None


def as_candidate(record: Mapping[str, Any]) -> Candidate:
    """A rung's record as the choice sees it."""
    ml, reml, extra = record["ml"], record["reml"], record["extra"]
    trouble = [
        what
        for what, found in (
            ("did not converge", not (ml["converged"] and reml["converged"])),
            ("singular", ml["singular"] or reml["singular"]),
        )
        if found
    ]
    spec = spec_from_dict(extra["spec"])
    return Candidate(record["rung"], spec, ml, not trouble, " and ".join(trouble), extra["base"], extra["step"])


def _row(record: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """The rung's line in the ladder: likelihoods and criteria by ML, variance shares by REML."""
    ml, reml = record["ml"], record["reml"]
    return {
        "formula": record["formula"],
        "errors": record["errors"],
        "variances": record.get("variances"),
        "crossed": record.get("crossed"),
        "base": candidate.base,
        "note": record["extra"]["note"],
        "n_par": ml["n_par"],
        "loglik_ml": ml["loglik"],
        "loglik_reml": reml["loglik"],
        "aic": ml["aic"],
        "bic": ml["bic"],
        "sigma": reml["sigma"],
        "rho": reml["rho"],
        "icc": reml["icc"],
        "r2": reml["r2"],
        "singular": bool(ml["singular"] or reml["singular"]),
        "converged": bool(ml["converged"] and reml["converged"]),
        "admissible": candidate.admissible,
    }


def _comparisons(order: Sequence[str], candidates: Sequence[Candidate], chosen: Choice) -> list[Comparison]:
    """Neighbours under each error structure, every rung against its twin, and the tests that the choice made."""
    own = {(c.base, c.spec.errors): c for c in candidates if c.step == 0 and not beside(c)}
    kinds = list(dict.fromkeys(c.spec.errors for c in candidates))
    out: list[Comparison] = []
    for kind in kinds:
        row = [own[base, kind] for base in order if (base, kind) in own]
        out += [_test(a, b, consecutive=True) for a, b in pairwise(row)]
    for kind in kinds:
        if kind != "iid":
            pairs = [(own.get((base, "iid")), own.get((base, kind))) for base in order]
            out += [_test(a, b) for a, b in pairs if a and b]
    variants = {(c.base, c.spec.errors, c.spec.variances, c.spec.crossed): c for c in candidates if c.step == 0}
    for c in candidates:
        if beside(c):
            out += [_test(variants[key], c) for key in _without_a_part(c) if key in variants]
    have = {(c.null, c.alternative) for c in out}
    return out + [c for c in chosen.comparisons if (c.null, c.alternative) not in have]


def _without_a_part(candidate: Candidate) -> list[tuple[str, str, str | None, str | None]]:
    """A variant's base, errors, variances and crossed effect with one of these parts left out, in turn."""
    spec, plain = candidate.spec, ("iid", None, None)
    parts = (spec.errors, spec.variances, spec.crossed)
    ways: list[Any] = [(*parts[:i], plain[i], *parts[i + 1 :]) for i in range(3) if parts[i] != plain[i]]
    return [(candidate.base, errors, variances, crossed) for errors, variances, crossed in ways]


def _test(null: Candidate, alternative: Candidate, *, consecutive: bool = False) -> Comparison:
    return test(
        (null.rung, null.spec, null.ml), (alternative.rung, alternative.spec, alternative.ml), consecutive=consecutive
    )


def _register(
    records: Sequence[Mapping[str, Any]], candidates: Sequence[Candidate], chosen: Choice
) -> list[dict[str, Any]]:
    """Everything that was fitted or refused, and its fate."""
    by_name = {c.rung: c for c in candidates}
    trials = {t.rung: t for t in chosen.path}
    out = []
    for record in records:
        name, loglik = record["rung"], None
        if record.get("refused"):
            fate = f"refused: {record['refused']}"
        else:
            candidate = by_name[name]
            loglik = candidate.ml["loglik"]
            fate = _fate(candidate, trials.get(name), chosen)
        if record["extra"]["note"]:
            fate = f"{record['extra']['base']} {record['extra']['note']}: {marked(fate)}"
        out.append({"rung": name, "formula": record["formula"], "loglik": loglik, "fate": Said(fate)})
    return out


def _fate(candidate: Candidate, trial: Any, chosen: Choice) -> str:
    if candidate.rung == chosen.rung:
        return "chosen"
    if trial is not None:
        if trial.accepted:
            return (
                f"accepted ({marked(trial.reason)}), then left behind by a higher rung" if trial.against else "passed"
            )
        return trial.reason
    if beside(candidate):
        return "fitted on request, beside the climb" + (f"; {candidate.trouble}" if candidate.trouble else "")
    if candidate.spec.errors != chosen.errors:
        return f"not in the climb, which took {chosen.errors} errors" + (
            f"; {candidate.trouble}" if candidate.trouble else ""
        )
    return candidate.trouble or "fitted, not needed for the choice"
