"""The change log, from the runs that were kept."""

from __future__ import annotations

from ..report.context import Context
from ..report.parts import Sentence, Table


def changes(context: Context) -> tuple[list[Sentence], list[Table]]:
    """Sentences and tables on what changed since earlier runs."""
    return [Sentence("No earlier run of this analysis is kept: there is nothing to compare with.")], []
