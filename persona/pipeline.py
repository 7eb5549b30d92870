"""The line: question → retrieve → decide → compose → verify → Reply."""

from __future__ import annotations

import asyncio
import copy
import re
import threading
import time
import unicodedata
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any, NamedTuple, TypeVar

from persona.analysis import Analyser, Analysis, acronyms
from persona.card import Card
from persona.conduct import Conduct, Found
from persona.corpus import Corpus, load_corpus
from persona.decision import Policy, Verdict, apart, decide
from persona.errors import ConfigError, FiresideError, ModelError
from persona.evidence import Evidence, Span
from persona.index import Built, PassageIndex
from persona.leaning import Leaning
from persona.lexical import LexicalIndex
from persona.lookup import FOUND, Lookup, asks_who_said, said_what
from persona.model_voice import ModelVoice, Written
from persona.models import Calibration, Coefficients, Scale, load_calibration, load_coefficients
from persona.retrieval import Retrieved, Retriever
from persona.spelling import Spelling
from persona.support import Support, SupportModel
from persona.text import STOPWORDS, clean, terms, words
from persona.types import (
    MAX_QUESTION,
    ChatModel,
    Citation,
    Cut,
    Decision,
    Embedder,
    Judge,
    Passage,
    Question,
    Reason,
    Reply,
    ScoredCitation,
    Timings,
    Trace,
)
from persona.verification import Draft, check_text, verify
from persona.voices import MAX_REPLY, QuotesVoice, cite, clock

T = TypeVar("T")
CAUTIOUS_THRESHOLD = 0.75  # where no calibration says which threshold this corpus needs
NOT_CERTIFIED = "not certified"
MODEL_PASSAGES, MODEL_WORDS = 6, 700  # what a chat model reads for one question
RESUMED = 0.95  # probability from which a turn that answers or doubts the bot is about conduct all the same
NEAREST_COSINE = 0.35  # below this the "nearest" thing said has nothing to do with the question
_NEAREST_CHARACTERS = 260
_NEAREST_WORDS = 6
_SENSE_CHARACTERS = 90  # of a heading
_GIST_CHARACTERS = 56
_MARKS = re.compile(r"[\"“”„«»]")  # an option quotes nobody
_STOPS = re.compile(r"[.!?;]\s")  # behind which an option that is read from a question back would end
_WHOLE = 2.0  # what a clause's beginning or end is worth at that of a stretch, as rarity


@dataclass
class Answered:
    """A reply and what stood behind it."""

    reply: Reply
    trace: Trace


class _Answerable(NamedTuple):
    """A question that the corpus answers: the verdict, and the passages to answer from, best first."""

    verdict: Verdict
    passages: tuple[Passage, ...]


def _passages(spans: Sequence[Span]) -> tuple[Passage, ...]:
    """The passages of the best spans, as many as a chat model shall read; always one."""
    out: dict[str, Passage] = {}
    read = 0
    for passage in (s.hit.passage for s in spans):
        if passage.id in out or (passage.kind.verbatim and passage.speaker is None):
            continue
        read += len(passage.text.split())
        if out and (len(out) == MODEL_PASSAGES or read > MODEL_WORDS):
            break
        out[passage.id] = passage
    return tuple(out.values())


