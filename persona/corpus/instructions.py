"""Finds sentences of a document that are put to a machine, not to people: instructions that somebody planted there.

No reply obeys them: words of a document are only ever quoted. Left out of the passages, they aren't quoted either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from persona.types import Sentence

_MACHINE = r"(?:language models?|LLMs?|AIs?|(?:AI )?assistants?|(?:chat)?bots?|models?)"
_TO_A_MACHINE = re.compile(
    "|".join(
        (
            r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|all|your)\b.{0,20}"
            r"\b(?:instructions?|rules?|prompts?|guidelines?)\b",
            rf"\b(?:new )?(?:instructions?|notes?|messages?|orders?) (?:for|to) (?:the |all |any )?{_MACHINE}\b",
            rf"\bif you(?: are|'re) (?:an? )?{_MACHINE}\b",
            rf"\bthe {_MACHINE} (?:must|should|shall|has to) (?:always |now |only )?(?:say|answer|reply|tell|respond)\b",
            r"\banswer (?:every|each|all|any) questions? (?:with|by)\b",
            r"\b(?:reveal|print|show|leak|repeat) (?:me )?(?:your|the) (?:system |hidden |secret )?(?:prompt|instructions|rules)\b",
            # What only a machine's input looks like: roles, tags, JSON.
            rf"(?:^|[.!?:]\s+)(?:SYSTEM|ASSISTANT|{_MACHINE})\s*[:,]\s",
            r"</?(?:context|system|assistant|instructions?|prompt|user)\b[^>]*>|\[/?INST\b|<\|\w+\|>|\[\[\s*\w+\s*\]\]",
            r"\{\s*\"(?:role|system|content|instructions?)\"\s*:",
        )
    ),
    re.I | re.S,
)


def part(sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """The sentences said to people, and those put to a machine with what follows in the same turn or paragraph."""
    kept: list[Sentence] = []
    planted: list[Sentence] = []
    for sentence in sentences:
        before = planted[-1] if planted else None
        goes_on = (
            before is not None
            and sentence.joined
            and sentence.number == before.number + 1
            and sentence.paragraph == before.paragraph
        )
        if goes_on or _TO_A_MACHINE.search(sentence.search):
            planted.append(sentence)
        elif kept and sentence.joined and sentence.number != kept[-1].number + 1:
            kept.append(replace(sentence, joined=False))  # or a quotation would run over the gap
        else:
            kept.append(sentence)
    return kept, planted
