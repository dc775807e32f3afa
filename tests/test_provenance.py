"""The manifest and ``hierreport verify``: what is recorded, and that every changed byte is found and named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hierreport import cli, config, config_files, stages
from hierreport.errors import DataError
from hierreport.provenance import checking, flow, hashing, manifest, page, verify_folder

ANALYSIS = "us_states"


def options_of(stage: str) -> dict[str, Any]:
    """The options of a stage for the shipped analysis."""
    found: dict[str, Any] = json.loads(config.options(config_files.EXAMPLE.analyses[ANALYSIS], stages.STAGES[stage]))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A project folder with the data and the finished analysis, each stage run as the rules run it."""
    base = tmp_path_factory.mktemp("audited")
    (base / "config" / "data").mkdir(parents=True)
    shutil.copy(root / "config" / "data" / f"{ANALYSIS}.csv", base / "config" / "data")
    for stage in stages.STAGES:
        command = [sys.executable, "-m", "hierreport", "stage", stage, f"results/{ANALYSIS}"]
        environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--options", json.dumps(options_of(stage))],
            cwd=base, env=environment, text=True, capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (base / f"{stage}.txt").write_text(done.stdout)
    return base


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project that a test may damage."""
    target = tmp_path / "a copy"
    shutil.copytree(finished, target)
    return target


@pytest.fixture(scope="module")
def recorded(finished: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished / "results" / ANALYSIS / "manifest.json").read_text())
    return found


def test_every_artifact_is_listed_with_its_bytes_and_its_origin(finished: Path, recorded: dict[str, Any]) -> None:
    folder = finished / "results" / ANALYSIS
    listed = {a["path"]: a for a in recorded["artifacts"]}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(listed) == {n for n in there if not n.startswith(("logs/", "manifest.json", "ro-crate-metadata.json"))}
    for name, entry in listed.items():
        content = (folder / name).read_bytes()
        assert entry["size"] == len(content), name
        assert entry["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert entry["stage"] in stages.STAGES and entry["rule"], name
        assert entry["media_type"] != "application/octet-stream", name
        step = recorded["stages"][int(entry["inputs"].split("/")[2])]
        assert entry["inputs"] == f"#/stages/{list(stages.STAGES).index(entry['stage'])}/inputs", name
        assert step["stage"] == entry["stage"] and step["inputs"], name
    assert listed["rungs/pooled.json"]["rule"] == "fit_ladder"
    assert listed["panel.parquet"]["media_type"] == "application/vnd.apache.parquet"


def test_every_stage_is_accounted_for(recorded: dict[str, Any]) -> None:
    steps = {s["stage"]: s for s in recorded["stages"]}
    assert list(steps) == list(stages.STAGES)
    for name, step in steps.items():
        if name == "audit":  # its cost is known only after the manifest is written
            continue
        assert 0 < step["cpu_seconds"] < 120 and 0 < step["wall_seconds"] < 600
        assert 20e6 < step["peak_memory_bytes"] < 4e9
        assert step["started"].endswith("Z") and step["started"] <= recorded["created"]
    assert steps["ingest"]["inputs"] == [f"config/data/{ANALYSIS}.csv"]
    assert {"panel.json", "moments.parquet", "moments_lag.parquet"} <= set(steps["fit"]["inputs"])
    assert {"checks.json", "verify.json", "ladder.json"} <= set(steps["report"]["inputs"])


def test_rules_of_the_manifest_are_rules_of_the_workflow(root: Path) -> None:
    rules = "\n".join(p.read_text() for p in sorted((root / "workflow" / "rules").glob("*.smk")))
    for step in flow.STEPS:
        block = rules.split(f"rule {step.rule}:\n")[1].split("\nrule ")[0]
        assert f'code("{step.stage}")' in block, step
    assert [step.stage for step in flow.STEPS] == list(stages.STAGES)


def test_data_code_configuration_and_machine_are_recorded(recorded: dict[str, Any], root: Path) -> None:
    data = root / "config" / "data" / f"{ANALYSIS}.csv"
    (source,) = recorded["data"]
    assert source["path"] == f"config/data/{ANALYSIS}.csv"
    assert source["from_folder"] == f"../../config/data/{ANALYSIS}.csv"
    assert source["sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert source["size"] == data.stat().st_size and source["read"].endswith("Z")
    assert "read_csv(" in recorded["query"] and f"'config/data/{ANALYSIS}.csv'" in recorded["query"]
    assert set(recorded["config"]) == set(config.Analysis.model_fields) - {"alerts"}  # defaults too
    assert recorded["config"]["df"] == "satterthwaite" and recorded["seeds"] == {"seed": 1}
    machine = recorded["environment"]
    assert machine["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "duckdb", "scipy"} <= set(machine["dependencies"])
    lock = root / "requirements.lock"
    assert machine["lock"] == {"file": lock.name, "sha256": hashlib.sha256(lock.read_bytes()).hexdigest()}
    if (root / ".git").exists():
        head = subprocess.run(["git", "-C", root, "cat-file", "-t", recorded["package"]["git"]["commit"]],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert head.stdout == "commit\n"


def test_git_is_absent_outside_a_checkout_and_dirt_is_seen(tmp_path: Path) -> None:
    from hierreport.provenance.environment import git

    assert git(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    found = git(tmp_path)
    assert found is not None and found["clean"] and len(found["commit"]) == 40
    (tmp_path / "new.py").write_text("x = 1\n")
    assert git(tmp_path) == {**found, "clean": False, "changed_files": 1}


def test_the_digest_is_printed_and_readable_by_sha256sum(finished: Path) -> None:
    folder = finished / "results" / ANALYSIS
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert f"manifest.json sha256 {digest}" in (finished / "audit.txt").read_text()
    crate = hashlib.sha256((folder / "ro-crate-metadata.json").read_bytes()).hexdigest()
    lines = (folder / "manifest.json.sha256").read_text().splitlines()
    assert lines == [f"{digest}  manifest.json", f"{crate}  ro-crate-metadata.json"]


def test_dates_do_not_pass_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert hashing.instant() == "2023-11-14T22:13:20Z"
    assert hashing.instant(0) == "1970-01-01T00:00:00Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert hashing.instant() > "2023-11-14T22:13:20Z"


def test_data_that_change_after_reading_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with open(f"config/data/{ANALYSIS}.csv", "a") as stream:
        stream.write("\n")
    with pytest.raises(DataError, match="changed after the panel was read"):
        manifest.build(Path("results") / ANALYSIS, options_of("audit"))


def test_an_untouched_analysis_verifies(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["verify", str(project / "results" / ANALYSIS)])
    told = capsys.readouterr().out
    assert code == 0, told
    assert told.endswith("all as recorded\n") and "FAILED" not in told
    for part in ("artifacts have their bytes", "1 of 1 data files", "log-likelihoods computed again", "addresses"):
        assert part in told


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_byte_is_found_and_named(project: Path, data: st.DataObject) -> None:
    """Any bit of any byte of any file but the logs: artifacts, page, input, manifest, digests, crate."""
    folder = project / "results" / ANALYSIS
    names = {name: folder / name for name in [*flow.artifacts(folder), flow.MANIFEST, flow.DIGEST, flow.CRATE]}
    names[f"config/data/{ANALYSIS}.csv"] = project / "config" / "data" / f"{ANALYSIS}.csv"
    assert len(names) > 100
    name = data.draw(st.sampled_from(sorted(names)))
    content = names[name].read_bytes()
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    names[name].write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    try:
        assert name in [failed for failed, _ in verify_folder(folder, recompute=False).failures]
    finally:
        names[name].write_bytes(content)


def test_one_byte_of_every_file_is_found_and_named(project: Path) -> None:
    folder = project / "results" / ANALYSIS
    for number, name in enumerate([*flow.artifacts(folder), flow.MANIFEST, flow.DIGEST, flow.CRATE]):
        content = (folder / name).read_bytes()
        at = number * 7919 % len(content)  # some place or other
        (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert name in [failed for failed, _ in verify_folder(folder, recompute=False).failures], name
        (folder / name).write_bytes(content)
    assert verify_folder(folder, recompute=False).ok


def test_missing_and_unknown_files_are_named(project: Path) -> None:
    folder = project / "results" / ANALYSIS
    (folder / "ladder.json").unlink()
    (folder / "notes.txt").write_text("mine")
    outcome = verify_folder(folder, recompute=False)
    assert [name for name, _ in outcome.failures] == ["ladder.json"]
    assert outcome.notes == ["notes.txt is not in the manifest"]


def amend(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON artifact and sign it again, as one who tampers with everything would."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def forge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    manifest.write(Path("results") / ANALYSIS, options_of("audit"))


def test_a_wrong_estimate_under_a_right_digest_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "results" / ANALYSIS
    amend(folder / "rungs" / "multilevel.json", lambda r: r["ml"]["fixed"][1].update(estimate=0.3))
    forge(folder, monkeypatch)
    outcome = verify_folder(folder)
    assert [name for name, _ in outcome.failures] == ["rungs/multilevel.json"]
    assert "ml/loglik" in outcome.failures[0][1]


def test_a_model_that_is_kept_quiet_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An analysis without its entry in the register, and an entry whose result was taken away."""
    folder = project / "results" / ANALYSIS
    amend(folder / "sensitivity.json", lambda s: s["analyses"].pop())
    amend(folder / "ladder.json", lambda v: v.update(register=[r for r in v["register"] if r.get("name") != "mundlak"]))
    forge(folder, monkeypatch)
    failures = verify_folder(folder).failures
    assert ("inference.json", "mundlak has no entry in the register of ladder.json") in failures
    assert ("ladder.json", "the register's sensitivity:robust is not in sensitivity.json") in failures


