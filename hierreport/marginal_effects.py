"""Average marginal effects of numeric predictors, overall and by the levels of a factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import ModelError
from .fixed_contrasts import check_adjust, compare_levels
from .records import FixedEffect, Record
from .reference_rows import derivatives

if TYPE_CHECKING:
    from .api import Fit


@dataclass(frozen=True)
class MarginalEffects(Record):
    """Average marginal effects of one column of the data (REML).

    Attributes:
        column: the column; by: the factor, empty without one; levels: its levels.
        adjust: how p-values and intervals of the contrasts allow for their number, as ``FactorContrasts.adjust``.
        effects: one per level, or a single one; ``term`` is the level, or the column.
        contrasts: differences between levels, ``term`` is ``"b - a"``, adjusted; empty without a factor.
        p_unadjusted: of the contrasts.
        note: what was averaged.
    """

    column: str
    by: str
    levels: list[str]
    adjust: str
    effects: list[FixedEffect]
    contrasts: list[FixedEffect]
    p_unadjusted: list[float]
    note: str


def marginal_effects(
    fit: Fit, column: str, by: str | None = None, adjust: str = "holm", coverage: float = 0.95
) -> MarginalEffects:
    """Change of the expected outcome (on the model's scale) per unit of a column, averaged over the fitted rows.

    All terms that hold the column count: interactions, powers, logarithms; lags move with it, group means stay.

    Source: Stata's ``margins, dydx()``, marginaleffects' ``avg_slopes``: the mean over rows of ∂(x'β)/∂c, which is
    linear in β, so that its standard error is exact given the covariance.

    Raises:
        ModelError: a column that is no numeric predictor, no such factor, an unknown adjustment.
    """
    check_adjust(adjust, coverage)
    slopes = derivatives(fit, column)
    note = f"Average over the {len(slopes):,} fitted rows."
    if by is None:
        effects, _, _ = compare_levels(fit, slopes.mean(axis=0)[None], [column], adjust, coverage)
        return MarginalEffects(column, "", [], adjust, effects, [], [], note)
    factors = {f["name"]: f for f in fit.frame.info.get("factors") or []}
    named = factors.get(by) or next((f for f in factors.values() if f["column"] == by), None)
    if named is None:
        do = f"Its factors: {', '.join(factors)}." if factors else "It has none; C(x) makes a factor of numbers."
        raise ModelError(f"the model has no factor {by!r}.", "marginal effects", do)
    own = '"' + named["column"].replace('"', '""') + '"'
    found = fit.frame.con.execute(f"SELECT {own} FROM {fit.frame.table} ORDER BY __row").fetchnumpy()
    labels = np.array(next(iter(found.values())), dtype=object)
    levels = [entry["level"] for entry in named["levels"]]
    rows = np.array([slopes[labels == level].mean(axis=0) for level in levels])
    effects, adjusted, plain = compare_levels(fit, rows, levels, adjust, coverage)
    note = f"Averages over the fitted rows of each level of {by}."
    return MarginalEffects(column, by, levels, adjust, effects, adjusted, [f.p for f in plain], note)
