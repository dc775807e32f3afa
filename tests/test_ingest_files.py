"""panel.parquet and panel.json: complete, whole, the same bytes each time; and column names of every kind."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from hierreport.errors import DataError
from hierreport.ingest import build_frame, load_frame, write_panel
from hierreport.source import open_source

FORMULAS = [
    ("y ~ x + kind + (1 + x | sector/firm)", {}),
    ("log(w) ~ poly(x, 3) + scale(x):kind + I(x > 0) + (x || sector/firm)", {"time": "year"}),
    ("y ~ lag(x) + within(w) + mean(w, by=sector) + (1 | sector/firm)", {"time": "year", "weights": "w"}),
    ("y ~ 0 + C(year) * x + (0 + C(year) | sector)", {"time": "year", "time_step": "period"}),
    ("y ~ sector + year + (1 | sector) + (year | firm:sector)", {"time": "year"}),
    ("y ~ x", {}),
]


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    rng = np.random.default_rng(9)
    index = pd.MultiIndex.from_product([["S1", "S2", "10", "9"], ["b", "a", "c"], range(2000, 2008)])
    table = index.to_frame(index=False, name=["sector", "firm", "year"])
    n = len(table)
    table["x"], table["w"], table["y"] = rng.normal(size=n), rng.lognormal(size=n), rng.normal(size=n)
    table["kind"] = rng.choice(["lo", "mid", "hi"], n)
    table.loc[rng.choice(n, 6, replace=False), "x"] = np.nan
    return table.sample(frac=1, random_state=1).reset_index(drop=True)


@pytest.mark.parametrize(("formula", "options"), FORMULAS)
def test_a_written_panel_is_the_same_frame(panel, tmp_path, formula, options):
    frame = build_frame(open_source(panel), formula, **options)
    write_panel(frame, tmp_path, {"analysis": "mine"})
    again = load_frame(tmp_path)
    for name in ("outcome", "columns", "fixed", "random", "groups", "levels", "time", "time_label", "weights"):
        assert getattr(again, name) == getattr(frame, name), name
    assert (again.means, again.sds) == (frame.means, frame.sds)
    assert again.info["analysis"] == "mine"
    assert {k: v for k, v in again.info.items() if k != "analysis"} == json.loads(json.dumps(frame.info))
    items = ", ".join(c.sql for c in (*frame.columns, frame.outcome))
    for table in (frame, again):
        order = f"SELECT __row, {items} FROM {table.table} ORDER BY __row"
        rows = table.con.execute(order).fetchall()
        assert len(rows) == frame.info["n_obs"]
        assert rows == frame.con.execute(f"SELECT __row, {items} FROM {frame.table} ORDER BY __row").fetchall()
    sorted_by = [*again.groups, *([again.time] if again.time else []), "__row"]
    keys = ", ".join(f'"{k}"' for k in sorted_by)
    rows = again.con.execute(f"SELECT {keys} FROM {again.table}").fetchall()
    assert rows == sorted(rows)


@pytest.mark.parametrize(("formula", "options"), FORMULAS)
def test_files_have_the_same_bytes_each_time(panel, tmp_path, formula, options):
    contents = []
    for run in range(2):
        frame = build_frame(open_source(panel), formula, **options)
        write_panel(frame, tmp_path / str(run))
        contents.append([(tmp_path / str(run) / name).read_bytes() for name in ("panel.parquet", "panel.json")])
    assert contents[0] == contents[1]
    assert sorted(p.name for p in (tmp_path / "0").iterdir()) == ["panel.json", "panel.parquet"]


def test_an_unfinished_panel_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no readable panel\.json"):
        load_frame(tmp_path)
    (tmp_path / "panel.json").write_text("{")
    with pytest.raises(DataError, match=r"no readable panel\.json"):
        load_frame(tmp_path)
    (tmp_path / "panel.json").write_text("{}")
    with pytest.raises(DataError, match=r"no panel\.parquet"):
        load_frame(tmp_path)


def test_a_failed_write_leaves_nothing_behind(panel, tmp_path):
    frame = build_frame(open_source(panel), "y ~ x + (1 | sector)")
    frame.info["bad"] = object()
    with pytest.raises(TypeError):
        write_panel(frame, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["panel.parquet"]


NAMES = ["n0", "t1", "v0", "tm", "tl", "step", "one", "m", "w0", "q0_0", "__time", "table", "select", "a b", 'say "x"']
NAMES += [
    "it's",
    "größe",
    "x`y",
    "back\\slash",
    "two\nlines",
    "log",
    "I",
    "C",
    "T",
    "TRUE.",
    "1st",
    "a/b",
    "a;--",
    "$1",
    "π",
]


@pytest.mark.parametrize("name", NAMES)
def test_columns_may_have_any_name(panel, name, tmp_path):
    from hierreport.formula import quote

    table = panel.rename(columns={"x": name})
    tick = quote(name)
    formula = "y ~ {0} + I({0}^2) + within({0}) + lag(w) + ({0} | sector/firm)"
    frame = build_frame(open_source(table), formula.format(tick), time="year")
    plain = build_frame(open_source(panel), formula.format("x"), time="year")
    assert frame.fixed[1] == tick
    assert [frame.means[c.name] for c in frame.columns] == [plain.means[c.name] for c in plain.columns]
    write_panel(frame, tmp_path)
    assert load_frame(tmp_path).columns == frame.columns
    grouped = panel.rename(columns={"firm": name})
    frame = build_frame(open_source(grouped), f"y ~ {tick} + mean(w, by={tick}) + (1 | sector/{tick})", time="year")
    assert frame.levels == ("sector", f"sector/{name}")
    assert frame.info["structure"][f"sector/{name}"]["groups"] == 12
    assert frame.fixed[1:3] == (f"{tick}[b]", f"{tick}[c]")
    timed = panel.rename(columns={"year": name})
    assert build_frame(open_source(timed), f"y ~ lag(x) + {tick} + (1 | sector/firm)", time=name).info["time"] == name


def test_a_plain_model_imports_nothing_heavy(panel, tmp_path):
    panel.to_parquet(tmp_path / "p.parquet")
    code = (
        "import sys; from hierreport.ingest import build_frame; from hierreport.source import open_source;"
        f"build_frame(open_source({str(tmp_path / 'p.parquet')!r}), 'y ~ x + kind + (x | sector/firm)', time='year');"
        "print([m for m in ('pandas', 'pyarrow', 'sqlglot', 'statsmodels', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rows_are_not_copied(panel, tmp_path):
    """A frame without lags is a query; five million rows pass through it, none stay."""
    frame = build_frame(open_source(panel), "log(w) ~ x + within(x) + (1 | sector)")
    assert frame.table.startswith("(SELECT")
    sizes = frame.con.execute("SELECT sum(estimated_size) FROM duckdb_tables()").fetchone()[0] or 0
    assert sizes < len(panel)  # only the group means
