"""Column names that R formulas, Stata, SAS and Python all accept: letters, digits, underscores; 28 at most."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LIMIT = 28


def safe_names(names: Iterable[str], prefix: str, taken: set[str]) -> dict[str, str]:
    """A safe name for each name, unique without regard to case; no reserved word, because of the prefix.

    >>> safe_names(["log(wage)", "log[wage]", "größe"], "x", set())
    {'log(wage)': 'x_log_wage', 'log[wage]': 'x_log_wage_2', 'größe': 'x_grosse'}

    Args:
        names: the model's names.
        prefix: of all results: what kind of column it is.
        taken: names that are in use; those found are added.
    """
    found = {}
    for name in names:
        plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
        base = "_".join(filter(None, [prefix, re.sub(r"[^a-z0-9]+", "_", plain).strip("_")]))[:LIMIT].rstrip("_")
        candidate, number = base, 1
        while candidate in taken:
            number += 1
            candidate = f"{base[: LIMIT - len(str(number)) - 1]}_{number}"
        taken.add(candidate)
        found[name] = candidate
    return found
