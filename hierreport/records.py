"""Typed records that pass between the stages, and their JSON form.

Names follow the artifact schema and are fixed: ``rungs/<rung>.json`` is ``Rung.to_dict()``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from .said import Said, has_numbers


class Record:
    """Gives a dataclass item access (``record["estimate"]``) and a JSON form."""

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and floats; NaN and infinities become None."""
        return plain(self)


class Spoken(Record):
    """A record with sentences, whose numbers stay known (``said``)."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if has_numbers(value):
                object.__setattr__(self, f.name, Said(value))
            elif isinstance(value, list) and any(map(has_numbers, value)):
                object.__setattr__(self, f.name, [Said(v) for v in value])


def plain(value: Any) -> Any:
    """Turn records, arrays and NumPy scalars into what ``json.dumps`` writes without surprises.

    Where a sentence was written with numbers, an entry ``numbers`` beside it holds, by the sentence's key, their
    offsets, texts and values (for a list of sentences, a list of such lists).
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value) if f.metadata.get("json", True)}
    if isinstance(value, dict):
        out = {str(k): plain(v) for k, v in value.items()}
        numbers = {str(k): found for k, v in value.items() if (found := _numbers(v))}
        return out | ({"numbers": numbers} if numbers else {})
    if isinstance(value, str):
        return str.__str__(Said(value)) if has_numbers(value) else value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _numbers(value: Any) -> list[Any]:
    if has_numbers(value):
        return Said(value).numbers
    if isinstance(value, (list, tuple)) and any(map(has_numbers, value)):
        return [Said(v).numbers if has_numbers(v) else [] for v in value]
    return []


@dataclass(frozen=True)
class FixedEffect(Record):
    """One fixed effect on the user's scale; ``df`` is None for normal inference."""

    term: str
    estimate: float
    se: float
    df: float | None
    df_method: str
    statistic: float
    p: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class RandomLevel(Record):
    """Standard deviations, covariances and correlations of one level's random coefficients (user's scale)."""

    level: str
    terms: list[str]
    sd: list[float]
    cov: list[list[float]]
    corr: list[list[float | None]]


@dataclass(frozen=True)
class Certificate(Record):
    """How far the optimum can be trusted.

    gradient_norm: largest gradient entry of the deviance in scaled parameters; hessian_min_eigenvalue: smallest
    eigenvalue of its exact Hessian there; restarts_agree: None where no second start was tried.
    """

    gradient_norm: float
    hessian_min_eigenvalue: float | None
    restarts_agree: bool | None
    evaluations: int
    message: str


@dataclass(frozen=True)
class Estimate(Record):
    """One fit by ML or REML."""

    method: str
    loglik: float
    deviance: float
    aic: float
    bic: float
    n_par: int
    sigma: float
    rho: float | None
    fixed: list[FixedEffect]
    fixed_cov: list[list[float]]
    random: list[RandomLevel]
    icc: dict[str, float]
    r2: dict[str, float]
    converged: bool
    singular: bool
    certificate: Certificate

    def coefficients(self) -> dict[str, float]:
        """Fixed effects by term."""
        return {f.term: f.estimate for f in self.fixed}


@dataclass(frozen=True)
class Rung(Record):
    """A fitted rung or variant: the record behind ``rungs/<rung>.json``."""

    rung: str
    formula: str
    n_obs: int
    groups: dict[str, int]
    errors: str
    variances: str | None
    crossed: str | None
    ml: Estimate
    reml: Estimate
    extra: dict[str, Any] = field(default_factory=dict)
