"""Reads turns that are no question of their own: an answer to what the bot asked back, and a doubt of what it said.

Both send the line back to the question before: with what was picked, or as it was. So nobody gets another answer by
insisting, and what is claimed in doubting has no part in the search.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from persona.types import Turn

_MAX_PICK = 12  # words of an answer to a question back; a longer turn is a question of its own
_MAX_PLEA = 9  # words of a turn that pleads without doubting

_ASKS = re.compile(
    r"(?:^|[.!?]\s+)\W*(?:(?:and|so|but|ok|okay|then|well)\W+)*(?:what|which|who|whom|whose|when|where|why|how)\b", re.I
)
_ORDERS = re.compile(r"\b(?:tell me about|explain|describe|summari[sz]e|compare|list|sum up|talk about)\b", re.I)
_DOUBTS = re.compile(
    r"\b(?:(?:are|r) (?:you|u) (?:\w+ )?(?:sure|certain|positive)|(?:you|u) (?:are |really )?sure|sure (?:about|of) (?:that|this|it)"
    r"|you(?:'re|r| are)? (?:wrong|mistaken|misread)|that(?:'s|s| is) (?:wrong|false|not (?:right|true|correct|it))"
    r"|(?:do not|don'?t) (?:think so|believe (?:you|that|it))|(?:i'm|im|i am) (?:\w+ )?(?:sure|certain|convinced|positive)"
    r"|i (?:thought|counted|heard|remember|had) |pretty sure|i think (?:it|that|there|you|he|they)\b|no way|surely"
    r"|every(?:body|one) knows|as i said|(?:double.?)?check (?:again|that|it)|(?:look|think) again|correct me"
    r"|(?:that|it)(?:'s| is| was)? ?(?:isn'?t|wasn'?t|not) what (?:i|he|she|they|you)\b"
    r"|(?:was|is|did|does|were|are)n'?t (?:it|that|he|you|she|they|there)|just (?:say|confirm|admit) (?:yes|it|that)|just confirm"
    r"|final answer|try (?:again|harder))\b|\b(?:really|seriously|correct|right|agreed?)\?",
    re.I,
)
_PLEADS = re.compile(
    r"\b(?:please|pl[sz]|come on|guess|ballpark|rough(?:ly)?|estimate|any (?:number|answer|name|figure)|won'?t tell"
    r"|between (?:us|you and me)|off the record|(?:nobody|no one) (?:will|would|has to|needs to) know|you (?:must|have to|do) know)\b",
    re.I,
)
_CLAIMS = re.compile(
    r"^\W*(?:(?:but|no|nope|hm+|well|ok|actually|and)\W+)*(?:it|there|that|they)(?:'s|s|'re| is| was| were| are| had| took| cost)\b",
    re.I,
)
_ORDINALS = (  # "the second one" has a "one" in it
    (re.compile(r"\b(?:second|2nd|latter|two|2)\b", re.I), 1),
    (re.compile(r"\b(?:third|3rd|three|3)\b", re.I), 2),
    (re.compile(r"\blast\b", re.I), -1),
    (re.compile(r"\b(?:first|1st|former|1)\b|^\W*(?:number |option )?one\W*$", re.I), 0),
)
_MEANT = re.compile(
    r"^\W*(?:i (?:mean|meant|want|wanted)|the one|as in|that of|about)\b\s*|\bi (?:mean|meant)\b|\bpl[sz]\b|\bplease\b",
    re.I,
)
_NOT = re.compile(r"[,;.(]?\s*(?:and |but )?\bnot (?:the )?[\w\s-]{1,30}\)?$", re.I)


class Resumed(NamedTuple):
    """What a turn goes on with: `asked` is the question before it, `picked` what it adds to that, if anything."""

    asked: str
    picked: str


def resume(history: Sequence[Turn], text: str) -> Resumed | None:
    """The question that a turn goes back to; None if it is a question of its own."""
    asked = [t.content for t in history if t.role == "user"]
    if not asked or history[-1].role != "assistant":
        return None
    said = history[-1].content.strip()
    own = bool(_ASKS.search(text) or _ORDERS.search(text))
    if said.endswith("?") and not own and len(text.split()) <= _MAX_PICK:
        return Resumed(asked[-1], _picked(said, text))
    if own:
        return None
    pleads = len(text.split()) <= _MAX_PLEA and _PLEADS.search(text)
    claims = not text.rstrip().endswith("?") and _CLAIMS.search(text)
    if _DOUBTS.search(text) or pleads or claims:
        return Resumed(_question_of(asked), "")
    return None


def _question_of(asked: Sequence[str]) -> str:
    """The last of the user's turns that was not itself a doubt."""
    return next(
        (t for t in reversed(asked) if not (_DOUBTS.search(t) or _PLEADS.search(t) or _CLAIMS.search(t))), asked[-1]
    )


def _picked(said: str, text: str) -> str:
    """What the user picks of the options in the question back: by number, or in words of their own."""
    options = options_of(said)
    plain = _NOT.sub("", text).strip() or text
    words = " ".join(_MEANT.sub(" ", plain).split())
    for pattern, place in _ORDINALS:
        if options and pattern.search(plain) and -len(options) <= place < len(options):
            rest = re.sub(r"\b(?:the|one|option|number)\b|[:,()]", " ", pattern.sub(" ", words))
            return " ".join(f"{options[place]} {rest}".split()).strip(" .")
    return words


def options_of(said: str) -> list[str]:
    """The options that a question back offers: "(1) a; (2) b", or "a, b or c" behind its last colon or comma."""
    question = re.split(r"(?<=[.!?])\s+", said)[-1].rstrip("? ")
    if "(1)" in question:
        parts = re.split(r"[;,]?\s*(?:or )?\(\d\)\s*", question)[1:]
    else:
        tail = question.rsplit(":", 1)[-1] if ":" in question else question
        parts = re.split(r",? or |; |, ", tail)
    return [p.strip(" .;,") for p in parts if p.strip(" .;,")] if len(parts) > 1 else []
