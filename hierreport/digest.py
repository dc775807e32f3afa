"""A digest of the source that a stage depends on, so that a change in the code reruns what it can change.

Snakemake reruns a job when its parameters change, but does not see the package behind a command. The Snakefile
therefore passes each rule its stage's digest. Nothing is imported to compute it: import statements are read from
the text, inside functions too, since stages import lazily.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

_TYPING_ONLY = re.compile(r"^( *)if TYPE_CHECKING:\n(?:\1 +.*\n|[ \t]*\n)+", re.MULTILINE)
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<source>\.+[\w.]*|hierreport(?:\.\w+)*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#]+)"
    r"|import[ \t]+(?P<module>hierreport\.[\w.]+))",
    re.MULTILINE,
)
_FUNCTION = re.compile(r"^def (\w+)\(.*?(?=^[^\s)]|\Z)", re.MULTILINE | re.DOTALL)


def stage_digests(stages: Iterable[str], package: Path = PACKAGE) -> dict[str, str]:
    """Digest of everything in the package that can change the outcome of each stage.

    Args:
        stages: names of public functions in ``stages.py``; of a stage, the other public functions are left out.
        package: the package's folder (a copy of it in tests).

    Returns:
        16 hexadecimal digits per stage.
    """
    text = (package / "stages.py").read_text(encoding="utf-8")
    seen: dict[Path, _File] = {}
    out = {}
    for stage in stages:
        own = _without_others(text, stage)
        digest = hashlib.sha256(own.encode())
        for file in sorted(closure(package, own, package / "stages.py", seen)):
            digest.update(f"\0{file.relative_to(package).as_posix()}\0".encode())
            digest.update(seen[file].digest)
        out[stage] = digest.hexdigest()[:16]
    return out


def _without_others(text: str, stage: str) -> str:
    return _FUNCTION.sub(lambda m: m[0] if m[1] == stage or m[1].startswith("_") else "", text)


@dataclass(frozen=True)
class _File:
    """What a digest needs of a file: the digest of its bytes, and the package's files that it leads to."""

    digest: bytes
    leads_to: tuple[Path, ...]


def _read(package: Path, file: Path) -> _File:
    content = file.read_bytes()
    found: list[Path] = []
    if file.name == "__init__.py":
        found += [f for f in file.parent.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    if file.suffix == ".py":
        found += _imports(package, content.decode("utf-8"), file)
    return _File(hashlib.sha256(content).digest(), tuple(found))


def closure(package: Path, text: str, file: Path, seen: dict[Path, _File] | None = None) -> set[Path]:
    """Files of the package that a text imports, directly or not; of a subpackage all its files, templates too.

    The package's own ``__init__`` is left out: it holds the version and hands out the API on request.

    Args:
        seen: files that were read already; those that are read here are added.
    """
    seen = {} if seen is None else seen
    found: set[Path] = set()
    todo = list(_imports(package, text, file))
    while todo:
        target = todo.pop()
        if target in found:
            continue
        found.add(target)
        if target not in seen:
            seen[target] = _read(package, target)
        todo += seen[target].leads_to
    return found


def _imports(package: Path, text: str, file: Path) -> list[Path]:
    """The package's files that the import statements of a text name."""
    found: list[Path] = []
    for match in _IMPORT.finditer(_TYPING_ONLY.sub("", text)):
        if match["module"]:
            found += _modules(package, tuple(match["module"].split(".")[1:]))
            continue
        source, folder = match["source"], package
        inside = source.split(".")[1:]
        if source.startswith("."):
            dots = len(source) - len(source.lstrip("."))
            folder, inside = file.parents[dots - 1], [p for p in source[dots:].split(".") if p]
        names = [n.split()[0] for n in re.sub(r"#.*|[()]", "", match["names"]).split(",") if n.strip()]
        for name in names:
            found += _modules(folder, (*inside, name))
    return [f for f in found if f != package / "__init__.py"]


@cache
def _modules(folder: Path, parts: tuple[str, ...]) -> list[Path]:
    """What importing a dotted name runs: the packages on the way and the module; the last part may be a plain name."""
    found = []
    for part in parts:
        folder = folder / part
        found += [f for f in (folder.with_suffix(".py"), folder / "__init__.py") if f.is_file()]
    return found
