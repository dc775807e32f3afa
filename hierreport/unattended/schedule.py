"""Files that let systemd, cron or GitHub Actions start unattended runs.

Every text is quoted for the program that reads it. Times are of the machine's zone; GitHub's are UTC.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import HierreportError
from .outcomes import Outcome

RETRY_SECONDS, RETRIES = 900, 16  # data that are late are looked for every quarter of an hour, for four hours


@dataclass(frozen=True)
class Job:
    """What is to run when.

    Attributes:
        folder: where to run: the folder that paths in the configuration start from.
        python: the interpreter that has hierreport.
        config: the configuration, or None for config/config.yaml there.
        hour, minute: every day at.
    """

    folder: Path
    python: Path
    config: str | None
    hour: int
    minute: int

    @property
    def arguments(self) -> list[str]:
        """The command after the interpreter."""
        return ["-m", "hierreport", "run", "--unattended", *(["--config", self.config] if self.config else [])]


def job(config: str | None, at: str) -> Job:
    """A job of the current folder and interpreter.

    Raises:
        HierreportError: the time is none, the configuration does not exist, or a path has a line break.
    """
    hour, _, minute = at.partition(":")
    if not (hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60 and len(minute) == 2):
        raise HierreportError(f"'{at}' is no time of day.", "--at", "Write it as 06:30.")
    folder, file = Path.cwd(), config or "config/config.yaml"
    if not Path(file).is_file():
        raise HierreportError("there is no such file.", file, "Name your configuration: --config mine.yaml")
    python = Path(sys.executable)
    for path in (str(folder), str(python), file):
        if not path.isprintable():
            raise HierreportError("a path with control characters cannot be scheduled.", repr(path), "Rename it.")
    return Job(folder, python, config, int(hour), int(minute))


def systemd(job: Job) -> dict[str, str]:
    """A service and a timer, for ``~/.config/systemd/user`` or ``/etc/systemd/system``, by file name."""
    words = [str(job.python), *job.arguments]
    if any(c in str(job.python) for c in "\"'\\$"):  # systemd takes no such name of a program
        words = ["/bin/sh", "-c", 'exec "$0" "$@"', *words]
    command = " ".join(map(_unit_word, words))
    fine = " ".join(str(o.code) for o in Outcome if o.quiet)
    again = (Outcome.ABSENT, Outcome.PARTIAL, Outcome.LOCKED)
    final = " ".join(str(o.code) for o in Outcome if not o.quiet and o not in again)
    service = f"""\
[Unit]
Description=hierreport: reports of {_specifiers(job.config or "config/config.yaml")}
# Data that are not there yet are looked for again (see Restart), but not for ever.
StartLimitIntervalSec={RETRY_SECONDS * RETRIES}
StartLimitBurst={RETRIES}

[Service]
Type=oneshot
WorkingDirectory={_specifiers(str(job.folder))}
# Addresses for notifications, readable for you alone: HIERREPORT_NOTIFY=mailto://...
EnvironmentFile=-%h/.config/hierreport.env
ExecStart={command}
SuccessExitStatus={fine}
Restart=on-failure
RestartSec={RETRY_SECONDS}
RestartPreventExitStatus={final}
"""
    timer = f"""\
[Unit]
Description=hierreport every day at {job.hour:02d}:{job.minute:02d}

[Timer]
OnCalendar=*-*-* {job.hour:02d}:{job.minute:02d}:00
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {"hierreport.service": service, "hierreport.timer": timer}


def cron(job: Job) -> dict[str, str]:
    """A line for ``crontab -e``. It prints, and so cron mails, only where a person is needed."""
    words = [str(job.python), *job.arguments, "--silent"]
    command = f"cd {shlex.quote(str(job.folder))} && {shlex.join(words)}"
    line = f"{job.minute} {job.hour} * * * {command.replace('%', chr(92) + '%')}"  # cron reads % as a line break
    return {"hierreport.crontab": f"# hierreport: mails only where a person is needed\n{line}\n"}


def github(job: Job) -> dict[str, str]:
    """A workflow for GitHub Actions in the repository that holds the configuration and the data."""
    config = f" --config {shlex.quote(job.config)}" if job.config else ""
    text = f"""\
# Runs in a repository that is a checkout of hierreport with your configuration and data.
# Addresses for notifications go into the repository's secret HIERREPORT_NOTIFY.
name: hierreport
on:
  schedule:
    - cron: "{job.minute} {job.hour} * * *" # UTC
  workflow_dispatch:
concurrency: hierreport
permissions:
  contents: read
jobs:
  reports:
    runs-on: ubuntu-latest
    env:
      HIERREPORT_NOTIFY: ${{{{ secrets.HIERREPORT_NOTIFY }}}}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - name: Build the environment
        run: make .venv/.hierreport
      - name: The last run's results, to compare with
        uses: actions/cache@v4
        with:
          path: |
            results
            history
            .snakemake
          key: hierreport-${{{{ github.run_id }}}}
          restore-keys: hierreport-
      - name: Run
        run: |
          code=0
          .venv/bin/python -m hierreport run --unattended{config} > summary.txt || code=$?
          cat summary.txt
          cat summary.txt >> "$GITHUB_STEP_SUMMARY"
          case "$code" in {"|".join(str(o.code) for o in Outcome if o.quiet)}) ;; *) exit "$code" ;; esac
      - name: Keep the reports
        if: always()
        uses: actions/upload-artifact@v4
        with:
          name: reports
          path: results
"""
    return {"hierreport.yml": text}


KINDS = {"systemd": systemd, "cron": cron, "github": github}


def _specifiers(text: str) -> str:
    """A text in a unit file: a percent sign begins a specifier."""
    return text.replace("%", "%%")


def _unit_word(text: str) -> str:
    """One word of ExecStart: quotes, backslashes, specifiers and variables mean themselves."""
    escaped = _specifiers(text).replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    plain = all(c.isalnum() or c in "/._-+:@%=," for c in text)
    return escaped if plain else f'"{escaped}"'