def test_a_wrong_number_on_the_page_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "results" / ANALYSIS
    number = next(n for n in page.numbers(folder / "report.html") if "/reml/fixed/1/estimate" in n.address)
    text = (folder / "report.html").read_text()
    (folder / "report.html").write_text(text.replace(f'value="{number.value}"', 'value="0.125"', 1))
    forge(folder, monkeypatch)
    outcome = verify_folder(folder)
    assert [name for name, _ in outcome.failures] == ["report.html"]
    assert outcome.failures[0][1].endswith(f"has {number.value}") and "page has 0.125" in outcome.failures[0][1]


def test_a_number_that_is_rounded_wrongly_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "results" / ANALYSIS
    number = next(n for n in page.numbers(folder / "report.html") if "/reml/fixed/1/estimate" in n.address)
    text = (folder / "report.html").read_text()
    shown = f'data-source="{number.address}">'
    (folder / "report.html").write_text(text.replace(shown, f"{shown}9", 1))
    forge(folder, monkeypatch)
    assert verify_folder(folder).failures == [
        ("report.html", f"the page shows 9{number.text}, {number.address} has {number.value}")
    ]


@pytest.mark.parametrize("variant", [{"crossed": "year"}, {"variances": "region"}])
def test_likelihoods_of_variants_are_computed_again(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, variant: dict[str, str]
) -> None:
    """A crossed effect, and unequal variances with their own moments."""
    (tmp_path / "config" / "data").mkdir(parents=True)
    shutil.copy(root / "config" / "data" / f"{ANALYSIS}.csv", tmp_path / "config" / "data")
    monkeypatch.chdir(tmp_path)
    folder = Path("results") / ANALYSIS
    folder.mkdir(parents=True)
    small = config_files.EXAMPLE.analyses[ANALYSIS].model_dump(mode="json")
    small |= {"formula": "log(gsp) ~ log(emp) + unemp + (1 | region/state)", "errors": "iid", **variant}
    for stage in ("ingest", "fit"):
        options = json.loads(config.options(config.Analysis.model_validate(small), stages.STAGES[stage]))
        getattr(stages, stage)(folder, options)
    outcome = checking.Outcome()
    assert [*checking.check_moments(folder, outcome), *checking.check_likelihoods(folder, outcome)] == []
    assert "12 log-likelihoods computed again" in outcome.text and not outcome.notes
    name = "pooled.time" if "crossed" in variant else "pooled.var"
    amend(folder / "rungs" / f"{name}.json", lambda r: r["ml"]["fixed"][1].update(estimate=0.3))
    assert [failed for failed, _ in checking.check_likelihoods(folder, outcome)] == [f"rungs/{name}.json"]
    if "variances" not in variant:
        return
    from dataclasses import replace

    from hierreport import moments

    kept = moments.read(folder)
    strata = replace(kept.strata["region"], products=kept.strata["region"].products * (1 + 1e-6))
    moments.write(folder, replace(kept, strata={"region": strata}))
    assert {failed for failed, _ in checking.check_moments(folder, outcome)} == {"moments_by_0.parquet"}


