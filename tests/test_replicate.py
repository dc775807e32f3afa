"""The replication kit: its data are the model frame, and R and statsmodels find the same numbers with its scripts."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hierreport import ingest, moments, stages
from hierreport.replicate import kit, write_kit
from hierreport.replicate.names import LIMIT, safe_names
from hierreport.source import open_source

EXAMPLES = ("uk_firms", "us_states")


def r_is_missing() -> str:
    """Why the R scripts cannot run here; empty where they can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    ask = 'for (p in c("lme4", "lmerTest", "nlme")) if (!requireNamespace(p, quietly = TRUE)) cat(p, "")'
    done = subprocess.run(["Rscript", "-e", ask], capture_output=True, text=True, timeout=60, check=False)
    return f"R lacks {done.stdout}" if done.stdout or done.returncode else ""


MISSING = r_is_missing()
needs_r = pytest.mark.skipif(bool(MISSING), reason=MISSING or "R is there")


@pytest.fixture(scope="module")
def kits(run_stages: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The analyses' folders with their kits."""
    found = {}
    for analysis in EXAMPLES:
        folder = tmp_path_factory.mktemp("kits") / analysis
        shutil.copytree(run_stages(analysis, until="fit"), folder)
        write_kit(folder)
        found[analysis] = folder
    return found


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis with names that no other language accepts, weights, and independent random coefficients."""
    base = tmp_path_factory.mktemp("odd")
    draw = random.Random(7)
    with open(base / "odd.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["if", "größe in %", "GRÖSSE IN _", "class 'a'", "für", "weight"])
        for school in range(6):
            for group in range(5):
                level, slope = draw.gauss(0, 1), draw.gauss(0.5, 0.5)
                for _ in range(8):
                    x, z, w = draw.gauss(0, 1), draw.gauss(0, 1), draw.choice([1, 2, 4])
                    y = level + slope * x + 0.2 * z + draw.gauss(0, 1) / math.sqrt(w)
                    writer.writerow([y, x, z, f'{group} "x"', f"S,{school}", w])
    folder = base / "an analysis"
    folder.mkdir()
    formula = "`if` ~ `größe in %` + `GRÖSSE IN _` + (1 + `größe in %` || `für`/`class 'a'`)"
    stages.ingest(folder, {"panel": str(base / "odd.csv"), "formula": formula, "weights": "weight"})
    stages.fit(folder, {})
    write_kit(folder)
    return folder


def run(folder: Path, *command: str, code: int = 0) -> str:
    """Run a script of a kit in its folder."""
    done = subprocess.run(
        command, cwd=folder / "replicate", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500,
        check=False, env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode == 0) == (code == 0), done.stdout
    return done.stdout


def rungs(folder: Path, errors: str = "") -> dict[str, dict]:  # type: ignore[type-arg]
    records = [json.loads(p.read_text()) for p in sorted((folder / "rungs").glob("*.json"))]
    return {r["rung"]: r for r in records if not r.get("refused") and errors in ("", r["errors"])}


@needs_r
@pytest.mark.parametrize("analysis", EXAMPLES)
def test_lme4_finds_the_same_numbers(kits: dict[str, Path], analysis: str) -> None:
    output = run(kits[analysis], "Rscript", "lme4.R")
    assert output.endswith("all agree\n") and "DISAGREES" not in output
    for name, rung in rungs(kits[analysis], "iid").items():
        for what in ("loglik ML", "loglik REML", *(["df of (Intercept)"] if rung["reml"]["random"] else [])):
            if not (what.startswith("df") and (rung["ml"]["singular"] or rung["reml"]["singular"])):
                assert f"  {name} {what} " in output


@needs_r
@pytest.mark.parametrize("analysis", EXAMPLES)
def test_nlme_finds_the_same_numbers_with_serial_correlation_too(kits: dict[str, Path], analysis: str) -> None:
    output = run(kits[analysis], "Rscript", "nlme.R")
    assert output.endswith("all that was fitted agrees\n") and "DISAGREES" not in output
    for name, rung in rungs(kits[analysis]).items():
        if not (rung["ml"]["singular"] or rung["reml"]["singular"]):  # nlme may give up on the boundary
            assert f"  {name} loglik ML " in output and f"  {name} loglik REML " in output


@pytest.mark.parametrize("analysis", EXAMPLES)
def test_statsmodels_finds_the_same_numbers(kits: dict[str, Path], analysis: str) -> None:
    output = run(kits[analysis], sys.executable, "statsmodels_fit.py")
    assert output.endswith("all agree\n") and "DISAGREES" not in output
    expressible = {"uk_firms": ["random_intercept", "random_slope"], "us_states": ["random_intercept", "multilevel"]}
    for name in expressible[analysis]:
        assert f"  {name} loglik ML " in output and f"  {name} loglik REML " in output
    assert "pooled.ar1: not expressible" in output


@needs_r
def test_odd_names_weights_and_independent_terms_reach_lme4_and_nlme(odd: Path) -> None:
    output = run(odd, "Rscript", "lme4.R")
    assert output.endswith("all agree\n") and output.count(" loglik REML ") == len(rungs(odd)) > 3
    output = run(odd, "Rscript", "nlme.R")
    assert output.endswith("all that was fitted agrees\n") and "  pooled loglik ML " in output


@needs_r
def test_a_panel_without_groups_has_a_kit_too(tmp_path: Path, example_data: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    frame = ingest.build_frame(open_source(example_data / "us_states.csv"), "log(gsp) ~ 0 + unemp + log(emp)")
    ingest.write_panel(frame, folder)
    moments.write(folder, moments.reduce_all(ingest.load_frame(folder)))
    stages.fit(folder, {})
    write_kit(folder)
    assert run(folder, "Rscript", "lme4.R").endswith("all agree\n")
    assert run(folder, "Rscript", "nlme.R").endswith("all that was fitted agrees\n")
    assert "None" not in (folder / "replicate" / "mixed.sas").read_text()


@needs_r
def test_other_data_make_the_r_scripts_fail(kits: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(kits["us_states"], tmp_path / "changed")
    change(tmp_path / "changed" / "replicate" / "model_frame.csv")
    assert "disagreements" in run(tmp_path / "changed", "Rscript", "lme4.R", code=1)


def test_other_data_make_the_statsmodels_script_fail(kits: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(kits["us_states"], tmp_path / "changed")
    change(tmp_path / "changed" / "replicate" / "model_frame.csv")
    assert "disagreements" in run(tmp_path / "changed", sys.executable, "statsmodels_fit.py", code=1)


def change(path: Path) -> None:
    """Raise the first row's outcome by a tenth."""
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([str(float(cells[0]) + 0.1), *cells[1:]])
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("analysis", EXAMPLES)
def test_the_csv_is_the_model_frame_to_the_last_bit(kits: dict[str, Path], analysis: str) -> None:
    from hierreport import ingest
    from hierreport.replicate.models import names_of

    folder = kits[analysis]
    frame = ingest.load_frame(folder)
    names = names_of(frame)
    with open(folder / "replicate" / "model_frame.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    wanted = {names.outcome: frame.outcome, **{names.columns[c.name]: c for c in frame.columns}}
    sql = ", ".join(c.sql for c in wanted.values())
    order = ", ".join(f'"{c}"' for c in [*frame.groups, frame.time, "__row"])
    kept = frame.con.execute(f"SELECT {sql} FROM {frame.table} ORDER BY {order}").fetchall()
    assert [tuple(float(row[name]) for name in wanted) for row in rows] == kept
    for level, groups in frame.info["structure"].items():
        codes = {int(row[names.levels[level]]) for row in rows}
        assert codes == set(range(1, groups["groups"] + 1))


def test_every_rung_stands_in_every_script_that_can_fit_it(kits: dict[str, Path]) -> None:
    for folder in kits.values():
        texts = {name: (folder / "replicate" / name).read_text() for name in kit.SCRIPTS}
        for name, rung in rungs(folder).items():
            for script in ("nlme.R", "mixed.do", "mixed.sas"):
                assert repr(rung["ml"]["loglik"]) in texts[script], (script, name)
            if rung["errors"] == "iid":
                assert repr(rung["reml"]["loglik"]) in texts["lme4.R"]
                assert f'"{name}"' in texts["pymc_fit.py"]
        for script in ("statsmodels_fit.py", "pymc_fit.py"):
            compile(texts[script], script, "exec")


def test_blocks_of_stata_and_sas_scripts_are_closed(kits: dict[str, Path]) -> None:
    """Neither program is installed here: what can be seen without them."""
    for folder in kits.values():
        stata, sas = ((folder / "replicate" / name).read_text() for name in ("mixed.do", "mixed.sas"))
        code = [line for line in stata.splitlines() if not line.startswith("*")]
        opened = sum(line.rstrip().endswith("{") for line in code)
        assert opened == sum(line.strip() == "}" for line in code) > 10
        assert all(line.count('"') % 2 == 0 and line.count("(") == line.count(")") for line in code)
        assert all(line.count("`") == line.count("'") for line in code)
        assert "c_local" not in stata and stata.count("scalar hr_wrong = 0") == 1
        assert all(len(line.split()[1]) <= 32 for line in code if line.startswith("capture noisily mixed"))
        assert sas.count("%macro ") == sas.count("%mend;") and sas.count("/*") == sas.count("*/")
        assert sas.count("proc mixed ") == 2 * len(rungs(folder))
        assert sas.count("datalines;") == sas.count("\n;\n") and "symgetn" not in sas
        for step in sas.split("proc mixed ")[1:]:
            statements = step.split("run;")[0]
            assert all(
                line.rstrip().endswith(";") or "; /*" in line for line in statements.splitlines() if line.strip()
            )


def test_stata_has_one_list_of_options_at_the_end(kits: dict[str, Path]) -> None:
    text = (kits["uk_firms"] / "replicate" / "mixed.do").read_text()
    commands = [line for line in text.splitlines() if line.startswith("capture noisily mixed ")]
    assert len(commands) == 2 * len(rungs(kits["uk_firms"]))
    for command in commands:
        assert all(part.count(",") <= 1 for part in command.replace("ar 1, t(", "ar 1 t(").split("||")), command
    slopes = "|| g_sector_firm: x_log_capital, covariance(unstructured) reml iterate(200)"
    assert any(c.endswith(slopes) for c in commands)
    assert any(
        c.endswith("|| g_sector_firm:, noconstant mle iterate(200) residuals(ar 1, t(t_step))") for c in commands
    )


def test_a_large_frame_is_not_written_but_explained(kits: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(kits["us_states"], tmp_path / "large")
    kit.write(tmp_path / "large", max_rows=100)
    kept = {p.name for p in (tmp_path / "large" / "replicate").iterdir()}
    assert kept == set(kit.SCRIPTS)  # that of an earlier run went
    assert "was not written because of its size" in (tmp_path / "large" / "replicate" / "README.md").read_text()


def test_safe_names_are_short_plain_and_unique() -> None:
    names = ["log(wage)", "LOG[wage]", "größe", "x" * 60, "x" * 61, "", "日本", "1", "I(x^2)", "in"]
    found = safe_names(names, "x", set())
    assert found["log(wage)"] == "x_log_wage" and found["LOG[wage]"] == "x_log_wage_2" and found["größe"] == "x_grosse"
    assert len({v.lower() for v in found.values()}) == len(names)
    assert all(len(v) <= LIMIT and v.isidentifier() and v.isascii() for v in found.values())


def test_a_comment_cannot_be_left() -> None:
    assert kit.one_line("a\n*/ run; \"'") == "a * / run, "
