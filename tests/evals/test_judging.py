"""The judge by itself, on questions with paragraphs of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.judging import evaluate, load, passages
from persona.corpus.passages import MAX_WORDS
from persona.errors import InputError
from tests.fakes import WordJudge
from tests.persona.corpora import assert_sentence

LAMP = "Ada Quill lit the lamp of Kilmore. It was seen from nine islands."
QAS = [
    {"question": "Who lit the lamp of Kilmore?", "answers": [{"text": "Ada Quill"}], "is_impossible": False},
    {"question": "Who painted Dunmore's pier?", "answers": [], "is_impossible": True},
]
ARTICLES = [{"paragraphs": [{"context": "Bread.", "qas": []}]}, {"paragraphs": [{"context": LAMP, "qas": QAS}]}]


@pytest.mark.parametrize("made", [ARTICLES, {"version": "v2.0", "data": ARTICLES}])
def test_a_file_is_read_as_a_list_of_articles_or_as_squad_has_it(tmp_path: Path, made: object) -> None:
    file = tmp_path / "dev.json"
    file.write_text(json.dumps(made))
    assert [(a.question, a.answerable) for a in load(file)] == [(q["question"], not q["is_impossible"]) for q in QAS]
    assert load(file, last=1) == load(file)


@pytest.mark.parametrize("text", ["", "{", '{"data": [{"paragraphs": [{"qas": []}]}]}', "[1]"])
def test_another_format_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "dev.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load(file)
    assert_sentence(caught.value, str(file))


def test_a_missing_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path / "none.json")
    assert_sentence(caught.value, "none.json")


def test_answerable_questions_are_told_from_others(tmp_path: Path) -> None:
    file = tmp_path / "dev.json"
    file.write_text(json.dumps(ARTICLES))
    told: list[tuple[int, int]] = []
    found = evaluate(WordJudge(), load(file), lambda done, of: told.append((done, of)))
    assert [(value, of) for _, value, of in found] == [(1.0, 2), (1.0, 2), (1.0, 1)]
    assert told[-1] == (2, 2)


def test_a_paragraph_is_cut_as_a_talk_is_and_nothing_is_left_out() -> None:
    sentences = [f"Sentence number {i} says a few words of no weight at all." for i in range(60)]
    found = passages(" ".join(sentences))
    assert {s for part in found for s in part} == set(sentences)
    assert all(sum(len(s.split()) for s in part) <= MAX_WORDS for part in found)
    assert passages("") == [[""]]
