"""Running the workflow from the command line, and what its Snakefile needs beside the rules."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, HierreportError

if TYPE_CHECKING:
    from .config import Config

PACKAGE = Path(__file__).parent
RESULTS = Path("results")
_MARK = "hierreport: error: "


def root() -> Path:
    """The folder with workflow/ and profiles/: the checkout, or the package itself where it was installed."""
    for place in (PACKAGE.parent, PACKAGE):
        if (place / "workflow" / "Snakefile").is_file():
            return place
    raise HierreportError("the workflow's files are missing.", str(PACKAGE), "Install hierreport again.")


def read_config(path: str | Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: ``read_yaml`` or ``config.load`` refuses it.
    """
    from .config import load

    return load(read_yaml(path), str(path))


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigError: it cannot be read, or a key stands twice.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        check_keys(yaml.compose(text), str(path))
        return yaml.safe_load(text)
    except OSError as error:
        do = "Write one: hierreport config --example > mine.yaml"
        raise ConfigError(f"cannot be read ({error.strerror}).", str(path), do) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}.", str(path)) from None


def check_keys(node: Any, where: str) -> None:
    """Refuse a key that stands twice in one block of a YAML document: all but the last would be lost without a word.

    Args:
        node: what ``yaml.compose`` gives.
        where: the file, for the message.

    Raises:
        ConfigError: names the key and its lines.
    """
    pairs = node.value if getattr(node, "id", "") == "mapping" else []
    seen: dict[str, int] = {}
    for key, value in pairs:
        line = key.start_mark.line + 1
        if str(key.value) in seen:
            what = f"the key '{key.value}' stands twice in one block (lines {seen[str(key.value)]} and {line})."
            raise ConfigError(what, where, "Rename or remove one of them.")
        seen[str(key.value)] = line
        check_keys(value, where)


def prepare_commands(conda: bool) -> None:
    """Let the rules' commands find Python and this package, on whatever machine they run.

    Environment variables and no parameters of the rules: another environment is no reason to run everything again.

    Args:
        conda: Snakemake activates an environment of its own for each command; its Python is used then.
    """
    _spare_pandas()
    os.environ.update(HIERREPORT_PYTHON="python" if conda else sys.executable)
    if (PACKAGE.parent / "pyproject.toml").is_file() or conda:
        paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, paths)))


def _quieten() -> None:
    """Leave out of Snakemake's output what only says that it is at work."""
    import logging

    hidden = (
        "Select jobs to execute",
        "Execute ",
        "Using shell",
        "Conda environments: ignored",
        "Assuming unrestricted",
    )
    logging.getLogger("snakemake.logging").addFilter(lambda record: not record.getMessage().startswith(hidden))


def _spare_pandas() -> None:
    """Let Snakemake compare parameters that are text without importing pandas first (0.4 s and more, each run).

    It looks for data frames among them. Anything but text still goes the old way; where a later Snakemake has no such
    method, nothing is changed.
    """
    from snakemake.persistence import PersistenceBase

    usual = getattr(PersistenceBase, "_serialize_param_pandas", None)
    if usual is not None and getattr(usual, "__name__", "") != "serialize":

        def serialize(self: Any, value: Any) -> Any:
            return repr(value) if isinstance(value, str) else usual(self, value)

        PersistenceBase._serialize_param_pandas = serialize


def run(config: str | None, cores: str, extra: Sequence[str]) -> int:
    """Run the workflow in this process and say where the reports are.

    Args:
        config: the user's configuration; it takes the place of the shipped one. None: config/config.yaml.
        cores: number of jobs at a time, or ``"all"``.
        extra: further arguments for Snakemake.

    Returns:
        Snakemake's exit code.
    """
    analyses = list(read_config(config_file(config)).analyses)
    code = run_workflow(config, cores, extra)
    if code == 0 and not INFORMATION & set(extra):
        announce(analyses)
    return code


def config_file(config: str | None) -> str:
    """The configuration to use: the one given, or the one of the folder."""
    return config or "config/config.yaml"


