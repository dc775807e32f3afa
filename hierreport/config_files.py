"""What is generated from the configuration's models: JSON Schema, shipped example, table of keys.

They are committed, so that Snakemake, editors and people find them; a test fails when they are out of step.
"""

from __future__ import annotations

import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .config import Alerts, Analysis, Config, PanelFile

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

SCHEMA_FILE = "workflow/schemas/config.schema.json"
EXAMPLE_FILE = "config/config.yaml"
README_FILE = "config/README.md"
README_MARKS = ("<!-- keys: generated from hierreport/config.py by `make sync-config` -->", "<!-- end of keys -->")

EXAMPLE = Config(
    analyses={
        "uk_firms": Analysis(
            title="Employment in UK companies, 1976-1984",
            description="140 quoted companies in 9 sectors. How employment follows wages, capital and the industry's "
            "output (Arellano and Bond 1991).",
            panel="config/data/uk_firms.csv",
            formula="log(emp) ~ log(wage) + log(capital) + log(output) + C(year) + (1 + log(capital) | sector/firm)",
            time="year",
            units={"emp": "thousand employees"},
            labels={"emp": "employment", "wage": "real wage", "capital": "capital stock", "output": "industry output"},
        ),
        "us_states": Analysis(
            title="Public capital and output of US states, 1970-1986",
            description="48 states in 9 census divisions. What public capital adds to private production (Munnell "
            "1990; Baltagi, Song and Jung 2001).",
            panel="config/data/us_states.csv",
            formula="log(gsp) ~ log(private) + log(emp) + log(hwy) + log(water) + log(other) + unemp "
            "+ (1 | region/state)",
            time="year",
            labels={
                "gsp": "gross state product",
                "private": "private capital",
                "emp": "employment",
                "hwy": "highways",
                "water": "water and sewerage",
                "other": "other public capital",
                "unemp": "unemployment rate",
            },
        ),
    }
)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the configuration."""
    own = {k: v for k, v in Config.model_json_schema().items() if k != "title"}
    for part in _objects(own):
        if "patternProperties" in part:  # pydantic refuses other names, but does not write so
            part["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hierreport configuration",
        "$comment": "Generated from hierreport/config.py by `make sync-config`.",
        **own,
    }


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a value, itself included."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(part)


def example_yaml() -> str:
    """The shipped configuration: every key explained in the first analysis, those of no use there commented out."""
    lines = [
        "# hierreport: what to analyse. Generated from hierreport/config.py; yours to edit.",
        "# Your own data: copy an analysis, name your file and formula, and run `make report`; delete the examples, or",
        "# keep them and write yours to another file: `make report CONFIG=mine.yaml` runs only what stands there.",
        "# All keys: config/README.md.",
        "",
        "analyses:",
    ]
    for number, (name, analysis) in enumerate(EXAMPLE.analyses.items()):
        if number == 0:
            lines.append("  # The name of an analysis is the folder of its results: results/uk_firms/report.html")
        else:
            lines.append("")
        lines.append(f"  {name}:")
        given = analysis.model_dump(mode="json", exclude_defaults=True)
        for key, field in Analysis.model_fields.items():
            if number == 0:
                lines += [f"    # {line}" for line in _wrap(field.description or "", 114)]
            if key in given:
                lines += _yaml_entry(key, given[key], indent=4)
            elif number == 0:
                default = field.get_default(call_default_factory=True)
                lines.append(f"    # {key}: {_scalar(default) if default is not None else ''}".rstrip())
    return "\n".join(lines) + "\n"


def keys_markdown() -> str:
    """The tables of all keys for config/README.md: of an analysis, of the file, of alerts."""
    own = {key: field for key, field in Config.model_fields.items() if key != "analyses"}
    beside = "Beside `analyses`, for [unattended runs](../docs/scheduling.md):"
    rules = "The rules of `alerts`, of the file or of one analysis:"
    tables = [_table(Analysis.model_fields), beside, _table(own), rules, _table(Alerts.model_fields)]
    return "\n\n".join(tables)


def _table(fields: Mapping[str, FieldInfo]) -> str:
    rows = ["| key | what it is | kind | default |", "|---|---|---|---|"]
    for key, field in fields.items():
        required = field.is_required()
        default = field.get_default(call_default_factory=True)
        if required:
            shown = "**required**"
        elif default in (None, {}, []) or isinstance(default, Alerts):
            shown = ""
        else:
            shown = f"`{default if isinstance(default, str) else json.dumps(default)}`"
        text = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{key}` | {text} | {_kind(field.annotation)} | {shown} |")
    return "\n".join(rows)


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin is dict:
        return "block of `name: text`"
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if annotation is PanelFile:
        return "`{path, sheet}`"
    if annotation is Alerts:
        return "block of rules"
    return {str: "text", float: "number", int: "whole number", bool: "`true` or `false`"}[annotation]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _yaml_entry(key: str, value: Any, indent: int) -> list[str]:
    pad = " " * indent
    if isinstance(value, dict):
        return [f"{pad}{key}:", *(f"{pad}  {k}: {_scalar(v)}" for k, v in value.items())]
    text = _scalar(value)
    if len(text) + len(key) + indent > 116 and isinstance(value, str):
        return [f"{pad}{key}: >-", *(f"{pad}  {line}" for line in _wrap(value, 112 - indent))]
    return [f"{pad}{key}: {text}"]


def _scalar(value: Any) -> str:
    """A YAML scalar, quoted only where plain text would be read as something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = re.fullmatch(r"[A-Za-z0-9][^#:\n\"']*[^\s:#\"']|[A-Za-z]", value) and not re.fullmatch(
        r"[\d.eE+-]+|true|false|yes|no|on|off|null|y|n", value, re.IGNORECASE
    )
    return value if plain else json.dumps(value, ensure_ascii=False)


def generated(root: Path) -> dict[Path, str]:
    """Every committed file that is generated from this module, with what it should hold.

    Args:
        root: the checkout; its config/README.md is read, since only the part between the marks is generated.
    """
    readme = (root / README_FILE).read_text(encoding="utf-8")
    head, rest = readme.split(README_MARKS[0], 1)
    tail = rest.split(README_MARKS[1], 1)[1]
    return {
        root / SCHEMA_FILE: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        root / EXAMPLE_FILE: example_yaml(),
        root / README_FILE: f"{head}{README_MARKS[0]}\n{keys_markdown()}\n{README_MARKS[1]}{tail}",
    }
