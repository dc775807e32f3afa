"""Decides the type of text columns from all rows: numbers with missing-value codes, dates, booleans or text."""

from __future__ import annotations

from string import ascii_lowercase
from typing import TYPE_CHECKING

from hierreport.source import literal, make_view, one_row, quote

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 20_000
# Codes for a missing number in exports from R, SAS, Stata, Excel, Eurostat and the World Bank.
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", ".", "..", "-", ":", *(f".{c}" for c in ascii_lowercase))
DATE_FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d")

# What a column may be, most special first: SQL that holds for a value of this type, the cast, and a cheap test
# that a value of the type may fail without harm (it leads to a closer look at all rows, not to a refusal).
INTEGER, NUMBER = r"[+-]?\d{1,18}", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?[iI]nf(inity)?"
COMMA = r"[+-]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d{1,18}"


def trimmed(name: str) -> str:
    return f"trim({quote(name)}, ' ' || chr(9) || chr(160))"


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


def classify(con: duckdb.DuckDBPyConnection, relation: str, names: list[str]) -> dict[str, tuple[str, int, int, str]]:
    """Type of each column by the exact tests on all rows of a relation.

    Returns:
        Per column: the type's key in ``tests`` or "text"; how many values are not missing; how many of them are
        numbers; why it is text, for the reader.
    """
    found = {}
    for name in names:
        v = trimmed(name)
        forms = tests("v")
        counts = ", ".join(f"count(*) FILTER (NOT m AND {exact})" for exact, _, _ in forms.values())
        zeros = "count(*) FILTER (NOT m AND regexp_full_match(v, '0\\d+'))"
        commas = "count(*) FILTER (NOT m AND contains(v, ','))"
        digits = "count(*) FILTER (NOT m AND regexp_full_match(v, '\\d+') AND length(v) > 18)"
        row = one_row(
            con,
            f"SELECT count(*) FILTER (NOT m), {zeros}, {commas}, {digits}, {counts} "
            f"FROM (SELECT v, {missing('v')} AS m FROM (SELECT {v} AS v FROM {relation}) WHERE v IS NOT NULL)",
        )
        n, zero, comma, long = row[:4]
        by = dict(zip(forms, row[4:], strict=True))
        fits = [k for k in forms if n and by[k] == n]
        numbers = max(by["num"], by["int"])
        why = ""
        choice = fits[0] if fits else "text"
        if choice == "int" and zero:
            choice, why = "text", "text, because of leading zeros"
        elif choice == "num" and long and by["int"] + long == n:
            choice, why = "text", "text, because a number cannot hold all its digits"
        elif choice == "comma" and not comma:
            choice = "text"
        elif choice in DATE_FORMATS and len([k for k in fits if k in DATE_FORMATS]) > 1:
            choice, why = "text", "text, because day and month of its dates cannot be told apart"
        found[name] = (choice, n, numbers, why)
    return found


def infer(
    con: duckdb.DuckDBPyConnection, relation: str, names: list[str], where: str
) -> tuple[str, dict[str, str], dict[str, tuple[str, ...]]]:
    """Types of text columns: a guess from the first rows, checked on all rows.

    Args:
        con: connection.
        relation: quoted name of a view whose columns ``names`` are VARCHAR.
        where: the file, for messages.

    Returns:
        The SELECT list that casts the columns, remarks per column, and (always empty) categories.
    """
    sample = make_view(con, f"SELECT {', '.join(map(quote, names))} FROM {relation} LIMIT {SAMPLE_ROWS}", "TEMP TABLE")
    guess = classify(con, sample, names)
    con.execute(f"DROP TABLE {sample}")
    checks = []
    for name in names:
        kind, n = guess[name][:2]
        v = trimmed(name)
        if kind != "text":
            checks.append(f"count(*) FILTER (NOT {missing(v)} AND NOT {tests(v)[kind][2]})")
        elif n == 0:
            checks.append(f"count(*) FILTER (NOT {missing(v)})")
        else:
            checks.append("count(*) FILTER (false)")
    bad = one_row(con, f"SELECT {', '.join(checks)} FROM {relation}")
    again = [name for name, k in zip(names, bad, strict=True) if k]
    guess |= classify(con, relation, again)
    items, remarks = [], {}
    for name in names:
        kind, n, numbers, why = guess[name]
        v = trimmed(name)
        if kind != "text":
            items.append(f"{tests(v)[kind][1]} AS {quote(name)}")
            if kind in DATE_FORMATS:
                remarks[name] = f"dates written as {kind}"
            elif kind == "comma":
                remarks[name] = "numbers with a decimal comma"
        elif n == 0:
            items.append(f"CAST(NULL AS DOUBLE) AS {quote(name)}")
            remarks[name] = "all values are missing"
        else:
            items.append(f"CASE WHEN {v} NOT IN ('', 'NA') THEN {v} END AS {quote(name)}")
            if not why and numbers > n / 2:
                first = con.execute(
                    f"SELECT i, v FROM (SELECT row_number() OVER () AS i, {v} AS v FROM {relation}) "
                    f"WHERE v IS NOT NULL AND NOT {missing('v')} AND NOT {tests('v')['num'][0]} ORDER BY i LIMIT 1"
                ).fetchall()
                if first:
                    why = f"text, because row {first[0][0]} holds '{first[0][1]}'"
            if why:
                remarks[name] = why
    return ", ".join(items), remarks, {}
