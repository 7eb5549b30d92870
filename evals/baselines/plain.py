"""The plain bot: the passage that hybrid search puts first, if it is similar enough to the question."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from persona.index import sentence_id
from persona.pipeline import NOT_CERTIFIED, Answered, Fireside
from persona.retrieval import RRF_K
from persona.text import clean, terms
from persona.types import Claim, Hit, Passage, Question, Reason, Reply, Sentence, Timings, Trace
from persona.verification import Draft, as_reported
from persona.voices import MAX_REPLY, cite

PLAIN_THRESHOLD = 0.45  # the plain bot's of DESIGN.md, "Prior results to beat"
_DEPTH = 40  # places of each ranked list that are fused, as many as the line takes


class PlainRag:
    """Hybrid retrieval and a threshold on similarity: no reader, no ranking of sentences, no rules.

    It answers with the text of the first passage when its cosine to the question is at least 0.45, the plain bot's
    threshold from DESIGN.md, and abstains otherwise; it never asks back or declines, and reads no earlier turns. The
    confidence of a reply is that cosine (0..1).
    """

    def __init__(self, fireside: Fireside, threshold: float = PLAIN_THRESHOLD) -> None:
        self._fireside = fireside
        self.threshold = threshold

    def answer(self, question: Question) -> Answered:
        """The reply to a question; PassageIndexError where the index can't be read."""
        begun = time.perf_counter()
        text = clean(question.text)
        hit = self._first(text)
        retrieved = time.perf_counter()
        cosine = min(1.0, max(0.0, hit.cosine)) if hit else 0.0
        times = Timings(retrieve=round((retrieved - begun) * 1000, 2))
        trace = Trace(standalone=text, hits=(hit,) if hit else (), features={"cosine": cosine})
        draft = whole(hit.passage, self._fireside) if hit and cosine >= self.threshold else None
        if draft is None or not draft.claims:
            reason = Reason.OUT_OF_CORPUS if hit is None else Reason.UNSUPPORTED if draft else Reason.NOT_STATED
            line = str(getattr(self._fireside.card.abstain, reason.value))
            return Answered(reply(self._fireside, question, reason, line, cosine, self.threshold, times=times), trace)
        said = " ".join(c.text for c in draft.claims)
        made = reply(self._fireside, question, Reason.SUPPORTED, said, cosine, self.threshold, draft=draft, times=times)
        return Answered(made, trace)

    def close(self) -> None:
        """Nothing to let go: the Fireside belongs to the caller."""

    def _first(self, text: str) -> Hit | None:
        """The passage that reciprocal rank fusion of dense search and BM25 puts first; None where none is near."""
        fireside = self._fireside
        vector = fireside.embedder.embed([text])[0]
        # Equally near rows come in any order: ids decide, so that every build of an index gives the same replies.
        near = sorted(
            fireside.index.search(vector, fireside.embedder, 2 * _DEPTH), key=lambda n: (-round(n[1], 6), n[0])
        )
        dense = [key for key, _ in near if key in fireside.corpus.by_id]
        by_words = dict(fireside.retriever.lexical.search(terms(text), (), _DEPTH))
        scores: dict[str, float] = defaultdict(float)
        for ranked in (dense, list(by_words)):
            for rank, key in enumerate(ranked, 1):
                scores[key] += (RRF_K + 1) / (RRF_K + rank) / 2
        if not scores:
            return None
        first = min(scores, key=lambda key: (-scores[key], key))
        passage = fireside.corpus.by_id[first]
        return Hit(passage, self._cosine(passage, vector), by_words.get(first, 0.0), scores[first])

    def _cosine(self, passage: Passage, vector: Sequence[float]) -> float:
        """The cosine of the passage, or of its nearest sentence if that is nearer."""
        keys = [passage.id, *(sentence_id(s) for s in passage.sentences)]
        stored = self._fireside.index.vectors(keys, self._fireside.embedder)
        return max((float(v @ np.asarray(vector, dtype=np.float32)) for v in stored.values()), default=0.0)


def whole(passage: Passage, fireside: Fireside) -> Draft:
    """A passage as an answer: its sentences from the first on, up to MAX_REPLY characters in all.

    A quotation may not run over a mark or another's word, so sentences that aren't joined become claims of their own;
    one with “ or ” in it can't be proved and is left out, so that a passage of such sentences gives no claim.
    """
    runs: list[list[Sentence]] = []
    left = MAX_REPLY
    for sentence in passage.sentences:
        if passage.kind.verbatim and any(mark in sentence.text for mark in "“”"):
            continue
        together = bool(runs) and sentence.joined and sentence.number == runs[-1][-1].number + 1
        size = len(sentence.text) + (1 if together else 3)  # a space, or the quotation marks and a space before them
        if size > left and not runs:
            runs.append([replace(sentence, text=sentence.text[: left - 2].rsplit(maxsplit=1)[0])])
        if size > left:
            break
        left -= size
        if together:
            runs[-1].append(sentence)
        else:
            runs.append([sentence])
    citations = tuple(cite(run, fireside.corpus) for run in runs)
    claims = tuple(
        Claim(text=f"“{c.quote}”", kind="quoted", citations=(n,))
        if c.verbatim
        else Claim(text=as_reported(c.quote), kind="reported", citations=(n,))
        for n, c in enumerate(citations)
    )
    return Draft(claims, citations)


def reply(
    fireside: Fireside,
    question: Question,
    reason: Reason,
    text: str,
    confidence: float,
    threshold: float,
    *,
    draft: Draft | None = None,
    times: Timings | None = None,
) -> Reply:
    """A baseline's reply in the shape of the line's, so that the same code scores both; confidence in 0..1."""
    return Reply(
        id=question.id,
        question=question.text,
        decision=reason.decision,
        reason=reason,
        text=text,
        confidence=round(confidence, 4),
        threshold=round(threshold, 4),
        risk=NOT_CERTIFIED,
        voice="quotes",
        claims=draft.claims if draft else (),
        citations=draft.citations if draft else (),
        passages=1 if draft else 0,
        corpus=fireside.corpus.fingerprint,
        timings_ms=times or Timings(),
    )
