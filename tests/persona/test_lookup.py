"""Which questions ask who said something, and what it was."""

from __future__ import annotations

import pytest

from persona.lookup import asks_who_said, said_what


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("Who said that a billion seconds is 30 years?", "a billion seconds is 30 years"),
        ("ok so who brought up multimodality?", "multimodality"),
        ("Which of the two talked about guardrails?", "guardrails"),
        ("So did you or Jensen mention guardrails?", "guardrails"),
        ("Who do you think said scaling is dead?", "scaling is dead"),
        ("Did you or Jensen mention the scaling laws paper?", "the scaling laws paper"),
        ("Was it Jensen or Ilya who had seen a video with a link?", "had seen a video with a link"),
        (
            'Whose words are "the big bang of modern artificial intelligence"?',
            "the big bang of modern artificial intelligence",
        ),
    ],
)
def test_who_said_something_is_asked(question: str, what: str) -> None:
    assert asks_who_said(question)
    assert said_what(question) == what


@pytest.mark.parametrize(
    "question",
    [
        "Who was Jensen Huang talking to?",
        "Who were you speaking with?",
        "Who did Jensen say invented AlexNet?",
        "Who do you credit for the idea?",
        "Who is he talking about when he says genius?",
        "Who invented AlexNet?",
        "Was it data or compute that made the difference?",
        "Is it good or bad that AI moves so fast?",
        "Is it true or false that GPUs made AlexNet possible?",
        "Was it luck or skill that won ImageNet?",
        "Who wrote the comments on the paper?",
        "Who gets a mention for AlexNet?",
    ],
)
def test_what_else_is_asked_is_another_question(question: str) -> None:
    assert not asks_who_said(question)


@pytest.mark.parametrize(
    "question", ["who’s speaking here", "Who's talking about scaling?", "Who keeps talking about reliability?"]
)
def test_who_speaks_is_asked(question: str) -> None:
    assert asks_who_said(question)