class _Clock:
    """Measures the steps of one reply, in milliseconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        spent, self._last = (now - self._last) * 1000, now
        return round(spent, 2)


class Fireside:
    """One persona, ready to answer. Build it with `Fireside.open`; `respond` is safe to call from many tasks."""

    def __init__(
        self,
        card: Card,
        corpus: Corpus,
        index: PassageIndex,
        embedder: Embedder,
        coefficients: Coefficients,
        policy: Policy,
        judge: Judge | None = None,
        writer: ModelVoice | None = None,
    ) -> None:
        """With a `writer` answers are in the `model` voice."""
        self.writer = writer
        self.model_problem = ""  # why the chat model that was asked for is not there
        self.card = card
        self.corpus = corpus
        self.index = index
        self.embedder = embedder
        self.policy = policy
        self.judge = judge
        self.retriever = Retriever(corpus, index, embedder)
        names = (card.speaker, *card.short_names)
        spelled_out = acronyms([s.search for d in corpus.sentences.values() for s in d])
        spelling = Spelling(self.retriever.vocabulary.values(), embedder.words())
        leaning = Leaning(self.retriever.lexical, coefficients.leaning)
        self.analyser = Analyser(
            corpus.repair, names, spelled_out, spelling, talk_names(corpus, names), corpus.speakers, leaning
        )
        self.evidence = Evidence(self.retriever.lexical, card.speaker)
        self.conduct = Conduct(coefficients.conduct, embedder, names, judge)
        self.lookup = Lookup(corpus, self.retriever, self.analyser, self.evidence, coefficients)
        self.voice = QuotesVoice(card, corpus)
        # One worker: a llama context is not thread-safe, and Chroma's client is cheapest from one thread.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fireside")
        self._runner = asyncio.Runner()
        self._running = threading.Lock()

    @classmethod
    def open(
        cls,
        card: Card,
        index: PassageIndex,
        embedder: Embedder,
        *,
        judge: Judge | None = None,
        coefficients: Coefficients | None = None,
        corpus: Corpus | None = None,
        risk: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Fireside:
        """Loads the corpus unless it is given, brings the index to it (only what changed is embedded), and chooses the
        threshold."""
        fitted = coefficients or load_coefficients()
        if fitted.embedding != embedder.fingerprint:
            raise ConfigError(
                f"The coefficients were fitted for the embedding '{fitted.embedding}', not '{embedder.fingerprint}'. "
                "Use the bundled embedding, or run `fireside eval calibrate`."
            )
        if judge and fitted.judge and fitted.judge != judge.fingerprint:
            raise ConfigError(
                f"The coefficients were fitted for the judge '{fitted.judge}', not '{judge.fingerprint}'. "
                "Use the bundled judge, or run `fireside eval calibrate`."
            )
        corpus = corpus or load_corpus(card.catalog, card.aliases)
        if not index.is_current(corpus, embedder):
            build(corpus, index, embedder, progress)
        return cls(
            card,
            corpus,
            index,
            embedder,
            fitted,
            policy_of(card, corpus, fitted, risk, judged=judge is not None),
            judge,
        )

    def without(self, passages: Collection[str]) -> Fireside:
        """The same persona, had these passages (by id) never been indexed: what it then says must not rest on them."""
        other = copy.copy(self)
        other.retriever = self.retriever.without(passages)
        other.lookup = self.lookup.over(other.retriever)
        return other

    def at(self, threshold: float, scale: Scale | None = None) -> Fireside:
        """The same persona with another threshold, which nothing certifies, and another scale of confidences."""
        other = copy.copy(self)
        other.policy = Policy(self.policy.coefficients, threshold, NOT_CERTIFIED, scale or self.policy.scale)
        return other

    def speaking(self, model: ChatModel, support: SupportModel | None, *, think: bool = False) -> Fireside:
        """The same persona with a chat model that writes its answers; without `support`, or a judge, it may only quote."""
        other = copy.copy(self)
        judging = Support(self.embedder, self.judge, support) if support and self.judge else None
        other.writer = ModelVoice(self.card, self.corpus, model, self.voice, self.embedder, judging, think=think)
        return other

    async def respond(self, question: Question) -> Reply:
        """The reply to a question; never raises for what a user typed, nor for an index that can't be read."""
        return (await self.explain(question)).reply

    async def explain(self, question: Question, *, user: str = "", seed: int = 0) -> Answered:
        """The reply with what stood behind it, for /why; see `stream`."""
        async with aclosing(self.stream(question, user=user, seed=seed)) as parts:
            async for part in parts:
                if isinstance(part, Answered):
                    return part
        raise AssertionError("a stream without an end")

    async def stream(self, question: Question, *, user: str = "", seed: int = 0) -> AsyncGenerator[str | Answered]:
        """The reply's text in pieces, each of them proved, and at the end all of it. With the `quotes` voice it comes in
        one piece; a chat model's claims come as they pass. `user` is whom the chat model's time is shared out to, `seed`
        makes it write anew. Closing the generator stops it."""
        reply = _Reply(self, question)
        settled = await self._beside(lambda: self._settle(question, reply))
        if isinstance(settled, Answered) or self.writer is None:
            answered = settled if isinstance(settled, Answered) else self._quote(settled, reply)
            yield answered.reply.text
            yield answered
            return
        written, away, told = Written(), False, ""
        claims = self.writer.write(question, settled.passages, written, self._beside, user=user, seed=seed)
        try:
            async with aclosing(claims):
                async for claim in claims:
                    piece = f" {claim.text}" if told else claim.text
                    told += piece
                    yield piece
        except ModelError:
            away = True
        answered = await self._beside(lambda: self._written(settled, written, reply, away=away))
        if rest := answered.reply.text.removeprefix(told):
            yield rest
        yield answered

    async def _beside(self, work: Callable[[], T]) -> T:
        """Runs it on the worker."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def quotes(self, topic: str, speaker: str | None = None, limit: int = 3) -> list[ScoredCitation]:
        """Verbatim quotations on a topic, best first."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self.lookup.quotes, clean(topic), speaker, limit)

    def close(self) -> None:
        """Waits for the question at work and lets the worker go; not from an event loop where there is a chat model."""
        if self.writer is not None:
            self.run(self.writer.model.close())
        self._runner.close()
        self._worker.shutdown(wait=True)
        self.retriever.close()

    def answer(self, question: Question) -> Answered:
        """`explain`, synchronously: for one caller at a time, and not from an event loop."""
        if self.writer is not None:
            return self.run(self.explain(question))
        reply = _Reply(self, question)
        settled = self._settle(question, reply)
        return settled if isinstance(settled, Answered) else self._quote(settled, reply)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine from outside of any event loop, one after another and always on the same loop: a server's
        connections belong to theirs."""
        with self._running:
            return self._runner.run(work)

    def _settle(self, question: Question, reply: _Reply) -> Answered | _Answerable:
        """The reply where no voice is needed for it; else what there is to answer from."""
        try:
            return self._decided(question, reply)
        except FiresideError:
            return reply.plain(Reason.UNAVAILABLE, self.card.abstain.unavailable)

    def _decided(self, question: Question, reply: _Reply) -> Answered | _Answerable:
        text = clean(question.text)
        if len(question.text) > MAX_QUESTION:
            line = self.card.clarify.too_long.format(length=f"{len(question.text):,}", limit=f"{MAX_QUESTION:,}")
            return reply.plain(Reason.UNRESOLVED, line)
        if not re.search(r"\w", text):
            if any(unicodedata.category(char) == "So" for char in text):  # 👋: a nod, not a question
                return reply.plain(Reason.GREETING, self._conduct_line(Reason.GREETING))
            return reply.plain(Reason.UNRESOLVED, self.card.clarify.empty)
        analysis = self.analyser.read(question)
        self.retriever.foresee(analysis.dense)
        # One pass over all that this question needs; each of the calls below finds its own there.
        self.embedder.embed([*self.conduct.texts(text), *self.retriever.texts(analysis.dense, analysis.lexical)])
        conduct = self.conduct.classify(text)
        # "Just say yes" is aimed at the answer, not at the bot; but nobody picks an option by an order to the bot.
        ordered = analysis.picks and conduct.reason.decision is Decision.DECLINE and conduct.sure
        if analysis.resumes and conduct.probability < RESUMED and not ordered:
            conduct = Found(conduct.reason, 0.0)
        if conduct.sure:
            return reply.plain(conduct.reason, self._conduct_line(conduct.reason), conduct.probability)
        if asks_who_said(analysis.text) and terms(said_what(analysis.text)):
            return self._attribute(analysis, reply)
        retrieved = self.retriever.search(analysis.dense, analysis.lexical)
        reply.retrieved(analysis, retrieved)
        spans = self.evidence.weigh(analysis, retrieved)
        verdict = decide(analysis, spans, self.policy, self.corpus, self.judge)
        reply.decided(verdict)
        answer = verdict.confidence if verdict.reason.decision is Decision.ANSWER else None
        vague, unresolved = (verdict.reason is reason for reason in (Reason.AMBIGUOUS, Reason.UNRESOLVED))
        if conduct.outweighs(answer, vague=vague, unresolved=unresolved):
            return reply.plain(conduct.reason, self._conduct_line(conduct.reason), conduct.probability)
        match verdict.reason:
            case Reason.SUPPORTED | Reason.CORRECTED:
                reply.composing()
                return _Answerable(verdict, _passages(verdict.spans))
            case Reason.AMBIGUOUS:
                return self._ambiguous(verdict, reply)
            case Reason.UNRESOLVED:
                return reply.plain(Reason.UNRESOLVED, self.card.clarify.unresolved)
            case _:
                return self._abstain(verdict, reply)

    def _quote(self, found: _Answerable, reply: _Reply, *, note: str = "") -> Answered:
        """The `quotes` voice's answer."""
        verdict = found.verdict
        return self._supported(self.voice.compose(verdict.spans, verdict.reason), verdict, reply, note=note)

    def _written(self, found: _Answerable, written: Written, reply: _Reply, *, away: bool) -> Answered:
        """The chat model's answer; the `quotes` voice's where nothing of it is left, or the model failed."""
        assert self.writer is not None
        reply.wrote(written.cuts)
        if written.claims:
            return self._supported(written.draft, found.verdict, reply, model=self.writer.model.name)
        if written.decision is Decision.ABSTAIN:
            return self._abstain(replace(found.verdict, reason=Reason.NOT_STATED), reply)
        if len(written.senses) > 1:
            senses = {s.hit.passage.id: s for s in reversed(found.verdict.spans)}
            spans = tuple(senses[p.id] for p in written.senses if p.id in senses)
            if len(spans) > 1:
                return self._ambiguous(replace(found.verdict, spans=spans), reply)
        return self._quote(found, reply, note=self.card.answer.away if away else "")

    def _supported(
        self, draft: Draft, verdict: Verdict, reply: _Reply, *, model: str | None = None, note: str = ""
    ) -> Answered:
        reply.composed()
        checked = verify(draft, self.corpus)
        if not checked.claims:
            return self._abstain(Verdict(Reason.UNSUPPORTED, verdict.confidence, verdict.spans), reply)
        text = " ".join(c.text for c in checked.claims)
        if note and len(text) + len(note) < MAX_REPLY:
            text = f"{text} {note}"
        return reply.finish(verdict.reason, text, verdict.confidence, draft=checked, model=model)

    def _attribute(self, analysis: Analysis, reply: _Reply) -> Answered:
        found = self.lookup.spans(said_what(analysis.text))
        reply.looked_up(analysis, [s for s, _ in found])
        if not found or found[0][1] < FOUND:
            confidence = found[0][1] if found else 0.0
            verdict = Verdict(Reason.NOT_STATED, confidence, tuple(s for s, _ in found[:1]))
            reply.decided(verdict)
            return self._abstain(verdict, reply)
        best, probability = found[0]
        verdict = Verdict(Reason.SUPPORTED, probability, (best,), dict(best.features))
        reply.decided(verdict)
        return self._supported(self.voice.attribute(best.sentences), verdict, reply)

    def _ambiguous(self, verdict: Verdict, reply: _Reply) -> Answered:
        options = tuple(dict.fromkeys(self._sense(s) for s in verdict.spans))
        text = self.card.clarify.ambiguous.format(options="; ".join(f"({i}) {o}" for i, o in enumerate(options, 1)))
        return reply.finish(Reason.AMBIGUOUS, text, verdict.confidence, options=options)

    def _sense(self, span: Span) -> str:
        """A few words that name what a span is about: its heading, or the stretch of it that tells most."""
        passage = span.hit.passage
        talk = self.corpus.catalog.talk_of(passage.document).name
        sentence = span.sentences[0]
        if not passage.kind.verbatim:
            return f"{shorten(passage.context.split(': ')[-1], _SENSE_CHARACTERS, placeholder='…')} ({talk})"
        told = max(span.sentences, key=lambda one: rarity(one.search, self.retriever.lexical))
        about = gist(told.search, self.retriever.lexical)
        at = clock(sentence.start)
        return f"{about} ({talk}{', ' + at if at else ''})"

    def _abstain(self, verdict: Verdict, reply: _Reply) -> Answered:
        lines = self.card.abstain
        text = str(getattr(lines, verdict.reason.value))
        nearest = self._nearest(verdict.spans) if verdict.reason is not Reason.OUT_OF_CORPUS else []
        if nearest:
            first = nearest[0]
            talk = self.corpus.catalog.talk_of(first.document)
            if first.verbatim:
                source = ", ".join(x for x in (first.speaker, clock(first.start)) if x)
                text += " " + lines.nearest.format(quote=first.quote, source=source)
            else:
                text += " " + lines.nearest_reported.format(sentence=self.voice.within(first.quote), talk=talk.name)
        return reply.finish(verdict.reason, text, verdict.confidence, nearest=tuple(nearest))

    def _nearest(self, spans: Sequence[Span]) -> list[Citation]:
        """The nearest things really said: the best short spans that come near the question, recordings first."""
        near = [
            s
            for s in apart(spans)[:6]
            if s.features["best_cosine"] >= NEAREST_COSINE
            and len(s.text) <= _NEAREST_CHARACTERS
            and len(s.text.split()) >= _NEAREST_WORDS
        ]
        near.sort(key=lambda s: s.hit.passage.speaker is None)
        return [cite(s.sentences, self.corpus) for s in near[:2]]

    def _conduct_line(self, reason: Reason) -> str:
        if reason is Reason.IDENTITY:
            return self.card.identity
        if reason is Reason.GREETING:
            return self.card.greeting
        return str(getattr(self.card.decline, reason.value))


