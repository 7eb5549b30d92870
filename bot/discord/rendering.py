"""How replies, quotations and lists read on Discord: inert text, true sources, and nothing over a limit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import discord

from bot.rendering import Told, told, whence, words, written_by
from bot.rendering import sources as sources_of
from bot.text import CUT_OFF, label, one_line, plain_address, visible
from bot.text import pieces as split
from persona.corpus.catalog import Catalog
from persona.types import Citation, Claim, Reply
from persona.voices import clock

MESSAGE = 2000  # characters, as all limits here: UTF-16 units, which no way of counting puts higher
ASKED = 1000  # of a question that a reply repeats
_QUOTE = 3500  # of a quotation in an embed, whose parts may have 6,000 together
_PLACE = 300
_FIELD = 300
_FIELDS = 12
PARAPHRASED = "**Paraphrased:** "  # leads what a chat model puts in its own words
# Zero width: takes a mention or an address apart where a client, or Discord itself, ignores backslashes.
_GAP = "\u200b"

_BLOCK = r"^(?P<indent>[^\S\n]*)(?P<number>\d*)(?P<block>(?<=\d)[.)](?!\S)|(?<!\d)(?:>|[-+](?!\S)|-?#+(?!\S)))"
_OPENS_BLOCK = re.compile(_BLOCK)
_ACTIVE = re.compile(
    rf"{_BLOCK}"
    r"|(?P<mark>[\\*_~`|]|<(?!\s))"
    r"|(?P<masked>\](?=\())"
    r"|(?P<scheme>:(?=//))"
    r"|(?P<emoji>(?!(?<=\d):\d\d:\d\d):(?=[^\s:]*:))"  # not the colons of 1:02:31
    r"|(?P<mention>@|(?<=<)#)"
    r"|(?P<invite>discord(?:app)?\.(?:com|gg|gift|new)(?=/))",
    re.MULTILINE | re.IGNORECASE,
)
_ESCAPED = re.compile(r"\\([^0-9A-Za-z\s])")
_PREFIX = re.compile(r"> |-# ")  # what a line that is split goes on with


class Rendered(NamedTuple):
    """What one reply becomes: messages in order, each within the limit; embeds and buttons go with the last."""

    contents: list[str]
    embeds: list[discord.Embed]


def neutral(text: str) -> str:
    """The text such that Discord shows it as it is: nothing in it formats, links, pings, or becomes an emoji.

    Controls and marks that turn the writing direction are left out.
    """
    return _ACTIVE.sub(_disarmed, visible(text))


def reading(text: str) -> str:
    """What a person reads of a neutral text: the way back."""
    return _ESCAPED.sub(r"\1", text).replace(_GAP, "")


def pieces(text: str, limit: int = MESSAGE) -> list[str]:
    """A neutral text as messages. Where a line is split, its quote or subtext mark is repeated, and nothing in its rest can
    open a block."""
    return split(text, limit, _resumed)


def quiet(text: str) -> str:
    """A line in small print, of any text."""
    return f"-# {neutral(one_line(text, MESSAGE // 4))}"


def asked(question: str) -> str:
    """The line in which a reply to a command repeats its question."""
    return f"> {neutral(one_line(question, ASKED))}"


def question_of(content: str) -> str | None:
    """The question that a message of ours repeats in its first line; None where it doesn't, or not all of it."""
    line = content.partition("\n")[0]
    question = reading(line.removeprefix("> "))
    return None if not line.startswith("> ") or question.endswith(CUT_OFF) else question


def plain(text: str) -> list[str]:
    """Any text as messages: /why, /help, /status."""
    return pieces(neutral(text))


def writing(text: str, question: str | None = None) -> str:
    """A reply while it is written, as one message."""
    head = f"{asked(question)}\n" if question else ""
    return pieces(f"{head}{neutral(text)}{CUT_OFF}")[0]


def message(reply: Reply, question: str | None = None, note: str = "") -> Rendered:
    """A reply with its numbered sources; `question` is repeated above it, `note` stands below it in small print.

    Options are left to buttons.
    """
    parts = [
        "\n".join(part for part in (asked(question) if question else "", _body(reply)) if part),
        "\n".join(_sources(reply)),
        "\n".join(quiet(part) for part in (written_by(reply), note) if part),
    ]
    return Rendered(pieces("\n".join(part for part in parts if part)) or ["…"], [])


