"""What an unattended run says: one paragraph, and the same as results/run.json. No times, no absolute paths."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .alerts import Alert
from .notify import Delivery
from .outcomes import Outcome, overall

FORMAT = "hierreport-run/1"


@dataclass(frozen=True)
class Result:
    """How one analysis ended: its outcome, one or more sentences, and the alerts among them."""

    outcome: Outcome
    message: str
    alerts: tuple[Alert, ...] = ()
    report: str | None = None


@dataclass(frozen=True)
class Record:
    """How a run ended.

    Attributes:
        results: by analysis, in the configuration's order.
        outcome: of the run.
        message: what is to say of the run itself, beside its analyses.
        delivery: what became of the notification; None where none was due.
    """

    results: Mapping[str, Result]
    outcome: Outcome
    message: str = ""
    delivery: Delivery | None = field(default=None, compare=False)

    @classmethod
    def of(cls, results: Mapping[str, Result], fault: str = "") -> Record:
        """The record of a run from its analyses; a fault of the run itself makes it a failed one."""
        outcomes = [r.outcome for r in results.values()] + ([Outcome.FAILED] if fault else [])
        return cls(results, overall(outcomes), fault)

    @property
    def heading(self) -> str:
        """How many analyses ended how, the most urgent first."""
        if not self.results:
            return f"hierreport: {self.outcome.word}."
        parts = []
        for outcome in reversed(Outcome):
            number = sum(r.outcome is outcome for r in self.results.values())
            parts += [f"{number} {outcome.word}"] if number else []
        noun = "1 analysis" if len(self.results) == 1 else f"{len(self.results)} analyses"
        return f"hierreport: {noun}: {', '.join(parts)}."

    @property
    def summary(self) -> str:
        """One paragraph."""
        parts = [self.heading, self.message]
        parts += [f"{name}: {r.message}" for name, r in self.results.items()]
        parts += [f"Notification: {fault}" for fault in (self.delivery.faults if self.delivery else ())]
        return " ".join(" ".join(p.split()) for p in [*parts, f"Exit code {self.outcome.code}."] if p)

    def to_dict(self) -> dict[str, Any]:
        """The content of run.json."""
        return {
            "format": FORMAT,
            "outcome": self.outcome.word,
            "exit_code": self.outcome.code,
            "summary": self.summary,
            "message": self.message,
            "analyses": {
                name: {
                    "outcome": r.outcome.word,
                    "exit_code": r.outcome.code,
                    "message": r.message,
                    "alerts": [{"rule": a.rule, "message": a.message} for a in r.alerts],
                    "report": r.report,
                }
                for name, r in self.results.items()
            },
            "notification": None
            if self.delivery is None
            else {"sent": self.delivery.sent, "faults": list(self.delivery.faults)},
        }

    def json(self) -> str:
        """``to_dict`` as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write run.json, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.json(), encoding="utf-8")
        os.replace(temporary, path)
