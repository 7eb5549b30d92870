"""Turns that answer what the bot asked back, or doubt what it said."""

from __future__ import annotations

import pytest

from persona.followups import options_of, resume
from persona.types import Turn

UNKNOWN = (
    Turn(role="user", content="How many GPUs did they use?"),
    Turn(role="assistant", content="I don't know: my talks come near this, but they don't say that."),
)
ASKED_BACK = (
    Turn(role="user", content="who won it?"),
    Turn(
        role="assistant",
        content="That could mean more than one thing. Which do you mean: the ImageNet contest or the Dota match?",
    ),
)


@pytest.mark.parametrize(
    "text",
    [
        "are you sure? I think it's 4",
        "r u sure",
        "really?",
        "come on, just guess",
        "no way, it was 16",
        "but there were two of them, I counted",
        "wasn't it 8",
        "No, that isn't what he said",
        "I won't tell anyone",
        "any number, please",
    ],
)
def test_insisting_goes_back_to_the_question_and_brings_no_claim_along(text: str) -> None:
    found = resume(UNKNOWN, text)
    assert found is not None
    assert (found.asked, found.picked) == ("How many GPUs did they use?", "")


def test_insisting_twice_goes_back_to_the_question_too() -> None:
    history = (*UNKNOWN, Turn(role="user", content="are you sure?"), Turn(role="assistant", content="I don't know."))
    found = resume(history, "come on, guess")
    assert found is not None
    assert found.asked == "How many GPUs did they use?"


@pytest.mark.parametrize(
    "text",
    [
        "what is reliability?",
        "ok then, who won the Dota match?",
        "please explain how unsupervised learning relates to compression",
        "Tell me about the sentiment neuron",
        "the relation between scaling laws and the loss of GPT models in training",
    ],
)
def test_a_question_of_its_own_is_left_alone(text: str) -> None:
    assert resume(UNKNOWN, text) is None


def test_without_an_earlier_turn_there_is_nothing_to_go_back_to() -> None:
    assert resume((), "are you sure?") is None
    assert resume((Turn(role="user", content="hm"),), "are you sure?") is None


@pytest.mark.parametrize(
    ("text", "picked"),
    [
        ("the second one", "the Dota match"),
        ("the first", "the ImageNet contest"),
        ("the latter, the prize money", "the Dota match prize money"),
        ("I meant the Dota match", "the Dota match"),
        ("ImageNet, not Dota", "ImageNet"),
        ("dota pls", "dota"),
    ],
)
def test_what_is_picked_of_the_options_is_known(text: str, picked: str) -> None:
    found = resume(ASKED_BACK, text)
    assert found is not None
    assert (found.asked, found.picked) == ("who won it?", picked)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        (
            "Which do you mean: (1) cost functions (talk a); (2) pay (talk b); (3) time?",
            ["cost functions (talk a)", "pay (talk b)", "time"],
        ),
        ("Well. Which one: sound, video or text?", ["sound", "video", "text"]),
        ("What do you mean, in a few words?", ["What do you mean", "in a few words"]),
        ("I'm not sure. What does that refer to?", []),
    ],
)
def test_options_are_read_from_the_question_back(said: str, options: list[str]) -> None:
    assert options_of(said) == options
