from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from bot.desk import Desk, Named
from bot.host import Host
from bot.store import FILE, Store


class Slow(Store):
    """A store that writes once it may."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.may = asyncio.Event()

    async def first_sight(self, platform: str, event: str, channel: str = "") -> bool:
        await self.may.wait()
        return await super().first_sight(platform, event, channel)


async def test_what_was_taken_in_at_the_last_moment_is_noted_before_the_store_is_closed(tmp_path: Path):
    store = await Slow.open(tmp_path / FILE)
    desk = Desk("slack", cast("Host", None), store, tmp_path, Named("", "", "", ""))
    await desk.noted()  # nothing is
    taking_in = asyncio.create_task(desk.note("event", "channel"))
    await asyncio.sleep(0)
    await desk.drain()
    closing = asyncio.create_task(desk.noted(60.0))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    store.may.set()
    await closing
    assert await store.unanswered("slack") == [("event", "channel")]
    assert await (await taking_in)
    await store.close()