def test_moments_that_do_not_follow_from_the_panel_are_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from hierreport import moments

    folder = project / "results" / ANALYSIS
    kept = moments.read(folder)
    products = kept.moments.products.copy()
    products[0, 1, 0] *= 1 + 1e-6
    products[1, 0, 0] = products[0, 1, 0]
    moments.write(folder, replace(kept, moments=replace(kept.moments, products=products)))
    forge(folder, monkeypatch)
    names = {name for name, _ in verify_folder(folder).failures}
    assert "moments.parquet" in names


def test_verify_needs_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "there is no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "value", "fault"),
    [
        ("a.json#/x/0/b~1c", "0.1", None),
        ("a.json#/x/0/b~1c", "0.10000000000000002", "a.json#/x/0/b~1c has 0.1"),
        ("a.json#/x/1", "0.1", "leads nowhere"),
        ("../a.json#/x", "0.1", "leads nowhere"),
        ("a.json#/none", "0.1", "holds no value"),
    ],
)
def test_addresses_are_followed_to_the_last_bit(tmp_path: Path, address: str, value: str, fault: str | None) -> None:
    (tmp_path / "a.json").write_text('{"x": [{"b/c": 0.1}], "none": null}')
    (tmp_path / "page.html").write_text(f'<p><data value="{value}" data-source="{address}">0.1</data></p>')
    (number,) = page.numbers(tmp_path / "page.html")
    found = page.Addresses(tmp_path).fault(number)
    assert (found is None) if fault is None else (found is not None and fault in found)


