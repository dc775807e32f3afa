"""Second opinion: every log-likelihood, computed again by another engine."""

from __future__ import annotations

from .. import verdict
from ..context import Context
from ..names import listing
from ..numbers import Num
from ..parts import Column, Content, Sentence, Table

TITLE = "Second opinion"


def build(context: Context) -> Content | None:
    verify = context.data.verify
    listed = verdict.second_opinions(verify or {})
    if verify is None or not listed:
        return None
    methods = {"statsmodels": "statsmodels", "dense": "a dense evaluation on the rows"}
    used = listing(list(dict.fromkeys(methods.get(str(e.get("method")), str(e.get("method"))) for _, _, e in listed)))
    rungs = len({r for r, _, _ in listed})
    if verify.get("ok"):
        largest = verify.get("max_relative_difference")
        found = [
            Sentence(
                "The log-likelihoods of {rungs} {noun} were computed again on the rows, by {used}: the largest "
                "relative difference is {largest}.",
                rungs=context.whole(rungs),
                noun="rungs" if rungs != 1 else "rung",
                used=used,
                largest=Num(largest, _tiny(context, largest), "verify.json#/max_relative_difference"),
            )
        ]
    else:
        found = verdict.alerts(context)
    columns = [
        Column("rung", "Rung", "code"),
        Column("method", "Method", "under"),
        Column("kind", "Fit", "short"),
        Column("rows", "Rows"),
        Column("ours", "Log-likelihood here"),
        Column("theirs", "There"),
        Column("relative_difference", "Relative difference"),
        Column("ok", "Agrees", "short"),
    ]
    rows = []
    for rung, at, e in listed:
        difference = e.get("relative_difference")
        rows.append(
            [
                rung,
                methods.get(str(e.get("method")), str(e.get("method")))
                + (" (a subset of groups)" if e.get("subset") else ""),
                str(e.get("kind") or ""),
                context.whole(e.get("rows"), f"{at}/rows"),
                context.fixed_point(e.get("ours"), 6, f"{at}/ours"),
                context.fixed_point(e.get("theirs"), 6, f"{at}/theirs"),
                Num(difference, _tiny(context, difference), f"{at}/relative_difference"),
                "–" if e.get("ok") is None else "yes" if e["ok"] else "NO",
            ]
        )
    kept = [i for i, (rung, _, e) in enumerate(listed) if rung in context.shown or e.get("ok") is False]
    kept.sort(key=lambda i: context.shown.index(listed[i][0]) if listed[i][0] in context.shown else -1)
    shown = kept if len(kept) < len(rows) else None
    return Content(found, tables=[Table("second_opinion", "Log-likelihoods, computed twice", columns, rows, shown)])


def _tiny(context: Context, value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.0e}".split("e")
    if int(exponent) >= -3:
        return context.num.significant(value, 2)
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}\u202f×\u202f10{power}"
