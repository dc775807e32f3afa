"""Parts of unattended runs: is a file complete, alert rules, outcomes, notifications, and what the record says."""

from __future__ import annotations

import gzip
import json
import logging
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from hierreport import config
from hierreport.errors import ConfigError
from hierreport.unattended import arrival, notify
from hierreport.unattended.alerts import RULES, evaluate
from hierreport.unattended.outcomes import Outcome, overall
from hierreport.unattended.record import Record, Result

TABLE = pa.table({"y": [1.0, 2.0, 3.0] * 50, "g": ["a", "b", "c"] * 50})
CSV = "y,x,g\n1,2,a\n3,4,b\n"


# -- is a file complete? -----------------------------------------------------------------------------------------------


def write(path: Path) -> Path:
    """A complete small file of the kind that its name says."""
    match path.suffixes:
        case [".parquet"]:
            pyarrow.parquet.write_table(TABLE, path)
        case [".feather"]:
            pyarrow.feather.write_feather(TABLE, path)
        case [".csv", ".gz"]:
            path.write_bytes(gzip.compress(CSV.encode() * 200))
        case [".jsonl"]:
            path.write_text('{"y": 1, "g": "a"}\n{"y": 2, "g": "b"}\n')
        case [".json"]:
            path.write_text('[{"y": 1, "g": "a"},\n {"y": 2, "g": "b"}]')
        case [".xlsx"]:
            import openpyxl

            book = openpyxl.Workbook()
            book.active.append(["y", "g"])
            book.save(path)
        case _:
            path.write_text(CSV)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.csv.gz", "a.jsonl", "a.json", "a.xlsx"])
