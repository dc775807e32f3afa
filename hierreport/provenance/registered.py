"""Whether the register of ladder.json names all that was fitted, and later stages tried all that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import Outcome


def check_register(folder: Path, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Every rung's file, analysis and further model has its entry, and every entry its result."""
    register = _read(folder, "ladder.json").get("register") or []
    entries = {r["rung"]: (r.get("file"), r.get("name")) for r in register}
    analyses = _read(folder, "sensitivity.json").get("analyses") or []
    tried = {("sensitivity.json", a["name"]): a.get("register") for a in analyses}
    tried |= {
        ("inference.json", name): f.get("register")
        for name, f in (_read(folder, "inference.json").get("further") or {}).items()
    }
    rungs = {(f"rungs/{p.name}", None): p.stem for p in sorted((folder / "rungs").glob("*.json"))}
    for (file, name), entry in {**rungs, **tried}.items():
        if entry not in entries:
            yield file, f"{name or 'it'} has no entry in the register of ladder.json"
    checks = {c["name"] for c in _read(folder, "checks.json").get("checks") or []}
    present = {*tried, *(("checks.json", name) for name in checks)}
    for rung, (file, name) in entries.items():
        if file and (file, name) not in present:
            yield "ladder.json", f"the register's {rung} is not in {file}"
    outcome.checked.append(f"{len(entries)} specifications in the register, each with its result")


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
