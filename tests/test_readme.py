"""What the README shows is what the bot says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from persona.pipeline import Fireside
from persona.types import Question

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXCHANGE = re.findall(r"^> \*\*(.+?)\*\* {2}\n> (.+)$", README, re.M)


def test_the_first_screen_shows_an_answer_and_an_i_dont_know() -> None:
    assert len(EXCHANGE) >= 2
    assert any("I don't know" in reply for _, reply in EXCHANGE)
    assert any("“" in reply and "I don't know" not in reply for _, reply in EXCHANGE)


@pytest.mark.parametrize(("question", "shown"), EXCHANGE)
async def test_the_exchange_is_real(fireside: Fireside, question: str, shown: str) -> None:
    assert (await fireside.respond(Question(text=question))).text == shown
