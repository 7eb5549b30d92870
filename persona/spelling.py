"""Mends typing slips towards the words that a corpus has: "paramters" → "parameters", "GTP" → "GPT"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from persona.text import STOPWORDS, stem

_TOKEN = re.compile(r"[A-Za-z]+")
_SHORTEST = 3
_TWO_SLIPS = 9  # letters from which a word may hold two slips


class Spelling:
    """Knows the corpus's words, and general English ones that must not be "mended" into them.

    A slip is one letter too many, too few, wrong, or two swapped (Damerau 1964). Only a word whose stem neither the corpus
    nor English knows is mended, and only if exactly one corpus word is near; the first letter must be right.
    """

    def __init__(self, corpus_words: Iterable[str], english: Iterable[str]) -> None:
        self._words = {w for w in corpus_words if w.isalpha() and len(w) >= _SHORTEST}
        self._stems = {stem(w) for w in self._words}
        self._english = frozenset(english)
        self._by_start: dict[str, list[str]] = defaultdict(list)
        for word in sorted(self._words):
            self._by_start[word[0]].append(word)

    def correct(self, text: str) -> str:
        """The text with each unknown word replaced by the one corpus word that it is a slip of."""
        return _TOKEN.sub(lambda m: self._mend(m[0]), text)

    def _mend(self, word: str) -> str:
        low = word.lower()
        if (
            len(low) < _SHORTEST
            or low in STOPWORDS
            or low in self._english
            or stem(low) in self._stems
            or stem(low) in self._english
        ):
            return word
        best = self._nearest(low)
        return (best.upper() if word.isupper() else best) if best else word

    def _nearest(self, word: str) -> str | None:
        allowed = 2 if len(word) >= _TWO_SLIPS else 1
        near = [
            (d, w)
            for w in self._by_start[word[0]]
            if abs(len(w) - len(word)) <= allowed and (d := slips(word, w, allowed)) <= allowed
        ]
        if len(word) <= 4:  # so short a word has many neighbours: two letters swapped is the one safe slip
            near = [(d, w) for d, w in near if sorted(w) == sorted(word)]
        if not near:
            return None
        least = min(d for d, _ in near)
        stems = {stem(w) for d, w in near if d == least}
        return next(w for d, w in near if d == least) if len(stems) == 1 else None


@lru_cache(maxsize=65536)
def slips(a: str, b: str, most: int) -> int:
    """Damerau's distance (optimal string alignment), or `most` + 1 if it is larger."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
