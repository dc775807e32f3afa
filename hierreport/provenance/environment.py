"""The code and the machine behind a run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..digest import stage_digests
from .flow import STEPS
from .hashing import sha256

PACKAGE = Path(__file__).parent.parent
LOCK = "requirements.lock"
_HEADER = re.compile(r"^(Name|Version): *(.*?)\s*$", re.MULTILINE)


def package(root: Path = PACKAGE.parent) -> dict[str, Any]:
    """Version, digest of the source of every stage, and the git commit where there is one."""
    code = stage_digests(step.stage for step in STEPS)
    return {"name": "hierreport", "version": __version__, "code": code, "git": git(root)}


def git(root: Path) -> dict[str, Any] | None:
    """Commit and whether the tree was clean; None without git or outside a checkout of the package itself."""
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=normal").splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "clean": not changed, "changed_files": len(changed)}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def machine() -> dict[str, Any]:
    """Python, platform, every installed distribution, and the digest of the lock."""
    lock = PACKAGE.parent / LOCK
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "threads": {k: os.environ[k] for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if k in os.environ},
        "dependencies": dependencies(),
        "lock": {"file": LOCK, "sha256": sha256(lock)} if lock.is_file() else None,
    }


def dependencies() -> dict[str, str]:
    """Versions of all installed distributions by name, without the package itself."""
    found = dict(filter(None, map(_name_and_version, metadata.distributions())))
    return {name: found[name] for name in sorted(found, key=str.lower) if name != "hierreport"}


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str] | None:
    # The lines of the header are enough; to parse a whole README for each takes longer than the rest of the manifest.
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    header = dict(_HEADER.findall(text.split("\n\n", 1)[0]))
    return (header["Name"], header["Version"]) if len(header) == 2 else None
