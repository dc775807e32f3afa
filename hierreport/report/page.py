"""The page: templates filled with the sections, one HTML text with its style, script and policy inside."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..figures.style import DARK, LIGHT, NARROW, WIDE, Picture, page_rules, palette_variables
from .context import Context, pointed
from .numbers import Num, Numbers, csv_value
from .parts import Place, Table, data_element, words
from .summary import Summary, title
from .verdict import READ_OUT

HERE = Path(__file__).parent
PLAIN_LIMIT = 48_000  # characters of a CSV that is embedded as it is; longer ones are compressed
STATUS = {  # mark, word, word after a number, the same for several
    "problem": ("✕", "problem", "problem", "problems"),
    "look": ("!", "look", "to look at", "to look at"),
    "ok": ("✓", "ok", "ok", "ok"),
    "not applicable": ("–", "n/a", "not applicable", "not applicable"),
}


@lru_cache(maxsize=1)
def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["csv_value"] = csv_value
    return env


@lru_cache(maxsize=1)
def assets() -> tuple[str, str]:
    """The page's style and script."""
    css = (HERE / "assets" / "report.css").read_text(encoding="utf-8")
    css = css.replace("/*LIGHT*/", palette_variables(LIGHT)).replace("/*DARK*/", palette_variables(DARK))
    script = (HERE / "assets" / "report.js").read_text(encoding="utf-8")
    return _compact(css + page_rules()), script.strip()


def _compact(css: str) -> str:
    lines = (line.strip() for line in css.splitlines())
    return "\n".join(line for line in lines if line)


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows this style, this script and embedded images, and no network."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def build_page(context: Context, summary: Summary, paper: bool = False) -> str:
    """The report as one HTML text; with ``paper`` its pictures are images with their own colours, and nothing is for
    screens alone: what an engine that prints can read."""
    style, script = assets()
    if paper:
        style, script = style.replace("@media print{", "@media all{"), ""
    sections = [
        {
            "name": section.name,
            "title": section.title,
            "findings": [s.html() for s in content.findings],
            "pictures": [
                _printed(p) if paper else _picture(p, f"/sections/{section.name}/figures/{i}")
                for i, p in enumerate(content.pictures)
            ],
            "tables": [table(t, context.num) for t in content.tables],
            "help": _optional(f"help/{section.name}.html"),
            "extra": _optional(f"extra/{section.name}.html"),
            "data": content.extra,
            "blocks": [
                {
                    "name": b.name,
                    "title": b.title,
                    "findings": [s.html() for s in b.findings],
                    "tables": [table(t, context.num) for t in b.tables],
                    "help": _optional(f"help/{b.name}.html"),
                }
                for b in content.blocks
            ],
        }
        for section, content in summary.contents
    ]
    template = environment().get_template("report.html")
    panel = context.panel
    text = template.render(
        title=title(context),
        description=str(context.options.get("description") or ""),
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        sections=sections,
        status=STATUS,
        version=summary.plain["hierreport"],
        read_out=READ_OUT,
        verdict={k: [s.html() for s in v] for k, v in summary.verdict.items()},
        checks=summary.plain["checks"],
        count=lambda state, titles: words(
            context.told.count(len(titles), source=f"summary.json#/counts/{pointed(state)}"), ""
        ),
        sources=Markup(SOURCES),
        about=[words(part, "") for part in about(context)],
        rung=context.chosen,
        panel=panel,
        lead=summary.plain["text"].split("\n")[0][:300],
    )
    text = _SECTION.sub(lambda m: m[0].replace(SOURCES, _sources(m[0])), text)
    return text.replace("<details", "<details open") if paper else text


SOURCES = "<!-- sources -->"
_TITLE = re.compile(r"<title>[^<]*</title>")
_TABLE = re.compile(r'<table [^>]*data-file="([^"]*)"(.*?)</table>', re.DOTALL)
_SECTION = re.compile(r"<section .*?</section>", re.DOTALL)


def _sources(section: str) -> str:
    """A control that lists the files in which the numbers of a section stand; empty where it has none."""
    cells = [name for name, body in _TABLE.findall(section) if 'data-source="#' in body]
    files = sorted({*re.findall(r'data-source="([^"#]+)#', section), *cells})
    listed = ", ".join(f"<code>{name}</code>" for name in files)
    text = f"Where its numbers stand: {listed}. Each number shows its own place when the pointer rests on it."
    return f'<details class="sources"><summary>Sources</summary><p>{text}</p></details>' if files else ""


def about(context: Context) -> list[str]:
    """Data and period, for the line below the title; their numbers are marked (``said.mark``)."""
    panel, told = context.panel, context.told
    source = panel.get("source") or {}
    parts = [str(source.get("description") or ", ".join(str(f) for f in source.get("files") or []))]
    if panel.get("periods"):
        first, last = panel["periods"]["first"], panel["periods"]["last"]
        parts.append(f"{_whole(first)}–{_whole(last)}")
    parts.append(f"{told.count(panel['n_obs'], source='panel.json#/n_obs')} rows")
    inner = panel["structure"][context.innermost]["groups"]
    at = f"panel.json#/structure/{context.innermost.replace('/', '~1')}/groups"
    parts.append(f"{told.count(inner, source=at)} {context.names.level(context.innermost, inner)}")
    return [p for p in parts if p]


