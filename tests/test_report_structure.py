"""The page's layout in a real browser, read back from the boxes of its elements: wide, phone, narrowest, print, dark.

Every kind of fault that ``page_structure.js`` knows is planted once, to see that it is found.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_report_browser import browser, open_page, reports  # noqa: F401

pytestmark = pytest.mark.browser

STRUCTURE = (Path(__file__).parent / "page_structure.js").read_text(encoding="utf-8")
OPEN = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("name", ["ar1", "names", "five", "pooled", "many"])
def test_nothing_overlaps_or_is_cut_off(browser, reports, name, width):  # noqa: F811
    page = open_page(browser, reports(name), width, "dark" if width == 390 else "light")
    page.evaluate(OPEN)
    assert page.evaluate(STRUCTURE) == []


@pytest.mark.parametrize("name", ["ar1", "names"])
def test_nor_in_print(browser, reports, name):  # noqa: F811
    page = open_page(browser, reports(name), 680)  # A4 between its margins
    page.emulate_media(media="print")
    page.evaluate(OPEN)
    faults = page.evaluate(STRUCTURE)
    assert [f for f in faults if not f.startswith("too small")] == []
    # and all that is folded on a screen stands on the paper
    hidden = page.evaluate(
        "[...document.querySelectorAll('.help p, .folded table, .checks .fine p')].filter(e => !e.checkVisibility() || "
        "e.getBoundingClientRect().height === 0).length"
    )
    assert hidden == 0


FAULTS = {
    "text over text": "const t = document.querySelectorAll('#fig-forest svg.wide text'); for (const k of ['x', 'y', "
    "'text-anchor']) t[2].setAttribute(k, t[1].getAttribute(k));",
    "cut off": "document.querySelector('#fig-forest svg.wide text').setAttribute('x', '-40')",
    "too small": "document.querySelector('#fig-ladder svg.wide text').style.fontSize = '7px'",
    "0 drawings shown": "document.querySelector('#fig-variance svg.wide').remove()",
    "empty": "document.querySelector('#fig-variance svg.wide').replaceChildren()",
    "block over block": "document.querySelector('#fig-variance').style.marginTop = '-60px'",
    "clipped": "const p = document.querySelector('.finding'); p.style.cssText = 'white-space:nowrap;overflow:hidden'",
    "off the page": "const p = document.querySelector('.lead'); p.style.cssText = 'width:2000px;max-width:none'",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_fault_is_found(browser, reports, fault):  # noqa: F811
    # the page's policy allows no styles but its own: the test's are made by the test
    page = open_page(browser, reports("ar1"), bypass_csp=True)
    page.evaluate(f"() => {{ {FAULTS[fault]} }}")
    found = page.evaluate(STRUCTURE)
    assert found and {f.split(":")[0] for f in found} >= {fault}
