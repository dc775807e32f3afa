"""Opening panels: every kind of file is read right or refused with the file, column and row."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from hierreport import source_text
from hierreport.errors import DataError
from hierreport.source import Source, all_threads, open_source

TABLE = pd.DataFrame(
    {
        "id": ["007", "7", "x"],
        "n": [1, 2, 3],
        "v": [1.5, None, -2.0],
        "d": pd.to_datetime(["2020-01-31", "2020-02-29", "2020-03-31"]),
        "b": [True, False, True],
    }
)


def rows(source: Source, columns: str = "*") -> list[tuple]:
    return source.con.execute(f"SELECT {columns} FROM {source.view}").fetchall()


def text(tmp_path: Path, content: str | bytes, name: str = "a.csv") -> Source:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_source(path)


def refused(tmp_path: Path, content: str | bytes, name: str = "a.csv") -> str:
    with pytest.raises(DataError) as caught:
        text(tmp_path, content, name)
    assert name in str(caught.value)
    return str(caught.value)


# --- delimited text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_delimiters_newlines_and_bom(tmp_path, delimiter, newline, bom):
    lines = ["firm,wage,note", '1,2.5,"a, ""b"""', "2,-3e2,", ""]
    content = newline.join(line.replace(",", delimiter) for line in lines)
    source = text(tmp_path, bom + content)
    assert source.columns == {"firm": "BIGINT", "wage": "DOUBLE", "note": "VARCHAR"}
    assert rows(source) == [(1, 2.5, f'a{delimiter} "b"'), (2, -300.0, None)]


def test_missing_codes_in_numbers_and_text(tmp_path):
    source = text(tmp_path, "a,b,c\n1,x,NA\n.,NA,NaN\n,,\nNA,.,n/a\n-,y,-1.5\n")
    assert source.columns == {"a": "BIGINT", "b": "VARCHAR", "c": "DOUBLE"}
    assert rows(source) == [
        (1, "x", None),
        (None, None, None),
        (None, None, None),
        (None, ".", None),
        (None, "y", -1.5),
    ]


def test_leading_zeros_and_long_numbers_stay_text(tmp_path):
    source = text(tmp_path, "id,isin,zero,plain\n007,12345678901234567890,0,10\n7,12345678901234567891,0.5,20\n")
    assert source.columns == {"id": "VARCHAR", "isin": "VARCHAR", "zero": "DOUBLE", "plain": "BIGINT"}
    assert rows(source, "id, isin") == [("007", "12345678901234567890"), ("7", "12345678901234567891")]
    assert source.remarks["id"] == "text, because of leading zeros"


@pytest.mark.parametrize(
    ("late", "kind", "remark"),
    [
        ("n.a.", "VARCHAR", "text, because row 25001 holds 'n.a.'"),
        ("1.5", "DOUBLE", None),
        ("0012", "VARCHAR", "text, because of leading zeros"),
        ("1_000", "VARCHAR", "text, because row 25001 holds '1_000'"),
        ("NA", "BIGINT", None),
    ],
)
def test_the_type_is_decided_by_all_rows(tmp_path, late, kind, remark):
    source = text(tmp_path, "x,y\n" + "3,4\n" * 25_000 + f"{late},4\n")
    assert source.columns["x"] == kind
    assert source.remarks.get("x") == remark
    assert source.count() == 25_001


def test_a_column_that_is_empty_at_first(tmp_path):
    source = text(tmp_path, "x,y\n" + ",4\n" * 25_000 + "abc,4\n")
    assert source.columns["x"] == "VARCHAR" and rows(source, "max(x)") == [("abc",)]


def test_an_empty_column(tmp_path):
    source = text(tmp_path, "x,y\n,4\nNA,5\n")
    assert source.columns["x"] == "DOUBLE" and source.remarks["x"] == "all values are missing"


def test_decimal_comma(tmp_path):
    source = text(tmp_path, "x;y;z\n1,5;2;1.234,5\n-0,25;3;2\n")
    assert rows(source) == [(1.5, 2, "1.234,5"), (-0.25, 3, "2")]
    assert source.remarks["x"] == "numbers with a decimal comma"


