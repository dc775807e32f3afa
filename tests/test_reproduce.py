"""``hierreport reproduce`` and ``hierreport sign``: a past run made again, and signed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hierreport import cli, config, stages
from hierreport.errors import DataError
from hierreport.provenance import again, flow, verify_folder

ANALYSIS = "small"
CONFIG = {"panel": "../data/small.csv", "formula": "y ~ x + (1 | g)", "time": "t", "errors": "iid", "bootstrap": 0}


def write_data(path: Path, seed: int) -> None:
    noise = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ["g,t,x,y"]
    for g in range(12):
        own = noise.gauss(0, 1)
        for t in range(6):
            x = noise.gauss(0, 1)
            rows.append(f"g{g},{2000 + t},{x:.4f},{own + 0.5 * x + noise.gauss(0, 0.7):.4f}")
    path.write_text("\n".join(rows) + "\n")


def run(base: Path, root: Path) -> None:
    """The stages as the rules run them, from a folder beside the data's."""
    analysis = config.Analysis.model_validate(CONFIG)
    for stage, keys in stages.STAGES.items():
        command = [sys.executable, "-m", "hierreport", "stage", stage, f"results/{ANALYSIS}"]
        done = subprocess.run(
            [*command, "--options", config.options(analysis, keys)],
            cwd=base / "work",
            env={**os.environ, "PYTHONPATH": str(root)},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A project whose data changed between two runs: the second is in results/, both are in history/."""
    base = tmp_path_factory.mktemp("again")
    (base / "work").mkdir()
    for seed in (1, 2):
        write_data(base / "data" / "small.csv", seed)
        run(base, root)
    return base


@pytest.fixture
def project(twice: Path, tmp_path: Path) -> Path:
    target = tmp_path / "a copy"
    shutil.copytree(twice, target)
    return target / "work"


def kept(project: Path) -> list[Path]:
    return sorted((project / "history" / ANALYSIS).iterdir())


def test_a_run_is_made_again(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, new = project / "results" / ANALYSIS, tmp_path / "new"
    code = cli.main(["reproduce", str(folder), "--keep", str(new)])
    told = capsys.readouterr().out
    assert code == 0, told
    count = len(flow.artifacts(folder))
    assert count > 40 and f"{count} of {count} artifacts are the same byte for byte" in told
    for name in flow.artifacts(folder):
        assert (new / name).read_bytes() == (folder / name).read_bytes(), name
    assert not list(project.parent.parent.glob("hierreport-again-*"))


def test_a_kept_run_is_made_again_with_the_run_that_it_was_compared_with(project: Path) -> None:
    first, second = kept(project)
    assert json.loads((second / "changes.json").read_text())["previous"]["run_id"] == first.name
    outcome = again.reproduce(second)
    assert outcome.ok, outcome.text
    write_data(project.parent / "data" / "small.csv", 1)  # as they were when the first run was made
    assert again.reproduce(first).ok
    shutil.rmtree(first)
    write_data(project.parent / "data" / "small.csv", 2)
    with pytest.raises(DataError, match=f"the run {first.name}, which this one was compared with, is not kept"):
        again.reproduce(second)


def test_other_data_are_refused_by_name(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = project / "results" / ANALYSIS, project.parent / "data" / "small.csv"
    with data.open("a") as stream:
        stream.write("g1,2007,0.1,0.2\n")
    assert cli.main(["reproduce", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "small.csv" in told and "has changed since the run" in told
    data.unlink()
    assert cli.main(["reproduce", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "small.csv" in told and "missing" in told


def amend(folder: Path, change: Any) -> None:
    """Change a manifest and its digest, as if the run had been another."""
    from hierreport.provenance.hashing import write_json, write_text
    from hierreport.provenance.manifest import digests

    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    write_json(folder / "manifest.json", manifest)
    write_text(folder / "manifest.json.sha256", digests(folder))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m["package"]["code"].update(fit="0" * 16), "likely because its source is another"),
        (lambda m: m["environment"]["dependencies"].update(numpy="1.0"), "likely because of other versions"),
        (lambda m: m["environment"].update(platform="Plan 9"), "likely because of another machine"),
        (lambda m: None, "should not happen"),
    ],
)
def test_what_differs_is_named_with_its_likely_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: Any, reason: str
) -> None:
    folder = project / "results" / ANALYSIS

    def other(manifest: dict[str, Any]) -> None:
        change(manifest)
        for artifact in manifest["artifacts"]:
            if artifact["path"] in ("ladder.json", "report.html"):
                artifact["sha256"] = "0" * 64

    amend(folder, other)
    # what the rerun would make is there already: the comparison is what is tested
    monkeypatch.setattr(again, "_run", lambda place, new, manifest: shutil.copytree(folder, new))
    outcome = again.reproduce(folder)
    assert sorted(name for name, _ in outcome.failures) == ["ladder.json", "report.html"]
    (told,) = [n for n in outcome.notes if n.startswith("the difference begins")]
    assert "what the stage fit writes" in told and reason in told


def test_files_more_or_less_are_named(project: Path) -> None:
    folder = project / "results" / ANALYSIS
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "ladder.json").unlink()
    (folder / "more.json").write_text("{}")
    same, wrong = again.compare(folder, manifest)
    assert same == len(manifest["artifacts"]) - 1
    assert wrong == [("ladder.json", "is not made any more"), ("more.json", "was not made then")]


# -- signatures --------------------------------------------------------------------------------------------------------

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed on this machine")


def make_key(place: Path, name: str) -> tuple[Path, Path]:
    """A key without passphrase, and a file that lets it sign."""
    key = place / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    signers = place / f"{name}.signers"
    signers.write_text(f"{name}@example.org {key.with_suffix('.pub').read_text()}")
    return key, signers


@needs_ssh
def test_a_signature_is_made_and_checked(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "results" / ANALYSIS
    (key, signers), (_, others) = make_key(tmp_path, "anna"), make_key(tmp_path, "ben")
    unsigned = verify_folder(folder, recompute=False, signers=signers)
    assert unsigned.failures == [(flow.SIGNATURE, "is missing: the run is not signed")]
    assert cli.main(["sign", str(folder), "--key", str(key)]) == 0
    capsys.readouterr()
    assert cli.main(["verify", str(folder), "--hashes-only", "--signers", str(signers)]) == 0
    assert 'Good "hierreport" signature for anna@example.org' in capsys.readouterr().out
    told = verify_folder(folder, recompute=False)
    assert told.ok and "who that is, --signers tells" in told.text
    assert [n for n, _ in verify_folder(folder, recompute=False, signers=others).failures] == [flow.SIGNATURE]
    # a manifest that was changed, with its digest, after it was signed
    amend(folder, lambda manifest: manifest.update(created="2020-01-01T00:00:00Z"))
    assert [n for n, _ in verify_folder(folder, recompute=False).failures] == [flow.SIGNATURE]


@needs_ssh
def test_only_what_is_as_recorded_is_signed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "results" / ANALYSIS
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["sign", str(folder)]) == 2
    assert "no SSH key" in capsys.readouterr().err
    key, _ = make_key(tmp_path, "anna")
    (folder / "ladder.json").write_text("{}")
    assert cli.main(["sign", str(folder), "--key", str(key)]) == 2
    assert "ladder.json" in capsys.readouterr().err
    assert not (folder / flow.SIGNATURE).exists()


@needs_ssh
def test_a_damaged_signature_is_named(project: Path, tmp_path: Path) -> None:
    folder = project / "results" / ANALYSIS
    key, signers = make_key(tmp_path, "anna")
    cli.main(["sign", str(folder), "--key", str(key)])
    text = (folder / flow.SIGNATURE).read_text()
    middle = len(text) // 2
    (folder / flow.SIGNATURE).write_text(text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :])
    for who in (None, signers):
        assert [n for n, _ in verify_folder(folder, recompute=False, signers=who).failures] == [flow.SIGNATURE]
