"""``hierreport signoff``: start forms, list what stands in them, confirm it."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError
from . import confirm as confirm_entries
from . import create, entries
from .confirmations import CONFIRMED


def usual(analysis: str) -> Path:
    """Where a form is written when the configuration names none."""
    return Path("config") / "sign_off" / f"{analysis}.yaml"


def init(forms: dict[str, str | None], results: Path) -> int:
    """Write the forms that are missing. Returns the exit code, 0."""
    for analysis, named in forms.items():
        form = Path(named) if named else usual(analysis)
        new = create(form, analysis, results / analysis)
        print(f"wrote {form}" if new else f"{form} is there already; it was left as it is")
        if not named:
            print(f"  name it in the configuration, under analyses.{analysis}:  sign_off: {form.as_posix()}")
    return 0


def confirm(forms: dict[str, str | None], results: Path, keys: list[str] | None, by: str) -> int:
    """Confirm entries for the present results. Returns the exit code, 0."""
    for analysis, named in _named(forms).items():
        done = confirm_entries(named, results / analysis, keys, by)
        print(f"{analysis}: confirmed {', '.join(done)}" if done else f"{analysis}: nothing new to confirm")
    return 0


def show(forms: dict[str, str | None], results: Path) -> int:
    """List every entry and its state. Returns 0 where all are filled in and confirmed, else 1."""
    open_entries = 0
    for analysis, named in forms.items():
        print(f"{analysis}: {named or 'no form is named (sign_off); all places are empty'}")
        for placed in entries(Path(named) if named else None, results / analysis):
            open_entries += placed.state != CONFIRMED
            note = f": {placed.note}" if placed.note else ""
            print(f"  {placed.state:22}  {placed.place.key}{note}")
    return int(open_entries > 0)


def _named(forms: dict[str, str | None]) -> dict[str, Path]:
    for analysis, named in forms.items():
        if not named:
            do = f"Write one, hierreport signoff {analysis} --init, and name it in the configuration."
            raise ConfigError("no sign-off form is named.", f"analyses.{analysis}.sign_off", do)
    return {analysis: Path(named) for analysis, named in forms.items() if named}
