"""Numbers in sentences: marked while they are written, known afterwards, never seen."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hierreport
from hierreport import said
from hierreport.errors import DataError
from hierreport.records import Spoken, plain

MARKS = (said.OPEN, said.MIDDLE, said.CLOSE)
WORDS = st.text(st.characters(exclude_characters=MARKS, exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.tuples(WORDS, st.floats(allow_nan=False) | st.integers(-(10**15), 10**15), WORDS), max_size=4), WORDS
)
def test_a_sentence_knows_where_its_numbers_are(pieces: list[tuple[str, float, str]], end: str) -> None:
    text = "".join(before + said.mark(value, shown) for before, value, shown in pieces) + end
    sentence = said.Said(text)
    assert sentence == "".join(before + shown for before, _, shown in pieces) + end
    for number, (_, value, shown) in zip(sentence.numbers, pieces, strict=True):
        assert sentence[number["at"] : number["at"] + len(shown)] == shown == number["text"]
        assert number["value"] == (None if value in (float("inf"), float("-inf")) else value)
    assert said.Said(said.marked(sentence)).numbers == sentence.numbers


def test_records_put_numbers_beside_their_sentences_and_quotes_find_them_again() -> None:
    @dataclass(frozen=True)
    class Finding(Spoken):
        text: str
        notes: list[str] = field(default_factory=list)

    found = Finding(f"{said.whole(1234)} rows, p {said.mark(2e-9, '< 0.001')}", ["plain", f"of {said.whole(9)}"])
    assert found.text == "1,234 rows, p < 0.001" and found.notes == ["plain", "of 9"]
    record = json.loads(json.dumps(plain({"found": found})))["found"]
    assert record["text"] == "1,234 rows, p < 0.001"
    assert record["numbers"] == {
        "text": [{"at": 0, "text": "1,234", "value": 1234}, {"at": 14, "text": "< 0.001", "value": 2e-9}],
        "notes": [[], [{"at": 3, "text": "9", "value": 9}]],
    }
    again = said.Said(said.quote(record, "text", "a.json#/found"))
    assert again == record["text"] and again.numbers[1]["source"] == "a.json#/found/numbers/text/1/value"
    note = said.Said(said.quote(record, "notes/1", "a.json#/found"))
    assert note == "of 9" and note.numbers[0]["source"] == "a.json#/found/numbers/notes/1/0/value"
    assert said.quote({"text": "plain"}, "text", "a.json#") == "plain"


def test_refusals_show_no_marks() -> None:
    assert str(DataError(f"{said.whole(3)} rows are missing.", "a.csv")) == "a.csv: 3 rows are missing."


def test_nothing_that_python_gives_has_marks(root: Path) -> None:
    formula = "log(gsp) ~ log(emp) + unemp + (1 | region/state)"
    ladder = hierreport.ladder(root / "config" / "data" / "us_states.csv", formula, time="year")
    told = [ladder.summary, str(ladder.choice), json.dumps(ladder.to_dict(), ensure_ascii=False)]
    told.append(json.dumps(ladder.inference(), ensure_ascii=False))
    told += [str(ladder.rungs[name].robust()) for name in ("pooled", "multilevel")]
    assert not [mark for mark in MARKS for text in told if mark in text]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_has_no_value(value: float) -> None:
    assert said.Said(said.mark(value, "–")).numbers == [{"at": 0, "text": "–", "value": None}]
