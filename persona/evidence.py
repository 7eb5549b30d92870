"""Evidence: how well a span of sentences bears on a question, as numbers that a fitted model can weigh.

A span is one to three consecutive sentences of a retrieved passage. Its features compare it with the question by vectors,
by words (weighted by rarity), and by kind of answer; none of them depends on any particular question.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persona.analysis import Analysis, AnswerKind
from persona.index import Vector, sentence_id
from persona.lexical import LexicalIndex
from persona.retrieval import Retrieved
from persona.text import STOPWORDS, stem, stem_set, stems, words
from persona.types import Hit, Passage, Sentence

MAX_SENTENCES = 3
MAX_CHARACTERS = 440  # a span longer than this leaves no room for a source and a second one


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive sentences of one hit; ``rank`` is the hit's place (0 is best)."""

    hit: Hit
    sentences: tuple[Sentence, ...]
    rank: int
    features: dict[str, float] = field(default_factory=dict[str, float])
    vector: Vector | None = None

    @property
    def text(self) -> str:
        """The document's own words."""
        return " ".join(s.text for s in self.sentences)

    @property
    def search(self) -> str:
        """The repaired words."""
        return " ".join(s.search for s in self.sentences)


class _Parts(NamedTuple):
    """The spans of one passage, each as the places (first, last + 1) of its sentences there."""

    rank: int
    hit: Hit
    places: list[tuple[int, int]]


def _parts(retrieved: Retrieved) -> Iterator[_Parts]:
    """Every span of the retrieved passages, each once, with the best passage that holds it."""
    seen: set[tuple[str, int, int]] = set()
    for rank, hit in enumerate(retrieved.hits):
        if hit.passage.kind.verbatim and hit.passage.speaker is None:
            continue  # nobody is known to have said it, and it is no report either: it can't be told in any way
        sentences = hit.passage.sentences
        places: list[tuple[int, int]] = []
        for first in range(len(sentences)):
            size = 0
            for last in range(first, min(first + MAX_SENTENCES, len(sentences))):
                size += len(sentences[last].text) + (last > first)
                if last > first and (not sentences[last].joined or size > MAX_CHARACTERS):
                    break
                key = (hit.passage.document, sentences[first].number, sentences[last].number)
                if key not in seen:
                    seen.add(key)
                    places.append((first, last + 1))
        if places:
            yield _Parts(rank, hit, places)


