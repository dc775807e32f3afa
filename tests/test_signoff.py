"""The model document and the form behind it: nothing written is lost, nothing stale passes for confirmed."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from history_fixture import Project, rows
from report_fixtures import write_artifacts

from hierreport import signoff, stages
from hierreport.cli import main
from hierreport.errors import ConfigError
from hierreport.provenance import verify_folder
from hierreport.provenance.page import Addresses, numbers
from hierreport.report import render
from hierreport.signoff import form as forms
from hierreport.signoff.guidance import TOPICS
from hierreport.signoff.places import PLACES

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "nasty_names": {"firms": 40, "nasty": True, "ar1": True, "inference": True},
    "nothing_optional": {"optional": False, "time": False},
    "pooled": {"chosen": "pooled"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_artifacts(tmp_path / "results" / "demo")


@pytest.fixture
def form(tmp_path: Path, folder: Path) -> Path:
    render(folder, {})
    path = tmp_path / "forms" / "demo.yaml"
    assert signoff.create(path, "demo", folder)
    return path


def fill(form: Path, **texts: str) -> None:
    """Write entries as a person would: after the key, in the form as it is."""
    text = form.read_text()
    for key, said in texts.items():
        text, count = re.subn(rf"^( *){key}:.*$", lambda m, k=key, s=said: f"{m[1]}{k}: {s}", text, flags=re.MULTILINE)
        assert count == 1, key
    form.write_text(text)


def states(form: Path, folder: Path) -> dict[str, str]:
    return {p.place.key: p.state for p in signoff.entries(form, folder)}


def notes(form: Path, folder: Path) -> dict[str, str]:
    return {p.place.key: p.note for p in signoff.entries(form, folder)}


def edit(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in ("model_document.md", "model_document.html")}


# the document ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_document_has_its_sections_in_order_and_every_number_stands_at_its_address(case: str, tmp_path: Path) -> None:
    folder = write_artifacts(tmp_path / "demo", **CASES[case])
    render(folder, {"title": "A <b>title</b>"})
    order = ["Intended use", "Data", "Theory", "Alternatives considered", "Assumptions and their checks", "Outcomes"]
    order += ["Limitations", "Monitoring", "Change log", "Approval", "Where supervisory guidance is answered"]
    for text in texts(folder).values():
        heads = re.findall(r"^## \d+\. (.*)$|<h2[^>]*>(.*)</h2>", text, re.MULTILINE)
        assert [a or b for a, b in heads] == ["Document control", *order]
    page = folder / "model_document.html"
    found, addresses = numbers(page), Addresses(folder)
    assert len(found) > 30
    assert [fault for fault in map(addresses.fault, found) if fault] == []
    assert "<b>title</b>" not in page.read_text() and "<script>alert" not in page.read_text()
    assert "Content-Security-Policy\" content=\"default-src 'none';" in html.unescape(page.read_text())


def test_same_input_gives_the_same_bytes(folder: Path) -> None:
    render(folder, {})
    before = texts(folder)
    render(folder, {})
    assert texts(folder) == before


def test_guidance_is_mapped_without_a_claim(folder: Path) -> None:
    render(folder, {})
    for text in texts(folder).values():
        page = text.split("Where supervisory guidance is answered")[-1]
        assert "SR 26-2" in page and "17 April 2026" in page and "SS1/23" in page
        assert "not a statement that the model, this document or its owner complies with either" in page
        assert "complian" not in text.lower() and text.count("complies") == 1
        assert all(topic.name in page for topic in TOPICS)
    keys = {place.section for place in PLACES}
    assert keys | {"assumptions", "changes"} == {s for topic in TOPICS for s in topic.sections}


def test_every_place_is_marked_in_both_shapes(folder: Path) -> None:
    render(folder, {})
    markdown, page = texts(folder).values()
    assert markdown.count("[TO FILL IN]") == len(PLACES) + len(forms.problems(folder))
    assert page.count('class="place"') == markdown.count("[TO FILL IN]")
    assert "hierreport signoff --init" in markdown and "hierreport signoff --init" in page


def history(folder: Path, numbers: list[int]) -> Path:
    """The project of ``history_fixture`` run once for each number, which is added to ``y`` of the first rows."""
    project, table = Project(folder), rows()
    for number in numbers:
        project.data([{**r, "y": r["y"] + number * r["x"] * (i < 60)} for i, r in enumerate(table)])
        project.stage(*(stage for stage in stages.STAGES if stage not in ("verify", "sensitivity")))
    return project.folder


def test_change_log_is_what_the_history_says(tmp_path: Path) -> None:
    folder = history(tmp_path, [0])
    for text in texts(folder).values():
        assert "This is the first run of the analysis that is kept." in text
    folder = history(tmp_path / "again", [0, 2])
    found = json.loads((folder / "changes.json").read_text())
    markdown = texts(folder)["model_document.md"]
    log = markdown.split("Change log")[1].split("## ")[0]
    assert found["previous"]["run_id"] in log and found["run"]["run_id"] in log
    assert "60 rows were revised" in log
    turned = [c["title"] for c in found["checks"]]
    assert turned and all(title in log for title in turned)
    x = next(f for f in found["fixed"] if f["term"] == "x")
    assert x["now"] - x["before"] > 0.4 and f"| {x['before']:.2f} | {x['now']:.2f} |" in log
    checked, addresses = numbers(folder / "model_document.html"), Addresses(folder)
    assert any(n.address.startswith("changes.json#/fixed/") for n in checked)
    assert [fault for fault in map(addresses.fault, checked) if fault] == []
    for file in folder.rglob("*.md"):  # numbers in sentences are marked inside, by characters that nobody may see
        assert not re.search("[\ue0f0-\ue0f2]", file.read_text()), file


def test_verify_finds_what_changed_in_form_and_document(tmp_path: Path) -> None:
    form = tmp_path / "form.yaml"
    form.write_text("owner: Jane\n")
    project = Project(tmp_path, sign_off=str(form))
    project.data(rows())
    project.stage(*stages.STAGES)
    outcome = verify_folder(project.folder)
    assert outcome.ok and "1 of 1 sign-off files have their bytes" in outcome.text
    form.write_text("owner: Joe\n")
    assert [name for name, _ in verify_folder(project.folder).failures] == [str(form)]
    form.write_text("owner: Jane\n")
    page = project.folder / "model_document.html"
    number = next(n for n in numbers(page) if n.address.endswith("/estimate"))
    page.write_text(page.read_text().replace(f'value="{number.value}"', 'value="0.125"'))
    assert {name for name, _ in verify_folder(project.folder).failures} == {"model_document.html"}


# the form -----------------------------------------------------------------------------------------------------------


def test_new_form_has_every_place_and_every_problem_and_is_empty(form: Path, folder: Path) -> None:
    known = forms.read(form)
    asked = {f"responses.{name}" for name in forms.problems(folder)}
    assert asked and set(known) == {p.key for p in PLACES} | asked
    assert set(known.values()) == {""}
    assert set(yaml.safe_load(form.read_text())) == {p.key for p in PLACES} | {"responses"}


def test_a_form_is_never_written_over(form: Path, folder: Path) -> None:
    form.write_text("owner: somebody\n")
    assert not signoff.create(form, "demo", folder)
    assert form.read_text() == "owner: somebody\n"
    assert [p.name for p in form.parent.iterdir()] == ["demo.yaml"]


def test_what_is_typed_is_what_is_shown(form: Path, folder: Path) -> None:
    fill(form, owner="yes", model_id="007", approval="2026-04-17", tier='"2: # not *bold* <b>"')
    fill(form, rationale="|\n  First line\n    - kept as it is\n\n  Δ last")
    assert forms.read(form)["owner"] == "yes"
    assert forms.read(form)["model_id"] == "007"
    assert forms.read(form)["approval"] == "2026-04-17"
    render(folder, {"sign_off": str(form)})
    markdown, page = texts(folder).values()
    assert "> 2: \\# not \\*bold\\* \\<b\\>" in markdown and "2: # not *bold* &lt;b&gt;" in page
    assert "First line\n  - kept as it is\n\nΔ last" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ownr: x\n", "line 1: unknown entry 'ownr'. Did you mean 'owner'?"),
        ("owner: x\nowner: y\n", "line 2: 'owner' is there twice."),
        ("owner: [a, b]\n", "line 1: 'owner' must be text."),
        ("owner: Jane, desk#3\ntier: No #2\n", "line 2: '#2' would be taken for a comment and be lost."),
        ("owner:  # Jane\n", "line 1: '# Jane' would be taken for a comment and be lost."),
        ("owner: Jane: head\n", "is not YAML"),
        ("- a\n", "line 1: the form must be a block"),
        ("responses: none\n", "line 1: responses must be a block"),
        ("responses:\n  influence: [a]\n", "line 2: 'responses.influence' must be text."),
    ],
)
def test_a_form_that_would_lose_something_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "form.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        forms.read(path)
    assert str(refused.value).startswith(f"{path}: {message}")


def test_missing_form_is_refused_and_the_document_stays(form: Path, folder: Path) -> None:
    fill(form, owner="Jane")
    render(folder, {"sign_off": str(form)})
    before = texts(folder)
    form.unlink()
    with pytest.raises(ConfigError, match="the sign-off form is missing"):
        render(folder, {"sign_off": str(form)})
    assert texts(folder) == before


# confirmations ------------------------------------------------------------------------------------------------------


def test_entries_go_from_empty_to_confirmed_and_back(form: Path, folder: Path) -> None:
    assert set(states(form, folder).values()) == {"to fill in"}
    fill(form, owner="Jane", tier="2")
    assert states(form, folder)["owner"] == states(form, folder)["tier"] == "not confirmed"
    assert set(signoff.confirm(form, folder, by="J. Doe")) == {"owner", "tier"}
    assert states(form, folder)["owner"] == "confirmed" and "by J. Doe" in notes(form, folder)["owner"]
    assert signoff.confirm(form, folder) == {}
    fill(form, owner="Joe")
    assert states(form, folder)["owner"] == "not confirmed" and "changed since" in notes(form, folder)["owner"]
    assert states(form, folder)["tier"] == "confirmed"


def turn_check(folder: Path) -> None:
    edit(folder / "checks.json", lambda v: next(c for c in v["checks"] if c["status"] == "ok").update(status="look"))


def other_rung(folder: Path) -> None:
    edit(folder / "ladder.json", lambda v: v["choice"].update(rung="random_intercept"))


def lose_effect(folder: Path) -> None:
    for file in (folder / "rungs").glob("*.json"):
        edit(file, lambda r: [f.update(ci_low=-1, ci_high=1) for f in r["reml"]["fixed"] if f["term"] == "log(wage)"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (turn_check, r"check \w+ was ok, is look"),
        (other_rung, "the chosen rung was random_slope, is random_intercept"),
        (lose_effect, r"effect of log\(wage\) was negative, is not told from zero"),
    ],
)
def test_entries_confirmed_for_other_results_are_flagged(change: Any, said: str, form: Path, folder: Path) -> None:
    problem = next(iter(forms.problems(folder)))
    fill(form, owner="Jane", tier="2", **{problem: "accepted"})
    signoff.confirm(form, folder)
    change(folder)
    render(folder, {"sign_off": str(form)})
    assert states(form, folder)["tier"] == states(form, folder)[f"responses.{problem}"] == "to be confirmed again"
    assert re.search(said, notes(form, folder)["tier"])
    assert states(form, folder)["owner"] == "confirmed"  # a name does not depend on the results
    for text in texts(folder).values():
        assert "to be confirmed again" in text.lower() and re.search(said, text.replace("\\", ""))
    signoff.confirm(form, folder)
    assert states(form, folder)["tier"] == "confirmed"


def test_new_rows_that_change_no_finding_leave_entries_confirmed(form: Path, folder: Path) -> None:
    fill(form, tier="2")
    signoff.confirm(form, folder)
    for file in (folder / "rungs").glob("*.json"):
        edit(file, lambda r: [f.update(estimate=f["estimate"] * 1.001) for f in r["reml"]["fixed"]])
    render(folder, {"sign_off": str(form)})
    assert states(form, folder)["tier"] == "confirmed"


def test_words_about_a_check_that_is_gone_are_kept(form: Path, folder: Path) -> None:
    form.write_text(form.read_text() + "  an_old_check: it was accepted in 2025\n")
    render(folder, {"sign_off": str(form)})
    for text in texts(folder).values():
        assert "it was accepted in 2025" in text and "a check that this run does not have" in text


def test_an_empty_or_unknown_entry_cannot_be_confirmed(form: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="the entry 'tier' is empty"):
        signoff.confirm(form, folder, ["tier"])
    with pytest.raises(ConfigError, match="there is no entry 'teir'"):
        signoff.confirm(form, folder, ["teir"])
    assert not signoff.files(form)[1].exists()


def test_damaged_confirmations_are_refused(form: Path, folder: Path) -> None:
    signoff.files(form)[1].write_text("{")
    with pytest.raises(ConfigError, match=r"demo\.confirmed\.json: cannot be read"):
        signoff.entries(form, folder)


# the command --------------------------------------------------------------------------------------------------------


def test_command_starts_lists_and_confirms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    render(write_artifacts(Path("results/demo")), {})
    config = {"analyses": {"demo": {"panel": "x.csv", "formula": "y ~ x + (1 | g)"}}}
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    assert main(["signoff", "demo", "--config", "mine.yaml", "--confirm"]) == 2
    assert "analyses.demo.sign_off: no sign-off form is named." in capsys.readouterr().err
    assert main(["signoff", "--config", "mine.yaml", "--init"]) == 0
    out = capsys.readouterr().out
    assert "wrote config/sign_off/demo.yaml" in out and "sign_off: config/sign_off/demo.yaml" in out
    config["analyses"]["demo"]["sign_off"] = "config/sign_off/demo.yaml"
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    fill(Path("config/sign_off/demo.yaml"), owner="Jane")
    assert main(["signoff", "--config", "mine.yaml", "--init"]) == 0
    assert "is there already" in capsys.readouterr().out
    assert main(["signoff", "--config", "mine.yaml", "--confirm", "--entries", "owner", "--by", "Jane"]) == 0
    assert capsys.readouterr().out == "demo: confirmed owner\n"
    assert main(["signoff", "--config", "mine.yaml"]) == 1
    assert re.search(r"confirmed +owner: by Jane", capsys.readouterr().out)
    assert main(["signoff", "other", "--config", "mine.yaml"]) == 2
    assert "there is no analysis 'other'" in capsys.readouterr().err
