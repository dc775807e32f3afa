"""How the workflow behaves, with stages that cost nothing: what reruns, what survives a failure, what people read.

The rules, the configuration and the command line are the real ones; only ``stages.py`` is replaced. The real stages run
in ``test_workflow_examples.py``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.workflow

STAGES = """
import glob, os, time
from pathlib import Path
from .errors import DataError

STAGES = {"ingest": ("panel", "formula"), "fit": ("df",), "infer": (), "diagnose": (), "verify": ("seed",)}
STAGES |= {"sensitivity": (), "changes": (), "report": ("title",), "audit": ("title", "df", "seed", "panel", "formula")}


def _write(folder, options, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(options))


def ingest(folder, options):
    formula = options["formula"]
    if "unknown" in formula:
        raise DataError("there is no column 'unknown'.", "formula", "Columns: y, x, g.")
    if "crash" in formula:
        1 / 0
    if "kill" in formula:
        os.kill(os.getpid(), 9)
    if not glob.glob(options["panel"]):
        raise DataError("there is no such file.", options["panel"])
    _write(folder, options, "panel.parquet", "panel.json", "moments.parquet")


def fit(folder, options):
    if Path("slow").exists():
        (folder / "rungs").mkdir()
        (folder / "rungs" / "half.json").write_text("{")
        (folder / "fitting").touch()
        time.sleep(60)
    _write(folder, options, "rungs/pooled.json", "ladder.json")


def infer(folder, options):
    _write(folder, options, "inference.json")


def diagnose(folder, options):
    from . import envelope_of_the_test
    _write(folder, options, "checks.json", "residuals.json")


def verify(folder, options):
    _write(folder, options, "verify.json")


def sensitivity(folder, options):
    _write(folder, options, "sensitivity.json")


def changes(folder, options):
    _write(folder, options, "changes.json")


def report(folder, options):
    _write(folder, options, "report.html", "summary.json", "summary.md", "figures/a.svg", "tables/a.csv")
    _write(folder, options, "model_document.html", "model_document.md")


def index(folder, options):
    _write(folder, options, "index.html")


def audit(folder, options):
    _write(folder, options, "manifest.json", "manifest.json.sha256", "ro-crate-metadata.json")
    _write(folder, options, "replicate/README.md", "workflow/Snakefile")
