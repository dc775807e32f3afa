"""Choice beyond the likelihood-ratio test: information criteria, predictive scores and R² of all rungs in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .conditional_aic import conditional_aic
from .describe import variance_shares
from .errors import ModelError
from .explained import explained_by_rungs, explained_errors, intercept_fits
from .mixed import MixedFit
from .moments import PanelMoments, PeriodMoments, StratumMoments
from .predictive import EXACT_GROUPS, FOLDS, PredictiveScore, left_out_score
from .predictive_ahead import forward_score
from .said import Said, mark, whole

AHEAD = "ahead"
NAMES = {"aic": "AIC", "aicc": "AICc", "bic": "BIC", "caic": "conditional AIC", AHEAD: "log score one period ahead"}


# Scores this near count as the same: refits of the folds stop where nothing that matters can change.
SAME = 0.01
# Criteria this near tie: the conditional AIC is as exact as the optimum's θ, not as its likelihood.
TIED = 1e-4


def criteria_table(
    fits: Mapping[str, MixedFit],
    panel: PanelMoments | None = None,
    *,
    cells: PeriodMoments | StratumMoments | None = None,
    levels: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """All criteria of all rungs.

    Args:
        fits: rungs fitted to the same rows, in the ladder's order.
        panel: the panel's moments: for rungs with structured errors or a crossed effect.
        cells: period moments (one row per cell) or moments by stratum of the time column: for the score ahead in time;
            by default the panel's period moments.
        levels: levels whose groups are left out; by default the outermost and the innermost. An empty list for none.
        seed: of random folds.

    Returns:
        One dictionary per rung: ``rung``, ``n_par``, ``loglik``, ``aic``, ``aicc`` (None where rows are too few),
        ``bic`` (rows), ``caic``, ``caic_df`` (ML; None where undefined), ``singular``, ``scores`` ({level or "ahead":
        PredictiveScore as a dictionary, with ``common_total`` over the folds that all rungs have, ``behind`` the best
        rung and its paired standard error ``behind_se``}), ``r2`` (Nakagawa; REML), ``r2_snijders_bosker``,
        ``loglik_intercepts`` (ML, of the two models that it rests on: with the predictors and without),
        ``explained`` (over the rung before; None for the first), ``notes`` (what is missing and why).

    Raises:
        ModelError: rungs of different numbers of rows; an unknown level.
    """
    rows = {fitted.n_obs for fitted in fits.values()}
    if len(rows) > 1:
        raise ModelError(f"the rungs have different numbers of rows ({', '.join(map(str, sorted(rows)))}).", "criteria")
    explained = {e.rung: e.to_dict() for e in explained_by_rungs(fits)}
    if cells is None and panel is not None:
        cells = panel.periods
    table = []
    simple: dict[tuple, dict[str, Any]] = {}
    scores: dict[str, dict[str, PredictiveScore]] = {}
    for rung, fitted in fits.items():
        moments, notes = fitted.problem.moments, []
        row = information(rung, fitted)
        try:
            conditional = conditional_aic(fitted.ml_state)
            row |= {"caic": conditional.caic, "caic_df": conditional.df}
        except ModelError as error:
            row |= {"caic": None, "caic_df": None}
            notes.append(str(error))
        wanted = list(dict.fromkeys([*moments.levels[:1], *moments.levels[-1:]])) if levels is None else list(levels)
        for level in wanted:
            k = folds(fits, level)
            scores.setdefault(level, {})[rung] = left_out_score(fitted, level, k=k, seed=seed, panel=panel)
        if cells is not None:
            try:
                step = None if panel is None or panel.lags is None else panel.lags.step
                scores.setdefault(AHEAD, {})[rung] = forward_score(moments, cells, fitted.spec, step=step)
            except ModelError as error:
                notes.append(str(error))
        row["singular"] = fitted.ml_state.singular
        row["r2"] = variance_shares(fitted.reml_state)[1]
        # Slopes and error structures play no part in it: rungs with the same levels have the same.
        key = (fitted.spec.fixed, tuple(level.level for level in fitted.spec.random))
        if key not in simple:
            states = intercept_fits(moments, fitted.spec)
            simple[key] = {
                "r2_snijders_bosker": states and explained_errors(moments, states),
                "loglik_intercepts": states and [-0.5 * s.optimum.value for s in states],
            }
        row |= simple[key]
        row["explained"] = explained.get(rung)
        row["notes"] = notes
        table.append(row)
    compared = {key: compare_scores(found) for key, found in scores.items()}
    for row in table:
        row["scores"] = {key: found[row["rung"]] for key, found in compared.items() if row["rung"] in found}
        row["notes"] += [s["note"] for s in row["scores"].values() if s["note"]]
    return table


def folds(fits: Mapping[str, MixedFit], level: str) -> int | None:
    """Number of folds at a level, the same for all rungs: None (one per group) where that takes seconds, else ten.

    Rungs with structured errors are refitted from their moments, tens of times slower than others.
    """
    specs = [fitted.spec for fitted in fits.values()]
    slow = any(s.errors != "iid" or s.variances is not None or s.crossed is not None for s in specs)
    moments = next(iter(fits.values())).problem.moments
    if level not in moments.levels:
        return None
    groups = len(moments.starts(moments.levels.index(level)))
    return FOLDS if groups > (2 * FOLDS if slow else EXACT_GROUPS) else None


def information(rung: str, fitted: MixedFit) -> dict[str, Any]:
    """Likelihood and marginal criteria by ML, lme4's conventions; AICc (Hurvich & Tsai 1989) counts rows."""
    state = fitted.ml_state
    k = len(state.criterion.problem.basis.x_index) + state.criterion.parameters.size + 1
    n, deviance = fitted.n_obs, state.optimum.value
    aic = deviance + 2.0 * k
    return {
        "rung": rung,
        "n_obs": n,
        "n_par": k,
        "loglik": -0.5 * deviance,
        "aic": aic,
        "aicc": aic + 2.0 * k * (k + 1.0) / (n - k - 1.0) if n - k - 1 > 0 else None,
        "bic": deviance + np.log(n) * k,
    }


