"""A run: every case with the reply to it and how it came out, and what the run was made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from evals.cases import Case
from evals.scoring import Outcome
from persona.pipeline import Answered
from persona.types import Question, Reply


class Answerer(Protocol):
    """Whatever answers questions: the line itself, or a baseline."""

    def answer(self, question: Question) -> Answered:
        """The reply to a question, for one caller at a time."""
        ...


@dataclass(frozen=True)
class Result:
    """A case, the reply to it, and how it came out."""

    case: Case
    reply: Reply
    outcome: Outcome
    milliseconds: float
    epoch: int = 1
    quotations: tuple[int, int] = (0, 0)  # that stand letter for letter in a recording, of those that claim to


class RunInfo(BaseModel):
    """What a run was made with; two runs with the same `config` and `cases` hashes asked the same questions of the same
    configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    id: str
    created: str  # ISO 8601, UTC
    split: str
    suites: tuple[str, ...]  # empty: all
    systems: tuple[str, ...] = ("fireside",)  # which of evals.opening.SYSTEMS were asked
    epochs: int
    limit: int | None
    seed: int
    persona: str
    voice: str
    model: str | None
    threshold: float
    risk: str
    corpus: str  # hash of the documents
    cases: str  # hash of the questions asked
    config: str  # hash of all that decides a reply: corpus, coefficients, threshold, voice, model
    versions: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A run as it was saved, case by case."""

    info: RunInfo
    results: tuple[Result, ...]
    folder: Path | None = None