def run_workflow(config: str | None, cores: str, extra: Sequence[str]) -> int:
    """Run Snakemake in this process; see ``run``."""
    try:
        from snakemake.cli import main
    except ImportError:
        what = "the workflow needs Snakemake, which is not installed here."
        raise HierreportError(what, "hierreport run", "Install it: pip install 'hierreport[workflow]'.") from None
    place = root()
    _quieten()
    arguments = ["--snakefile", str(place / "workflow" / "Snakefile"), "--cores", cores]
    arguments += [
        "--configfile",
        config_file(config),
        "--workflow-profile",
        str(place / "profiles" / "default"),
        *extra,
    ]
    try:
        main(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    return code


# With these, Snakemake only tells or writes something else than results.
INFORMATION = {"-n", "--dry-run", "--dryrun", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--lint", "--report"}
INFORMATION |= {"--summary", "-D", "--detailed-summary", "--list", "-l", "--list-rules", "--unlock", "--help", "-h"}
_announced: set[str] = set()


def announce(analyses: Iterable[str], index: bool = True) -> None:
    """Print where the finished reports are, once; with ``index``, where the page over all of them is too."""
    reports = [(a, (RESULTS / a / "report.html").resolve()) for a in analyses if a not in _announced]
    finished = [(a, path) for a, path in reports if path.is_file()]
    _announced.update(a for a, _ in finished)
    if finished:
        width = max(3, *(len(a) for a, _ in finished))
        lines = [f"  {a:{width}}  {path}" for a, path in finished]
        overview = (RESULTS / "index.html").resolve()
        if index and overview.is_file():
            lines.append(f"  {'all':{width}}  {overview}")
        print("\n".join(["", "Reports, to open in a browser:", *lines]), flush=True)


def failures(analysis: str, since: float) -> list[str]:
    """What went wrong in an analysis since a moment: the messages of its failed stages, from their logs.

    Args:
        analysis: its name.
        since: seconds since the epoch; older logs are of earlier runs.
    """
    folder = RESULTS / analysis
    parts = []
    for log in sorted((folder / "logs").glob("*.log"), key=lambda p: p.stat().st_mtime):
        text = log.read_text(encoding="utf-8", errors="replace").rstrip()
        finished = text.rpartition("\n")[2].startswith(f"hierreport: {log.stem} done")
        if finished or log.stat().st_mtime < since:
            continue
        head, mark, message = text.rpartition(_MARK)
        if not mark:
            message = "\n".join(["the stage was stopped before it finished.", *text.splitlines()[-5:]])
        elif "Traceback" in head:
            message += f"\n(a fault of hierreport, not of your data; the traceback is in {log})"
        if (folder / "report.html").is_file():
            message += f"\n(the report in {folder} is of an earlier run)"
        parts.append(f"{analysis}, {log.stem}: {message}\n")
    return parts


def leave_out(analyses: Iterable[str]) -> None:
    """Let the workflow of this process pass over some analyses (their data are not ready), and end without a word."""
    global _attended
    _attended = False
    waiting.update(analyses)


def lock() -> None:
    """Take the lock of a run in this folder; a second time in the same process it is held already.

    Raises:
        HierreportError: another run is at work here.
    """
    _lock.acquire()


def start() -> None:
    """Before the first job (``onstart``): one run at a time in a folder, and remember when it began.

    Raises:
        HierreportError: another run is at work here.
    """
    global _started
    _started = time.time()
    _lock.acquire()


def end(analyses: Sequence[str]) -> None:
    """After a run (``onsuccess``, ``onerror``): what went wrong and where the reports are, as the last words."""

    def tell() -> None:
        wrong = {analysis: failures(analysis, _started) for analysis in analyses}
        announce((a for a in analyses if not wrong[a]), index=not any(wrong.values()))
        parts = [part for found in wrong.values() for part in found]
        if parts:
            print("\nWhat went wrong:\n", *parts, sep="\n", file=sys.stderr, flush=True)

    if _attended:
        atexit.register(tell)
    _cancel_scheduler_timers()


def _cancel_scheduler_timers() -> None:
    """Stop what Snakemake has set to look for more jobs a second after the last: the ended run would wait for it."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            function = getattr(thread, "function", None)
            if getattr(function, "__module__", "") == "snakemake.scheduling.job_scheduler":
                thread.cancel()


class RunLock:
    """One run at a time in a folder. The kernel frees it when the process ends, however it ends, unlike a lock file.

    Snakemake's own lock stays behind after kill -9 and then refuses every run until ``--unlock``; the profile turns it
    off, and the Snakefile takes this one before the first job starts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            HierreportError: another process holds it.
        """
        import fcntl

        if self._file is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            what = f"another run is at work in this folder ({owner})."
            raise HierreportError(what, str(Path.cwd()), "Wait for it, or stop it.") from None
        self._file = file
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}, {shlex.join(sys.argv)[:200]}, since {time.strftime('%H:%M:%S')}")
        self._file.flush()


_lock = RunLock(Path(".snakemake") / "hierreport.lock")
_started = 0.0
_attended = True  # whether somebody reads the last lines on the screen
waiting: set[str] = set()  # analyses that a run passes over


def die_with_parent() -> None:
    """Linux: end this process when Snakemake ends, so that after kill -9 no orphan writes beside the next run."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