def compare_scores(found: Mapping[str, PredictiveScore]) -> dict[str, dict[str, Any]]:
    """Scores of several rungs on the folds that all of them have, with paired differences from the best."""
    values = {rung: np.array([np.nan if v is None else v for v in s.values]) for rung, s in found.items()}
    common = np.all([np.isfinite(v) for v in values.values()], axis=0)
    totals = {rung: float(v[common].sum()) for rung, v in values.items()}
    best = max(totals, key=lambda rung: totals[rung]) if common.any() else None
    out = {}
    for rung, score in found.items():
        record = score.to_dict()
        record |= {"common_folds": int(common.sum()), "common_total": None, "behind": None, "behind_se": None}
        if best is not None:
            difference = (values[best] - values[rung])[common]
            record["common_total"] = totals[rung]
            record["behind"] = totals[best] - totals[rung]
            if len(difference) > 1:
                record["behind_se"] = float(np.sqrt(len(difference)) * difference.std(ddof=1))
        out[rung] = record
    return out


def best_by(table: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The rung that each criterion chooses; ties go to fewer parameters. Scores are keyed by level, or "ahead"."""
    out = {}
    for key in ("aic", "aicc", "bic", "caic"):
        known = [row for row in table if row.get(key) is not None]
        if known:
            lowest = min(row[key] for row in known)
            out[key] = min((r for r in known if r[key] <= lowest + TIED), key=lambda r: r["n_par"])["rung"]
    for key in dict.fromkeys(k for row in table for k in row["scores"]):
        known = [row for row in table if row["scores"].get(key, {}).get("behind") is not None]
        tied = [row for row in known if row["scores"][key]["behind"] <= SAME]
        if tied:
            out[key] = min(tied, key=lambda r: r["n_par"])["rung"]
    return out


def criteria_sentence(table: Sequence[Mapping[str, Any]]) -> str:
    """What the criteria choose, and where they disagree, why. The same table gives the same words."""
    best = best_by(table)
    if not best:
        return "No criterion is defined for these rungs."
    by_rung: dict[str, list[str]] = {}
    for key, rung in best.items():
        by_rung.setdefault(rung, []).append(key)
    if len(by_rung) == 1:
        rung, keys = next(iter(by_rung.items()))
        return f"All criteria ({_list([_name(k) for k in keys])}) choose {rung}."
    parts = [
        f"{_list([_name(k) for k in keys])} {'choose' if len(keys) > 1 else 'chooses'} {rung}"
        for rung, keys in by_rung.items()
    ]
    sentences = [f"{'; '.join(parts)}."]
    reference = best.get("aic", next(iter(best.values())))
    rows = {row["rung"]: row for row in table}
    for key, rung in best.items():
        if rung != reference:
            sentences.append(_why(key, rung, reference, rows))
    return Said(" ".join(s for s in sentences if s))


def _group(level: str) -> str:
    """What one group of a level is called."""
    return level.split("/")[-1]


def _name(key: str) -> str:
    return NAMES.get(key, f"log score without each {_group(key)}")


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _fixed(value: float) -> str:
    return mark(value, f"{value:.1f}")


def _why(key: str, rung: str, reference: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a criterion may choose another rung than AIC, and whether its lead can be chance."""
    n = rows[rung]["n_obs"]
    if key == "bic":
        return f"BIC charges {_fixed(np.log(n))} for a parameter where AIC charges {whole(2)}."
    if key == "aicc":
        return f"AICc charges more than AIC where {whole(n)} rows are few for the parameters."
    if key == "caic":
        return (
            "The conditional AIC asks which rung predicts new rows of the same groups, AIC which predicts new groups."
        )
    if key == AHEAD:
        words = "The score ahead in time asks which rung predicts the next period of the same groups"
    else:
        words = f"The score without each {_group(key)} asks which rung predicts a {_group(key)} that it has not seen"
    other = rows[reference]["scores"].get(key, {})
    if other.get("behind") is None:
        return f"{words}."
    lead, se = other["behind"], other["behind_se"]
    if se is None:
        return f"{words}; {rung} leads {reference} by {_fixed(lead)}."
    chance = "which can be chance" if lead < 2.0 * se else "more than chance"
    return f"{words}; {rung} leads {reference} by {_fixed(lead)} (standard error {_fixed(se)}), {chance}."