def test_quoted_thousands_are_not_numbers(tmp_path):
    source = text(tmp_path, 'x,y\n"1,500",1\n"2,250,000",2\n')
    assert rows(source, "x") == [("1,500",), ("2,250,000",)]
    # 1,500 alone is thousands as well as decimals where the delimiter is a comma too: neither is guessed.
    source = text(tmp_path, 'x,y\n"1,500",1\n-250,2\n"12,250",2\n')
    assert rows(source, "x") == [("1,500",), ("-250",), ("12,250",)]
    assert "thousands" in source.remarks["x"]
    assert rows(text(tmp_path, 'x,y\n"1,5",1\n"12,250",2\n'), "x") == [(1.5,), (12.25,)]
    assert rows(text(tmp_path, "x;y\n1,500;1\n12,250;2\n"), "x") == [(1.5,), (12.25,)]


def test_times_in_nanoseconds_with_a_zone(tmp_path):
    when = [dt.datetime(2020, 1, 31, 12), None]
    table = pa.table({"t": pa.array(when, pa.timestamp("ns", tz="Europe/Paris"))})
    pq.write_table(table, tmp_path / "a.parquet")
    for source in (open_source(tmp_path / "a.parquet"), open_source(table), open_source(pl.from_arrow(table))):
        assert source.columns == {"t": "TIMESTAMP"}
        assert rows(source) == [(dt.datetime(2020, 1, 31, 12),), (None,)]


def test_a_type_that_no_panel_has():
    with pytest.raises(DataError, match="complex128"):
        open_source(pd.DataFrame({"x": [1j], "y": [1.0]}))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2020-01-31", "2020-02-29"], "DATE"),
        (["31/01/2020", "01/02/2020"], "DATE"),
        (["01/31/2020", "02/01/2020"], "DATE"),
        (["31.01.2020", "01.02.2020"], "DATE"),
        (["01/02/2020", "03/04/2020"], "VARCHAR"),  # day or month first?
        (["2020-01-31 12:30:00", "2020-02-01 00:00:00"], "TIMESTAMP"),
        (["2020-01-31T12:30:00", ""], "TIMESTAMP"),
        (["1976", "1977"], "BIGINT"),
        (["2020-02-30", "2020-02-01"], "VARCHAR"),
        (["TRUE", "false"], "BOOLEAN"),
        (["1e3", "inf"], "DOUBLE"),
        (["0x10", "5"], "VARCHAR"),
    ],
)
def test_dates_and_other_forms(tmp_path, values, kind):
    source = text(tmp_path, "k,v\n" + "".join(f"1,{v}\n" for v in values))
    assert source.columns["v"] == kind


def test_dates_have_the_right_day(tmp_path):
    source = text(tmp_path, "k,v\n1,31/01/2020\n2,01/02/2020\n")
    assert [str(v) for (v,) in rows(source, "v")] == ["2020-01-31", "2020-02-01"]
    assert source.remarks["v"] == "dates written as %d/%m/%Y"


@pytest.mark.parametrize("content", ["\n\na,b\n1,2\n\n3,4\n\n\n", "a,b\n\n\n1,2\n3,4"])
def test_blank_lines(tmp_path, content):
    assert rows(text(tmp_path, content)) == [(1, 2), (3, 4)]


def test_spaces_around_names_and_values(tmp_path):
    source = text(tmp_path, "a, b ,c\n 1, x , 2.5\n2,y,3\n")
    assert rows(source) == [(1, "x", 2.5), (2, "y", 3.0)] and list(source.columns) == ["a", "b", "c"]


def test_names_from_r_and_unnamed_columns(tmp_path):
    source = text(tmp_path, '"","a"\n"1",5\n"2",6\n')
    assert rows(source) == [(1, 5), (2, 6)] and list(source.columns) == ["row_names", "a"]
    source = text(tmp_path, '"a" "b"\n"1" 5 2\n"2" 6 3\n', "b.txt")
    assert rows(source) == [(1, 5, 2), (2, 6, 3)] and list(source.columns) == ["row_names", "a", "b"]
    assert any("row_names" in note for note in source.notes)


