"""``hierreport verify``: is everything still what the manifest says, and does it follow from what it was made from?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..history.checking import check_previous
from .flow import CRATE, DIGEST, MANIFEST, SIGNATURE, artifacts
from .hashing import sha256
from .registered import check_register

ENTRY = "entry.json"  # of a run in the history

# Largest relative difference of a recomputed log-likelihood or sum; another BLAS may round its last digits otherwise.
TOLERANCE = 1e-9


@dataclass
class Outcome:
    """What was compared, what failed (by the file's name) and what is only worth knowing."""

    checked: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def text(self) -> str:
        """The findings, a line each; the verdict last."""
        lines = [f"ok      {what}" for what in self.checked]
        lines += [f"note    {what}" for what in self.notes]
        lines += [f"FAILED  {name}: {what}" for name, what in self.failures]
        count = len(self.failures)
        verdict = "all as recorded" if self.ok else f"{count} failure{'s' if count > 1 else ''}"
        return "\n".join([*lines, verdict])


def verify_folder(folder: Path, *, recompute: bool = True, signers: Path | None = None) -> Outcome:
    """Compare an analysis' folder with its manifest.

    Args:
        folder: ``results/<analysis>``.
        recompute: also compute the moments and the log-likelihoods again, and follow the report's addresses; else
            digests alone are compared.
        signers: who may sign it (OpenSSH's allowed_signers); a signature must be there then.

    Returns:
        what was checked and what failed, by name.

    Raises:
        DataError: there is no readable manifest to compare with.
    """
    outcome = Outcome()
    manifest = read_manifest(folder, outcome)
    check_signature(folder, signers, outcome)
    if manifest is None:
        return outcome
    check_artifacts(folder, manifest, outcome)
    check_data(folder, manifest, outcome)
    if recompute:
        for name, check in CHECKS:
            try:
                found = list(check(folder, outcome))
            except Exception as error:  # a damaged file may break anything that reads it; it is named either way
                found = [(name, f"cannot be checked ({type(error).__name__}: {' '.join(str(error).split())[:200]})")]
            outcome.failures += found
    return outcome


def read_manifest(folder: Path, outcome: Outcome) -> dict[str, Any] | None:
    """The manifest, compared with its digest (beside it, or in a kept run's entry.json); None where it is unusable."""
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError("there is no manifest.json.", str(folder), "Run the workflow to its end, or its stage audit.")
    if (folder / ENTRY).is_file():
        kept = json.loads((folder / ENTRY).read_text(encoding="utf-8")).get("manifest_sha256")
        _compare(MANIFEST, path, str(kept), outcome)
    else:
        _compare_digests(folder, outcome)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for entry in [*manifest["artifacts"], *manifest["data"]]:
            entry["path"], entry["sha256"]
    except (ValueError, LookupError, TypeError) as error:
        outcome.failures.append((MANIFEST, f"cannot be read ({error})"))
        return None
    return manifest


def _compare_digests(folder: Path, outcome: Outcome) -> None:
    """The manifest and the crate against the digests beside them."""
    try:
        recorded = (folder / DIGEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        recorded = ""
    pairs = [line.partition("  ") for line in recorded.splitlines()]
    known = {name: digest for digest, _, name in pairs}
    for name in (MANIFEST, CRATE):
        path = folder / name
        digest = sha256(path) if path.is_file() else "missing"
        if known.get(name) == digest:
            outcome.checked.append(f"{name} sha256 {digest}")
        else:
            there = known.get(name, "none")
            outcome.failures.append((name, f"its sha256 is {digest}, {DIGEST} has {there}: one of them changed"))
            outcome.failures.append((DIGEST, f"is not the digest of {name}"))
    if recorded != "".join(f"{known.get(name)}  {name}\n" for name in (MANIFEST, CRATE)):
        outcome.failures.append((DIGEST, "is not as the audit writes it"))


def check_signature(folder: Path, signers: Path | None, outcome: Outcome) -> None:
    """The signature, where there is one or one must be."""
    from .signing import check

    if (folder / SIGNATURE).is_file():
        found, wrong = check(folder, signers)
        if wrong:
            outcome.failures.append((SIGNATURE, wrong))
        else:
            outcome.checked.append(found)
    elif signers is not None:
        outcome.failures.append((SIGNATURE, "is missing: the run is not signed"))


def check_artifacts(folder: Path, manifest: dict[str, Any], outcome: Outcome) -> None:
    """Every artifact is there with its digest; a file that the manifest does not know is noted."""
    listed = {a["path"]: a["sha256"] for a in manifest["artifacts"]}
    good = 0
    for name, digest in listed.items():
        good += _compare(name, folder / name, digest, outcome)
    outcome.checked.append(f"{good} of {len(listed)} artifacts have their bytes")
    outcome.notes += [f"{name} is not in the manifest" for name in artifacts(folder) if name not in listed]


def check_data(folder: Path, manifest: dict[str, Any], outcome: Outcome) -> None:
    """Every data file, and every file that people wrote for sign-off, is where it was, with its digest."""
    for what, sources in (("data", manifest["data"]), ("sign-off", manifest.get("sign_off") or [])):
        good = 0
        for source in sources:
            if source["sha256"] is None:
                outcome.notes.append(f"{source['path']} was no file that could be hashed")
                continue
            path = folder / source.get("from_folder", source["path"])
            good += _compare(source["path"], path, source["sha256"], outcome)
        if sources or what == "data":
            outcome.checked.append(f"{good} of {len(sources)} {what} files have their bytes")


def _compare(name: str, path: Path, digest: str, outcome: Outcome) -> bool:
    try:
        found = sha256(path)
    except OSError as error:
        outcome.failures.append((name, f"cannot be read ({error.strerror})"))
        return False
    if found != digest:
        outcome.failures.append((name, f"changed: its sha256 is {found}, the manifest has {digest}"))
    return found == digest


def check_moments(folder: Path, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The moments follow from the panel."""
    from dataclasses import replace

    from .. import ingest, moments, variants

    frame, kept = ingest.load_frame(folder), moments.read(folder)
    again = moments.reduce_all(frame, like=kept.moments)
    if again.periods is None and kept.periods is not None:  # reduced for a crossed effect, on times that occur twice
        again = replace(again, periods=moments.reduce_periods(frame, again.moments))
    if kept.lags is not None and again.lags is not None and kept.lags.step != again.lags.step:
        # Continuous-time AR(1) counts in the time column's unit.
        again = replace(again, lags=moments.reduce_lags(frame, again.moments, kept.lags.step))
    strata = {}
    for name, old in kept.strata.items():
        step, column = None if old.lags is None else old.lags.step, variants.stratum_column(frame, name)
        by_period = old.cells is not None
        strata[name] = moments.reduce_strata(frame, again.moments, column, step=step, periods=by_period)
    count = 0
    pairs = [(file, getattr(kept, part), getattr(again, part)) for part, file in PARTS]
    for i, name in enumerate(kept.strata):
        old, new = kept.strata[name], strata[name]
        pairs.append((f"moments_by_{i}.parquet", old, new))
        pairs += [(f"moments_lag_of_{i}.parquet", old.lags, new.lags)]
        pairs += [(f"moments_cell_of_{i}.parquet", old.cells, new.cells)]
    for file, old, new in pairs:
        if old is None or new is None:
            if (old is None) != (new is None):
                yield file, "is not what panel.parquet gives"
            continue
        for name in vars(old):
            a, b = _arrays(getattr(old, name)), _arrays(getattr(new, name))
            count += sum(x.size for x in a)
            if len(a) != len(b) or not all(_close(x, y) for x, y in zip(a, b, strict=True)):
                yield file, f"{name} does not follow from panel.parquet"
    outcome.checked.append(f"moments computed again from the panel ({count} values)")


PARTS = (("moments", "moments.parquet"), ("lags", "moments_lag.parquet"), ("periods", "moments_period.parquet"))


def _arrays(value: Any) -> list[Any]:
    """A field of the moments as arrays; of names and None nothing is left."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, (int, float)):
        return [np.array([value], dtype=float)]
    return [x for x in value if isinstance(x, np.ndarray)] if isinstance(value, tuple) else []


def _close(a: Any, b: Any) -> bool:
    import numpy as np

    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a.astype(str), b.astype(str)))
    largest = float(np.max(np.abs(a), initial=0.0))
    return bool(np.all(np.abs(a - b) <= TOLERANCE * max(largest, 1e-300)))


def check_likelihoods(folder: Path, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The rungs' log-likelihoods follow from the moments at the recorded estimates, and the ladder repeats them."""
    from .. import moments
    from ..rungs import spec_from_dict
    from .likelihood import log_likelihood

    panel = moments.read(folder)
    ladder = json.loads((folder / "ladder.json").read_text(encoding="utf-8"))["rungs"]
    count = 0
    for path in sorted((folder / "rungs").glob("*.json")):
        name = f"rungs/{path.name}"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("refused"):
                continue
            spec = spec_from_dict(record["extra"]["spec"])
            for kind in ("ml", "reml"):
                recorded = record[kind]["loglik"]
                sigmas = record["extra"].get("sigmas_ml" if kind == "ml" else "sigmas")
                value = log_likelihood(panel, spec, {**record[kind], "sigmas": sigmas}, reml=kind == "reml")
                count += 1
                if not abs(value - recorded) <= TOLERANCE * max(1.0, abs(recorded)):
                    yield name, f"{kind}/loglik is {recorded!r}, the moments give {value!r}"
                row = ladder.get(path.stem)
                if row is not None and row[f"loglik_{kind}"] != recorded:
                    yield "ladder.json", f"rungs/{path.stem}/loglik_{kind} is not that of {name}"
        except Exception as error:  # this rung cannot be judged; the others can
            yield name, f"cannot be checked ({type(error).__name__}: {error})"
    outcome.checked.append(f"{count} log-likelihoods computed again from the moments")


def check_page(folder: Path, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Every number of the report and of the model document is the value that stands at its address."""
    from .page import Addresses, numbers

    addresses = Addresses(folder)
    for name, what in (("report.html", "report"), ("model_document.html", "model document")):
        found = numbers(folder / name)
        faults = [fault for fault in map(addresses.fault, found) if fault]
        yield from ((name, fault) for fault in faults)
        good = len(found) - len(faults)
        outcome.checked.append(f"{good} of {len(found)} numbers in the {what} stand at their addresses, rounded")


Check = Callable[[Path, Outcome], Iterator[tuple[str, str]]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("moments.parquet", check_moments),
    ("rungs", check_likelihoods),
    ("ladder.json", check_register),
    ("report.html", check_page),
    ("changes.json", check_previous),
)
