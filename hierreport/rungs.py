"""The ladder of rungs: from pooled OLS to the richest formula, one random term at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .ladder_record import Ladder, compare, spec_from_dict
from .records import Rung, plain
from .rung_names import INTERCEPT, POOLED, inner_name, numbered, outer_name, terms_of
from .simplify import label, simpler
from .spec import LevelSpec, ModelSpec

if TYPE_CHECKING:
    from .mixed import MixedFit
    from .moments import PanelMoments

__all__ = ["Entry", "Fitter", "Ladder", "climb", "compare", "derive", "spec_from_dict"]

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
        state = getattr(self.fit, "ml_state", None)
        if state is not None:
            # Where later stages start from when they need the fit itself (the engine's coordinates).
            extra["theta"] = state.theta
            if self.spec.variances is not None and self.fit is not None:
                extra["sigmas"] = self.fit.reml_state.stratum_sigmas
                extra["sigmas_ml"] = self.fit.ml_state.stratum_sigmas
        if self.record is None:
            return {"rung": self.rung, "formula": self.formula, "refused": self.refused, "extra": plain(extra)}
        found = self.record.to_dict()
        return found | {"extra": found["extra"] | plain(extra)}


class Fitter:
    """Fits specifications of one ladder and keeps account of them, refusals too.

    Args:
        panel: the panel's moments.
        rungs: (name, specification) pairs, lowest first, with iid errors.
        formula: gives a specification's formula.
        df: method for the degrees of freedom.
        fit: ``mixed.fit`` or a stand-in with the same arguments.

    Attributes:
        entries: what was fitted so far: the ladder's rungs in order, then their variants, each with its simpler forms
            after it.
    """

    def __init__(
        self,
        panel: PanelMoments,
        rungs: Sequence[tuple[str, ModelSpec]],
        formula: Callable[[ModelSpec], str],
        *,
        df: str = "satterthwaite",
        fit: Callable[..., MixedFit] | None = None,
    ) -> None:
        if fit is None:
            from .mixed import fit as engine

            fit = engine
        self.panel, self.rungs, self.formula, self.df, self._fit = panel, list(rungs), formula, df, fit
        self.entries: list[Entry] = []

    def fit_rungs(
        self,
        errors: str = "iid",
        variances: str | None = None,
        crossed: str | None = None,
        without: Sequence[str] = (),
    ) -> list[Entry]:
        """Fit every rung under one error structure, with unequal variances or a crossed effect of time.

        Args:
            without: fixed columns that are left out, where an intercept stays.
        """
        made = []
        for base, spec in self.rungs:
            kept = tuple(c for c in spec.fixed if c not in without) if INTERCEPT in spec.fixed else spec.fixed
            own = ModelSpec(kept, spec.random, errors, variances, crossed)
            made.append(self._add(base + suffix(own), own, base))
            self.entries.append(made[-1])
        return made

    def simpler(self, rung: str) -> Entry | None:
        """Fit the simpler form of a singular fit; None where there is none that is not on the ladder already."""
        at = next(i for i, e in enumerate(self.entries) if e.rung == rung)
        entry = self.entries[at]
        if entry.record is None or not entry.spec.random or entry.step >= _MAX_STEPS:
            return None
        estimate = next((e for e in (entry.record.ml, entry.record.reml) if e.singular), None)
        form = simpler(entry.spec, estimate, centres(self.panel)) if estimate is not None else None
        if form is None or form[0] in [e.spec for e in self.entries]:
            return None
        spec, note = form
        end = suffix(spec)
        stem = f"{entry.base}_{label(dict(self.rungs)[entry.base], spec)}"
        taken = {e.rung for e in self.entries}
        name = next(f"{n}{end}" for n in numbered(stem) if f"{n}{end}" not in taken)
        self.entries.insert(at + 1, self._add(name, spec, entry.base, entry.step + 1, note))
        return self.entries[at + 1]

    def _add(self, rung: str, spec: ModelSpec, base: str, step: int = 0, note: str = "") -> Entry:
        text = self.formula(spec)
        try:
            done = self._fit(self.panel, spec)
            return Entry(rung, spec, text, base, step, note, done, done.record(rung, text, self.df))
        except ModelError as refusal:
            return Entry(rung, spec, text, base, step, note, refused=str(refusal))


def suffix(spec: ModelSpec) -> str:
    """End of a variant's name: ``.ar1``, ``.var``, ``.time``, or several in that order."""
    parts = [
        "" if spec.errors == "iid" else spec.errors,
        "var" if spec.variances else "",
        "time" if spec.crossed else "",
    ]
    return "".join(f".{part}" for part in parts if part)


def centres(panel: PanelMoments) -> dict[str, tuple[float, float]]:
    """Approximate location and scale of every column, as the moments keep them."""
    moments: Any = getattr(panel, "moments", panel)
    return {
        name: (float(shift), float(scale))
        for name, shift, scale in zip(moments.columns, moments.shift, moments.scale, strict=True)
    }


def combinations(
    errors: Sequence[str], variances: str | None, crossed: str | None
) -> list[tuple[str, str | None, str | None]]:
    """Variants of more than one part: errors, variances and crossed effect, every combination of what is asked for."""
    found = [(kind, by, shocks) for by in (None, variances) for shocks in (None, crossed) for kind in errors]
    return [v for v in dict.fromkeys(found) if (v[0] != "iid") + (v[1] is not None) + (v[2] is not None) > 1]


def climb(
    panel: PanelMoments,
    rungs: Sequence[tuple[str, ModelSpec]],
    formula: Callable[[ModelSpec], str],
    *,
    errors: Sequence[str] = ("iid",),
    variances: str | None = None,
    crossed: str | None = None,
    replaced: Sequence[str] = (),
    df: str = "satterthwaite",
    variables: Mapping[str, Mapping[str, float]] | None = None,
    fit: Callable[..., MixedFit] | None = None,
) -> tuple[list[Entry], Ladder]:
    """Fit the rungs under every error structure, and compare them.

    Args:
        panel, rungs, formula, df, fit: as for ``Fitter``.
        errors: error structures, ``"iid"`` first.
        variances, crossed: columns of the variants ``<rung>.var`` and ``<rung>.time``; they and their combinations with
            each other and with the other errors stand beside the climb.
        replaced: dummies of the periods, which the crossed effect takes the place of.
        variables: mean, sd, min and max by column, for the ICC along the covariate of a random slope.

    Returns:
        Everything that was tried, and the comparison. The simpler form of a singular rung is fitted where the choice
        comes to need it.

    Raises:
        ModelError: no rung could be fitted.
    """
    fitter = Fitter(panel, rungs, formula, df=df, fit=fit)
    for kind in errors:
        fitter.fit_rungs(kind)
    if variances is not None:
        fitter.fit_rungs(variances=variances)
    if crossed is not None:
        fitter.fit_rungs(crossed=crossed, without=replaced)
    for kind, by, shocks in combinations(errors, variances, crossed):
        fitter.fit_rungs(kind, by, shocks, replaced if shocks else ())

    def simplify(rung: str) -> dict[str, Any] | None:
        entry = fitter.simpler(rung)
        return None if entry is None else entry.to_dict()

    ladder = compare([e.to_dict() for e in fitter.entries], variables, simplify)
    return fitter.entries, ladder
