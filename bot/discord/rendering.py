"""How replies, quotations and lists read on Discord: inert text, true sources, and nothing over a limit."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import discord

from bot.batch import sound
from bot.rendering import whence
from persona.corpus.catalog import Catalog
from persona.text import ends_sentence
from persona.types import Citation, Claim, Reply
from persona.verification import as_reported
from persona.voices import clock

MESSAGE = 2000  # characters, as all limits here: UTF-16 units, which no way of counting puts higher
ASKED = 1000  # of a question that a reply repeats
LABEL = 80
_QUOTE = 3500  # of a quotation in an embed, whose parts may have 6,000 together
_PLACE = 300
_FIELD = 300
_FIELDS = 12
_ADDRESS = 400
PARAPHRASED = "**Paraphrased:** "  # leads what a chat model puts in its own words
# Zero width: takes a mention or an address apart where a client, or Discord itself, ignores backslashes.
_GAP = "\u200b"
_CUT_OFF = " …"

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Controls, and what turns the direction of the text that follows.
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
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
    return _ACTIVE.sub(_disarmed, _visible(text))


def reading(text: str) -> str:
    """What a person reads of a neutral text: the way back."""
    return _ESCAPED.sub(r"\1", text).replace(_GAP, "")


def one_line(text: str, limit: int = _PLACE) -> str:
    """The text in one line, of at most `limit` characters; not neutral yet."""
    return _cut(" ".join(_visible(text).split()), limit)


def label(text: str, limit: int = LABEL) -> str:
    """A label of a button or a choice, which shows no markdown; never empty."""
    return one_line(text, limit) or "…"


def pieces(text: str, limit: int = MESSAGE) -> list[str]:
    """A neutral text as messages: split at lines, else sentences, else words, never inside an escape or a letter.

    Where a line is split, its quote or subtext mark is repeated, and nothing in its rest can open a block.
    """
    out: list[str] = []
    rest = text.strip()
    while _length(rest) > limit:
        end = _split(rest, _reach(rest, limit))
        piece, rest = rest[:end].rstrip(), rest[end:]
        out.append(piece)
        same_line = "\n" not in rest[: len(rest) - len(rest.lstrip())]
        rest = rest.lstrip()
        if same_line:
            prefix = _PREFIX.match(piece.rpartition("\n")[2])
            rest = (prefix[0] if prefix else "") + _OPENS_BLOCK.sub(_disarmed, rest)
    return [piece for piece in (*out, rest) if piece]


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
    return None if not line.startswith("> ") or question.endswith(_CUT_OFF) else question


def plain(text: str) -> list[str]:
    """Any text as messages: /why, /help, /status."""
    return pieces(neutral(text))


def writing(text: str, question: str | None = None) -> str:
    """A reply while it is written, as one message."""
    head = f"{asked(question)}\n" if question else ""
    return pieces(f"{head}{neutral(text)}{_CUT_OFF}")[0]


def message(reply: Reply, question: str | None = None, note: str = "") -> Rendered:
    """A reply with its numbered sources; `question` is repeated above it, `note` stands below it in small print.

    Options are left to buttons.
    """
    parts = [
        "\n".join(part for part in (asked(question) if question else "", _body(reply)) if part),
        "\n".join((*_sources(reply), *_nearest(reply))),
        "\n".join(part for part in (_voice(reply), quiet(note) if note else "") if part),
    ]
    return Rendered(pieces("\n".join(part for part in parts if part)) or ["…"], [])


def quote_card_embed(citation: Citation, number: int, of: int) -> discord.Embed:
    """The card of a quotation: its words, speaker, talk, time, and the document's address where it has one."""
    words, *rest = pieces(neutral(_words(citation)), _QUOTE) or ["…"]
    shown = (f"“{words}”" if citation.verbatim else words) + (" […]" if rest else "")
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


def _visible(text: str) -> str:
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", sound(text)))


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


