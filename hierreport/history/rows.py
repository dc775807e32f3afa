"""Rows by key: what is kept of them, and which came, went or were revised between two runs.

A row's key is its group path and its time. Rows that share a key (there may be several, and without a time column a
group's rows all do) are matched by their values first; what is left of them is matched by its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .run import Run

# Rows times columns up to which a run keeps the values; beyond, one 64-bit hash per row.
CELLS = 4_000_000
NAMED = 20  # rows, values and groups that are named; the counts are of all
HASH = "__hash"
_NOT_VALUES = ("__row", HASH)


def write_rows(source: Path, panel: Mapping[str, Any], target: Path, cells: int = CELLS) -> bool:
    """Write the rows of panel.parquet by key, values and all where they are few, else a hash per row.

    Args:
        source: panel.parquet.
        panel: panel.json.
        target: rows.parquet.
        cells: rows times columns up to which values are kept.

    Returns:
        whether values were kept.
    """
    con = _connect()
    read = f"read_parquet({_text(source)})"
    columns = _columns(con, read)
    keys = [k for k in _keys(panel) if k in columns]
    values = int(panel["n_obs"]) * len(columns) <= cells
    body = "*" if values else ", ".join([*map(_name, keys), f"{_row_hash(_values(columns, keys))} AS {HASH}"])
    order = ", ".join([*map(_name, keys), *(["__row"] if "__row" in columns else [])])
    con.execute(
        f"COPY (SELECT {body} FROM {read} ORDER BY {order}) TO {_text(target)} (FORMAT parquet, COMPRESSION zstd)"
    )
    return values


def compare_rows(before: Run, now: Run) -> dict[str, Any]:
    """Rows and groups that came and went, and values that were revised.

    Returns:
        ``rows``: {before, now, added, removed, revised}, the last three None where rows cannot be matched (revised
        also where their values cannot be compared);
        ``groups``: per level {before, now, came, went (named up to ``NAMED``), came_count, went_count};
        ``columns``: {came, went}; ``revised``: {values, by_column, examples: [{column, key, old, new}]};
        ``added``, ``removed``: keys, up to ``NAMED``; ``note``: what could not be compared, and why.
    """
    con = _connect()
    tables = {"b": before, "n": now}
    columns: dict[str, dict[str, str]] = {}
    for name, run in tables.items():
        read = f"read_parquet({_text(run.rows)}, file_row_number = true)"
        columns[name] = {k: v for k, v in _readable(con, read, run.rows).items() if k != "file_row_number"}
        con.execute(f"CREATE TEMP VIEW {name}_file AS SELECT * FROM {read}")
    old, new = _keys(before.panel), _keys(now.panel)
    came = [c for c in _values(columns["n"], new) if c not in columns["b"]]
    went = [c for c in _values(columns["b"], old) if c not in columns["n"]]
    hashed = HASH in columns["b"] or HASH in columns["n"]
    result: dict[str, Any] = {
        "rows": {"before": before.panel["n_obs"], "now": now.panel["n_obs"]},
        "groups": _groups(con, before.panel, now.panel),
        "columns": _named_columns(before, now) if hashed else {"came": came, "went": went},
    }
    if old != new:
        note = f"Rows are not matched: their key was {' / '.join(old)} and is {' / '.join(new)}."
        unknown = {"added": None, "removed": None, "revised": None}
        empty: dict[str, Any] = {"values": None, "by_column": {}, "examples": []}
        return {**result, "rows": {**result["rows"], **unknown}, "revised": empty, "added": [], "removed": [], "note": note}
    note = ""
    if hashed:
        differ = bool(result["columns"]["came"] or result["columns"]["went"])
        values = [] if differ else [HASH]
        note = "Of panels this large a hash per row is kept: revised rows are found, their old values are not known."
        if differ:
            note = "Of panels this large a hash per row is kept, of other columns than now: values are not compared."
        shared = {HASH: ("UBIGINT", "UBIGINT")}
    else:
        values = [c for c in _values(columns["n"], new) if c in columns["b"]]
        shared = {c: (columns["b"][c], columns["n"][c]) for c in values}
    unique = all(r.panel.get("time_column") and not (r.panel.get("duplicates") or {}).get("count") for r in tables.values())
    for name in tables:
        own = _values(columns[name], new)
        hashed_here = hashed and HASH not in columns[name]
        picked = []
        for i, k in enumerate(new):
            mixed = columns["b"][k] != columns["n"][k]
            picked.append((_key_text(_name(k)) if mixed else _name(k)) + f" AS k{i}")
        for i, c in enumerate(values):
            expression = _row_hash(own) if hashed_here else _name(c)
            mixed = shared[c][0] != shared[c][1]
            picked.append((f"CAST({expression} AS VARCHAR)" if mixed else expression) + f" AS v{i}")
        con.execute(
            f"CREATE TEMP VIEW {name}_rows AS SELECT {', '.join(picked)}, file_row_number AS r FROM {name}_file"
        )
    _match(con, len(new), len(values), unique)
    found = _found(con, result["rows"], new, values, hashed)
    if hashed and not values:
        found["rows"]["revised"] = None
    return {**result, **found, "note": note}


def _match(con: Any, keys: int, values: int, unique: bool) -> None:
    """Table ``pairs``: the rows that differ, those of one key side by side (r is null where there is none)."""
    both = "b.r IS NOT NULL AND n.r IS NOT NULL"
    differ = [f"({both} AND b.v{i} IS DISTINCT FROM n.v{i})" for i in range(values)]
    kept = " OR ".join(["b.r IS NULL", "n.r IS NULL", *differ])
    if unique:
        key = " AND ".join(f"b.k{i} = n.k{i}" for i in range(keys))
        con.execute(f"CREATE TEMP TABLE pairs AS SELECT b, n FROM b_rows b FULL JOIN n_rows n ON {key} WHERE {kept}")
        return
    same_key = " AND ".join(f"b.k{i} IS NOT DISTINCT FROM n.k{i}" for i in range(keys))
    all_keys = ", ".join(f"k{i}" for i in range(keys))
    all_values = "".join(f", v{i}" for i in range(values))
    for t in "bn":  # occurrences of one key with the same values, numbered
        numbered = f"row_number() OVER (PARTITION BY {all_keys}{all_values} ORDER BY r) AS d"
        con.execute(f"CREATE TEMP TABLE {t}_same AS SELECT *, {numbered} FROM {t}_rows")
    equal = " AND ".join([same_key, "b.d = n.d", *(f"b.v{i} IS NOT DISTINCT FROM n.v{i}" for i in range(values))])
    con.execute(f"CREATE TEMP TABLE equal AS SELECT b.r AS br, n.r AS nr FROM b_same b JOIN n_same n ON {equal}")
    for t in "bn":  # the rest of each key, numbered in its order
        numbered = f"row_number() OVER (PARTITION BY {all_keys} ORDER BY r) AS d"
        rest = f"SELECT * EXCLUDE d FROM {t}_same WHERE r NOT IN (SELECT {t}r FROM equal)"
        con.execute(f"CREATE TEMP TABLE {t}_rest AS SELECT *, {numbered} FROM ({rest})")
    con.execute(
        f"CREATE TEMP TABLE pairs AS SELECT b, n FROM b_rest b FULL JOIN n_rest n ON {same_key} AND b.d = n.d "
        f"WHERE {kept}"
    )


def _found(
    con: Any, rows: Mapping[str, Any], keys: Sequence[str], values: Sequence[str], hashed: bool
) -> dict[str, Any]:
    """Counts and names out of ``pairs``."""
    differs = [f"(b.r IS NOT NULL AND n.r IS NOT NULL AND b.v{i} IS DISTINCT FROM n.v{i})" for i in range(len(values))]
    counts = con.execute(
        "SELECT count(*) FILTER (b.r IS NULL), count(*) FILTER (n.r IS NULL), "
        f"count(*) FILTER ({' OR '.join(differs) or 'false'}){''.join(f', count(*) FILTER ({d})' for d in differs)} "
        "FROM pairs"
    ).fetchone()
    added, removed, revised, *by_column = map(int, counts)

    def texts(side: str) -> str:
        return ", ".join(_key_text(f"{side}.k{i}") for i in range(len(keys)))

    def order(side: str) -> str:
        return ", ".join([*(f"{side}.k{i}" for i in range(len(keys))), f"{side}.r"])

    def named(side: str, other: str) -> list[dict[str, str]]:
        found = con.execute(
            f"SELECT {texts(side)} FROM pairs WHERE {other}.r IS NULL ORDER BY {order(side)} LIMIT {NAMED}"
        )
        return [dict(zip(keys, row, strict=True)) for row in found.fetchall()]

    examples: list[dict[str, Any]] = []
    for i, column in enumerate(values):
        if not by_column[i] or len(examples) >= NAMED:
            continue
        found = con.execute(
            f"SELECT {texts('n')}, b.v{i}, n.v{i} FROM pairs WHERE {differs[i]} ORDER BY {order('n')} "
            f"LIMIT {NAMED - len(examples)}"
        )
        for *key, old, new in found.fetchall():
            at = dict(zip(keys, key, strict=True))
            known = {"old": None, "new": None} if hashed else {"old": _json(old), "new": _json(new)}
            examples.append({"column": None if hashed else column, "key": at, **known})
    return {
        "rows": {**rows, "added": added, "removed": removed, "revised": revised},
        "revised": {
            "values": None if hashed else sum(by_column),
            "by_column": {} if hashed else {c: k for c, k in zip(values, by_column, strict=True) if k},
            "examples": examples,
        },
        "added": named("n", "b"),
        "removed": named("b", "n"),
    }


def _groups(con: Any, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Groups that came and went, per level that both runs have."""
    found: dict[str, Any] = {}
    for depth, level in enumerate(now["levels"]):
        if level not in before["levels"]:
            continue
        path = [str(g).strip('"') for g in now["groups"][: depth + 1]]
        text = " || '/' || ".join(_key_text(_name(g)) for g in path)
        sets = {t: f"SELECT DISTINCT {text} AS g FROM {t}_file" for t in "bn"}

        def difference(a: str, b: str, sets: dict[str, str] = sets) -> tuple[int, list[str]]:
            query = f"FROM ({sets[a]} EXCEPT {sets[b]})"
            count = con.execute(f"SELECT count(*) {query}").fetchone()[0]
            return int(count), [r[0] for r in con.execute(f"SELECT g {query} ORDER BY g LIMIT {NAMED}").fetchall()]

        (came, came_names), (went, went_names) = difference("n", "b"), difference("b", "n")
        sizes = {"before": before["structure"][level]["groups"], "now": now["structure"][level]["groups"]}
        found[level] = {**sizes, "came_count": came, "went_count": went, "came": came_names, "went": went_names}
    return found