class Evidence:
    """Computes the features of spans for one corpus and one speaker."""

    def __init__(self, lexical: LexicalIndex, speaker: str) -> None:
        self._lexical = lexical
        self._speaker = speaker

    def weigh(self, analysis: Analysis, retrieved: Retrieved) -> list[Span]:
        """Every span with its features."""
        if not retrieved.hits:
            return []
        top_bm25 = max(h.bm25 for h in retrieved.hits) or 1.0
        top_cosine = max(h.cosine for h in retrieved.hits)
        wanted = _Wanted(analysis.terms or analysis.context, self._lexical, retrieved)
        focus = _Wanted(analysis.focus, self._lexical, retrieved)
        asked = set(words(analysis.text)) | {stem(w) for w in words(analysis.text)}
        shared = self._of_question(analysis, wanted)
        out: list[Span] = []
        for rank, hit, places in _parts(retrieved):
            passage = hit.passage
            around = self._of_passage(analysis, retrieved, wanted, hit, rank, top_bm25, top_cosine)
            matched = _of_reading(retrieved, hit, places)
            meant = _of_meaning(retrieved, passage, places)
            worded = _of_words(analysis, wanted, focus, passage, places, asked)
            for at, (first, end) in enumerate(places):
                cosines, vector = meant[at]
                features = {**shared, **around, **worded[at], **cosines, **matched[at]}
                features["asked_before"] /= 1.0 + passage.sentences[first].number - passage.opening
                out.append(Span(hit, passage.sentences[first:end], rank, features, vector))
        return out

    def _of_question(self, analysis: Analysis, wanted: _Wanted) -> dict[str, float]:
        return {
            "unknown": sum(not self._lexical.knows(t) for t in wanted.terms) / max(1, len(wanted.terms)),
            "rarest_known": max((self._lexical.idf(t) for t in wanted.terms if self._lexical.knows(t)), default=0.0),
            "has_names": float(bool(analysis.names)),
            "terms": math.log1p(len(wanted.terms)),
            "wants_kind": float(analysis.kind in _CHECKED),
        }

    def _of_passage(
        self,
        analysis: Analysis,
        retrieved: Retrieved,
        wanted: _Wanted,
        hit: Hit,
        rank: int,
        top_bm25: float,
        top_cosine: float,
    ) -> dict[str, float]:
        passage = hit.passage
        context = wanted.covered(passage.context)
        covered = np.max([context, *(wanted.covered(s.search) for s in passage.sentences)], axis=0)
        missing = wanted.rarity[covered < 1.0]
        have = {t for text in (passage.context, *(s.search for s in passage.sentences)) for t in _stems(text)}
        vector = retrieved.vectors.get(passage.id)
        return {
            "passage_cosine": float(vector @ retrieved.query) if vector is not None else 0.0,
            "fused": hit.fused,
            "rank": math.log1p(rank),
            "bm25": hit.bm25 / (1.0 + 3.0 * len(wanted.terms)),
            "bm25_share": hit.bm25 / top_bm25,
            "cosine_gap": top_cosine - hit.cosine,
            "coverage_around": wanted.share(covered >= 1.0),
            "soft_coverage_around": wanted.share(covered),
            "weakest": float(np.max(wanted.rarity * (1.0 - covered), initial=0.0)),
            "rarest_missing": float(np.max(missing, initial=0.0)),
            "heading_coverage": wanted.share(context >= 1.0) if passage.context else 0.0,
            "asked_before": max((retrieved.sentence_cosine(s) for s in passage.asked), default=0.0),
            "context_coverage": self._context_coverage(analysis, have),
            "names_missing": sum(t not in have for t in analysis.names) / max(1, len(analysis.names)),
            "asked_talk": _agrees(passage.talk, analysis.talks),
            "asked_speaker": _agrees(passage.speaker or "", analysis.speakers),
            "own_words": float(passage.speaker == self._speaker),
            "other_words": float(passage.speaker is not None and passage.speaker != self._speaker),
        }

    def _context_coverage(self, analysis: Analysis, have: set[str]) -> float:
        """The share, by rarity, of what only the conversation gives that stands in the passage."""
        if not analysis.terms or not analysis.context:
            return 1.0
        weights = {t: self._lexical.idf(t) for t in analysis.context}
        return sum(w for t, w in weights.items() if t in have) / (sum(weights.values()) or 1.0)


def _agrees(have: str, asked: Sequence[str]) -> float:
    """1 if it is what the question confines itself to, -1 if it is something else, 0 if the question doesn't."""
    return 0.0 if not asked else 1.0 if have in asked else -1.0


