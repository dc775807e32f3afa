"""Everything that the page says in words, computed once: ``summary.json``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..records import plain
from ..said import Said, has_numbers
from . import verdict
from .choice import LEVEL
from .context import Context
from .parts import Content, Section, Sentence, Table
from .sections import assumptions, sections

OPTIONS = ("title", "description", "units", "labels", "locale")  # of the configuration, kept for later exports


@dataclass
class Summary:
    """The verdict, the sections' contents, and their plain form."""

    verdict: dict[str, list[Sentence]]
    contents: list[tuple[Section, Content]]
    plain: dict[str, Any]


def summarise(context: Context) -> Summary:
    """Build every section, and number the sentences by their place in summary.json.

    Returns: the sentences know their pointers afterwards, so that the page can cite them.
    """
    heads = verdict.build(context)
    contents = []
    for section in sections():
        content = section.build(context)
        if content is not None:
            contents.append((section, content))
    for name, sentences in heads.items():
        for i, sentence in enumerate(sentences):
            sentence.pointer = f"/verdict/{name}/{i}"
    for section, content in contents:
        for i, sentence in enumerate(content.findings):
            sentence.pointer = f"/sections/{section.name}/findings/{i}"
        for b, block in enumerate(content.blocks):
            for i, sentence in enumerate(block.findings):
                sentence.pointer = f"/sections/{section.name}/blocks/{b}/findings/{i}"
        for i, table in enumerate(content.all_tables):
            table.pointer = f"/sections/{section.name}/tables/{i}"
    return Summary(heads, contents, _plain(context, heads, contents))


def _plain(
    context: Context, heads: dict[str, list[Sentence]], contents: list[tuple[Section, Content]]
) -> dict[str, Any]:
    from .. import __version__

    sections_plain = {}
    for section, content in contents:
        entry: dict[str, Any] = {"title": section.title, "findings": [s.to_dict() for s in content.findings]}
        if content.pictures:
            entry["figures"] = [
                plain({"name": p.name, "title": p.title, "alt": p.alt, "note": p.note}) for p in content.pictures
            ]
        if content.all_tables:
            entry["tables"] = [_table(t) for t in content.all_tables]
        if content.blocks:
            entry["blocks"] = [
                {"name": b.name, "title": b.title, "findings": [s.to_dict() for s in b.findings]}
                for b in content.blocks
            ]
        if content.numbers:
            entry["numbers"] = plain(content.numbers)
        sections_plain[section.name] = entry
    return {
        "analysis": context.panel.get("analysis") or context.data.path.name,
        "title": title(context),
        "hierreport": __version__,
        "rung": context.chosen,
        "formula": context.record["formula"],
        "threshold": LEVEL,
        "options": {k: context.options[k] for k in OPTIONS if context.options.get(k)},
        "n_obs": context.record["n_obs"],
        "verdict": {name: [s.to_dict() for s in sentences] for name, sentences in heads.items()},
        "text": text(heads),
        "checks": (checks := assumptions.status(context)),
        "counts": {state: len(titles) for state, titles in checks.items()},
        "sections": sections_plain,
    }


def _table(table: Table) -> dict[str, Any]:
    entry = {"name": table.name, "caption": table.caption, "rows": len(table.rows), "shown": len(table.visible())}
    if has_numbers(table.note):
        entry["note"] = table.note
    words = table.words()
    return plain(entry | ({"cells": words} if words else {}))


def title(context: Context) -> str:
    options = context.options
    return str(
        options.get("title") or context.panel.get("title") or context.panel.get("analysis") or context.data.path.name
    )


def text(heads: dict[str, list[Sentence]]) -> str:
    """The verdict as plain text, a paragraph per part: for an e-mail or a pull request."""
    return "\n".join(" ".join(s.text for s in heads[k]) for k in heads if heads[k])


def markdown(plain: dict[str, Any], about: list[str]) -> str:
    """The verdict as Markdown, for an e-mail or a pull request; ``about`` is the line below the title."""
    lines = [f"# {escape_markdown(plain['title'])}", "", escape_markdown(Said(" · ".join(about))), ""]
    heads = plain["verdict"]
    for sentence in heads["alerts"]:
        lines += [f"**Error.** {escape_markdown(sentence['text'])}", ""]
    lines += [escape_markdown(" ".join(s["text"] for s in heads["choice"])), ""]
    if heads["effects"]:
        lines += [f"- {escape_markdown(s['text'])}" for s in heads["effects"]] + [""]
    lines += [escape_markdown(" ".join(s["text"] for s in heads["variance"])), ""]
    if heads["changes"]:
        lines += [escape_markdown(" ".join(s["text"] for s in heads["changes"])), ""]
    if heads["limits"]:
        lines += ["What limits this:", ""]
        lines += [f"- {escape_markdown(s['text'])}" for s in heads["limits"][: verdict.READ_OUT]]
        lines += ["- More stands in the report.", ""] if heads["limits"][verdict.READ_OUT :] else [""]
    if plain["checks"]:
        words = {"problem": "found a problem", "look": "to look at"}
        counts = ", ".join(f"{len(titles)} {words.get(state, state)}" for state, titles in plain["checks"].items())
        lines += [f"Checks: {counts}.", ""]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """Text whose marks are shown and not obeyed."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", Said(text))