def _named_columns(before: Run, now: Run) -> dict[str, list[str]]:
    """Columns of the model that came and went, where the rows themselves are not kept."""
    old, new = ([*(c["name"] for c in r.panel["columns"]), r.panel["outcome"]["name"]] for r in (before, now))
    return {"came": [c for c in new if c not in old], "went": [c for c in old if c not in new]}


def _keys(panel: Mapping[str, Any]) -> list[str]:
    """The columns of a row's key: groups, outermost first, and time."""
    groups = [str(g).strip('"') for g in panel["groups"]]
    time = panel.get("time_column")
    return [*groups, *([str(time).strip('"')] if time else [])]


def _key_text(expression: str) -> str:
    """SQL of a key's text; 1981, not 1981.0."""
    return f"regexp_replace(CAST({expression} AS VARCHAR), '^(-?[0-9]+)[.]0$', '\\1')"


def _values(columns: Mapping[str, str], keys: Sequence[str]) -> list[str]:
    return [c for c in columns if c not in keys and c not in _NOT_VALUES]


def _row_hash(columns: Sequence[str]) -> str:
    """SQL of a row's hash; the column's name goes in, so that a swap of two columns is seen."""
    parts = [f"{_literal(c)} || '=' || coalesce(CAST({_name(c)} AS VARCHAR), '∅')" for c in sorted(columns)]
    return f"md5_number_lower(concat_ws(chr(31), {', '.join(parts)}))" if parts else "0::UBIGINT"


def _columns(con: Any, read: str) -> dict[str, str]:
    """Types of a file's columns by name."""
    return {row[0]: str(row[1]) for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()}


def _readable(con: Any, read: str, path: Path) -> dict[str, str]:
    """``_columns``; a file that cannot be read is named."""
    import duckdb

    try:
        return _columns(con, read)
    except duckdb.Error as error:
        do = "Restore the file, or delete the run's folder: the run before it is compared then."
        raise DataError(f"cannot be read ({' '.join(str(error).split())}).", str(path), do) from None


def _connect() -> Any:
    import duckdb

    return duckdb.connect(config={"threads": 1})


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, str, bool)) else str(value)


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(path: Path) -> str:
    return _literal(str(path))
