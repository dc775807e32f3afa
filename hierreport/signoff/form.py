"""The form: a YAML file of the user's own. Read strictly, written once and never over anything."""

from __future__ import annotations

import difflib
import json
import os
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .places import PLACES, RESPONSES

HEADING = """\
# What only a person can say about the model of {analysis}, for its model document.
# Write after the colon, or below it after "|", indented. Keep the keys; an empty place is marked in the document.
# hierreport does not change this file. Confirm the entries for the present results:
#   hierreport signoff {analysis} --confirm
"""


QUOTE = 'put it in quotes, or on the lines below after "|", indented.'


def read(path: Path) -> dict[str, str]:
    """The entries of a form by key (``owner``, ``responses.influence``), as they were typed; empty ones as "".

    Raises: ConfigError where the file is missing, is not YAML, or has an unknown or repeated key: nothing that somebody
    wrote is passed over.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except FileNotFoundError:
        do = "Write one with empty places: hierreport signoff --init. Was it moved or deleted? Then put it back."
        raise ConfigError("the sign-off form is missing.", str(path), do) from None
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror}).", str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"is not YAML: {' '.join(str(error).split())}.", str(path), f"Text with a colon: {QUOTE}"
        ) from None
    _no_comment_beside_text(root, text.splitlines(), path)
    if root is None:
        return {}
    known = [place.key for place in PLACES]
    found: dict[str, str] = {}
    for key, node in _pairs(root, path, "the form"):
        if key == RESPONSES:
            if isinstance(node, yaml.ScalarNode) and not node.value.strip():
                continue
            for name, value in _pairs(node, path, RESPONSES):
                found[f"{RESPONSES}.{name}"] = _text(value, path, f"{RESPONSES}.{name}")
        elif key in known:
            found[key] = _text(node, path, key)
        else:
            near = difflib.get_close_matches(key, [*known, RESPONSES], n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join([*known, RESPONSES])}."
            raise ConfigError(f"line {node.start_mark.line + 1}: unknown entry '{key}'.", str(path), hint)
    return found


def _no_comment_beside_text(node: Any, lines: list[str], path: Path) -> None:
    """Refuse "owner: Jane, desk #3": YAML would take the end for a comment, and it would be lost."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _no_comment_beside_text(value, lines, path)
    elif isinstance(node, yaml.ScalarNode) and node.style is None and node.end_mark.line < len(lines):
        rest = lines[node.end_mark.line][node.end_mark.column :]
        if rest.lstrip().startswith("#"):
            what = f"line {node.end_mark.line + 1}: '{rest.strip()}' would be taken for a comment and be lost."
            raise ConfigError(what, str(path), f"Text with a '#': {QUOTE}")


def _pairs(node: Any, path: Path, what: str) -> list[tuple[str, Any]]:
    """Keys and values of a mapping, each key once."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ConfigError(f"line {line}: {what} must be a block of 'key: text'.", str(path))
    pairs: dict[str, Any] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in pairs:
            raise ConfigError(f"line {key.start_mark.line + 1}: '{name}' is there twice.", str(path), "Keep one.")
        pairs[name] = value
    return list(pairs.items())


def _text(node: Any, path: Path, key: str) -> str:
    import yaml

    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"line {node.start_mark.line + 1}: '{key}' must be text.", str(path), QUOTE.capitalize())
    return str(node.value).strip()


def write_new(path: Path, analysis: str, folder: Path) -> bool:
    """See ``signoff.create``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(blank(analysis, problems(folder)))
        os.chmod(temporary, 0o644)
        os.link(temporary, path)  # fails where there is a file, also one that came this very moment
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def blank(analysis: str, checks: dict[str, str]) -> str:
    """An empty form.

    Args:
        analysis: for the heading.
        checks: titles of the checks that found a problem, by name.
    """
    lines = [HEADING.format(analysis=analysis)]
    for place in PLACES:
        lines += [*_comment(f"{place.label}. {place.ask}", ""), f"{place.key}:", ""]
    about = "Responses to checks that found a problem, by the check's name: accepted, mended or restricted, and why."
    lines += [*_comment(about, ""), f"{RESPONSES}:"]
    for name, title in checks.items():
        lines += [*_comment(title, "  "), f"  {name}:"]
    return "\n".join(lines) + "\n"


def _comment(text: str, pad: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")


def problems(folder: Path) -> dict[str, str]:
    """Titles of the checks of an analysis that found a problem, by name; none where it was not run yet."""
    try:
        checks = json.loads((folder / "checks.json").read_text(encoding="utf-8"))["checks"]
    except (OSError, ValueError, LookupError):
        return {}
    return {c["name"]: str(c.get("title") or c["name"]) for c in checks if c.get("status") == "problem"}
