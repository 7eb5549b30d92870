"""The bot against the fake Discord; its persona answers by a script. No model, no index; the real queue and store."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yarl

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # discord.py imports audioop
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

from bot.discord.client import FiresideClient
from bot.host import Host
from bot.store import FILE, Store
from tests.bot.scripted import Scripted
from tests.discord_fake import FakeDiscord

PACE = 0.05


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
        Host(fireside, store, **host),
        store,
        folder,
        content=content,
        pace=PACE,
        again=PACE,
        guild_ready_timeout=0.02,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(client.start(fake.token))
    try:
        await fake.until(lambda: task.done() or fake.gateway.ready)
        if task.done():
            await task
        yield Bot(fake, fireside, store, client)
    finally:
        fireside.gate.set()
        await client.desk.drain(2.0)
        await client.close()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before