def _highest(rows: NDArray[Any], places: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """For each span the highest value of its sentences, column by column: (sentences, n) to (spans, n)."""
    return np.stack([np.maximum.reduce(rows[first:end], axis=0) for first, end in places])


def _of_words(
    analysis: Analysis,
    wanted: _Wanted,
    focus: _Wanted,
    passage: Passage,
    places: Sequence[tuple[int, int]],
    asked: set[str],
) -> list[dict[str, float]]:
    """What the spans' words say, span by span."""
    searched = [s.search for s in passage.sentences]
    covered = _highest(np.stack([wanted.covered(text) for text in searched]), places)
    whole, soft = wanted.shares(covered >= 1.0), wanted.shares(covered)
    chosen = focus.shares(_highest(np.stack([focus.covered(text) for text in searched]), places))
    counted = [_stems(text) for text in searched]
    out: list[dict[str, float]] = []
    for at, (first, end) in enumerate(places):
        text = " ".join(searched[first:end])
        found, near = _kind_evidence(analysis, text, asked)
        have = frozenset[str]().union(*(stem_set(t) for t in searched[first:end]))
        out.append(
            {
                "coverage": float(whole[at]),
                "soft_coverage": float(soft[at]),
                "pairs": wanted.pairs(counted[first:end]),
                "focus": float(chosen[at]),
                "has_focus": float(bool(focus.terms)),
                "new_name": float(any(_new_name(name, at_, asked) for name, at_ in _names_in(text))),
                "new_number": float(any(w[0].isdigit() and w not in asked for w in _tokens(text))),
                "kind_found": found,
                "kind_near": near,
                "asks_back": sum(t.endswith("?") for t in searched[first:end]) / (end - first),
                "length": math.log(1 + sum(map(len, counted[first:end]))),
                "sentences": float(end - first),
                "novelty": len(have.difference(wanted.terms)) / max(1, len(have)),
            }
        )
    return out


def _of_meaning(
    retrieved: Retrieved, passage: Passage, places: Sequence[tuple[int, int]]
) -> list[tuple[dict[str, float], Vector | None]]:
    """How near the spans are to the question as a whole, and the vector of each: the mean of its sentences' by length,
    of length 1; None if none is indexed."""
    stored = [retrieved.vectors.get(sentence_id(s)) for s in passage.sentences]
    size = len(retrieved.query)
    rows = np.stack([v if v is not None else np.zeros(size, dtype=np.float32) for v in stored])
    cosines = rows @ retrieved.query
    lengths = [0 if v is None else len(s.search) for v, s in zip(stored, passage.sentences, strict=True)]
    sums = np.vstack([np.zeros(size), np.cumsum(rows * np.array(lengths)[:, None], axis=0)])
    means = np.stack([sums[end] - sums[first] for first, end in places])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    of_span = means @ retrieved.query
    out: list[tuple[dict[str, float], Vector | None]] = []
    for at, (first, end) in enumerate(places):
        known = any(lengths[first:end])
        values = {"best_cosine": float(cosines[first:end].max()), "span_cosine": float(of_span[at]) if known else 0.0}
        out.append((values, means[at].astype(np.float32) if known else None))
    return out


def _of_reading(retrieved: Retrieved, hit: Hit, places: Sequence[tuple[int, int]]) -> list[dict[str, float]]:
    """How well the spans match the question token by token, where both are read in their context."""
    matches = retrieved.matches.get(hit.passage.id)
    if matches is None:
        return [dict.fromkeys(_READER, 0.0) for _ in places]
    own = _highest(matches, places)
    weights = retrieved.reading.weights
    heavy = own[:, weights >= weights.mean()].min(axis=1, initial=1.0)
    plain = (own[:, 1:-1] if own.shape[1] > 2 else own).mean(axis=1)
    around = float(matches.max(axis=0) @ weights)
    return [
        dict(zip(_READER, (*map(float, values), around), strict=True))
        for values in zip(own @ weights, heavy, plain, own[:, 0], strict=True)
    ]


_READER = (
    "reader",
    "reader_least",
    "reader_plain",
    "reader_whole",
    "reader_around",
)


class _Wanted:
    """The question's terms, how rare each is, and how well a text covers them (computed once per text)."""

    def __init__(self, terms: Sequence[str], lexical: LexicalIndex, retrieved: Retrieved) -> None:
        self.terms = tuple(terms)
        self.rarity = np.array([lexical.idf(t) for t in terms], dtype=np.float64)
        self._total = float(self.rarity.sum())
        self._likeness = [retrieved.likeness.get(t, {}) for t in terms]
        self._covered: dict[str, NDArray[np.float64]] = {}

    def covered(self, text: str) -> NDArray[np.float64]:
        """For each term 1 if it stands in the text, else the cosine of the likest word that does, or 0."""
        if text not in self._covered:
            have = stem_set(text)
            self._covered[text] = np.array(
                [
                    1.0 if t in have else max((like[s] for s in like.keys() & have), default=0.0)
                    for t, like in zip(self.terms, self._likeness, strict=True)
                ],
                dtype=np.float64,
            )
        return self._covered[text]

    def share(self, covered: NDArray[np.float64] | NDArray[np.bool_]) -> float:
        """How much of the terms' rarity is covered, in 0..1; 1 if there are none."""
        return float(self.rarity @ covered) / self._total if self._total else 1.0

    def shares(self, covered: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        """`share` of each row."""
        return covered @ self.rarity / self._total if self._total else np.ones(len(covered))

    def pairs(self, sentences: Sequence[Sequence[str]]) -> float:
        """The share of neighbouring terms of the question that stand together in the stems too (within three words)."""
        if len(self.terms) < 2:
            return 0.0
        places: dict[str, list[int]] = {t: [] for t in self.terms}
        at = 0
        for stems_ in sentences:
            for token in stems_:
                if token in places:
                    places[token].append(at)
                at += 1
        pairs = list(zip(self.terms, self.terms[1:], strict=False))
        return sum(any(abs(i - j) <= 3 for i in places[a] for j in places[b]) for a, b in pairs) / len(pairs)


@lru_cache(maxsize=16384)
def _stems(text: str) -> tuple[str, ...]:
    return tuple(stems(text))


_CHECKED = (AnswerKind.NUMBER, AnswerKind.TIME, AnswerKind.PERSON, AnswerKind.PLACE, AnswerKind.REASON)
_NUMBER_WORD = frozenset(
    """
        one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy
        eighty ninety hundred thousand million billion trillion half third quarter dozen couple several few many
        both twice once
    """.split()
)
_TIME_WORD = re.compile(
    r"\b(?:1[89]|20)\d\d(?:s)?\b|\b(?:year|month|week|day|decade|hour|minute|second|century)s?\b|\b(?:yesterday|today|tomorrow|recently)\b"
    r"|\b(?:january|february|march|april|june|july|august|september|october|november|december)\b",
    re.I,
)
_REASON_WORD = re.compile(
    r"\b(?:because|since|so that|reason|reasons|therefore|thus|due to|thanks to|in order to|that's why|why|led to|leads to|means that"
    r"|as a result|allows?|enabl\w+|so)\b",
    re.I,
)
_NAME = re.compile(r"\b[A-Z][a-z]+(?:\s+[A-Z][A-Za-z]+)*\b|\b[A-Z]{2,}\b|\b[A-Z][a-z]+[A-Z]\w+\b")
_COMMON_CAPITALS = frozenset(
    """
        i ai gpt gpu gpus llm cpu rl nlp ann anns rnn rnns lstm cnn cnns gan gans rlhf
    """.split()
)


def _kind_evidence(analysis: Analysis, text: str, asked: set[str]) -> tuple[float, float]:
    """Whether the span has something of the asked kind that the question does not have itself, and whether that
    stands next to what is counted or chosen. Questions of a kind that leaves no mark in the text count as found."""
    if analysis.kind is AnswerKind.NUMBER:
        tokens = _tokens(text)
        places = [i for i, w in enumerate(tokens) if (w[0].isdigit() or w in _NUMBER_WORD) and w not in asked]
        if not analysis.focus:
            return float(bool(places)), float(bool(places))
        focus = set(analysis.focus)
        near = any(stem(t) in focus for i in places for t in tokens[max(0, i - 3) : i + 6])
        return float(bool(places)), float(near)
    if analysis.kind is AnswerKind.TIME:
        found = any(stem(m[0].lower()) not in asked for m in _TIME_WORD.finditer(text))
        return float(found), float(found)
    if analysis.kind in (AnswerKind.PERSON, AnswerKind.PLACE):
        found = any(_new_name(name, at, asked) for name, at in _names_in(text))
        return float(found), float(found)
    if analysis.kind is AnswerKind.REASON:
        found = bool(_REASON_WORD.search(text))
        return float(found), float(found)
    return 1.0, 1.0


@lru_cache(maxsize=16384)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(words(text))


@lru_cache(maxsize=16384)
def _names_in(text: str) -> tuple[tuple[str, int], ...]:
    return tuple((m[0], m.start()) for m in _NAME.finditer(text))


def _new_name(name: str, at: int, asked: set[str]) -> bool:
    """Whether a capitalised run is a name (not merely a sentence's first word) that the question lacks."""
    parts: Sequence[str] = _tokens(name)
    if at == 0:
        parts = parts[1:] if len(parts) > 1 else []
    new = [
        w for w in parts if w not in asked and stem(w) not in asked and w not in _COMMON_CAPITALS and w not in STOPWORDS
    ]
    return bool(new)