@pytest.mark.parametrize(
    ("content", "names", "first"),
    [
        ("Firm full name,wage\nA B C,1\nD E F,2\n", ["Firm full name", "wage"], ("A B C", 1)),
        ("sep=;\na;b\n1,5;x\n2;y\n", ["a", "b"], (1.5, "x")),
        ("a,b,\n1,2,\n3,4,\n", ["a", "b", "column3"], (1, 2, None)),
        ("a,b\n1,2,\n3,4,\n", ["a", "b", "column3"], (1, 2, None)),
        ("a b\n1 2\n3 4\n", ["a", "b"], (1, 2)),
        ('text;n\n"x, y, z";1\n"u, v, w";2\n', ["text", "n"], ("x, y, z", 1)),
        ("x\na b\nc d e\n", ["x"], ("a b",)),
    ],
)
def test_layouts(tmp_path, content, names, first):
    source = text(tmp_path, content)
    assert list(source.columns) == names and rows(source)[0] == first


def test_one_column(tmp_path):
    assert rows(text(tmp_path, "x\n1\n2\n")) == [(1,), (2,)]


def test_quoted_newlines_and_names(tmp_path):
    source = text(tmp_path, '"my, col","we""ird"\n"line 1\nline 2",3\n"x",4\n')
    assert list(source.columns) == ["my, col", 'we"ird'] and rows(source)[0] == ("line 1\nline 2", 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n", "there is a header but no rows"),
        ("\n\n", "only blank lines"),
        ("", "the file is empty"),
        ("1,2\n3,4\n", "has no column names"),
        ("a,b,a\n1,2,3\n", "'a' occurs more than once"),
        ("a,A\n1,2\n", "'a' and 'A' differ only in case"),
        ("a,__row\n1,2\n", "'__row' is reserved"),
        ("a,b\n1,2\n3\n4,5\n", "line 3 has 1 field where the header has 2"),
        ("a,b\n1,2\n3,4,5\n6,7\n", "line 3 has 3 fields where the header has 2"),
        ('a,b\n1,2\n"x,2\n3,4\n', "a quote that opens on line 3"),
        (b"a,b\n1,\x00\n", "NUL bytes"),
    ],
)
def test_refusals(tmp_path, content, says):
    assert says in refused(tmp_path, content)


def test_a_ragged_line_far_down(tmp_path):
    message = refused(tmp_path, "a,b\n" + "1,2\n" * 60_000 + "1,2,3\n" + "1,2\n" * 10)
    assert "line 60002 has 3 fields" in message


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
def test_encodings(tmp_path, encoding):
    content = "name,x\nMünchen – Süd,1.5\nGenève,2\n" if encoding != "latin-1" else "name,x\nMünchen,1.5\nGenève,2\n"
    data = content.encode(encoding)
    if encoding == "utf-16-le":
        data = b"\xff\xfe" + data
    source = text(tmp_path, data)
    assert [r[0] for r in rows(source)] == [line.split(",")[0] for line in content.splitlines()[1:]]
    assert bool(source.notes) == (encoding != "utf-8-sig")


def test_bytes_that_are_not_utf8_far_down(tmp_path):
    data = b"name,x\n" + b"abc,1\n" * 60_000 + "Genève,2\n".encode("latin-1")
    source = text(tmp_path, data)
    assert rows(source, "min(name)") == [("Genève",)] and source.count() == 60_001
    assert source.notes == ["a.csv: not UTF-8; read as Windows-1252"]


def test_mixed_line_endings(tmp_path):
    assert rows(text(tmp_path, "a,b\r\n1,2\n3,4\r\n")) == [(1, 2), (3, 4)]
    late = "a,b\r\n" + "1,2\r\n" * 60_000 + "3,4\n5,6\r\n"
    assert text(tmp_path, late).count() == 60_002


def test_gzip_and_tsv(tmp_path):
    source = text(tmp_path, gzip.compress(b"a\tb\n1\t2\n"), "a.tsv.gz")
    assert rows(source) == [(1, 2)] and source.suffix == ".tsv"
    assert "cannot be unpacked" in refused(tmp_path, b"a,b\n1,2\n", "b.csv.gz")
    damaged = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(200_000)))[:-20_000]
    assert "c.csv.gz" in refused(tmp_path, damaged, "c.csv.gz")