class _Reply:
    """Collects one reply: its times, its trace, and at the end the checked value."""

    def __init__(self, fireside: Fireside, question: Question) -> None:
        self._fireside = fireside
        self._question = question
        self._clock = _Clock()
        self._times = Timings()
        self._trace = Trace()
        self._passages = 0

    def retrieved(self, analysis: Analysis, found: Retrieved) -> None:
        self._times.retrieve = self._clock.lap()
        self._trace = Trace(standalone=analysis.dense, hits=found.hits)
        self._passages = len(found.hits)

    def looked_up(self, analysis: Analysis, spans: Sequence[Span]) -> None:
        self._times.retrieve = self._clock.lap()
        hits = tuple(dict.fromkeys(s.hit for s in spans))
        self._trace = Trace(standalone=analysis.dense, hits=hits)
        self._passages = len(hits)

    def decided(self, verdict: Verdict) -> None:
        self._times.decide = self._clock.lap()
        self._trace = replace(self._trace, features=verdict.features)

    def composing(self) -> None:
        self._clock.lap()

    def wrote(self, cuts: Sequence[Cut]) -> None:
        self._trace = replace(self._trace, cuts=tuple(cuts))

    def composed(self) -> None:
        self._times.compose = self._clock.lap()

    def plain(self, reason: Reason, text: str, confidence: float = 0.0) -> Answered:
        """A reply that says nothing of the talks."""
        return self.finish(reason, text, confidence)

    def finish(
        self,
        reason: Reason,
        text: str,
        confidence: float,
        *,
        draft: Draft | None = None,
        options: tuple[str, ...] = (),
        nearest: tuple[Citation, ...] = (),
        model: str | None = None,
    ) -> Answered:
        """The reply, once its text is proved to hold no quotation that was not said."""
        fireside = self._fireside
        citations = draft.citations if draft else ()
        check_text(text, (*citations, *nearest), fireside.corpus)
        assert len(text) <= MAX_REPLY, f"a reply of {len(text)} characters"
        self._times.verify = self._clock.lap()
        reply = Reply(
            id=self._question.id,
            question=self._question.text,
            decision=reason.decision,
            reason=reason,
            text=text,
            confidence=round(confidence, 4),
            threshold=round(fireside.policy.threshold, 4),
            risk=fireside.policy.risk,
            voice="model" if model is not None else "quotes",
            claims=draft.claims if draft else (),
            citations=citations,
            options=options,
            nearest=nearest,
            passages=self._passages,
            model=model,
            corpus=fireside.corpus.fingerprint,
            timings_ms=self._times,
        )
        return Answered(reply, self._trace)


