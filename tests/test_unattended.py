"""Unattended runs from the outside: exit codes, the summary, run.json, and what stays untouched.

The workflow is the real one with stages that cost nothing, as in ``test_workflow.py``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import test_workflow
import yaml
from test_workflow import Project, wait_for

pytestmark = pytest.mark.workflow

# What the stages of test_workflow lack: a manifest, and changes since the last run (given in changes/<analysis>.json).
MORE = """

def audit(folder, options):
    import hashlib, json
    describe = lambda p: {"size": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
    names = ("panel.parquet", "ladder.json", "rungs/pooled.json", "report.html")
    content = {
        "artifacts": [{"path": n, **describe(folder / n)} for n in names],
        "data": [{"path": p, **describe(Path(p))} for p in glob.glob(options["panel"])],
    }
    _write(folder, json.dumps(content), "manifest.json", "manifest.json.sha256", "ro-crate-metadata.json")
    _write(folder, options, "replicate/README.md", "workflow/Snakefile")


def changes(folder, options):
    given = Path("changes") / f"{folder.name}.json"
    _write(folder, given.read_text() if given.exists() else '{"previous": null}', "changes.json")
"""


@pytest.fixture
def project(checkout: Path) -> Project:
    made = Project(checkout)
    text = test_workflow.STAGES.replace(
        '_write(folder, options, "panel.parquet"',
        'options = Path(glob.glob(options["panel"])[0]).read_text()\n    _write(folder, options, "panel.parquet"',
    )
    assert text != test_workflow.STAGES
    (checkout / "hierreport" / "stages.py").write_text(text + MORE)
    return made


class Ended:
    """An unattended run that has ended: its code, what it said, and run.json."""

    def __init__(self, project: Project, *arguments: str, **environment: str) -> None:
        command = project.command("hierreport", "run", "--unattended", "--config", "mine.yaml", "--cores", "2")
        done = subprocess.run(
            [*command, "--settle", "0.1", *arguments],
            cwd=project.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.code, self.said, self.errors = done.returncode, done.stdout, done.stderr
        file = project.folder / "results" / "run.json"
        self.json = json.loads(file.read_text()) if file.exists() else {}


def test_first_same_new_and_alarming(project: Project) -> None:
    project.configure(a={}, b={"alerts": {"rows_fall": 0.5}})
    first = Ended(project)
    assert first.code == 10, first.errors
    assert first.said == ("hierreport: 2 analyses: 2 new. a: first results. b: first results. Exit code 10.\n")
    assert first.json["summary"] + "\n" == first.said
    assert first.json["analyses"]["a"] == {
        "outcome": "new",
        "exit_code": 10,
        "message": "first results.",
        "alerts": [],
        "report": "results/a/report.html",
    }

    before = project.artifacts("a")
    for panel in (project.folder / "data").iterdir():  # written anew, with the same content
        panel.write_text(panel.read_text())
    same = Ended(project)
    assert same.code == 0, same.errors
    assert same.said.startswith("hierreport: 2 analyses: 2 nothing new. a: nothing new; same data and configuration")
    assert project.artifacts("a") == before
    assert Ended(project, "--silent").said == ""

    rows = {"before": 10, "now": 8, "added": 0, "removed": 2, "revised": 0}
    changes = {"previous": {"run_id": "1"}, "identical": False, "data": {"rows": rows}, "sentence": "Two rows went."}
    (project.folder / "changes").mkdir()
    for name in "ab":
        (project.folder / "changes" / f"{name}.json").write_text(json.dumps(changes))
        (project.folder / "data" / f"{name} panel.csv").write_text("y,x,g\n1,3,a\n")
    ended = Ended(project, "--json", "--silent")
    assert ended.code == 20, ended.errors
    assert json.loads(ended.said) == ended.json
    assert ended.json["summary"] == (
        "hierreport: 2 analyses: 1 needs a person, 1 new. "
        "a: [rows_fall] rows fell by 20 %, from 10 to 8. Two rows went. "
        "b: new results, no alert. Two rows went. Exit code 20."
    )
    assert ended.json["analyses"]["a"]["alerts"] == [
        {"rule": "rows_fall", "message": "rows fell by 20 %, from 10 to 8."}
    ]
    assert Ended(project).code == 0  # an alert is told once

    project.configure(a={"title": "Another"}, b={"alerts": {"rows_fall": 0.5}})
    renamed = Ended(project)
    assert (renamed.code, "its numbers are the same" in renamed.said) == (0, True)
    assert "Another" in (project.folder / "results/a/report.html").read_text()


def test_absent_half_written_and_ready_data_are_told_apart(project: Project) -> None:
    names = ("absent", "empty", "cut", "growing", "good")
    project.configure(**{name: {} for name in names})
    assert Ended(project).code == 10
    before = {name: project.artifacts(name) for name in names}
    data = {name: project.folder / "data" / f"{name} panel.csv" for name in names}
    data["absent"].unlink()
    data["empty"].write_text("")
    data["cut"].write_text("y,x,g\n1,3,a\n2,")
    data["good"].write_text("y,x,g\n1,3,a\n")
    grow = "import sys, time\nwhile True:\n    open(sys.argv[1], 'a').write('1,2,a\\n'); time.sleep(0.01)"
    writer = subprocess.Popen([sys.executable, "-c", grow, str(data["growing"])])
    try:
        ended = Ended(project, "--settle", "0.3")
    finally:
        writer.kill()
        writer.wait()
    assert ended.code == 65, ended.errors
    assert {n: (r["outcome"], r["message"]) for n, r in ended.json["analyses"].items()} == {
        "absent": (
            "not there yet",
            "data/absent panel.csv: there is no such file. Beside it are: cut panel.csv, empty panel.csv, "
            "good panel.csv, growing panel.csv.",
        ),
        "empty": ("half-written", "data/empty panel.csv: the file is empty so far."),
        "cut": ("half-written", "data/cut panel.csv: the last line is cut off: 2 of 3 fields."),
        "growing": ("half-written", "data/growing panel.csv: the file is still being written."),
        "good": ("new", "new results, no alert."),
    }
    for name in names[:-1]:
        assert project.artifacts(name) == before[name], name
    assert project.artifacts("good") != before["good"]
    index = (project.folder / "results/index.html").read_text()
    assert all(name in index for name in names)

    for name in ("empty", "cut", "growing"):
        data[name].write_text("y,x,g\n1,2,a\n")
    ended = Ended(project)
    assert (ended.code, ended.json["outcome"]) == (66, "not there yet")
    assert all(ended.json["analyses"][n]["outcome"] == "nothing new" for n in names[1:])


def test_nothing_there_at_all(project: Project) -> None:
    project.configure(a={"panel": "inbox/*.parquet"})
    ended = Ended(project)
    assert ended.code == 66
    assert ended.said == (
        "hierreport: 1 analysis: 1 not there yet. a: inbox/*.parquet: no file matches. Exit code 66.\n"
    )
    assert ended.json["analyses"]["a"]["report"] is None


def test_failed_refused_and_locked(project: Project) -> None:
    project.configure(good={}, wrong={"formula": "y ~ unknown + (1 | g)"})
    ended = Ended(project)
    assert ended.code == 1
    assert ended.said == (
        "hierreport: 2 analyses: 1 failed, 1 new. good: first results. "
        "wrong: ingest: formula: there is no column 'unknown'. Columns: y, x, g. Exit code 1.\n"
    )
    assert Ended(project, "--no-such-option").code in (1, 2)
    dry = Ended(project, "--dry-run")
    assert (dry.code, dry.json["outcome"]) == (2, "refused")

    secret = {"analyses": {"a": {"panel": "x.csv"}}, "notify": ["mailto://me:secret@example.org"]}
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(secret))
    refused = Ended(project)
    assert refused.code == 2
    assert refused.said == "hierreport: refused. mine.yaml: analyses.a.formula: is missing. Exit code 2.\n"

    project.configure(good={}, slow={})
    (project.folder / "slow").touch()
    first = project.start()
    try:
        wait_for(project.folder / "results/slow/fitting")
        before = (project.folder / "results/run.json").read_bytes()
        locked = Ended(project)
        assert locked.code == 75
        assert locked.said.startswith("hierreport: locked. ") and "another run is at work" in locked.said
        assert (project.folder / "results/run.json").read_bytes() == before
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


def test_people_still_get_0_and_where_the_reports_are(project: Project) -> None:
    project.configure(a={})
    assert "Reports, to open in a browser:" in project.run(code=0)
    assert not (project.folder / "results/run.json").exists()


def test_no_secret_is_written_anywhere(project: Project) -> None:
    project.configure(a={})
    config = yaml.safe_load((project.folder / "mine.yaml").read_text())
    config |= {"notify": ["mailto://me:topsecret1@localhost", "env:MINE"], "notify_when": "always"}
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(config))
    (project.folder / "apprise.py").write_text(
        "class Apprise:\n"
        "    def add(self, url):\n"
        "        self.url = url\n"
        "        return True\n"
        "    def notify(self, title, body):\n"
        "        open('sent.txt', 'a').write(f'{self.url}|{title}|{body}\\n')\n"
        "        return 'localhost' in self.url\n"
    )
    ended = Ended(project, MINE="slack://topsecret2")
    assert ended.code == 10, ended.errors
    assert ended.json["notification"] == {
        "sent": 1,
        "faults": ["notify[2] (MINE): the notification was not delivered."],
    }
    assert "Notification: notify[2] (MINE): the notification was not delivered. Exit code 10." in ended.said
    sent = (project.folder / "sent.txt").read_text().splitlines()
    told = "hierreport: 1 analysis: 1 new. a: first results. Exit code 10."
    assert sent == [
        f"{url}|hierreport: 1 analysis: 1 new.|{told}" for url in (config["notify"][0], "slack://topsecret2")
    ]
    everything = [ended.said, ended.errors]
    for folder in ("results", ".snakemake"):
        everything += [p.read_text(errors="replace") for p in (project.folder / folder).rglob("*") if p.is_file()]
    assert len(everything) > 20 and "topsecret" not in "".join(everything)
