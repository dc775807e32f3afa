"""The field of the race: panels, programs, and how rows of the table are made from their runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from timing import Run, run

HERE = Path(__file__).parent
ROOT = HERE.parent
COLUMNS = ["ret", "market", "volume", "sector", "firm"]
FORMULA = "ret ~ market + volume + (1 + market | sector/firm)"
RUNGS = {
    "random_intercept": "ret ~ market + volume + (1 | firm)",
    "random_slope": "ret ~ market + volume + (1 + market | firm)",
    "multilevel": "ret ~ market + volume + (1 | sector) + (1 + market | firm)",
    "multilevel_slopes": "ret ~ market + volume + (1 + market | sector) + (1 + market | firm)",
}
# Options of `hierreport simulate`. Five per cent of the firm-days are missing unless told otherwise.
PANELS = {
    "50k": {"sectors": 10, "firms": 20, "days": 263},
    "5m": {"sectors": 50, "firms": 40, "days": 2632, "order": "day"},
    "5m_by_firm": {"sectors": 50, "firms": 40, "days": 2632},
    "50m": {"sectors": 50, "firms": 40, "days": 26316, "order": "day"},
    "200k_firms": {"sectors": 50, "firms": 4000, "days": 5, "missing": 0},
    "45k": {"sectors": 50, "firms": 100, "days": 9, "missing": 0, "predictors": 8},
}
# The same for trying the script itself: same shapes, seconds instead of minutes.
SMALL = {
    "50k": {"sectors": 5, "firms": 8, "days": 50},
    "5m": {"sectors": 10, "firms": 20, "days": 263, "order": "day"},
    "5m_by_firm": {"sectors": 10, "firms": 20, "days": 263},
    "50m": {"sectors": 10, "firms": 20, "days": 2632, "order": "day"},
    "200k_firms": {"sectors": 10, "firms": 200, "days": 5, "missing": 0},
    "45k": {"sectors": 10, "firms": 30, "days": 9, "missing": 0, "predictors": 8},
}
PEERS = ("mixedlm==1.3.0", "polars", "pyarrow")


@dataclass
class Row:
    """A line of the table.

    Attributes:
        case, what, program: what was run.
        wall, cpu: medians, seconds; None where nothing finished.
        memory: largest process, MB.
        runs: how many the medians are of.
        ratio: wall time as a multiple of hierreport's.
        target: the stated aim, and ``met`` whether it was reached.
        note: what else must be known.
    """

    case: str
    what: str
    program: str
    wall: float | None = None
    cpu: float | None = None
    memory: float | None = None
    runs: int = 0
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


@dataclass
class Field:
    """What the cases run with.

    Attributes:
        folder: panels, peers' environment and copies of the project; outside the repository.
        small: tiny panels.
        repeats: fresh processes of each quick program; slow ones run once or twice.
        log: log-likelihoods by panel, rung and program, to be compared at the end.
    """

    folder: Path
    small: bool
    repeats: int
    log: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def panel(self, name: str, kind: str = "parquet") -> str:
        """The file of a panel; made on the first call."""
        stem = f"{name}{'.small' if self.small else ''}"
        path = self.folder / f"{stem}.parquet"
        if not path.exists():
            options = (SMALL if self.small else PANELS)[name]
            arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
            command = [self.bin("hierreport"), "simulate", path, *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if kind == "csv" and not path.with_suffix(".csv").exists():
            copy = f"COPY (FROM read_parquet('{path}')) TO '{path.with_suffix('.csv')}'"
            subprocess.run(
                [
                    sys.executable,
                    "-c",
                    f"import duckdb; duckdb.execute('SET enable_progress_bar = false'); duckdb.execute({copy!r})",
                ],
                check=True,
            )
        return str(path.with_suffix(f".{kind}"))

    @cached_property
    def mixedlm(self) -> str:
        """Python of the peers' own environment; made on the first call. Empty where it cannot be had."""
        python = self.folder / "peers" / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS]
            if subprocess.run(install, check=False).returncode:
                shutil.rmtree(python.parents[1])
                return ""
        return str(python)

    def bin(self, name: str) -> str:
        """A program of this environment."""
        return os.path.join(os.path.dirname(sys.executable), name)

    def ours(self, limit: float = 300, **task: Any) -> Run:
        """hierreport, in a fresh process."""
        return run([sys.executable, str(HERE / "racers" / "ours.py"), json.dumps(task)], limit)

    def peer(self, name: str, limit: float = 300, **task: Any) -> Run:
        """A peer, in a fresh process."""
        task = {"mode": "fit", "repeats": 1, "columns": COLUMNS, "rungs": RUNGS, **task}
        command = {
            "mixedlm": [self.mixedlm, str(HERE / "racers" / "mixedlm_peer.py")],
            "statsmodels": [sys.executable, str(HERE / "racers" / "statsmodels_peer.py")],
            "lme4": ["Rscript", str(HERE / "racers" / "lme4_peer.R")],
        }[name]
        return run([*command, json.dumps(task)], limit)

    def note(self, panel: str, program: str, runs: list[Run]) -> None:
        """Keep log-likelihoods."""
        for one in runs:
            if isinstance(one.answer, dict):
                for rung, value in one.answer.get("logliks", {}).items():
                    self.log.setdefault(panel, {}).setdefault(rung, {})[program] = value


def turns(programs: Mapping[str, tuple[int, Callable[[], Run]]]) -> dict[str, list[Run]]:
    """Every program as often as it is to run, one after the other, in rounds."""
    out: dict[str, list[Run]] = {name: [] for name in programs}
    for number in range(max(count for count, _ in programs.values())):
        for name, (count, start) in programs.items():
            if number < count and not (out[name] and out[name][0].failed):
                out[name].append(start())
    return out


def times(runs: list[Run], key: str = "") -> dict[str, Any]:
    """Medians of whole processes, or of what they measured themselves under a key of ``runs``."""
    good = [r for r in runs if not r.failed]
    if not good:
        return {"note": runs[0].failed if runs else "not run"}
    memory = max(r.memory for r in good)
    if not key:
        return {
            "wall": median(r.wall for r in good),
            "cpu": median(r.cpu for r in good),
            "memory": memory,
            "runs": len(good),
        }
    inner = [one[key] for r in good for one in r.answer["runs"]]
    return {
        "wall": median(i["wall"] for i in inner),
        "cpu": median(i["cpu"] for i in inner),
        "memory": memory,
        "runs": len(inner),
    }
