"""Decides the type of text columns from all rows: numbers with missing-value codes, dates, booleans or text."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING

from hierreport.source import literal, make_table, one_row, quote

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 2048
# Codes for a missing number in exports from R, SAS, Stata, Excel, Eurostat and the World Bank.
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", ".", "..", "-", ":", *(f".{c}" for c in ascii_lowercase))
DATE_FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d")

SIMPLE = ("bool", "int", "num", "comma")
# What a column may be, most special first: SQL that holds for a value of this type, the cast, and a cheap test
# that a value of the type may fail without harm (it leads to a closer look at all rows, not to a refusal).
INTEGER, NUMBER = r"[+-]?\d{1,18}", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?[iI]nf(inity)?"
THOUSANDS = r"[+-]?[1-9]\d{0,2},\d{3}"
COMMA = r"[+-]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d{1,18}"


@dataclass(frozen=True)
class Verdict:
    """A column's type (a key of ``tests`` or "text"), its values, how many are numbers, and why it is text."""

    kind: str
    n: int
    numbers: int
    why: str = ""


def trimmed(name: str) -> str:
    return f"trim({quote(name)})"


def tests(v: str) -> dict[str, tuple[str, str, str]]:
    """For each type: (the exact test of a value, the cast, the cheap test)."""
    forms: dict[str, tuple[str, str, str]] = {
        "bool": (f"lower({v}) IN ('true', 'false')", f"TRY_CAST({v} AS BOOLEAN)", f"lower({v}) IN ('true', 'false')"),
        "int": (
            f"regexp_full_match({v}, '{INTEGER}')",
            f"TRY_CAST({v} AS BIGINT)",
            # also fails for 007, 1_000 and 1.5, which the cast alone would take
            f"(TRY_CAST({v} AS BIGINT)::VARCHAR IS NOT DISTINCT FROM {v})",
        ),
        "num": (
            f"regexp_full_match({v}, '{NUMBER}')",
            f"nullif(TRY_CAST({v} AS DOUBLE), 'nan'::DOUBLE)",
            f"(TRY_CAST({v} AS DOUBLE) IS NOT NULL AND NOT contains({v}, '_'))",
        ),
        "comma": (
            f"regexp_full_match({v}, '{COMMA}')",
            f"TRY_CAST(replace({v}, ',', '.') AS DOUBLE)",
            f"regexp_full_match({v}, '{COMMA}')",
        ),
        "date": (
            f"(regexp_full_match({v}, '\\d{{4}}-\\d\\d-\\d\\d') AND TRY_CAST({v} AS DATE) IS NOT NULL)",
            f"TRY_CAST({v} AS DATE)",
            f"(length({v}) = 10 AND TRY_CAST({v} AS DATE) IS NOT NULL)",
        ),
    }
    for pattern in DATE_FORMATS:
        parse = f"try_strptime({v}, {literal(pattern)})"
        forms[pattern] = (f"{parse} IS NOT NULL", f"CAST({parse} AS DATE)", f"{parse} IS NOT NULL")
    stamp = f"TRY_CAST({v} AS TIMESTAMP)"
    timed = f"({stamp} IS NOT NULL AND length({v}) > 10)"
    forms["stamp"] = (timed, stamp, timed)
    return forms


def missing(v: str) -> str:
    return f"(lower({v}) IN ({', '.join(map(literal, MISSING))}))"


def classify(con: duckdb.DuckDBPyConnection, relation: str, names: list[str]) -> dict[str, Verdict]:
    """Types of columns by the exact tests on all rows of a relation."""
    if not names:
        return {}
    queries = []
    forms = tests("v")
    for place, name in enumerate(names):
        hits = [f"count(*) FILTER ({forms[k][0]})" for k in SIMPLE]
        hits += [
            "count(*) FILTER (regexp_full_match(v, '0\\d+'))",
            "count(*) FILTER (contains(v, ','))",
            "count(*) FILTER (regexp_full_match(v, '\\d+') AND length(v) > 18)",
            "count(*) FILTER (left(v, 1) BETWEEN '0' AND '9')",
        ]
        queries.append(f"SELECT {place} AS place, count(*), {', '.join(hits)} FROM ({values(relation, name)})")
    found = {}
    rows = con.execute(f"{' UNION ALL '.join(queries)} ORDER BY place").fetchall()
    for name, (_, n, *counts) in zip(names, rows, strict=True):
        by = dict(zip((*SIMPLE, "zero", "comma_seen", "long", "digit"), counts, strict=True))
        numbers = max(by["num"], by["int"])
        kind = next((k for k in SIMPLE if n and by[k] == n), "text")
        why = ""
        if kind == "int" and by["zero"]:
            kind, why = "text", "text, because of leading zeros"
        elif kind == "num" and by["long"] and by["int"] + by["long"] == n:
            kind, why = "text", "text, because a number cannot hold all its digits"
        elif kind == "comma" and not by["comma_seen"]:
            kind = "text"
        elif kind == "text" and n and by["digit"] == n:
            kind, why = classify_date(con, relation, name, n)
        found[name] = Verdict(kind, n, numbers, why)
    return found


