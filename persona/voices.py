"""The `quotes` voice: answers in the speaker's own words, or with a summary's own sentence, said plainly as such."""

from __future__ import annotations

import re
from collections.abc import Sequence

from persona.card import Card
from persona.corpus import Corpus
from persona.evidence import Span
from persona.text import STOPWORDS
from persona.types import Citation, Claim, DocumentKind, Reason, Sentence
from persona.verification import Draft, as_reported

MAX_REPLY = 700
SHORT_REPLY = 350  # what a second piece of evidence may lengthen a reply to when the first is clearly best
FAR_BEHIND = 2.5  # log odds behind the best from which a span adds nothing
MAX_CLAIMS = 3
SURE_LEAD = 1.0  # log odds by which the best span must lead for the reply to stay short


def cite(sentences: Sequence[Sentence], corpus: Corpus) -> Citation:
    """The citation of consecutive sentences: verbatim where a known person says them in a recording."""
    first, last = sentences[0], sentences[-1]
    entry = corpus.documents[first.document].entry
    verbatim = entry.kind.verbatim and first.speaker is not None
    return Citation(
        document=entry.id,
        title=entry.title,
        date=entry.date,
        talk=corpus.catalog.talk_of(entry.id).title,
        kind=entry.kind,
        speaker=first.speaker if verbatim else None,
        start=first.start,
        end=last.end,
        url=entry.url,
        quote=" ".join(s.text for s in sentences),
        verbatim=verbatim,
    )


def _asks(span: Span) -> bool:
    """Whether its last words are a question: what somebody asked adds nothing to an answer."""
    return span.sentences[-1].text.rstrip(" \"'”’").endswith("?")


def clock(seconds: float | None) -> str:
    """Seconds as 32:42 or 1:02:31; an empty text for None."""
    if seconds is None:
        return ""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def sic(quote: str, corpus: Corpus) -> str:
    """A note on mis-heard names, to stand beside a quotation: " [sic: ChatGPT]"; empty if there are none."""
    raw = quote.split()
    mended = corpus.repair(quote).split()
    if raw == mended:
        return ""
    said = {w.strip(".,;:?!\"'") for w in raw}
    names = [w.strip(".,;:?!\"'") for w in mended]
    new = [w for w in dict.fromkeys(names) if w not in said and any(c.isalnum() for c in w)]
    plain = {w.casefold().replace(" ", "") for w in said}
    new = [w for w in new if w.casefold() not in plain and w.casefold() not in quote.casefold().replace(" ", "")]
    return f" [sic: {', '.join(new)}]" if new else ""


def put_together(parts: Sequence[tuple[Sentence, ...]], new: tuple[Sentence, ...]) -> list[tuple[Sentence, ...]]:
    """The parts with a new one: made one with the part that it directly follows or precedes, else at the end."""
    for place, part in enumerate(parts):
        for first, second in ((part, new), (new, part)):
            if _follows(first[-1], second[0]):
                return [*parts[:place], (*first, *second), *parts[place + 1 :]]
    return [*parts, new]


_SURNAME = re.compile(r"[A-Z][a-z]")
_OPENS = re.compile(r"(?:ing|ly|ed|while)$")  # "Measuring Google's …": no forename


def _follows(one: Sentence, other: Sentence) -> bool:
    """Whether one quotation may run over both."""
    return (
        other.joined
        and (one.document, one.speaker, one.paragraph) == (other.document, other.speaker, other.paragraph)
        and other.number == one.number + 1
    )


