"""A persona that answers by a script, and as fast as a test lets it: what the tests of all platforms share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any

from persona.card import load_card
from persona.corpus import load_corpus
from persona.decision import Policy
from persona.models import load_coefficients
from persona.pipeline import Answered
from persona.types import Question, Reason, Reply, ScoredCitation, Trace
from tests.bot.replies import SPOKEN, reply

CARD = load_card("ilya")
CORPUS = load_corpus(CARD.catalog, CARD.aliases)
COEFFICIENTS = load_coefficients()
Script = Callable[[Question], Reply]


def echo(question: Question) -> Reply:
    return reply(text=f"You asked: {question.text}", corpus=CORPUS.fingerprint)


def asks_back(question: Question) -> Reply:
    """Which lamp? Then which it was."""
    if question.history:
        return echo(question)
    return reply(
        Reason.AMBIGUOUS,
        "Which do you mean: (1) the old lamp; (2) the new lamp?",
        options=("the old lamp", "the new lamp"),
    )


class Scripted:
    """A Fireside that answers by a script. `gate` holds its answers up; `pieces` are what a chat model writes first."""

    def __init__(self, script: Script = echo, *, pieces: tuple[str, ...] = (), quotes: int = 3) -> None:
        self.card, self.corpus, self.judge = CARD, CORPUS, None
        self.policy = Policy(COEFFICIENTS, 0.75, "not certified")
        self.writer: Any = SimpleNamespace(model=SimpleNamespace(name="scripted")) if pieces else None
        self.model_problem = ""
        self.lookup = SimpleNamespace(speaker=lambda name: next((s for s in CORPUS.speakers if name in s), None))
        self.script, self.pieces = script, pieces
        self.asked: list[Question] = []
        self.seeds: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.next_piece = asyncio.Semaphore(0)
        self.found = [
            ScoredCitation(**SPOKEN.model_dump() | {"quote": f"Quotation number {i}."}, score=0.9)
            for i in range(1, quotes + 1)
        ]

    async def stream(self, question: Question, *, user: str = "", seed: int = 0) -> AsyncGenerator[str | Answered]:
        self.asked.append(question)
        self.seeds.append(seed)
        for piece in self.pieces:
            yield piece
            await self.next_piece.acquire()
        await self.gate.wait()
        yield Answered(self.script(question), Trace())

    def close(self) -> None:
        """There is nothing to let go."""

    async def quotes(self, topic: str, speaker: str | None = None, limit: int = 3) -> list[ScoredCitation]:
        return [] if "sourdough" in topic else self.found[:limit]
