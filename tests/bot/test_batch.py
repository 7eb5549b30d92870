from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.batch import BrokenLine, answer_batch, read_line, sound
from persona.types import Question, Reply
from tests.bot.replies import reply


def echo(question: Question) -> Reply:
    return reply().model_copy(update={"id": question.id, "question": question.text})


def batch(*lines: bytes) -> tuple[list[dict[str, object]], list[str], int]:
    written: list[str] = []
    warned: list[str] = []
    broken = answer_batch(lines, echo, written.append, warned.append)
    return [json.loads(line) for line in written], warned, broken


def test_broken_lines_are_named_by_number_and_the_others_answered_in_order():
    replies, warned, broken = batch(
        b'{"id": "a", "question": "one"}\n', b"not json\n", b"\n", b'{"id": "b"}\n', b'{"id": "c", "question": ""}'
    )
    assert [r["id"] for r in replies] == ["a", "c"]
    assert broken == 2
    assert warned[0].startswith("Line 2 is skipped: it is not valid JSON")
    assert warned[1] == "Line 4 is skipped: 'question' is missing."


def test_a_number_as_id_becomes_a_text():
    replies, _, broken = batch(b'{"id": 7, "question": "one"}')
    assert (replies[0]["id"], broken) == ("7", 0)


def test_an_unknown_key_is_ignored_and_told_once():
    line = b'{"id": "a", "question": "one", "histroy": []}'
    replies, warned, broken = batch(line, line)
    assert (len(replies), broken) == (2, 0)
    assert warned == ["Line 1: the key 'histroy' is ignored. Did you mean 'history'?"]


def test_history_reaches_the_question():
    line = read_line(b'{"id": "a", "question": "q", "history": [{"role": "user", "content": "before"}]}')
    assert line is not None
    assert [t.content for t in line.question.history] == ["before"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[]", "it is a list, not an object."),
        (b'{"question": "q"}', "'id' is missing."),
        (b'{"id": "a", "quesiton": "q"}', "'question' is missing. Rename 'quesiton' to it?"),
        (b'{"id": null, "question": "q"}', "'id' is null, not a text."),
        (b'{"id": true, "question": "q"}', "'id' is true or false, not a text."),
        (b'{"id": "a", "question": 5}', "'question' is a number, not a text."),
        (b'{"id": "a", "question": "q", "history": "x"}', "'history' is a text, not a list of turns."),
        (b'{"id": "a", "question": "q", "history": [1]}', "turn 1 of 'history' is a number, not an object."),
        (
            b'{"id": "a", "question": "q", "history": [{"role": "system", "content": ""}]}',
            "turn 1 of 'history' has the role 'system', not 'user' or 'assistant'.",
        ),
        (
            b'{"id": "a", "question": "q", "history": [{"role": "user"}]}',
            "the content of turn 1 of 'history' is null, not a text.",
        ),
        (b"\xff", "it is not UTF-8 text (byte 1)."),
        (b"[" * 100_000, "it is not JSON that can be read (a number too long or brackets too deep)."),
        (b"9" * 5_000, "it is not JSON that can be read (a number too long or brackets too deep)."),
    ],
)
def test_a_broken_line_says_what_is_wrong(line: bytes, why: str):
    with pytest.raises(BrokenLine) as caught:
        read_line(line)
    assert str(caught.value) == why


def test_a_byte_order_mark_is_no_mistake_on_the_first_line():
    assert read_line(b'\xef\xbb\xbf{"id": "a", "question": "q"}', first=True) is not None


@given(st.binary(max_size=60))
def test_any_bytes_are_a_question_or_blank_or_a_named_mistake(raw: bytes):
    try:
        read_line(raw)
    except BrokenLine as exc:
        assert str(exc).endswith(".")  # noqa: PT017 (what else it may do is the claim)


@given(st.text(st.characters(exclude_categories=())))
def test_sound_text_can_always_be_written(text: str):
    assert sound(text).encode("utf-8") is not None


def test_half_a_surrogate_pair_is_answered():
    replies, _, broken = batch(b'{"id": "a", "question": "\\ud800 hi"}')
    assert (replies[0]["question"], broken) == ("\ufffd hi", 0)
