"""The stages of the workflow: each reads files of an analysis' folder and writes others into it.

A stage is a function ``(folder, options)``; ``STAGES`` says which keys of the configuration it reads, so that a change
of the title reruns the report alone. Every stage imports what it needs and nothing else. What a stage writes appears
under its name only when it is complete (a temporary file beside it is renamed).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The options of the configuration that each stage reads.
STAGES: dict[str, tuple[str, ...]] = {
    "ingest": ("panel", "formula", "time", "time_step", "weights", "errors", "variances", "crossed", "partitions"),
    "fit": ("rungs", "df", "errors", "variances", "crossed", "absorb"),
    "infer": ("seed", "bootstrap", "absorb"),
    "verify": ("seed",),
    "sensitivity": ("df",),
    "diagnose": (),
    "changes": (),
    "report": ("title", "description", "units", "labels", "locale", "sign_off"),
}
STAGES["changes"] = tuple(dict.fromkeys(key for stage in STAGES if stage != "report" for key in STAGES[stage]))
STAGES["audit"] = tuple(dict.fromkeys(key for keys in STAGES.values() for key in keys))

Options = dict[str, Any]


def ingest(folder: Path, options: Options) -> None:
    """Read and check the panel and reduce it to moments: panel.parquet, panel.json, moments*.parquet.

    Raises:
        FormulaError: there is no grouping, and so nothing that the report is about.
    """
    from . import ingest as panel
    from . import moments, problem, reduce_lags, variants
    from .formula import parse
    from .partitions import stage
    from .spec import ModelSpec

    formula = parse(options["formula"], f"analyses.{folder.resolve().name}.formula")
    if not formula.random:
        do = "Add one, for example (1 | firm), or fit the regression with hierreport fit."
        raise formula.fault(None, "The formula has no random term, and a report is about groups.", do)
    frame, kept = stage.model_frame(folder, options)
    with _scratch(folder, stale=["moments*.parquet"]) as scratch:
        panel.write_panel(frame, scratch)
        loaded = panel.load_frame(scratch)
        reduced = (stage.continued(loaded, kept) if kept else None) or moments.reduce_all(loaded)
        reduced = reduce_lags.in_time_units(reduced, (options.get("errors") or "auto",), options.get("time_step"))
        reduced = variants.with_variants(loaded, reduced, options.get("variances"), options.get("crossed"))
        moments.write(scratch, reduced)
        aliased = problem.build(reduced.moments, ModelSpec(frame.fixed)).basis.aliased
        if aliased:
            panel.amend_panel(scratch, aliased=[{"term": term, "explained_by": list(by)} for term, by in aliased])


def fit(folder: Path, options: Options) -> None:
    """Fit the rungs and compare them: rungs/<rung>.json, rungs/<rung>.effects.parquet, ladder.json."""
    from . import moments, rungs_io

    _clear(folder, ".rungs.*", ".ladder.json.*")
    panel = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    rungs_io.write(folder, rungs_io.run(moments.read(folder), panel, options))


def infer(folder: Path, options: Options) -> None:
    """Intervals, simulated tests, robust errors, criteria of the chosen rung: inference.json."""
    from . import infer as inference

    _write_json(folder / "inference.json", inference.run(folder, options))


def diagnose(folder: Path, options: Options) -> None:
    """Check the chosen rung's assumptions on the rows: checks.json, residuals.json."""
    from . import diagnostics

    diagnostics.run(folder, options)


def verify(folder: Path, options: Options) -> None:
    """Ask a second engine for every rung's log-likelihood: verify.json."""
    from . import verify as second

    _write_json(folder / "verify.json", second.second_opinion(folder, options))


def sensitivity(folder: Path, options: Options) -> None:
    """See whether the conclusions stand under other models, rows and groups: sensitivity.json."""
    from . import sensitivity as others

    _write_json(folder / "sensitivity.json", others.run(folder, options))


def changes(folder: Path, options: Options) -> None:
    """Compare with the newest kept run that is another: changes.json."""
    from . import history

    _write_json(folder / "changes.json", history.changes(folder, options))


def report(folder: Path, options: Options) -> None:
    """Write what people read: report.html, model_document.html and .md, summary.json, summary.md, figures/, tables/."""
    from .report import render

    render(folder, options)


def index(folder: Path, options: Options) -> None:
    """Write index.html over the analyses of a run; of all results, not of one analysis, and so none of ``STAGES``.

    Args:
        folder: holds one folder per analysis.
        options: ``analyses``, their names in order; all that have a report where not given.
    """
    from .report import render_index

    render_index(folder, options.get("analyses"))


def audit(folder: Path, options: Options) -> None:
    """Say how to do it again elsewhere and where every file came from: replicate/, manifest.json; keep the run."""
    from . import history, provenance, replicate

    _clear(folder, ".replicate.*")
    replicate.write_kit(folder)
    print(f"manifest.json sha256 {provenance.write_manifest(folder, options)}")
    print(f"kept as {history.record(folder, options).name}")


def _write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name and rename it, so that nobody ever reads half of it."""
    from .records import plain

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")
    os.replace(temporary, path)


def _clear(folder: Path, *patterns: str) -> None:
    """Remove what a killed run left half-written under temporary names."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _scratch(folder: Path, stale: list[str]) -> Iterator[Path]:
    """A folder to write into; its files move to ``folder`` when the block ends well, and vanish when it does not.

    Args:
        folder: where the files go.
        stale: patterns of earlier files to remove first, for those that are not always written.
    """
    _clear(folder, ".ingest-*")
    scratch = Path(tempfile.mkdtemp(prefix=".ingest-", dir=folder))
    try:
        yield scratch
        for pattern in stale:
            for old in folder.glob(pattern):
                old.unlink()
        for new in sorted(scratch.iterdir()):
            os.replace(new, folder / new.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