"""
ALL = ["ingest", "fit", "infer", "diagnose", "verify", "sensitivity", "changes", "report", "audit"]


class Project:
    """A checkout with stages that cost nothing, and ways to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hierreport" / "stages.py").write_text(STAGES)
        (folder / "hierreport" / "envelope_of_the_test.py").write_text("")
        (folder / "data").mkdir()

    def configure(self, **analyses: dict) -> None:
        for name, own in analyses.items():
            own.setdefault("panel", f"data/{name} panel.csv")
            own.setdefault("formula", "y ~ x + (1 | g)")
        for name in analyses:
            path = self.folder / "data" / f"{name} panel.csv"
            if not path.exists():
                path.write_text("y,x,g\n1,2,a\n")
        (self.folder / "mine.yaml").write_text(yaml.safe_dump({"analyses": analyses}))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = self.command("hierreport", "run", "--config", "mine.yaml", "--cores", "2", *arguments)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == code, output
        return output

    def snakemake(self, *arguments: str, folder: Path | None = None, code: int = 0) -> str:
        done = subprocess.run(
            self.command("snakemake", *arguments),
            cwd=folder or self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def planned(self) -> dict[str, list[str]]:
        """What a dry run would do: stages by analysis."""
        words = {"reading": "ingest", "fitting": "fit", "intervals": "infer", "checking": "diagnose"}
        words |= {
            "recording": "audit",
            "asking": "verify",
            "trying": "sensitivity",
            "comparing": "changes",
            "writing": "report",
        }
        found: dict[str, list[str]] = {}
        for analysis, word in re.findall(r"^Job \d+: (\w+): (\w+)", self.run("--dry-run"), re.MULTILINE):
            found.setdefault(analysis, []).append(words[word])
        return {analysis: sorted(stages, key=ALL.index) for analysis, stages in found.items()}

    def artifacts(self, analysis: str) -> dict[str, tuple[int, bytes]]:
        base = self.folder / "results" / analysis
        return {
            str(p.relative_to(base)): (p.stat().st_mtime_ns, p.read_bytes())
            for p in base.rglob("*")
            if p.is_file() and p.parent.name != "logs"
        }


@pytest.fixture
def project(checkout: Path) -> Project:
    return Project(checkout)


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_run_ends_with_the_reports_and_runs_again_only_what_changed(project: Project) -> None:
    project.configure(a={"title": 'It\'s "quoted" & {braced}'}, b={}, c={}, d={}, e={"panel": "data/e*.csv"}, f={})
    output = project.run()
    reports = [project.folder / "results" / name / "report.html" for name in "abcdef"]
    tail = output.split("Reports, to open in a browser:\n")[1].splitlines()[:6]
    assert [line.split(maxsplit=1)[1] for line in tail] == [str(path) for path in reports]
    assert f"  all  {project.folder / 'results' / 'index.html'}" in output
    assert reports[0].read_text() == str({"title": 'It\'s "quoted" & {braced}'})
    assert not (project.folder / "results" / "uk_firms").exists()  # the shipped examples were not asked for

    again = project.run()
    assert "Nothing to be done" in again and "Reports, to open in a browser:" in again

    project.configure(
        a={"title": "Another"}, b={"df": "normal"}, c={"formula": "y ~ (1 | g)"}, d={}, e={"panel": "data/e*.csv"}, f={}
    )
    (project.folder / "data" / "d panel.csv").write_text("y,x,g\n1,3,a\n")
    (project.folder / "data" / "e more.csv").write_text("y,x,g\n1,3,a\n")
    after_fit = ALL[1:]
    assert project.planned() == {"a": ["report", "audit"], "b": after_fit, "c": ALL, "d": ALL, "e": ALL}

    project.run()
    (project.folder / "hierreport" / "envelope_of_the_test.py").write_text("changed = True\n")
    assert project.planned() == {name: ["diagnose", "changes", "report", "audit"] for name in "abcdef"}
    (project.folder / "hierreport" / "envelope_of_the_test.py").write_text("")
    (project.folder / "hierreport" / "errors.py").open("a").write("# changed\n")
    assert project.planned() == dict.fromkeys("abcdef", ALL)


def test_what_people_write_for_sign_off_reaches_the_document_and_reruns_nothing_else(project: Project) -> None:
    project.configure(a={"sign_off": "data/a.yaml"})
    project.run()
    for form in ("a.yaml", "a.confirmed.json"):
        (project.folder / "data" / form).write_text("owner: x")
        assert project.planned() == {"a": ["report", "audit"]}
        project.run()
        assert project.planned() == {}


def test_failure_stops_only_its_analysis_and_is_said_last(project: Project) -> None:
    project.configure(good={}, late={}, gone={}, wrong={}, bug={}, killed={})
    project.run()
    before = {name: project.artifacts(name) for name in ("late", "gone", "wrong", "bug", "killed")}

    (project.folder / "data" / "gone panel.csv").unlink()
    changed = {"wrong": "y ~ unknown + (1 | g)", "bug": "y ~ crash + (1 | g)", "killed": "y ~ kill + (1 | g)"}
    project.configure(
        good={"title": "New"},
        late={},
        gone={"panel": "data/moved.csv"},
        **{k: {"formula": f} for k, f in changed.items()},
    )
    output = project.run(code=1)
    told = output.split("What went wrong:\n\n")[1]
    assert sorted(told.strip().split("\n\n")) == [
        "bug, ingest: unexpected ZeroDivisionError: division by zero\n"
        "(a fault of hierreport, not of your data; the traceback is in results/bug/logs/ingest.log)\n"
        "(the report in results/bug is of an earlier run)",
        "gone, ingest: data/moved.csv: there is no such file.\n(the report in results/gone is of an earlier run)",
        "killed, ingest: the stage was stopped before it finished.\n"
        "(the report in results/killed is of an earlier run)",
        "wrong, ingest: formula: there is no column 'unknown'. Columns: y, x, g.\n"
        "(the report in results/wrong is of an earlier run)",
    ]
    finished = output.split("Reports, to open in a browser:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in finished.splitlines()] == ["good", "late"]
    assert "Traceback" not in output
    assert "Traceback" in (project.folder / "results/bug/logs/ingest.log").read_text()
    assert "New" in (project.folder / "results/good/report.html").read_text()
    assert project.artifacts("late") == before["late"]
    for name in ("gone", "wrong", "bug", "killed"):
        kept = project.artifacts(name)
        assert kept.items() <= before[name].items()
        assert {"report.html", "summary.json", "rungs/pooled.json", "ladder.json", "figures/a.svg"} <= kept.keys()

    # It is not taken for finished because its last report is still there.
    assert "wrong, ingest: formula: there is no column" in project.run(code=1)


def test_killed_run_leaves_no_lock_no_orphan_and_no_half_artifact(project: Project) -> None:
    project.configure(a={})
    (project.folder / "slow").touch()
    first = project.start()
    wait_for(project.folder / "results/a/fitting")
    ingested = project.artifacts("a")["panel.parquet"]

    second = project.run(code=1)
    assert "another run is at work in this folder (process " in second.splitlines()[-1]
    assert "Traceback" not in second

    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    pattern = f"{sys.executable} -m hierreport stage fit results/a"
    deadline = time.time() + 10
    while subprocess.run(["pgrep", "-f", pattern], stdout=subprocess.DEVNULL, check=False).returncode == 0:
        assert time.time() < deadline, "the stage outlives the run"
        time.sleep(0.1)

    (project.folder / "slow").unlink()
    project.run()
    assert not (project.folder / "results/a/rungs/half.json").exists()
    assert (project.folder / "results/a/rungs/pooled.json").exists()
    assert project.artifacts("a")["panel.parquet"] == ingested  # what was finished is not done again


def test_ctrl_c_ends_the_run_and_the_next_one_continues(project: Project) -> None:
    project.configure(a={})
    (project.folder / "slow").touch()
    process = project.start()
    wait_for(project.folder / "results/a/fitting")
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=30)[0]
    assert process.returncode != 0
    assert "Traceback" not in output
    assert not (project.folder / "results/a/ladder.json").exists()
    (project.folder / "slow").unlink()
    assert project.planned() == {"a": ALL[1:]}
    project.run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "analyses:\n  a:\n    panel: x.csv\n    formla: y ~ x\n",
            "analyses.a.formla: unknown key 'formla'. Did you mean",
        ),
        ("analyses: [\n", "mine.yaml: is not YAML:"),
        ("", "mine.yaml: the configuration is empty."),
        (None, "mine.yaml: cannot be read (No such file or directory)."),
    ],
)
def test_faulty_configuration_is_one_message_and_touches_nothing(
    project: Project, text: str | None, message: str
) -> None:
    if text is not None:
        (project.folder / "mine.yaml").write_text(text)
    output = project.run(code=2)
    assert output.startswith("hierreport: error: ") and message in output
    assert len(output.splitlines()) == 1
    assert not (project.folder / "results").exists()


