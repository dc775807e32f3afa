"""``inference.json`` on the page: what its parts share, and the blocks of the section on effects.

Each block opens with a finding that is written from the numbers; a part that could not be computed says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .context import Context
from .names import INTERCEPT, listing
from .numbers import Num, finite
from .parts import Block, Column, Sentence, Table

FILE = "inference.json"
LEVEL = 0.05  # tests are read at 5 %
AGREE = 0.2  # intervals agree whose ends differ by less than this share of the width
METHODS = {"wald": "Wald", "profile": "profile", "bootstrap": "bootstrap"}
TITLES = METHODS | {"profile_reml": "profile"}
DF_NAMES = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger", "normal": "normal"}


def found(context: Context) -> dict[str, Any]:
    """The file's content; empty where it is missing or belongs to another choice."""
    source = context.data.inference or {}
    return source if source.get("rung") == context.chosen else {}


def at(*steps: Any) -> str:
    """A place in inference.json."""
    return f"{FILE}#/" + "/".join(str(s).replace("~", "~0").replace("/", "~1") for s in steps)


def reason(part: dict[str, Any] | None) -> str:
    """Why a part is missing, as a sentence; empty where it is there."""
    if not part or part.get("status") == "done" or not part.get("reason"):
        return ""
    text = str(part["reason"]).strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."


def label(context: Context, term: str) -> str:
    """A term as a table names it: as the formula writes it, but for a label of its own."""
    return context.names.labels.get(term, term)


def number(context: Context, value: float | None, se: float | None, source: str) -> Num:
    """A number rounded to what its standard error supports."""
    return Num(value, context.num.estimate(value, se), source)


def p_cell(context: Context, value: float | None, source: str) -> Num:
    return Num(value, context.num.p(value), source)


def quantity(context: Context, q: dict[str, Any]) -> str:
    """A quantity in words: "sd of the firms' slopes of log(capital)"."""
    names, kind, terms = context.names, q["kind"], [str(t) for t in q["terms"]]
    if kind == "fixed":
        return label(context, terms[0])
    if kind in ("sigma", "rho"):
        return {"sigma": "residual sd", "rho": "correlation of neighbouring errors"}[kind]
    if kind == "r2":
        return "R² of predictors" if terms == ["marginal"] else "R² with groups"
    many = "" if q["level"] == "residual" else names.level(q["level"], 2)
    if kind == "icc":
        return f"share between {many}" if many else "share of the residual"
    parts = ["baseline" if t == INTERCEPT else f"slope of {names.term(t)}" for t in terms]
    noun = "sd" if kind == "sd" else kind
    return f"{noun} of {' and '.join(parts)}, {many}"


def main_rows(context: Context, terms: list[str]) -> list[int] | None:
    """Rows that the page shows: all but the dummies of factors with many levels; None where that is all of them."""
    counts: dict[str, int] = {}
    parsed = [context.names.parse(t) for t in terms]
    for p in parsed:
        if p.kind == "factor":
            counts[p.column] = counts.get(p.column, 0) + 1
    kept = [i for i, p in enumerate(parsed) if p.kind != "factor" or counts[p.column] <= 2]
    return kept if 0 < len(kept) < len(terms) else None


def interval_table(
    context: Context, rung: str, kinds: tuple[str, ...], name: str, methods: tuple[str, ...], caption: str
) -> Table | None:
    """Estimates with the ends of their intervals, one pair of columns per method that has any."""
    source = found(context)["intervals"].get(rung) or {}
    listed = [(i, q) for i, q in enumerate(source.get("quantities") or []) if q["kind"] in kinds]
    used = [m for m in methods if any((q.get(m) or {}).get("low") is not None for _, q in listed)]
    if not listed or not used:
        return None
    columns = [
        Column("quantity", "Term" if kinds == ("fixed",) else "Quantity", "name"),
        Column("estimate", "Estimate"),
    ]
    for method in used:
        columns.append(Column(f"{method}_low", f"{TITLES[method].capitalize()}: 95 % from"))
        columns.append(Column(f"{method}_high", "to"))
    rows = []
    for i, q in listed:
        place = ("intervals", rung, "quantities", i)
        se = rounding(q)
        row: list[Any] = [quantity(context, q), number(context, q["estimate"], se, at(*place, "estimate"))]
        for method in used:
            own = q.get(method) or {}
            for end in ("low", "high"):
                row.append(number(context, own.get(end), se, at(*place, method, end)) if own else None)
        rows.append(row)
    missing = [reason(source.get(m)) for m in methods if m not in used]
    shown = main_rows(context, [q["terms"][0] for _, q in listed]) if kinds == ("fixed",) else None
    return Table(name, caption, columns, rows, shown, note=" ".join(dict.fromkeys(m for m in missing if m)))


def rounding(q: dict[str, Any]) -> float | None:
    """About the standard error that an interval is as wide as, for rounding."""
    for method in TITLES:
        own = q.get(method) or {}
        if finite(own.get("low")) and finite(own.get("high")) and own["high"] > own["low"]:
            return (own["high"] - own["low"]) / 3.92
    return None


def effect_blocks(context: Context) -> list[Block]:
    """The blocks of the section on effects; none where inference.json is not there."""
    if not found(context):
        return []
    from .inference_beside import absorbed_block
    from .inference_effects import differences_block, robust_block
    from .inference_panel import fixed_or_random_block

    made = (
        differences_block(context),
        _intervals_block(context),
        _df_block(context),
        robust_block(context),
        fixed_or_random_block(context),
        absorbed_block(context),
    )
    return [b for b in made if b]


