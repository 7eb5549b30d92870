"""Health and metrics of a bot that runs: `/healthz`, `/readyz` and `/metrics`, off unless a port is set.

No label ever holds what somebody wrote, or who or where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from bot.host import Host, Refusal, Traffic
from persona.errors import ConfigError, FiresideError
from persona.pipeline import Answered
from persona.settings import Settings

if TYPE_CHECKING:
    from persona.llama.engine import Load

log = logging.getLogger("fireside.monitoring")
SAMPLE = 0.25  # seconds between two looks at how late the event loop is
WINDOW = 10.0  # seconds that the speed of a chat model is measured over
STUCK = 300.0  # seconds: a chat model has 180 for a reply, and each part of one counts as progress
PARTS = ("persona", "platform")
_KINDS = 24  # different words that a label may take
_OTHER = "other"
_STEP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_REPLY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@runtime_checkable
class Loaded(Protocol):
    """A chat model that can say how busy it is: the one in this process."""

    def load(self) -> Load:
        """How busy it is."""
        ...


class Metrics:
    """What happens, counted, in a registry of its own (satisfies `bot.host.Observer`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._words = _Words()
        self._questions = self._counter("questions", "Replies.", "platform", "decision", "reason", "voice")
        self._refusals = self._counter("refusals", "Questions that were not taken on.", "platform", "why")
        self._failures = self._counter("failures", "Questions that no reply came of.", "platform", "error")
        self._errors = self._counter("platform_errors", "Errors of a platform.", "platform", "kind")
        self._reloads = self._counter("reloads", "Reloads of settings and persona.", "outcome")
        self._steps = self._histogram("step_seconds", "Time that a step of a reply took.", _STEP, "step")
        self._replies = self._histogram("reply_seconds", "From the question to the reply.", _REPLY, "platform")
        self._waits = self._histogram("queue_seconds", "Time in the queue.", _REPLY, "platform")
        self._lags = self._histogram("event_loop_lag_seconds", "How late the event loop is.", _LAG)

    def answered(self, answered: Answered, platform: str, *, waited: float, seconds: float) -> None:
        """A reply; seconds in the queue, and in all."""
        reply, platform = answered.reply, self._words.of("platform", platform)
        self._questions.labels(platform, reply.decision.value, reply.reason.value, reply.voice).inc()
        for step, spent in reply.timings_ms.model_dump().items():
            if spent:  # 0: the reply needed no such step
                self._steps.labels(step).observe(spent / 1000)
        self._waits.labels(platform).observe(waited)
        self._replies.labels(platform).observe(seconds)

    def refused(self, platform: str, why: Refusal) -> None:
        """Somebody was told why not."""
        self._refusals.labels(self._words.of("platform", platform), why.value).inc()

    def failed(self, platform: str, error: Exception) -> None:
        """No reply came of a question. An outage has the name of its class, a mistake of ours is "bug"."""
        kind = type(error).__name__ if isinstance(error, FiresideError) else "bug"
        self._failures.labels(self._words.of("platform", platform), kind).inc()

    def platform_error(self, platform: str, kind: str) -> None:
        """Something went wrong between the platform and us; `kind` is a fixed word ("gateway", "rate_limit")."""
        self._errors.labels(self._words.of("platform", platform), self._words.of("kind", kind)).inc()

    def reloaded(self, ok: bool) -> None:
        """Settings and persona were read anew, or (`ok` False) could not be."""
        self._reloads.labels("applied" if ok else "refused").inc()

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lags.observe(seconds)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"fireside_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"fireside_{name}", what, labels, registry=self.registry, buckets=buckets)


class _Words:
    """Keeps what a label may be to a few plain words, whatever callers pass."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def of(self, label: str, word: str) -> str:
        known = self._known.setdefault(label, set())
        if word in known:
            return word
        if len(known) >= _KINDS or not re.fullmatch(r"[a-z][a-z_]{0,31}", word):
            return _OTHER
        known.add(word)
        return word


class Health:
    """What a bot has that starts or runs, and what it still lacks: "persona" (with its index) and "platform"."""

    def __init__(self, stuck: float = STUCK) -> None:
        """`stuck` are the seconds after which a queue that doesn't move counts as hanging."""
        self.host: Host | None = None
        self._stuck = stuck
        self._lacking = {"persona": "not opened yet", "platform": "not connected yet"}

    def opened(self, host: Host) -> None:
        """The persona and its index are open."""
        self.host = host
        self.up("persona")

    def up(self, part: str) -> None:
        """A part is there."""
        assert part in PARTS, part
        self._lacking.pop(part, None)

    def down(self, part: str, why: str) -> None:
        """A part is not there, or no more; `why` is for the one who runs the bot."""
        assert part in PARTS, part
        self._lacking[part] = why

    @property
    def lacking(self) -> dict[str, str]:
        """The parts that are not there, with the reasons; empty: the bot is ready."""
        return {part: self._lacking[part] for part in PARTS if part in self._lacking}

    @property
    def hanging(self) -> str:
        """Why the bot should be restarted; empty: it lives. That it answers at all shows that its event loop turns. The
        queue hangs where somebody is in it, and for `stuck` seconds no reply went on or ended."""
        traffic = self.host.traffic if self.host is not None else Traffic(0, 0, 0, 0.0)
        if traffic.still <= self._stuck:
            return ""
        return f"{traffic.running} being answered and {traffic.waiting} waiting, and nothing moved for {traffic.still:.0f} s"


class _Live:
    """What is read when somebody asks: the queue, the persona, the chat model (a Collector of prometheus_client)."""

    def __init__(self, health: Health, speed: Speed) -> None:
        self._health = health
        self._speed = speed
        self._version = version("fireside")

    def collect(self) -> Iterator[Metric]:
        """The families of metrics."""
        yield _gauge("ready", "1 where the bot is ready to answer.", float(not self._health.lacking))
        host = self._health.host
        runs = _runs(host) if host is not None else {}
        yield InfoMetricFamily("fireside_build", "What runs.", {"version": self._version, **runs})
        if host is None:
            return
        traffic = host.traffic
        yield _gauge("queue_running", "Questions that are being answered.", traffic.running)
        yield _gauge("queue_waiting", "Questions that wait.", traffic.waiting)
        yield _gauge("queue_room", "Questions that may wait.", traffic.room)
        yield _gauge(
            "queue_still_seconds", "Time since anything in the queue moved; 0 where it is empty.", traffic.still
        )
        if (load := load_of(host)) is not None:
            yield _gauge("model_running", "Requests that the chat model writes for.", load.running)
            yield _gauge("model_waiting", "Requests that wait for the chat model.", load.waiting)
            yield _gauge("model_cells", "Cells of the chat model's cache in use.", load.cells)
            tokens = "Tokens that the chat model decoded, prompts included"
            yield CounterMetricFamily("fireside_model_tokens", f"{tokens}.", value=load.decoded)
            yield _gauge("model_tokens_per_second", f"{tokens}, over {WINDOW:.0f} s.", self._speed.per_second)


class Speed:
    """Tokens a second, from what had been decoded at several times."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at: float, decoded: int) -> None:
        """So many tokens had been decoded at a time (seconds)."""
        if self._seen and decoded < self._seen[-1][1]:  # another model
            self._seen.clear()
        self._seen.append((at, decoded))
        while self._seen[0][0] < at - self._window:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """The speed over the window."""
        if len(self._seen) < 2:
            return 0.0
        (begun, before), (at, decoded) = self._seen[0], self._seen[-1]
        return (decoded - before) / (at - begun) if at > begun else 0.0


def load_of(host: Host) -> Load | None:
    """How busy the chat model is; None where there is none in this process."""
    model = host.fireside.writer.model if host.fireside.writer is not None else None
    return model.load() if isinstance(model, Loaded) else None


async def sample(
    health: Health,
    metrics: Metrics,
    speed: Speed,
    *,
    every: float = SAMPLE,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Measures until it is cancelled how late a timer of `every` seconds is, and how fast the chat model."""
    while True:
        due = clock() + every
        await sleep(every)
        now = clock()
        metrics.lagged(max(0.0, now - due))
        if health.host is not None and (load := load_of(health.host)) is not None:
            speed.note(now, load.decoded)


@contextlib.asynccontextmanager
async def monitored(settings: Settings, metrics: Metrics, health: Health) -> AsyncGenerator[int | None]:
    """Serves `/healthz`, `/readyz` and `/metrics` meanwhile, where the settings name a port; gives the port, or None.
    ConfigError where nothing can listen there."""
    if settings.monitor_port is None:
        yield None
        return
    speed = Speed()
    live = _Live(health, speed)
    metrics.registry.register(live)
    sampling = asyncio.create_task(sample(health, metrics, speed))
    runner = web.AppRunner(_app(metrics, health), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.monitor_host, settings.monitor_port).start()
        except OSError as exc:
            raise ConfigError(
                f"Can't listen on port {settings.monitor_port} of '{settings.monitor_host}' for health and metrics: "
                f"{_reason(exc)}. Set FIRESIDE_MONITOR_PORT (or FIRESIDE_MONITOR_HOST) to another one, or stop what uses it."
            ) from None
        port = int(runner.addresses[0][1])
        log.info("monitoring", extra={"host": settings.monitor_host, "port": port})
        yield port
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
        await runner.cleanup()
        metrics.registry.unregister(live)


def _app(metrics: Metrics, health: Health) -> web.Application:
    async def healthz(_request: web.Request) -> web.Response:
        return _state("hanging" if health.hanging else "alive", ok=not health.hanging, why=health.hanging)

    async def readyz(_request: web.Request) -> web.Response:
        lacking = health.lacking
        return _state("not ready" if lacking else "ready", ok=not lacking, lacking=lacking)

    async def scraped(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics.registry), headers={"Content-Type": content_type})

    pages = {"/healthz": healthz, "/readyz": readyz, "/metrics": scraped}

    async def page(request: web.Request) -> web.Response:
        found = pages.get(request.path) if request.method in ("GET", "HEAD") else None
        return await found(request) if found else web.Response(status=404, text="Not found.\n")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    return app


def _state(state: str, *, ok: bool, **more: object) -> web.Response:
    told = {key: value for key, value in more.items() if value}
    return web.json_response({"state": state, **told}, status=200 if ok else 503)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fireside_{name}", what, value)


def _runs(host: Host) -> dict[str, str]:
    fireside = host.fireside
    return {
        "persona": fireside.card.id,
        "corpus": fireside.corpus.fingerprint,
        "threshold": f"{fireside.policy.threshold:.4g}",
        "risk": fireside.policy.risk,
    }


def _reason(exc: OSError) -> str:
    """Why nothing can listen; asyncio wraps the system's words in a sentence of its own."""
    if exc.errno is not None and exc.errno in errno.errorcode:
        return os.strerror(exc.errno)
    return str(exc.strerror or exc)  # a host that can't be looked up
