"""What a run is: digests of its data, configuration, code and environment."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..digest import stage_digests
from ..provenance.hashing import sha256

CAUSES = ("data", "config", "code", "environment")
# The stages whose outcomes are numbers; the report's words and pictures make no new run.
COMPUTING = ("ingest", "fit", "infer", "diagnose", "verify", "sensitivity")
# The distributions that numbers can depend on.
ENGINES = ("duckdb", "numpy", "pandas", "pyarrow", "scipy", "sqlglot", "statsmodels")


def identity(folder: Path, options: Mapping[str, Any], panel: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run.

    Args:
        folder: ``results/<analysis>`` with panel.parquet and logs/ingest.json.
        options: what the computing stages read of the configuration; where the panel lies is no part of it, what its
            files hold is.
        panel: panel.json.

    Returns:
        ``digest`` (of everything), ``parts`` (a digest per cause), and what they are digests of: ``files`` (name and
        SHA-256), ``config``, ``code`` (by stage), ``environment`` (versions).
    """
    config = {k: v for k, v in options.items() if k != "panel"}
    if isinstance(options.get("panel"), Mapping) and options["panel"].get("sheet") is not None:
        config["sheet"] = options["panel"]["sheet"]
    files = data_files(folder, panel)
    code = stage_digests(COMPUTING)
    running = environment()
    parts = {
        "data": digest(sorted(f["sha256"] for f in files)),
        "config": digest(config),
        "code": digest(code),
        "environment": digest(running),
    }
    return {
        "digest": digest(parts),
        "parts": parts,
        "files": files,
        "config": config,
        "code": {"version": __version__, **code},
        "environment": running,
    }


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_files(folder: Path, panel: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name and digest of the panel's files, as the ingest stage noted them when it read them.

    Where there is no note, the files are hashed now; where there are no files, panel.parquet stands for them.
    """
    try:
        note = json.loads((folder / "logs" / "ingest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        note = {}
    read = {d["path"]: d["sha256"] for d in note.get("data") or ()}
    files: list[dict[str, str]] = []
    for path in panel["source"].get("files") or ():
        known = read.get(path) or (sha256(Path(path)) if Path(path).is_file() else None)
        if known is None:
            files = []
            break
        files.append({"name": Path(path).name, "sha256": known})
    return files or [{"name": "panel.parquet", "sha256": sha256(folder / "panel.parquet")}]


def environment() -> dict[str, str]:
    """Python, kind of machine, and versions of the distributions that compute."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    for name in ENGINES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