def _rungs(context: Context) -> Iterator[tuple[str, bool]]:
    """(rung, whether it is the chosen one), the chosen one first."""
    for rung in found(context).get("intervals") or {}:
        if rung in context.data.rungs:
            yield rung, rung == context.chosen


def _intervals_block(context: Context) -> Block | None:
    tables = []
    for rung, mine in _rungs(context):
        caption = f"Intervals of the fixed effects of {rung} by method"
        table = interval_table(
            context, rung, ("fixed",), "intervals" if mine else "intervals_iid", tuple(METHODS), caption
        )
        if table:
            table.folded = not mine
            tables.append(table)
    sentence = _agreement(context)
    return Block("intervals", "Intervals by other methods", [sentence] if sentence else [], tables) if tables else None


def _agreement(context: Context) -> Sentence | None:
    """How far the ends of profile and bootstrap intervals lie from Wald's, in widths."""
    source = found(context)["intervals"].get(context.chosen) or {}
    moved: list[tuple[float, str, str]] = []
    for q in source.get("quantities") or []:
        wald = q.get("wald")
        if q["kind"] != "fixed" or q["terms"] == [INTERCEPT] or not wald or not wald["high"] > wald["low"]:
            continue
        for method in ("profile", "bootstrap"):
            own = q.get(method) or {}
            if finite(own.get("low")) and finite(own.get("high")):
                gap = max(abs(own[e] - wald[e]) for e in ("low", "high")) / (wald["high"] - wald["low"])
                moved.append((gap, method, q["terms"][0]))
    if not moved:
        why = reason(source.get("profile")) or reason(source.get("bootstrap"))
        return Sentence("{text}", text=why) if why else None
    used = [METHODS[m] for m in ("profile", "bootstrap") if any(m == k for _, k, _ in moved)]
    gap, method, term = max(moved)
    values = {
        "methods": listing(["Wald", *used]),
        "gap": context.share(gap),
        "term": context.names.term(term),
        "method": METHODS[method],
    }
    if gap <= AGREE:
        return Sentence(
            "{methods} intervals of the effects agree: no end moves by more than {gap} of the interval's width "
            "({term}, {method}).",
            **values,
        )
    return Sentence(
        "{methods} intervals differ: the {method} interval of {term} has an end that lies {gap} of the width away from "
        "Wald's. Where they differ, groups are few or a variance is near zero, and Wald's is the one to doubt.",
        **values,
    )


def _df_block(context: Context) -> Block | None:
    entries = list(enumerate(found(context).get("df_methods") or []))
    tables: list[Table] = []
    crossing: list[str] = []
    for rung in dict.fromkeys(e["rung"] for _, e in entries):
        mine = [(i, e) for i, e in entries if e["rung"] == rung and e.get("fixed")]
        refused = [reason(e) for _, e in entries if e["rung"] == rung and not e.get("fixed")]
        if rung not in context.data.rungs or len(mine) < 2:
            continue
        chosen = rung == context.chosen
        tables.append(_df_table(context, rung, mine, "df_methods" if chosen else "df_methods_iid"))
        tables[-1].note = " ".join(r for r in refused if r)
        tables[-1].folded = True
        if chosen:
            crossing = _crossing([e["fixed"] for _, e in mine])
    if not tables:
        return None
    if crossing:
        sentence = Sentence(
            "Whether {terms} {be} significant at 5 % depends on the method for the degrees of freedom.",
            be="is" if len(crossing) == 1 else "are",
            terms=listing([label(context, t) for t in crossing]),
        )
    else:
        sentence = Sentence(
            "No effect gains or loses significance at 5 % with another method for the degrees of freedom."
        )
    return Block("df_methods", "Degrees of freedom", [sentence], tables)


def _crossing(lists: list[list[dict[str, Any]]]) -> list[str]:
    """Terms whose p-values lie on both sides of 5 %."""
    sides: dict[str, set[bool]] = {}
    for fixed in lists:
        for f in fixed:
            if f.get("p") is not None:
                sides.setdefault(f["term"], set()).add(f["p"] < LEVEL)
    return [t for t, s in sides.items() if len(s) > 1]


def _df_table(context: Context, rung: str, entries: list[tuple[int, dict[str, Any]]], name: str) -> Table:
    columns = [Column("term", "Term", "name")]
    for _, e in entries:
        method = e["method"]
        title = DF_NAMES.get(method, method)
        columns += [Column(f"{method}_se", f"{title}: std. error")]
        if method != "normal":
            columns.append(Column(f"{method}_df", "df"))
        columns.append(Column(f"{method}_p", "p"))
    rows = []
    for k, first in enumerate(entries[0][1]["fixed"]):
        row: list[Any] = [label(context, first["term"])]
        for i, e in entries:
            f, place = e["fixed"][k], ("df_methods", i, "fixed", k)
            row.append(number(context, f["se"], f["se"], at(*place, "se")))
            if e["method"] != "normal":
                row.append(context.fixed_point(f["df"], 1, at(*place, "df")))
            row.append(p_cell(context, f["p"], at(*place, "p")))
        rows.append(row)
    shown = main_rows(context, [f["term"] for f in entries[0][1]["fixed"]])
    return Table(name, f"Tests of the fixed effects of {rung} by method", columns, rows, shown)