def test_every_cut_of_a_framed_file_is_seen(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    whole = path.read_bytes()
    assert arrival.cut_off(path) == ""
    middle = len(whole) // 2 + (name == "a.jsonl")  # there the middle is the end of a line
    for length in {1, 5, 9, middle, len(whole) - 3}:
        path.write_bytes(whole[:length])
        assert "cut off" in arrival.cut_off(path), length
    path.write_bytes(b"")
    assert arrival.cut_off(path) == "the file is empty so far."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CSV, ""),
        (CSV.rstrip("\n"), ""),  # many programs write no last line end
        (CSV + "5,", "the last line is cut off: 2 of 3 fields."),
        (CSV + "5", "the last line is cut off: 1 of 3 fields."),
        (CSV + '5,6,"b', "the last line is cut off inside a quoted field."),
        (CSV + '5,6,"b\nc"', ""),
        ("y,x,g\n", "there is a header and no row so far."),
        ("y,x", "there is a header and no row so far."),
        ("sep=;\ny;x;g\n", "there is a header and no row so far."),
        ("\n \n", "the file has only blank lines so far."),
        (CSV.replace(",", ";") + "5;6", "the last line is cut off: 2 of 3 fields."),
        (CSV.replace("\n", "\r\n"), ""),
    ],
)
def test_text(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    assert arrival.cut_off(path) == fault


def test_absent_growing_and_known_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.csv")
    panels = {"gone": str(tmp_path / "b.csv"), "none": str(tmp_path / "*.parquet"), "here": str(file)}
    monkeypatch.setattr(arrival.time, "sleep", lambda _: None)
    found = arrival.look_all(panels, 1, {})
    assert found["gone"].outcome is found["none"].outcome is Outcome.ABSENT
    assert found["gone"].message == f"{tmp_path / 'b.csv'}: there is no such file. Beside it are: a.csv."
    assert found["here"] == arrival.Arrival({str(file): arrival.stamp(file)})

    def grow(_: float) -> None:
        with file.open("a") as stream:
            stream.write("5,6,a\n")

    monkeypatch.setattr(arrival.time, "sleep", grow)
    growing = arrival.look_all({"here": str(file)}, 1, {})["here"]
    assert growing.outcome is Outcome.PARTIAL and growing.message == f"{file}: the file is still being written."
    vanished = arrival.look(str(file))
    file.unlink()
    assert arrival.judge(str(file), vanished, {}).outcome is Outcome.PARTIAL

    file.write_text(CSV + "5,")
    assert arrival.look_all({"a": str(file)}, 0, {})["a"].outcome is Outcome.PARTIAL
    known = {"a": {str(file): arrival.stamp(file)}}  # the last run has read it: a last line may be short for good
    assert arrival.look_all({"a": str(file)}, 0, known)["a"].outcome is None


# -- alerts ------------------------------------------------------------------------------------------------------------

NOTHING: dict[str, Any] = {
    "previous": {"run_id": "r1"},
    "identical": False,
    "data": {
        "rows": {"before": 1000, "now": 1010, "added": 10, "removed": 0, "revised": 0},
        "groups": {"region": {"before": 2, "now": 2, "came_count": 0, "went_count": 0, "came": [], "went": []}},
        "source": {"came": [], "went": [], "types": []},
    },
    "fixed": [
        {"term": "x", "before": 1.0, "now": 1.02, "se_now": 0.1},
        {"term": "year[1985]", "before": None, "now": 1.0, "se_now": 0.1},
    ],
    "choice": {"before": "pooled", "now": "pooled", "changed": False},
    "checks": [
        {"name": "tails", "before": "look", "now": "ok"},
        {"name": "optimum", "before": "ok", "now": "not applicable"},
    ],
}


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The quiet changes with one entry replaced."""
    copy = json.loads(json.dumps(NOTHING))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return copy


# Per rule: changes, a limit that they exceed, one that they do not, and the sentences.
CASES: dict[str, tuple[dict[str, Any], Any, Any, list[str]]] = {
    "columns": (
        changed(
            "data",
            "source",
            to={"came": ["z"], "went": ["w"], "types": [{"name": "x", "before": "number", "now": "text"}]},
        ),
        True,
        False,
        [
            "columns new: z.",
            "columns no longer there: w.",
            "column x was of the kind 'number' and is now of the kind 'text'.",
        ],
    ),
    "groups_gone": (
        changed("data", "groups", "region", to={"went_count": 23, "went": ["n", "s", "w", "e", "c", "f"]}),
        22,
        23,
        ["23 groups of region no longer there: n, s, w, e, c and 18 more."],
    ),
    "rows_fall": (changed("data", "rows", "now", to=800), 0.19, 0.2, ["rows fell by 20 %, from 1,000 to 800."]),
    "rows_rise": (changed("data", "rows", "now", to=1500), 0.4, 0.5, ["rows rose by 50 %, from 1,000 to 1,500."]),
    "rows_revised": (
        changed("data", "rows", "revised", to=60),
        0.05,
        0.06,
        ["60 of 1,000 earlier rows were revised (6 %)."],
    ),
    "choice": (
        changed("choice", to={"before": "pooled", "now": "multilevel", "changed": True}),
        True,
        False,
        ["the chosen model is now multilevel; it was pooled."],
    ),
    "checks": (
        changed("checks", 0, to={"name": "tails", "before": "ok", "now": "problem"}),
        True,
        False,
        ["the check tails turned from 'ok' to 'problem'."],
    ),
    "coefficient_se": (
        changed("fixed", 0, "now", to=1.25),
        2.4,
        2.6,
        ["x moved by 2.5 standard errors, from 1 to 1.25."],
    ),
    "coefficient_percent": (changed("fixed", 0, "now", to=0.75), 24, 25, ["x moved by 25 %, from 1 to 0.75."]),
    "coefficient_change": (changed("fixed", 0, "now", to=-1.0), 1.9, 2.0, ["x moved by 2, from 1 to -1."]),
}


@pytest.mark.parametrize("key", RULES)
def test_every_rule_fires_beyond_its_limit_and_only_there(key: str) -> None:
    changes, beyond, within, sentences = CASES[key]
    assert [a.message for a in evaluate(changes, {key: beyond})] == sentences
    assert all(a.rule == key for a in evaluate(changes, {key: beyond}))
    assert evaluate(changes, {key: within}) == []
    for quiet in (NOTHING, {"previous": {"run_id": "r1"}}, {**changes, "previous": None}, None):
        assert evaluate(quiet, {key: beyond}) == []
    assert RULES[key].__doc__ and key in config.Alerts.model_fields


def test_limits_come_from_the_file_and_then_from_the_analysis() -> None:
    assert list(config.Alerts.model_fields) == list(RULES)
    good = {"panel": "a.csv", "formula": "y ~ x"}
    own = {**good, "alerts": {"rows_fall": None, "groups_gone": 3}}
    read = config.load({"alerts": {"rows_fall": 0.3, "choice": False}, "analyses": {"a": good, "b": own}})
    assert config.alert_limits(read, "a")["rows_fall"] == 0.3
    limits = config.alert_limits(read, "b")
    assert (limits["rows_fall"], limits["groups_gone"], limits["choice"], limits["checks"]) == (None, 3, False, True)
    with pytest.raises(ConfigError, match=r"analyses.a.alerts.row_fall: unknown key 'row_fall'. Did you mean"):
        config.load({"analyses": {"a": {**good, "alerts": {"row_fall": 1}}}})


# -- outcomes and what is said -----------------------------------------------------------------------------------------


def test_codes_are_distinct_and_the_gravest_speaks() -> None:
    assert {o.name: o.code for o in Outcome} == {
        "SAME": 0,
        "NEW": 10,
        "ABSENT": 66,
        "PARTIAL": 65,
        "PERSON": 20,
        "FAILED": 1,
        "REFUSED": 2,
        "LOCKED": 75,
    }
    assert overall([Outcome.NEW, Outcome.SAME]) is Outcome.NEW
    assert overall([Outcome.NEW, Outcome.ABSENT, Outcome.SAME]) is Outcome.ABSENT
    assert overall([Outcome.PERSON, Outcome.PARTIAL]) is Outcome.PERSON
    assert overall([Outcome.PERSON, Outcome.FAILED]) is Outcome.FAILED


def test_summary_is_one_paragraph() -> None:
    results = {
        "b": Result(Outcome.SAME, "nothing new."),
        "a": Result(Outcome.FAILED, "fit: it\nfailed."),
        "c": Result(Outcome.SAME, "nothing new."),
    }
    record = Record.of(results)
    assert record.summary == (
        "hierreport: 3 analyses: 1 failed, 2 nothing new. b: nothing new. a: fit: it failed. c: nothing new. "
        "Exit code 1."
    )
    assert json.loads(record.json())["analyses"]["a"]["exit_code"] == 1


# -- notifications -----------------------------------------------------------------------------------------------------


class Post:
    """Stands for apprise.Apprise: takes what a test address says."""

    sent: ClassVar[list[tuple[str, str, str]]] = []

    def add(self, url: str) -> bool:
        self.url = url
        return not url.startswith("what:")

    def notify(self, title: str, body: str) -> bool:
        logging.getLogger("apprise").error("cannot reach %s", self.url)
        if "raise" in self.url:
            raise RuntimeError(self.url)
        self.sent.append((self.url, title, body))
        return "fail" not in self.url


def test_a_failed_notification_is_said_and_shows_no_address(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", types.SimpleNamespace(Apprise=Post))
    monkeypatch.setenv("MINE", "good:secret2 fail:secret3")
    monkeypatch.setenv(notify.VARIABLE, "good:secret6")
    entries = ["good:secret1", "env:MINE", "what:secret4", "raise:secret5", "env:NOT_SET"]
    delivery = notify.send("heading", "paragraph", entries)
    assert delivery.sent == 3
    assert delivery.faults == (
        "notify[5]: the environment variable NOT_SET is not set.",
        "notify[2] (MINE): the notification was not delivered.",
        "notify[3]: Apprise does not know this kind of address.",
        "notify[4]: the notification was not delivered (RuntimeError).",
    )
    assert [url for url, *_ in Post.sent] == ["good:secret1", "good:secret2", "fail:secret3", "good:secret6"]
    assert "secret" not in "".join(capfd.readouterr()) + repr(delivery)


def test_without_apprise_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert "pip install 'hierreport[notify]'" in notify.send("a", "b", ["mailto://me:secret@example.org"]).faults[0]
    assert notify.send("a", "b", []) == notify.Delivery(0, ())


def test_a_faulty_address_list_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as refused:
        config.load({"analyses": {"a": {"panel": "a.csv", "formula": "y ~ x"}}, "notify": "mailto://me:secret@x.org"})
    assert str(refused.value) == "config: notify: does not fit: it is a list of texts."
    with pytest.raises(ConfigError, match="list of texts") as refused:
        config.load({"analyses": {"a": {"panel": "a.csv", "formula": "y ~ x"}}, "notify": [["secret"]]})
    assert "secret" not in str(refused.value)
