"""Unattended runs of the real workflow, day after day, on one small panel."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow
HEADER = "shop,month,price,sales,note"
CONFIG = """
analyses:
  sales:
    panel: inbox/*.csv
    partitions: time
    formula: sales ~ price + (1 | shop)
    time: month
    bootstrap: 0
    alerts:
      checks: false
"""


def month(number: int, shops: int = 15) -> str:
    draw = random.Random(number)
    level = random.Random(0)
    lines = [HEADER]
    for shop in range(shops):
        price = draw.gauss(10, 2)
        own = level.gauss(0, 2)
        lines.append(f"s{shop},{number},{price:.4f},{50 - 2 * price + own + draw.gauss(0, 1):.4f},x")
    return "\n".join(lines) + "\n"


def run(folder: Path, code: int) -> dict[str, str]:
    command = [sys.executable, "-m", "hierreport", "run", "--unattended", "--config", "mine.yaml", "--settle", "0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads((folder / "results" / "run.json").read_text())["analyses"]["sales"]


def test_day_after_day(checkout: Path) -> None:
    inbox = checkout / "inbox"
    inbox.mkdir()
    (checkout / "mine.yaml").write_text(CONFIG)
    assert run(checkout, 66)["outcome"] == "not there yet"
    for number in range(1, 9):
        (inbox / f"{number:02d}.csv").write_text(month(number))
    assert run(checkout, 10)["message"] == "first results."
    assert run(checkout, 0)["message"].startswith("nothing new; same data")

    (inbox / "09.csv").write_text(month(9)[:200])
    assert "the last line is cut off" in run(checkout, 65)["message"]
    (inbox / "09.csv").write_text(month(9))
    usual = run(checkout, 10)
    assert usual["message"].startswith("new results, no alert. ") and usual["alerts"] == []
    log = (checkout / "results/sales/logs/ingest.log").read_text()
    assert "partitions: 1 of 9 files were read.\npartitions: the moments of 8 of 9 files were used again." in log

    verified = [sys.executable, "-m", "hierreport", "verify", "results/sales"]
    done = subprocess.run(verified, cwd=checkout, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout

    os.utime(inbox / "01.csv")
    assert run(checkout, 0)["outcome"] == "nothing new"

    for path in sorted(inbox.iterdir()):  # a column more, two shops less
        head, *lines = path.read_text().splitlines()
        kept = [f"{line},7" for line in lines if not line.startswith(("s3,", "s4,"))]
        path.write_text("\n".join([f"{head},staff", *kept]) + "\n")
    alarm = run(checkout, 20)
    assert alarm["alerts"] == [
        {"rule": "columns", "message": "columns new: staff."},
        {"rule": "groups_gone", "message": "2 groups of shop no longer there: s3, s4."},
        {"rule": "rows_fall", "message": "rows fell by 13.3 %, from 135 to 117."},
    ]
    assert run(checkout, 0)["outcome"] == "nothing new"

    before = (checkout / "results/sales/report.html").read_bytes()
    for path in inbox.iterdir():
        path.write_text(path.read_text().replace("price", "cost", 1))
    failed = run(checkout, 1)
    assert "ingest: analyses.sales.formula" in failed["message"] and "price" in failed["message"]
    assert (checkout / "results/sales/report.html").read_bytes() == before