def talk_names(corpus: Corpus, own_names: Sequence[str]) -> dict[str, list[str]]:
    """For each talk the words of its name that no other talk's has: whom it was with, where it was held."""
    own = {w for n in own_names for w in words(n)}
    cues: dict[str, list[str]] = {}
    for talk in corpus.catalog.talk:
        others = {w for t in corpus.catalog.talk if t.id != talk.id for w in words(t.name)}
        parts = [w for w in words(talk.name) if w not in STOPWORDS and w not in own and w not in others]
        capitals = [w for w in parts if re.search(rf"\b{w.capitalize()}\b", talk.name)]
        cues[talk.id] = capitals if len(capitals) <= 2 else [" ".join(capitals[-2:])]
    return cues


def build(
    corpus: Corpus, index: PassageIndex, embedder: Embedder, progress: Callable[[int, int], None] | None = None
) -> Built:
    """Brings an index to a corpus."""
    return index.build(corpus, embedder, progress) if progress else index.build(corpus, embedder)


def policy_of(
    card: Card, corpus: Corpus, coefficients: Coefficients, risk: float | None = None, *, judged: bool = True
) -> Policy:
    """The threshold of the persona's calibration if that holds for this corpus and these coefficients, else a cautious one.

    `risk` asks for a certified level; ConfigError, naming those there are, if the calibration doesn't certify it. `judged`:
    whether the line has the judge that the coefficients were fitted with.
    """
    calibration = load_calibration(card.calibration) if card.calibration else None
    void = why_void(calibration, corpus, coefficients, judged=judged)
    holds = None if void else calibration
    if risk is not None:
        level = holds.level(risk) if holds else None
        if holds is None or level is None or level.threshold is None:
            have = [f"{x.risk:.3g}" for x in holds.levels if x.certified] if holds else []
            raise ConfigError(
                f"A risk of {risk:.3g} is not certified for the persona '{card.id}'"
                + (f": {void}. " if void else f". Certified: {', '.join(have) or 'none'}. ")
                + "Leave 'risk' unset, or run `fireside eval calibrate`."
            )
        return Policy(coefficients, level.threshold, level.name, holds.scale)
    if holds is None:
        return Policy(coefficients, CAUTIOUS_THRESHOLD, NOT_CERTIFIED)
    return Policy(coefficients, holds.threshold, holds.risk, holds.scale)


