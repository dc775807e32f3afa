"""What a stage cost and what it read, noted by the process that ran it: logs/<stage>.json.

Snakemake's benchmark files sample a process from outside and miss the peaks of short ones; this asks the kernel once,
at the end.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def measured(stage: str, folder: Path, options: dict[str, Any]) -> Iterator[None]:
    """Run a stage, and note its times, memory and data files in ``logs/<stage>.json`` when it ended well.

    The digests of the data are taken before they are read, so that a file that changes meanwhile is found out later.
    """
    started, clock, cpu = time.time(), time.perf_counter(), cpu_seconds()
    data = data_files(options) if stage == "ingest" else None
    yield
    from .hashing import instant, write_json

    note: dict[str, Any] = {
        "stage": stage,
        "started": instant(started),
        "ended": instant(),
        "wall_seconds": round(time.perf_counter() - clock, 3),
        "cpu_seconds": round(cpu_seconds() - cpu, 3),
        "peak_memory_bytes": peak_memory(),
    }
    if data is not None:
        note["data"] = data
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    write_json(logs / f"{stage}.json", note)


def data_files(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Path, size, digest and time of reading of a panel's files; none where they cannot be listed.

    A fault in the data is the stage's to report, not this one's.
    """
    from ..errors import HierreportError
    from ..source import list_files
    from .hashing import describe, instant

    panel = options.get("panel")
    path = panel.get("path") if isinstance(panel, dict) else panel
    try:
        return [{"path": str(f), **describe(f), "read": instant()} for f in list_files(str(path)) if f.is_file()]
    except (HierreportError, OSError):
        return []


def cpu_seconds() -> float:
    """CPU time of this process and the children it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_memory() -> int | None:
    """Largest resident memory of this process in bytes; None where the system does not say.

    Linux hands ``ru_maxrss`` down from the process that started this one, so that its own status is asked first.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
