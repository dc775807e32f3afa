"""The report as a PDF, by each engine that this machine has; captions for Snakemake's report."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest
from report_fixtures import write_artifacts

from hierreport.errors import HierreportError
from hierreport.report import captions, export_pdf, render
from hierreport.report import pdf as engine


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_artifacts(tmp_path_factory.mktemp("pdf") / "demo", nasty=True, ar1=True, inference=0.97)
    render(directory, {"title": "Wages & work"})
    return directory


def objects(data: bytes) -> bytes:
    """The file with its compressed streams opened, where they are text."""
    text = [data]
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", data, re.S):
        try:
            text.append(zlib.decompressobj().decompress(found[1]))
        except zlib.error:
            continue
    return b"\n".join(text)


@pytest.mark.parametrize("name", ["weasyprint", "chromium"])
def test_pdf_has_pages_and_bookmarks(panel, tmp_path, name):
    if name not in engine.engines():
        pytest.skip(f"{name} is not installed on this machine")
    path = engine.write_pdf(panel, None, tmp_path, name)
    data = path.read_bytes()
    assert path.name == "report.pdf" and data.startswith(b"%PDF-")
    content = objects(data)
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", content))
    assert pages > 5
    assert b"/Outlines" in content
    titles = content.count(b"/Title")
    assert titles > 10  # a bookmark per section


def test_no_figure_is_cut_and_every_page_has_its_number(panel):
    weasyprint = pytest.importorskip("weasyprint", reason="WeasyPrint is not installed (pip install 'hierreport[pdf]')")
    context, summary = engine.content(panel, None)
    document = weasyprint.HTML(string=engine.build_page(context, summary, paper=True)).render()
    places: dict[str, list[int]] = {}
    for number, page in enumerate(document.pages, start=1):
        boxes = list(page._page_box.descendants())
        for figure in {id(b.element): b.element for b in boxes if b.element_tag == "figure"}.values():
            places.setdefault(figure.get("id"), []).append(number)
        assert f"{number} / {len(document.pages)}" in {getattr(b, "text", "").strip() for b in boxes}
    figures = [f["name"] for s in summary.plain["sections"].values() for f in s.get("figures", [])]
    assert {f"fig-{name}" for name in figures} == set(places)
    assert all(len(where) == 1 for where in places.values())


def test_without_an_engine_the_message_says_what_to_install(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "engines", dict)
    with pytest.raises(HierreportError, match="needs WeasyPrint or Chromium"):
        export_pdf(panel, out=tmp_path)


def test_captions_are_the_figures_words_and_the_threshold(panel):
    plain = json.loads((panel / "summary.json").read_text(encoding="utf-8"))
    ladder = next(f for f in plain["sections"]["ladder"]["figures"] if f["name"] == "ladder")
    title, text = captions.figure(panel / "summary.json", "ladder")
    assert title == ladder["title"]
    unescaped = re.sub(r"\\(.)", r"\1", text)
    assert " ".join(ladder["alt"].split()) in unescaped
    assert unescaped.endswith(f"had a p-value below {plain['threshold']}.") and plain["threshold"] == 0.05
    verdict = re.sub(r"\\(.)", r"\1", captions.verdict(panel / "summary.json"))
    assert verdict.endswith(unescaped[-60:]) and plain["verdict"]["choice"][0]["text"][:80] in verdict


def test_captions_of_hostile_names_are_plain_text(panel):
    docutils = pytest.importorskip("docutils.core", reason="docutils, which Snakemake brings, is not installed")
    names = [f.stem for f in (panel / "figures").glob("*.svg")]
    texts = [captions.figure(panel / "summary.json", n)[1] for n in names]
    for text in [*texts, captions.rst("*a* `b` |c| _d_ x_ <e>")]:
        settings = {"report_level": 1, "halt_level": 1, "file_insertion_enabled": False, "raw_enabled": False}
        html = docutils.publish_parts(text, writer_name="html", settings_overrides=settings)["body"]
        assert "<script" not in html and "<em>" not in html and "problematic" not in html
    assert captions.figure(panel / "nothing.json", "x") == ("x", "")
