"""How replies and citations read as plain text: shared by every place that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from persona.types import Citation, Reply
from persona.voices import clock


class Source(NamedTuple):
    """One numbered source; ``how`` is "quoted", "paraphrased", "reported" or "nearest"."""

    number: int
    how: str
    citation: Citation

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"[{self.number}] {self.how}: {whence(self.citation)}"


def whence(citation: Citation) -> str:
    """Where words come from: speaker and time, title, date, address."""
    at = clock(citation.start)
    spoken = ", ".join(part for part in (citation.speaker or "", f"at {at}" if at else "") if part)
    return " · ".join(part for part in (spoken, citation.title, citation.date, citation.url) if part)


def sources(reply: Reply) -> list[Source]:
    """What a reply rests on, numbered; for an "I don't know", the nearest that was really said."""
    how = {number: claim.kind for claim in reply.claims for number in claim.citations}
    cited = [
        Source(i + 1, how.get(i, "quoted" if c.verbatim else "reported"), c) for i, c in enumerate(reply.citations)
    ]
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
