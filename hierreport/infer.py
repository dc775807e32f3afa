"""The stage ``infer``: intervals, simulated tests, robust and alternative inference, criteria, for the chosen rung.

Everything is computed from the moments and the rungs' records; nothing here changes the choice. What a section cannot
give it says: ``{"status": "not available", "reason": …}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import HierreportError
from .ladder_record import spec_from_dict
from .mixed import MixedFit, fit
from .moments import PanelMoments
from .records import plain
from .said import mark
from .spec import ModelSpec

if TYPE_CHECKING:
    from .bootstrap_rows import Rows
    from .frame import Frame

DRAWS = 1000
# Draws where fewer will do: a test whose answer is clear or beyond doubt, a rung that was not chosen.
CLEAR, PLAIN, FEWEST = 249, 99, 199
# Serially correlated errors are drawn as rows and refitted one by one: fewer draws where no number is asked for, and
# none of more rows than these.
SERIAL_ROWS = 100_000
COVERAGE = 0.95
# Groups times columns squared of one fit (2.4e4 for uk_firms, where 1,000 draws take 0.3 s): up to CHEAP all draws are
# made, up to BOOTSTRAP fewer, beyond none; up to LIMIT there are profiles.
CHEAP, BOOTSTRAP, LIMIT = 1e5, 5e5, 1e6
STRUCTURED = 5.0
# A test whose corrected p-value lies outside needs fewer draws to stay on its side of 5 %.
CLEAR_BELOW, CLEAR_ABOVE, PLAIN_ABOVE = 0.002, 0.15, 0.5
LEVEL = 0.05
# A rung fitted again from its own optimum must reach it: else it is fitted from all starts.
SAME = 1e-5


class Rungs:
    """The fitted rungs of a ladder, fitted again from their optimum where one is needed.

    Args:
        panel: moments.
        records: ``rungs/*.json`` by name, in the ladder's order.
        fits: fits at hand (the Python API's).
        frame: gives the checked model frame, where the rows are to be had.
    """

    def __init__(
        self,
        panel: PanelMoments,
        records: Mapping[str, Mapping[str, Any]],
        fits: Mapping[str, MixedFit] | None = None,
        frame: Callable[[], Frame] | None = None,
    ) -> None:
        self.panel, self.records, self.fits, self.frame = panel, dict(records), dict(fits or {}), frame
        self._rows: Rows | None = None

    def rows(self) -> Rows | None:
        """The panel's rows, which simulating serially correlated errors needs; None where they are not at hand.

        Raises:
            ModelError: they are too many.
        """
        if self._rows is None:
            from .bootstrap_rows import cell_rows, read_rows

            self._rows = cell_rows(self.panel)
            if self._rows is None and self.frame is not None and self.panel.lags is not None:
                self._rows = read_rows(self.frame(), self.panel)
        return self._rows

    def __getitem__(self, rung: str) -> MixedFit:
        if rung not in self.fits:
            self.fits[rung] = self._again(self.records[rung])
        return self.fits[rung]

    def _again(self, record: Mapping[str, Any]) -> MixedFit:
        spec, theta = spec_from_dict(record["extra"]["spec"]), record["extra"].get("theta")
        if theta is not None:
            found = fit(self.panel, spec, start=np.array(theta, dtype=float), restarts=0)
            pairs = ((found.ml_state, record["ml"]), (found.reml_state, record["reml"]))
            if all(s.optimum.value < e["deviance"] + SAME * max(1.0, 1e-3 * abs(e["deviance"])) for s, e in pairs):
                return found
        return fit(self.panel, spec)

    def cost(self, rung: str) -> float:
        """Groups times columns squared, more under an error structure: what evaluating its criterion costs."""
        spec = spec_from_dict(self.records[rung]["extra"]["spec"])
        columns = len({*spec.fixed, *(t for level in spec.random for t in level.terms)}) + 1
        work = float(len(self.panel.moments.n)) * columns**2
        return work if spec.errors == "iid" and spec.variances is None else STRUCTURED * work

    def same(self, spec: ModelSpec) -> str | None:
        """Name of the rung with a specification."""
        return next((n for n, r in self.records.items() if spec_from_dict(r["extra"]["spec"]) == spec), None)

    def plain(self) -> list[str]:
        """The ladder's own rungs with independent errors, lowest first."""
        out = []
        for name, record in self.records.items():
            spec = spec_from_dict(record["extra"]["spec"])
            if is_plain(spec) and not record["extra"]["step"]:
                out.append(name)
        return out


def is_plain(spec: ModelSpec) -> bool:
    """Independent errors of equal variance and no crossed effect."""
    return spec.errors == "iid" and spec.variances is None and spec.crossed is None


def run(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """``inference.json`` of an analysis' folder.

    Args:
        folder: with panel.json, moments*.parquet, rungs/ and ladder.json.
        options: ``seed``; ``bootstrap``, the number of draws (0: none; by default up to 1,000, fewer for tests whose
            answer is clear and for panels of very many groups); ``absorb``, groups and time whose effects are absorbed.

    Raises:
        ConfigError: a name under ``absorb`` that is neither a group nor the time.
    """
    from . import ingest, moments

    read = {name: json.loads((folder / name).read_text(encoding="utf-8")) for name in ("panel.json", "ladder.json")}
    records = {
        rung: json.loads((folder / "rungs" / f"{rung}.json").read_text(encoding="utf-8"))
        for rung in read["ladder.json"]["order"]
    }
    rungs = Rungs(moments.read(folder), records, frame=lambda: ingest.load_frame(folder))
    where = f"analyses.{folder.resolve().name}.absorb"
    return infer(rungs, read["ladder.json"], read["panel.json"], options, where)


def infer(
    rungs: Rungs,
    ladder: Mapping[str, Any],
    info: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    where: str = "absorb",
) -> dict[str, Any]:
    """All of ``inference.json`` as plain dictionaries.

    Args:
        rungs: the fitted rungs.
        ladder: ``ladder.json``.
        info: ``panel.json``.
        options: see ``run``.
        where: config key of ``absorb``, for messages.
    """
    from . import further, infer_criteria, infer_further, infer_intervals, infer_robust

    options = options or {}
    chosen = ladder["choice"]["rung"]
    spec = spec_from_dict(rungs.records[chosen]["extra"]["spec"])
    iid = chosen if is_plain(spec) else rungs.same(replace(spec, errors="iid", variances=None, crossed=None))
    iid = iid or rungs.records[chosen]["extra"]["base"]
    iid = iid if iid in rungs.records else None
    seed, draws = int(options.get("seed") or 1), options.get("bootstrap")
    out: dict[str, Any] = {
        "rung": chosen,
        "iid_rung": iid,
        "coverage": COVERAGE,
        "seed": seed,
        "draws": DRAWS if draws is None else int(draws),
    }
    both = [chosen] + ([iid] if iid and iid != chosen else [])
    most = {r: DRAWS if r == chosen else FEWEST for r in both}
    out["intervals"] = {r: infer_intervals.intervals(rungs, r, draws, seed, most[r]) for r in both}
    out["tests"] = infer_intervals.tests(rungs, ladder, draws, seed)
    out["df_methods"] = infer_intervals.df_methods(rungs, both)
    out["robust"] = infer_robust.robust(rungs, chosen)
    out["fixed_or_random"] = infer_robust.fixed_or_random(rungs, chosen)
    out["criteria"] = infer_criteria.criteria(rungs, chosen, info, seed)
    out["missed_slopes"] = ladder.get("missed_slopes") or {
        "status": "not available",
        "reason": "The ladder was fitted without trying them.",
    }
    out["first_differences"] = infer_robust.differences(rungs, chosen)
    out["absorbed"] = infer_robust.absorbed_effects(rungs, chosen, info, options.get("absorb"), where)
    specs = {n: spec_from_dict(r["extra"]["spec"]) for n, r in rungs.records.items()}
    rho = rungs.records[chosen]["reml"]["rho"]
    planned = further.inference(info, specs, chosen, rho, options.get("absorb"))
    out["further"] = infer_further.results(planned, out, rungs.panel.moments)
    out["sentences"] = sentences(out)
    return plain(out)


def attempt(make: Callable[[], dict[str, Any]], **known: Any) -> dict[str, Any]:
    """A section: what ``make`` gives, or why there is none."""
    try:
        return known | {"status": "done", "reason": ""} | make()
    except HierreportError as refusal:
        return known | {"status": "not available", "reason": str(refusal)}
    except np.linalg.LinAlgError:
        return known | {"status": "not available", "reason": "A matrix of this computation is singular."}


def draws_for(work: float, asked: int | None, *, most: int = DRAWS) -> int:
    """Number of bootstrap draws: as asked for, or as many as stay cheap, whatever the machine.

    Args:
        work: ``Rungs.cost`` of the fits that every draw repeats.
        asked: the configuration's number; None for the default.
        most: the default where a fit is cheap.
    """
    if asked is not None:
        return int(asked)
    return most if work < CHEAP else int(np.clip(most * CHEAP / work, FEWEST, most)) if work < BOOTSTRAP else 0


def neighbours(rungs: Rungs, ladder: Mapping[str, Any], asked: int | None) -> list[tuple[str, str]]:
    """Pairs to test by simulation: consecutive rungs with independent errors, then what the choice tested besides.

    Tests between rungs with the chosen serial correlation take longer: those of the choice that are not clear, all of
    its tests where a number of draws is asked for.
    """
    pairs = list(pairwise(rungs.plain()))
    for comparison in ladder["comparisons"]:
        pair = (comparison["null"], comparison["alternative"])
        known = all(name in rungs.records for name in pair)
        if known and pair not in pairs and comparison["statistic"] is not None:
            specs = [spec_from_dict(rungs.records[name]["extra"]["spec"]) for name in pair]
            kind, p = ladder["choice"]["errors"], comparison["p_boundary"]
            same = all(is_plain(replace(s, errors="iid")) and s.errors == kind for s in specs)
            tried = any(
                pair == (t["against"], t["rung"]) and (t["accepted"] or (t["p"] or 0.0) >= LEVEL)
                for t in ladder["choice"]["path"]
            )
            near = p is not None and CLEAR_BELOW < p < CLEAR_ABOVE
            if same and (kind == "iid" or (tried and (asked or near))):
                pairs.append(pair)
    return pairs


def _p(p: float) -> str:
    return mark(p, f"{p:.3f}")


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What to take from the sections, most important first."""
    out = []
    differences = found["first_differences"]
    if differences and differences.get("sentence"):
        out.append(differences["sentence"])
    other = [t for t in found["tests"] if t.get("p_bootstrap") is not None and t["p_boundary"] is not None]
    changed = [t for t in other if (t["p_bootstrap"] < 0.05) != (t["p_boundary"] < 0.05)]
    for t in changed:
        out.append(
            f"{t['alternative']} against {t['null']}: the simulated p-value ({_p(t['p_bootstrap'])}) and the "
            f"boundary-corrected one ({_p(t['p_boundary'])}) fall on different sides of 5 %; trust the simulated one."
        )
    if other and not changed:
        out.append("Simulated and boundary-corrected p-values of all tests between rungs fall on the same side of 5 %.")
    out += [s for s in (found["fixed_or_random"].get("sentence"), found["missed_slopes"].get("sentence")) if s]
    out += [i["agree"] for i in list(found["intervals"].values())[:1] if i["agree"]]
    if found["criteria"].get("sentence"):
        out.append(found["criteria"]["sentence"])
    return out
