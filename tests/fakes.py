"""Stand-ins that go in by argument."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persona.errors import ModelError
from persona.text import stems
from persona.types import Judgement, Message, Reading, Sampling, TokenVectors


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


class ScriptedModel:
    """A ChatModel that writes given texts, in pieces of a few letters. With `error` it fails after the last piece.

    `asked` lists the messages of every call, `seeds` their seeds; `closed` counts streams that were ended early.
    """

    name = "scripted"

    def __init__(self, *texts: str, error: ModelError | None = None, size: int = 7) -> None:
        self._texts = list(texts)
        self._error = error
        self._size = size
        self.asked: list[Sequence[Message]] = []
        self.schemas: list[Mapping[str, Any] | None] = []
        self.seeds: list[int] = []
        self.closed = 0

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        user: str = "",
    ) -> AsyncGenerator[str]:
        del user
        text = self._texts[min(len(self.asked), len(self._texts) - 1)] if self._texts else ""
        self.asked.append(messages)
        self.schemas.append(schema)
        self.seeds.append(sampling.seed)
        try:
            for at in range(0, len(text), self._size):
                yield text[at : at + self._size]
            if self._error is not None:
                raise self._error
        except GeneratorExit:
            self.closed += 1
            raise

    async def keep(self, messages: Sequence[Message]) -> int:
        return len(messages)

    async def close(self) -> None:
        self._texts = []


def written(*claims: tuple[str, str, str], decision: str = "answer", options: Sequence[str] = ()) -> str:
    """The JSON of a chat model's answer; a claim is (kind, passage ids, text)."""
    listed = [{"kind": kind, "passages": ids.split(), "text": text} for kind, ids, text in claims]
    return json.dumps({"decision": decision, "claims": listed, "options": list(options)}, ensure_ascii=False)
