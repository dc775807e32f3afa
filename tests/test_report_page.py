"""The page as a whole: self-contained, safe, traceable, small, and the same every time."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import NASTY, write_artifacts

from hierreport.errors import DataError
from hierreport.report import render

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ar1": {"ar1": True},
    "five_groups": {"firms": 5, "sectors": 2, "nasty": True},
    "nasty_names": {"firms": 40, "nasty": True},
    "nothing_optional": {"optional": False},
    "no_time": {"optional": False, "time": False},
    "pooled": {"chosen": "pooled"},
    "singular": {"chosen": "multilevel", "singular": True},
    "one_sector": {"sectors": 1},
    "inference": {"inference": True},
    "differences": {"ar1": True, "inference": 0.97},
}
OPTIONS = {
    "title": "Wages & <b>work</b>",
    "description": "</script><script>alert(1)</script>",
    "units": {"emp": "jobs"},
}


class Page(HTMLParser):
    """Collects what the tests ask about."""

    VOID = frozenset(("meta", "link", "br", "img", "input", "hr", "path", "image"))

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {"script": [], "style": []}
        self.stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.content:
            self.content[tag].append("")
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.content:
            self.content[self.stack[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", params=list(CASES))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_artifacts(tmp_path_factory.mktemp("report") / request.param, **CASES[request.param])
    render(directory, OPTIONS)
    return directory


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "report.html").read_text(encoding="utf-8"))


def test_elements_are_closed_and_ids_unique(page):
    assert page.stack == []
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.all("a") if (a.get("href") or "").startswith("#")}
    assert targets <= set(ids)
    for _, a in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((a.get(name) or "").split()) <= set(ids)


def test_nothing_comes_from_the_network(page, report):
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("#", "data:")), (tag, value[:80])
    css = page.content["style"][0]
    assert "url(" not in css and "@import" not in css
    for figure in (report / "figures").glob("*.svg"):
        text = figure.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text


def test_policy_allows_exactly_this_style_and_script(page):
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    for kind in ("style", "script"):
        (text,) = page.content[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag  # the policy would not apply it
        assert not [name for name in attributes if name.startswith("on")], tag


def test_names_and_options_are_text(page, report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "<b>work</b>" not in text and "alert(1)</script>" not in text
    assert len(page.all("script")) == 1 and not page.all("img") and not page.all("b")


def test_every_number_leads_to_its_source(page, report):
    """Follow each address, and compare the full value and what is shown of it."""
    documents: dict[str, Any] = {}
    seen = 0
    table = ""
    for tag, attributes in page.elements:
        table = str(attributes["data-file"]) if tag == "table" else table
        if tag != "data":
            continue
        source = attributes["data-source"] or ""
        file, _, pointer = source.partition("#")
        if pointer.startswith("cell="):  # of the file that the table names, counted from 1 with the header
            row, column = map(int, pointer.removeprefix("cell=").split(","))
            cells = list(csv.reader(io.StringIO((report / (file or table)).read_text(encoding="utf-8"))))
            assert cells[row - 1][column - 1] == attributes["value"], source
            continue
        if file not in documents:
            documents[file] = json.loads((report / file).read_text(encoding="utf-8"))
        value = documents[file]
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            value = value[int(step)] if isinstance(value, list) else value[step]
        stated = float(attributes["value"] or "nan")
        if pointer.startswith("/reml/fixed") and "equations" in source:
            continue
        assert abs(stated) == pytest.approx(abs(value), rel=0, abs=0), source
        seen += 1
    assert seen > 60


def test_tables_are_marked_up_and_written(page, report):
    text = (report / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table\b.*?</table>", text, re.S)
    assert len(tables) > 6
    for table in tables:
        head = table.split("</thead>")[0]
        assert head.count('<th scope="col"') >= 2
        for row in re.findall(r"<tr\b.*?</tr>", table.split("</thead>")[1], re.S):
            assert row.count('<th scope="row"') == 1
    for file in (report / "tables").glob("*.csv"):
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
        assert len(rows) > 1 and {len(r) for r in rows} == {len(rows[0])}, file.name


def test_downloads_are_the_tables(page, report):
    links = [a for a in page.all("a") if a.get("download")]
    names = set()
    for link in links:
        name, href = str(link["download"]), str(link["href"])
        content = base64.b64decode(href.partition("base64,")[2])
        content = gzip.decompress(content) if name.endswith(".gz") else content
        names.add(name.removesuffix(".gz"))
        assert content == (report / "tables" / name.removesuffix(".gz")).read_bytes()
    assert names == {f.name for f in (report / "tables").glob("*.csv")}


def test_pictures_have_words_and_files(page, report):
    plain = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    figures = [f for s in plain["sections"].values() for f in s.get("figures", [])]
    assert {f["name"] for f in figures} == {p.stem for p in (report / "figures").glob("*.svg")}
    labels = [a.get("aria-label") or "" for a in page.all("svg")]
    assert len(labels) == 2 * len(figures)  # for wide and for narrow screens
    for figure in figures:
        assert len(figure["alt"]) > 40


def test_summary_holds_every_sentence_of_the_page(report):
    plain = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    text = re.sub(r"<[^>]+>", "", (report / "report.html").read_text(encoding="utf-8"))
    import html

    text = html.unescape(text)
    for sentences in plain["verdict"].values():
        for sentence in sentences:
            assert sentence["text"] in text


def test_the_same_artifacts_give_the_same_bytes(tmp_path):
    first = write_artifacts(tmp_path / "a", ar1=True)
    second = write_artifacts(tmp_path / "b", ar1=True)
    for directory in (first, second):
        render(directory, OPTIONS)
    names = sorted(str(p.relative_to(first)) for p in first.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(second)) for p in second.rglob("*") if p.is_file())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_what_an_earlier_run_left_goes_away(tmp_path):
    directory = write_artifacts(tmp_path / "a")
    render(directory)
    (directory / "figures" / "old.svg").write_text("")
    (directory / "tables" / "old.csv").write_text("")
    render(directory)
    assert not (directory / "figures" / "old.svg").exists() and not (directory / "tables" / "old.csv").exists()
    assert not [p for p in directory.rglob(".*") if p.is_file()]


def test_five_thousand_groups_stay_under_three_megabytes(tmp_path):
    directory = write_artifacts(tmp_path / "big", firms=5000, sectors=40, years=12)
    page = render(directory)
    assert page.stat().st_size < 3_000_000
    assert len((directory / "tables" / "groups.csv").read_text().splitlines()) == 5001
    for figure in (directory / "figures").glob("*.svg"):
        assert figure.stat().st_size < 250_000, figure.name


def test_names_of_any_script_are_shown(tmp_path):
    directory = write_artifacts(tmp_path / "names", firms=40, nasty=True)
    render(directory)
    import html

    text = html.unescape((directory / "report.html").read_text(encoding="utf-8"))
    for name in (n for n in NASTY if n and "\u0000" not in n and "\n" not in n):
        assert name in text


def test_missing_artifacts_are_refused_in_words(tmp_path):
    directory = write_artifacts(tmp_path / "a")
    (directory / "ladder.json").unlink()
    with pytest.raises(DataError, match="artifact is missing"):
        render(directory)
    assert not (directory / "report.html").exists()


def test_reading_and_writing_needs_neither_pandas_nor_matplotlib(tmp_path):
    directory = write_artifacts(tmp_path / "a")
    code = (
        "import sys, resource; from hierreport.report import render; render(sys.argv[1]); heavy = "
        "{'pandas', 'matplotlib', 'statsmodels', 'scipy'} & set(sys.modules); assert not heavy, heavy; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3  # seconds of CPU, imports included (0.7 where this was measured)
