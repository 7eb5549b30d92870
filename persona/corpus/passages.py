"""Cuts documents into passages: sentences of one turn or paragraph, short enough for the embedding to see whole."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from persona.corpus.catalog import Catalog, DocumentEntry
from persona.text import stems
from persona.types import DocumentKind, Passage, Sentence

MAX_WORDS = 90  # about 120 tokens; the embedding model reads 256
STRIDE_WORDS = 45  # a new passage begins about every half passage, so that no answer lies across a cut
SAME_WORDS = 0.85  # Jaccard similarity of word sets from which two sentences say the same


def cut(entry: DocumentEntry, sentences: Sequence[Sentence], catalog: Catalog) -> list[Passage]:
    """The passages of one document, in order."""
    talk = catalog.talk_of(entry.id)
    out: list[Passage] = []
    for run in _runs(sentences):
        asked = _question_before(run[0], sentences) if entry.kind.verbatim else ()
        context = " ".join(s.search for s in asked) or run[0].heading
        for part in _windows(run):
            text = " ".join(s.search for s in part)
            digest = "p" + hashlib.sha256(f"{entry.id}|{context}|{text}".encode()).hexdigest()[:20]
            out.append(Passage(digest, entry.id, entry.kind, talk.id, tuple(part), context, run[0].number, asked))
    return out


def _runs(sentences: Sequence[Sentence]) -> list[list[Sentence]]:
    """Maximal runs of one speaker. Another's backchannel of a few words parts the turn for quoting, not for search."""
    runs: list[list[Sentence]] = []
    for sentence in sentences:
        if runs and runs[-1][-1].paragraph == sentence.paragraph and runs[-1][-1].speaker == sentence.speaker:
            runs[-1].append(sentence)
        else:
            runs.append([sentence])
    return runs


def _windows(run: list[Sentence]) -> list[list[Sentence]]:
    sizes = [len(s.text.split()) for s in run]
    return [run[first:end] for first, end in stretches(sizes, MAX_WORDS, STRIDE_WORDS)]


def stretches(sizes: Sequence[int], most: int, stride: float) -> list[tuple[int, int]]:
    """Stretches (first, end) of consecutive sentences of so many words: each of at most `most` words, or of one sentence,
    and each begun `stride` words or somewhat more after the one before."""
    out: list[tuple[int, int]] = []
    first = 0
    while first < len(sizes):
        end, total = first, 0
        while end < len(sizes) and (end == first or total + sizes[end] <= most):
            total += sizes[end]
            end += 1
        out.append((first, end))
        if end == len(sizes):
            break
        step = 0
        while first < end and step < stride:
            step += sizes[first]
            first += 1
    return out


def _question_before(sentence: Sentence, sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """What another speaker asked just before this turn: the answer often leaves the topic unsaid."""
    at = bisect_left(sentences, sentence.number, key=lambda s: s.number)
    before = sentences[max(0, at - 3) : at]
    return tuple(s for s in before if s.speaker != sentence.speaker and s.search.endswith("?"))


def merge_duplicates(passages: Sequence[Passage]) -> list[Passage]:
    """Drops what restates an earlier passage of the same talk; the one that stays names the other's document.

    Captions that were aligned to a transcript restate it wherever its times cover theirs. Any other passage restates
    when every sentence of it has a twin, by word sets, in earlier passages.
    """
    kept: list[Passage] = []
    also: dict[int, list[str]] = defaultdict(list)
    twins = _Twins(passages)
    for passage in passages:
        owners = _covering(passage, kept) or twins.owners(passage)
        for index in owners:
            if passage.document != kept[index].document and passage.document not in also[index]:
                also[index].append(passage.document)
        if not owners:
            twins.add(passage, len(kept))
            kept.append(passage)
    return [replace(p, also=tuple(also[i])) for i, p in enumerate(kept)]


def _covering(passage: Passage, kept: Sequence[Passage]) -> list[int]:
    """The transcript passages in whose time an aligned captions passage lies."""
    start, end = passage.sentences[0].start, passage.sentences[-1].end
    if passage.kind is not DocumentKind.CAPTIONS or start is None or end is None:
        return []
    out: list[int] = []
    for index, other in enumerate(kept):
        first, last = other.sentences[0].start, other.sentences[-1].end
        timed = first is not None and last is not None and min(end, last) >= max(start, first)
        if timed and other.kind is DocumentKind.TRANSCRIPT and other.talk == passage.talk:
            out.append(index)
    return out


class _Twins:
    """Finds sentences whose word sets have a Jaccard similarity of at least SAME_WORDS.

    Prefix filtering (Bayardo, Ma & Srikant, "Scaling up all pairs similarity search", WWW 2007): with words in order of
    rarity, such a pair shares a word among the first n - ceil(SAME_WORDS * n) + 1 of each, so only those are looked up.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._frequency = Counter(w for p in passages for s in p.sentences for w in set(stems(s.search)))
        self._by_word: dict[tuple[str, str], list[tuple[frozenset[str], int]]] = defaultdict(list)
        self._numbers: dict[int, tuple[str, frozenset[int]]] = {}

    def add(self, passage: Passage, owner: int) -> None:
        self._numbers[owner] = (passage.document, frozenset(s.number for s in passage.sentences))
        for sentence in passage.sentences:
            own = frozenset(stems(sentence.search))
            for word in self._prefix(own):
                self._by_word[passage.talk, word].append((own, owner))

    def owners(self, passage: Passage) -> list[int]:
        """The earlier passages that together say all of this one; empty if a sentence is new."""
        numbers = frozenset(s.number for s in passage.sentences)
        out: set[int] = set()
        for sentence in passage.sentences:
            own = frozenset(stems(sentence.search))
            found = {
                owner
                for word in self._prefix(own)
                for other, owner in self._by_word[passage.talk, word]
                if len(own & other) >= SAME_WORDS * len(own | other)
            }
            # A neighbouring window of the same document holds the very same sentence: no restatement.
            found = {
                o for o in found if not (self._numbers[o][0] == passage.document and self._numbers[o][1] & numbers)
            }
            if not found:
                return []
            out |= found
        return sorted(out)

    def _prefix(self, own: frozenset[str]) -> list[str]:
        ordered = sorted(own, key=lambda w: (self._frequency[w], w))
        return ordered[: len(own) - math.ceil(SAME_WORDS * len(own)) + 1]
