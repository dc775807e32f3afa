"""The figures that papers and slides need, drawn with matplotlib from the data of the report's own pictures.

Only ``hierreport export --figures`` loads this module: the report itself is drawn without matplotlib. No pyplot:
figures are objects, nothing is global, and the same artifacts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from . import paper_plots
from .style import LIGHT

if TYPE_CHECKING:
    from ..report.context import Context

DPI = 300
RULES: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": LIGHT["rule"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.7,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # names of groups may hold dollar signs
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "axes.unicode_minus": True,
}
PLOTS: tuple[Callable[[Context], list[tuple[str, Figure]]], ...] = (
    paper_plots.variance,
    paper_plots.forest,
    paper_plots.shrinkage,
    paper_plots.caterpillars,
    paper_plots.residual_fitted,
    paper_plots.residual_qq,
)


@dataclass(frozen=True)
class Drawn:
    """A figure and the stem of its files, the same as in the report's figures/."""

    name: str
    figure: Figure

    def save(self, folder: Path, formats: tuple[str, ...]) -> list[Path]:
        """Write the figure in each format, without dates."""
        files = []
        for kind in formats:
            path = folder / f"{self.name}.{kind}"
            metadata: dict[str, Any] = {"CreationDate": None} if kind == "pdf" else {"Software": None}
            with mpl.rc_context(RULES):
                self.figure.savefig(path, dpi=DPI, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
            files.append(path)
        return files


def draw(context: Context) -> Iterator[Drawn]:
    """Every figure that the artifacts hold data for, one after the other."""
    for plot in PLOTS:
        with mpl.rc_context(RULES):
            found = plot(context)
        for name, figure in found:
            yield Drawn(name, figure)