def test_plain_snakemake_refuses_a_typo_without_a_traceback(project: Project) -> None:
    (project.folder / "mine.yaml").write_text("analyses:\n  a:\n    panel: x.csv\n    formla: y ~ x\n")
    output = project.snakemake("-n", "--configfile", "mine.yaml", code=1)
    assert output.splitlines()[-1] == (
        "hierreport: error: mine.yaml: analyses.a.formla: unknown key 'formla'. Did you mean 'formula'?"
    )
    assert "Traceback" not in output and "File " not in output
    block = "  a:\n    panel: x.csv\n    formula: y ~ x + (1 | g)\n"
    (project.folder / "mine.yaml").write_text(f"analyses:\n{block}{block}")
    output = project.snakemake("-n", "--configfile", "mine.yaml", code=1)
    assert "the key 'a' stands twice in one block (lines 2 and 5)" in output.splitlines()[-1]


def test_snakemakes_own_views_work(project: Project) -> None:
    project.configure(a={})
    assert "Congratulations" in project.snakemake("--lint")
    dag = project.snakemake("--dag", "--configfile", "mine.yaml")
    assert "digraph snakemake_dag" in dag and "render_report" in dag and "uk_firms" not in dag
    project.run()
    project.snakemake("--configfile", "mine.yaml", "--report", "report.zip")
    assert (project.folder / "report.zip").stat().st_size > 10_000


def test_another_workflow_imports_this_one(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "another workflow"
    other.mkdir()
    (other / "mine.csv").write_text("y,x,g\n1,2,a\n")
    (other / "Snakefile").write_text(
        f"""
configfile: "config.yaml"

module panels:
    snakefile: {str(project.folder / "workflow" / "Snakefile")!r}
    config: config["panels"]
    prefix: "sub folder"

use rule * from panels as panels_*

rule all:
    default_target: True
    input:
        "sub folder/results/a/report.html",


rule own:
    output:
        "own/{{analysis}}.txt",
    shell:
        "touch {{output}}"
"""
    )
    analyses = {"a": {"panel": str(other / "mine.csv"), "formula": "y ~ x + (1 | g)"}}
    (other / "config.yaml").write_text(yaml.safe_dump({"panels": {"analyses": analyses}, "other": 1}))
    project.snakemake("--cores", "2", folder=other)
    assert (other / "sub folder/results/a/report.html").is_file()
    project.snakemake("--cores", "1", "own/b.txt", folder=other)  # our names of analyses do not bind other rules
    assert "Nothing to be done" in project.snakemake("--cores", "2", folder=other)
