"""The values that travel along the line: Question → Passages → Decision → Draft → Reply."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MAX_QUESTION = 4000  # characters; a platform's longest message


class Decision(enum.StrEnum):
    """What the bot does with a question."""

    ANSWER = "answer"
    CLARIFY = "clarify"
    ABSTAIN = "abstain"
    DECLINE = "decline"


class Reason(enum.StrEnum):
    """Why; each reason belongs to one decision (see ``decision``)."""

    SUPPORTED = "supported"
    CORRECTED = "corrected"
    IDENTITY = "identity"
    GREETING = "greeting"
    UNRESOLVED = "unresolved"
    AMBIGUOUS = "ambiguous"
    OUT_OF_CORPUS = "out_of_corpus"
    NOT_STATED = "not_stated"
    AFTER_THE_TALKS = "after_the_talks"
    FALSE_PREMISE = "false_premise"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    INJECTION = "injection"
    IMPERSONATION = "impersonation"
    FABRICATION = "fabrication"
    UNSAFE = "unsafe"

    @property
    def decision(self) -> Decision:
        """The decision that this reason stands for."""
        return _DECISION_OF[self]


_DECISION_OF = {
    Reason.SUPPORTED: Decision.ANSWER,
    Reason.CORRECTED: Decision.ANSWER,
    Reason.IDENTITY: Decision.ANSWER,
    Reason.GREETING: Decision.ANSWER,
    Reason.UNRESOLVED: Decision.CLARIFY,
    Reason.AMBIGUOUS: Decision.CLARIFY,
    Reason.OUT_OF_CORPUS: Decision.ABSTAIN,
    Reason.NOT_STATED: Decision.ABSTAIN,
    Reason.AFTER_THE_TALKS: Decision.ABSTAIN,
    Reason.FALSE_PREMISE: Decision.ABSTAIN,
    Reason.UNSUPPORTED: Decision.ABSTAIN,
    Reason.UNAVAILABLE: Decision.ABSTAIN,
    Reason.INJECTION: Decision.DECLINE,
    Reason.IMPERSONATION: Decision.DECLINE,
    Reason.FABRICATION: Decision.DECLINE,
    Reason.UNSAFE: Decision.DECLINE,
}


class DocumentKind(enum.StrEnum):
    """What a document is; only the first two hold words that may be quoted as somebody's."""

    TRANSCRIPT = "transcript"
    CAPTIONS = "captions"
    SUMMARY = "summary"
    NOTES = "notes"

    @property
    def verbatim(self) -> bool:
        """Whether the document records what was said, word for word."""
        return self in (DocumentKind.TRANSCRIPT, DocumentKind.CAPTIONS)