def quote_card_embed(citation: Citation, number: int, of: int) -> discord.Embed:
    """The card of a quotation: its words, speaker, talk, time, and the document's address where it has one."""
    first, *rest = pieces(neutral(words(citation)), _QUOTE) or ["…"]
    shown = (f"“{first}”" if citation.verbatim else first) + (" […]" if rest else "")
    embed = discord.Embed(description=shown)
    if citation.speaker:
        embed.set_author(name=one_line(citation.speaker, 200))
    embed.add_field(name="Talk", value=_value(citation.talk))
    if citation.start is not None:
        until = f" – {clock(citation.end)}" if citation.end is not None else ""
        embed.add_field(name="Time", value=f"{clock(citation.start)}{until}")
    source = " · ".join(part for part in (citation.title, citation.date) if part)
    embed.add_field(name="Source", value=f"{_value(source)}{_link(citation.url, chr(10))}", inline=False)
    how = "word for word" if citation.verbatim else f"reported in the {citation.kind}"
    embed.set_footer(text=f"Quote {number} of {of}, {how}")
    return embed


def figures(title: str, rows: Sequence[tuple[str, str]], note: str = "") -> discord.Embed:
    """Names and values as an embed, with a note below."""
    embed = discord.Embed(title=neutral(one_line(title, 100)))
    for name, value in rows[:_FIELDS]:
        embed.add_field(name=_value(name, 40), value=_value(value, 150))
    if note:
        embed.set_footer(text=label(note, 500))
    return embed


def sources(catalog: Catalog) -> list[str]:
    """The talks and their documents, as messages."""
    lines: list[str] = []
    for talk in catalog.talk:
        lines.append("**" + _value(" · ".join(part for part in (talk.title, talk.date) if part)) + "**")
        for entry in (d for d in catalog.document if d.talk == talk.id):
            use = "quoted" if entry.kind.verbatim else "reported"
            about = " · ".join(part for part in (f"{entry.kind}, {use}", entry.title, entry.date) if part)
            lines.append(f"- {_value(about)}{_link(entry.url)}")
    return pieces("\n".join(lines))


def _resumed(before: str, rest: str) -> str:
    prefix = _PREFIX.match(before.rpartition("\n")[2])
    return (prefix[0] if prefix else "") + _OPENS_BLOCK.sub(_disarmed, rest)


def _disarmed(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "block":
            return f"{found['indent']}{found['number']}\\{found['block']}"
        case "masked":
            return "]\\"
        case "mention" | "invite":
            return found[0] + _GAP
        case _:
            return f"\\{found[0]}"


def _value(text: str, limit: int = _FIELD) -> str:
    return neutral(one_line(text, limit)) or "…"


def _body(reply: Reply) -> str:
    """The text; its claims by kind, each with the numbers of its sources."""
    return "\n".join((PARAPHRASED if part.paraphrased else "") + _said(part) for part in told(reply))


def _said(part: Told) -> str:
    return " ".join(map(_claimed, part.claims)) if part.claims else neutral(part.text)


def _claimed(claim: Claim) -> str:
    return " ".join((neutral(claim.text), *(f"[{number + 1}]" for number in claim.citations)))


def _sources(reply: Reply) -> Iterator[str]:
    """The sources, numbered; below an "I don't know" the nearest that was really said, and its words where the text
    doesn't have them already."""
    for number, how, citation in sources_of(reply):
        if number <= len(reply.citations):
            yield f"-# [{number}] {how}: {_whence(citation)}"
            continue
        shown = neutral(words(citation)) if words(citation) not in reply.text else ""
        quote = f"“{shown}” " if shown and citation.verbatim else f"{shown} " if shown else ""
        yield f"-# nearest, not an answer, {how.removeprefix('nearest, ')}: {quote}{_whence(citation)}"


def _whence(citation: Citation) -> str:
    return _value(whence(citation.model_copy(update={"url": None})), _PLACE) + _link(citation.url)


def _link(url: str | None, before: str = " · ") -> str:
    """A document's address, without a preview; nothing where it is no plain web address."""
    address = plain_address(url)
    return f"{before}<{address.replace('@', '%40')}>" if address else ""
