"""What was dropped from the data."""

from __future__ import annotations

from ..evidence import Evidence
from ..record import LOOK, OK, PROBLEM, Check
from ..words import NOTHING, listed, plural, share

NAME = "dropped_rows"
TITLE = "Nearly all of the data are used"
RULE = "problem: more than 20 % of the rows dropped; look: more than 5 %, or a group lost"


def check(evidence: Evidence) -> Check:
    """Rows and groups that incomplete cases cost."""
    panel = evidence.panel
    read, dropped = int(panel.get("rows_read") or evidence.n_obs), int(panel.get("rows_dropped") or 0)
    lost = list(panel.get("groups_lost") or [])
    part = dropped / max(read, 1)
    status = PROBLEM if part > 0.2 else LOOK if part > 0.05 or lost else OK
    missing = sorted(((c, int(k)) for c, k in (panel.get("missing") or {}).items() if k), key=lambda x: (-x[1], x[0]))
    if not dropped:
        meaning = f"All {read:,} rows are complete and used."
    else:
        why = f", most for want of {listed([c for c, _ in missing[:3]])}" if missing else ""
        meaning = f"{dropped:,} of {read:,} rows ({share(part)}) are incomplete and left out{why}."
        if lost:
            labels = [str(g.get("group", g.get("label", g))) if isinstance(g, dict) else str(g) for g in lost]
            meaning += f" {plural(len(lost), 'group')} lost altogether: {listed(labels)}."
    action = NOTHING
    if status != OK:
        action = (
            "Ask why these values are missing: if the reason has to do with the outcome, the coefficients are those "
            "of the "
            "rows that remain."
        )
    return Check(
        NAME,
        TITLE,
        status,
        part,
        "share of rows dropped",
        "5 % or less",
        RULE,
        meaning,
        action,
        {"rows_read": read, "rows_dropped": dropped, "missing": dict(missing), "groups_lost": len(lost)},
        "Little & Rubin (2019), Statistical Analysis with Missing Data, chapter 3",
    )
