"""Whether a turn leans on what was said before: "by how many percent?" does, "what is reliability?" doesn't.

What a turn says for itself is weighed by a fitted model (`Coefficients.leaning`) that sees its words, how rare they are in
the talks, and whether they were said before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from persona.lexical import LexicalIndex
from persona.models import Logistic
from persona.text import STOPWORDS, terms, unique, words

FEATURES = """
    content characters rarest usual unseen named preposition lead_in pronoun pointer antecedent ellipsis deictic counted
    person definite shared tail
""".split()
LEANS = 0.5  # probability
_PREPOSITION = re.compile(
    r"^\W*(?:in|by|at|on|for|from|to|with|of|over|after|since|until|via|than|thanks|due|besides|apart)\b", re.I
)
_DEICTIC = re.compile(
    r"\b(?:ones?|others?|such|there|then|same|else|rest|too|as well|instead|either|both|again|besides|any ?way|afterwards?"
    r"|before|later|next|first|second|third|last|latter|former|best|most|exactly|precisely|roughly|altogether|in all)\b",
    re.I,
)
_COUNTED = re.compile(
    r"\bhow (?:many|much|long|often|big|large|far|fast|old|small)\b|\b(?:what|which) (?:share|percentage|year)\b", re.I
)
_PERSON = re.compile(r"\b(?:he|him|his|she|her|hers|they|them|their|nobody|anybody|somebody)\b", re.I)
_DEFINITE = re.compile(r"\b(?:the|this|that|these|those)\s+\w", re.I)
_NAMED = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][\w-]*|\d")
_TAIL = re.compile(
    r"\b(?:it|this|that|these|those|them|there|then|one|ones|for|of|with|from|by|about|in|on|to)\W*$", re.I
)


class Marks(NamedTuple):
    """Words of a turn that may point outside it, as `Analyser` finds them."""

    lead_in: bool  # "and", "what about"
    pronoun: bool
    pointer: bool  # "that", "these"
    antecedent: bool  # enough stands before them
    ellipsis: bool  # "why?"


class Leaning:
    """Weighs turns in the light of one corpus; without a model nothing leans."""

    def __init__(self, lexical: LexicalIndex, model: Logistic | None) -> None:
        self._lexical = lexical
        self.model = model

    def leans(self, text: str, said: Sequence[Collection[str]], marks: Marks) -> bool:
        """Whether a turn leans on the turns before it; `said` are the terms of each."""
        return self.model is not None and self.model.probability(self.features(text, said, marks)) >= LEANS

    def features(self, text: str, said: Sequence[Collection[str]], marks: Marks) -> dict[str, float]:
        """FEATURES of a turn."""
        own = unique(terms(text))
        rarity = [self._lexical.idf(t) for t in own]
        known = [r for t, r in zip(own, rarity, strict=True) if self._lexical.knows(t)]
        before = frozenset[str]().union(*said)
        bare = all(w in STOPWORDS for w in words(text))
        return {
            **{name: float(there) for name, there in marks._asdict().items()},
            "content": 1.0 / (1.0 + len(own)),
            "characters": len(text) / 100.0,
            "rarest": max(known, default=0.0),
            "usual": sum(rarity) / max(1, len(rarity)),
            "unseen": 1.0 - len(known) / max(1, len(own)),
            "named": float(bool(_NAMED.search(text))),
            "preposition": float(bool(_PREPOSITION.match(text))),
            "deictic": min(2, len(_DEICTIC.findall(text))) / 2.0,
            "counted": float(bool(_COUNTED.search(text))),
            "person": float(bool(_PERSON.search(text))),
            "definite": float(bool(_DEFINITE.search(text))),
            "shared": sum(t in before for t in own) / max(1, len(own)),
            "tail": float(bool(_TAIL.search(text))) + 0.5 * bare,
        }
