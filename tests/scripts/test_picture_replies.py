from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from persona.pipeline import Fireside
from persona.types import Question, Reason
from scripts.bots import ROOT
from scripts.picture_replies import (
    DESCRIPTION,
    DISCORD,
    QUESTIONS,
    SCALE,
    SLACK,
    WIDTH,
    Face,
    Line,
    Said,
    Span,
    Theme,
    discord,
    drawn,
    pictured,
    slack,
    text_of,
)
from tests.bot.replies import SPOKEN, answer, reply

DOCS = ROOT / "docs"
STALE = "The pictures in docs/ are not what the bot says now. Run `make pictures` and commit them."


async def test_the_pictures_of_the_readme_show_what_the_bot_says_now(fireside: Fireside):
    replies = [await fireside.respond(Question(text=text)) for text in QUESTIONS]
    assert [r.decision for r in replies] == ["answer", "abstain"]
    assert replies[0].citations
    assert replies[1].nearest
    for theme, messages in pictured(replies, fireside.card.disclosure):
        with Image.open(DOCS / f"reply-{theme.platform.casefold()}.png") as image:
            assert image.info[DESCRIPTION] == text_of(messages), STALE


def test_slack_shows_a_quotation_apart_with_its_source_and_buttons():
    asked, told = slack("Ada", answer().model_copy(update={"text": "“…” It reports."}), "A note.")
    assert text_of([asked]) == "Ada:\n@Fireside ?"
    lines = text_of([told]).splitlines()
    assert lines[1:3] == ["“…” [1]", "It reports. [2]"]
    assert lines[3] == "[1] quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · link"
    assert lines[-3:] == ["A note.", "[+][-]", "[Why?][Again]"]
    quoted, reported = told.parts[0], told.parts[1]
    assert isinstance(quoted, Line)
    assert isinstance(reported, Line)
    assert (quoted.quote, reported.quote) == (True, False)


def test_discord_shows_no_mark_of_its_markdown():
    near = reply(Reason.NOT_STATED, "I don't know *that* <b>.", nearest=(SPOKEN,))
    _, told = discord("Ada", near, "")
    lines = text_of([told]).splitlines()
    assert lines[1] == "I don't know *that* <b>."
    assert lines[2].startswith(
        "nearest, not an answer, quoted: “It can do whatever we know how to order it to perform.”"
    )
    assert "https://example.org/talk" in lines[2]
    assert lines[-1] == "[+][-][Why?][Again]"
    assert told.above == "@Ada  @Fireside ?"


@pytest.mark.parametrize("theme", [SLACK, DISCORD], ids=lambda theme: theme.platform)
@pytest.mark.parametrize(
    "text", ["Short.", "Some words, and more of them. " * 40, "https://example.org/" + "long/" * 60]
)
def test_words_of_any_length_stay_inside_the_margins_and_make_the_picture_longer(theme: Theme, text: str):
    image = drawn(theme, [Said("Fireside", [Line([Span(text)], quote=True), [Face("+"), Face("-"), Face("Why?")]])])
    assert image.width == WIDTH * SCALE
    left, top, right, bottom = _inked(image)
    assert left >= 20 * SCALE
    assert top >= 15 * SCALE
    assert right <= (WIDTH - 20) * SCALE
    assert bottom <= image.height - 8 * SCALE
    assert (image.height > 215 * SCALE) == (len(text) > 20)


def _inked(image: Image.Image) -> tuple[int, int, int, int]:
    ground = image.getpixel((0, 0))
    assert isinstance(ground, tuple)
    return ImageChops.difference(image, Image.new("RGB", image.size, ground)).getbbox() or (0, 0, 0, 0)


def test_what_is_drawn_says_that_it_is_our_own_rendering():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for theme in (SLACK, DISCORD):
        name = f"docs/reply-{theme.platform.casefold()}.png"
        assert f"![Our own rendering of two replies on {theme.platform}" in readme
        assert f"]({name})" in readme
        assert Path(ROOT / name).stat().st_size < 300_000
