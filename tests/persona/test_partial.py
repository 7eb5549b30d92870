"""Elements of an array are read as soon as they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.partial import PartialObject

LEAVES = st.text(max_size=8) | st.booleans() | st.none()
ELEMENTS = st.lists(st.dictionaries(st.text(max_size=4), LEAVES | st.lists(LEAVES, max_size=3), max_size=3), max_size=4)


@given(ELEMENTS, st.text(max_size=12), st.integers(1, 9))
def test_every_element_comes_once_and_in_order(elements: list[dict[str, Any]], note: str, size: int) -> None:
    whole = {"note": note, "decision": "answer", "claims": elements, "options": []}
    text = json.dumps(whole)
    reader = PartialObject("claims")
    found = [e for at in range(0, len(text), size) for e in reader.feed(text[at : at + size])]
    assert found == elements
    assert reader.value() == whole
    assert reader.head == {"note": note, "decision": "answer"}


def test_an_element_is_given_when_it_is_complete_and_not_before() -> None:
    reader = PartialObject("claims")
    assert list(reader.feed('{"claims": [{"a": 1')) == []
    assert list(reader.feed("}, ")) == [{"a": 1}]
    assert list(reader.feed('{"a": 2}')) == [{"a": 2}]
    assert reader.value() is None


def test_a_key_inside_a_text_is_not_the_array() -> None:
    reader = PartialObject("claims")
    assert list(reader.feed('{"note": "\\"claims\\": [{\\"a\\": 1}]", "claims": []}')) == []


@pytest.mark.parametrize(
    "text", ["", "Sure!", "[1, 2]", '"claims"', '{"claims": 3}', '{"claims" [', "{" * 2000, '{"a":']
)
def test_what_is_no_such_object_gives_nothing(text: str) -> None:
    reader = PartialObject("claims")
    assert list(reader.feed(text)) == []
    value = reader.value()
    assert value is None or value == {"claims": 3}


def test_an_object_without_end_is_given_up() -> None:
    reader = PartialObject("claims")
    for _ in range(50):
        list(reader.feed('{"claims": [{"text": "' if not reader.broken else "" + "x" * 1000))
    for _ in range(50):
        list(reader.feed("x" * 1000))
    assert reader.broken
    assert list(reader.feed('"}]}')) == []
