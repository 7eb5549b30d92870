"""The `model` voice: a chat model writes from the passages, and only what passes the gate is told, claim by claim."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from persona.card import Card
from persona.corpus import Corpus
from persona.gate import Gate, Passed
from persona.partial import PartialObject
from persona.prompting import MAX_CLAIMS, Prompt, prompt
from persona.support import Support
from persona.types import ChatModel, Citation, Claim, Cut, CutReason, Decision, Embedder, Passage, Question, Sampling
from persona.verification import Draft
from persona.voices import QuotesVoice

T = TypeVar("T")
SAMPLING = Sampling(max_tokens=700, temperature=0.4, top_k=40, top_p=0.9, deadline=180.0)
_ENOUGH = 4 * MAX_CLAIMS  # elements after which a model that the schema does not hold is stopped


class Beside(Protocol):
    """Runs what computes for long on another thread."""

    def __call__(self, work: Callable[[], T], /) -> Coroutine[Any, Any, T]:
        """What `work` returns."""
        ...


@dataclass
class Written:
    """What a chat model made of a question: its own decision, the claims that passed, and what was cut."""

    decision: Decision = Decision.ANSWER
    claims: list[Claim] = field(default_factory=list[Claim])
    citations: list[Citation] = field(default_factory=list[Citation])
    senses: list[Passage] = field(default_factory=list[Passage])
    cuts: list[Cut] = field(default_factory=list[Cut])

    @property
    def draft(self) -> Draft:
        """The claims and what they cite, for the last check."""
        return Draft(tuple(self.claims), tuple(self.citations))

    def take(self, passed: Passed) -> Claim:
        """Adds a claim; the same citation is listed once."""
        places: list[int] = []
        for citation in passed.citations:
            if citation not in self.citations:
                self.citations.append(citation)
            places.append(self.citations.index(citation))
        claim = passed.claim.model_copy(update={"citations": tuple(dict.fromkeys(places))})
        self.claims.append(claim)
        return claim


class ModelVoice:
    """Writes with one chat model for one persona."""

    def __init__(
        self,
        card: Card,
        corpus: Corpus,
        model: ChatModel,
        quotes: QuotesVoice,
        embedder: Embedder,
        support: Support | None = None,
        *,
        think: bool = False,
        sampling: Sampling = SAMPLING,
    ) -> None:
        """`think` lets the model write notes to itself first, which nobody sees. Without `support` it may only quote."""
        self.model = model
        self._card = card
        self._corpus = corpus
        self._quotes = quotes
        self._embedder = embedder
        self._support = support
        self._think = think
        self._sampling = sampling
        self._kept = False

    @property
    def name(self) -> str:
        """What runs of the suite call it: the model, and whether it notes down its thoughts first."""
        return f"{self.model.name}, thinking" if self._think else self.model.name

    def prompt(self, question: Question, passages: Sequence[Passage]) -> Prompt:
        """What the model is given."""
        return prompt(self._card, self._corpus, question, passages, think=self._think)

    async def write(
        self,
        question: Question,
        passages: Sequence[Passage],
        written: Written,
        beside: Beside,
        *,
        user: str = "",
        seed: int = 0,
    ) -> AsyncGenerator[Claim]:
        """Each claim as soon as it has passed the gate; `written` is filled meanwhile. ModelError where the model fails."""
        given = self.prompt(question, passages)
        support = self._support.fresh() if self._support else None
        gate = Gate(self._card, self._corpus, self._quotes, self._embedder, support, given, question.text)
        reader = PartialObject("claims")
        sampling = self._sampling.model_copy(update={"seed": seed})
        if not self._kept:
            self._kept = True
            await self.model.keep(given.messages[:1])
        stream = self.model.stream(given.messages, sampling, schema=given.schema, user=user)
        seen = 0
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                for element in reader.feed(piece):
                    seen += 1
                    if _decision(reader.head) is not Decision.ANSWER:
                        continue
                    found = await beside(partial(gate.check, element))
                    if isinstance(found, Passed):
                        yield written.take(found)
                    else:
                        written.cuts.append(found)
                if reader.broken or seen >= _ENOUGH or len(written.claims) == MAX_CLAIMS:
                    break
        whole = reader.value()
        if whole is None and not seen:
            written.cuts.append(Cut("", CutReason.MALFORMED))
        written.decision = _decision(whole or reader.head)
        if whole is not None and written.decision is Decision.CLARIFY:
            written.senses = _senses(whole.get("options"), given)


def _decision(told: dict[str, Any]) -> Decision:
    """What the model decided; it may not decline: that is settled before it is asked."""
    value = told.get("decision")
    return Decision(value) if value in ("abstain", "clarify") else Decision.ANSWER


def _senses(options: object, given: Prompt) -> list[Passage]:
    ids = [str(o) for o in options] if isinstance(options, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [given.passages[i] for i in dict.fromkeys(ids) if i in given.passages]