def _length(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def _reach(text: str, limit: int) -> int:
    """How many of the text's letters `limit` UTF-16 units hold."""
    units = itertools.accumulate(1 + (char > "\uffff") for char in text[: limit + 1])
    return sum(length <= limit for length in units)


def _cut(text: str, limit: int) -> str:
    """The text, cut at a word, and marked so, where it is longer than `limit` UTF-16 units."""
    if _length(text) <= limit:
        return text
    head = text[: _reach(text, limit - len(_CUT_OFF))]
    return (head.rpartition(" ")[0] or text[: _whole(text, len(head))]) + _CUT_OFF


def _split(text: str, end: int) -> int:
    """Where to end a piece of at most `end` letters, and at least half as many: after a line, a sentence, or a word."""
    half = end // 2
    line = text.rfind("\n", half, end + 1)
    if line > 0:
        return line
    ends = [place for place in range(end, half, -1) if text[place].isspace()]
    sentence = next((place for place in ends if ends_sentence(text[:place].rsplit(maxsplit=1)[-1])), 0)
    return sentence or (ends[0] if ends else _whole(text, end))


def _whole(text: str, end: int) -> int:
    """A place up to `end` that parts neither an escape nor what is written as one letter; but not before its half."""
    place = next((place for place in range(end, end // 2, -1) if not _joined(text, place)), end)
    backslashes = place - len(text[:place].rstrip("\\"))
    return place - backslashes % 2


def _joined(text: str, place: int) -> bool:
    if place >= len(text):
        return False
    after, before = text[place], text[place - 1]
    modifies = unicodedata.category(after) in ("Mn", "Me", "Mc") or "\U0001f3fb" <= after <= "\U0001f3ff"
    return modifies or "\u200d" in (after, before)


def _value(text: str, limit: int = _FIELD) -> str:
    return neutral(one_line(text, limit)) or "…"


def _body(reply: Reply) -> str:
    """The text; its claims by kind, each with the numbers of its sources."""
    told = " ".join(claim.text for claim in reply.claims)
    if not told or not reply.text.startswith(told):
        return neutral(reply.text)
    groups = itertools.groupby(reply.claims, key=lambda claim: claim.kind)
    lines = [(PARAPHRASED if kind == "paraphrased" else "") + " ".join(map(_told, some)) for kind, some in groups]
    if rest := reply.text.removeprefix(told).strip():
        lines.append(neutral(rest))
    return "\n".join(lines)


def _told(claim: Claim) -> str:
    return " ".join((neutral(claim.text), *(f"[{number + 1}]" for number in claim.citations)))


def _sources(reply: Reply) -> Iterator[str]:
    for number, citation in enumerate(reply.citations):
        kinds = dict.fromkeys(claim.kind for claim in reply.claims if number in claim.citations)
        how = " and ".join(kinds) or ("quoted" if citation.verbatim else "reported")
        yield f"-# [{number + 1}] {how}: {_whence(citation)}"


def _nearest(reply: Reply) -> Iterator[str]:
    """The nearest that was really said; its words too, where the text doesn't have them already."""
    for citation in reply.nearest:
        how = "quoted" if citation.verbatim else "reported"
        words = _words(citation)
        shown = neutral(words) if words not in reply.text else ""
        quote = f"“{shown}” " if shown and citation.verbatim else f"{shown} " if shown else ""
        yield f"-# nearest, not an answer, {how}: {quote}{_whence(citation)}"


def _voice(reply: Reply) -> str:
    if reply.voice == "quotes":
        return ""
    model = one_line(reply.model or "", 80)
    return quiet(f"Written by the chat model {model}: quotations are word for word, the rest is in its own words.")


def _words(citation: Citation) -> str:
    return citation.quote if citation.verbatim else as_reported(citation.quote)


def _whence(citation: Citation) -> str:
    return _value(whence(citation.model_copy(update={"url": None})), _PLACE) + _link(citation.url)


def _link(url: str | None, before: str = " · ") -> str:
    """A document's address, without a preview; nothing where it is no plain web address."""
    if not url or len(url) > _ADDRESS or not re.fullmatch(r"[!#-;=?-\[\]_a-z~%]+", url, re.IGNORECASE):
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return ""
    return f"{before}<{url.replace('@', '%40')}>"
