"""Passages: windows of whole sentences by one speaker, what stands before them, and what is merged."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from persona.corpus import Corpus
from persona.corpus.passages import MAX_WORDS, SAME_WORDS, merge_duplicates
from persona.text import stems
from persona.types import DocumentKind, Passage, Sentence
from tests.persona.corpora import one_document, sentences


def test_a_passage_holds_one_speaker_and_one_paragraph(corpus: Corpus) -> None:
    for passage in corpus.passages:
        assert len({(s.speaker, s.paragraph, s.document) for s in passage.sentences}) == 1


def test_a_passage_holds_whole_neighbouring_sentences(corpus: Corpus) -> None:
    for passage in corpus.passages:
        numbers = [s.number for s in passage.sentences]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert all(corpus.sentences[passage.document][s.number] is s for s in passage.sentences)


def test_a_passage_is_short_unless_one_sentence_is_long(corpus: Corpus) -> None:
    for passage in corpus.passages:
        assert len(passage.sentences) == 1 or len(passage.text.split()) <= MAX_WORDS


@pytest.mark.parametrize(
    "document", ["fireside-transcript", "fireside-notes", "lex-podcast-summary", "theory-session-summary"]
)
def test_a_sentence_that_no_passage_holds_is_said_by_another(corpus: Corpus, document: str) -> None:
    held = {(s.document, s.number): frozenset(stems(s.search)) for p in corpus.passages for s in p.sentences}
    for sentence in corpus.sentences[document]:
        if (document, sentence.number) not in held:
            own = frozenset(stems(sentence.search))
            assert any(len(own & other) >= SAME_WORDS * len(own | other) for other in held.values()), sentence.text


def test_ids_are_unique(corpus: Corpus) -> None:
    assert len({p.id for p in corpus.passages}) == len(corpus.passages)


def test_a_long_turn_becomes_overlapping_windows(tmp_path: Path) -> None:
    text = "Anna: " + " ".join(f"Sentence number {i} has just exactly ten words in it." for i in range(30))
    corpus = one_document(tmp_path, text, speakers=["Anna", "Carl"])
    spans = [(p.sentences[0].number, p.sentences[-1].number) for p in corpus.passages]
    assert spans[0][0] == 0
    assert spans[-1][1] == 29
    for (first, last), (next_first, next_last) in pairwise(spans):
        assert first < next_first <= last < next_last


def test_a_sentence_longer_than_a_window_is_a_passage_by_itself(tmp_path: Path) -> None:
    text = "Anna: Short one here. " + "word " * 150 + "end. Short two here."
    corpus = one_document(tmp_path, text, speakers=["Anna", "Carl"])
    assert [len(p.sentences) for p in corpus.passages if len(p.text.split()) > MAX_WORDS] == [1]


def test_an_answer_carries_the_question_before_it(tmp_path: Path) -> None:
    text = "Anna: I was there. How far does the light carry?\nCarl: Nineteen miles on a clear night."
    corpus = one_document(tmp_path, text, speakers=["Anna", "Carl"])
    answer = next(p for p in corpus.passages if p.speaker == "Carl")
    assert answer.context == "How far does the light carry?"
    assert [s.speaker for s in answer.asked] == ["Anna"]


def test_a_question_of_ones_own_is_no_context(tmp_path: Path) -> None:
    text = "Anna: Well, good.\nCarl: How far does it carry? Nineteen miles."
    corpus = one_document(tmp_path, text, speakers=["Anna", "Carl"])
    assert next(p for p in corpus.passages if p.speaker == "Carl").context == ""


def test_a_report_carries_its_heading(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "# The light\n\nIt carries nineteen miles.\n", file="n.md", kind="notes")
    assert corpus.passages[0].context == "The light"


def sentence(text: str, number: int = 0, document: str = "a") -> Sentence:
    return Sentence(document, number, text, text, None, None, None, 0, "", joined=number > 0)


def passage(*texts: str, document: str = "a", first: int = 0, talk: str = "t") -> Passage:
    held = tuple(sentence(t, first + i, document) for i, t in enumerate(texts))
    return Passage(f"{document}{talk}{first}", document, DocumentKind.SUMMARY, talk, held, "")


LAMP = "The lamp on the old tower was lit every evening an hour before the sun went down by the keeper."
LAMP_NEARLY = "The lamp on the old tower was lit every evening one hour before the sun went down by the keeper."
BELL = "The bell was rung every ninety seconds in the fog so that no ship would come too near the rocks."


def test_what_another_document_repeats_word_for_word_is_merged() -> None:
    (kept,) = merge_duplicates([passage(LAMP), passage(LAMP, document="b")])
    assert (kept.document, kept.also) == ("a", ("b",))


def test_what_another_document_nearly_repeats_is_merged() -> None:
    (kept,) = merge_duplicates([passage(LAMP), passage(LAMP_NEARLY, document="b")])
    assert (kept.document, kept.also) == ("a", ("b",))


def test_punctuation_and_case_make_no_difference() -> None:
    assert len(merge_duplicates([passage(LAMP), passage(LAMP.upper().replace(".", "!"), document="b")])) == 1


def test_what_says_something_else_stays() -> None:
    kept = merge_duplicates([passage(LAMP), passage(BELL, document="b")])
    assert [p.also for p in kept] == [(), ()]


def test_a_passage_with_one_new_sentence_stays() -> None:
    assert len(merge_duplicates([passage(LAMP), passage(LAMP, BELL, document="b")])) == 2


def test_a_passage_repeated_by_two_others_together_is_merged() -> None:
    kept = merge_duplicates([passage(LAMP), passage(BELL, document="b"), passage(LAMP, BELL, document="c")])
    assert [(p.document, p.also) for p in kept] == [("a", ("c",)), ("b", ("c",))]


def test_neighbouring_windows_of_one_document_stay() -> None:
    first = passage(LAMP, BELL)
    second = passage(BELL, "Then the cable came and the keeper had nothing more to do at night.", first=1)
    assert merge_duplicates([first, second]) == [first, second]


def test_a_window_within_its_neighbour_stays() -> None:
    first, second = passage(LAMP, BELL), passage(BELL, first=1)
    assert merge_duplicates([first, second]) == [first, second]


def test_a_document_that_repeats_itself_is_merged_without_naming_itself() -> None:
    (kept,) = merge_duplicates([passage(LAMP), passage(LAMP, first=40)])
    assert kept.also == ()


def test_the_same_words_in_another_talk_stay() -> None:
    assert len(merge_duplicates([passage(LAMP), passage(LAMP, document="b", talk="u")])) == 2


def test_merging_nothing_gives_nothing() -> None:
    assert merge_duplicates([]) == []


def test_merging_twice_changes_nothing(corpus: Corpus) -> None:
    again = merge_duplicates(corpus.passages)
    assert [p.id for p in again] == [p.id for p in corpus.passages]


def test_sentences_number_the_whole_document(tmp_path: Path) -> None:
    corpus = one_document(tmp_path, "Anna: One is here. Two is here.\nCarl: Three is here.", speakers=["Anna", "Carl"])
    assert [s.number for s in sentences(corpus)] == [0, 1, 2]
