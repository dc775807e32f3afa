"""The ladder of rungs: from pooled OLS to the richest formula, one random term at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .choice import Candidate, Choice, choose
from .errors import ModelError
from .icc_curve import icc_curves
from .lrt import Comparison, test
from .records import Rung, plain
from .rung_names import INTERCEPT, POOLED, inner_name, numbered, outer_name, terms_of
from .simplify import label, simpler
from .spec import LevelSpec, ModelSpec

if TYPE_CHECKING:
    from .mixed import MixedFit
    from .moments import PanelMoments

__all__ = ["Entry", "Ladder", "compare", "derive", "fit_all", "spec_from_dict"]

# A fit has at most this many simpler forms before the ladder gives it up.
_MAX_STEPS = 6


def derive(
    fixed: Sequence[str], random: Sequence[LevelSpec], levels: Sequence[str] = ()
) -> list[tuple[str, ModelSpec]]:
    """Rungs from pooled to the full formula, each nested in the next.

    First the innermost level's intercept and slopes, then the intercepts of the levels above (innermost first), then
    their slopes. All dummies of a factor are one term. Correlations follow the formula's blocks.

    Args:
        fixed: fixed columns of the richest formula.
        random: its random part, outermost level first.
        levels: level paths of the panel, outermost first; the order of ``random`` where left out.

    Returns:
        (name, specification) pairs: ``pooled``, ``random_intercept``, ``random_slope`` (``random_slope_<term>`` where
        there are several), ``multilevel`` (``multilevel_<group>`` where there are several levels above),
        ``multilevel_slopes`` (``multilevel_<group>_slopes``, ``…_slopes_<term>``).
    """
    order = {path: i for i, path in enumerate(levels or [spec.level for spec in random])}
    full = sorted((spec for spec in random if spec.terms), key=lambda spec: order.get(spec.level, len(order)))
    rungs = [(POOLED, ModelSpec(tuple(fixed)))]
    if not full:
        return rungs
    inner, above = full[-1], full[-2::-1]
    steps = [(inner_name(step, inner), step) for step in terms_of(inner)]
    for intercepts in (True, False):
        for spec in above:
            steps += [(outer_name(s, spec, above), s) for s in terms_of(spec) if (s.label == INTERCEPT) == intercepts]
    taken: set[tuple[str, str]] = set()
    names = {POOLED}
    for name, step in steps:
        taken |= {(step.level, column) for column in step.columns}
        unique = next(n for n in numbered(name) if n not in names)
        names.add(unique)
        rungs.append((unique, ModelSpec(tuple(fixed), tuple(_part(full, taken)))))
    return rungs


def _part(full: Iterable[LevelSpec], taken: set[tuple[str, str]]) -> Iterator[LevelSpec]:
    """The random part restricted to the columns taken so far, blocks kept."""
    for spec in full:
        blocks = tuple(tuple(c for c in block if (spec.level, c) in taken) for block in spec.blocks)
        if any(blocks):
            yield LevelSpec(spec.level, tuple(block for block in blocks if block))


@dataclass(frozen=True)
class Entry:
    """One specification of the ladder and what became of it.

    Attributes:
        rung: its name; ``<rung>.ar1`` for a variant, ``<rung>_independent`` or ``<rung>_reduced`` for a simpler form.
        spec, formula: what was asked for, and the same in lme4's notation.
        base: the rung of the ladder that it belongs to; itself for a rung.
        step: 0, or the number of simplifications.
        note: how a simpler form came about.
        fit, record: the fit and its record, None where it was refused.
        refused: the refusal's message, empty where it was fitted.
    """

    rung: str
    spec: ModelSpec
    formula: str
    base: str
    step: int = 0
    note: str = ""
    fit: MixedFit | None = None
    record: Rung | None = None
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """``rungs/<rung>.json``, with where it came from in ``extra``; a refused rung has rung, formula, refused."""
        extra = {"spec": asdict(self.spec), "base": self.base, "step": self.step, "note": self.note}
        if self.record is None:
            return {"rung": self.rung, "formula": self.formula, "refused": self.refused, "extra": plain(extra)}
        found = self.record.to_dict()
        return found | {"extra": found["extra"] | plain(extra)}


def spec_from_dict(data: Mapping[str, Any]) -> ModelSpec:
    """The specification kept in a rung's ``extra["spec"]``."""
    random = tuple(LevelSpec(r["level"], tuple(tuple(b) for b in r["blocks"])) for r in data["random"])
    return ModelSpec(tuple(data["fixed"]), random, data["errors"], data["variances"], data["crossed"])


