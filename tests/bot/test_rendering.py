from __future__ import annotations

from bot.rendering import reply_text, shorten
from persona.types import Reason
from tests.bot.replies import SPOKEN, answer, reply


def test_an_answer_is_followed_by_numbered_sources_that_tell_quoted_from_reported():
    assert reply_text(answer()).splitlines() == [
        "An answer.",
        "",
        "[1] quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · https://example.org/talk",
        "[2] reported: Summary of a talk",
    ]


def test_an_abstention_shows_the_nearest_as_nearest():
    text = reply_text(reply(Reason.NOT_STATED, "I don't know.", nearest=(SPOKEN,)))
    assert "[1] nearest, quoted: Ada Byron" in text


def test_options_are_numbered_unless_the_text_lists_them():
    assert "(2) banks of rivers" in reply_text(reply(Reason.AMBIGUOUS, "Which?", options=("money", "banks of rivers")))
    listed = "Which: (1) money; (2) banks of rivers?"
    assert reply_text(reply(Reason.AMBIGUOUS, listed, options=("money", "banks of rivers"))) == listed


def test_long_texts_are_cut_at_a_word():
    assert shorten("one two three", 9) == "one two …"
    assert shorten("one", 9) == "one"