def why_void(
    calibration: Calibration | None, corpus: Corpus, coefficients: Coefficients, *, judged: bool = True
) -> str:
    """Why a calibration does not hold; empty if it does."""
    if calibration is None:
        return "it has no calibration"
    if calibration.corpus != corpus.fingerprint:
        return "its documents have changed since it was calibrated"
    if calibration.coefficients != coefficients.fingerprint:
        return "the coefficients have changed since it was calibrated"
    if coefficients.judge and not judged:
        return "it was calibrated with a judge, and there is none"
    return ""


def why_uncalibrated(card: Card, corpus: Corpus, coefficients: Coefficients | None = None) -> str:
    """Why the persona's calibration does not hold; empty if it does."""
    calibration = load_calibration(card.calibration) if card.calibration else None
    return why_void(calibration, corpus, coefficients or load_coefficients())


def gist(text: str, lexical: LexicalIndex) -> str:
    """The stretch of a sentence with the rarest words, at best from a clause's beginning to its end; "…" where it is cut."""
    parts = _MARKS.sub("", text).split() or [""]
    ends = [i for i, part in enumerate(parts) if part[-1:] in ",;:.?!–—"] + [len(parts) - 1]
    best, chosen = -1.0, (0, len(parts))
    for first in range(len(parts)):
        begins = first == 0 or first - 1 in ends
        for end in range(first + 1, len(parts) + 1):
            stretch = " ".join(parts[first:end])
            if len(stretch) > _GIST_CHARACTERS or _STOPS.search(stretch):
                break
            worth = rarity(stretch, lexical) + _WHOLE * (begins + (end - 1 in ends)) + len(stretch) / _GIST_CHARACTERS
            if worth > best:
                best, chosen = worth, (first, end)
    first, end = chosen
    stretch = " ".join(parts[first:end])[:_GIST_CHARACTERS].strip(" ,;:.?!–—")
    return f"{'…' if first else ''}{stretch}{'…' if end < len(parts) else ''}"


def rarity(text: str, lexical: LexicalIndex) -> float:
    """How much of what is rare in the talks a text has."""
    return sum(lexical.idf(t) for t in set(terms(text)))
