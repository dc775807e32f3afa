"""Sign-off: the model document, and what people write into it.

The document is made from the artifacts of a run and from a form, a YAML file of the user's own that holds what only a
person can say (owner, intended use, approval, …). The form is written once, with empty places, and never again by this
program; who read the results confirms the entries, and what was confirmed for other results is marked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..report.context import Context
    from ..report.summary import Summary
    from .confirmations import Placed

__all__ = ["confirm", "create", "entries", "files", "write_document"]

DOCUMENT, DOCUMENT_TEXT = "model_document.html", "model_document.md"


def write_document(folder: Path, context: Context, summary: Summary) -> list[Path]:
    """Write model_document.html and model_document.md of an analysis.

    Args:
        folder: ``results/<analysis>``.
        context, summary: the report's content; the option ``sign_off`` names the form.

    Returns: the two files.
    Raises: ConfigError where the form is named but missing, or cannot be read.
    """
    from .document import write

    return write(folder, context, summary)


def files(form: str | Path) -> list[Path]:
    """A form and the confirmations beside it, whether they are there or not."""
    return [Path(form), Path(form).with_suffix(".confirmed.json")]


def create(form: Path, analysis: str, folder: Path) -> bool:
    """Write a form with empty places, unless there is one.

    Args:
        form: where; folders are made.
        analysis: its name, for the heading.
        folder: ``results/<analysis>``; its checks that found a problem get a place each. It need not exist.

    Returns: whether it was written; False where a file is there already, which stays as it is.
    """
    from .form import write_new

    return write_new(form, analysis, folder)


def entries(form: Path | None, folder: Path) -> list[Placed]:
    """Every place of the document with what stands there and whether it holds for the results in ``folder``.

    Raises: ConfigError for a form that cannot be read; DataError where there are no results.
    """
    from .confirmations import place

    return place(form, folder)


def confirm(form: Path, folder: Path, keys: list[str] | None = None, by: str = "") -> dict[str, Any]:
    """Record that entries hold for the results in ``folder``, in ``<form>.confirmed.json`` beside the form.

    Args:
        keys: which; every filled one that is not confirmed for these results where None.
        by: who says so.

    Returns: the record of each entry confirmed now.
    Raises: ConfigError for an unknown or empty entry.
    """
    from .confirmations import confirm as record

    return record(form, folder, keys, by)
