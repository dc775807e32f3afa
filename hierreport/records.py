"""Typed records that pass between the stages, and their JSON form.

Names follow the artifact schema and are fixed: ``rungs/<rung>.json`` is ``Rung.to_dict()``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any


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


def plain(value: Any) -> Any:
    """Turn records, arrays and NumPy scalars into what ``json.dumps`` writes without surprises."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.metadata.get("json", True)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
