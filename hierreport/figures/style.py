"""The one visual language: colours for light and dark, classes of marks, and what a picture is.

Inline pictures take their colours from the page's CSS variables; files get the same rules with the values in place.
The palette keeps at least 4.5:1 against the paper, and its members differ in lightness too, so that it survives
colour blindness and grey printing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..said import Said

if TYPE_CHECKING:
    from .svg import Svg

WIDE, NARROW = 760.0, 350.0  # widths that every picture is drawn for: desktop and print; phone

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b2129",
    "soft": "#4b5563",
    "rule": "#8b94a1",
    "grid": "#e3e7ec",
    "accent": "#0b5fa5",
    "tint": "#c6dcf0",
    "level2": "#a34700",
    "level3": "#5f4299",
    "level4": "#00695a",
    "rest": "#69727e",
    "pale": "#d5dae1",
    "onfill": "#ffffff",
}
DARK = {
    "paper": "#14181d",
    "ink": "#e8ebef",
    "soft": "#b3bbc6",
    "rule": "#7d8794",
    "grid": "#2a313a",
    "accent": "#6cb2f2",
    "tint": "#204566",
    "level2": "#f29a55",
    "level3": "#b9a2f5",
    "level4": "#4fc4ae",
    "rest": "#98a1ad",
    "pale": "#3d4651",
    "onfill": "#0d1116",
}

# class -> declarations; {name} is a colour of the palette
RULES = {
    "t": "fill:{ink};font-size:13px",
    "s": "fill:{soft};font-size:12px",
    "b": "fill:{ink};font-size:13px;font-weight:600",
    "w": "fill:{onfill};font-size:12.5px;font-weight:600",
    "ta": "fill:{accent};font-size:12.5px;font-weight:600",
    "t2": "fill:{level2};font-size:12.5px;font-weight:600",
    "t3": "fill:{level3};font-size:12.5px;font-weight:600",
    "t4": "fill:{level4};font-size:12.5px;font-weight:600",
    "tr": "fill:{rest};font-size:12.5px;font-weight:600",
    "halo": "paint-order:stroke;stroke:{paper};stroke-width:3px;stroke-linejoin:round",
    "ax": "stroke:{rule};stroke-width:1;fill:none",
    "gr": "stroke:{grid};stroke-width:1;fill:none",
    "ref": "stroke:{rule};stroke-width:1.2;fill:none;stroke-dasharray:5 4",
    "fa": "fill:{accent}",
    "f2": "fill:{level2}",
    "f3": "fill:{level3}",
    "f4": "fill:{level4}",
    "fr": "fill:{rest}",
    "fp": "fill:{pale}",
    "ft": "fill:{tint}",
    "fo": "fill:{paper}",
    "la": "stroke:{accent};stroke-width:2;fill:none",
    "l2": "stroke:{level2};stroke-width:2;fill:none",
    "l3": "stroke:{level3};stroke-width:2;fill:none",
    "l4": "stroke:{level4};stroke-width:2;fill:none",
    "lr": "stroke:{rest};stroke-width:2;fill:none",
    "under": "stroke:{paper};stroke-width:5;fill:none;stroke-linejoin:round",
    "th": "stroke-width:1.2",
    "hair": "stroke-width:.8",
    "pa": "stroke:{accent};stroke-linecap:round;fill:none",
    "pr": "stroke:{rest};stroke-linecap:round;fill:none",
    "pp": "stroke:{paper};stroke-linecap:round;fill:none",
    "p2": "stroke:{level2};stroke-linecap:round;fill:none",
    "see": "opacity:.55",
    "dim": "opacity:.3",
    "edge": "stroke:{paper};stroke-width:1",
}
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',sans-serif"


def level_style(index: int) -> tuple[str, str, str]:
    """Classes (fill, line, text) of the level that is ``index`` steps out from the innermost."""
    return (("fa", "la", "ta"), ("f2", "l2", "t2"), ("f3", "l3", "t3"), ("f4", "l4", "t4"))[min(index, 3)]


def page_rules() -> str:
    """The rules for pictures inside the page, colours as CSS variables."""
    variables = {name: f"var(--{name})" for name in LIGHT}
    return "\n".join(f".fig .{name}{{{rule.format(**variables)}}}" for name, rule in RULES.items())


def file_rules(dark: bool = True) -> str:
    """The rules inside a picture's own file, for light screens and, with ``dark``, for dark ones."""
    # engines that print know no paint-order: a halo would cover its text
    kept = {name: rule for name, rule in RULES.items() if dark or name != "halo"}
    light = "".join(f".{name}{{{rule.format(**LIGHT)}}}" for name, rule in kept.items())
    light = f"svg{{font-family:{FONT};background:{LIGHT['paper']}}}{light}"
    if not dark:
        return light
    night = "".join(f".{name}{{{rule.format(**DARK)}}}" for name, rule in RULES.items() if "{" in rule)
    return f"{light}@media(prefers-color-scheme:dark){{svg{{background:{DARK['paper']}}}{night}}}"


def palette_variables(palette: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in palette.items())


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        name: stem of ``figures/<name>.svg`` and of the element's id.
        title: what is drawn.
        alt: what it shows, in sentences written from the data.
        draw: draws it for a width in pixels.
        note: how marks are to be read (the key), shown below the title; may be empty.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[float], Svg]
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("title", "alt", "note"):  # numbers in them stay known
            object.__setattr__(self, name, Said(getattr(self, name)))
