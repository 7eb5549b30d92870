"""Looks up what was really said: verbatim quotations on a topic, and who said something."""

from __future__ import annotations

import copy
import re

from persona.analysis import Analyser
from persona.corpus import Corpus
from persona.decision import apart
from persona.evidence import Evidence, Span
from persona.models import Coefficients
from persona.retrieval import Retriever
from persona.types import Question, ScoredCitation
from persona.voices import cite

FOUND = 0.5  # from this probability on a quotation is about the topic
_PASSAGES = 24

_SAID = (
    r"said|says|say|saying|mentioned|mentions|brought up|brings up|asked|asks|claimed|claims|argued|argues|noted|stated|states|told|compared"
    r"|called|calls|described|describes|pointed out|points out|suggested|suggests|used the (?:phrase|term|words?|expression)|remarked"
    r"|commented|talked about|talks about|spoke (?:about|of)|thinks|thought|believes|believed|admitted|joked|wondered|explained|referred to|credits|credited"
    r"|uttered|raised|quoted|recalled|congratulated|thanked|praised|observed|complained|put it|jumped in|interrupted"
)
_BEGIN = r"^\W*(?:(?:so|and|ok|hey|btw|wait)\W+)*"
_EITHER = r"(?:was|is) it \w+ or \w+(?: \w+)? who\b|did \w+(?: \w+)? or \w+(?: \w+)? (?:say|mention|bring up|talk about|speak of)\b"
_ATTRIBUTION = re.compile(
    rf"{_BEGIN}(?:who(?:se)?\b(?!\s+(?:did|do|does|(?:am|are|is|was|were) (?:i|you|he|she|they))\b)(?:\s+\w+){{0,3}}?\s+(?:{_SAID})\b"
    rf"|who (?:do|did) you (?:think|say) (?:{_SAID})\b"
    rf"|who (?:was|is) it (?:that|who) (?:{_SAID})\b|whose (?:words?|line|quote|phrase|idea|sentence|remark|question|comment|claim|statement)\b"
    rf"|(?:was|is) (?:it|that|this) .{{1,60}}\b(?:who|that) (?:{_SAID})\b"
    rf"|(?:which|what) (?:one|person|speaker|of (?:you|them|the two))\b.{{0,30}}\b(?:{_SAID})\b"
    rf"|{_EITHER}|who\b.{{0,40}}\bthe one (?:who|that)\b"
    r"|who(?:['’]s|\s+(?:\w+\s+)?(?:was|is|were|are|keeps|kept))(?:\s+it)?\s+(?:speaking|talking)\b(?!\s+(?:to|with)\b))",
    re.I,
)
_FRAME = re.compile(
    rf"{_BEGIN}(?:{_EITHER})\W*(?:(?:{_SAID})\b\W*)?"
    rf"|{_BEGIN}(?:who(?:se)?|which|what|was|is)\b.{{0,60}}?\b(?:{_SAID})\b(?:\s+(?:that|about|it|of|the (?:phrase|words|line)))*\W*"
    rf"|^\W*whose \w+ (?:was|is|are) (?:it|this|that)?\W*(?:that)?\W*|^\W*who (?:was|is) it (?:that|who)\W*",
    re.I,
)


def asks_who_said(text: str) -> bool:
    """Whether a question is about who said something."""
    return bool(_ATTRIBUTION.match(text))


def said_what(text: str) -> str:
    """The words that an attribution question is about, without the asking."""
    quoted = re.search(r"[“\"‘'](.{6,400}?)[”\"’'](?!\w)", text)
    if quoted:
        return quoted[1]
    rest = _FRAME.sub("", text, count=1).strip(" ?.,:;-")
    return rest or text


class Lookup:
    """Finds verbatim spans for one persona."""

    def __init__(
        self, corpus: Corpus, retriever: Retriever, analyser: Analyser, evidence: Evidence, coefficients: Coefficients
    ) -> None:
        self._corpus = corpus
        self._retriever = retriever
        self._analyser = analyser
        self._evidence = evidence
        self._model = coefficients.lookup

    def over(self, retriever: Retriever) -> Lookup:
        """The same look-up by another retriever."""
        other = copy.copy(self)
        other._retriever = retriever
        return other

    def spans(self, topic: str, speaker: str | None = None) -> list[tuple[Span, float]]:
        """Spans of what a known person said, with the probability that they are about the topic, best first."""
        analysis = self._analyser.read(Question(text=topic))
        retrieved = self._retriever.search(analysis.dense, analysis.lexical, _PASSAGES, verbatim=True)
        weighed = self._evidence.weigh(analysis, retrieved)
        if speaker is not None:
            weighed = [s for s in weighed if s.hit.passage.speaker == speaker]
        scored = {id(s): self._model.probability(s.features) for s in weighed}
        best = apart(sorted(weighed, key=lambda s: -scored[id(s)]))
        return [(s, scored[id(s)]) for s in best]

    def quotes(self, topic: str, speaker: str | None = None, limit: int = 3) -> list[ScoredCitation]:
        """At most `limit` quotations on a topic, best first; none if the talks don't have it."""
        found = [(s, p) for s, p in self.spans(topic, speaker) if p >= FOUND][:limit]
        return [ScoredCitation(**cite(s.sentences, self._corpus).model_dump(), score=round(p, 4)) for s, p in found]

    def speaker(self, name: str) -> str | None:
        """The full name of a speaker of the corpus, given in full or in part; None if nobody fits."""
        wanted = name.casefold()
        return next((s for s in self._corpus.speakers if wanted in s.casefold()), None)
