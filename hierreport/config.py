"""The configuration: one typed source for its checks, its JSON Schema, the shipped example and the documentation.

``load`` turns what YAML gave into records or refuses with the key, what is wrong with it and the nearest known key.
``config_files`` writes the schema, the example and the table of keys from these models (``make sync-config``).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .errors import ConfigError

# The name becomes a folder, a wildcard and part of a shell command.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
ModelFormula = Annotated[str, StringConstraints(pattern=r"\S\s*~\s*\S")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PanelFile(_Model):
    """A panel that needs more than a path."""

    path: Text = Field(description="File, folder or pattern.")
    sheet: Text | int | None = Field(default=None, description="Sheet of an Excel workbook, by name or number from 0.")


Share = Annotated[float, Field(ge=0)]


class Alerts(_Model):
    """When an unattended run needs a person. A rule that is false or empty is off."""

    columns: bool = Field(default=True, description="A column of the data came, went or changed its type.")
    groups_gone: Annotated[int, Field(ge=0)] | None = Field(
        default=0, description="More than so many groups of a level are no longer there."
    )
    rows_fall: Share | None = Field(default=0.1, description="Rows fell by more than this share (0.1: a tenth).")
    rows_rise: Share | None = Field(default=0.5, description="Rows rose by more than this share.")
    rows_revised: Share | None = Field(
        default=0.05, description="More than this share of the earlier rows has other values now."
    )
    choice: bool = Field(default=True, description="Another rung was chosen.")
    checks: bool = Field(default=True, description="A check turned for the worse.")
    coefficient_se: Share | None = Field(
        default=2.0, description="A coefficient moved by more than so many of its standard errors."
    )
    coefficient_percent: Share | None = Field(
        default=None, description="A coefficient moved by more than so many percent of its earlier value."
    )
    coefficient_change: Share | None = Field(
        default=None, description="A coefficient moved by more than this, in its own unit."
    )


class Analysis(_Model):
    """One analysis: a panel, its richest model, and a report."""

    title: Text | None = Field(default=None, description="Heading of the report; the analysis' name where not given.")
    description: Text | None = Field(
        default=None, description="A sentence or two under the heading: what is studied, where the data come from."
    )
    panel: Text | PanelFile = Field(
        description="The data: CSV or TSV (.gz too), Parquet, Feather/Arrow, JSON lines, Stata, SAS or Excel. A folder "
        "or a pattern such as data/*.parquet is one panel. Relative to the folder the workflow runs in. One sheet of a "
        "workbook: {path: book.xlsx, sheet: Sheet1}."
    )
    formula: ModelFormula = Field(
        description="The richest model in lme4's notation; the simpler rungs of the ladder are derived from it. "
        "(1 + x | a/b): intercepts and slopes of x by a, and by b within a."
    )
    time: Text | None = Field(
        default=None,
        description="Column that orders the rows of a group: for lags, serial correlation, coverage and gaps.",
    )
    time_step: Annotated[float, Field(gt=0)] | Text | None = Field(
        default=None,
        description="Length of one step of the time column: a number in its unit, or day, week, month, quarter, year; "
        "period counts the periods that occur (trading days). The smallest step seen where not given.",
    )
    partitions: Literal["time"] | None = Field(
        default=None,
        description="time: the panel's files are stretches of time, in the order of their names. What was made of "
        "files that have not changed is kept, and only new ones are read; numbers are the same as if all were read.",
    )
    weights: Text | None = Field(
        default=None,
        description="Column of weights as in lmer(weights = ): a row of weight 2 has half the residual variance.",
    )
    rungs: Annotated[dict[Name, ModelFormula], Field(min_length=1)] | None = Field(
        default=None,
        description="A ladder of your own, simplest rung first, as names with formulas; replaces the derived one. "
        "Every rung has the outcome of `formula`, and only terms that occur in it.",
    )
    units: dict[str, Text] = Field(default_factory=dict, description="Units of columns, for axes and sentences.")
    labels: dict[str, Text] = Field(default_factory=dict, description="Readable names of columns and groups.")
    locale: Literal["en", "de", "de-CH", "es", "fr", "it", "nl", "pl", "pt", "sv", "si"] = Field(
        default="en",
        description="Decimal mark and marks between thousands in the report: 1,234.5 (en), 1.234,5 (de), 1 234.5 (si).",
    )
    sign_off: Text | None = Field(
        default=None,
        description="Your form for the model document: a YAML file with what only a person can say (owner, intended "
        "use, approval). `hierreport signoff ANALYSIS --init` writes one with empty places; it is never overwritten.",
    )
    df: Literal["satterthwaite", "kenward-roger", "normal"] = Field(
        default="satterthwaite", description="Degrees of freedom of the fixed effects' tests and intervals."
    )
    errors: Literal["auto", "iid", "ar1", "car1"] = Field(
        default="auto",
        description="Serial correlation of the errors that every rung is fitted with besides independent ones: AR(1) "
        "(car1, continuous time, its rho for one unit of a numeric time) wherever there is a time column (auto), none "
        "(iid), or the one named.",
    )
    variances: Text | None = Field(
        default=None,
        description="Column whose values have residual variances of their own (nlme's varIdent): every rung's variant "
        "<rung>.var is fitted too, and with a time column <rung>.ar1.var. Any column of categories in the panel, in "
        "the formula or not; rows that miss it are left out.",
    )
    crossed: Text | None = Field(
        default=None,
        description="The time column, for shocks shared by all groups in a period: every rung's variant <rung>.time, "
        "with a random effect of the period in place of its dummies, is fitted too, and so are <rung>.ar1.time and, "
        "with `variances`, <rung>.var.time and <rung>.ar1.var.time.",
    )
    absorb: Annotated[list[Text], Field(min_length=1)] | None = Field(
        default=None,
        description="Groups of the formula, the time column or both, such as [firm, year]: beside the ladder, least "
        "squares with a fixed effect for every one of their values (fixest, reghdfe), errors clustered by the group.",
    )
    bootstrap: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Draws of the parametric bootstrap: simulated tests between rungs and intervals; 0 turns it off. "
        "Where not given 1000, and fewer where the answer is clear or groups are very many.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        default=1, description="Seed of everything random: simulated tests, subsets of groups for second opinions."
    )
    alerts: Alerts | None = Field(
        default=None,
        description="What in the changes since the last run needs a person, for `run --unattended`: rules of this "
        "analysis, where they differ from the file's own `alerts`.",
    )


class Config(_Model):
    """The configuration file."""

    analyses: Annotated[dict[Name, Analysis], Field(min_length=1)] = Field(
        description="The analyses by name; the name is the folder of the results. Any number run side by side."
    )
    alerts: Alerts = Field(
        default_factory=Alerts,
        description="What in the changes since the last run needs a person, for `run --unattended`; an analysis may "
        "set its own.",
    )
    notify: list[Text] = Field(
        default_factory=list,
        description="Where `run --unattended` sends its summary: addresses of Apprise (mailto://, slack://, …), or "
        "env:NAME for an environment variable that holds them. Addresses in HIERREPORT_NOTIFY are used too.",
    )
    notify_when: Literal["person", "new", "always"] = Field(
        default="person",
        description="When to notify: where a person is needed (any exit code but 0 and 10), also for new results, or "
        "after every run.",
    )


def load(data: Any, where: str = "config") -> Config:
    """Check a configuration.

    Args:
        data: the mapping that YAML or Snakemake read.
        where: what to call it in messages, usually the file's name.

    Returns:
        the typed configuration.

    Raises:
        ConfigError: every fault at once, a line each: the key, what is wrong, and the nearest known key for a typo.
    """
    if not isinstance(data, Mapping) or not data:
        raise ConfigError(
            "the configuration is empty.", where, "Copy config/config.yaml and name your file and formula."
        )
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        faults = _faults(error, data)
    first, more = faults[0], faults[1:]
    raise ConfigError("\n".join([first, *(f"{where}: {fault}" for fault in more)]), where) from None


def _faults(error: ValidationError, data: Mapping[str, Any]) -> list[str]:
    """The validation's findings as one sentence per fault, without what only repeats another."""
    found: dict[tuple[str, ...], str] = {}
    guessed: set[tuple[str, ...]] = set()
    for item in error.errors(include_url=False):
        kind, value = item["type"], item["input"]
        path = _user_path(item["loc"], data, kind)
        if kind == "string_type" and path[-1:] == ("panel",) and isinstance(value, Mapping):
            continue  # a block was meant: its own faults are reported
        if kind == "extra_forbidden":
            known = list(_model_at(path[:-1]).model_fields)
            near = _nearest(path[-1], known, _value_at(data, path[:-1]))
            guessed.add((*path[:-1], near or ""))
            hint = f"Did you mean '{near}'?" if near else f"Known keys: {', '.join(known)}."
            found[path] = f"{'.'.join(path)}: unknown key '{path[-1]}'. {hint}"
        elif path[:1] == ("notify",):  # an address may hold a password: not shown
            found[path] = f"{'.'.join(path)}: does not fit: it is a list of texts."
        elif path not in found:
            found[path] = f"{'.'.join(path)}: {_sentence(kind, value, item)}"
    missing = {p for p in guessed if p in found and found[p].endswith("is missing.")}
    return [text for path, text in found.items() if path not in missing]


