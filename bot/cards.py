"""A quotation as a picture (PNG, 1200×630), dark or light, and the text for those who can't see it."""

from __future__ import annotations

import io
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bot.rendering import shorten
from persona.errors import FiresideError
from persona.text import split_sentences
from persona.types import Citation
from persona.verification import as_reported
from persona.voices import clock

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT = 1200, 630
ALT_TEXT = 1024  # characters that Discord takes; Slack takes more
FONTS = Path(__file__).parent / "fonts"  # Source Serif Pro, under the SIL Open Font License
_MARGIN = 84
_TEXT_WIDTH = WIDTH - 2 * _MARGIN
_TOP, _BOTTOM = 76, 438  # of the words
_SIZES = range(64, 26, -2)  # pixels, the first that fits
_LEADING = 1.32
_MOST = 1000  # letters, more than the smallest size holds
_CUT = " […]"  # behind the quotation marks: what is between them is what was said
_MAKER = "Shown by Fireside, an unofficial bot"


class _Theme(NamedTuple):
    ground: str
    ink: str
    muted: str
    accent: str


_DARK = _Theme(ground="#15171c", ink="#f4f1ea", muted="#a9adb8", accent="#e8a04c")
_LIGHT = _Theme(ground="#fbf8f1", ink="#23252b", muted="#63666f", accent="#b4600f")


class _Setting(NamedTuple):
    """Words set in a size: the lines, the font, pixels from line to line."""

    lines: list[str]
    font: FreeTypeFont
    step: float


def picture(citation: Citation, *, dark: bool = True) -> bytes:
    """A PNG of the words with speaker, talk and time; FiresideError where the font lacks a letter, or Pillow is missing."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise FiresideError(
            "Pictures of quotations need Pillow, which is not installed. Install it with `pip install pillow`."
        ) from None
    theme = _DARK if dark else _LIGHT
    image = Image.new("RGB", (WIDTH, HEIGHT), theme.ground)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 14, HEIGHT), fill=theme.accent)
    setting = _fitted(citation)
    top = _TOP + max(0.0, (_BOTTOM - _TOP - setting.step * len(setting.lines)) / 2)
    for number, line in enumerate(setting.lines):
        draw.text((_MARGIN, top + number * setting.step), line, theme.ink, setting.font)
    _foot(draw, citation, theme)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def alt_text(citation: Citation, limit: int = ALT_TEXT) -> str:
    """What the picture shows, in at most `limit` characters."""
    words = _line(_words(citation))
    rest = f" {_said(citation)}, {_line(citation.talk)}{_when(citation)}."
    room = limit - len(rest) - len("“”") - len(_CUT)
    if room < 1:
        return shorten(f"A quotation.{rest}", limit)[:limit]
    return f"{_marked(words, citation) if len(words) <= room else _marked(words[:room], citation) + _CUT}{rest}"


def _words(citation: Citation) -> str:
    return citation.quote if citation.verbatim else as_reported(citation.quote)


def _marked(words: str, citation: Citation) -> str:
    return f"“{words}”" if citation.verbatim else words


def _said(citation: Citation) -> str:
    """Who says it."""
    if citation.verbatim:
        return _line(citation.speaker or "Word for word")
    return f"Reported in the {citation.kind}"


def _when(citation: Citation) -> str:
    at = clock(citation.start)
    return "".join(f" · {part}" for part in (f"at {at}" if at else "", _line(citation.date or "")) if part)


def _line(text: str) -> str:
    """The text in one line, its accents joined to their letters, without what can't be seen."""
    folded = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(c for c in folded if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))


def _font(weight: str, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    path = FONTS / f"SourceSerifPro-{weight}.otf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _lacking(text: str) -> str:
    """The letters of a text that the font lacks."""
    nothing = _drawn("\uffff")
    return "".join(c for c in dict.fromkeys(text) if not c.isspace() and _drawn(c) == nothing)


@lru_cache(maxsize=1024)
def _drawn(letter: str) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((4, 4), letter, 255, _font("Regular", 20))
    return image.tobytes()


def _fitted(citation: Citation) -> _Setting:
    """The words in the largest size in which they fit; in the smallest, cut, if they don't fit in any."""
    words = _line(_words(citation))
    if missing := _lacking(words + _said(citation) + _line(citation.talk) + _when(citation)):
        raise FiresideError(f"The pictures' font has no letter '{missing[0]}'. Show this quotation as text.")
    if len(words) <= _MOST:
        at = bisect_left(_SIZES, True, key=lambda size: _fits(_set(_marked(words, citation), size)))
        if at < len(_SIZES):
            return _set(_marked(words, citation), _SIZES[at])

    def cut(part: str) -> _Setting:
        return _set(_marked(part, citation) + _CUT, _SIZES[-1])

    shorter = _shorter(words)
    return cut(shorter[bisect_left(shorter, True, hi=len(shorter) - 1, key=lambda part: _fits(cut(part)))])


def _shorter(words: str) -> list[str]:
    """Beginnings of the words, each shorter than the one before: whole sentences, then words, then letters."""
    sentences = split_sentences(words[:_MOST])
    first = sentences[0].split()
    return [
        *(" ".join(sentences[:n]) for n in range(len(sentences) - 1, 0, -1)),
        *(" ".join(first[:n]) for n in range(len(first) - 1, 0, -1)),
        *(first[0][:n] for n in range(len(first[0]) - 1, 0, -1)),
    ]


def _fits(setting: _Setting) -> bool:
    return setting.step * len(setting.lines) <= _BOTTOM - _TOP


def _set(text: str, size: int) -> _Setting:
    font = _font("Regular", size)
    return _Setting(list(_wrapped(text, font)), font, size * _LEADING)


def _wrapped(text: str, font: FreeTypeFont) -> Iterator[str]:
    """Lines no wider than the picture's text; a word that is wider is broken."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= _TEXT_WIDTH:
            line = longer
            continue
        if line:
            yield line
        *whole, line = _broken(word, font)
        yield from whole
    if line:
        yield line


def _broken(word: str, font: FreeTypeFont) -> Iterator[str]:
    part = ""
    for letter in word:
        if part and font.getlength(part + letter) > _TEXT_WIDTH:
            yield part
            part = ""
        part += letter
    yield part


def _foot(draw: ImageDraw, citation: Citation, theme: _Theme) -> None:
    draw.rectangle((_MARGIN, 468, _MARGIN + 72, 471), fill=theme.accent)
    for text, end, top, weight, size, ink in (
        (_said(citation), "", 486, "Semibold", 34, theme.ink),
        (_line(citation.talk), _when(citation), 532, "Regular", 24, theme.muted),
        (_MAKER, "", 576, "Regular", 18, theme.muted),
    ):
        font = _font(weight, size)
        draw.text((_MARGIN, top), _narrowed(text, end, font), ink, font)


def _narrowed(text: str, end: str, font: FreeTypeFont) -> str:
    """The text and its end; the text cut where both are wider than the picture's text."""
    if font.getlength(text + end) <= _TEXT_WIDTH:
        return text + end
    cuts = [f"{text[:n].rstrip()}…{end}" for n in range(len(text[:_MOST]), 0, -1)] or [end]
    return cuts[bisect_left(cuts, True, hi=len(cuts) - 1, key=lambda cut: font.getlength(cut) <= _TEXT_WIDTH)]
