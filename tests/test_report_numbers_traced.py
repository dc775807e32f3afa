"""No figure without an address: what is left of the page when the ``<data>`` elements are taken away."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

from hierreport import config, config_files, stages

pytestmark = pytest.mark.workflow

# Elements whose digits are no results: pictures (their words stand beside them), code and names, what a person wrote
# (title, description), subscripts of the equations, fixed texts (help, glossary), a check's rule and its literature.
LEFT_OUT = {"svg", "style", "script", "title", "h1", "code", "bdi", "sub", "sup"}
LEFT_OUT_CLASSES = {"description", "help", "glossary", "rule", "cite", "bottom"}
# Constants of the methods, and names that have a digit in them.
CONSTANTS = (
    r"AR\(1\)|ar1|R²|T²|CR[012]|SHA-256|χ²\(1\)|lag-1",  # names
    r"\b(95|5|10) %",  # of intervals, of tests, of the change that effects are read for
    r"\(reference: [01]\b|\(reference: 10 or more|N\(0,|±1\.96 sd|±2\.58 \(1 %\)|close to 1\b",  # what is compared with
    r"\(1( \+ [^|()]+(\([^()]*\))?)* \|\|? [^)]+\)",  # formulas
    r"Driscoll-Kraay \(\d lags\)",  # the estimator's bandwidth, a part of its name
)
VOID = {"meta", "link", "br", "hr", "img", "input", "path", "line", "rect", "circle", "polyline", "image"}


class Remainder(HTMLParser):
    """The page's texts outside of ``<data>`` and of what is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.unaddressed: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        given = dict(attrs)
        classes = set((given.get("class") or "").split())
        self._open.append((tag, tag == "data" or tag in LEFT_OUT or bool(classes & LEFT_OUT_CLASSES)))
        if tag == "data" and not given.get("data-source"):
            self.unaddressed.append(str(given.get("value")))
        if tag in ("p", "li", "td", "th", "dd", "summary", "figcaption"):
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and tag not in VOID and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.texts and not any(hidden for _, hidden in self._open):
            self.texts[-1] += data


def names(folder: Path) -> list[str]:
    """Labels with digits that come from the data: groups, periods, levels of factors; and those of the rungs."""
    panel = json.loads((folder / "panel.json").read_text())
    found = {p.stem for p in (folder / "rungs").glob("*.json")}
    frame = duckdb.read_parquet(str(folder / "panel.parquet"))
    groups = [f'"{g}"' if not g.startswith('"') else g for g in panel["groups"]]
    for depth in range(len(groups)):
        keys = " || '/' || ".join(f"CAST({g} AS VARCHAR)" for g in groups[: depth + 1])
        for key in (keys, f"CAST({groups[depth]} AS VARCHAR)"):
            found |= {str(row[0]) for row in frame.query("frame", f"SELECT DISTINCT {key} FROM frame").fetchall()}
    time = panel["time"]
    for row in frame.query("frame", f"SELECT DISTINCT {time} FROM frame").fetchall():
        found.add(str(row[0]).removesuffix(".0"))
    return sorted(found, key=len, reverse=True)


@pytest.fixture(scope="module", params=["us_states", "uk_firms"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("traced") / "results" / request.param
    for stage, keys in stages.STAGES.items():
        options = config.options(config_files.EXAMPLE.analyses[request.param], keys)
        command = [sys.executable, "-m", "hierreport", "stage", stage, str(folder), "--options", options]
        subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=300)
    return folder


def test_no_figure_stands_outside_of_a_data_element(finished: Path) -> None:
    page = Remainder()
    page.feed((finished / "report.html").read_text(encoding="utf-8"))
    assert page.unaddressed == []
    labels = "|".join(rf"(?<![\w.,−]){re.escape(name)}(?![\w]|\.\d)" for name in names(finished))
    left = []
    for text in page.texts:
        text = " ".join(text.replace("\u202f", " ").split())
        for pattern in (*CONSTANTS, labels):
            text = re.sub(pattern, "", text)
        if re.search(r"\d", text):
            left.append(text)
    assert left == []
    assert len(page.texts) > 500


def test_every_section_with_numbers_lists_its_files(finished: Path) -> None:
    """One control per section, an element that the keyboard reaches and opens by itself."""
    text = (finished / "report.html").read_text(encoding="utf-8")
    sections = re.findall(r'<section id="(\w+)".*?</section>', text, re.DOTALL)
    assert len(sections) > 8
    for section in re.findall(r"<section id=.*?</section>", text, re.DOTALL):
        found = re.findall(r'<details class="sources"><summary>Sources</summary><p>(.*?)</p></details>', section)
        if "data-source" not in section:
            assert found == []
            continue
        (listed,) = found
        files = re.findall(r"<code>(.*?)</code>", listed)
        assert files == sorted(set(files)) and all((finished / name).is_file() for name in files)
        assert set(re.findall(r'data-source="([^"#]+)#', section)) <= set(files)
