"""What running a bot takes, on any platform: persona, store and host, health, the signals that stop it or have it read its
settings anew, and what is cleaned up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar, cast

from bot.host import Host
from bot.monitoring import Health, Metrics, monitored
from bot.reloading import Reread, limits_of, reloading
from bot.store import FILE, Store
from persona.errors import StoreError
from persona.pipeline import Fireside
from persona.settings import Settings

log = logging.getLogger("fireside")
T = TypeVar("T")
PURGE = 24 * 3600.0  # seconds
CLOSE = 1.0  # seconds that a connection has to say goodbye
# Seconds between two threads' turns: beside one that computes, a note in the store takes 14 ms; with Python's 5 ms, 126.
SWITCH = 0.0005


class Parts(NamedTuple):
    """What a bot is started with. `open_persona` opens it (slow: its index may have to be built), `open_other` another one
    by name, `reread` reads the settings anew."""

    settings: Settings
    open_persona: Callable[[], Fireside]
    open_other: Callable[[str], Fireside]
    reread: Reread


class Running(NamedTuple):
    """What a bot runs with; it ends once `stop` is set (SIGINT, SIGTERM). The platform tells `health` of its connection."""

    host: Host
    store: Store
    stop: asyncio.Event
    health: Health
    metrics: Metrics


@contextlib.asynccontextmanager
async def running(parts: Parts) -> AsyncGenerator[Running]:
    """Opens everything, and closes it at the end; meanwhile deletes what may no longer be kept. Health can be asked from the
    beginning on. FiresideError: the persona, the store or the port can't be opened."""
    settings = parts.settings
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    metrics, health = Metrics(), Health()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH)
        await stack.enter_async_context(monitored(settings, metrics, health))
        fireside = await _beside(parts.open_persona)
        # Not before: while an index is built Ctrl-C ends the process at once; what was embedded is kept.
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows has none
                loop.add_signal_handler(number, stop.set)
        store = await Store.open(settings.data_dir / FILE)
        stack.push_async_callback(store.close)
        host = Host(fireside, store, limits_of(settings), personas=parts.open_other, observer=metrics)
        stack.push_async_callback(_close, host)
        health.opened(host)
        await stack.enter_async_context(reloading(settings, host, parts.reread, metrics.reloaded))
        purging = asyncio.create_task(_purge(store, timedelta(days=settings.retention_days)))
        stack.push_async_callback(_cancelled, purging)
        yield Running(host, store, stop, health, metrics)


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
        with contextlib.suppress(TimeoutError):  # the other end may be gone
            async with asyncio.timeout(CLOSE):
                await close()
        if not running.done():
            running.cancel()
        await asyncio.wait({running})
    if not running.cancelled() and (error := running.exception()) is not None and not stop.is_set():
        raise error


async def _beside(call: Callable[[], T]) -> T:
    """What a slow call gives, made beside the event loop; a process that ends meanwhile doesn't wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(cast("T", result))
        else:
            done.set_exception(error)

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as exc:
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop has gone
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, daemon=True, name="opening").start()
    return await done


async def _close(host: Host) -> None:
    await host.close()
    if host.fireside.writer is not None:  # a reload may have replaced the first one
        await host.fireside.writer.model.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _purge(store: Store, kept: timedelta) -> None:
    """Deletes feedback and seen events that are older than they may be kept, now and once a day."""
    while True:
        try:
            await store.purge(datetime.now(UTC) - kept)
        except StoreError as exc:
            log.warning(str(exc))
        await asyncio.sleep(PURGE)
