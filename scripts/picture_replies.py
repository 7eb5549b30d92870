"""Draws two replies as Slack and Discord show them (`make pictures`): docs/reply-slack.png and docs/reply-discord.png.

    python scripts/picture_replies.py --data-dir FOLDER --out FOLDER

The replies are the bundled persona's, the blocks and Markdown those that the bot sends. The drawing is our own, with the
bundled font: neither platform's client, fonts nor icons are in it, and a line below says so.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from bot.cards import FONTS
from persona.settings import load_settings
from persona.types import Question, Reply
from scripts.bots import ROOT
from scripts.running import exit_code

QUESTIONS = ("Why is reliability the biggest obstacle for neural networks?", "How many GTX 580 cards did they buy?")
DESCRIPTION = "Description"  # of a PNG
CAPTION = "Our own rendering of two replies on {platform}, from what Fireside sends."
WIDTH = 760  # all sizes here are units of layout; the picture has SCALE pixels for each
SCALE = 2
_DRAWN = 2  # times as large is drawn what is made smaller at the end: smooth edges
_PAD, _AVATAR, _LEFT = 28.0, 42.0, 86.0
_BODY, _SMALL, _BUTTON = 17.0, 14.5, 14.5
_LEADING = 1.42
# An open hand's outline, thumb up, in a box of 24 × 24.
_THUMB = (
    (8, 10.5),
    (12, 3),
    (13.6, 3),
    (14.8, 4.4),
    (14, 9.2),
    (20, 9.2),
    (21.2, 10.8),
    (19, 19.6),
    (17.6, 20.8),
    (8, 20.8),
)
_CUFF = (2.5, 10.5, 5.8, 20.8)

Block = Mapping[str, Any]


class Theme(NamedTuple):
    """A platform's look, in colours; `round` are its avatars and its way with buttons."""

    platform: str
    ground: str
    ink: str
    strong: str
    muted: str
    link: str
    rule: str
    badge: str
    badge_ink: str
    button: str
    button_ink: str
    round: bool


SLACK = Theme(
    "Slack",
    ground="#ffffff",
    ink="#1d1c1d",
    strong="#1d1c1d",
    muted="#616061",
    link="#1264a3",
    rule="#dddddd",
    badge="#e8e8e8",
    badge_ink="#616061",
    button="#ffffff",
    button_ink="#1d1c1d",
    round=False,
)
DISCORD = Theme(
    "Discord",
    ground="#313338",
    ink="#dbdee1",
    strong="#f2f3f5",
    muted="#a3a6ad",
    link="#38adf5",
    rule="#4e5058",
    badge="#5865f2",
    badge_ink="#ffffff",
    button="#4e5058",
    button_ink="#f2f3f5",
    round=True,
)
_FACES = {"Ada": "#4a7c6f", "Bob": "#7a5a8c", "Fireside": "#c8641b"}


class Span(NamedTuple):
    """Words of one kind in a line."""

    text: str
    bold: bool = False
    link: bool = False


class Line(NamedTuple):
    """A paragraph of a message."""

    spans: Sequence[Span]
    quote: bool = False
    small: bool = False


class Face(NamedTuple):
    """A button; "+" and "-" are drawn as thumbs."""

    text: str


class Said(NamedTuple):
    """A message: who says it, what stands above it, its paragraphs and rows of buttons in order."""

    name: str
    parts: Sequence[Line | Sequence[Face]]
    above: str = ""


# What is said


def slack(asked: str, reply: Reply, note: str) -> list[Said]:
    """A question and its reply as Slack shows the blocks."""
    from bot.slack.rendering import button_value, message

    rendered = message(reply, value=button_value(reply.id, reply.question), note=note)
    parts = [part for block in rendered.blocks for part in _parts(block)]
    return [Said(asked, [Line([Span("@Fireside", link=True), Span(f" {reply.question}")])]), Said("Fireside", parts)]


def _parts(block: Block) -> Iterator[Line | Sequence[Face]]:
    match block["type"]:
        case "rich_text":
            for part in block["elements"]:
                spans = [Span(e["text"], bold=bool(e.get("style", {}).get("bold"))) for e in part["elements"]]
                yield Line(spans, quote=part["type"] == "rich_text_quote")
        case "context":
            yield from (Line(list(_mrkdwn(element["text"])), small=True) for element in block["elements"])
        case "context_actions":
            yield [Face("+"), Face("-")]
        case "actions":
            yield [Face(element["text"]["text"]) for element in block["elements"]]
        case other:
            raise AssertionError(f"a reply has no {other}")


def _mrkdwn(text: str) -> Iterator[Span]:
    from bot.slack.rendering import reading

    for number, part in enumerate(re.split(r"<https?://[^|>]*\|([^>]*)>", text)):
        if part:
            yield Span(reading(part), link=bool(number % 2))


