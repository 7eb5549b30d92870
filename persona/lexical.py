"""BM25 over the passages (bm25s), and how rare each word is: the lexical half of retrieval."""

# bm25s ships no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from persona.text import stems
from persona.types import Passage


@contextmanager
def _hidden(package: str) -> Generator[None]:
    """A package is not found meanwhile, unless it is loaded already."""
    modules = cast("dict[str, Any]", sys.modules)
    if package in modules:
        yield
        return
    modules[package] = None
    try:
        yield
    finally:
        del modules[package]


with _hidden("scipy"):  # it loads SciPy wherever that is installed, a quarter of a second, and needs none
    import bm25s


class LexicalIndex:
    """BM25 (Robertson & Zaragoza 2009, Lucene's variant) over stems, held in memory."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        texts = [stems(f"{p.context} {p.search}") for p in passages]
        self._bm25 = bm25s.BM25(csc_backend="numpy")
        self._bm25.index(texts, show_progress=False)
        self._ids = [p.id for p in passages]
        self._vocabulary = {word for text in texts for word in text}
        self._frequency = Counter(word for text in texts for word in set(text))
        self._size = len(texts)

    def search(self, wanted: Sequence[str], stand_ins: Sequence[str], limit: int) -> list[tuple[str, float]]:
        """The passages with the highest BM25 score over 0: (id, score), best first.

        `wanted` and `stand_ins` are stems; a stand-in for a word that the corpus lacks counts half.
        """
        scores = self._scores(wanted) + 0.5 * self._scores(stand_ins)
        found = np.flatnonzero(scores > 0)
        if len(found) > limit > 0:  # sorting them all would take longest in a big corpus
            found = found[scores[found] >= np.partition(scores[found], -limit)[-limit]]
        order = found[np.argsort(-scores[found], kind="stable")[:limit]]
        return [(self._ids[int(i)], float(scores[i])) for i in order]

    def _scores(self, stems_: Sequence[str]) -> NDArray[np.float32]:
        known = [s for s in stems_ if s in self._vocabulary]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        return np.asarray(self._bm25.get_scores(known), dtype=np.float32)

    def knows(self, stem: str) -> bool:
        """Whether any passage has the word."""
        return stem in self._vocabulary

    def idf(self, stem: str) -> float:
        """Rarity of a stem: ln(1 + (N - n + 0.5) / (n + 0.5)), Lucene's; a word of no passage has n = 0."""
        n = self._frequency[stem]
        return math.log(1 + (self._size - n + 0.5) / (n + 0.5))
