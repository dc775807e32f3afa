"""The groups: shrinkage, caterpillars, and a ranking with the uncertainty of ranks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...figures import pictures
from ..artifacts import LevelEffects
from ..context import Context
from ..names import INTERCEPT, listing
from ..numbers import Num, Told
from ..parts import Column, Content, Sentence, Table

TITLE = "The groups"
SHOWN = 300  # rows of a table of groups on the page; the file has all
ENDS = 100  # of a longer one, the first and the last so many
Z95 = 1.959963984540054


def build(context: Context) -> Content | None:
    effects = context.data.effects(context.chosen)
    drawn = [
        p
        for name in ("spaghetti", "group_fits", "shrinkage", "arrows", "caterpillar", "ranks", "observed")
        for p in pictures(name, context)
    ]
    if not effects and not drawn:
        return None
    content = Content(pictures=drawn)
    sizes = _sizes(context)
    for level in [lv for lv in reversed(context.levels) if lv in effects]:
        table, sentence = _level(context, effects[level], sizes.get(level, {}))
        content.findings.append(sentence)
        content.tables.append(table)
    if content.tables:
        levels = [lv for lv in reversed(context.levels) if lv in effects]
        content.extra["finder"] = {
            "label": f"Find a {listing([context.names.level(lv) for lv in levels], 'or')}",
            # the columns of each file that its table on the page shows
            "tables": json.dumps(
                {t.name: [k for k, c in enumerate(t.columns) if c.kind != "file"] for t in content.tables}
            ),
            "decimal": context.num.decimal,
        }
    return content


def _span(told: Told, table: str, row: int, low: int, high: int) -> str:
    ends = [told.count(v, source=f"tables/{table}.csv#cell={row + 1},{k}") for v, k in ((low, 4), (high, 5))]
    return ends[0] if low == high else " to ".join(ends)


def _sizes(context: Context) -> dict[str, dict[str, int]]:
    """Rows of each group by level and label."""
    coverage = context.coverage
    if coverage is None:
        return {}
    found: dict[str, dict[str, int]] = {}
    for depth, level in enumerate(context.levels):
        sums: dict[str, int] = {}
        keys = ["/".join(str(v) for v in key) for key in zip(*coverage.labels[: depth + 1], strict=True)]
        for key, n in zip(keys, coverage.n.tolist(), strict=True):
            sums[key] = sums.get(key, 0) + n
        found[level] = sums
    return found


def _level(context: Context, e: LevelEffects, sizes: dict[str, int]) -> tuple[Table, Sentence]:
    num, names = context.num, context.names
    groups = len(e.labels)
    file = f"rungs/{context.chosen}.effects.parquet"
    first = e.estimate[0]
    order = np.argsort(-first, kind="stable")
    low, high = context.ranks(e)
    name = context.groups_table(e.level)
    columns = [Column("rank", "Rank")]
    columns.insert(0, Column("group", names.level(e.level).capitalize(), "name"))
    columns.append(Column("rank_range", "95 % range of rank", "short"))
    columns += [Column(f"rank_{end}", f"{end} end of the range", "file") for end in ("low", "high")]
    if sizes:
        columns.append(Column("rows", "Rows"))
    for term in e.terms:
        what = "Baseline" if term == INTERCEPT else f"Slope of {names.term(term)}"
        columns += [Column(f"{term}_effect", what), Column(f"{term}_sd", "sd")]
    rows: list[list[Any]] = []
    for position, g in enumerate(order.tolist(), start=1):
        ends = (int(low[g]), int(high[g]))
        row: list[Any] = [e.labels[g], Num(position, num.count(position))]
        row += [_span(context.told, name, position, *ends), *(Num(v, num.count(v)) for v in ends)]
        if sizes:
            row.append(Num(sizes.get(e.labels[g]), num.count(sizes.get(e.labels[g]))))
        for k in range(len(e.terms)):
            value, sd = float(e.estimate[k, g]), float(e.sd[k, g])
            row += [Num(value, num.estimate(value, sd)), Num(sd, num.estimate(sd, sd))]
        rows.append(row)
    shown = [*range(ENDS), *range(groups - ENDS, groups)] if groups > SHOWN else None
    what = "baseline" if e.terms[0] == INTERCEPT else f"slope of {names.term(e.terms[0])}"
    caption = f"{names.level(e.level, 2).capitalize()}, largest {what} first (differences from the average)"
    table = Table(name, caption, columns, rows, shown, note=f"sd: conditional standard deviation. From {file}.")
    sd = e.sd[0]
    clear = int(((first - Z95 * sd > 0) | (first + Z95 * sd < 0)).sum())
    width = float(np.median(high - low))
    sentence = Sentence(
        "{clear} of {groups} {many} have a {what} that the model can tell from the average; the rank of half of them "
        "is uncertain by {width} places or more.",
        clear=context.whole(clear),
        groups=context.whole(groups),
        many=names.level(e.level, groups),
        what=what,
        width=context.whole(width),
    )
    return table, sentence
