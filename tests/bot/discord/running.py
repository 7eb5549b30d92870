"""The bot against the fake Discord; its persona answers by a script. No model, no index; the real queue and store."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yarl

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # discord.py imports audioop
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

from bot.discord.client import FiresideClient
from bot.host import Host
from bot.store import FILE, Store
from persona.card import load_card
from persona.corpus import load_corpus
from persona.decision import Policy
from persona.models import load_coefficients
from persona.pipeline import Answered
from persona.types import Question, Reason, Reply, ScoredCitation, Trace
from tests.bot.replies import SPOKEN, reply
from tests.discord_fake import FakeDiscord

PACE = 0.05
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

    async def quotes(self, topic: str, speaker: str | None = None, limit: int = 3) -> list[ScoredCitation]:
        return [] if "sourdough" in topic else self.found[:limit]


class Bot:
    """What a test holds: the fake, the persona, the store, the client."""

    def __init__(self, fake: FakeDiscord, fireside: Scripted, store: Store, client: FiresideClient) -> None:
        self.fake, self.fireside, self.store, self.client = fake, fireside, store, client


@contextlib.asynccontextmanager
async def running(
    fake: FakeDiscord, fireside: Scripted, folder: Path, *, content: bool = True, **host: Any
) -> AsyncIterator[Bot]:
    """The bot, connected; its base URLs are the fake's for as long."""
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = fake.api_url, yarl.URL(fake.gateway_url)
    store = await Store.open(folder / FILE)
    client = FiresideClient(
        Host(fireside, store, **host), store, folder, content=content, pace=PACE, guild_ready_timeout=0.02
    )  # type: ignore[arg-type]
    task = asyncio.create_task(client.start(fake.token))
    try:
        await fake.until(lambda: task.done() or fake.gateway.ready)
        if task.done():
            await task
        yield Bot(fake, fireside, store, client)
    finally:
        fireside.gate.set()
        await client.drain(2.0)
        await client.close()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before