class Turn(BaseModel):
    """One earlier turn of the conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["user", "assistant"]
    content: str


class Question(BaseModel):
    """A question as it came in, with the turns before it (oldest first)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    id: str = ""
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """The smallest unit that can be quoted or reported: one speaker, one run of words.

    ``text`` holds the document's own words, white space folded; ``search`` the same with known
    mis-hearings and broken characters repaired. ``start`` and ``end`` are seconds into the talk.
    ``joined`` says that the words follow the previous sentence's without anything between,
    so that one quotation may run over both.
    """

    document: str
    number: int
    text: str
    search: str
    speaker: str | None
    start: float | None
    end: float | None
    paragraph: int
    heading: str
    joined: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive sentences of one speaker (or one paragraph): what is embedded and retrieved.

    ``context`` is what stands before it for search only (the host's question, a heading); ``asked`` are the sentences
    of that question; ``opening`` is the number of the first sentence of the turn or paragraph; ``also`` names the other
    documents that say the same.
    """

    id: str
    document: str
    kind: DocumentKind
    talk: str
    sentences: tuple[Sentence, ...]
    context: str
    opening: int = 0
    asked: tuple[Sentence, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def speaker(self) -> str | None:
        """Who speaks; None where nobody is known to."""
        return self.sentences[0].speaker

    @property
    def text(self) -> str:
        """The passage's own words."""
        return " ".join(s.text for s in self.sentences)

    @property
    def search(self) -> str:
        """The repaired words, for search."""
        return " ".join(s.search for s in self.sentences)


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage: its cosine to the question, its BM25 score, its fused rank score."""

    passage: Passage
    cosine: float
    bm25: float
    fused: float


class Citation(BaseModel):
    """Where words come from. ``verbatim``: ``quote`` stands letter for letter in a recorded talk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: str
    title: str
    date: str | None
    talk: str
    kind: DocumentKind
    speaker: str | None
    start: float | None
    end: float | None
    url: str | None
    quote: str
    verbatim: bool


class ScoredCitation(Citation):
    """A citation found by a look-up; ``score`` is in 0..1, higher is nearer."""

    score: float


class Claim(BaseModel):
    """One statement of a reply and the citations (by position) that bear it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    kind: Literal["quoted", "paraphrased", "reported"]
    citations: tuple[int, ...]


class Timings(BaseModel):
    """Milliseconds spent in each step."""

    retrieve: float = 0.0
    decide: float = 0.0
    compose: float = 0.0
    verify: float = 0.0


class Reply(BaseModel):
    """What goes back to a person, with everything needed to audit it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str
    decision: Decision
    reason: Reason
    text: str
    confidence: float
    threshold: float
    risk: str
    voice: Literal["quotes", "model"]
    claims: tuple[Claim, ...] = ()
    citations: tuple[Citation, ...] = ()
    options: tuple[str, ...] = ()
    nearest: tuple[Citation, ...] = ()
    passages: int = 0
    model: str | None = None
    corpus: str = ""
    timings_ms: Timings = Field(default_factory=Timings)


class CutReason(enum.StrEnum):
    """Why a claim of a chat model was cut."""

    MALFORMED = "malformed"
    UNKNOWN_PASSAGE = "unknown_passage"
    NOT_VERBATIM = "not_verbatim"
    WRONG_SPEAKER = "wrong_speaker"
    LEAK = "leak"
    MARKUP = "markup"
    UNSUPPORTED = "unsupported"
    REPEATED = "repeated"
    NO_ROOM = "no_room"


class Cut(NamedTuple):
    """A claim that did not pass."""

    text: str
    why: CutReason


@dataclass(frozen=True, slots=True)
class Trace:
    """What stood behind a reply, for /why: the passages, the features, the question as searched, and what of a chat model's
    claims was cut."""

    standalone: str = ""
    hits: tuple[Hit, ...] = ()
    features: dict[str, float] = field(default_factory=dict[str, float])
    cuts: tuple[Cut, ...] = ()


TokenVectors = NDArray[np.floating[Any]]  # (tokens, dimensions), each row of length 1


class Reading(NamedTuple):
    """A question as late interaction reads it: token vectors (n, dimensions), and their weights (n,), adding up to 1."""

    vectors: TokenVectors
    weights: NDArray[np.floating[Any]]


class Embedder(Protocol):
    """Turns texts into unit vectors: one a text, or one a token."""

    @property
    def fingerprint(self) -> str:
        """Names the weights; an index made with another one is rebuilt."""
        ...

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector per text, each of length 1."""
        ...

    def words(self) -> Sequence[str]:
        """General English words that the embedding knows, lower case; empty if it can't say."""
        ...

    def read_question(self, text: str) -> Reading:
        """The question token by token."""
        ...

    def read_passages(self, passages: Sequence[Sequence[str]]) -> Sequence[Sequence[TokenVectors]]:
        """For each passage, given as consecutive texts, the token vectors of each of its texts."""
        ...


class Judgement(NamedTuple):
    """What a judge says of a passage given in parts: the log odds that it answers, and for each part the probability that
    the answer begins and ends there, (parts,) each; what is missing to 1 is that of no answer."""

    holds: float
    begins: NDArray[np.floating[Any]]
    ends: NDArray[np.floating[Any]]


class Judge(Protocol):
    """Reads a question and a passage together, and says whether the passage holds the answer, and where."""

    @property
    def fingerprint(self) -> str:
        """Names the weights: coefficients fitted with one judge hold for no other."""
        ...

    def judge(self, question: str, passages: Sequence[Sequence[str]]) -> Sequence[Judgement]:
        """A judgement of each passage, given as consecutive texts."""
        ...

    def kinds(self, texts: Sequence[str]) -> Sequence[Mapping[str, float]]:
        """For each text the probability of each kind of conduct (`persona.conduct.CLASSES`), read alone."""
        ...


class Message(NamedTuple):
    """One message to a chat model. `content` is data: nothing in it may act as a control token."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(BaseModel):
    """How a chat model writes. `deadline` is in seconds from the call; `top_k` 0, `top_p` 1 and `min_p` 0 switch these off,
    `temperature` 0 takes the likeliest token each time. `stop` are texts before which it ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    top_k: int = Field(default=20, ge=0)
    top_p: float = Field(default=0.8, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    stop: tuple[str, ...] = ()
    deadline: float | None = Field(default=None, gt=0)


class ChatModel(Protocol):
    """Writes text: a model in this process, or on a server. Safe to call from many tasks at once."""

    @property
    def name(self) -> str:
        """What replies call it."""
        ...

    def stream(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        user: str = "",
    ) -> AsyncGenerator[str]:
        """The text as it is written, in pieces; closing the generator stops the model. `schema` is a JSON schema that the
        text must follow, `user` whom a fair share is for. ModelError: BusyError, TooLongError, DeadlineError, AwayError."""
        ...

    async def keep(self, messages: Sequence[Message]) -> int:
        """Readies the first messages that all prompts begin with; how many of their tokens are kept (0: it can't)."""
        ...

    async def close(self) -> None:
        """Ends what is being written, and frees the model."""
        ...
