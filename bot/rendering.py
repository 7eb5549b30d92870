"""What replies and citations consist of, and how they read as plain text: shared by every place that shows them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from persona.types import Citation, Claim, Reply
from persona.verification import as_reported
from persona.voices import clock


class Source(NamedTuple):
    """One numbered source; ``how`` is "quoted", "paraphrased", "reported" (or several: "quoted and paraphrased"), or
    begins with "nearest"."""

    number: int
    how: str
    citation: Citation

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"[{self.number}] {self.how}: {whence(self.citation)}"


class Told(NamedTuple):
    """Claims of one kind in a row, or what a reply says beside its claims: then `claims` is empty, and `text` says it."""

    claims: tuple[Claim, ...]
    text: str = ""

    @property
    def paraphrased(self) -> bool:
        """Whether a chat model says it in its own words."""
        return bool(self.claims) and self.claims[0].kind == "paraphrased"


def told(reply: Reply) -> Iterator[Told]:
    """What a reply says: quoted, paraphrased and reported apart."""
    claimed = " ".join(claim.text for claim in reply.claims)
    if not claimed or not reply.text.startswith(claimed):
        yield Told((), reply.text)
        return
    for _, some in itertools.groupby(reply.claims, key=lambda claim: claim.kind):
        yield Told(tuple(some))
    if rest := reply.text.removeprefix(claimed).strip():
        yield Told((), rest)


def written_by(reply: Reply) -> str:
    """Who wrote it, where that was a chat model; else empty."""
    if reply.voice == "quotes":
        return ""
    return f"Written by the chat model {reply.model}: quotations are word for word, the rest is in its own words."


def words(citation: Citation) -> str:
    """The words of a citation: the speaker's, or those of a summary, told as a report."""
    return citation.quote if citation.verbatim else as_reported(citation.quote)


def whence(citation: Citation) -> str:
    """Where words come from: speaker and time, title, date, address."""
    at = clock(citation.start)
    spoken = ", ".join(part for part in (citation.speaker or "", f"at {at}" if at else "") if part)
    return " · ".join(part for part in (spoken, citation.title, citation.date, citation.url) if part)


def sources(reply: Reply) -> list[Source]:
    """What a reply rests on, numbered; for an "I don't know", the nearest that was really said."""
    cited = [Source(i + 1, _used(reply, i) or _how(c), c) for i, c in enumerate(reply.citations)]
    near = [Source(len(cited) + i, f"nearest, {_how(c)}", c) for i, c in enumerate(reply.nearest, 1)]
    return cited + near


def reply_text(reply: Reply) -> str:
    """A reply as plain lines: its text, what may be picked, its sources."""
    parts = [reply.text, numbered(unlisted(reply)), "\n".join(source.line for source in sources(reply))]
    return "\n\n".join(part for part in parts if part)


def unlisted(reply: Reply) -> tuple[str, ...]:
    """The options, unless the text lists them already."""
    return () if all(option in reply.text for option in reply.options) else reply.options


def numbered(options: Sequence[str]) -> str:
    """Options, one to a line."""
    return "\n".join(f"({number}) {option}" for number, option in enumerate(options, 1))


def quote_text(citation: Citation) -> str:
    """A quotation with where it comes from below it."""
    return f"“{citation.quote}”\n  {whence(citation)}"


def shorten(text: str, length: int) -> str:
    """The text, cut at a word where it is longer than `length`."""
    if len(text) <= length:
        return text
    return text[: length - 1].rsplit(" ", 1)[0] + " …"


def _how(citation: Citation) -> str:
    return "quoted" if citation.verbatim else "reported"


def _used(reply: Reply, number: int) -> str:
    """How the claims use a citation; empty for one that none uses."""
    return " and ".join(dict.fromkeys(claim.kind for claim in reply.claims if number in claim.citations))
