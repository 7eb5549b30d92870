"""Hybrid retrieval: dense over passages and sentences in Chroma, lexical by BM25, fused by rank; late interaction then
reads the first of them token by token, and its order is fused with theirs."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona.corpus import Corpus
from persona.index import PassageIndex, Vector, sentence_id, vocabulary, word_id
from persona.lexical import LexicalIndex
from persona.text import STOPWORDS, stem, terms, words
from persona.types import Embedder, Hit, Reading, Sentence, TokenVectors

RRF_K = 60  # Cormack, Clarke & Büttcher, "Reciprocal rank fusion", SIGIR 2009
DEPTH = 40  # places of each ranked list that are fused
PASSAGES = 10
READ = 40  # passages that late interaction reads
READ_WEIGHT = 2  # its order counts as much as so many others
LIKE = 0.35  # cosine from which two words have something to do with each other
STANDS_IN = 0.55  # cosine from which a corpus word may stand in for one that the corpus lacks


Matches = NDArray[np.float32]  # (sentences, question tokens): the cosine of the likest token of each sentence


@dataclass(frozen=True)
class Retrieved:
    """What a search found: the hits, best first, and the vectors needed to compare their sentences."""

    query: Vector
    hits: tuple[Hit, ...]
    vectors: Mapping[str, Vector]
    likeness: Mapping[str, Mapping[str, float]]  # question stem → corpus stem → cosine of the two words
    reading: Reading
    matches: Mapping[str, Matches]  # passage → how well each question token is matched by its sentences

    def sentence_cosine(self, sentence: Sentence) -> float:
        """Cosine of a sentence to the question; 0 for one too short to be indexed."""
        vector = self.vectors.get(sentence_id(sentence))
        return float(vector @ self.query) if vector is not None else 0.0


class Retriever:
    """Searches one corpus through its index."""

    def __init__(self, corpus: Corpus, index: PassageIndex, embedder: Embedder) -> None:
        self.corpus = corpus
        self.lexical = LexicalIndex(corpus.passages)
        self._index = index
        self._embedder = embedder
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fireside-reader")
        self._foreseen: tuple[str, Future[Reading]] | None = None
        self._hidden: frozenset[str] = frozenset()
        self.vocabulary = forms = vocabulary(corpus)
        vectors = index.vectors([word_id(w) for w in forms.values()], embedder, "words")
        known = [(s, vectors[word_id(w)]) for s, w in forms.items() if word_id(w) in vectors]
        self._word_stems = [s for s, _ in known]
        self._place = {s: i for i, s in enumerate(self._word_stems)}
        self._words = np.stack([v for _, v in known]) if known else np.zeros((0, 1), dtype=np.float32)
        self._by_sentence: dict[str, list[str]] = defaultdict(list)
        for passage in corpus.passages:
            for sentence in passage.sentences:
                self._by_sentence[sentence_id(sentence)].append(passage.id)

    def search(self, dense: str, lexical: str, limit: int = PASSAGES, *, verbatim: bool = False) -> Retrieved:
        """The passages nearest to a question, given as the text to embed and the words to match.

        `verbatim` leaves out reports: only what somebody is known to have said.
        """
        asked = _stems_of(lexical)
        new = self._unknown(asked)
        begun = self.foresee(dense)
        vector, *new_vectors = self._embedder.embed([dense, *new])
        query = np.asarray(vector, dtype=np.float32)
        likeness = self._likeness(list(asked), dict(zip(new, new_vectors, strict=True)), asked)
        # Chroma gives equally near rows in any order.
        rows = self._index.search(vector, self._embedder, 2 * DEPTH + self._hidden_rows)
        near = sorted(rows, key=lambda n: (-round(n[1], 6), n[0]))
        by_passage = [(key, cosine) for key, cosine in near if key in self.corpus.by_id and key not in self._hidden]
        by_sentence = [(key, cosine) for key, cosine in near if key in self._by_sentence]
        matching = self.lexical.search(terms(lexical), _stand_ins(likeness, self.lexical), DEPTH + len(self._hidden))
        by_words = [(key, score) for key, score in matching if key not in self._hidden][:DEPTH]
        cosine: dict[str, float] = dict(by_passage)
        for key, value in by_sentence:
            for passage in self._by_sentence[key]:
                cosine[passage] = max(value, cosine.get(passage, 0.0))
        ranked = [
            [key for key, _ in by_passage],
            list(dict.fromkeys(p for key, _ in by_sentence for p in self._by_sentence[key])),
            [key for key, _ in by_words],
        ]
        bm25 = dict(by_words)
        first = [
            key
            for key, _ in _fuse(ranked)
            if key in self.corpus.by_id and (not verbatim or self.corpus.by_id[key].speaker is not None)
        ][:READ]
        reading = begun.result()
        readings = self._index.readings(first, self._embedder)
        matches = {key: matched(reading, readings[key]) for key in first if key in readings}
        best = {key: float((rows @ reading.weights).max(initial=-1.0)) for key, rows in matches.items()}
        read = sorted(best, key=lambda key: -best[key])
        hits = [
            Hit(self.corpus.by_id[key], cosine.get(key, 0.0), bm25.get(key, 0.0), score)
            for key, score in _fuse([first, *[read] * READ_WEIGHT])
        ][:limit]
        needed = [sentence_id(s) for hit in hits for s in (*hit.passage.sentences, *hit.passage.asked)]
        needed += [hit.passage.id for hit in hits]
        kept = {hit.passage.id: matches[hit.passage.id] for hit in hits if hit.passage.id in matches}
        return Retrieved(query, tuple(hits), self._index.vectors(needed, self._embedder), likeness, reading, kept)

    def without(self, passages: Collection[str]) -> Retriever:
        """A retriever that finds everything but these passages, on the same index: as if they had never been there,
        but for how rare each word is."""
        other = copy.copy(self)
        other._hidden = self._hidden | frozenset(passages)
        other._by_sentence = defaultdict(list)
        for sentence, holders in self._by_sentence.items():
            if left := [p for p in holders if p not in other._hidden]:
                other._by_sentence[sentence] = left
        return other

    @property
    def _hidden_rows(self) -> int:
        """How many rows of the index a search may find that are hidden."""
        return sum(1 + len(self.corpus.by_id[key].sentences) for key in self._hidden)

    def foresee(self, dense: str) -> Future[Reading]:
        """Begins to read a question that is about to be searched for, beside whatever is done meanwhile."""
        last = self._foreseen
        if last is None or last[0] != dense or (last[1].done() and last[1].exception() is not None):
            last = self._foreseen = (dense, self._beside.submit(self._embedder.read_question, dense))
        return last[1]

    def texts(self, dense: str, lexical: str) -> list[str]:
        """What a search will embed."""
        return [dense, *self._unknown(_stems_of(lexical))]

    def _unknown(self, asked: Mapping[str, str]) -> list[str]:
        return [word for stem_, word in asked.items() if stem_ not in self._place]

    def close(self) -> None:
        """Lets the thread go that reads questions while they are embedded."""
        self._beside.shutdown(wait=True)

    def _likeness(
        self, stems: Sequence[str], new: Mapping[str, Sequence[float]], asked: Mapping[str, str]
    ) -> dict[str, dict[str, float]]:
        """For each word of the question the corpus words that are like it, from LIKE on."""
        if not stems or not len(self._words):
            return {}
        own = [self._words[self._place[s]] if s in self._place else new[asked[s]] for s in stems]
        cosines = np.asarray(own, dtype=np.float32) @ self._words.T
        return {
            own: {self._word_stems[i]: float(row[i]) for i in np.flatnonzero(row >= LIKE)}
            for own, row in zip(stems, cosines, strict=True)
        }


def _stems_of(text: str) -> dict[str, str]:
    """The words that carry a topic, by stem."""
    return {stem(w): w for w in words(text) if w not in STOPWORDS}


def matched(reading: Reading, parts: Sequence[TokenVectors]) -> Matches:
    """For each part of a passage and each token of the question the cosine of the likest token; 0 where it has none.

    A question matches a part by late interaction (Khattab & Zaharia 2020, arXiv:2004.12832) with learned weights of the
    question's tokens: Σ weight · cosine of the likest token, in -1..1.
    """
    sizes = np.array([len(p) for p in parts])
    out = np.zeros((len(parts), len(reading.weights)), dtype=np.float32)
    full = [i for i, size in enumerate(sizes) if size]
    if full:
        cosines = np.concatenate([parts[i] for i in full]) @ reading.vectors.T
        starts = np.concatenate([[0], np.cumsum(sizes[full])[:-1]])
        out[full] = np.maximum.reduceat(cosines, starts, axis=0)
    return out


def _stand_ins(likeness: Mapping[str, Mapping[str, float]], lexical: LexicalIndex) -> list[str]:
    """For each word that the corpus lacks, the words most like it."""
    out: list[str] = []
    for own, like in likeness.items():
        if not lexical.knows(own):
            best = sorted((s for s in like if like[s] >= STANDS_IN), key=lambda s: -like[s])
            out += best[:3]
    return out


def _fuse(ranked: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """Reciprocal rank fusion of ranked lists, scaled so that first place in all of them is 1."""
    scores: dict[str, float] = defaultdict(float)
    for ids in ranked:
        for rank, key in enumerate(ids, 1):
            scores[key] += (RRF_K + 1) / (RRF_K + rank) / len(ranked)
    return sorted(scores.items(), key=lambda item: -item[1])
