"""The report's other shapes: Markdown summary, index page, tables in Markdown, LaTeX and Excel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from report_fixtures import write_artifacts

from hierreport.errors import ConfigError
from hierreport.report import export_tables, render, render_index
from hierreport.report.export import escape_latex, latex, markdown
from hierreport.report.numbers import Num
from hierreport.report.parts import Column, Table
from hierreport.report.workbook import number_format


@pytest.fixture
def table() -> Table:
    columns = [Column("group", "Group", "name"), Column("x", "Estimate", "pair"), Column("n", "Rows")]
    rows = [["a|b_c", (Num(-0.12345, "−0.12"), Num(0.034, "0.03")), Num(7, "7")], ["=1+1", None, Num(None, "–")]]
    return Table("demo", "50 % of _all_ groups", columns, rows)


def test_markdown_table(table):
    lines = markdown(table).splitlines()
    assert lines[0] == r"**50 % of \_all\_ groups**"
    assert lines[2:] == [
        "| Group | Estimate | Rows |",
        "| --- | ---: | ---: |",
        r"| a\|b\_c | −0.12 (0.03) | 7 |",
        "| =1+1 |  | – |",
    ]


def test_latex_table(table):
    text = latex(table)
    assert r"\begin{tabular}{lrr}" in text
    assert r"a|b\_c & $-$0.12 (0.03) & 7 \\" in text
    assert r"\caption{50 \% of \_all\_ groups}" in text
    assert escape_latex("\\input{x}") == r"\textbackslash{}input\{x\}"


def test_csv_of_pairs_is_tidy(table):
    assert table.csv().splitlines() == ["group,x,x_se,n", "a|b_c,-0.12345,0.034,7", "=1+1,,,"]


def test_exports_hold_the_full_values(tmp_path):
    import openpyxl

    directory = write_artifacts(tmp_path / "a", nasty=True, firms=40)
    files = {f.name for f in export_tables(directory, formats=("md", "tex", "xlsx"))}
    assert {"ladder.md", "ladder.tex", "effects.md", "tables.xlsx"} <= files
    book = openpyxl.load_workbook(directory / "export" / "tables" / "tables.xlsx")
    rung = json.loads((directory / "rungs" / "random_slope.json").read_text())
    sheet = book["effects"]
    head = [c.value for c in sheet[1]]
    assert sheet.cell(3, head.index("estimate") + 1).value == rung["reml"]["fixed"][1]["estimate"]
    assert sheet.max_row == len(rung["reml"]["fixed"]) + 1
    shown = (directory / "export" / "tables" / "effects.md").read_text(encoding="utf-8").splitlines()[5]
    decimals = len(shown.split("|")[2].strip().partition(".")[2])
    assert sheet.cell(3, head.index("estimate") + 1).number_format == "0." + "0" * decimals != "0."
    assert sheet.auto_filter.ref and sheet.freeze_panes == "B2"
    assert book.sheetnames[0] == "contents" and len(book.sheetnames) == book["contents"].max_row
    assert all(c.data_type != "f" for row in book["groups"].iter_rows() for c in row)
    shown = [str(c.value) for sheet in book for row in sheet.iter_rows() for c in row]
    shown += [f.read_text() for f in (directory / "export" / "tables").glob("*.[mt]*")]
    assert not [text for text in shown if re.search("[\ue0f0-\ue0f2]", text)]  # marks of numbers in sentences
    with pytest.raises(ConfigError, match="'docx' is not known"):
        export_tables(directory, formats=("docx",))


@pytest.mark.parametrize(
    ("value", "text", "decimal", "expected"),
    [
        (-0.4220308, "−0.422", ".", "0.000"),
        (0.9252, "92.5 %", ".", "0.0%"),
        (0.0045, "0.45\u202f%", ".", "0.00%"),
        (4.5, "4.5 %", ".", "0.0"),
        (1688.61, "1.688,6", ",", "#,##0.0"),
        (1031, "1,031", ".", "#,##0"),
        (2e-13, "2 × 10⁻¹³", ".", "0.0E+00"),
        (None, "–", ".", "General"),
    ],
)
def test_excel_shows_the_decimals_of_the_page(value, text, decimal, expected):
    assert number_format(Num(value, text), decimal) == expected


def test_markdown_summary_says_what_the_page_says(tmp_path):
    directory = write_artifacts(tmp_path / "a")
    render(directory, {"title": "Wages *and* work"})
    text = (directory / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("# Wages \\*and\\* work\n")
    plain = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    unescaped = re.sub(r"\\(.)", r"\1", text)
    for sentences in plain["verdict"].values():
        for sentence in sentences:
            assert sentence["text"] in unescaped


def test_index_leads_to_the_model_document(tmp_path: Path):
    directory = write_artifacts(tmp_path / "a b")
    render(directory, {})
    page = render_index(tmp_path).read_text()
    link = re.search('href="([^"]*model_document.html)"', page)
    assert link and link[1] == "a%20b/model_document.html" and (directory / "model_document.html").exists()


def test_index_lists_every_analysis(tmp_path: Path):
    for name, chosen in (("first", "random_slope"), ("se cond", "pooled")):
        render(write_artifacts(tmp_path / name, chosen=chosen), {"title": f"The <{name}>"})
    page = render_index(tmp_path, ["first", "se cond", "failed"]).read_text(encoding="utf-8")
    assert 'href="se%20cond/report.html">The &lt;se cond&gt;</a>' in page
    assert page.index("first") < page.index("se cond") < page.index("failed")
    assert "has not finished" in page and "random_slope" in page
    assert page.count("<article") == 3
    assert render_index(tmp_path).read_text(encoding="utf-8").count("<article") == 2
