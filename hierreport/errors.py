"""The one family of exceptions that a user of hierreport meets."""

from __future__ import annotations

from .said import Said


class HierreportError(Exception):
    """A refusal: what is wrong, where, and what to do about it.

    Args:
        what: one sentence that states the fault with its numbers ("log(wage) is undefined for 3 rows").
        where: the file, column, row or config key it was found in; may be empty.
        do: one sentence that says how to mend it; may be empty.

    ``str(error)`` is the message shown to the user: ``where: what do``.
    """

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        self.what, self.where, self.do = (str.__str__(Said(text)) for text in (what, where, do))
        super().__init__(self.what, self.where, self.do)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head} {self.do}" if self.do else head


class FormulaError(HierreportError):
    """The formula cannot be read, or names what the data do not have."""


class DataError(HierreportError):
    """The data cannot be read, or break a requirement of the model."""


class ConfigError(HierreportError):
    """The configuration has an unknown key or an unusable value."""


class ModelError(HierreportError):
    """A model cannot be identified from these data (too few groups, unbounded likelihood, …)."""
