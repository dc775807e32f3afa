"""The index: all analyses of a run on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from ..signoff import DOCUMENT
from .artifacts import read_json
from .page import STATUS, assets, environment, policy
from .stage import write_text


def write_index(results: Path, names: list[str] | None) -> Path:
    """See ``report.render_index``."""
    if names is None:
        names = sorted(p.parent.name for p in results.glob("*/summary.json"))
    style, script = assets()
    template = environment().get_template("index.html")
    page = template.render(
        analyses=[_entry(results, name) for name in names],
        style=Markup(style),
        policy=policy(style, script),
        status=STATUS,
    )
    write_text(results / "index.html", page)
    return results / "index.html"


def _entry(results: Path, name: str) -> dict[str, Any]:
    file = results / name / "summary.json"
    if not file.exists():
        return {"name": name, "title": name, "missing": True}
    plain = read_json(file)
    heads = plain["verdict"]
    return {
        "name": name,
        "title": plain["title"],
        "missing": False,
        "href": f"{quote(name)}/report.html",
        "document": f"{quote(name)}/{DOCUMENT}",
        "alerts": [s["text"] for s in heads["alerts"]],
        "lead": heads["choice"][0]["text"],
        "effects": [s["text"] for s in heads["effects"]],
        "checks": plain["checks"],
        "formula": plain["formula"],
        "panel": [s["text"] for s in plain["sections"].get("panel", {}).get("findings", [])][:1],
    }
