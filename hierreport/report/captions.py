"""Captions for Snakemake's own report: the titles, alternatives and verdict of summary.json as reStructuredText."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def figure(summary: str | Path, name: str) -> tuple[str, str]:
    """Title of a figure, and its caption.

    Args:
        summary: the analysis' summary.json.
        name: stem of the figure's file.
    """
    plain = _read(summary)
    for section in plain.get("sections", {}).values():
        for picture in section.get("figures", []):
            if picture["name"] == name:
                text = f"{picture['alt']} {picture.get('note', '')}".strip()
                if name == "ladder":
                    text = f"{text} {_rule(plain)}"
                return _braces(picture["title"]), rst(text)
    return name, ""


def verdict(summary: str | Path) -> str:
    """The verdict of an analysis, and the threshold that its choice went by."""
    plain = _read(summary)
    paragraphs = str(plain.get("text", "")).split("\n")
    return "\n\n".join(rst(p) for p in [*paragraphs, _rule(plain)] if p)


def _rule(plain: dict[str, Any]) -> str:
    level = plain.get("threshold")
    if level is None:
        return ""
    return f"A rung was accepted where its boundary-corrected likelihood-ratio test had a p-value below {level}."


def _read(summary: str | Path) -> dict[str, Any]:
    try:
        found = json.loads(Path(summary).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _braces(text: str) -> str:
    """Snakemake takes braces in labels for wildcards."""
    return text.replace("{", "(").replace("}", ")")


def rst(text: str) -> str:
    """Text whose marks are shown and not obeyed."""
    return re.sub(r"([^\w\s.,;%()–−])", r"\\\1", " ".join(text.split())).replace("_", r"\_")
