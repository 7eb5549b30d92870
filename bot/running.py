"""What running a bot takes, on any platform: the store and the host, the signals that stop it, and what is cleaned up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bot.host import Host
from bot.store import FILE, Store
from persona.errors import StoreError
from persona.pipeline import Fireside
from persona.settings import Settings

log = logging.getLogger("fireside")
PURGE = 24 * 3600.0  # seconds


class Running(NamedTuple):
    """What a bot runs with; it ends once `stop` is set (SIGINT, SIGTERM)."""

    host: Host
    store: Store
    stop: asyncio.Event


@contextlib.asynccontextmanager
async def running(
    settings: Settings, fireside: Fireside, personas: Callable[[str], Fireside] | None = None
) -> AsyncGenerator[Running]:
    """Opens the store and closes everything at the end; meanwhile deletes what may no longer be kept. StoreError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has none
            loop.add_signal_handler(number, stop.set)
    store = await Store.open(settings.data_dir / FILE)
    host = Host(fireside, store, personas=personas)
    purging = asyncio.create_task(_purge(store, timedelta(days=settings.retention_days)))
    try:
        yield Running(host, store, stop)
    finally:
        purging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await purging
        await host.close()
        await store.close()
        if fireside.writer is not None:
            await fireside.writer.model.close()


async def until(
    stop: asyncio.Event,
    running: asyncio.Task[None],
    drain: Callable[[], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
) -> None:
    """Waits until a connection ends or `stop` is set; then what is in flight is finished. Raises what ended it."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            log.info("Stopping: what is being answered is finished first.")
            await drain()
    finally:
        stopping.cancel()
        await close()
        if not running.done():
            running.cancel()
        await asyncio.wait({running})
    if not running.cancelled() and (error := running.exception()) is not None and not stop.is_set():
        raise error


async def _purge(store: Store, kept: timedelta) -> None:
    """Deletes feedback and seen events that are older than they may be kept, now and once a day."""
    while True:
        try:
            await store.purge(datetime.now(UTC) - kept)
        except StoreError as exc:
            log.warning(str(exc))
        await asyncio.sleep(PURGE)
