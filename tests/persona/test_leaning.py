"""Turns that lean on what was said before, and turns that don't."""

from __future__ import annotations

import pytest

from persona.leaning import FEATURES
from persona.models import load_coefficients
from persona.pipeline import Fireside
from persona.types import Question, Turn

BEFORE = (
    Turn(role="user", content="What was AlexNet?"),
    Turn(role="assistant", content="“Now, the year AlexNet was 2012.” Jensen Huang said that in our talk, at 4:55."),
)


@pytest.mark.parametrize(
    "text",
    [
        "by how many percent?",
        "who paid for it?",
        "how many layers did it have?",
        "in which month?",
        "why?",
        "and how long did that take?",
        "were the others surprised as well?",
    ],
)
def test_a_turn_that_leaves_out_its_topic_takes_it_from_the_one_before(fireside: Fireside, text: str) -> None:
    read = fireside.analyser.read(Question(text=text, history=BEFORE))
    assert read.followed_up
    assert "AlexNet" in read.dense


@pytest.mark.parametrize(
    "text",
    [
        "What is the sentiment neuron?",
        "How many parameters does GPT-2 have according to the podcast?",
        "Why did Ilya Sutskever call reliability the biggest obstacle for neural networks?",
        "Who won the football world cup in 1990?",
    ],
)
def test_a_turn_with_a_topic_of_its_own_stands_alone(fireside: Fireside, text: str) -> None:
    read = fireside.analyser.read(Question(text=text, history=BEFORE))
    assert not read.followed_up
    assert "AlexNet" not in read.dense


def test_without_an_earlier_turn_nothing_is_a_follow_up(fireside: Fireside) -> None:
    assert not fireside.analyser.read(Question(text="by how many percent?")).followed_up


def test_a_chain_of_follow_ups_keeps_the_topic_that_it_began_with(fireside: Fireside) -> None:
    history = (
        *BEFORE,
        Turn(role="user", content="how many layers did it have?"),
        Turn(role="assistant", content="I don't know: nothing in my recorded talks is about that."),
    )
    assert "AlexNet" in fireside.analyser.read(Question(text="and in which month?", history=history)).dense


def test_the_shipped_model_weighs_every_feature() -> None:
    model = load_coefficients().leaning
    assert model is not None
    assert list(model.features) == FEATURES
