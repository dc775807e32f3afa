"""The report as a PDF: by WeasyPrint (``pip install hierreport[pdf]``), else by a Chromium that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import HierreportError
from .export import content
from .page import build_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT = 120


def write_pdf(directory: Path, options: dict[str, Any] | None, out: Path, engine: str | None = None) -> Path:
    """See ``report.export_pdf``; ``engine`` is "weasyprint" or "chromium", the first that is there where None."""
    found = engines()
    if engine:
        found = {k: v for k, v in found.items() if k == engine}
    if not found:
        what = "a PDF needs WeasyPrint or Chromium, and neither was found."
        do = "Install one: pip install 'hierreport[pdf]', or Debian's package chromium."
        raise HierreportError(what, "hierreport export --pdf", do)
    context, summary = content(directory, options)
    page = build_page(context, summary, paper=True)
    out.mkdir(parents=True, exist_ok=True)
    target = out / "report.pdf"
    partial = out / ".report.pdf"
    next(iter(found.values()))(page, partial)
    partial.replace(target)
    return target


def engines() -> dict[str, Callable[[str, Path], None]]:
    """The engines on this machine by name, the preferred one first."""
    found: dict[str, Callable[[str, Path], None]] = {}
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError):  # OSError: Pango is missing
        pass
    else:
        found["weasyprint"] = _weasyprint
    if browser():
        found["chromium"] = _chromium
    return found


def browser() -> str | None:
    """Path of a Chromium: the environment's CHROMIUM, else one of the usual names."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def _weasyprint(page: str, target: Path) -> None:
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    # nothing but the page itself is read: no network, no file
    HTML(string=page, url_fetcher=URLFetcher(allowed_protocols=("data",))).write_pdf(target)


def _chromium(page: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hierreport-") as folder:
        source = Path(folder) / "report.html"
        source.write_text(page, encoding="utf-8")
        command = [
            str(browser()),
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={folder}/profile",
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            f"--print-to-pdf={target.resolve()}",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium's sandbox refuses to work for root
        try:
            done = subprocess.run(
                [*command, source.as_uri()], capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise HierreportError("Chromium did not finish.", "hierreport export --pdf", "Try again.") from None
    if not target.is_file():
        tail = " ".join(done.stderr.split())[-300:]
        raise HierreportError(f"Chromium wrote no PDF ({tail}).", "hierreport export --pdf")
