"""Every figure of the registry, over every kind of panel: well-formed, finite, described, the same every time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from report_fixtures import write_artifacts

from hierreport.figures import FIGURES, pictures
from hierreport.figures.axes import Scale, nice_ticks, padded, spread
from hierreport.figures.qq import line_and_envelope
from hierreport.figures.style import DARK, LIGHT, NARROW, RULES, WIDE
from hierreport.figures.svg import png_mask, shorten, width_of
from hierreport.report.artifacts import load
from hierreport.report.context import Context

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ar1": {"ar1": True},
    "five": {"firms": 5, "sectors": 2, "nasty": True},
    "many": {"firms": 2000, "sectors": 30, "years": 6},
    "nothing_optional": {"optional": False, "time": False},
    "pooled": {"chosen": "pooled"},
    "singular": {"chosen": "multilevel", "singular": True},
}


@pytest.fixture(scope="module", params=list(CASES))
def context(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Context:
    directory = write_artifacts(tmp_path_factory.mktemp("figures") / request.param, **CASES[request.param])
    return Context(load(directory), {"units": {"emp": "thousand"}, "labels": {"emp": "employment"}})


@pytest.mark.parametrize("name", FIGURES)
def test_contract(context: Context, name: str) -> None:
    for picture in pictures(name, context):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", picture.name)
        assert picture.title and len(picture.alt) > 40 and picture.alt.endswith(".")
        assert not re.search(r"\b(nan|inf|None)\b", picture.alt), picture.alt
        for width in (WIDE, NARROW):
            svg = picture.draw(width)
            text = svg.file(picture.title, picture.alt)
            root = ElementTree.fromstring(text)
            assert root.attrib["viewBox"].startswith("0 0 ")
            body = "\n".join(svg.parts)
            assert not re.search(r' (d|x|y|cx|cy|r|width|height)="[^"]*(nan|inf)', body)
            assert text == picture.draw(width).file(picture.title, picture.alt)
            for rect in root.iter("{http://www.w3.org/2000/svg}text"):
                assert -30 <= float(rect.attrib["x"]) <= svg.width + 30, rect.text
                assert 0 <= float(rect.attrib["y"]) <= svg.height + 2, rect.text
            for kind in re.findall(r'class="([^"]+)"', body):
                assert set(kind.split()) <= {*RULES, "px"}, kind


def test_every_figure_is_drawn_by_some_panel(tmp_path: Path) -> None:
    context = Context(load(write_artifacts(tmp_path / "a")), {})
    assert [name for name in FIGURES if not pictures(name, context)] == []


def test_unknown_figures_are_refused() -> None:
    with pytest.raises(KeyError):
        pictures("os", None)  # type: ignore[arg-type]


def test_points_of_a_forest_stand_where_the_estimates_are(tmp_path: Path) -> None:
    """Read positions back from the drawing: differences of estimates are proportional to differences of pixels."""
    context = Context(load(write_artifacts(tmp_path / "a")), {})
    svg = pictures("forest", context)[0].draw(WIDE)
    text = "".join(svg.parts)
    circles = [float(x) for x in re.findall(r'<circle class="[^"]*" cx="([\d.]+)"', text)]
    rungs = context.shown
    values = [context.fixed(r)["log(wage)"]["estimate"] for r in rungs]
    assert len(circles) == 2 * len(rungs)  # two numeric terms
    assert np.ptp(np.array(circles[: len(rungs)])) == pytest.approx(0, abs=0.2) == np.ptp(values)


def test_caterpillar_names_the_groups_that_stick_out(tmp_path: Path) -> None:
    context = Context(load(write_artifacts(tmp_path / "a")), {})
    effects = context.data.effects("random_slope")["sector/firm"]
    k = int(np.argmax(effects.estimate[0]))
    assert effects.own[k] in pictures("caterpillar", context)[0].alt


def contrast(first: str, second: str) -> float:
    """WCAG 2.2 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_contrast(palette: dict[str, str]) -> None:
    for name in ("ink", "soft", "accent", "level2", "level3", "level4", "rest"):
        assert contrast(palette[name], palette["paper"]) >= 4.5, name
    for name in ("accent", "level2", "level3", "level4", "rest"):
        assert contrast(palette["onfill"], palette[name]) >= 4.5, name
    assert contrast(palette["rule"], palette["paper"]) >= 3


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0.1, 1.04, 5) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(-3.2, 3.1, 4) == [-2.0, 0.0, 2.0]
    assert nice_ticks(5, 5, 4) == [5]
    scale = Scale(0, 10, 100, 200)
    assert scale(5) == 150 and scale.pixels([0, 10]) == [100, 200]
    assert padded([1.0, 1.0]) == (0.9, 1.1) and padded([np.nan]) == (-1, 1)


def test_labels_keep_their_distance_and_order() -> None:
    placed = spread([10, 11, 50, 12], 15, 0, 60)
    assert sorted(placed) == [placed[i] for i in (0, 1, 3, 2)]
    assert min(np.diff(sorted(placed))) >= 15 - 1e-9 and max(placed) <= 60


def test_shortening_keeps_whole_characters() -> None:
    assert shorten("short", 200) == "short"
    cut = shorten("e\u0301" * 40, 60)
    assert cut.endswith(("\u0301…", "e…"))
    assert width_of(shorten("株式会社東京証券取引所", 70), 13) <= 70


def test_envelope_covers_normal_samples() -> None:
    """About 95 % of the middle points of normal samples lie within the pointwise envelope."""
    from statistics import NormalDist

    n = 200
    z = np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(200):
        sample = np.sort(rng.normal(3, 2, n))
        middle, slope, half = line_and_envelope(z, sample, n)
        inside.append(np.abs(sample - middle - slope * z)[n // 4 : -n // 4] <= half[n // 4 : -n // 4])
    assert 0.93 < np.mean(inside) <= 1  # the line is fitted to the same points, so that more lie inside


def test_png_is_what_the_standard_says() -> None:
    import struct
    import zlib

    data = png_mask(np.array([[0.0, 1.0, 0.5]]), "#102030")
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (3, 1)
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    assert zlib.decompress(data[at + 4 : at + 4 + length]) == bytes([0, 0, 255, 128])
