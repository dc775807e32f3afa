"""Whole processes under the clock."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One finished process.

    Attributes:
        wall, cpu: seconds; processor time includes all processes that it started.
        memory: largest resident size in MB, of the largest of its processes.
        answer: what its last line of output says, if that is JSON.
        failed: why it has no result: the time limit, or its last words.
    """

    wall: float
    cpu: float
    memory: float
    answer: Any
    failed: str = ""


def run(command: Sequence[str], limit: float, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
    """Run a program to its end, or to the time limit.

    Args:
        command: program and arguments.
        limit: seconds of wall time, after which it is stopped.
        folder: where it runs.
        env: environment variables besides the present ones.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=out, stderr=err, cwd=folder, env={**os.environ, **(env or {})}, start_new_session=True
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, stop)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        lines = out.read().strip().splitlines() or [""]
        words = err.read().strip().splitlines() or lines
    answer, failed = None, ""
    if late.is_set():
        failed = f"stopped after {limit:.0f} s"
    elif process.returncode:
        failed = words[-1][:200] or f"exit code {process.returncode}"
    else:
        try:
            answer = json.loads(lines[-1])
        except ValueError:
            answer = lines[-1]
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, answer, failed)


def machine() -> dict[str, Any]:
    """What the times depend on."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    clock = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("cpu MHz")), "?")
    system = next((line.split("=")[1].strip('"') for line in _lines("/etc/os-release") if line[:6] == "PRETTY"), "?")
    memory = next((int(line.split()[1]) // 2**20 for line in _lines("/proc/meminfo") if line[:8] == "MemTotal"), 0)
    return {
        "cpu": cpu,
        "mhz": clock,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": memory + 1,
        "system": system,
        "load": os.getloadavg()[0],
    }


def missing(*programs: str) -> list[str]:
    """Those of some programs that are not installed."""
    return [p for p in programs if shutil.which(p) is None]


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
