"""How an unattended run ends: the outcomes, their exit codes, and which one speaks for a run of several analyses."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Outcome(Enum):
    """An outcome's word in run.json, its exit code, and what it means.

    65, 66 and 75 have the meaning that sysexits.h gives them (EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL). Listed from the one
    that matters least to the one that matters most: a run of several analyses ends as the last of theirs.
    """

    SAME = ("nothing new", 0, "nothing new: same data and configuration, or the same numbers")
    NEW = ("new", 10, "new results, and no alert")
    ABSENT = ("not there yet", 66, "data that are not there yet; earlier results are untouched")
    PARTIAL = ("half-written", 65, "data that are still being written, or cut off; earlier results are untouched")
    PERSON = ("needs a person", 20, "new results, and an alert of the configuration")
    FAILED = ("failed", 1, "an analysis failed")
    REFUSED = ("refused", 2, "the configuration or the command line is refused; nothing ran")
    LOCKED = ("locked", 75, "another run is at work in the folder; nothing ran")

    def __init__(self, word: str, code: int, meaning: str) -> None:
        self.word, self.code, self.meaning = word, code, meaning

    @property
    def quiet(self) -> bool:
        """Whether nobody needs to be told."""
        return self in (Outcome.SAME, Outcome.NEW)


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a run from those of its analyses."""
    order = list(Outcome)
    return max(outcomes, key=order.index)
