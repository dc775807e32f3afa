"""The model frame as CSV: the rows and columns that the fits used, with names that every program accepts."""

from __future__ import annotations

import os
from pathlib import Path

from ..frame import Frame
from ..source import literal, quote
from .models import Names

STEP = "t_step"


def write_frame(frame: Frame, names: Names, path: Path, step: float | None) -> None:
    """Write the rows, sorted by groups, time and position; numbers read back to the same doubles.

    Args:
        frame: the frame.
        names: what its columns are called.
        path: the file.
        step: length of a step of time; ``t_step`` counts steps from the first period where it is given.
    """
    select = [f"{frame.outcome.sql} AS {names.outcome}"]
    select += [f"{c.sql} AS {names.columns[c.name]}" for c in frame.columns]
    for depth, level in enumerate(frame.levels, start=1):
        keys = ", ".join(quote(g) for g in frame.groups[:depth])
        select.append(f"dense_rank() OVER (ORDER BY {keys}) AS {names.levels[level]}")
    select += [f"{quote(g)} AS {names.labels[g]}" for g in frame.groups]
    if frame.time:
        select.append(f"{quote(frame.time)} AS {names.time}")
        if step:
            # Whole steps as whole numbers: corAR1 and others want them.
            steps = f"({quote(frame.time)} - min({quote(frame.time)}) OVER ()) / {step!r}::DOUBLE"
            select.append(
                f"CASE WHEN abs({steps} - round({steps})) < 1e-9 THEN round({steps}) ELSE {steps} END AS {STEP}"
            )
    if frame.weights:
        select.append(f"{quote(frame.weights)} AS {names.weights}")
    order = ", ".join(quote(c) for c in [*frame.groups, *([frame.time] if frame.time else []), "__row"])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    frame.con.execute(
        f"COPY (SELECT {', '.join(select)} FROM {frame.table} ORDER BY {order})"
        f" TO {literal(str(temporary))} (FORMAT csv, HEADER)"
    )
    os.replace(temporary, path)
