"""Panels read file by file: the same bytes as a run that reads all, whatever was kept; and what is read is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from hierreport import moments, stages
from hierreport.errors import DataError
from hierreport.partitions import fold, parts

PLAIN = "y ~ x + log(z) + (1 + x | region/shop)"
# Name: options, what the second run says of the moments, and whether AR(1) sums exist.
CASES: dict[str, tuple[dict[str, Any], str, bool]] = {
    "plain": ({"formula": PLAIN}, "used again", True),
    "weights": ({"formula": PLAIN, "weights": "w"}, "used again", True),
    "no time": ({"formula": PLAIN, "time": None}, "used again", False),
    "strata": (
        {"formula": "y ~ x + kind + (1 | shop)", "variances": "kind", "crossed": "t"},
        "used again",
        True,
    ),
    "other strata": ({"formula": "y ~ x + (1 | shop)", "variances": "kind", "weights": "w"}, "used again", True),
    "old categories": ({"formula": "y ~ x * kind + (1 | shop)"}, "used again", True),
    "new category": ({"formula": "y ~ x + C(t) + (1 | shop)"}, "the model's columns changed", True),
    "lag": ({"formula": "y ~ lag(x, 1) + (1 | shop)"}, "used again", True),
    "mean of all rows": ({"formula": "y ~ x + mean(x, by=shop) + (1 | shop)"}, "their rows in the model frame", True),
    "trend": ({"formula": "y ~ trend + (1 | shop)"}, "the location of trend", True),
}
FILES = 6


def rows(year: int, rng: np.random.Generator) -> list[str]:
    """Lines of a year: 20 shops in 4 regions, some missing; one more from the last year on; gaps."""
    lines = []
    for shop in range(20 + (year == FILES - 1)):
        for month in range(3):
            if rng.random() < 0.1:
                continue
            x, z, w = rng.normal(shop % 3, 1), rng.lognormal(), rng.integers(1, 4)
            y = 1 + 0.5 * x + rng.normal() + 0.3 * (shop % 5)
            shown = "" if rng.random() < 0.05 else f"{z:.6f}"
            trend = 3.0**year + rng.normal()
            kind = "abc"[shop % 3]
            lines.append(f"r{shop % 4},s{shop},{3 * year + month},{x:.6f},{shown},{y:.6f},{w},{kind},{trend:.6f}")
    order = rng.permutation(len(lines))
    return [lines[k] for k in order]


def write_csv(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(["region,shop,t,x,z,y,w,kind,trend", *lines]) + "\n")


def write_parquet(path: Path, lines: list[str]) -> None:
    write_csv(path.with_suffix(".txt"), lines)
    duckdb.sql(f"COPY (FROM read_csv('{path.with_suffix('.txt')}')) TO '{path}' (FORMAT parquet)")
    path.with_suffix(".txt").unlink()


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {"csv": write_csv, "parquet": write_parquet}


class Panel:
    """A panel of several files, and its analysis in any number of folders."""

    def __init__(self, base: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self.kind, self.capsys = base, kind, capsys
        (base / "data").mkdir()
        rng = np.random.default_rng(7)
        self.lines = [rows(year, rng) for year in range(FILES)]

    def file(self, year: int) -> Path:
        return self.base / "data" / f"{2000 + year}.{self.kind}"

    def write(self, *years: int) -> None:
        for year in years:
            WRITERS[self.kind](self.file(year), self.lines[year])

    def run(self, name: str, partitions: str | None = "time", **options: Any) -> str:
        """Run the stage; returns what it said."""
        folder = self.base / name / "a"
        folder.mkdir(parents=True, exist_ok=True)
        given = {"formula": PLAIN, "time": "t", **options, "panel": str(self.base / "data")}
        given |= {"partitions": partitions} if partitions else {}
        self.capsys.readouterr()
        stages.ingest(folder, {k: v for k, v in given.items() if v is not None})
        return self.capsys.readouterr().out

    def files(self, name: str, pattern: str = "*") -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted((self.base / name / "a").glob(pattern)) if p.is_file()}

    def described(self, name: str) -> dict[str, Any]:
        """panel.json without the query, which reads the files one by one."""
        found = json.loads((self.base / name / "a" / "panel.json").read_text())
        assert found["source"].pop("query").count(str(self.base / "data")) >= FILES
        assert ".kept" not in str(found)
        return found


@pytest.fixture(params=["csv", "parquet"])
def panel(tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Panel:
    return Panel(tmp_path, request.param, capsys)


def raw(m: moments.Moments, products: np.ndarray) -> np.ndarray:
    """Products of the columns as they are, without location and scale."""
    back = np.diag(m.scale)
    back[:, 0] += m.shift
    return np.einsum("ai,ijk,bj->abk", back, products, back)


def same_numbers(one: moments.PanelMoments, two: moments.PanelMoments) -> None:
    """Two reductions of the same rows, with other locations."""
    a, b = one.moments, two.moments
    assert a.columns == b.columns and (a.n == b.n).all()
    assert all((x == y).all() for x, y in zip(a.labels, b.labels, strict=True))
    np.testing.assert_allclose(raw(a, a.products), raw(b, b.products), rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(a.sum_log_weight, b.sum_log_weight, rtol=1e-12)
    assert (one.lags is None) == (two.lags is None) and (one.periods is None) == (two.periods is None)
    if one.lags and two.lags:
        for key in ("group", "gap", "count"):
            assert (getattr(one.lags, key) == getattr(two.lags, key)).all()
        for key in ("now", "cross", "before", "first"):
            x, y = raw_lag(a, one.lags, key), raw_lag(b, two.lags, key)
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-7)
    if one.periods and two.periods:
        assert (one.periods.periods == two.periods.periods).all()
        assert (one.periods.cell_count == two.periods.cell_count).all()


def raw_lag(m: moments.Moments, lags: moments.LagMoments, key: str) -> np.ndarray:
    return raw(m, getattr(lags, key))


@pytest.mark.parametrize("case", CASES)
def test_one_more_file_gives_the_bytes_of_a_run_over_all(panel: Panel, case: str) -> None:
    options, said, lagged = CASES[case]
    panel.write(*range(FILES - 1))
    first = panel.run("grown", **options)
    assert f"{FILES - 1} of {FILES - 1} files were read" in first and "nothing was kept of them" in first
    panel.write(FILES - 1)
    second = panel.run("grown", **options)
    assert f"partitions: 1 of {FILES} files were read." in second
    assert said in second, second
    panel.run("fresh", **options)
    assert panel.files("grown") == panel.files("fresh")

    panel.run("whole", None, **options)
    assert panel.described("whole") == panel.described("fresh")
    tables = [duckdb.sql(f"FROM '{panel.base}/{n}/a/panel.parquet'").fetchall() for n in ("fresh", "whole")]
    assert tables[0] == tables[1]
    fresh, whole = (moments.read(panel.base / n / "a") for n in ("fresh", "whole"))
    same_numbers(fresh, whole)
    assert (fresh.lags is not None) == lagged
    assert set(fresh.strata) == set(whole.strata) == ({"kind"} if "variances" in options else set())


def test_closed_files_are_not_opened_and_their_rows_not_summed(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.write(*range(FILES))
    panel.run("a")
    opened: list[str] = []
    summed: list[int] = []
    monkeypatch.setattr(parts, "open_files", lambda f, *rest: opened.append(f) or OPEN(f, *rest))
    monkeypatch.setattr(fold, "_part", lambda *given: summed.append(given[-1]) or PART(*given))
    panel.run("a")
    assert (opened, summed) == ([], [])
    panel.lines[-1] = panel.lines[-1][: len(panel.lines[-1]) // 2]  # the last file is still growing, or revised
    panel.write(FILES - 1)
    assert f"the moments of {FILES - 1} of {FILES} files were used again" in panel.run("a")
    assert (opened, summed) == ([str(panel.file(FILES - 1))], [FILES - 1])
    kept = sorted(p.suffix for p in (panel.base / "a" / "a" / ".kept").iterdir())
    assert kept == sorted([".json", ".parquet"] * FILES + [".npz", ".sha256"] * 2 + [".json"])


OPEN, PART = parts.open_files, fold._part


def test_a_revised_old_file_is_read_again_and_all_that_follows_summed_again(panel: Panel) -> None:
    panel.write(*range(FILES))
    panel.run("a")
    panel.lines[1] = panel.lines[1][:-1]
    panel.write(1)
    said = panel.run("a")
    assert f"1 of {FILES} files were read" in said and "a file before the last one changed" in said
    panel.run("b")
    assert panel.files("a") == panel.files("b")


def test_what_is_kept_is_not_trusted_blindly(panel: Panel) -> None:
    panel.write(*range(FILES))
    panel.run("a")
    before = panel.files("a")
    kept = panel.base / "a" / "a" / ".kept"
    for pattern, cut in (("*.parquet", False), ("*.parquet", True), ("*.npz", False), ("*.npz", True)):
        for path in kept.glob(pattern):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content[: len(content) // 3] if cut else content)
        said = panel.run("a")
        assert panel.files("a") == before
        assert (f"{FILES} of {FILES} files were read" in said) == (pattern == "*.parquet")
        assert ("used again" in said) == (pattern == "*.parquet")
    for path in kept.iterdir():
        path.unlink()
    panel.run("a")
    assert panel.files("a") == before


def test_files_that_are_no_stretches_of_time_are_summed_at_once(panel: Panel) -> None:
    panel.lines.reverse()
    panel.write(*range(FILES))
    said = panel.run("a")
    assert "are not one stretch of time after another" in said
    panel.run("whole", None)
    assert panel.files("a", "moments*") == panel.files("whole", "moments*")
    assert panel.run("a") == said.replace(f"{FILES} of {FILES} files were read", f"0 of {FILES} files were read")


def test_a_file_of_which_no_row_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = Panel(tmp_path, "csv", capsys)
    panel.lines[2] = [",".join([*line.split(",")[:3], "", *line.split(",")[4:]]) for line in panel.lines[2]]
    panel.write(*range(FILES - 1))
    panel.run("a")
    panel.write(FILES - 1)
    assert f"partitions: 1 of {FILES} files were read." in panel.run("a")
    panel.run("b")
    panel.run("whole", None)
    assert panel.files("a") == panel.files("b")
    assert panel.described("a") == panel.described("whole")
    same_numbers(moments.read(panel.base / "a" / "a"), moments.read(panel.base / "whole" / "a"))


def test_repeated_keys_leave_no_lags(panel: Panel) -> None:
    panel.lines[2] += panel.lines[2][:3]
    panel.write(*range(FILES - 1))
    panel.run("a")
    panel.write(FILES - 1)
    assert "used again" in panel.run("a")
    panel.run("b")
    panel.run("whole", None)
    assert panel.files("a") == panel.files("b")
    assert moments.read(panel.base / "a" / "a").lags is None
    same_numbers(moments.read(panel.base / "a" / "a"), moments.read(panel.base / "whole" / "a"))


def test_types_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = Panel(tmp_path, "csv", capsys)
    panel.lines[1] = [
        ",".join(["r0", f"s{k % 9}", str(3 + k // 9), str(k % 4), "1", "2", "1", "a", "1"]) for k in range(18)
    ]
    panel.write(*range(FILES))  # x is whole in one file
    assert "used" not in panel.run("a")
    panel.run("whole", None)
    assert panel.described("a") == panel.described("whole")
    assert panel.files("a", "panel.parquet") == panel.files("whole", "panel.parquet")
    panel.lines[1][3] = panel.lines[1][3].replace("r0", "7").replace("s3", "3")
    panel.lines[1] = [line.replace("r0", "7").replace(",s", ",") for line in panel.lines[1]]
    panel.write(1)
    said = panel.run("b")
    assert "all files were read as one: the column region is BIGINT in some files and VARCHAR in others" in said
    panel.run("whole", None)
    assert panel.files("b") == panel.files("whole")


def test_refusals_are_those_of_a_run_over_all(panel: Panel) -> None:
    panel.write(*range(FILES))
    messages = []
    for partitions in ("time", None):
        with pytest.raises(DataError) as refused:
            panel.run("a", partitions, weights="region")
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    panel.file(3).write_bytes(panel.file(3).read_bytes()[:100])
    messages = []
    for partitions in ("time", None):
        with pytest.raises(DataError) as refused:
            panel.run("a", partitions)
        messages.append(str(refused.value))
    assert messages[0] == messages[1] and panel.file(3).name in messages[0]