def _whole(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _optional(name: str) -> str:
    return name if (HERE / "templates" / name).exists() else ""


def _picture(picture: Picture, pointer: str) -> dict[str, Any]:
    wide, narrow = picture.draw(WIDE), picture.draw(NARROW)
    label = f"{picture.title}. {picture.alt}"
    return {
        "name": picture.name,
        **{k: words(getattr(picture, k), f"{pointer}/numbers/{k}") for k in ("title", "alt", "note")},
        "wide": Markup(wide.inline(label, "wide")),
        "narrow": Markup(_TITLE.sub("", narrow.inline(label, "narrow"))),  # nothing hovers over a small screen
    }


def _printed(picture: Picture) -> dict[str, Any]:
    drawn = picture.draw(WIDE).file(picture.title, picture.alt, dark=False)
    data = base64.b64encode(drawn.encode()).decode()
    image = Markup('<img class="wide" alt="{}" src="data:image/svg+xml;base64,{}">').format(picture.alt, data)
    return {k: getattr(picture, k) for k in ("name", "title", "alt", "note")} | {"wide": image, "narrow": ""}


def table(table: Table, num: Numbers) -> dict[str, Any]:
    visible = table.visible()
    rows: list[list[Markup]] = [[] for _ in visible]
    for k, column in enumerate(table.columns):
        if column.kind == "file":
            continue
        places = [table.place(i, k) for i, _ in visible]
        for r, cell in enumerate(_column([row[k] for _, row in visible], column.kind, num, places)):
            if column.kind == "under":
                if cell:
                    rows[r][0] += Markup('<span class="sub">{}{}</span>').format(column.lead, cell)
            else:
                rows[r].append(cell)
    emphasis = next((r for r, (i, _) in enumerate(visible) if i == table.emphasis), None)
    name, href = _download(table)
    return {
        "name": table.name,
        "caption": words(table.caption, f"{table.pointer}/numbers/caption"),
        "rows": rows,
        "columns": [c for c in table.columns if c.kind not in ("under", "file")],
        "emphasis": emphasis,
        "note": words(table.note, f"{table.pointer}/numbers/note"),
        "total": data_element(Num(len(table.rows), num.count(len(table.rows))), f"summary.json#{table.pointer}/rows"),
        "shown": data_element(Num(len(visible), num.count(len(visible))), f"summary.json#{table.pointer}/shown"),
        "tall": len(visible) > 25,
        "partly": len(visible) < len(table.rows),
        "file": name,
        "href": href,
        "folded": table.folded,
        "listed": table.listed,
        "cut": _cut([i for i, _ in visible], len(table.rows)),
    }


def _cut(shown: list[int], total: int) -> int | None:
    """Where the first rows end and the last begin, of a table that shows both ends of a longer one."""
    gap = [r for r, (before, here) in enumerate(pairwise(shown), 1) if here != before + 1]
    return gap[0] if len(gap) == 1 and gap[0] > 9 and (shown[0], shown[-1]) == (0, total - 1) else None


def _column(cells: list[Any], kind: str, num: Numbers, places: list[Place]) -> list[Markup]:
    """A column's cells as markup, numbers padded so that their decimal marks stand below each other."""
    if kind == "pair":
        first = _column([c[0] if c else None for c in cells], "number", num, places)
        second = num.pad([c[1].text if c else "" for c in cells])
        return [
            Markup('{}<span class="sub">({}){}</span>').format(
                f, _cell(c[1], c[1].text, "number", p.second()), s[len(c[1].text) :]
            )
            if c
            else Markup()
            for f, s, c, p in zip(first, second, cells, places, strict=True)
        ]
    texts = [c.text if isinstance(c, Num) else "" if c is None else str(c) for c in cells]
    if kind == "number":
        texts = num.pad(texts)
    return [_cell(c, t, kind, p) for c, t, p in zip(cells, texts, places, strict=True)]


def _cell(value: Any, text: str, kind: str, place: Place) -> Markup:
    """A cell as markup; a number without an address of its own has that of its cell in the table's file."""
    if kind == "status":
        mark, word = STATUS.get(str(value), ("?", str(value)))[:2]
        return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
            str(value).replace(" ", "-"), mark, word
        )
    if isinstance(value, Num) and value.value is not None:
        return data_element(Num(value.value, text, value.source), value.source or place.address)
    if kind in ("code", "formula") and text:
        return Markup("<code>{}</code>").format(text)
    if kind == "name" and text:
        return Markup("<bdi>{}</bdi>").format(words(text, place.pointer))
    return words(text, place.pointer)


def _download(table: Table) -> tuple[str, str]:
    """File name and data URI of the whole table: works without a script."""
    text = table.csv()
    if len(text) <= PLAIN_LIMIT:
        return f"{table.name}.csv", "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()
    packed = gzip.compress(text.encode(), 9, mtime=0)
    return f"{table.name}.csv.gz", "data:application/gzip;base64," + base64.b64encode(packed).decode()
