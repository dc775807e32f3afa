"""Causes of a change: data, config, code or environment, by refitting where several changed at once.

From the earlier run's estimates to the present ones there are up to three steps, each of which changes one thing: the
earlier model on the earlier rows by the present code (what differs is code or environment), the same model on the
present rows (data), the present model on the present rows (config, or the ladder's choice). A change is the sum of its
steps. Where the earlier model cannot be fitted to the present rows, the present one is fitted to the earlier rows
instead; where neither can be, the rest of the change stays undivided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.linalg import LinAlgError

from ..errors import HierreportError
from . import noise
from .run import Run

if TYPE_CHECKING:
    from ..mixed import MixedFit
    from .noise import Noise
    from .refit import Rows

Cause = dict[str, Any]
Point = dict[tuple[str, ...], float]
# Keys of the configuration that decide which rows are used, besides the formula.
ROW_KEYS = ("time", "time_step", "weights", "sheet", "variances", "crossed")
# A part below this share of the largest value on the way is the optimizer's last digits.
ROUNDING = 1e-7


@dataclass(frozen=True)
class Step:
    """One step between two sets of estimates, and what it changes.

    Attributes:
        cause: data, config, code or environment, several joined by " or " where they cannot be told apart; choice where
            the ladder took another rung.
        what: how the estimates at its ends came about.
        before, now: estimates by (part, …) keys.
    """

    cause: str
    what: str
    before: Point
    now: Point

    def to_dict(self) -> dict[str, str]:
        return {"cause": self.cause, "what": self.what}


def causes(before: Run, now: Run) -> dict[str, Cause]:
    """What differs in data, config, code and environment: ``changed``, and ``what`` [{name, before, now}]."""
    found: dict[str, Cause] = {}
    for name, key in (("data", "files"), ("config", "config"), ("code", "code"), ("environment", "environment")):
        old, new = before.about.get(key) or {}, now.about.get(key) or {}
        if name == "data":
            old, new = ({f["name"]: f["sha256"] for f in files} for files in (old, new))
        what = [
            {"name": k, "before": old.get(k), "now": new.get(k)} for k in sorted({*old, *new}) if old.get(k) != new.get(k)
        ]
        changed = before.about["parts"][name] != now.about["parts"][name]
        found[name] = {"changed": changed, "what": what if changed else []}
    return found


def point(record: Mapping[str, Any]) -> Point:
    """The REML estimates of a rung that are compared."""
    reml = record["reml"]
    found: Point = {("fixed", f["term"]): f["estimate"] for f in reml["fixed"]}
    for block in reml.get("random") or ():
        found |= {("variance", block["level"], t, "sd"): sd for t, sd in zip(block["terms"], block["sd"], strict=True)}
    found["variance", "residual", "", "sigma"] = reml["sigma"]
    if reml.get("rho") is not None:
        found["variance", "residual", "", "rho"] = reml["rho"]
    return found | {("icc", level): share for level, share in (reml.get("icc") or {}).items()}


@dataclass(frozen=True)
class Path:
    """The steps from one run's estimates to the other's, in order, and the test of the step that the rows make.

    ``not_available``: why there is no test, or no division.
    """

    steps: list[Step]
    test: Noise | None = None
    not_available: str = ""


def path_between(before: Run, now: Run, why: Mapping[str, Cause], moved: bool, nested: str) -> Path:
    """Divide the change from one run to another.

    Args:
        before, now: the runs.
        why: ``causes``.
        moved: whether any row came, went or was revised.
        nested: see ``noise.compare``.
    """
    from .refit import Rows

    start, end = point(before.record), point(now.record)
    same, old, new = same_model(before, now), Rows(before), Rows(now)
    if not moved and same == now.chosen:
        return Path([Step(_all(why), "the same model on the same rows", start, end)], None, "no row changed.")
    code = _joined(why, "code", "environment")
    rows = _rows_cause(why, code, any(r.panel.get("rows_dropped") for r in (before, now)))
    model = "config" if same is None and why["config"]["changed"] else "choice"
    name, steps, why_not = before.chosen, [], "" if moved else "no row changed."
    fits: list[MixedFit | None] = [None, None]
    try:
        fits[0] = old.rung(name)
        fits[1] = new.rung(same) if same else new.fit(before.record, before)
    except HierreportError as error:
        why_not = str(error)
    again = _point(fits[0]) if code else None
    if again is not None and _differ(start, again):
        steps.append(Step(code, f"{name} on the earlier rows, fitted again", start, again))
        start = again
    middle = point(now.rungs[same]) if same else _point(fits[1])
    if middle is not None:
        steps.append(Step(rows, f"{name} on the earlier and on the present rows", start, middle))
        if same != now.chosen:
            steps.append(Step(model, f"from {name} to {now.chosen} on the present rows", middle, end))
    else:
        fits = [_turned(old, before, now), None]
        middle = _point(fits[0])
        if middle is None:
            why_not = why_not or "neither model can be fitted to the other run's rows."
            return Path([*steps, Step(_all(why), "not divided", start, end)], None, why_not)
        steps.append(Step(model, f"from {name} to {now.chosen} on the earlier rows", start, middle))
        steps.append(Step(rows, f"{now.chosen} on the earlier and on the present rows", middle, end))
        fits[1] = new.rung(now.chosen)
    if moved and fits[0] is not None and fits[1] is not None:
        try:
            return Path(steps, noise.compare(fits[0], fits[1], nested, _renamed(before, now)))
        except HierreportError as error:
            why_not = str(error)
        except LinAlgError:
            why_not = "the covariance of the fixed effects is singular."
    return Path(steps, None, why_not)


def _all(why: Mapping[str, Cause]) -> str:
    return _joined(why, *why)


def _joined(why: Mapping[str, Cause], *names: str) -> str:
    return " or ".join(name for name in names if why[name]["changed"])


def _point(fit: MixedFit | None) -> Point | None:
    return None if fit is None else point(fit.record("", "", "normal").to_dict())


def _turned(old: Rows, before: Run, now: Run) -> MixedFit | None:
    """The present model on the earlier rows."""
    try:
        return old.fit(now.record, now)
    except HierreportError:
        return None


def _differ(first: Point, second: Point) -> bool:
    return any(abs(first[k] - second.get(k, first[k])) > ROUNDING * max(abs(first[k]), 1e-3) for k in first)


def _renamed(before: Run, now: Run) -> list[str]:
    """Terms that mean something else: those of a factor whose reference level changed, and the intercept then."""
    old, new = ({f["name"]: f for f in r.panel.get("factors") or ()} for r in (before, now))
    moved = [n for n in new if n in old and new[n]["reference"] != old[n]["reference"]]
    if not moved:
        return []
    columns = [c["name"] for r in (before, now) for c in r.panel["columns"] if c.get("factor")]
    return ["(Intercept)", *(c for c in columns if any(c.startswith(f"{n}[") for n in moved))]


def _rows_cause(why: Mapping[str, Cause], code: str, dropped: bool) -> str:
    """What makes rows differ: data, where their files differ; the configuration, where a key of theirs does; else code.

    The code that reads the rows is named beside the data where it changed too; the formula where rows were ``dropped``
    in either run, since which ones have missing values depends on it.
    """
    config = any(w["name"] in ROW_KEYS or (w["name"] == "formula" and dropped) for w in why["config"]["what"])
    reading = any(w["name"] == "ingest" for w in why["code"]["what"])
    named = [("data", why["data"]["changed"]), ("config", config), ("code", reading)]
    return " or ".join(name for name, there in named if there) or code


def same_model(before: Run, now: Run) -> str | None:
    """The present rung that is the earlier run's chosen model: same formula, errors, variances and crossed effect."""
    keys = ("formula", "errors", "variances", "crossed")
    wanted = [before.record.get(k) for k in keys]
    return next((name for name, r in now.rungs.items() if [r.get(k) for k in keys] == wanted), None)


def attribute(steps: list[Step], key: tuple[str, ...]) -> tuple[dict[str, float] | None, str]:
    """The parts of a change by cause, and the causes that matter, the largest first.

    Returns:
        parts that add to the change, None where a step lacks the quantity; a label, empty where nothing changed.
    """
    ends = [(s.cause, s.before.get(key), s.now.get(key)) for s in steps]
    if any(a is None or b is None for _, a, b in ends):
        there = [cause for cause, a, b in ends if (a is None) != (b is None)]
        return None, " or ".join(dict.fromkeys(there))
    parts: dict[str, float] = {}
    for cause, a, b in ends:
        parts[cause] = parts.get(cause, 0.0) + (b or 0.0) - (a or 0.0)
    least = ROUNDING * max(abs(v or 0.0) for _, a, b in ends for v in (a, b))
    large = sorted((c for c, v in parts.items() if abs(v) > least), key=lambda c: -abs(parts[c]))
    return parts, ", ".join(large)

