from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from bot.cards import ALT_TEXT, FONTS, HEIGHT, WIDTH, alt_text, picture
from persona.errors import FiresideError
from persona.types import Citation
from tests.bot.replies import SPOKEN, TOLD

FOOT = 460  # where the words end and the speaker begins
SOME = settings(max_examples=6, deadline=None, derandomize=True)
latin = st.characters(max_codepoint=0x17F, exclude_categories=["Cs"])


def drawn(citation: Citation, *, dark: bool = True) -> Image.Image:
    image = Image.open(io.BytesIO(picture(citation, dark=dark)))
    image.load()
    return image


def inked(image: Image.Image) -> tuple[int, int, int, int]:
    """The box of what is drawn on the ground, without the stripe on the left."""
    inside = image.crop((40, 0, WIDTH, HEIGHT))
    ground = inside.getpixel((0, 0))
    assert isinstance(ground, tuple)
    left, top, right, bottom = (
        ImageChops.difference(inside, Image.new("RGB", inside.size, ground)).getbbox() or (0,) * 4
    )
    return left + 40, top, right + 40, bottom


def said(quote: str) -> Citation:
    return SPOKEN.model_copy(update={"quote": quote})


@pytest.mark.parametrize("dark", [True, False])
def test_a_picture_is_a_png_of_the_size_that_links_are_previewed_in(dark: bool):
    image = drawn(SPOKEN, dark=dark)
    assert (image.format, image.size) == ("PNG", (1200, 630))


def test_dark_is_light_on_dark_and_light_dark_on_light():
    dark, light = (drawn(SPOKEN, dark=dark).convert("L").getpixel((600, 20)) for dark in (True, False))
    assert isinstance(dark, int)
    assert isinstance(light, int)
    assert dark < 40
    assert light > 220


def test_the_same_words_make_the_same_picture_and_others_another():
    assert picture(SPOKEN) == picture(SPOKEN)
    others = ({"quote": "Other words."}, {"speaker": "Someone"}, {"start": 5.0}, {"talk": "Another"}, {"date": None})
    assert len({picture(SPOKEN), *(picture(SPOKEN.model_copy(update=other)) for other in others)}) == 6


@pytest.mark.parametrize(
    "quote", ["Yes.", "Words " * 30, "Words that are said. " * 200, "word " * 900, "x" * 3000, "W" * 60 + " end."]
)
def test_words_of_any_length_stay_inside_the_margins(quote: str):
    left, top, right, bottom = inked(drawn(said(quote)))
    assert left >= 80
    assert top >= 60
    assert right <= WIDTH - 70
    assert bottom <= HEIGHT - 20


@SOME
@given(st.text(latin, max_size=300), st.text(latin, max_size=300), st.text(latin, max_size=300))
def test_any_words_speaker_and_talk_stay_inside_the_margins(quote: str, speaker: str, talk: str):
    image = drawn(SPOKEN.model_copy(update={"quote": quote, "speaker": speaker, "talk": talk}))
    left, _, right, bottom = inked(image)
    assert left >= 70
    assert right <= WIDTH - 60
    assert bottom <= HEIGHT - 10


def test_few_words_are_set_larger_than_many():
    def first_line(quote: str) -> int:
        rows = drawn(said(quote)).convert("L").crop((40, 0, WIDTH, FOOT))
        ground = rows.getpixel((0, 0))
        empty = [set(rows.crop((0, y, rows.width, y + 1)).tobytes()) == {ground} for y in range(FOOT)]
        top = empty.index(False)
        return empty.index(True, top) - top

    assert first_line("High") > 1.5 * first_line("High " * 120)


def test_a_long_talk_leaves_room_for_the_time():
    long = SPOKEN.model_copy(update={"talk": "A very long talk " * 20})
    assert picture(long) != picture(long.model_copy(update={"start": 60.0}))


def test_letters_that_the_font_lacks_are_named_and_not_drawn_as_boxes():
    with pytest.raises(FiresideError, match=r"no letter '漢'.*as text"):
        picture(said("The word 漢字."))
    with pytest.raises(FiresideError, match="no letter '☃'"):
        picture(SPOKEN.model_copy(update={"talk": "A ☃"}))


def test_letters_with_accents_written_apart_are_drawn_as_one():
    assert picture(said("cafe\u0301")) == picture(said("café"))


def test_what_cant_be_seen_is_left_out():
    assert picture(said("a\u202eb\u200b\x07c")) == picture(said("abc"))


def test_a_report_is_not_shown_between_quotation_marks():
    told = TOLD.model_copy(update={"quote": "She said “engines”."})
    assert alt_text(told) == "She said ‘engines’. Reported in the summary, A talk."
    assert picture(told)


def test_the_alternative_text_tells_words_speaker_talk_time_and_date():
    assert alt_text(SPOKEN) == f"“{SPOKEN.quote}” Ada Byron, A talk · at 32:42 · 2023-05-17."


def test_a_long_alternative_text_is_cut_inside_the_words_and_says_so_outside_of_them():
    text = alt_text(said("Words that are said. " * 200))
    assert len(text) <= ALT_TEXT
    quote, _, rest = text.removeprefix("“").partition("”")
    assert ("Words that are said. " * 200).startswith(quote)
    assert rest == " […] Ada Byron, A talk · at 32:42 · 2023-05-17."


@given(st.text(max_size=400), st.text(max_size=400), st.integers(20, 300))
@settings(deadline=None, derandomize=True)
def test_the_alternative_text_keeps_its_limit(quote: str, talk: str, limit: int):
    assert 0 < len(alt_text(SPOKEN.model_copy(update={"quote": quote, "talk": talk}), limit)) <= limit


def test_the_fonts_come_with_their_licence():
    assert "SIL Open Font License" in (FONTS / "LICENSE.txt").read_text(encoding="utf-8")
    assert len(list(FONTS.glob("*.otf"))) == 2
