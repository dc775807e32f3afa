"""Writes the kit: what the templates need, and each file in one step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from .frame_csv import STEP, write_frame
from .models import Model, models_of, names_of

HERE = Path(__file__).parent
FRAME = "model_frame.csv"
# More rows make a CSV of several hundred megabytes; the page says how to write it when it is wanted.
MAX_ROWS = 1_000_000
SCRIPTS = ("lme4.R", "nlme.R", "mixed.do", "mixed.sas", "statsmodels_fit.py", "pymc_fit.py", "README.md")


def write(folder: Path, max_rows: int = MAX_ROWS) -> None:
    """See ``replicate.write_kit``."""
    from .. import ingest, moments

    frame = ingest.load_frame(folder)
    lags = moments.read(folder).lags
    names = names_of(frame)
    models, left = models_of(folder, names)
    fresh = folder / f".replicate.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    target = folder / "replicate"
    try:
        if frame.info["n_obs"] <= max_rows:
            write_frame(frame, names, fresh / FRAME, None if lags is None else lags.step)
        context = {
            "analysis": folder.resolve().name,
            "formula": frame.info["formula"],
            "n_obs": frame.info["n_obs"],
            "frame": FRAME,
            "written": frame.info["n_obs"] <= max_rows,
            "names": names,
            "inner": names.levels[frame.levels[-1]] if frame.levels else None,
            "step": STEP,
            "models": models,
            "iid": [m for m in models if m.errors == "iid"],
            "left": left,
        }
        for script in SCRIPTS:
            text = render(script, context)
            (fresh / script).write_text(text, encoding="utf-8", newline="\n")
        target.mkdir(exist_ok=True)
        current = sorted(fresh.iterdir())
        for path in current:
            os.replace(path, target / path.name)
        for path in target.iterdir():
            if path.is_file() and not path.name.startswith(".") and path.name not in {p.name for p in current}:
                path.unlink()
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def render(script: str, context: dict[str, Any]) -> str:
    """One script from its template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "lme4": lme4_formula,
        "python": python_blocks,
        "nlme": nlme_random,
        "stata": stata_command,
        "line": one_line,
    }
    return environment.get_template(f"{script}.j2").render(**context)


def one_line(text: str) -> str:
    """A text that can stand in a comment of any of the languages: no line breaks, nothing that ends a comment."""
    return " ".join(text.split()).replace("*/", "* /").replace("'", "").replace('"', "").replace(";", ",")


def number(value: float | None) -> str:
    """A number with full precision, as all programs read it."""
    return "NA" if value is None else repr(float(value))


def _sum(block: tuple[str, ...]) -> str:
    return " + ".join(block if "1" in block else ("0", *block))


def lme4_formula(model: Model, outcome: str) -> str:
    """``y ~ 1 + x + (1 + x | g)``."""
    terms = ["1" if model.intercept else "0", *model.fixed]
    terms += [f"({_sum(block)} | {part.group})" for part in model.random for block in part.blocks]
    return f"{outcome} ~ {' + '.join(terms)}"


def nlme_random(model: Model) -> str:
    """``list(g = pdSymm(~ 1 + x), …)`` for lme(random = )."""
    levels = []
    for part in model.random:
        blocks = [f"pdSymm(~ {_sum(block)})" for block in part.blocks]
        levels.append(f"{part.group} = " + (blocks[0] if len(blocks) == 1 else f"pdBlocked(list({', '.join(blocks)}))"))
    return f"list({', '.join(levels)})"


def python_blocks(model: Model) -> str:
    """``[("g", ["const", "x"]), …]``: a block of correlated coefficients each."""
    found = [(p.group, ["const" if t == "1" else t for t in block]) for p in model.random for block in p.blocks]
    return repr(found)


def stata_command(model: Model, method: str, outcome: str, inner: str | None, step: str) -> str:
    """``mixed y x || g: x, covariance(unstructured) reml``; serial correlation within the innermost groups.

    Stata has one list of options at the end: those of the last level and those of the whole command.
    """
    parts = [(" ".join(["mixed", outcome, *model.fixed]), [] if model.intercept else ["noconstant"])]
    for part in model.random:
        for block in part.blocks:
            slopes = [t for t in block if t != "1"]
            options = [] if "1" in block else ["noconstant"]
            options += ["covariance(unstructured)"] if len(block) > 1 else []
            parts.append((" ".join([f"{part.group}:", *slopes]), options))
    overall = [method, "iterate(200)"]
    if model.errors != "iid":
        if not model.random or model.random[-1].group != inner:
            parts.append((f"{inner or '_all'}:", ["noconstant"]))
        overall.append(f"residuals({'ar 1' if model.errors == 'ar1' else 'exponential'}, t({step}))")
    parts[-1] = (parts[-1][0], parts[-1][1] + overall)
    return " || ".join(f"{text}, {' '.join(options)}" if options else text for text, options in parts)
