"""The command line: help to learn from, refusals as one line, nothing heavy before it is needed."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hierreport import __version__, cli, config, config_files, stages
from hierreport.errors import DataError

HEAVY = {
    "numpy",
    "pandas",
    "scipy",
    "duckdb",
    "pyarrow",
    "pydantic",
    "sqlglot",
    "statsmodels",
    "matplotlib",
    "snakemake",
}


def loaded_by(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after running some code."""
    code += "\nimport sys; print('LOADED', *sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import hierreport",
        "import hierreport.cli, hierreport.stages, hierreport.digest, hierreport.running",
        "from hierreport import cli\ntry: cli.main(['ladder', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_start_up_is_light(code: str) -> None:
    assert loaded_by(code) == set()


def test_help_explains_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for command in ("run", "fit", "ladder", "simulate", "config", "stage"):
        assert f"\n    {command} " in text
    assert "(1 + x | a/b)" in text and "hierreport fit firms.csv --formula" in text


@pytest.mark.parametrize("command", ["run", "fit", "ladder", "simulate", "config", "stage"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: hierreport {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"hierreport {__version__}\n"


def test_unknown_option_is_refused_but_passed_on_by_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["config", "--no-such-option"])
    assert end.value.code == 2
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err


def test_console_script_and_module_are_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "hierreport", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"hierreport {__version__}\n"


def test_stage_reports_a_refusal_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path, options: dict) -> None:
        raise DataError("3 rows are missing.", "panel.csv", "Add them.")

    monkeypatch.setattr(stages, "fit", refuse)
    monkeypatch.setattr("hierreport.running.die_with_parent", lambda: None)
    assert cli.main(["stage", "fit", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == "hierreport: error: panel.csv: 3 rows are missing. Add them.\n"


def test_stage_keeps_the_traceback_of_a_bug_and_ends_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "fit", lambda folder, options: 1 / 0)
    monkeypatch.setattr("hierreport.running.die_with_parent", lambda: None)
    assert cli.main(["stage", "fit", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last)")
    assert err.splitlines()[-1] == "hierreport: error: unexpected ZeroDivisionError: division by zero"


def test_stage_passes_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(stages, "report", lambda folder, options: seen.update(options, folder=folder))
    monkeypatch.setattr("hierreport.running.die_with_parent", lambda: None)
    options = {"title": "a 'b' \"c\" {d} $e"}
    assert cli.main(["stage", "report", str(tmp_path), "--options", json.dumps(options)]) == 0
    assert seen == {**options, "folder": tmp_path}


def test_unknown_stage_names_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stage", "fits", str(tmp_path)]) == 2
    assert "there is no stage 'fits'. Stages: ingest, fit, infer, verify" in capsys.readouterr().err


def test_config_example_is_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--example"]) == 0
    assert config.load(yaml.safe_load(capsys.readouterr().out)) == config_files.EXAMPLE


def test_config_checks_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("analyses:\n  a:\n    panel: x.csv\n    formula: y ~ x + (1 | g)\n")
    assert cli.main(["config", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 1 analysis, no fault found: a\n"
    file.write_text("analyses:\n  a:\n    pannel: x.csv\n    formula: y ~ x + (1 | g)\n")
    assert cli.main(["config", str(file)]) == 2
    assert "unknown key 'pannel'. Did you mean 'panel'?" in capsys.readouterr().err
    block = "  a:\n    panel: x.csv\n    formula: y ~ x + (1 | g)\n"
    for text, key, lines in (
        (f"analyses:\n{block}{block}", "a", "lines 2 and 5"),
        (f"analyses:\n{block}    panel: z.csv\n", "panel", "lines 3 and 5"),
    ):
        file.write_text(text)
        assert cli.main(["config", str(file)]) == 2
        assert f"the key '{key}' stands twice in one block ({lines})" in capsys.readouterr().err


def test_every_stage_reads_only_keys_of_the_configuration() -> None:
    read = {key for keys in stages.STAGES.values() for key in keys}
    assert read == set(config.Analysis.model_fields) - {"alerts"}  # those change no result


def test_simulate_offers_the_whole_design_with_its_defaults() -> None:
    from dataclasses import fields

    from hierreport.simulate import Design

    assert [(name, default) for name, default, _ in cli.DESIGN] == [
        (f.name, f.default) for f in fields(Design) if f.name != "order"
    ]


def test_simulate_then_fit_recovers_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = tmp_path / "stocks.csv"
    small = ["--sectors", "6", "--firms", "8", "--days", "60", "--missing", "0.2", "--seed", "7", "--rho", "0"]
    assert cli.main(["simulate", str(panel), *small]) == 0
    assert f"hierreport fit {panel} --time day --formula" in capsys.readouterr().out
    truth = json.loads((tmp_path / "stocks.truth.json").read_text())

    out = tmp_path / "out"
    assert cli.main(["fit", str(panel), "--formula", truth["formula"], "--time", "day", "--out", str(out)]) == 0
    assert "market" in capsys.readouterr().out
    (file,) = (out / "rungs").glob("*.json")
    rung = json.loads(file.read_text())
    assert file.with_name(f"{file.stem}.effects.parquet").exists()
    assert rung["groups"] == {"sector": 6, "sector/firm": 48}
    assert 0.7 * 6 * 8 * 60 < rung["n_obs"] < 0.9 * 6 * 8 * 60
    for effect in rung["reml"]["fixed"]:
        assert abs(effect["estimate"] - truth["fixed"][effect["term"]]) < 4 * effect["se"]


def test_ladder_writes_its_rungs_and_says_what_it_chose(
    tmp_path: Path, example_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formula = "log(gsp) ~ log(private) + log(emp) + unemp + (1 | region/state)"
    arguments = [str(example_data / "us_states.csv"), "--formula", formula, "--out", str(tmp_path)]
    assert cli.main(["ladder", *arguments]) == 0
    ladder = json.loads((tmp_path / "ladder.json").read_text())
    assert ladder["order"] == ["pooled", "random_intercept", "multilevel"]
    assert {p.stem for p in (tmp_path / "rungs").glob("*.json")} == set(ladder["order"])
    assert ladder["choice"]["rung"] in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "ladder"])
def test_absorbed_effects_are_shown_and_written(
    command: str, tmp_path: Path, example_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(example_data / "uk_firms.csv"), "--formula", "log(emp) ~ log(wage) + (1 | sector/firm)"]
    arguments += ["--time", "year", "--absorb", "firm, year", "--out", str(tmp_path)]
    assert cli.main([command, *arguments]) == 0
    found = json.loads((tmp_path / "absorbed.json").read_text())
    assert found["absorbed"] == ["sector/firm", "year"] and found["clusters"] == {"sector/firm": 140}
    text = capsys.readouterr().out.partition("fixed effects absorbed: sector/firm, year\n")[2]
    assert "errors clustered by 140 sector/firm" in text and f"{found['fixed'][0]['se']:.5g}" in text


def test_the_shells_register_names_what_its_inference_fits(tmp_path: Path, example_data: Path) -> None:
    arguments = [str(example_data / "us_states.csv"), "--formula", "log(gsp) ~ log(emp) + unemp + (1 | region/state)"]
    assert cli.main(["ladder", *arguments, "--absorb", "state", "--inference", "--out", str(tmp_path)]) == 0
    register = {r["rung"]: r for r in json.loads((tmp_path / "ladder.json").read_text())["register"]}
    further = json.loads((tmp_path / "inference.json").read_text())["further"]
    assert {"absorbed", "mundlak", "null:pooled"} <= set(further)
    assert {f["register"] for f in further.values()} <= set(register)
    assert register["inference:null:multilevel"]["formula"] == "log(gsp) ~ 1 + (1 | region/state)"


@pytest.mark.parametrize("command", ["fit", "ladder"])
def test_refusals_are_one_message(
    command: str, tmp_path: Path, example_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel = str(example_data / "us_states.csv")
    assert cli.main([command, panel, "--formula", "log(gsp) ~ log(privat) + (1 | state)"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("hierreport: error: formula: There is no column privat in CSV file us_states.csv.")
    assert "Did you mean private?" in error and "Traceback" not in error
    assert cli.main([command, str(tmp_path / "none.csv"), "--formula", "y ~ x + (1 | g)"]) == 2
    error = capsys.readouterr().err
    assert "none.csv: there is no such file." in error and "Traceback" not in error


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, capsys):
    (tmp_path / "d.csv").write_text("y,x,g\n" + "".join(f"{i % 7}.5,{i % 3},{i % 4}\n" for i in range(40)))
    (tmp_path / "file").write_text("")
    arguments = ["fit", str(tmp_path / "d.csv"), "--formula", "y ~ x + (1 | g)", "--out", str(tmp_path / "file")]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"hierreport: error: {tmp_path / 'file' / 'rungs'}: Not a directory.\n"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device")]
)
def test_a_full_disk_is_one_message(tmp_path, capsys, monkeypatch, error):
    def full(folder, options):
        raise error

    monkeypatch.setattr(stages, "fit", full)
    assert cli.main(["stage", "fit", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("hierreport: error: The disk is full.")
