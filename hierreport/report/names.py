"""Names of variables, terms, levels and rungs in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Term:
    """What a term of the formula is: ``kind`` is intercept, log, linear, factor, interaction or other."""

    name: str
    kind: str
    column: str = ""
    base: float = 2.718281828459045  # of the logarithm
    level: str = ""


@dataclass(frozen=True)
class Names:
    """Turns the formula's names into words, using the config's ``labels`` and ``units`` where it has them."""

    labels: dict[str, str]
    units: dict[str, str]
    columns: dict[str, tuple[str, str]]  # dummy's name -> factor, level
    groups: tuple[str, ...]

    @classmethod
    def of(cls, panel: dict[str, Any], options: dict[str, Any]) -> Names:
        dummies = {c["name"]: (c["factor"], c["level"]) for c in panel.get("columns", []) if c.get("factor")}
        labels = {str(k): str(v) for k, v in (options.get("labels") or {}).items()}
        units = {str(k): str(v) for k, v in (options.get("units") or {}).items()}
        return cls(labels, units, dummies, tuple(panel.get("groups", ())))

    def variable(self, column: str) -> str:
        """A column in words: its label, or its name with blanks for underscores."""
        inner = re.fullmatch(r"C\((`[^`]+`|[\w.]+)(,.*)?\)", column)
        column = inner[1].strip("`") if inner else column
        return self.labels.get(column) or column.strip("`").replace("_", " ")

    def unit(self, column: str) -> str:
        return self.units.get(column, "")

    def parse(self, name: str) -> Term:
        """Classify a term."""
        if name == INTERCEPT:
            return Term(name, "intercept")
        if name in self.columns:
            factor, level = self.columns[name]
            return Term(name, "factor", factor, level=str(level))
        text = name.strip()
        match = re.fullmatch(r"(log|log2|log10)\(\s*(`[^`]+`|[\w.]+)\s*\)", text)
        if match:
            base = {"log": 2.718281828459045, "log2": 2.0, "log10": 10.0}[match[1]]
            return Term(name, "log", match[2].strip("`"), base)
        if re.fullmatch(r"`[^`]+`|[^\W\d][\w.]*", text):
            return Term(name, "linear", text.strip("`"))
        return Term(name, "interaction" if _splits(text) else "other", text)

    def term(self, name: str) -> str:
        """A term in words: "log(real wage)", "year 1979", "baseline" for the intercept."""
        if name in self.labels:
            return self.labels[name]
        term = self.parse(name)
        if term.kind == "intercept":
            return "baseline"
        if term.kind == "factor":
            return f"{self.variable(term.column)} {term.level}"
        if term.kind == "linear":
            return self.variable(term.column)
        if term.kind == "log" and term.column in self.labels:
            return f"{name.split('(')[0]}({self.labels[term.column]})"
        return name

    def axis(self, name: str) -> str:
        """A term as an axis title, with its unit."""
        term = self.parse(name)
        unit = self.unit(term.column)
        label = self.term(name)
        if not unit or unit in label:
            return label
        return f"{label}, {self.variable(term.column)} in {unit}" if term.kind == "log" else f"{label} ({unit})"

    def level(self, path: str, count: int = 1) -> str:
        """A level's noun: "firm", "firms"; "residual" stays as it is."""
        noun = self.variable(path.split("/")[-1])
        return noun if count == 1 else plural(noun)

    def level_in_words(self, path: str) -> str:
        """A level with its parents: "firms within sectors"."""
        return " within ".join(plural(self.variable(p)) for p in reversed(path.split("/")))

    def slopes(self, terms: list[str]) -> str:
        """Random coefficients in words: "a baseline and a slope of log(capital)"."""
        parts = ["a baseline" if t == INTERCEPT else f"a slope of {self.term(t)}" for t in terms]
        return listing(parts)

    def random_part(self, random: list[dict[str, Any]]) -> str:
        """A random part in words, innermost level first: "a baseline per firm, and a baseline per sector"."""
        merged: dict[str, list[str]] = {}
        for block in random:
            merged.setdefault(block["level"], []).extend(block["terms"])
        parts = [f"{self.slopes(terms)} per {self.level(level)}" for level, terms in reversed(merged.items())]
        return ", and ".join(parts) if len(parts) < 3 else listing(parts)

    def rung(self, record: dict[str, Any]) -> str:
        """What a rung assumes, in words."""
        random = record["reml"].get("random") or []
        words = self.random_part(random) if random else "one baseline and one set of slopes for all"
        if record.get("errors") in ("ar1", "car1"):
            words += "; AR(1) errors"
        if record.get("variances"):
            words += f"; a residual variance per {self.variable(record['variances'])}"
        if record.get("crossed"):
            words += f"; shocks shared by all groups in a {self.variable(record['crossed'])}"
        return words


def _splits(text: str) -> bool:
    """Whether a colon stands outside of brackets and backticks: an interaction."""
    depth, quoted = 0, False
    for character in text:
        quoted ^= character == "`"
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth == 0 and not quoted:
            return True
    return False


def plural(noun: str) -> str:
    """The English plural of a noun by the regular rules.

    >>> [plural(n) for n in ("firm", "country", "class", "day", "branch")]
    ['firms', 'countries', 'classes', 'days', 'branches']
    """
    if not noun or not noun[-1].isascii() or not noun[-1].isalpha():
        return noun
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es" if not noun.endswith("series") else noun
    return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"


def listing(parts: list[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def article(noun: str) -> str:
    """ "a firm", "an industry" (by spelling)."""
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
