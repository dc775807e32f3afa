"""Columns of the data files, whether a model uses them or not: which came, went or changed their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def source_columns(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the sources of two panels.

    Args:
        before, now: contents of panel.json; ``source.columns`` has the kind of each column.

    Returns:
        ``came``, ``went``: names; ``types``: [{name, before, now}] of columns whose kind changed. All empty where one of
        the panels does not say.
    """
    old, new = (panel["source"].get("columns") or {} for panel in (before, now))
    if not old or not new:
        return {"came": [], "went": [], "types": []}
    changed = [{"name": c, "before": old[c], "now": new[c]} for c in new if c in old and old[c] != new[c]]
    return {"came": [c for c in new if c not in old], "went": [c for c in old if c not in new], "types": changed}
