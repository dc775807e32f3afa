"""The choice of a rung: which error structure, then how far up the ladder, and what AIC and BIC say beside it.

1. On the richest admissible rung with random effects, AR(1) errors are taken if their test rejects (where such twins
   were fitted). Where every such rung is singular the richest of them serves: a variance of zero does not spoil the
   test, but pooled rows would, since groups that differ look like errors that carry over.
2. Under that structure the climb starts from the lowest rung. Every higher rung is tested against the last accepted one
   (not only against its neighbour), by ML, at 5 %, with the boundary taken into account; it is accepted when the test
   rejects and the fit is admissible: converged and not singular.
3. A singular rung that the test asks for gives way to its simpler form (without a term of zero variance, or with
   independent coefficients where a correlation is at its limit), unless the data reject the simpler form too: then the
   singular fit stands, and says so.
4. AIC's and BIC's choices among all converged fits stand beside it, with a sentence where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import lrt
from .records import Spoken
from .said import mark, marked
from .spec import ModelSpec

LEVEL = 0.05


@dataclass(frozen=True)
class Candidate:
    """A fitted rung as the choice sees it.

    Attributes:
        rung: its name, variants and simpler forms too.
        spec: what was fitted.
        ml: the ML estimate (mapping).
        admissible: converged and not singular, by ML and by REML.
        trouble: why it is not admissible; empty where it is.
        base: the ladder's rung that it belongs to.
        step: 0 for the rung itself, 1, 2, … for its simpler forms.
    """

    rung: str
    spec: ModelSpec
    ml: Mapping[str, Any]
    admissible: bool
    trouble: str
    base: str
    step: int = 0


@dataclass(frozen=True)
class Trial(Spoken):
    """One step of the climb: ``rung`` tested against the last accepted one."""

    rung: str
    against: str
    accepted: bool
    p: float | None
    reason: str


@dataclass(frozen=True)
class Choice(Spoken):
    """The chosen rung, the way to it, and the choices of AIC and BIC."""

    rung: str
    reason: str
    path: list[Trial]
    aic: str
    bic: str
    agrees: bool
    sentence: str
    errors: str = "iid"
    errors_reason: str = ""
    comparisons: list[lrt.Comparison] = field(default_factory=list, metadata={"json": False})


def p_text(p: float | None) -> str:
    """A p-value in words: ``p = 0.250`` or ``p < 0.001``."""
    if p is None:
        return "no test"
    return f"p {mark(p, '< 0.001')}" if p < 0.001 else f"p = {mark(p, f'{p:.3f}')}"


def _fixed(value: float | None, decimals: int) -> str:
    return "–" if value is None else mark(value, f"{value:.{decimals}f}")


def choose(
    order: Sequence[str],
    candidates: Iterable[Candidate],
    refused: Mapping[str, str] | None = None,
    simplify: Callable[[str], Candidate | None] | None = None,
) -> Choice:
    """Choose the error structure, then climb from the lowest rung.

    Args:
        order: the ladder's rungs (iid), lowest first.
        candidates: everything that was fitted: rungs, their simpler forms, and the same with other errors.
        refused: message by name of the rungs that could not be fitted.
        simplify: gives the simpler form of a singular rung, by name, where it is not among the candidates yet.

    Returns:
        The choice; ``comparisons`` holds the tests it made.

    Raises:
        ValueError: nothing was fitted.
    """
    fitted = {(c.base, c.spec.errors, c.step): c for c in candidates}
    if not fitted:
        raise ValueError("no rung was fitted")
    tests: list[lrt.Comparison] = []
    errors, errors_reason = _error_structure(order, fitted, tests)

    def following(candidate: Candidate) -> Candidate | None:
        key = (candidate.base, candidate.spec.errors, candidate.step + 1)
        if key not in fitted and simplify is not None and (made := simplify(candidate.rung)) is not None:
            fitted[key] = made
        return fitted.get(key)

    accepted, path = _climb(order, fitted, errors, refused or {}, tests, following)
    # Zero variances cost parameters and gain nothing, so that singular fits need no rule of their own here.
    pool = [c for c in fitted.values() if c.ml["converged"]] or list(fitted.values())
    aic = min(pool, key=lambda c: (c.ml["aic"], c.ml["n_par"]))
    bic = min(pool, key=lambda c: (c.ml["bic"], c.ml["n_par"]))
    reason = _reason(accepted, path)
    if errors_reason:
        reason = f"{errors_reason} {reason}"
    agrees = aic.rung == bic.rung == accepted.rung
    return Choice(
        accepted.rung,
        reason,
        path,
        aic.rung,
        bic.rung,
        agrees,
        _criteria_sentence(accepted, aic, bic),
        errors,
        errors_reason,
        tests,
    )


def _forms(base: str, errors: str, fitted: Mapping[tuple[str, str, int], Candidate]) -> list[Candidate]:
    """A rung and its simpler forms, in the order in which they were derived."""
    return sorted((c for (b, e, _), c in fitted.items() if (b, e) == (base, errors)), key=lambda c: c.step)


def _error_structure(
    order: Sequence[str], fitted: Mapping[tuple[str, str, int], Candidate], tests: list[lrt.Comparison]
) -> tuple[str, str]:
    """AR(1) (or its continuous form) where its test rejects on the first rung that serves and has a twin."""
    kinds = sorted({errors for _, errors, _ in fitted if errors != "iid"})
    listed = [c for base in reversed(order) for c in _forms(base, "iid", fitted)]
    best = [c for c in listed if c.admissible and c.spec.random]
    for plain in [*best, *(c for c in listed if c.ml["converged"] and c not in best)]:
        for kind in kinds:
            twin = next((c for c in _forms(plain.base, kind, fitted) if lrt.difference(plain.spec, c.spec)), None)
            if twin is None or not twin.ml["converged"]:
                continue
            result = _test(plain, twin, tests)
            rho, rejects = twin.ml.get("rho"), (result.p_boundary or 0.0) < LEVEL
            text = (
                f"{'Serially correlated errors are needed' if rejects else 'Serial correlation is not needed'}: on "
                f"{plain.rung} the test of rho = 0 gives {_fixed(result.statistic, 2)} ({p_text(result.p_boundary)})"
                + (f", rho = {_fixed(rho, 3)}." if rho is not None else ".")
            )
            return (kind if rejects else "iid"), text
    return "iid", ""


def _test(null: Candidate, alternative: Candidate, tests: list[lrt.Comparison]) -> lrt.Comparison:
    result = lrt.test((null.rung, null.spec, null.ml), (alternative.rung, alternative.spec, alternative.ml))
    tests.append(result)
    return result


def _climb(
    order: Sequence[str],
    fitted: Mapping[tuple[str, str, int], Candidate],
    errors: str,
    refused: Mapping[str, str],
    tests: list[lrt.Comparison],
    following: Callable[[Candidate], Candidate | None],
) -> tuple[Candidate, list[Trial]]:
    """Test every rung against the last accepted one; a singular rung stands aside for its simpler form."""
    accepted: Candidate | None = None
    path: list[Trial] = []
    for base in order:
        name = base if errors == "iid" else f"{base}.{errors}"
        forms = _forms(base, errors, fitted)
        against = accepted.rung if accepted else ""
        if not forms:
            why = refused.get(name, "not fitted")
            path.append(Trial(name, against, False, None, f"refused: {why}" if name in refused else why))
            continue
        if accepted is None:
            accepted = forms[0]
            path.append(Trial(accepted.rung, "", True, None, "the start of the climb"))
            continue
        accepted = _try(forms[0], accepted, path, tests, following)
    if accepted is None:  # nothing under this structure: fall back on whatever was fitted
        accepted = min(fitted.values(), key=lambda c: c.ml["n_par"])
    return accepted, path


def _try(
    candidate: Candidate | None,
    accepted: Candidate,
    path: list[Trial],
    tests: list[lrt.Comparison],
    following: Callable[[Candidate], Candidate | None],
) -> Candidate:
    """Test a rung, then (where it is singular and would be needed) its simpler forms, against the accepted one."""
    while candidate is not None:
        result = _test(accepted, candidate, tests)
        p = result.p_boundary
        adds = lrt.describe_addition(accepted.spec, candidate.spec)
        if p is None:
            path.append(Trial(candidate.rung, accepted.rung, False, None, result.note))
            return accepted
        if p >= LEVEL:
            path.append(Trial(candidate.rung, accepted.rung, False, p, f"adds {adds}, not needed ({p_text(p)})"))
            return accepted
        if candidate.admissible:
            path.append(Trial(candidate.rung, accepted.rung, True, p, f"adds {adds}, needed ({p_text(p)})"))
            return candidate
        form = following(candidate)
        if form is not None and (loss := _loss(candidate, form, tests)):
            why = f"adds {adds}, needed ({p_text(p)}); {candidate.trouble}, but {loss}"
            path.append(Trial(candidate.rung, accepted.rung, True, p, why))
            return candidate
        turn = f"its simpler form {form.rung} is tried" if form else "it has no simpler form of its own"
        why = f"adds {adds} ({p_text(p)}), but the fit is not admissible ({candidate.trouble}); {turn}"
        path.append(Trial(candidate.rung, accepted.rung, False, p, why))
        candidate = form
    return accepted


def _loss(singular: Candidate, form: Candidate, tests: list[lrt.Comparison]) -> str:
    """Why a singular fit stays: its simpler form is rejected. Empty where the simpler form will do.

    A zero variance can always go; a correlation at its limit may be what the data say all the same.
    """
    if not (singular.ml["converged"] and form.ml["converged"]):
        return ""
    result = _test(form, singular, tests)
    if result.p_boundary is None or result.p_boundary >= LEVEL:
        return ""
    size = f"likelihood-ratio statistic {_fixed(result.statistic, 2)}, {p_text(result.p_boundary)}"
    return f"its simpler form {form.rung} fits worse ({size}) and is not taken"


def _reason(accepted: Candidate, path: Sequence[Trial]) -> str:
    """The climb in one or two sentences."""
    last = next((t for t in reversed(path) if t.accepted), None)
    at = path.index(last) if last else -1
    if last is None or not last.against:
        first = f"{accepted.rung}: {'no rung above it is needed' if len(path) > 1 else 'the only rung'}."
    else:
        adds, _, limit = marked(last.reason).partition(", needed")
        first = f"{accepted.rung} {adds} to {last.against} ({p_text(last.p)})."
        if "; " in limit:
            first += f" It is {limit.split('; ', 1)[1]}."
    rest = [t for t in path[at + 1 :] if not t.accepted]
    idle = [f"{t.rung} ({p_text(t.p)})" for t in rest if t.p is not None and t.p >= LEVEL]
    faulty = [t.rung for t in rest if t.p is not None and t.p < LEVEL]
    lost = [t.rung for t in rest if t.p is None]
    if idle:
        first += f" Not needed: {', '.join(idle)}."
    if faulty:
        first += f" Not admissible: {', '.join(faulty)}."
    if lost:
        first += f" Could not be tested: {', '.join(lost)}."
    return first


def _criteria_sentence(accepted: Candidate, aic: Candidate, bic: Candidate) -> str:
    """What AIC and BIC choose, and by how much, where they differ from the tests."""
    if aic.rung == bic.rung == accepted.rung:
        return "AIC and BIC choose the same rung."
    parts = []
    for name, other in (("AIC", aic), ("BIC", bic)):
        if other.rung == accepted.rung:
            parts.append(f"{name} chooses the same rung")
        else:
            gain = accepted.ml[name.lower()] - other.ml[name.lower()]
            parts.append(f"{name} prefers {other.rung} (lower by {_fixed(gain, 1)})")
    why = (
        " AIC asks less of an extra parameter than a test at 5 %, BIC more; neither knows that a variance of zero is a "
        "boundary."
    )
    return f"{parts[0]}; {parts[1]}.{why}"