def discord(asked: str, reply: Reply, note: str) -> list[Said]:
    """A question and its reply as Discord shows the Markdown."""
    from bot.discord.rendering import message
    from bot.discord.views import reply_view

    lines = [_markdown(line) for content in message(reply, note=note).contents for line in content.splitlines()]
    buttons: list[Any] = list(reply_view(reply).children)
    faces = [Face(b.label or {"👍": "+", "👎": "-"}[b.emoji.name]) for b in buttons]
    question = f"@Fireside {reply.question}"
    said = Line([Span("@Fireside", link=True), Span(f" {reply.question}")])
    return [Said(asked, [said]), Said("Fireside", [*lines, faces], above=f"@{asked}  {question}")]


def _markdown(line: str) -> Line:
    from bot.discord.rendering import reading

    small, quote = line.startswith("-# "), line.startswith("> ")
    spans = [
        Span(reading(part), bold=number % 3 == 1, link=number % 3 == 2)
        for number, part in enumerate(
            re.split(r"(?<!\\)\*\*(.+?)(?<!\\)\*\*|(?<!\\)<(https?://[^>]*)>", line[3 * small + 2 * quote :])
        )
        if part
    ]
    return Line(spans, quote=quote, small=small)


# How it is drawn


class Sheet:
    """A picture that grows downwards; it is drawn twice, the first time to see how long it gets."""

    def __init__(self, theme: Theme, height: float = 10.0) -> None:
        self.theme = theme
        self.y = _PAD
        unit = SCALE * _DRAWN
        self._image = Image.new("RGB", (WIDTH * unit, round(height * unit)), theme.ground)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def image(self) -> Image.Image:
        """The picture as it is shown."""
        size = (self._image.width // _DRAWN, self._image.height // _DRAWN)
        return self._image.resize(size, Image.Resampling.LANCZOS)

    def text(self, x: float, y: float, text: str, size: float, ink: str, *, bold: bool = False) -> float:
        """Draws a text with its first line's top at `y`; gives where it ends."""
        font = _font(size, bold=bold)
        self._draw.text((_px(x), _px(y)), text, ink, font)
        return x + font.getlength(text) / _px(1)

    def box(self, x: float, y: float, width: float, height: float, radius: float, fill: str, edge: str = "") -> None:
        """Draws a rectangle with round corners."""
        corners = (_px(x), _px(y), _px(x + width), _px(y + height))
        self._draw.rounded_rectangle(corners, _px(radius), fill, edge or None, round(_px(1)) if edge else 0)

    def thumb(self, x: float, y: float, size: float, *, up: bool, ink: str) -> None:
        """Draws a thumb that points up or down."""

        def at(px: float, py: float) -> tuple[float, float]:
            return _px(x + px / 24 * size), _px(y + (py if up else 24 - py) / 24 * size)

        self._draw.polygon([at(*point) for point in _THUMB], fill=ink)
        left, top, right, bottom = _CUFF
        ys = sorted((at(left, top)[1], at(left, bottom)[1]))
        self._draw.rounded_rectangle((at(left, top)[0], ys[0], at(right, top)[0], ys[1]), _px(size / 24), ink)

    def said(self, said: Said, time: str) -> None:
        """Draws a message."""
        theme = self.theme
        if said.above:
            self._above(said.above)
        radius = _AVATAR / 2 if theme.round else 7
        self.box(_PAD, self.y, _AVATAR, _AVATAR, radius, _FACES[said.name])
        initial = _font(22, bold=True).getlength(said.name[0]) / _px(1)
        self.text(_PAD + (_AVATAR - initial) / 2, self.y + 6, said.name[0], 22, "#ffffff", bold=True)
        x = self.text(_LEFT, self.y - 4, said.name, _BODY, theme.strong, bold=True) + 8
        if said.name == "Fireside":
            wide = _font(10.5, bold=True).getlength("APP") / _px(1) + 10
            self.box(x, self.y + 1.5, wide, 16, 3.5, theme.badge)
            x = self.text(x + 5, self.y + 2.2, "APP", 10.5, theme.badge_ink, bold=True) + 13
        self.text(x, self.y - 0.5, time, 13, theme.muted)
        self.y += 21
        for part in said.parts:
            if isinstance(part, Line):
                self.line(part)
            else:
                self.buttons(part)
        self.y += 22

    def line(self, line: Line) -> None:
        """Draws a paragraph, wrapped."""
        size = _SMALL if line.small else _BODY
        left = _LEFT + (16 if line.quote else 0)
        top = self.y
        step = size * _LEADING
        for words in _wrapped(line.spans, size, WIDTH - _PAD - left):
            x = left
            for word, span in words:
                ink = self.theme.link if span.link else self.theme.muted if line.small else self.theme.ink
                x = self.text(x, self.y, word, size, ink, bold=span.bold)
            self.y += step
        if line.quote:
            self.box(_LEFT, top + 3, 4, self.y - top - 2, 2, self.theme.rule)
        self.y += 2 if line.small else 4

    def buttons(self, faces: Sequence[Face]) -> None:
        """Draws a row of buttons; the thumbs stand alone on Slack."""
        theme, x = self.theme, _LEFT
        self.y += 5
        for face in faces:
            thumb = face.text in "+-"
            font = _font(_BUTTON, bold=not theme.round)
            wide = 20.0 if thumb else font.getlength(face.text) / _px(1)
            if theme.round or not thumb:
                self.box(x, self.y, wide + 26, 32, 8, theme.button, "" if theme.round else "#bbbabb")
            if thumb:
                ink = "#ffcc4d" if theme.round else theme.muted
                self.thumb(x + 13 if theme.round else x, self.y + 6, 20, up=face.text == "+", ink=ink)
            else:
                self.text(x + 13, self.y + 5.5, face.text, _BUTTON, theme.button_ink, bold=not theme.round)
            x += wide + (26 + 8 if theme.round or not thumb else 14)
        self.y += 32 + 4

    def _above(self, text: str) -> None:
        """The line that says which message is replied to."""
        middle, x = self.y + 8, _PAD + _AVATAR / 2
        corners = (_px(x), _px(middle), _px(x + 16), _px(middle + 16))
        self._draw.arc(corners, 180, 270, self.theme.rule, round(_px(2)))
        self._draw.line((_px(x + 8), _px(middle + 1), _px(_LEFT - 6), _px(middle + 1)), self.theme.rule, round(_px(2)))
        self.text(_LEFT, self.y - 2, text, 14, self.theme.muted)
        self.y += 26

    def foot(self, text: str) -> None:
        """Draws the line that says what this is."""
        self._draw.line((_px(_PAD), _px(self.y), _px(WIDTH - _PAD), _px(self.y)), self.theme.rule, round(_px(1)))
        self.text(_PAD, self.y + 11, text, 13, self.theme.muted)
        self.y += 11 + 20 + 14


def _px(units: float) -> float:
    return units * SCALE * _DRAWN


def _font(size: float, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    path = FONTS / f"SourceSerifPro-{'Semibold' if bold else 'Regular'}.otf"
    return ImageFont.truetype(path, _px(size), layout_engine=ImageFont.Layout.BASIC)


def _wrapped(spans: Iterable[Span], size: float, width: float) -> Iterator[list[tuple[str, Span]]]:
    """Lines no wider than `width`, each with its words and what they are of. An address is broken where it has to be."""
    line: list[tuple[str, Span]] = []
    used = 0.0
    for span in spans:
        font = _font(size, bold=span.bold)
        for word in re.findall(r"\s+|[^\s/&=]+[/&=]?|[/&=]", span.text):
            wide = font.getlength(word) / _px(1)
            if used + wide > width and line:
                yield line
                line, used = [], 0.0
            if word.strip() or line:
                line.append((word, span))
                used += wide
    if line:
        yield line


def drawn(theme: Theme, messages: Sequence[Said]) -> Image.Image:
    """The picture of a conversation."""

    def on(sheet: Sheet) -> Sheet:
        for number, said in enumerate(messages):
            sheet.said(said, f"9:4{number // 2 * 2 + 1}")
        sheet.foot(CAPTION.format(platform=theme.platform))
        return sheet

    return on(Sheet(theme, on(Sheet(theme)).y)).image


def text_of(messages: Sequence[Said]) -> str:
    """What a picture shows, for those who can't see it, and to tell whether it still holds."""
    lines: list[str] = []
    for said in messages:
        lines.append(f"{said.name}:")
        for part in said.parts:
            spans = part.spans if isinstance(part, Line) else [Span(f"[{face.text}]") for face in part]
            lines.append("".join(span.text for span in spans))
    return "\n".join(lines)


def pictured(replies: Sequence[Reply], disclosure: str) -> Iterator[tuple[Theme, list[Said]]]:
    """What the picture of each platform shows; under the first reply stands what the bot says of itself on first contact."""
    first, second = replies
    for theme, tell in ((SLACK, slack), (DISCORD, discord)):
        yield theme, [*tell("Ada", first, disclosure), *tell("Bob", second, "")]


def pictures(data: Path, out: Path) -> None:
    """Asks the bundled persona, and writes both pictures into the folder `out`."""
    from persona.opening import open_fireside

    settings = load_settings({"data_dir": str(data), "persona": "ilya", "voice": "quotes"})
    fireside = open_fireside(settings)
    try:
        replies = [fireside.answer(Question(text=text)).reply for text in QUESTIONS]
        disclosure = fireside.card.disclosure
    finally:
        fireside.close()
    out.mkdir(parents=True, exist_ok=True)
    for theme, messages in pictured(replies, disclosure):
        told = PngInfo()
        told.add_itxt(DESCRIPTION, text_of(messages))
        image = drawn(theme, messages).quantize(192, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        image.save(out / f"reply-{theme.platform.casefold()}.png", optimize=True, pnginfo=told)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw two replies as Slack and Discord show them.")
    parser.add_argument("--data-dir", type=Path, help="folder with a built index (default: yours)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder (default: docs)")
    options = parser.parse_args()
    return exit_code(lambda: pictures(options.data_dir or load_settings().data_dir, options.out))


if __name__ == "__main__":
    sys.exit(main())