@pytest.mark.parametrize(
    ("text", "value", "right"),
    [
        ("0.13", "0.1312", True), ("0.13", "0.1352", False), ("−0.13", "-0.1312", True), ("−0.13", "0.1312", False),
        ("5.8 %", "0.0578", True), ("5.8 %", "0.0572", False), ("1,031", "1031", True), ("1,031", "1032", False),
        ("1,200", "1234.5", True), ("p = 0.25", "0.2531", True), ("< 0.001", "2e-9", True), ("< 0.001", "0.002", False),
        ("under 0.1 %", "0.0004", True), ("2.1 × 10⁻¹¹", "2.07e-11", True), ("2.07e−11", "2.069e-11", True),
        ("2.1 × 10⁻¹¹", "2.07e-10", False), ("∞", "inf", True), ("− 0.42", "-0.4203", True), ("1 to 3", "2", False),
        ("0.30\u2007", "0.2996", True), ("–", "0.5", False), ("8/114", "8/114", True), ("8/114", "8/115", False),
    ],
)  # fmt: skip
def test_the_text_must_be_the_value_rounded(text: str, value: str, right: bool) -> None:
    assert page.rounded(text, value) is right


def test_rounding_is_read_in_the_pages_locale() -> None:
    assert page.rounded("1.031,5", "1031.46", ",", ".")
    assert not page.rounded("1.031,5", "1031.46")
