"""The judge's training data: where the answers are marked, and that counterexamples hold none."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from persona.errors import InputError
from scripts import talks
from scripts.judge.pairs import Article, Asked, Maker, Pair, Paragraph, talk_articles, windows
from scripts.reader.pairs import split

TEXT = (
    "Ada Quill lit the lamp of Kilmore in 1912. It was seen from nine islands. The keepers were paid by the harbour. "
    "Each of them had a boat of his own. In winter they stayed ashore. The tower is built of grey granite."
)
OTHER = "The harbour of Dunmore has two piers. Ada Quill never went there. Its lamp burns gas, and it is lit by hand."


def paragraph(text: str, asked: list[tuple[str, str]]) -> Paragraph:
    made = Paragraph(text, split(text))
    for question, answer in asked:
        at = text.find(answer)
        spans, answers = ([(at, at + len(answer))], [answer]) if answer else ([], [])
        made.questions.append(Asked(question, spans, answers))
    return made


@pytest.fixture
def articles() -> list[Article]:
    """Two articles, of three paragraphs in all."""
    lamps = [
        paragraph(TEXT, [("Who lit the lamp of Kilmore in 1912?", "Ada Quill"), ("Who sold the lamp?", "")] * 20),
        paragraph(OTHER, [("How many piers has Dunmore?", "two"), ("What does the lamp of Dunmore burn?", "gas")] * 20),
    ]
    bread = [
        paragraph("Rye bread needs sour dough. It keeps for a week.", [("How long does rye bread keep?", "a week")])
    ]
    return [Article("Lamps", lamps), Article("Bread", bread)]


@pytest.fixture
def pairs(articles: list[Article]) -> list[Pair]:
    """One epoch."""
    return list(Maker(articles, random.Random(0)).pairs())


def test_every_kind_of_pair_is_made(pairs: list[Pair]) -> None:
    kinds = Counter(p.kind for p in pairs)
    assert set(kinds) == {"right", "near_miss", "without_answer", "same_article", "elsewhere", "swapped"}
    assert kinds["near_miss"] < kinds["without_answer"] + kinds["same_article"] + kinds["elsewhere"]


def test_the_answers_are_marked_in_the_passage(pairs: list[Pair]) -> None:
    found = {p.text[a:b] for p in pairs if p.kind == "right" for a, b in p.answers}
    assert found == {"Ada Quill", "two", "gas", "a week"}


def test_counterexamples_hold_no_answer(pairs: list[Pair]) -> None:
    wrong = [p for p in pairs if p.kind != "right"]
    assert all(p.answers == () for p in wrong)
    for pair in wrong:
        if pair.kind in ("without_answer", "same_article") and pair.question.startswith("Who lit"):
            assert "Ada Quill" not in pair.text


def test_a_swapped_question_asks_for_what_its_passage_lacks(pairs: list[Pair]) -> None:
    swapped = [p for p in pairs if p.kind == "swapped"]
    asked = {
        "Who lit the lamp of Kilmore in 1912?",
        "How many piers has Dunmore?",
        "What does the lamp of Dunmore burn?",
    }
    assert swapped
    assert not {p.question for p in swapped} & asked


def test_windows_hold_whole_sentences_and_leave_none_out() -> None:
    made = Paragraph(TEXT, split(TEXT))
    for size in (5, 12, 40, 400):
        found = windows(made, size)
        assert {n for w in found for n in range(w.first, w.last + 1)} == set(range(len(made.sentences)))
        assert all(len(TEXT[w.start : w.end].split()) <= size or w.first == w.last for w in found)


def test_the_same_seed_draws_the_same_pairs(articles: list[Article], pairs: list[Pair]) -> None:
    assert list(Maker(articles, random.Random(0)).pairs()) == pairs


def test_a_talk_is_asked_what_it_answers_and_what_only_its_counterpart_does() -> None:
    made = talk_articles()
    asked = [(p.text, q) for a in made for p in a.paragraphs for q in p.questions]
    assert all(any(a in text for a in q.answers) for text, q in asked if q.answers)
    answered, open_ = ({q.question for _, q in asked if bool(q.spans) is held} for held in (True, False))
    assert len(answered & open_) > 0.7 * len(answered), "the same question with its answer and without"


def test_an_answer_that_a_talk_lacks_is_named(tmp_path: Path) -> None:
    side = {"title": "Lamps", "paragraphs": [TEXT]}
    line = {"topic": "lamps", "style": "talk", "a": side, "b": side, "questions": [{"q": "who?", "a": ["Bo"], "b": []}]}
    (tmp_path / "t.jsonl").write_text(json.dumps(line))
    with pytest.raises(InputError, match=r"t\.jsonl, line 1: 'Bo'"):
        talks.load(tmp_path)
    (tmp_path / "t.jsonl").write_text('{"topic": "lamps"}')
    with pytest.raises(InputError, match=r"t\.jsonl, line 1: Field required"):
        talks.load(tmp_path)
