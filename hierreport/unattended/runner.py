"""An unattended run: looks at the data, runs what is ready, compares with the last run, says what needs a person.

Only the summary goes to stdout; what Snakemake says goes to stderr.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import running
from ..config import alert_limits, panel_path
from ..errors import HierreportError
from .arrival import look_all
from .compare import State, compare
from .notify import send
from .outcomes import Outcome
from .record import Record, Result

if TYPE_CHECKING:
    from ..config import Config

# Files of any size are compared by content, so that data written anew with the same content are no news.
CHECKSUM_LIMIT = "1PB"


@dataclass(frozen=True)
class Manner:
    """How a run is done: config file, cores, further arguments of Snakemake, and how it speaks.

    Attributes:
        as_json: print run.json in place of the paragraph.
        silent: print nothing where nobody is needed.
        settle: seconds after which a file that was just changed is looked at again.
    """

    config: str | None
    cores: str
    extra: Sequence[str] = ()
    as_json: bool = False
    silent: bool = False
    settle: float = 5.0


def run(manner: Manner) -> int:
    """Run, write results/run.json, print the summary, and notify where that is due.

    Returns:
        The exit code; see ``outcomes.Outcome``.
    """
    settings: Config | None = None
    try:
        running.lock()
    except HierreportError as error:  # run.json belongs to the other run
        return _say(Record({}, Outcome.LOCKED, str(error)), manner)
    try:
        settings = _settings(manner)
        record = _run(settings, manner)
    except HierreportError as error:
        record = Record({}, Outcome.REFUSED, str(error))
    except Exception as error:
        traceback.print_exc()
        record = Record({}, Outcome.FAILED, f"unexpected {type(error).__name__}: {error}")
    if settings is not None and _due(record.outcome, settings.notify_when):
        delivery = send(record.heading, record.summary, settings.notify)
        record = replace(record, delivery=delivery if delivery.sent or delivery.faults else None)
    record.write(running.RESULTS / "run.json")
    return _say(record, manner)


def _settings(manner: Manner) -> Config:
    """The configuration, and a refusal of arguments that run nothing."""
    odd = running.INFORMATION & set(manner.extra)
    if odd:
        raise HierreportError(f"{sorted(odd)[0]} runs nothing.", "hierreport run --unattended", "Leave it out.")
    return running.read_config(running.config_file(manner.config))


def _run(settings: Config, manner: Manner) -> Record:
    started = time.time()
    folders = {name: running.RESULTS / name for name in settings.analyses}
    before = {name: State.of(folder) for name, folder in folders.items()}
    panels = {name: panel_path(analysis) for name, analysis in settings.analyses.items()}
    arrivals = look_all(panels, manner.settle, {name: state.files for name, state in before.items()})
    ready = [name for name, arrival in arrivals.items() if arrival.outcome is None]
    results: dict[str, Result] = {}
    code = 0
    if ready:
        running.leave_out(set(settings.analyses) - set(ready))
        extra = ["--max-checksum-file-size", CHECKSUM_LIMIT, *(["--quiet", "all"] if manner.silent else [])]
        code = running.run_workflow(manner.config, manner.cores, [*extra, *manner.extra])
    for name, folder in folders.items():
        waiting = arrivals[name]
        if waiting.outcome is not None:
            report = (folder / "report.html").as_posix() if before[name].written else None
            results[name] = Result(waiting.outcome, waiting.message, (), report)
            continue
        wrong = running.failures(name, started)
        if wrong:
            results[name] = Result(Outcome.FAILED, " ".join(part.partition(", ")[2] for part in wrong))
        elif code and not State.of(folder).written:
            results[name] = Result(Outcome.FAILED, "it has no finished results.")
        else:
            results[name] = compare(folder, before[name], alert_limits(settings, name))
    unexplained = code != 0 and not any(r.outcome is Outcome.FAILED for r in results.values())
    return Record.of(results, "the workflow stopped with an error; its last lines say which." if unexplained else "")


def _due(outcome: Outcome, when: str) -> bool:
    """Whether an outcome is to be notified."""
    if when == "always":
        return True
    return not outcome.quiet or (when == "new" and outcome is Outcome.NEW)


def _say(record: Record, manner: Manner) -> int:
    if not (manner.silent and record.outcome.quiet and not (record.delivery and record.delivery.faults)):
        print(record.json() if manner.as_json else record.summary, end="" if manner.as_json else "\n", flush=True)
    sys.stdout.flush()
    return record.outcome.code
