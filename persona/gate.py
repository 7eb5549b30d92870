"""The gate behind the chat model: of what it wrote, only what the cited passages bear out goes on.

A quotation is looked up in its passage, and widened to whole sentences, so that no "not" is left behind. A paraphrase has
to name its passages, hold no mark of a quotation that isn't one, and be supported by a judge of known error. The rest is
cut, and why is kept for /why and for the suite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from persona.card import Card
from persona.corpus import Corpus
from persona.prompting import Prompt
from persona.support import Support, nearest_window
from persona.text import fold_space, words
from persona.types import Citation, Claim, Cut, CutReason, Embedder, Passage, Sentence
from persona.verification import Draft, verify
from persona.voices import MAX_REPLY, QuotesVoice, cite


class Passed(NamedTuple):
    """A claim that did, and what it cites; the claim's citations count from 0 here."""

    claim: Claim
    citations: tuple[Citation, ...]


_LEAKED_WORDS = 7  # of the rules in a row: nobody writes so many alike by chance
_QUOTE_WORDS = 3  # fewer are no quotation
_DOUBLE = re.compile(r"[“”„‟\"«»]")
_STRETCH = re.compile(r"[“„\"«]([^“”„\"«»]*)[”\"»]|(?<!\w)[‘']([^‘’']{2,}(?:['’]\w[^‘’']*)*)[’'](?!\w)")
_MARKUP = re.compile(
    r"https?:|www\.|<[@#!/|]|\|>|@(?:everyone|here)\b|[{}`\[\]]|\bp\d{1,2}\b|[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\ue000-\uf8ff]"
)


