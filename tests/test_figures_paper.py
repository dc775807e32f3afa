"""Figures for papers: the same names and numbers as the report's own, the same bytes each time, no global state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report_fixtures import write_artifacts

from hierreport.errors import ConfigError
from hierreport.report import export_figures, render
from hierreport.report.artifacts import load
from hierreport.report.context import Context


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_artifacts(tmp_path_factory.mktemp("paper") / "demo", nasty=True, firms=60, ar1=True)
    render(directory, {"labels": {"emp": "cost in $ or $$"}, "locale": "de"})
    return directory


def test_files_have_the_names_of_the_reports_figures(panel):
    files = export_figures(panel, formats=("pdf", "png"))
    names = {f.stem for f in files}
    assert names <= {f.stem for f in (panel / "figures").glob("*.svg")}
    assert {"variance", "forest", "residual_fitted", "residual_qq"} <= names
    assert any(n.startswith("shrinkage") for n in names) and any(n.startswith("caterpillar") for n in names)
    assert len(files) == 2 * len(names) and all(f.parent == panel / "export" / "figures" for f in files)
    for file in files:
        assert file.read_bytes()[:4] == (b"%PDF" if file.suffix == ".pdf" else b"\x89PNG")


def test_same_artifacts_same_bytes(panel, tmp_path):
    first, second = (export_figures(panel, formats=("pdf",), out=tmp_path / k) for k in "ab")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]
    assert not any(b"CreationDate" in f.read_bytes() for f in first)


def test_forest_draws_the_estimates(panel):
    from hierreport.figures.paper_plots import forest

    context = Context(load(panel), {})
    ((_, figure),) = forest(context)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") or axes.get_title() == "log(wage)"
    points = sorted(float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o")
    stated = []
    for rung in context.shown:
        record = json.loads((panel / "rungs" / f"{rung}.json").read_text())
        stated.append(next(f["estimate"] for f in record["reml"]["fixed"] if f["term"] == "log(wage)"))
    assert points == pytest.approx(sorted(stated), abs=0)


def test_unknown_formats_are_refused(panel):
    with pytest.raises(ConfigError, match="'gif' is not known"):
        export_figures(panel, formats=("gif",))


def test_pyplot_is_not_loaded(panel, tmp_path):
    code = (
        "import sys; from hierreport.report import export_figures; "
        f"export_figures({str(panel)!r}, formats=('png',), out={str(tmp_path)!r}); "
        "print([m for m in ('matplotlib.pyplot', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_panels_without_groups_or_residuals_are_drawn_as_far_as_they_go(tmp_path):
    directory = write_artifacts(tmp_path / "bare", chosen="pooled", optional=False)
    assert {f.stem for f in export_figures(directory, {})} == {"forest", "variance"}


def test_many_groups(tmp_path):
    directory = write_artifacts(tmp_path / "many", firms=1500, sectors=20, years=4)
    assert "caterpillar_1" in {f.stem for f in export_figures(directory, {}, ("png",))}
