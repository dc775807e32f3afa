"""What changed, in one sentence; its numbers keep their place in changes.json."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CLEAR = 0.01  # p below which a change is called more than sampling noise
ADDED = (("added", "added"), ("removed", "removed"), ("revised", "revised"))


@dataclass(frozen=True)
class Account:
    """A sentence as a template, its numbers (value, JSON pointer in changes.json) and its words."""

    template: str
    numbers: dict[str, tuple[float, str]]
    words: dict[str, str]

    @property
    def text(self) -> str:
        """The sentence with its numbers in English."""
        shown = {k: number(v) for k, (v, _) in self.numbers.items()}
        text = string.Formatter().vformat(self.template, (), {**shown, **self.words})
        return text[:1].upper() + text[1:]


def number(value: float | None) -> str:
    """A number in English: counts with commas, else four significant digits; empty where there is none."""
    if value is None:
        return ""
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return text.replace("-", "\u2212", 1) if text.startswith("-") else text


def sentence(found: Mapping[str, Any]) -> Account:
    """Rows, groups, the largest change of a coefficient, the choice and the checks, as far as they changed."""
    numbers: dict[str, tuple[float, str]] = {}
    words: dict[str, str] = {}
    if found["identical"]:
        changed = [name for name, cause in found["causes"].items() if cause["changed"]]
        if not changed:
            return Account("nothing differs.", {}, {})
        words["causes"] = _listing(changed)
        return Account("nothing that was computed differs, although {causes} changed.", {}, words)
    parts = []
    rows = found["data"]["rows"]
    for key, verb in ADDED:
        if rows.get(key):
            numbers[key] = (rows[key], f"/data/rows/{key}")
            noun = "row was" if rows[key] == 1 else "rows were"
            parts.append(f"{{{key}}} {noun} {verb}")
    for i, (level, groups) in enumerate(found["data"]["groups"].items()):
        for way in ("came", "went"):
            if groups[f"{way}_count"]:
                numbers[f"{way}_{i}"] = (groups[f"{way}_count"], f"/data/groups/{_escape(level)}/{way}_count")
                words[f"level_{way}_{i}"] = f"group{'s' if groups[f'{way}_count'] != 1 else ''} of {level}"
                parts.append(f"{{{way}_{i}}} {{level_{way}_{i}}} {way}")
    parts = [_listing(parts)] if parts else []
    if found["choice"]["changed"]:
        words |= {"was": found["choice"]["before"], "now": found["choice"]["now"]}
        parts.append("the chosen rung was {was} and is {now}" if words["was"] != words["now"] else "the formula of {now} changed")
    elif parts:
        words["now"] = found["choice"]["now"]
        parts.append("the choice is still {now}")
    moved = largest(found["fixed"])
    if moved is not None:
        i, entry = moved
        words["term"] = entry["term"]
        numbers |= {"old": (entry["before"], f"/fixed/{i}/before"), "new": (entry["now"], f"/fixed/{i}/now")}
        text = "{term} moved most, from {old} to {new}"
        if entry.get("p") is not None:
            numbers["p"] = (entry["p"], f"/fixed/{i}/p")
            text += ", more than sampling explains (p = {p})" if entry["p"] < CLEAR else ", no more than sampling explains (p = {p})"
        parts.append(text)
    if found["checks"]:
        numbers["turned"] = (len(found["checks"]), "")
        words["checks"] = "check" if len(found["checks"]) == 1 else "checks"
        parts.append("{turned} {checks} turned")
    return Account("; ".join(parts) + ".", numbers, words)


def largest(fixed: list[dict[str, Any]]) -> tuple[int, dict[str, Any]] | None:
    """The coefficient that moved most for its standard error, levels of factors apart; None where none did."""
    size = [abs(f["change"]) / (f["se_before"] or 1.0) if _main(f) else 0.0 for f in fixed]
    best = max(range(len(size)), key=lambda i: size[i], default=None)
    return None if best is None or size[best] < 1e-6 else (best, fixed[best])


def _main(entry: Mapping[str, Any]) -> bool:
    return bool(entry["change"]) and entry["term"] != "(Intercept)" and not entry["term"].endswith("]")


def _listing(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
