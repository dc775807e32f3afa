"""Which results an entry was confirmed for, and what has changed in substance since."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..provenance.hashing import instant, write_json
from ..report.artifacts import read_json
from . import files
from . import form as forms
from .places import PLACES, RESPONSES, Place, response

EMPTY, UNCONFIRMED, AGAIN, CONFIRMED = "to fill in", "not confirmed", "to be confirmed again", "confirmed"


@dataclass(frozen=True)
class Placed:
    """A place with what stands there.

    Attributes:
        place: the place.
        text: a person's words; "" where there are none.
        state: ``EMPTY``, ``UNCONFIRMED``, ``AGAIN`` or ``CONFIRMED``.
        note: who confirmed it when, or what changed since.
    """

    place: Place
    text: str
    state: str
    note: str = ""


def beside(form: Path) -> Path:
    """Where the confirmations of a form are kept."""
    return files(form)[1]


def place(form: Path | None, folder: Path) -> list[Placed]:
    """See ``signoff.entries``."""
    texts = forms.read(form) if form else {}
    known = confirmations(form) if form else {}
    now = substance(folder)
    return [_placed(p, texts.get(p.key, ""), known.get(p.key), now) for p in _places(folder, texts)]


def _places(folder: Path, texts: dict[str, str]) -> list[Place]:
    """Every place, those for checks too: checks that found a problem, and others that somebody wrote about."""
    titles = {str(c["name"]): str(c.get("title") or c["name"]) for c in _checks(folder)}
    asked = forms.problems(folder)
    written = [k.removeprefix(f"{RESPONSES}.") for k, text in texts.items() if k.startswith(RESPONSES) and text]
    names = [*asked, *(n for n in written if n not in asked)]
    return [*PLACES, *(response(n, titles.get(n, f"{n}, a check that this run does not have")) for n in names)]


def _placed(place: Place, text: str, record: dict[str, Any] | None, now: dict[str, Any]) -> Placed:
    if not text:
        return Placed(place, "", EMPTY)
    if record is None:
        return Placed(place, text, UNCONFIRMED)
    said = f"by {record['by']}, " if record.get("by") else ""
    said += str(record.get("confirmed", ""))[:10]
    if record.get("text_sha256") != _digest(text):
        return Placed(place, text, UNCONFIRMED, f"changed since it was confirmed ({said})")
    changed = [] if place.lasting else differences(record.get("results") or {}, now)
    if changed:
        return Placed(place, text, AGAIN, f"confirmed {said}; since then {'; '.join(changed)}")
    return Placed(place, text, CONFIRMED, said)


def substance(folder: Path) -> dict[str, Any]:
    """What a person's words about a model rest on: formula, chosen rung, results of the checks, signs of the effects.

    Raises: DataError where there are no results.
    """
    summary = read_json(folder / "summary.json")
    numbers = (summary["sections"].get("effects") or {}).get("numbers") or {}
    signs = {}
    for effect in numbers.get("in_units") or []:
        sign = "positive" if effect["value"] > 0 else "negative"
        signs[str(effect["term"])] = sign if effect["excludes_zero"] else "not told from zero"
    return {
        "formula": summary["formula"],
        "rung": summary["rung"],
        "checks": {str(c["name"]): str(c["status"]) for c in _checks(folder)},
        "effects": signs,
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed between two results, in words; nothing where the substance is the same."""
    found = []
    for key, what in (("rung", "the chosen rung"), ("formula", "its formula")):
        if then.get(key) != now[key]:
            found.append(f"{what} was {then.get(key)}, is {now[key]}")
    for key, what in (("checks", "check"), ("effects", "effect of")):
        before = then.get(key) or {}
        for name in sorted({*before, *now[key]}):
            old, new = before.get(name, "absent"), now[key].get(name, "absent")
            if old != new:
                found.append(f"{what} {name} was {old}, is {new}")
    return found


def _checks(folder: Path) -> list[dict[str, Any]]:
    file = folder / "checks.json"
    return list(read_json(file).get("checks") or []) if file.exists() else []


def confirmations(form: Path) -> dict[str, dict[str, Any]]:
    """What was confirmed, by key; nothing where nothing was."""
    path = beside(form)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["entries"]
        return {str(k): dict(v) for k, v in known.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        do = "Put back the file that 'hierreport signoff --confirm' wrote, or delete it and confirm again."
        raise ConfigError(f"cannot be read ({type(error).__name__}: {error}).", str(path), do) from None


def confirm(form: Path, folder: Path, keys: list[str] | None, by: str) -> dict[str, Any]:
    """See ``signoff.confirm``."""
    placed = {p.place.key: p for p in place(form, folder)}
    for key in keys or ():
        if key not in placed:
            raise ConfigError(f"there is no entry '{key}'.", str(form), f"Entries: {', '.join(placed)}.")
        if not placed[key].text:
            raise ConfigError(f"the entry '{key}' is empty: there is nothing to confirm.", str(form), "Fill it in.")
    chosen = keys or [k for k, p in placed.items() if p.state in (UNCONFIRMED, AGAIN)]
    record = {
        "by": by,
        "confirmed": instant(),
        "manifest_sha256": _manifest(folder),
        "results": substance(folder),
    }
    fresh = {k: {"text_sha256": _digest(placed[k].text), **record} for k in chosen}
    entries = {**confirmations(form), **fresh}
    write_json(beside(form), {"entries": {k: entries[k] for k in sorted(entries)}})
    return fresh


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _manifest(folder: Path) -> str | None:
    """Digest of the manifest of the results that were read; None where there is none."""
    file = folder / "manifest.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
