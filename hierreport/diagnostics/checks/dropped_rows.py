"""What was dropped from the data."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...said import whole
from ..distributions import t_two_sided
from ..evidence import INTERCEPT, Evidence
from ..record import LOOK, OK, P_LOOK, PROBLEM, Check
from ..words import NOTHING, fixed, listed, plural, pval, share

NAME = "dropped_rows"
LAG = re.compile(r"(lag|diff)\(")
TITLE = "Nearly all of the data are used"
RULE = (
    "problem: more than 20 % of the rows dropped; look: more than 5 %, a group lost, groups that lost rows differ from "
    "the others (p < 0.01, correlation of the share lost and the group effect beyond ±0.2), or the values known of "
    "dropped rows do (p < 0.01 after Bonferroni, 0.2 sd or more)"
)


def check(evidence: Evidence) -> Check:
    """Rows and groups that incomplete cases cost."""
    panel = evidence.panel
    read, dropped = int(panel.get("rows_read") or evidence.n_obs), int(panel.get("rows_dropped") or 0)
    lost = list(panel.get("groups_lost") or [])
    # Rows without the earlier period that a lag needs are no loss to ask questions about.
    early = min(lagless(panel.get("missing") or {}), dropped)
    part = (dropped - early) / max(read, 1)
    differ = losses_and_effects(evidence)
    apart = differ is not None and differ["p"] < P_LOOK and abs(differ["r"]) > 0.2
    values = known_values(panel.get("dropped_values") or [])
    other = [v for v in values if v["p"] < P_LOOK and abs(v["difference"]) >= 0.2]
    status = PROBLEM if part > 0.2 else LOOK if part > 0.05 or lost or apart or other else OK
    missing = sorted(
        ((c, int(k)) for c, k in (panel.get("missing") or {}).items() if k and not LAG.match(c)),
        key=lambda x: (-x[1], x[0]),
    )
    if not dropped:
        meaning = f"All {whole(read)} rows are complete and used."
    else:
        why = f", most for want of {listed([c for c, _ in missing[:3]])}" if missing and dropped > early else ""
        meaning = f"{whole(dropped)} of {whole(read)} rows ({share(dropped / max(read, 1))}) are left out{why}."
        if early:
            meaning += f" {whole(early)} of them have no earlier row for a lag."
        if lost:
            labels = [str(g.get("group", g.get("label", g))) if isinstance(g, dict) else str(g) for g in lost]
            meaning += f" {plural(len(lost), 'group')} lost altogether: {listed(labels)}."
        if apart and differ is not None:
            side = "higher" if differ["r"] > 0 else "lower"
            meaning += f" Groups that lost more rows lie {side} than the others ({pval(differ['p'])})."
        if other:
            said = [
                f"{v['column']} is {'higher' if v['difference'] > 0 else 'lower'} by {fixed(abs(v['difference']))} sd"
                for v in other
            ]
            meaning += f" The rows that miss a value differ from the others: {listed(said)}."
        elif values:
            meaning += " In the values that they have, rows that miss one do not clearly differ from the others."
    action = NOTHING
    if status != OK:
        action = (
            "Ask why these values are missing: if the reason has to do with the outcome, the coefficients are those "
            "of the rows that remain."
        )
    details: dict[str, Any] = {"rows_read": read, "rows_dropped": dropped, "missing": dict(missing)}
    details |= {"groups_lost": len(lost), "effects": differ, "values": values}
    return Check(
        NAME,
        TITLE,
        status,
        part,
        "share of rows dropped, beyond those that lags cost",
        "5 % or less",
        RULE,
        meaning,
        action,
        details,
        "Little & Rubin (2019), Statistical Analysis with Missing Data, chapter 3",
    )


def known_values(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences of dropped rows from the others with their p-values, times the number of columns compared."""
    out = []
    for v in values:
        # With one value in all groups, or few groups, the spread says nothing.
        p = t_two_sided(v["difference"] / v["se"], v["groups"] - 1.0) if v["se"] > 0 else 1.0
        out.append({**v, "p": min(1.0, p * len(values))})
    return sorted(out, key=lambda v: -abs(v["difference"]))


def lagless(missing: dict[str, int]) -> int:
    """Rows that are left out for a lag alone: those of the lag that costs most."""
    return max((int(k) for c, k in missing.items() if LAG.match(c)), default=0)


def losses_and_effects(evidence: Evidence) -> dict[str, float] | None:
    """Correlation over innermost groups of the share of rows lost and the predicted intercept.

    None where no rows or too few groups are concerned, or the panel's list of losses is not complete.
    """
    panel = evidence.panel
    lost = {str(entry["group"]): int(entry["rows"]) for entry in panel.get("dropped_by_group") or []}
    if len(lost) < 5 or int(panel.get("groups_with_dropped_rows") or 0) > len(lost) or not evidence.levels:
        return None
    effects = evidence.effects[evidence.levels[-1]]
    if INTERCEPT not in effects.terms:
        return None
    z = effects.scaled(effects.terms.index(INTERCEPT))
    gone = np.array([lost.get(label, 0) for label in effects.labels], float)
    use = np.isfinite(z)
    share_lost = gone[use] / (gone[use] + effects.n[use])
    if use.sum() < 10 or not np.ptp(share_lost) > 0:
        return None
    r = float(np.corrcoef(share_lost, z[use])[0, 1])
    df = float(use.sum() - 2)
    return {"r": r, "p": t_two_sided(r * np.sqrt(df / max(1 - r**2, 1e-12)), df), "groups": float(use.sum())}