def _user_path(location: Sequence[int | str], data: Any, kind: str) -> tuple[str, ...]:
    """The keys as the user wrote them: pydantic also names types of keys and branches of unions."""
    path: list[str] = []
    for number, part in enumerate(location):
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif not (kind == "missing" and number == len(location) - 1):
            continue
        path.append(str(part))
    return tuple(path)


def _model_at(path: tuple[str, ...]) -> type[BaseModel]:
    if not path:
        return Config
    if path[-1] == "panel":
        return PanelFile
    return Alerts if path[-1] == "alerts" else Analysis


def _value_at(data: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        data = data.get(key, {}) if isinstance(data, Mapping) else {}
    return data


def _nearest(key: str, known: list[str], present: Any) -> str | None:
    """The known key that looks most like a typo, preferring those that are not yet given."""
    unused = [k for k in known if k not in present]
    for candidates in (unused, known):
        close = difflib.get_close_matches(key.lower(), candidates, n=1, cutoff=0.6)
        if close:
            return close[0]
    return None


def _sentence(kind: str, value: Any, item: Mapping[str, Any]) -> str:
    context = item.get("ctx", {})
    match kind:
        case "missing":
            return "is missing."
        case "string_type":
            return f"must be text, not {value!r}. Put it in quotes if it is meant as text."
        case "string_pattern_mismatch" if "~" in context.get("pattern", ""):
            return f"{value!r} is not a model formula. Write it as outcome ~ terms + (terms | group)."
        case "string_pattern_mismatch":
            return f"{value!r} cannot be a name: use letters, digits, '_', '-' and '.' (it becomes a folder)."
        case "literal_error":
            expected = re.findall(r"'([^']+)'", str(context.get("expected", "")))
            near = difflib.get_close_matches(str(value).lower(), expected, n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            return f"{value!r} is not one of {', '.join(expected)}.{hint}"
        case "list_type":
            return f"must be a list, not {value!r}. Write [{value}]."
        case "too_short":
            return "is empty."
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a block of keys, not {value!r}."
        case _:
            return f"{value!r} does not fit: {str(item['msg'])[0].lower()}{str(item['msg'])[1:]}."


def options(analysis: Analysis, keys: Sequence[str]) -> str:
    """The options of one stage as JSON: only the keys it reads, and of those only what differs from the default."""
    given = analysis.model_dump(mode="json", exclude_defaults=True)
    return json.dumps({key: given[key] for key in keys if key in given}, sort_keys=True, ensure_ascii=False)


def alert_limits(config: Config, analysis: str) -> dict[str, Any]:
    """Limit of each alert rule for an analysis: its own where it sets one, else the file's."""
    own = config.analyses[analysis].alerts
    return {**config.alerts.model_dump(), **(own.model_dump(exclude_unset=True) if own else {})}


def panel_path(analysis: Analysis) -> str:
    """Where the panel is: file, folder, pattern or URL."""
    return analysis.panel.path if isinstance(analysis.panel, PanelFile) else analysis.panel
