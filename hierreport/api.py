"""The Python API: one model with ``fit``, the whole ladder with ``ladder``. Nothing is written to disk."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api_methods import Inference
from .errors import ConfigError, DataError
from .rungs import Entry, climb, derive, suffix
from .rungs import Ladder as Comparisons
from .spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .bootstrap import BootstrapTest
    from .choice import Choice
    from .frame import Frame
    from .infer import Rungs
    from .lrt import Comparison
    from .moments import PanelMoments
    from .records import Estimate

__all__ = ["Fit", "Ladder", "fit", "ladder"]

ERRORS = ("iid", "ar1", "car1")


class Fit(Inference):
    """A fitted model.

    Attributes:
        ml, reml: estimates (``records.Estimate``); REML is what is reported, ML what models are compared by.
        frame: the checked model frame.
        panel: the moments that the fit rests on.
        warnings: what the checks of the data and of the fit have to say, as sentences.
    """

    def __init__(self, entry: Entry, frame: Frame, panel: PanelMoments, notes: Sequence[str] = ()) -> None:
        assert entry.fit is not None and entry.record is not None
        self._notes = notes
        self._entry = entry
        self.engine, self.record = entry.fit, entry.record
        self.frame, self.panel = frame, panel

    @property
    def rung(self) -> str:
        """Name of the rung on the ladder."""
        return self.record.rung

    @property
    def formula(self) -> str:
        """The formula in lme4's notation."""
        return self.record.formula

    @property
    def spec(self) -> ModelSpec:
        """Fixed columns and random blocks."""
        return self._entry.spec

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.record.n_obs

    @property
    def groups(self) -> dict[str, int]:
        """Number of groups by level, outermost first."""
        return dict(self.record.groups)

    @property
    def ml(self) -> Estimate:
        """Maximum likelihood."""
        return self.record.ml

    @property
    def reml(self) -> Estimate:
        """Restricted maximum likelihood."""
        return self.record.reml

    @cached_property
    def warnings(self) -> list[str]:
        """What to know before believing the numbers."""
        out = [w["message"] for w in self.frame.info.get("warnings") or []] + list(self._notes)
        for term, others in self.engine.aliased:
            of = f" (a combination of {', '.join(others)})" if others else ""
            out.append(f"{term} was dropped: it adds nothing to the other predictors{of}.")
        if self.ml.singular or self.reml.singular:
            out.append("The fit is singular: a variance of zero or a correlation at its limit.")
        for name, estimate in (("ML", self.ml), ("REML", self.reml)):
            if not estimate.converged:
                out.append(f"The {name} fit did not converge: {estimate.certificate.message}.")
        return out

    def to_dict(self) -> dict[str, Any]:
        """The rung's record, as in ``rungs/<rung>.json``."""
        return self._entry.to_dict()

    def effects(self, level: str | None = None) -> pd.DataFrame:
        """Random effects of a level, or of all levels: level, group columns, term, estimate (BLUP), sd, se_prediction.

        Args:
            level: the level's path (``"sector/firm"``); its last part will do where that is unique.

        Raises:
            ModelError: the model has no such level.
        """
        import numpy as np
        import pandas as pd

        from .rungs_io import effect_columns, effect_levels

        groups = [path.rsplit("/", 1)[-1] for path in self.frame.levels]
        own = effect_levels(self.spec)
        ends = [path for path in own if level in (path, path.rsplit("/", 1)[-1])]
        chosen = own if level is None else ends if len(ends) == 1 else [level]
        periods = None if self.panel.periods is None else self.panel.periods.periods
        parts = [effect_columns(self.engine, path, groups, periods) for path in chosen]
        if not parts:
            return pd.DataFrame(columns=["level", *groups, "term", "estimate", "sd", "se_prediction"])
        return pd.DataFrame({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})

    def predict(
        self,
        new_rows: Any = None,
        *,
        effects: bool = True,
        table: bool = False,
        interval: str | None = None,
        coverage: float = 0.95,
        scale: str = "model",
    ) -> np.ndarray | pd.DataFrame:
        """Predicted outcomes, in the order of the rows (NaN where a predictor is missing).

        Args:
            new_rows: a table or path with the formula's columns (no outcome needed); the fitted rows where left out.
            effects: add the random effects of the groups that the fit knows; a new group gets the population's value
                (and those of the levels above that are known); with a crossed effect of time, the period's too.
            table: a data frame with ``population``, ``conditional`` and ``known`` (the innermost known level) instead.
            interval: ``"confidence"`` (of the expected outcome) or ``"prediction"`` (of one new outcome): a data frame
                with ``fit``, ``se``, ``df``, ``low``, ``high`` and ``known``. For a new group the variance of its
                effect is part of the interval.
            coverage: of the intervals.
            scale: ``"outcome"`` takes a logarithmic outcome back: ``fit`` is then the median, ``mean`` the expected
                value under normality (the median times exp of half the variance).

        Raises:
            FormulaError, DataError: a column that the formula needs is not there.
            ModelError: an interval that this model does not have.

        Source: Henderson (1975), Biometrics 31, for the error variance of a prediction.
        """
        from .predict import intervals, predict

        if interval is not None or scale != "model":
            import pandas as pd

            kind = interval or "confidence"
            rows = intervals(self, new_rows, kind=kind, effects=effects, coverage=coverage, scale=scale)
            out = pd.DataFrame(rows)
            if self.frame.outcome.name.startswith("log(") and scale == "model":
                out.attrs["note"] = (
                    "On the scale of the logarithm: exp of fit and limits gives the median and its limits, not the "
                    'mean; scale="outcome" gives both.'
                )
            return out
        found = predict(self, new_rows)
        if table:
            import pandas as pd

            return pd.DataFrame(found)
        return found["conditional" if effects else "population"]

    @property
    def summary(self) -> str:
        """The fit as text."""
        from .api_text import fit_text

        return fit_text(self)

    def __repr__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        from .api_text import as_html

        return as_html(self.summary)