def classify_date(con: duckdb.DuckDBPyConnection, relation: str, name: str, n: int) -> tuple[str, str]:
    """The form of a date that all ``n`` values have, or "text", and why it is text."""
    forms = {k: form for k, form in tests("v").items() if k not in SIMPLE}
    counts = ", ".join(f"count(*) FILTER ({exact})" for exact, _, _ in forms.values())
    hits = one_row(con, f"SELECT {counts} FROM ({values(relation, name)})")
    fits = [k for k, hit in zip(forms, hits, strict=True) if hit == n]
    if sum(k in DATE_FORMATS for k in fits) > 1:
        return "text", "text, because day and month of its dates cannot be told apart"
    return (fits[0], "") if fits else ("text", "")


def values(relation: str, name: str) -> str:
    """The values of a column that are not missing, as ``v``."""
    return f"SELECT v FROM (SELECT {trimmed(name)} AS v FROM {relation}) WHERE v IS NOT NULL AND NOT {missing('v')}"


def infer(
    con: duckdb.DuckDBPyConnection, relation: str, names: list[str], comma_separated: bool = False
) -> tuple[str, dict[str, str], int]:
    """Types of text columns: a guess from the first rows, checked on all rows.

    Args:
        con: connection.
        relation: what stands after FROM, a quoted name or a query in brackets, whose columns ``names`` are VARCHAR.
        comma_separated: whether the file's delimiter is a comma, so that its decimals are hardly commas.

    Returns:
        The SELECT list that casts the columns, remarks on columns, and the number of rows.
    """
    sample = make_table(con, f"SELECT {', '.join(map(quote, names))} FROM {relation} LIMIT {SAMPLE_ROWS}")
    found = classify(con, sample, names)
    con.execute(f"DROP TABLE {sample}")
    checks = []
    for name, verdict in found.items():
        v = trimmed(name)
        if verdict.kind != "text":
            # CASE: the long list of codes is looked up only for values that are not of the type
            test = (
                f"CASE WHEN {quote(name)} IS NULL OR {tests(v)[verdict.kind][2]} THEN false ELSE NOT {missing(v)} END"
            )
        else:
            # With a reason, later rows may tell more; without any value, they may have one.
            test = f"NOT {missing(v)}" if verdict.n == 0 else str(bool(verdict.why)).lower()
        checks.append(f"count(*) FILTER ({test})")
    count, *failed = one_row(con, f"SELECT count(*), {', '.join(checks)} FROM {relation}")
    found |= classify(con, relation, [name for name, bad in zip(names, failed, strict=True) if bad])
    items, remarks = [], {}
    for name, verdict in found.items():
        if verdict.kind == "comma" and comma_separated and thousands(con, relation, name):
            verdict = Verdict("text", verdict.n, 0, "text, because the comma in its numbers may stand for thousands")
        item, remark = settled(con, relation, name, verdict)
        items.append(f"{item} AS {quote(name)}")
        if remark:
            remarks[name] = remark
    return ", ".join(items), remarks, int(count)


def thousands(con: duckdb.DuckDBPyConnection, relation: str, name: str) -> bool:
    """Whether every comma of a column could set off thousands (1,234)."""
    test = f"contains(v, ',') AND NOT regexp_full_match(v, '{THOUSANDS}')"
    return not one_row(con, f"SELECT count(*) FROM ({values(relation, name)}) WHERE {test}")[0]


def settled(con: duckdb.DuckDBPyConnection, relation: str, name: str, verdict: Verdict) -> tuple[str, str]:
    """SQL of a column with its type, and the remark on it."""
    v = trimmed(name)
    if verdict.kind in DATE_FORMATS:
        return tests(v)[verdict.kind][1], f"dates written as {verdict.kind}"
    if verdict.kind != "text":
        return tests(v)[verdict.kind][1], "numbers with a decimal comma" if verdict.kind == "comma" else ""
    if verdict.n == 0:
        return "CAST(NULL AS DOUBLE)", "all values are missing"
    text = f"CASE WHEN {v} NOT IN ('', 'NA') THEN {v} END"
    if verdict.why or verdict.numbers <= verdict.n / 2:
        return text, verdict.why
    first = con.execute(
        f"SELECT i, v FROM (SELECT row_number() OVER () AS i, {v} AS v FROM {relation}) "
        f"WHERE v IS NOT NULL AND NOT {missing('v')} AND NOT {tests('v')['num'][0]} ORDER BY i LIMIT 1"
    ).fetchall()
    return text, f"text, because row {first[0][0]} holds '{first[0][1]}'" if first else ""
