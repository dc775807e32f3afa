"""The model document: its sections from the report's content, and a person's places among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..report.context import Context
from ..report.parts import Content, Sentence, Table
from ..report.sections import methods
from ..report.stage import write_text
from ..report.summary import Summary
from . import DOCUMENT, DOCUMENT_TEXT
from .changes import changes
from .confirmations import Placed, place

TITLES = {
    "control": "Document control",
    "intended_use": "Intended use",
    "data": "Data",
    "theory": "Theory",
    "alternatives": "Alternatives considered",
    "assumptions": "Assumptions and their checks",
    "outcomes": "Outcomes",
    "limitations": "Limitations",
    "monitoring": "Monitoring",
    "changes": "Change log",
    "approval": "Approval",
}

ALWAYS = (
    "The coefficients are associations in these data. Reading them as causes needs reasons from outside of the data.",
    "The rung was chosen by tests on the same rows that estimate it; standard errors, intervals and p-values take the "
    "chosen rung as given.",
    "Results hold for groups, periods and values like those in the data; anything else is extrapolation.",
)


@dataclass
class Part:
    """A section of the document.

    Attributes:
        name, title: key of ``TITLES``, and its title.
        lead: sentences, in paragraphs.
        points: a list below them.
        facts: (label, value) pairs; values are text, ``Num`` or markup.
        equations: lines of the model.
        tables: the report's.
        checks: the checks as the report lists them, with their titles.
        places: a person's places.
    """

    name: str
    title: str
    lead: list[Sentence] = field(default_factory=list)
    points: list[Sentence] = field(default_factory=list)
    facts: list[tuple[str, Any]] = field(default_factory=list)
    equations: list[Markup] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    places: list[Placed] = field(default_factory=list)


def write(folder: Path, context: Context, summary: Summary) -> list[Path]:
    """See ``signoff.write_document``."""
    from .render import html, markdown

    form = context.options.get("sign_off")
    placed = place(Path(form) if form else None, folder)
    parts = build(context, summary, placed)
    files = {DOCUMENT: html(context, summary, parts, placed), DOCUMENT_TEXT: markdown(context, summary, parts, placed)}
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]


def build(context: Context, summary: Summary, placed: list[Placed]) -> list[Part]:
    """The document's sections in their order."""
    contents = {section.name: content for section, content in summary.contents}
    parts = [Part(name, title) for name, title in TITLES.items()]
    for part in parts:
        part.places = [p for p in placed if p.place.section == part.name]
        FILL[part.name](part, context, summary, contents)
    return parts


def _control(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    part.facts = [
        ("Analysis", str(summary.plain["analysis"])),
        ("Outcome", context.outcome),
        ("Chosen rung", context.chosen),
        ("Software", f"hierreport {summary.plain['hierreport']}"),
        ("Record of this run", "manifest.json: digests of data, code and artifacts, versions, times"),
    ]


def _intended_use(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    names = context.names
    terms = [t for t in context.fixed() if names.parse(t).kind != "factor" and t != "(Intercept)"]
    period = f" in one {context.period}" if context.panel.get("time") else ""
    part.facts = [
        ("What is modelled", names.term(context.outcome)),
        ("By", ", ".join(names.term(t) for t in terms) or "an overall level alone"),
        ("One row is", f"one {names.level(context.innermost)}{period}"),
    ]
    if context.options.get("description"):
        part.facts.append(("Description", str(context.options["description"])))


def _data(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    content = contents["panel"]
    part.lead = list(content.findings)
    source = context.panel.get("source") or {}
    part.facts = [
        ("Files", ", ".join(str(f) for f in source.get("files") or []) or str(source.get("description") or "–")),
        ("Rows read", context.whole(context.panel.get("rows_read"), "panel.json#/rows_read")),
        ("Rows left out", context.whole(context.panel.get("rows_dropped"), "panel.json#/rows_dropped")),
        ("Rows used", context.whole(context.panel["n_obs"], "panel.json#/n_obs")),
    ]
    told = [*content.extra.get("warnings", ()), *content.extra.get("notes", ())]
    part.points = [Sentence("{text}", text=text) for text in told]
    part.tables = content.tables


def _theory(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    part.lead = [
        Sentence(
            "A linear mixed model: the outcome is a weighted sum of the predictors (the fixed effects), plus effects "
            "of the groups, which are draws from a normal distribution with mean zero, plus normal errors. The weights "
            "and the spread of the groups' effects are estimated together (Pinheiro and Bates 2000; Bates, Mächler, "
            "Bolker and Walker 2015)."
        ),
        *contents["methods"].findings,
    ]
    facts = [("Richest formula", str(context.panel.get("formula") or "")), *contents["methods"].extra["facts"]]
    code = Markup("<code>{}</code>")
    part.facts = [(label, code.format(text) if "ormula" in label else text) for label, text in facts]
    part.equations = methods.equations(context)


def _alternatives(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    ladder = contents["ladder"]
    part.lead = list(ladder.findings)
    blocks = [b for b in ladder.blocks if b.name == "criteria"]
    part.points = [s for b in blocks for s in b.findings]
    part.tables = [t for t in ladder.tables if t.name in ("ladder", "ladder_tests", "register")]


def _assumptions(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    content = contents.get("assumptions")
    if content is None or not content.extra.get("checks"):
        part.lead = [Sentence("This run has no checks of assumptions.")]
        return
    part.lead = list(content.findings)
    part.checks = content.extra["checks"]


def _outcomes(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    told = ("effects", "variance", "second_opinion", "sensitivity")
    part.points = [s for name in told if name in contents for s in contents[name].findings]
    part.tables = [t for t in contents["effects"].tables if t.name == "effects"]
    part.tables += contents["sensitivity"].tables if "sensitivity" in contents else []


def _limitations(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    part.points = [*summary.verdict["alerts"], *summary.verdict["limits"], *(Sentence(text) for text in ALWAYS)]


def _monitoring(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    part.lead = [
        Sentence(
            "Running the same configuration on newer data fits, compares and checks everything again. The values to "
            "compare with are those of this run, in summary.json, ladder.json, checks.json and the rungs."
        )
    ]


def _changes(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    part.lead, part.tables = changes(context, contents.get("changes"))


def _approval(part: Part, context: Context, summary: Summary, contents: dict[str, Content]) -> None:
    part.lead = [
        Sentence(
            "The second engine of this run checks the arithmetic of the fits, and the scripts in replicate/ repeat "
            "them in other programs. Neither is an independent validation of the model."
        )
    ]


FILL = {
    "control": _control,
    "intended_use": _intended_use,
    "data": _data,
    "theory": _theory,
    "alternatives": _alternatives,
    "assumptions": _assumptions,
    "outcomes": _outcomes,
    "limitations": _limitations,
    "monitoring": _monitoring,
    "changes": _changes,
    "approval": _approval,
}
