"""Reading a panel for the stage ingest: file by file where the configuration says so and the files allow it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import ingest, source
from ..errors import HierreportError

if TYPE_CHECKING:
    from ..frame import Frame
    from ..moments import PanelMoments
    from .parts import Kept


def model_frame(folder: Path, options: dict[str, Any]) -> tuple[Frame, Kept | None]:
    """The checked model frame of an analysis; and what is kept of its files, where they are read one by one.

    Args:
        folder: the analysis' results; ``.kept`` in it holds what is kept.
        options: of the stage ingest.
    """
    data = options["panel"] if isinstance(options["panel"], dict) else {"path": options["panel"]}
    build = partial(
        ingest.build_frame,
        formula=options["formula"],
        time=options.get("time"),
        weights=options.get("weights"),
        time_step=options.get("time_step"),
        variances=options.get("variances"),
        where=f"analyses.{folder.resolve().name}.formula",
    )
    if options.get("partitions"):
        from .parts import Whole, open_parts

        try:
            kept = open_parts(data["path"], options, folder / ".kept")
            frame = build(kept.source)
            print(f"partitions: {len(kept.fresh)} of {len(kept.parts)} files were read.")
            return frame, kept
        except Whole as reason:
            print(f"partitions: all files were read as one: {reason}.")
        except HierreportError:  # said anew from the files themselves, with what they say of their rows
            pass
    return build(source.open_source(data["path"], sheet=data.get("sheet"))), None


def continued(frame: Frame, kept: Kept) -> PanelMoments | None:
    """Moments of a panel whose files were read one by one; None where they are to be reduced as for any other panel."""
    from .fold import reduce_kept
    from .parts import Whole

    reduced = None
    try:
        reduced, said = reduce_kept(frame, kept)
        print(f"partitions: {said}.")
    except Whole as reason:
        print(f"partitions: the moments were computed from all rows at once: {reason}.")
    kept.tidy()
    return reduced
