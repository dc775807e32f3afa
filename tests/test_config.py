"""The configuration: refusals that help, and generated files in step with their source."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hierreport import config, config_files
from hierreport.errors import ConfigError

GOOD: dict[str, Any] = {"panel": "data.csv", "formula": "y ~ x + (1 | g)"}


def one(**changes: Any) -> dict[str, Any]:
    return {"analyses": {"a": {**GOOD, **changes}}}


def without(key: str, **changes: Any) -> dict[str, Any]:
    return {"analyses": {"a": {k: v for k, v in {**GOOD, **changes}.items() if k != key}}}


FAULTS = [
    ({}, "mine.yaml: the configuration is empty. Copy config/config.yaml and name your file and formula."),
    (None, "mine.yaml: the configuration is empty. Copy config/config.yaml and name your file and formula."),
    ({"analyses": {}}, "mine.yaml: analyses: is empty."),
    ({"analysis": one()["analyses"]}, "mine.yaml: analysis: unknown key 'analysis'. Did you mean 'analyses'?"),
    (without("formula", formla="y ~ x"), "mine.yaml: analyses.a.formla: unknown key 'formla'. Did you mean 'formula'?"),
    (one(wieghts="w"), "mine.yaml: analyses.a.wieghts: unknown key 'wieghts'. Did you mean 'weights'?"),
    (one(Time="year"), "mine.yaml: analyses.a.Time: unknown key 'Time'. Did you mean 'time'?"),
    (without("panel"), "mine.yaml: analyses.a.panel: is missing."),
    (
        one(weights=True),
        "mine.yaml: analyses.a.weights: must be text, not True. Put it in quotes if it is meant as text.",
    ),
    (
        one(formula="y"),
        "mine.yaml: analyses.a.formula: 'y' is not a model formula. Write it as outcome ~ terms + (terms | group).",
    ),
    (
        {"analyses": {"a b": GOOD}},
        "mine.yaml: analyses.a b: 'a b' cannot be a name: use letters, digits, '_', '-' and '.' (it becomes a folder).",
    ),
    (
        one(df="kenward"),
        "mine.yaml: analyses.a.df: 'kenward' is not one of satterthwaite, kenward-roger, normal. "
        "Did you mean 'kenward-roger'?",
    ),
    (
        one(panel={"path": "x.xlsx", "shet": 1}),
        "mine.yaml: analyses.a.panel.shet: unknown key 'shet'. Did you mean 'sheet'?",
    ),
    (one(absorb="firm"), "mine.yaml: analyses.a.absorb: must be a list, not 'firm'. Write [firm]."),
    ({"analyses": {"a": None}}, "mine.yaml: analyses.a: must be a block of keys, not None."),
    (one(seed=-1), "mine.yaml: analyses.a.seed: -1 does not fit: input should be greater than or equal to 0."),
    (one(rungs={}), "mine.yaml: analyses.a.rungs: is empty."),
    # An analysis whose name is a word of the checker's own.
    (
        {"analyses": {"str": {**GOOD, "panel": 3}}},
        "mine.yaml: analyses.str.panel: must be text, not 3. Put it in quotes",
    ),
]


@pytest.mark.parametrize(("data", "message"), FAULTS, ids=[str(i) for i in range(len(FAULTS))])
def test_fault_names_the_key_and_the_remedy(data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(data, "mine.yaml")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(without("panel", wieghts="w", df="t"), "mine.yaml")
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("mine.yaml: analyses.a.") for line in lines)


def test_unknown_key_that_resembles_nothing_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Known keys: title, description, panel, formula, time"):
        config.load(one(zzz=1))


@pytest.mark.parametrize("data", [data for data, _ in FAULTS if data])
def test_schema_refuses_what_load_refuses(data: Any) -> None:
    assert not jsonschema.Draft202012Validator(config_files.schema()).is_valid(data)


@pytest.mark.parametrize(
    "data",
    [
        one(),
        one(panel={"path": "book.xlsx", "sheet": "Data"}, time="t", time_step=0.25, weights="w", df="normal", seed=0),
        one(time_step="day", units={"y": "kg"}, labels={"y": "weight"}, rungs={"pooled": "y ~ x"}),
        one(title="Ärger & 'quotes'", formula="y ~ x +\n (1 | g)"),
    ],
)
def test_schema_and_load_accept_the_same(data: Any) -> None:
    assert config.load(data).analyses["a"].model_dump(mode="json", exclude_defaults=True) == data["analyses"]["a"]
    jsonschema.Draft202012Validator(config_files.schema()).validate(data)


def test_options_hold_only_what_a_stage_reads_and_what_is_not_default() -> None:
    analysis = config.load(one(title="T", df="satterthwaite", seed=3)).analyses["a"]
    assert json.loads(config.options(analysis, ("title", "df", "seed", "time"))) == {"title": "T", "seed": 3}


@pytest.mark.parametrize("file", [config_files.SCHEMA_FILE, config_files.README_FILE])
def test_generated_files_are_in_step(root: Path, file: str) -> None:
    assert (root / file).read_text(encoding="utf-8") == config_files.generated(root)[root / file], (
        "run: make sync-config"
    )


def test_shipped_configuration_is_in_step(root: Path) -> None:
    text = (root / config_files.EXAMPLE_FILE).read_text(encoding="utf-8")
    own = config.load(yaml.safe_load(text), config_files.EXAMPLE_FILE)
    if not config_files.EXAMPLE.analyses.items() <= own.analyses.items():
        pytest.skip("config/config.yaml holds your own analyses instead of the examples")
    assert text.startswith(config_files.example_yaml()), "run: make sync-config"


def test_example_yaml_reads_back_as_the_example() -> None:
    assert config.load(yaml.safe_load(config_files.example_yaml())) == config_files.EXAMPLE


def test_every_key_is_explained() -> None:
    for name, field in config.Analysis.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert f"| `{name}` |" in config_files.keys_markdown()
        assert re.search(rf"^    (# )?{name}:", config_files.example_yaml(), re.MULTILINE), name


@pytest.mark.parametrize("text", ["yes", "2020", "a: b", "it's", "# no", "x", "", "null", "1e3", "plain words", '"q"'])
def test_scalars_survive_yaml(text: str) -> None:
    assert yaml.safe_load(f"k: {config_files._scalar(text)}") == {"k": text}


def test_conda_environment_names_what_pyproject_names(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"duckdb": "python-duckdb"}
    wanted = set()
    for requirement in project["dependencies"]:
        name, version = re.fullmatch(r"([\w-]+)(>=.+)", requirement).groups()  # type: ignore[union-attr]
        wanted.add(f"{names.get(name, name)} {version}")
    listed = yaml.safe_load((root / "workflow/envs/hierreport.yaml").read_text(encoding="utf-8"))["dependencies"]
    assert set(listed) == wanted | {"python >=3.11"}


def test_lock_files_pin_with_hashes_and_name_no_host(root: Path) -> None:
    for file in ("requirements.lock", "requirements-test.lock"):
        text = (root / file).read_text(encoding="utf-8")
        assert "://" not in text and "--index" not in text and "--find" not in text
        entries = re.split(r"\n(?=\S)", text.strip())
        assert len(entries) > 30
        for entry in entries:
            assert re.match(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+", entry) and "--hash=sha256:" in entry, entry[:60]