class QuotesVoice:
    """Composes drafts for one persona; everything that it says of the talks is a quotation or a report."""

    def __init__(self, card: Card, corpus: Corpus) -> None:
        self._card = card
        self._corpus = corpus
        inside = {_bare(w) for d in corpus.sentences.values() for s in d for w in s.text.split()[1:]}
        # A name that only ever begins sentences stands in the card, or has been mended to what stands there.
        known = (w for name in (*card.aliases.values(), *corpus.speakers) for w in name.split())
        self._names = frozenset(w for w in (*inside, *known) if w[:1].isupper())

    def compose(self, spans: Sequence[Span], reason: Reason) -> Draft:
        """The draft of an answer: the best span, and up to two more where it may not say it all."""
        parts = [spans[0].sentences]
        draft = self._draft(parts, reason)
        taken = 1
        for other in [s for s in spans[1:] if not _asks(s)][:4]:
            lead = spans[0].features["ranker"] - other.features["ranker"]
            if lead > FAR_BEHIND or taken == MAX_CLAIMS:
                break
            longer = put_together(parts, other.sentences)
            trial = self._draft(longer, reason)
            if sum(len(c.text) + 1 for c in trial.claims) - 1 <= (SHORT_REPLY if lead >= SURE_LEAD else MAX_REPLY):
                parts, draft = longer, trial
                taken += 1
        return draft

    def _draft(self, parts: Sequence[tuple[Sentence, ...]], reason: Reason) -> Draft:
        claims: list[Claim] = []
        citations: list[Citation] = []
        for part in parts:
            claim, citation = self.claim(part, len(citations), after=citations[-1] if citations else None)
            claims.append(claim)
            citations.append(citation)
        if reason is Reason.CORRECTED:
            text = self._card.answer.corrected.format(answer=claims[0].text)
            claims[0] = claims[0].model_copy(update={"text": text})
        return Draft(tuple(claims), tuple(citations))

    def attribute(self, sentences: Sequence[Sentence]) -> Draft:
        """Who said it, and the words."""
        citation = cite(sentences, self._corpus)
        talk = self._corpus.catalog.talk_of(citation.document)
        at = self._at(citation)
        quote = citation.quote
        if citation.speaker == self._card.speaker:
            text = self._card.answer.attributed.format(quote=quote, told=talk.told, talk=talk.name, at=at)
        else:
            text = self._card.answer.attributed_other.format(
                quote=quote, speaker=citation.speaker, talk=talk.name, at=at
            )
        text += sic(quote, self._corpus)
        return Draft((Claim(text=text, kind="quoted", citations=(0,)),), (citation,))

    def claim(
        self, sentences: Sequence[Sentence], number: int, after: Citation | None = None
    ) -> tuple[Claim, Citation]:
        """Consecutive sentences as a claim that cites them as citation `number`; `after` is the one told before it."""
        citation = cite(sentences, self._corpus)
        lines = self._card.answer
        talk = self._corpus.catalog.talk_of(citation.document)
        same = after is not None and after.document == citation.document
        if citation.verbatim:
            quote, at, note = citation.quote, self._at(citation), sic(citation.quote, self._corpus)
            if citation.speaker != self._card.speaker:
                text = lines.quoted_other.format(quote=quote, speaker=citation.speaker, talk=talk.name, at=at)
            elif same and after is not None and after.speaker == citation.speaker:
                text = lines.more.format(quote=quote, at=at)
            else:
                text = lines.quoted.format(quote=quote, told=talk.told, talk=talk.name, at=at)
            return Claim(text=text + note, kind="quoted", citations=(number,)), citation
        sentence = self.within(citation.quote)
        if same:
            text = lines.reported_more.format(sentence=sentence)
        elif citation.kind is DocumentKind.NOTES:
            text = lines.noted.format(sentence=sentence, talk=talk.name)
        else:
            text = lines.reported.format(sentence=sentence, talk=talk.name)
        entry = self._corpus.documents[citation.document].entry
        if entry.attribution == "unreliable" and any(
            w in talk.name.split() for w in map(_bare, citation.quote.split()) if w[:1].isupper()
        ):
            text += f" {lines.unsure_who}"
        return Claim(text=text, kind="reported", citations=(number,)), citation

    def within(self, sentence: str) -> str:
        """A document's sentence as it goes on after "reports that": its first word small, unless it is a name."""
        word, _, rest = sentence.partition(" ")
        first = _bare(word)
        fore = (
            first == word
            and not _OPENS.search(first)
            and _SURNAME.match(rest)
            and _bare(rest.split()[0]) in self._names
        )
        name = (first in self._names or fore) and first.lower() not in STOPWORDS
        if first.istitle() and not name:
            sentence = sentence[0].lower() + sentence[1:]
        return as_reported(sentence)

    def _at(self, citation: Citation) -> str:
        time = clock(citation.start)
        return f", at {time}" if time else ""


def _bare(word: str) -> str:
    return word.strip(".,;:?!\"'’”“()").removesuffix("’s").removesuffix("'s")
