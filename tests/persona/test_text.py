"""Words, stems, sentences and cleaning."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.text import clean, fold_space, split_sentences, stem, stems, terms, unique, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It worked. It did.", ["It worked.", "It did."]),
        ("Did it? Yes! Fine...", ["Did it?", "Yes!", "Fine..."]),
        (
            "A paper by J. Kaplan et al. came out. It was long.",
            ["A paper by J. Kaplan et al. came out.", "It was long."],
        ),
        ("Dr. Bloom met Mr. Dorn vs. Prof. Ash. Good.", ["Dr. Bloom met Mr. Dorn vs. Prof. Ash.", "Good."]),
        ("Use cats, e.g. Tom, i.e. a cat. Good.", ["Use cats, e.g. Tom, i.e. a cat.", "Good."]),
        ('He said, "We should try these." And we did.', ['He said, "We should try these."', "And we did."]),
        ("He said “It works.” Then he left.", ["He said “It works.”", "Then he left."]),
        ("It worked (twice.) Then it broke.", ["It worked (twice.)", "Then it broke."]),
        ("It worked.[1][2] Then it broke.", ["It worked.[1][2]", "Then it broke."]),
        ("GPT-3.5 scored 2.5 points. Good.", ["GPT-3.5 scored 2.5 points.", "Good."]),
        ("  no  end\there ", ["no end here"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@given(st.text())
def test_splitting_loses_no_word(text: str) -> None:
    assert " ".join(split_sentences(text)).split() == text.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b\x07c", "abc"),
        ("one\ntwo\r\nthree\tfour", "one two three four"),
        ("  much   space ", "much space"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("right\u202eto left", "rightto left"),
        ("lone \ud800 half", "lone half"),
        ("private \ue000 use", "private use"),
        ("e\u0301", "é"),
        ("🙂 fine", "🙂 fine"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("", ""),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters()))
def test_clean_text_has_no_control_character_and_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert not [c for c in once if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")]
    assert clean(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Neural-networks don’t lie", ["neural", "networks", "don't", "lie"]),
        ("GPT-3.5 at 40%, 1,000 times", ["gpt", "3.5", "at", "40%", "1,000", "times"]),
        ("snake_case AI.", ["snake", "case", "ai"]),
        ("Züge überall", ["züge", "überall"]),
        ("... 🙂 —", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("network", "networks"),
        ("learn", "learning"),
        ("hinton", "hinton's"),
        ("reliable", "reliably"),
        ("train", "trained"),
    ],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_stems_keep_every_word_and_terms_only_the_topic() -> None:
    assert stems("What is the reliability of it?") == ["what", "is", "the", "reliabl", "of", "it"]
    assert terms("What is the reliability of it?") == ["reliabl"]


def test_unique_keeps_the_order() -> None:
    assert unique(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


def test_fold_space_folds_every_white_space() -> None:
    assert fold_space("\u00a0a \n\t b\u2003") == "a b"
