"""Stand-ins that go in by argument."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from persona.text import stems
from persona.types import Judgement, Reading, TokenVectors


class HashEmbedder:
    """An Embedder without weights: the hashed stems of a text, as a unit vector. Texts that share words are near.

    `embedded` lists every text it was given, in order. With `calls` it is killed (KeyboardInterrupt) after so many.
    """

    def __init__(self, fingerprint: str = "hash:1", *, dimensions: int = 96, calls: int | None = None) -> None:
        self._fingerprint = fingerprint
        self._dimensions = dimensions
        self._calls = calls
        self.embedded: list[str] = []

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self._calls is not None:
            if self._calls == 0:
                raise KeyboardInterrupt
            self._calls -= 1
        self.embedded.extend(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.0] * self._dimensions
        for stem in stems(text) or [""]:
            digest = hashlib.sha256(stem.encode()).digest()
            vector[int.from_bytes(digest[:4], "big") % self._dimensions] += 1.0
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length for x in vector]

    def words(self) -> list[str]:
        return []

    def read_question(self, text: str) -> Reading:
        vectors = self._tokens(text)
        weights = np.full(len(vectors), 1 / len(vectors), dtype=np.float32)
        return Reading(vectors, weights)

    def read_passages(self, passages: Sequence[Sequence[str]]) -> list[list[TokenVectors]]:
        return [[self._tokens(text) for text in passage] for passage in passages]

    def _tokens(self, text: str) -> NDArray[np.float32]:
        return np.asarray([self._vector(word) for word in text.split() or [""]], dtype=np.float32)


class WordJudge:
    """A Judge without weights: an answer lies where the question's words are, the more of them the surer.

    `judged` lists every passage that it was given.
    """

    fingerprint = "words:1"

    def __init__(self) -> None:
        self.judged: list[Sequence[str]] = []

    def judge(self, question: str, passages: Sequence[Sequence[str]]) -> list[Judgement]:
        self.judged += passages
        return [self._judgement(set(stems(question)), parts) for parts in passages]

    @staticmethod
    def _judgement(asked: set[str], parts: Sequence[str]) -> Judgement:
        shared = np.array([len(asked & set(stems(part))) for part in parts], dtype=np.float64)
        shares = shared / (shared.sum() + 1.0)
        return Judgement(float(shared.max(initial=0.0)) - 1.5, shares, shares)

    def kinds(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [{"greeting": float("hello" in text.casefold()), "question": 0.5} for text in texts]