class Ladder:
    """Fitted rungs, from pooled OLS to the full formula, and what their comparison says.

    Attributes:
        rungs: fits by name, lowest first, simpler forms and AR(1) twins too.
        register: everything that was tried, refused rungs too, with its fate.
        frame, panel: the checked model frame and its moments.
    """

    def __init__(self, entries: Sequence[Entry], comparisons: Comparisons, frame: Frame, panel: PanelMoments) -> None:
        self._comparisons = comparisons
        self.rungs = {e.rung: Fit(e, frame, panel) for e in entries if e.fit is not None}
        self.frame, self.panel = frame, panel

    @property
    def comparisons(self) -> list[Comparison]:
        """Likelihood-ratio tests between rungs."""
        return self._comparisons.comparisons

    @property
    def choice(self) -> Choice:
        """The chosen rung, the way to it, AIC's and BIC's choices."""
        return self._comparisons.choice

    @property
    def chosen(self) -> Fit:
        """The fit of the chosen rung."""
        return self.rungs[self.choice.rung]

    @property
    def register(self) -> list[dict[str, Any]]:
        """Everything that was fitted or refused."""
        return self._comparisons.register

    def bootstrap_lrt(self, null: str, alternative: str, n: int = 999, seed: int = 1) -> BootstrapTest:
        """Test one rung within another by simulation from the null.

        Args:
            null, alternative: names of rungs, the null a special case of the alternative.
            n, seed: draws, and their seed.

        Raises:
            ConfigError: an unknown rung.
            ModelError: rungs that are not nested, with unequal variances or a crossed effect, or too many rows for
                serially correlated errors, which are simulated row by row.

        Source: Davison & Hinkley (1997), eq. 4.11, for the p-value.
        """
        from .api_inference import check_whole
        from .bootstrap import bootstrap_lrt
        from .bootstrap_rows import read_rows

        check_whole(n, 1, "n", "bootstrap_lrt")
        check_whole(seed, 0, "seed", "bootstrap_lrt")
        small, wide = self[null], self[alternative]
        rows = None if small.spec.errors == wide.spec.errors == "iid" else read_rows(self.frame, self.panel)
        return bootstrap_lrt(small.engine, wide.engine, n, seed, rows=rows)

    def inference(
        self, *, seed: int = 1, draws: int | None = None, absorb: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Everything about the chosen rung that ``inference.json`` holds.

        Args:
            seed: of everything simulated.
            draws: of the bootstrap; 0 for none, by default as many as stay cheap.
            absorb: groups and time that least squares with fixed effects are given for too, as ``Fit.absorbed``.
        """
        from .api_inference import check_whole
        from .infer import infer

        check_whole(seed, 0, "seed", "inference")
        if draws is not None:
            check_whole(draws, 0, "draws", "inference")
        options: dict[str, Any] = {"seed": seed, "absorb": absorb} | ({} if draws is None else {"bootstrap": draws})
        return infer(self._rungs(), self.to_dict(), self._info(), options)

    def registered(self, absorb: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Entries of the register for the models that ``inference`` fits beside the ladder.

        Args:
            absorb: as for ``inference``.
        """
        from . import further
        from .formula import parse
        from .rungs_io import formula_text

        info, specs = self._info(), {name: fit.spec for name, fit in self.rungs.items()}
        text = formula_text(parse(info["formula"]), info["fixed"], info["terms"], self.frame.groups)
        return further.register(further.inference(info, specs, self.choice.rung, self.chosen.reml.rho, absorb), text)

    def criteria(self, *, seed: int = 1) -> dict[str, Any]:
        """Criteria of the chosen structure's rungs, ``criteria`` of ``inference.json``.

        Args:
            seed: of random folds.

        Returns:
            ``table``, one entry per rung: AIC, AICc, BIC, conditional AIC (``caic``, Greven & Kneib 2010), predictive
            log ``scores`` without groups of a level and ``"ahead"`` in time, ``r2`` (Nakagawa, Johnson),
            ``r2_snijders_bosker`` by level, ``explained`` over the rung before; ``best`` by criterion; ``sentence``;
            ``notes`` on what is missing; or ``status`` "not available" with its ``reason``.
        """
        from .infer_criteria import criteria

        return criteria(self._rungs(), self.choice.rung, self._info(), seed)

    def _rungs(self) -> Rungs:
        """The rungs for ``infer``, with sums by period as the workflow has them."""
        from .infer import Rungs
        from .moments import reduce_periods
        from .reduce import small_periods

        panel = self.panel
        if panel.periods is None and self.frame.time is not None and small_periods(self.frame, panel.moments):
            panel = replace(panel, periods=reduce_periods(self.frame, panel.moments))
        records = {name: fit.to_dict() for name, fit in self.rungs.items()}
        return Rungs(panel, records, {name: fit.engine for name, fit in self.rungs.items()}, lambda: self.frame)

    def _info(self) -> dict[str, Any]:
        return {**self.frame.info, "columns": [{"name": c.name, "factor": c.factor} for c in self.frame.columns]}

    def to_dict(self) -> dict[str, Any]:
        """The comparison, as in ``ladder.json``."""
        return self._comparisons.to_dict()

    def __contains__(self, rung: object) -> bool:
        return rung in self.rungs

    def __getitem__(self, rung: str) -> Fit:
        if rung not in self.rungs:
            raise ConfigError(f"there is no rung {rung!r}.", "ladder", f"Rungs: {', '.join(self.rungs)}.")
        return self.rungs[rung]

    @property
    def summary(self) -> str:
        """The ladder as text."""
        from .api_text import ladder_text

        return ladder_text(self)

    def __repr__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        from .api_text import as_html

        return as_html(self.summary)


def fit(
    data: Any,
    formula: str,
    *,
    time: str | None = None,
    weights: str | None = None,
    errors: str = "iid",
    variances: str | None = None,
    crossed: bool | str | None = None,
    df: str = "satterthwaite",
    time_step: float | None = None,
    sheet: str | int | None = None,
) -> Fit:
    """Fit one model by ML and REML.

    Args:
        data: a pandas, Polars or Arrow table, or the path of a file, directory or glob.
        formula: lme4's notation: ``"y ~ x + (1 + x | school/class)"``; without a random part, pooled OLS.
        time: column with the time of each row; needed by lags, differences and serial correlation.
        weights: column with case weights, as ``lmer(weights = )``.
        errors: ``"iid"``, ``"ar1"`` or ``"car1"`` (continuous time, as nlme's corCAR1: rho is the correlation one unit
            of a numeric time column apart; of AR(1), one time step).
        variances: column of the data whose values have residual variances of their own (nlme's varIdent).
        crossed: a random effect of the time, shared by all groups, beside the nested ones: True, or the time column.
        df: degrees of freedom: ``"satterthwaite"``, ``"kenward-roger"`` or ``"normal"``.
        time_step: length of one time step, in the time column's unit; the smallest step seen by default.
        sheet: sheet of an Excel file.

    Raises:
        HierreportError: the data, the formula or the model are refused; the message says what to do.
    """
    if errors not in ERRORS:
        raise ConfigError(f"{errors!r} is not an error structure.", "errors", f"Use one of {', '.join(ERRORS)}.")
    if time is None and (errors != "iid" or crossed):
        key = "crossed" if crossed else "errors"
        raise ConfigError("the time of each row must be known.", key, "Name the column with time= as well.")
    from .mixed import fit as fit_model
    from .reduce_lags import in_time_units
    from .variants import with_variants

    frame, panel, text = _read(
        data, formula, time, weights, time_step, sheet, variances, lags="idle" if errors == "iid" else "needed"
    )
    panel = in_time_units(panel, (errors,), time_step)
    panel = with_variants(frame, panel, variances, (time if crossed is True else crossed) or None, errors != "iid")
    spec = ModelSpec(tuple(frame.fixed), tuple(frame.random), errors, variances, time if crossed else None)
    name = derive(frame.fixed, frame.random, frame.levels)[-1][0] + suffix(spec)
    engine = fit_model(panel, spec)
    entry = Entry(name, spec, text(spec), name, fit=engine, record=engine.record(name, text(spec), df))
    notes = []
    if df == "kenward-roger" and engine.reml_state.criterion.parameters.size:
        from .inference import has_kenward_roger

        if not has_kenward_roger(engine.reml_state):
            notes.append(
                "Kenward-Roger's adjustment is for independent errors of equal variance and nested random effects; "
                "Satterthwaite's degrees of freedom stand in for it."
            )
    return Fit(entry, frame, panel, notes)


def ladder(
    data: Any,
    formula: str,
    *,
    time: str | None = None,
    weights: str | None = None,
    errors: Sequence[str] | str | None = None,
    variances: str | None = None,
    crossed: bool | str | None = None,
    rungs: Mapping[str, str] | None = None,
    df: str = "satterthwaite",
    time_step: float | None = None,
    sheet: str | int | None = None,
) -> Ladder:
    """Fit every rung from pooled OLS to the full formula, compare them and choose one.

    Args:
        data, formula, time, weights, df, time_step, sheet: as for ``fit``; the formula is the richest model.
        errors: error structures to fit, ``"iid"`` first; with a time column AR(1) twins are fitted too by default.
        variances, crossed: as for ``fit``: every rung's variants ``<rung>.var`` and ``<rung>.time`` are fitted too, and
            the combinations with each other and with serial correlation (``<rung>.ar1.var.time``); the crossed effect
            takes the place of the formula's period dummies.
        rungs: formulas by name, lowest first, instead of the derived ones.

    Raises:
        HierreportError: the data or the formula are refused, or no rung can be fitted.
    """
    from .reduce_lags import in_time_units
    from .rungs_io import error_structures, own_rungs, with_missed_slopes
    from .variants import period_columns, with_variants

    if isinstance(errors, str):
        errors = None if errors == "auto" else tuple(dict.fromkeys(("iid", errors)))
    if errors is not None and (unknown := [e for e in errors if e not in ERRORS]):
        raise ConfigError(f"{unknown[0]!r} is not an error structure.", "errors", f"Use some of {', '.join(ERRORS)}.")
    frame, panel, text = _read(
        data, formula, time, weights, time_step, sheet, variances, lags="idle" if time is None else "welcome"
    )
    panel = in_time_units(panel, errors or ("auto",), time_step)
    panel = with_variants(frame, panel, variances, (time or "" if crossed is True else crossed) if crossed else None)
    steps = own_rungs(rungs, frame.info) if rungs else derive(frame.fixed, frame.random, frame.levels)
    variables = {v["name"]: v for v in frame.info.get("variables") or []}
    kinds = tuple(errors or error_structures(panel))
    entries, comparisons = climb(
        panel,
        steps,
        text,
        errors=kinds,
        variances=variances,
        crossed=time if crossed else None,
        replaced=period_columns(((c.name, c.factor) for c in frame.columns), frame.info),
        df=df,
        variables=variables,
    )
    columns = [{"name": c.name, "factor": c.factor} for c in frame.columns]
    return Ladder(entries, with_missed_slopes(panel, entries, comparisons, columns, text), frame, panel)


def _read(data, formula, time, weights, time_step, sheet, variances, *, lags: str):
    """The checked frame, its moments, and how to write a specification's formula.

    Args:
        lags: whether lagged moments are "needed", "welcome" or "idle".
    """
    from . import moments
    from .formula import parse
    from .ingest import build_frame
    from .rungs_io import formula_text
    from .source import open_source

    parsed = parse(formula)
    source = open_source(data, sheet=sheet)
    # The database scans on one thread without Python's lock: meanwhile the engine is loaded.
    threading.Thread(target=import_module, args=(f"{__package__}.mixed",), daemon=True).start()
    frame = build_frame(
        source, parsed, time=time, weights=weights, time_step=time_step, variances=variances, moments=True
    )
    panel = moments.PanelMoments(moments.reduce(frame))
    if lags != "idle":
        try:
            panel = moments.PanelMoments(panel.moments, moments.reduce_lags(frame, panel.moments))
        except DataError:
            if lags == "needed":
                raise
    text = formula_text(parsed, frame.fixed, frame.info.get("terms") or {}, frame.groups)
    return frame, panel, text
