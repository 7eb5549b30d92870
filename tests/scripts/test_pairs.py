"""The reader's training data: what is read of the data sets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from persona.errors import InputError
from scripts.reader.pairs import batches, load, misspelt, split

TEXT = "The keeper lit the lamp in 1912. Was it bright? It was seen from Kilmore."
QUESTION = {"question": "When was the lamp lit?", "answers": ["1912"], "is_impossible": False}
NEAR_MISS = {"question": "When was the lamp sold?", "answers": [], "is_impossible": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tiny data sets in the three formats."""
    lamps = {"title": "Lamps", "paragraphs": [{"context": TEXT, "qas": [QUESTION, NEAR_MISS]}]}
    squad = [lamps, *({"title": f"T{i}", "paragraphs": []} for i in range(3))]
    (tmp_path / "squad2-dev-37-articles.json").write_text(json.dumps(squad))
    selqa = [
        {"article": f"A{i}", "question": f"q{i}?", "candidates": ["No.", "Yes."], "answers": [1]} for i in range(22)
    ]
    (tmp_path / "selqa-ass-dev.json").write_text(json.dumps(selqa))
    (tmp_path / "selqa-ass-test.json").write_text("[]")
    qed = {
        "title_text": "Lamps",
        "question_text": "where was it seen from",
        "paragraph_text": TEXT,
        "sentence_starts": [0, 33, 48],
        "original_nq_answers": [[{"start": 65, "end": 72}]],
    }
    (tmp_path / "qed-dev.jsonlines").write_text(json.dumps(qed) + "\n")
    return tmp_path


def test_sentences_cover_the_text() -> None:
    spans = split(TEXT)
    assert [TEXT[a:b].strip() for a, b in spans] == TEXT.replace(". ", ".|").replace("? ", "?|").split("|")
    assert "".join(TEXT[a:b] for a, b in spans) == TEXT


def test_each_data_set_names_the_sentence_that_answers(folder: Path) -> None:
    train, held = load(folder)
    by_name = {article.name: article for article in train}
    (lamps,) = by_name["SQuAD: Lamps"].paragraphs
    assert lamps.questions == [("When was the lamp lit?", [0])], "near-misses are left out"
    (seen,) = by_name["QED: Lamps"].paragraphs[0].questions
    assert seen.sentences == [2]
    assert by_name["SelQA: A0"].paragraphs[0].questions[0].sentences == [1]
    assert len([a for a in held if a.name.startswith("SelQA")]) == 20


def test_an_epoch_has_every_paragraph_once(folder: Path) -> None:
    train, _ = load(folder)
    seen = [p.text for batch in batches(train, 2, random.Random(1)) for p in batch]
    assert sorted(seen) == sorted(p.text for a in train for p in a.paragraphs)


def test_misspelling_leaves_most_words_alone() -> None:
    draw = random.Random(3)
    question = "When did the keeper light the lantern?"
    made = [misspelt(question, draw) for _ in range(300)]
    assert question in made
    assert any(m.rstrip("?") != question.rstrip("?") for m in made)
    assert all(
        sum(a != b for a, b in zip(m.rstrip("?").split(), question[:-1].split(), strict=True)) <= 1 for m in made
    )


def test_a_missing_data_set_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Give the folder with the data sets"):
        load(tmp_path)