class Gate:
    """Checks claims one by one as they come. One for each answer: it remembers what was said already."""

    def __init__(
        self,
        card: Card,
        corpus: Corpus,
        voice: QuotesVoice,
        embedder: Embedder,
        support: Support | None,
        prompt: Prompt,
        question: str,
    ) -> None:
        """Without a `support` no paraphrase passes."""
        self._card = card
        self._corpus = corpus
        self._voice = voice
        self._embedder = embedder
        self._support = support
        self._prompt = prompt
        self._question = question
        self._rules = _runs(prompt.rules)
        self._said: set[str] = set()
        self._length = 0
        self._last: Citation | None = None

    def check(self, raw: object) -> Passed | Cut:
        """One element of the model's "claims"."""
        if not isinstance(raw, Mapping):
            return Cut(str(raw)[:MAX_REPLY], CutReason.MALFORMED)
        told = cast("Mapping[str, Any]", raw)
        text, ids, kind = told.get("text"), told.get("passages"), told.get("kind")
        if not isinstance(text, str) or not isinstance(ids, list) or kind not in ("quote", "paraphrase"):
            return Cut(str(text)[:MAX_REPLY], CutReason.MALFORMED)
        text = fold_space(text)
        quoted = kind == "quote"
        found = self._judge(text, cast("list[object]", ids), quoted=quoted)
        if isinstance(found, CutReason):
            return Cut(text, found)
        if not verify(Draft((found.claim,), found.citations), self._corpus).claims:
            return Cut(text, CutReason.NOT_VERBATIM)
        # A quotation is told in other words the second time: its own words are what is compared.
        told_before = found.citations[0].quote if quoted else found.claim.text
        if told_before in self._said:
            return Cut(text, CutReason.REPEATED)
        if self._length + len(found.claim.text) + 1 > MAX_REPLY:
            return Cut(text, CutReason.NO_ROOM)
        self._said.add(told_before)
        self._length += len(found.claim.text) + 1
        self._last = found.citations[-1]
        return found

    def _judge(self, text: str, ids: Sequence[object], *, quoted: bool) -> Passed | CutReason:
        passages = [self._prompt.passages.get(str(i)) for i in ids]
        known = [p for p in passages if p is not None]
        if not known or len(known) < len(passages):
            return CutReason.UNKNOWN_PASSAGE
        if _runs(text) & self._rules:
            return CutReason.LEAK
        if len(text) > MAX_REPLY:
            return CutReason.NO_ROOM
        if quoted:
            return self._quote(text, known)
        if not any(c.isalpha() for c in text) or _MARKUP.search(text):
            return CutReason.MARKUP
        return self._paraphrase(text, known)

    def _quote(self, text: str, passages: Sequence[Passage]) -> Passed | CutReason:
        said = text.strip("“”\"'‘’ ")
        for passage in passages:
            sentences = holding(passage, said)
            if sentences and not (passage.kind.verbatim and passage.speaker is None):
                claim, citation = self._voice.claim(sentences, 0, self._last)
                return Passed(claim, (citation,))
        return CutReason.NOT_VERBATIM

    def _paraphrase(self, text: str, passages: Sequence[Passage]) -> Passed | CutReason:
        recorded = [p for p in passages if p.kind.verbatim]
        if any(p.speaker != self._card.speaker for p in recorded):
            return CutReason.WRONG_SPEAKER  # in the speaker's voice another's words would become the speaker's
        quoted = self._stretches(text, passages)
        if quoted is None:
            return CutReason.NOT_VERBATIM
        text, proofs = quoted
        if self._support is None:
            return CutReason.UNSUPPORTED
        limit = self._support.model.threshold
        bearing = [p for p in passages if self._support.probability(self._question, text, p) >= limit]
        if not bearing:
            return CutReason.UNSUPPORTED
        citations = [cite(self._nearest(text, p), self._corpus) for p in bearing] + proofs
        if not any(p.kind.verbatim for p in bearing):
            talk = self._corpus.catalog.talk_of(bearing[0].document)
            text = self._card.answer.reported.format(sentence=self._voice.within(text), talk=talk.name)
        claim = Claim(text=text, kind="paraphrased", citations=tuple(range(len(citations))))
        return Passed(claim, tuple(citations))

    def _stretches(self, text: str, passages: Sequence[Passage]) -> tuple[str, list[Citation]] | None:
        """The text with each stretch between quotation marks proved, and its proofs; None where one was never said."""
        proofs: list[Citation] = []
        for match in _STRETCH.finditer(text):
            said = (match[1] or match[2] or "").strip()
            held = next(
                (s for p in passages if p.kind.verbatim and p.speaker for s in [holding(p, said, least=1)] if s), None
            )
            if held is None:
                return None
            citation = cite(held, self._corpus).model_copy(update={"quote": said})
            proofs.append(citation)
            text = text.replace(match[0], f"“{said}”")
        proved = [f"“{c.quote}”" for c in proofs]
        rest = text
        for stretch in proved:
            rest = rest.replace(stretch, "")
        return None if _DOUBLE.search(rest) else (text, proofs)

    def _nearest(self, claim: str, passage: Passage) -> tuple[Sentence, ...]:
        first, last = nearest_window(claim, passage, self._embedder)
        run = passage.sentences[first:last]
        joined = next((i for i in range(1, len(run)) if not run[i].joined), len(run))
        return run[:joined]


def holding(passage: Passage, words_said: str, least: int = _QUOTE_WORDS) -> tuple[Sentence, ...]:
    """The whole sentences of a passage in which the words stand letter for letter, in one go; none if they don't."""
    if len(words_said.split()) < least:
        return ()
    for first in range(len(passage.sentences)):
        text = ""
        for last in range(first, len(passage.sentences)):
            sentence = passage.sentences[last]
            if last > first and not sentence.joined:
                break
            text = f"{text} {sentence.text}".strip()
            at = text.find(words_said)
            if at >= len(passage.sentences[first].text):
                break  # a later sentence begins it
            if at >= 0 and _whole(text, at, len(words_said)):
                return passage.sentences[first : last + 1]
    return ()


def _whole(text: str, at: int, length: int) -> bool:
    """Whether the stretch begins and ends at the edge of a word."""
    before, after = text[at - 1 : at], text[at + length : at + length + 1]
    return not before.isalnum() and not after.isalnum()


def _runs(text: str) -> set[tuple[str, ...]]:
    """Every run of so many words that finding one again is a leak."""
    plain = words(text)
    return {tuple(plain[i : i + _LEAKED_WORDS]) for i in range(len(plain) - _LEAKED_WORDS + 1)}
