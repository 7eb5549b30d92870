"""The `quotes` voice: which sentences make a reply."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.card import Card
from persona.corpus import Corpus
from persona.evidence import Span
from persona.types import Hit, Passage, Reason, Sentence
from persona.voices import QuotesVoice, put_together


def sentence(number: int, *, joined: bool = True, paragraph: int = 0, speaker: str | None = "Mara") -> Sentence:
    return Sentence("talk", number, f"S{number}.", f"S{number}.", speaker, None, None, paragraph, "", joined)


ONE, TWO, THREE, FOUR = map(sentence, range(1, 5))


def test_neighbours_become_one_quotation_in_the_order_they_were_said() -> None:
    assert put_together([(TWO,)], (THREE,)) == [(TWO, THREE)]
    assert put_together([(TWO,)], (ONE,)) == [(ONE, TWO)]
    assert put_together([(FOUR,), (ONE,)], (TWO, THREE)) == [(TWO, THREE, FOUR), (ONE,)]


def test_what_is_apart_stays_apart() -> None:
    assert put_together([(ONE,)], (THREE,)) == [(ONE,), (THREE,)]
    for other in (
        replace(TWO, joined=False),
        replace(TWO, paragraph=1),
        replace(TWO, speaker="Tobin"),
        replace(TWO, document="other"),
    ):
        assert put_together([(ONE,)], (other,)) == [(ONE,), (other,)]


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_nothing_is_lost_and_no_gap_is_bridged(order: list[int], breaks: set[int]) -> None:
    parts: list[tuple[Sentence, ...]] = []
    for number in order:
        parts = put_together(parts, (sentence(number, joined=number not in breaks),))
    assert sorted(s.number for part in parts for s in part) == list(range(8))
    for part in parts:
        assert [s.number for s in part] == list(range(part[0].number, part[-1].number + 1))
        assert all(s.joined for s in part[1:])


def test_what_somebody_asked_is_not_told_as_a_part_of_the_answer(card: Card, corpus: Corpus) -> None:
    def span(passage: Passage, behind: float, *, asks: bool) -> Span:
        chosen = next(s for s in passage.sentences if s.text.endswith("?") is asks and len(s.text) > 30)
        return Span(Hit(passage, 0.0, 0.0, 0.0), (chosen,), 0, {"ranker": -behind})

    said = [p for p in corpus.passages if p.kind.verbatim and p.speaker]
    asking = [p for p in said if any(s.text.endswith("?") and len(s.text) > 30 for s in p.sentences)]
    telling = [p for p in said if any(not s.text.endswith("?") and len(s.text) > 30 for s in p.sentences)]
    first, second = span(telling[0], 0.0, asks=False), span(telling[-1], 0.5, asks=False)
    question = span(asking[len(asking) // 2], 0.2, asks=True)
    voice = QuotesVoice(card, corpus)
    draft = voice.compose([first, question, second], Reason.SUPPORTED)
    assert [c.quote for c in draft.citations] == [first.text, second.text]
    alone = voice.compose([question, first], Reason.SUPPORTED)  # a question may be what was asked for
    assert alone.citations[0].quote == question.text


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("Geoffrey Hinton suggested other methods.", "Geoffrey Hinton suggested other methods."),
        ("Finally, GPT-2 is described.", "finally, GPT-2 is described."),
        ("The Transformer changed that.", "the Transformer changed that."),
        ("Training Transformers takes long.", "training Transformers takes long."),
        ("Noam Chomsky believes so.", "Noam Chomsky believes so."),
        ("Measuring AI progress is hard.", "measuring AI progress is hard."),
        ("Meanwhile Google grew.", "meanwhile Google grew."),
        ("Overfitting occurs.", "overfitting occurs."),
    ],
)
def test_a_report_goes_on_in_small_letters_but_for_names(card: Card, corpus: Corpus, sentence: str, told: str) -> None:
    assert QuotesVoice(card, corpus).within(sentence) == told
