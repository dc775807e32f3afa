"""The page in a real browser: accessibility, no requests, sorting, filtering, downloads, phone, print, no script.

Needs Chromium and the playwright package; skipped with the reason where either is missing.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import write_artifacts

from hierreport.report import render

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (set CHROMIUM to its path)")
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


CASES: dict[str, dict[str, Any]] = {
    "ar1": {"firms": 140, "sectors": 9, "ar1": True, "inference": 0.97},
    "names": {"firms": 40, "nasty": True},
    "five": {"firms": 5, "sectors": 2, "nasty": True},
    "pooled": {"chosen": "pooled", "optional": False},
    "many": {"firms": 2000, "sectors": 30, "years": 6, "chosen": "multilevel"},
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``reports("ar1")`` is the page of one of ``CASES``, written once."""
    folder = tmp_path_factory.mktemp("browser")

    @cache
    def one(name: str) -> Path:
        directory = write_artifacts(folder / name, **CASES[name])
        return render(directory, {"title": "Wages & work", "labels": {"emp": "employment"}})

    return one


@pytest.fixture(scope="module")
def report(reports: Callable[[str], Path]) -> Path:
    return reports("ar1")


def open_page(browser: Any, report: Path, width: int = 1280, scheme: str = "light", **options: Any) -> Any:
    """A page that fails the test on a console message, an error or a request of its own."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True, **options
    )
    page = context.new_page()
    page.trouble = []
    page.on("console", lambda message: page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((report.as_uri(), "data:")) else page.trouble.append(r.url))
    page.goto(report.as_uri())
    return page


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        ("ar1", "light", 1280),
        ("ar1", "dark", 390),
        ("names", "dark", 1280),
        ("five", "light", 390),
        ("pooled", "light", 1280),
    ],
)
def test_axe_finds_nothing(browser, reports, name, scheme, width):
    page = open_page(
        browser, reports(name), width, scheme, bypass_csp=True
    )  # the policy forbids the test's own script too
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    if page.locator(".finder input").count():
        page.locator(".finder input").fill("s")
        page.locator(".finder tbody tr").first.wait_for()
    page.add_script_tag(path=str(AXE))
    found = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}}).then(r => [r.passes.length, "
        "r.violations.map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])])",
        TAGS,
    )
    assert found[0] > 25 and found[1] == []
    assert page.trouble == []


def test_index_is_accessible_too(browser, reports):
    from hierreport.report import render_index

    index = render_index(reports("ar1").parent.parent)
    page = open_page(browser, index, 320, bypass_csp=True)
    page.add_script_tag(path=str(AXE))
    assert page.evaluate("axe.run(document).then(r => r.violations.map(v => v.id))") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320 and page.trouble == []


def test_model_document_is_accessible_too(browser, reports):
    document = reports("names").with_name("model_document.html")
    for width, scheme in ((320, "light"), (1280, "dark")):
        page = open_page(browser, document, width, scheme, bypass_csp=True)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.add_script_tag(path=str(AXE))
        assert page.evaluate("axe.run(document).then(r => r.violations.map(v => v.id))") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width and page.trouble == []


def test_nothing_is_requested_and_nothing_complains(browser, report):
    page = open_page(browser, report)
    page.mouse.wheel(0, 20000)
    page.wait_for_timeout(100)
    assert page.trouble == []


@pytest.mark.parametrize(
    ("name", "width"),
    [("ar1", 320), ("ar1", 768), ("ar1", 1920), ("names", 320), ("names", 1280), ("five", 390), ("pooled", 320)],
)
def test_no_sideways_scrolling(browser, reports, name, width):
    page = open_page(browser, reports(name), width)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # nothing but the scrolling boxes of tables and equations is wider than the page
    wide = page.evaluate(
        "w => [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .equations, svg') && "
        "e.getBoundingClientRect().right > w + 1).map(e => e.outerHTML.slice(0, 120))",
        width,
    )
    assert wide == []


def test_each_width_has_its_own_drawing(browser, report):
    for width, shown in ((1280, "wide"), (390, "narrow")):
        page = open_page(browser, report, width)
        visible = page.evaluate(
            "[...document.querySelectorAll('.fig svg')].filter(s => s.getBoundingClientRect().width > 0).map(s => "
            "s.classList[0])"
        )
        assert visible and set(visible) == {shown}


@pytest.mark.parametrize(("name", "width"), [("ar1", 1280), ("ar1", 390), ("names", 390), ("five", 1280)])
def test_text_of_pictures_is_legible_and_inside(browser, reports, name, width):
    page = open_page(browser, reports(name), width)
    found = page.evaluate(
        """() => [...document.querySelectorAll('.fig svg')].filter(s => s.clientWidth > 0).flatMap(s => {
          const box = s.getBoundingClientRect();
          return [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()])
            .filter(([, b]) => b.left < box.left - 26 || b.right > box.right + 26 || b.height < 9)
            .map(([text, b]) => [text, Math.round(b.left - box.left), Math.round(b.right - box.right), b.height]);
        })"""
    )
    assert found == []


def test_sorting(browser, report):
    page = open_page(browser, report)
    header = page.locator("table[data-name=effects] thead th").nth(1)
    cells = "table[data-name=effects] tbody td:nth-child(2) data"
    values = f"[...document.querySelectorAll('{cells}')].map(d => Number(d.value))"
    before = page.evaluate(values)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert page.evaluate(values) == sorted(before)
    header.locator("button").press("Enter")  # by keyboard, the other way round
    assert header.get_attribute("aria-sort") == "descending"
    assert page.evaluate(values) == sorted(before, reverse=True)


def test_filter(browser, report):
    page = open_page(browser, report)
    page.get_by_label("Filter").first.fill("F0007")
    rows = page.locator("table[data-name=groups] tbody tr:visible")
    assert rows.count() == 1 and "F0007" in rows.first.inner_text()
    assert "1 of 140" in page.locator("#table-groups .filter [role=status]").inner_text()


@pytest.mark.parametrize(("name", "firm"), [("ar1", "F0007"), ("many", "F1234"), ("names", "株式会社")])
def test_a_group_is_found_and_marked_in_the_pictures(browser, reports, name, firm):
    """The files inside the page are searched, compressed ones too, so that groups without a row are found."""
    page = open_page(browser, reports(name))
    page.locator(".finder input").fill(firm)
    page.locator(".finder tbody tr").first.wait_for()
    assert page.locator(".finder tbody tr").count() == 1 and firm in page.locator(".finder tbody th").inner_text()
    table = list(csv.reader((reports(name).parent / "tables" / "groups.csv").open(encoding="utf-8", newline="")))
    row = next(r for r in table[1:] if firm in r[0])
    cells = page.locator(".finder tbody td").all_inner_texts()
    assert cells[0] == row[1] and cells[1] == row[2]
    assert len(cells) == 7
    shown = float(cells[3].replace("−", "-"))
    assert shown == pytest.approx(float(row[table[0].index("(Intercept)_effect")]), rel=6e-3)
    if name != "names":  # forty groups have their names beside them
        place = page.evaluate(
            "() => { const svg = document.querySelector('#fig-caterpillar_1 svg.wide'), dot = "
            "svg.querySelector('.found circle'); return [dot.cx.baseVal.value, dot.cy.baseVal.value, "
            "JSON.parse(svg.dataset.marks)]; }"
        )
        values = sorted(float(r[table[0].index("(Intercept)_effect")]) for r in table[1:])
        value = float(row[table[0].index("(Intercept)_effect")])
        (_, _, start, unit), (_, _, zero, slope) = place[2][1:]
        assert place[0] == pytest.approx(start + unit * values.index(value), abs=0.2)
        assert place[1] == pytest.approx(zero + slope * value, abs=0.2)
        assert page.locator("#fig-arrows .found text:visible").text_content().endswith(firm)
    page.locator(".finder input").fill("nothing of the kind")
    page.wait_for_function("document.querySelectorAll('.finder tr, .found').length === 0")
    assert "0 found" in page.locator(".finder [role=status]").inner_text()
    assert page.trouble == []


def test_full_value_and_address_on_demand(browser, report):
    page = open_page(browser, report)
    number = page.locator("table[data-name=ladder] data").first
    number.hover()
    title = number.get_attribute("title")
    assert title.split("\n")[0] == number.get_attribute("value")
    assert title.split("\n")[1].startswith("rungs/pooled.json#/")


def test_full_values_of_a_table_by_keyboard(browser, report):
    page = open_page(browser, report)
    button, first = page.locator("#table-effects .under button"), page.locator("#table-effects tbody data").first
    rounded = first.inner_text()
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "true" and first.inner_text() == first.get_attribute("value")
    button.press("Space")
    assert button.get_attribute("aria-pressed") == "false" and first.inner_text() == rounded != ""


def test_downloads_work_without_a_script(browser, report, tmp_path):
    page = open_page(browser, report, java_script_enabled=False)
    with page.expect_download() as waiting:
        page.locator("#table-ladder a[download]").click()
    waiting.value.save_as(tmp_path / "ladder.csv")
    assert waiting.value.suggested_filename == "ladder.csv"
    rows = list(csv.reader((tmp_path / "ladder.csv").open(encoding="utf-8")))
    assert rows[0][0] == "rung" and rows[1][0] == "pooled"


def test_everything_can_be_read_without_a_script(browser, report):
    plain, scripted = open_page(browser, report, java_script_enabled=False), open_page(browser, report)
    for page in (plain, scripted):
        assert page.locator("#verdict .lead").is_visible()
    count = "main h2, main figure, main table, main p"
    assert plain.locator(count).count() == scripted.locator(count).count()
    summary = plain.locator("details.help summary").first
    summary.click()
    assert plain.locator("details.help div").first.is_visible()


def test_keyboard_reaches_the_verdict_first(browser, report):
    page = open_page(browser, report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    assert page.locator(".skip").bounding_box()["x"] >= 0


def test_print_shows_wide_pictures_and_folded_text(browser, report):
    page = open_page(browser, report)
    page.emulate_media(media="print")
    assert page.locator(".toc").is_hidden()
    visible = page.evaluate(
        "[...document.querySelectorAll('.fig svg')].filter(s => s.getBoundingClientRect().width > 0).map(s => "
        "s.classList[0])"
    )
    assert set(visible) == {"wide"}
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000


def test_heads_are_text_on_paper_and_sort_again_after(browser, report):
    page = open_page(browser, report)
    heads = "[...document.querySelectorAll('thead')].map(h => h.textContent)"
    before = page.evaluate(heads)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("thead button").count() == 0 and page.evaluate(heads) == before
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(heads) == before
    page.locator("table[data-name=effects] thead button").nth(1).click()
    assert page.locator("table[data-name=effects] th[aria-sort]").count() == 1


def test_sections_do_not_overlap(browser, report):
    page = open_page(browser, report)
    boxes = page.evaluate(
        "[...document.querySelectorAll('main > section, main figure, main .table')].map(e => [e.tagName, "
        "e.getBoundingClientRect().top + scrollY, e.getBoundingClientRect().bottom + scrollY])"
    )
    for kind in ("SECTION", "FIGURE", "DIV"):
        own = [(top, bottom) for tag, top, bottom in boxes if tag == kind]
        assert all(bottom <= top + 1 for (_, bottom), (top, _) in pairwise(own))
        assert all(bottom - top > 20 for top, bottom in own)