def test_row_numbers_are_positions_in_the_data(tmp_path, monkeypatch):
    content = "a,b\n\n" + "".join(f"{i},x\n" for i in range(1, 50_001))
    for keep in (source_text.KEEP_BYTES, 0):
        monkeypatch.setattr(source_text, "KEEP_BYTES", keep)
        source = text(tmp_path, content)
        query = f"SELECT count(*), count(*) FILTER (__row = a) FROM ({source.rows_sql(True)})"
        assert source.con.execute(query).fetchone() == (50_000, 50_000)
    assert "__row" not in [c[0] for c in source.con.execute(source.rows_sql()).description]


# --- many files ------------------------------------------------------------------------------------------------------


def test_directory_and_glob_of_csv(tmp_path):
    folder = tmp_path / "panel [1]*"
    folder.mkdir()
    (folder / "b.csv").write_text("y;x\n3;c\n")
    (folder / "a.csv").write_text("x,y\na,1\nb,NA\n")
    (folder / ".hidden.csv").write_text("q\n1\n")
    (folder / "_SUCCESS").write_text("")
    source = open_source(folder)
    assert rows(source) == [("a", 1), ("b", None), ("c", 3)] and len(source.files) == 2
    assert rows(open_source(f"{tmp_path}/panel*/a.c?v")) == [("a", 1), ("b", None)]
    (folder / "c.csv").write_text("x,z\na,1\n")
    with pytest.raises(DataError, match=r"its columns differ from those of a.csv: 'y', 'z'"):
        open_source(folder)
    (folder / "d.parquet").write_text("")
    with pytest.raises(DataError, match="different kinds"):
        open_source(folder)


def test_types_agree_over_files(tmp_path):
    (tmp_path / "a.csv").write_text("id,x\n1,1\n")
    (tmp_path / "b.csv").write_text("id,x\n001,2.5\n")
    source = open_source(tmp_path)
    assert rows(source) == [("1", 1.0), ("001", 2.5)]


def test_directory_of_parquet(tmp_path):
    for year, shift in ((1979, 0), (1980, 10)):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": [1 + shift, 2 + shift]}), tmp_path / f"year={year}" / "part.parquet")
    source = open_source(tmp_path)
    assert sorted(rows(source)) == [(1, 1979), (2, 1979), (11, 1980), (12, 1980)]
    numbered = source.con.execute(source.rows_sql(True)).fetchall()
    assert [r[0] for r in numbered] == [1, 2, 3, 4]
    pq.write_table(pa.table({"z": [1]}), tmp_path / "year=1980" / "extra.parquet")
    with pytest.raises(DataError, match="columns differ"):
        open_source(tmp_path)