def fit_all(
    panel: PanelMoments,
    rungs: Sequence[tuple[str, ModelSpec]],
    formula: Callable[[ModelSpec], str],
    *,
    errors: Sequence[str] = ("iid",),
    df: str = "satterthwaite",
    fit: Callable[..., MixedFit] | None = None,
) -> list[Entry]:
    """Fit every rung under every error structure, and the simpler forms of those that are singular.

    Args:
        panel: the panel's moments.
        rungs: (name, specification) pairs, lowest first, with iid errors.
        formula: gives a specification's formula.
        errors: error structures, ``"iid"`` first.
        df: method for the degrees of freedom.
        fit: ``mixed.fit`` or a stand-in with the same arguments.

    Returns:
        An entry per specification: the ladder's rungs in order, then the variants, each with its simpler forms after
        it. Refusals (ModelError) are entries too.
    """
    if fit is None:
        from .mixed import fit
    centres = _centres(panel)
    entries: list[Entry] = []
    seen: set[ModelSpec] = set()
    for kind in errors:
        for base, plain_spec in rungs:
            spec, name, note = _with_errors(plain_spec, kind), base, ""
            for step in range(_MAX_STEPS):
                full_name = name if kind == "iid" else f"{name}.{kind}"
                seen.add(spec)
                text = formula(spec)
                try:
                    done = fit(panel, spec)
                    record = done.record(full_name, text, df)
                except ModelError as refusal:
                    entries.append(Entry(full_name, spec, text, base, step, note, refused=str(refusal)))
                    break
                entries.append(Entry(full_name, spec, text, base, step, note, done, record))
                estimate = next((e for e in (record.ml, record.reml) if e.singular), None)
                form = simpler(spec, estimate, centres) if estimate is not None and spec.random else None
                if form is None or form[0] in seen or any(form[0] == _with_errors(s, kind) for _, s in rungs):
                    break
                name = f"{base}_{label(plain_spec, form[0])}"
                name = next(
                    n
                    for n in numbered(name)
                    if n not in {e.rung.split(".")[0] for e in entries if e.spec.errors == kind}
                )
                spec, note = form
    return entries


def _with_errors(spec: ModelSpec, kind: str) -> ModelSpec:
    return ModelSpec(spec.fixed, spec.random, kind, spec.variances, spec.crossed)


def _centres(panel: PanelMoments) -> dict[str, tuple[float, float]]:
    """Approximate location and scale of every column, as the moments keep them."""
    moments = getattr(panel, "moments", panel)
    return {
        name: (float(shift), float(scale))
        for name, shift, scale in zip(moments.columns, moments.shift, moments.scale, strict=True)
    }


@dataclass(frozen=True)
class Ladder:
    """Comparisons, choice and register of a set of fitted rungs: ``ladder.json`` by ``to_dict()``."""

    order: list[str]
    rungs: dict[str, dict[str, Any]]
    comparisons: list[Comparison]
    choice: Choice
    register: list[dict[str, Any]]
    icc_curves: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return plain(self)


def compare(
    records: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Mapping[str, float]] | None = None,
) -> Ladder:
    """Compare the rungs and choose one, from their records alone.

    Args:
        records: ``Entry.to_dict()`` of every specification, or the same read back from ``rungs/*.json``, in any order
            that keeps the ladder's (refused ones too).
        variables: mean, sd, min and max by column (``panel.json``'s ``variables``), for the ICC along the covariate of
            a random slope.

    Returns:
        The ladder. See DESIGN.md for the choice.
    """
    fitted = [r for r in records if not r.get("refused")]
    refused = {r["rung"]: r["refused"] for r in records if r.get("refused")}
    order = list(dict.fromkeys(r["extra"]["base"] for r in records))
    if not fitted:
        raise ModelError(
            "no rung of the ladder could be fitted",
            do="The refusals were: " + " ".join(dict.fromkeys(refused.values())),
        )
    candidates = [_candidate(r) for r in fitted]
    chosen = choose(order, candidates, refused)
    return Ladder(
        [r["rung"] for r in fitted],
        {r["rung"]: _row(r, c) for r, c in zip(fitted, candidates, strict=True)},
        _comparisons(order, candidates, chosen),
        chosen,
        _register(records, candidates, chosen),
        {r["rung"]: c for r in fitted if (c := icc_curves(r["reml"], variables or {}))},
    )


def _candidate(record: Mapping[str, Any]) -> Candidate:
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
    own = {(c.base, c.spec.errors): c for c in candidates if c.step == 0}
    kinds = list(dict.fromkeys(c.spec.errors for c in candidates))
    out: list[Comparison] = []
    for kind in kinds:
        row = [own[base, kind] for base in order if (base, kind) in own]
        out += [_test(a, b, consecutive=True) for a, b in pairwise(row)]
    for kind in kinds:
        if kind != "iid":
            pairs = [(own.get((base, "iid")), own.get((base, kind))) for base in order]
            out += [_test(a, b) for a, b in pairs if a and b]
    have = {(c.null, c.alternative) for c in out}
    return out + [c for c in chosen.comparisons if (c.null, c.alternative) not in have]


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
            fate = f"{record['extra']['base']} {record['extra']['note']}: {fate}"
        out.append({"rung": name, "formula": record["formula"], "loglik": loglik, "fate": fate})
    return out


def _fate(candidate: Candidate, trial: Any, chosen: Choice) -> str:
    if candidate.rung == chosen.rung:
        return "chosen"
    if trial is not None:
        if trial.accepted:
            return f"accepted ({trial.reason}), then left behind by a higher rung" if trial.against else "passed"
        return trial.reason
    if candidate.spec.errors != chosen.errors:
        return f"not in the climb, which took {chosen.errors} errors" + (
            f"; {candidate.trouble}" if candidate.trouble else ""
        )
    return candidate.trouble or "fitted, not needed for the choice"
