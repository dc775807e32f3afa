"""A digest of the source that a stage depends on, so that a change in the code reruns what it can change.

Snakemake reruns a job when its parameters change, but does not see the package behind a command. The Snakefile
therefore passes each rule ``stage_digest(stage)``. Nothing is imported to compute it: import statements are read from
the text, inside functions too, since stages import lazily.
"""

from __future__ import annotations

import hashlib
import re
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


def stage_digest(stage: str, package: Path = PACKAGE) -> str:
    """Digest of everything in the package that can change the outcome of a stage.

    Args:
        stage: the name of a public function in ``stages.py``; the other public functions there are left out.
        package: the package's folder (a copy of it in tests).

    Returns:
        16 hexadecimal digits.
    """
    text = (package / "stages.py").read_text(encoding="utf-8")
    own = _FUNCTION.sub(lambda m: m[0] if m[1] == stage or m[1].startswith("_") else "", text)
    digest = hashlib.sha256(own.encode())
    for file in sorted(closure(package, own, package / "stages.py")):
        digest.update(f"\0{file.relative_to(package).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def closure(package: Path, text: str, file: Path) -> set[Path]:
    """Files of the package that a text imports, directly or not; of a subpackage all its files, templates too.

    The package's own ``__init__`` is left out: it holds the version and hands out the API on request.
    """
    found: set[Path] = set()
    todo = list(_imports(package, text, file))
    while todo:
        target = todo.pop()
        if target in found:
            continue
        found.add(target)
        if target.name == "__init__.py":
            todo += [f for f in target.parent.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        if target.suffix == ".py":
            todo += _imports_of(package, target, target.stat().st_mtime_ns)
    return found


@cache
def _imports_of(package: Path, file: Path, _changed: int) -> list[Path]:
    """``_imports`` of a file, read once for all stages."""
    return _imports(package, file.read_text(encoding="utf-8"), file)


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