def test_missing_files(tmp_path):
    (tmp_path / "panel.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"there is no such file. Beside it are: panel.csv"):
        open_source(tmp_path / "pannel.csv")
    with pytest.raises(DataError, match="no file matches"):
        open_source(str(tmp_path / "*.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the directory has no data files"):
        open_source(tmp_path / "empty")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(DataError, match=r"the kind '.docx' cannot be read"):
        open_source(tmp_path / "a.docx")
    (tmp_path / "a.csv.zip").write_text("x")
    with pytest.raises(DataError, match="Unpack it first"):
        open_source(tmp_path / "a.csv.zip")


# --- Parquet, Arrow, JSON --------------------------------------------------------------------------------------------


def test_parquet(tmp_path):
    table = pa.table(
        {
            "f": [1.0, float("nan"), None],
            "g": pa.array([1, 2, 3], pa.float32()),
            "m": pa.array([1, 2, 3]).cast(pa.decimal128(22, 2)),
            "t": pa.array([0, 1, None], pa.timestamp("us", tz="UTC")),
            "s": pa.array([b"a", b"b", None], pa.binary()),
            "c": pa.array(["u", "v", "u"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "it's [a].parquet")
    source = open_source(tmp_path / "it's [a].parquet")
    assert list(source.columns.values()) == ["DOUBLE", "DOUBLE", "DOUBLE", "TIMESTAMP", "VARCHAR", "VARCHAR"]
    assert rows(source, "f, g, m, s") == [(1.0, 1.0, 1.0, "a"), (None, 2.0, 2.0, "b"), (None, 3.0, 3.0, None)]
    assert [r[0] for r in source.con.execute(source.rows_sql(True)).fetchall()] == [1, 2, 3]


def test_damaged_parquet(tmp_path):
    assert "cannot be read" in refused(tmp_path, b"hello", "a.parquet")
    pq.write_table(pa.table({"x": np.random.default_rng(0).normal(size=100_000)}), tmp_path / "b.parquet")
    data = bytearray((tmp_path / "b.parquet").read_bytes())
    assert "cannot be read" in refused(tmp_path, bytes(data[: len(data) // 2]), "half.parquet")
    pq.write_table(pa.table({"x": [1.0], "X": [2.0]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="differ only in case"):
        open_source(tmp_path / "c.parquet")
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="there are no rows"):
        open_source(tmp_path / "d.parquet")


def test_a_page_that_is_damaged_is_refused_when_it_is_read(tmp_path):
    import duckdb

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(50_000) % 977}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[100:1000] = b"\xff" * 900
    path.write_bytes(data)
    source = open_source(path)
    with pytest.raises(duckdb.Error) as caught:
        rows(source, "sum(x)")
    assert str(source.unreadable(caught.value)).startswith("Parquet file a.parquet: cannot be read: ")


@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
def test_feather(tmp_path, compression):
    table = pa.table({"x": [1.5, float("nan")], "c": pa.array(["b", "a"]).dictionary_encode()})
    pyarrow.feather.write_feather(table, tmp_path / "a.feather", compression=compression)
    source = open_source(tmp_path / "a.feather")
    assert rows(source) == [(1.5, "b"), (None, "a")] and source.categories == {"c": ("b", "a")}
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    assert rows(open_source(tmp_path / "b.arrow")) == [(1.5, "b"), (None, "a")]
    assert "is not an Arrow file" in refused(tmp_path, b"FEA1 nothing here", "c.feather")


def test_json_lines(tmp_path):
    source = text(tmp_path, '{"a": 1, "b": "x"}\n{"a": 2.5, "b": null, "c": "2020-01-01"}\n', "a.jsonl")
    assert rows(source, "a, b") == [(1.0, "x"), (2.5, None)] and source.columns["c"] == "DATE"
    source = text(tmp_path, '{"a": 1}\n' * 30_000 + '{"a": "NA"}\n', "b.ndjson")
    assert source.columns["a"] == "BIGINT" and rows(source, "count(a), count(*)") == [(30_000, 30_001)]
    source = text(tmp_path, '[{"a": 1}, {"a": "late"}]', "c.json")
    assert rows(source) == [("1",), ("late",)]
    assert "cannot be read" in refused(tmp_path, '{"a": 1}\n{"a": \n', "d.jsonl")


# --- tables ----------------------------------------------------------------------------------------------------------


def test_pandas_table_is_not_changed():
    table = TABLE.set_index("n", drop=False).rename_axis("index_name")
    before = table.copy(deep=True)
    source = open_source(table)
    assert rows(source, "id, n, v, b") == [("007", 1, 1.5, True), ("7", 2, None, False), ("x", 3, -2.0, True)]
    assert list(source.columns) == list(TABLE.columns) and "index (index_name) is not read" in source.notes[0]
    pd.testing.assert_frame_equal(table, before)
    assert source.files == [] and source.suffix == ""


def test_pandas_types():
    table = pd.DataFrame(
        {
            "c": pd.Categorical(["b", None, "a"], categories=["b", "a", "z"]),
            "years": pd.Categorical([1990, 1980, 1990]),
            "i": pd.array([1, None, 3], dtype="Int64"),
            "late": pd.Series([1, 2, "x"], dtype=object),
            "numbers": pd.Series([1, None, 2.5], dtype=object),
            "whole": pd.Series([1, None, 2], dtype=object),
            "flags": pd.Series([True, None, False], dtype=object),
            "p": pd.period_range("2020-01", periods=3, freq="M"),
            "tz": pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin"),
            0: [1, 2, 3],
        }
    )
    source = open_source(table)
    assert source.categories == {"c": ("b", "a", "z"), "years": ("1980", "1990")}
    assert rows(source, 'c, years, i, late, numbers, whole, flags, "0"') == [
        ("b", "1990", 1, "1", 1.0, 1, True, 1),
        (None, "1980", None, "2", None, None, None, 2),
        ("a", "1990", 3, "x", 2.5, 2, False, 3),
    ]
    assert source.columns["p"].startswith("TIMESTAMP") and source.columns["tz"] == "TIMESTAMP"


def test_object_columns_are_read_to_their_end():
    source = open_source(pd.DataFrame({"x": pd.Series([1] * 5000 + ["late"], dtype=object)}))
    assert source.columns["x"] == "VARCHAR" and rows(source, "count(x), max(x)") == [(5001, "late")]


def test_polars_table():
    table = pl.DataFrame(
        {"s": ["a", None], "v": [float("nan"), 1.0], "c": pl.Series(["u", "t"], dtype=pl.Enum(["u", "t"]))}
    )
    for given in (table, table.lazy()):
        source = open_source(given)
        assert rows(source) == [("a", None, "u"), (None, 1.0, "t")] and source.categories == {"c": ("u", "t")}


def test_columns_without_any_value():
    for given in (pl.DataFrame({"a": [1], "n": [None]}), pa.table({"a": [1], "n": pa.nulls(1)})):
        assert open_source(given).columns == {"a": "BIGINT", "n": "DOUBLE"}


def test_one_thread_on_any_machine():
    """Sums of doubles that threads share differ in the last bits from run to run."""
    assert open_source({"x": [1]}).con.execute("SELECT current_setting('threads')").fetchall() == [(1,)]


@pytest.mark.parametrize("kind", ["pandas", "arrow", "polars", "files"])
def test_row_numbers_survive_parallel_scans(tmp_path, kind, monkeypatch):
    table = pa.table({"i": np.arange(400_000), "x": np.random.default_rng(0).normal(size=400_000)})
    given = {"pandas": table.to_pandas, "arrow": lambda: table, "polars": lambda: pl.from_arrow(table)}
    if kind == "files":
        for k in range(4):
            pq.write_table(table.slice(k * 100_000, 100_000), tmp_path / f"{k}.parquet", row_group_size=5000)
        source = open_source(tmp_path)
    else:
        source = open_source(given[kind]())
    monkeypatch.setattr("hierreport.parallel.processors", lambda: 4)
    query = f"SELECT count(*), count(*) FILTER (__row = i + 1) FROM ({source.rows_sql(True)})"
    with all_threads(source.con):
        assert source.con.execute(query).fetchall() == [(400_000, 400_000)]


def test_large_text_is_parsed_on_all_processors_and_keeps_its_order(tmp_path, monkeypatch):
    lines = [f"{i},{i / 7!r},g{i % 9}" for i in range(300_000)]
    path = tmp_path / "large.csv"
    path.write_text("\n".join(["i,x,g", *lines]))
    assert path.stat().st_size > source_text.LARGE_BYTES
    monkeypatch.setattr("hierreport.parallel.processors", lambda: 4)
    source = open_source(path)
    query = f"SELECT count(*), count(*) FILTER (__row = i + 1 AND x = i / 7) FROM ({source.rows_sql(True)})"
    assert source.con.execute(query).fetchall() == [(300_000, 300_000)]
    assert source.con.execute("SELECT current_setting('threads')").fetchall() == [(1,)]


def test_arrow_tables():
    table = pa.table({"x": [1.0, None], "c": pa.array(["b", "a"]).dictionary_encode()})
    for given in (table, table.to_reader(), table.to_batches()[0]):
        source = open_source(given)
        assert rows(source) == [(1.0, "b"), (None, "a")] and source.categories == {"c": ("b", "a")}
        assert [r[0] for r in source.con.execute(source.rows_sql(True)).fetchall()] == [1, 2]
    assert rows(open_source({"x": [1, 2]})) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' occurs more than once"),
        (pd.DataFrame([[1, 2]], columns=["a", "A"]), "differ only in case"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), "several levels"),
        (pd.DataFrame({"a": []}), "there are no rows"),
        (pd.DataFrame(), "there are no columns"),
        (pa.table([[1], [2]], names=["a", "a"]), "'a' occurs more than once"),
        ([1, 2], "is not a panel"),
        (np.ones((2, 2)), "is not a panel"),
    ],
)
def test_tables_refused(given, says):
    with pytest.raises(DataError, match=says):
        open_source(given)


# --- Stata, SAS, Excel -----------------------------------------------------------------------------------------------


def test_stata(tmp_path):
    table = TABLE.assign(size=pd.Categorical(["big", "small", "big"], categories=["small", "big"])).drop(columns="b")
    table.to_stata(tmp_path / "a.dta", write_index=False, convert_dates={"d": "td"})
    source = open_source(tmp_path / "a.dta")
    assert rows(source, "id, n, v, size") == [("007", 1, 1.5, "big"), ("7", 2, None, "small"), ("x", 3, -2.0, "big")]
    assert source.categories == {"size": ("small", "big")} and source.columns["d"].startswith("TIMESTAMP")
    assert "cannot be read" in refused(tmp_path, b"nothing", "b.dta")


def test_stata_labels_on_some_values_only_leave_numbers(tmp_path):
    table = pd.DataFrame({"score": [1, 2, 99]})
    table.to_stata(tmp_path / "a.dta", write_index=False, value_labels={"score": {99: "refused"}})
    source = open_source(tmp_path / "a.dta")
    assert rows(source) == [(1,), (2,), (99,)] and source.categories == {}


def test_sas_transport_is_refused_when_damaged(tmp_path):
    assert "cannot be read" in refused(tmp_path, b"nothing" * 100, "a.xpt")
    assert "cannot be read" in refused(tmp_path, b"nothing" * 100, "a.sas7bdat")


def test_excel(tmp_path):
    path = tmp_path / "a.xlsx"
    table = pd.DataFrame(
        {"id": ["007", "012", None], "x": [1, "NA", 2.5], "text": ["a", "b", "c"], "t": ["1.5", ".", "2"]}
    )
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"other": [1]}).to_excel(book, sheet_name="first", index=False)
        table.to_excel(book, sheet_name="panel", index=False, startrow=2, startcol=1)
    source = open_source(path, sheet="panel")
    assert rows(source) == [("007", 1.0, "a", 1.5), ("012", None, "b", None), (None, 2.5, "c", 2.0)]
    assert rows(open_source(path)) == [(1,)] and rows(open_source(path, sheet=1), "text")[0] == ("a",)
    with pytest.raises(DataError, match="The sheets are first, panel"):
        open_source(path, sheet="Panel")
    assert "cannot be read" in refused(tmp_path, b"nothing", "b.xlsx")


# --- the house -------------------------------------------------------------------------------------------------------


def test_inputs_are_not_modified_and_nothing_is_left_behind(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\nMünchen,1\n".encode("latin-1") * 1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stamp = path.stat().st_mtime_ns
    open_source(path).count()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest and path.stat().st_mtime_ns == stamp
    assert list(work.iterdir()) == [] and sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "work"]


def test_a_connection_can_be_shared(tmp_path):
    first = open_source({"x": [1]})
    second = open_source({"x": [2]}, con=first.con)
    assert second.con is first.con and (rows(first), rows(second)) == ([(1,)], [(2,)])


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_csv_and_parquet_need_no_pandas(tmp_path, name):
    table = pa.table({"x": [1.5], "s": ["u"]})
    if name == "a.csv":
        (tmp_path / name).write_text("x,s\n1.5,u\n")
    else:
        pq.write_table(table, tmp_path / name)
    code = (
        "import sys; from hierreport.source import open_source; open_source(sys.argv[1]).count();"
        "print([m for m in ('pandas', 'pyarrow', 'polars') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", code, tmp_path / name]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_relative_path_says_from_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^data/none.csv: there is no such file. It was looked for from {tmp_path}.$"):
        open_source("data/none.csv")
