"""Text of any origin made fit to be shown: without what can't be seen, cut at words, split at sentences.

Lengths are counted in UTF-16 units: no platform's way of counting puts them higher.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import urlsplit

from bot.batch import sound
from persona.text import ends_sentence

LABEL = 80
CUT_OFF = " …"
_LINE = 300
_ADDRESS = 400

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Controls, and what turns the direction of the text that follows.
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text without controls and marks that turn the writing direction; every line end is a newline."""
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", sound(text)))


def one_line(text: str, limit: int = _LINE) -> str:
    """The text in one line, of at most `limit` units; not neutral yet."""
    return cut(" ".join(visible(text).split()), limit)


def label(text: str, limit: int = LABEL) -> str:
    """A label of a button or a choice, which shows no markup; never empty."""
    return one_line(text, limit) or "…"


def cut(text: str, limit: int) -> str:
    """The text, cut at a word, and marked so, where it is longer than `limit` units."""
    if length(text) <= limit:
        return text
    head = text[: reach(text, limit - len(CUT_OFF))]
    return (head.rpartition(" ")[0] or text[: whole(text, len(head))]) + CUT_OFF


def pieces(text: str, limit: int, resumed: Callable[[str, str], str] = lambda before, rest: rest) -> list[str]:
    """The text in pieces of at most `limit` units: split at lines, else sentences, else words, never inside an escape or a
    letter. Where a line is split, `resumed` gives its rest, from the piece before it and that rest."""
    out: list[str] = []
    rest = text.strip()
    while length(rest) > limit:
        end = _split(rest, reach(rest, limit))
        piece, rest = rest[:end].rstrip(), rest[end:]
        out.append(piece)
        same_line = "\n" not in rest[: len(rest) - len(rest.lstrip())]
        rest = rest.lstrip()
        if same_line:
            rest = resumed(piece, rest)
    return [piece for piece in (*out, rest) if piece]


def length(text: str) -> int:
    """Its UTF-16 units."""
    return len(text) + sum(char > "\uffff" for char in text)


def reach(text: str, limit: int) -> int:
    """How many of the text's letters `limit` UTF-16 units hold."""
    units = itertools.accumulate(1 + (char > "\uffff") for char in text[: limit + 1])
    return sum(size <= limit for size in units)


def whole(text: str, end: int) -> int:
    """A place up to `end` that parts neither an escape nor what is written as one letter; but not before its half."""
    place = next((place for place in range(end, end // 2, -1) if not _joined(text, place)), end)
    backslashes = place - len(text[:place].rstrip("\\"))
    return place - backslashes % 2


def plain_address(url: str | None) -> str:
    """A web address that can be shown as a link: plain http(s), of sound length, naming no user; else empty."""
    if not url or len(url) > _ADDRESS or not re.fullmatch(r"[!#-;=?-\[\]_a-z~%]+", url, re.IGNORECASE):
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return ""
    return url


def _split(text: str, end: int) -> int:
    """Where to end a piece of at most `end` letters, and at least half as many: after a line, a sentence, or a word."""
    half = end // 2
    line = text.rfind("\n", half, end + 1)
    if line > 0:
        return line
    ends = [place for place in range(end, half, -1) if text[place].isspace()]
    sentence = next((place for place in ends if ends_sentence(text[:place].rsplit(maxsplit=1)[-1])), 0)
    return sentence or (ends[0] if ends else whole(text, end))


def _joined(text: str, place: int) -> bool:
    if place >= len(text):
        return False
    after, before = text[place], text[place - 1]
    modifies = unicodedata.category(after) in ("Mn", "Me", "Mc") or "\U0001f3fb" <= after <= "\U0001f3ff"
    return modifies or "\u200d" in (after, before)
