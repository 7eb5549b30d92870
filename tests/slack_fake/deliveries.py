"""What Slack sends to an app, by Socket Mode or by signed HTTP requests; acknowledgements and retries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from tests.slack_fake.world import Json

if TYPE_CHECKING:
    from tests.slack_fake.fake import FakeSlack

EVENT, COMMAND, INTERACTIVE = "events_api", "slash_commands", "interactive"
ACK_WITHIN, RETRY_AFTER, MOST_SOCKETS = 3.0, (3.0, 60.0, 300.0), 10


class Try(NamedTuple):
    """One sending of an envelope."""

    at: float
    number: int
    reason: str | None


@dataclass(eq=False)
class Delivery:
    """One envelope, or one HTTP request, and what became of it. See the package's docstring."""

    fake: FakeSlack
    kind: str
    payload: Json
    id: str
    asked_at: float
    tries: list[Try] = field(default_factory=list)
    acked_at: float | None = None
    response: Any = None
    failed: str | None = None
    trouble: str | None = None  # why it is to be sent again, if not for time
    answer: Answer | None = None
    options: list[Json] | None = None
    errors: Json | None = None

    @property
    def attempts(self) -> int:
        return len(self.tries)

    @property
    def acked(self) -> bool:
        return self.acked_at is not None

    @property
    def seconds(self) -> float:
        """From the last sending to the acknowledgement."""
        assert self.acked_at is not None, f"not acknowledged: {self}"
        return self.acked_at - self.tries[-1].at

    @property
    def response_url(self) -> str:
        return self.payload["response_url"]

    @property
    def trigger_id(self) -> str:
        return self.payload["trigger_id"]

    async def acknowledged(self, timeout: float = 5.0) -> Self:
        """Wait for the acknowledgement; AssertionError when it never comes or Slack would not have waited for it."""
        await self.fake.until(lambda: self.acked or self.failed, timeout, f"nobody acknowledged {self}")
        assert not self.failed, f"{self.failed}: {self}"
        assert self.seconds <= ACK_WITHIN, f"acknowledged after {self.seconds:.1f} s: {self}"
        return self

    def envelope(self, retry: Try) -> Json:
        made: Json = {"envelope_id": self.id, "type": self.kind, "payload": self.payload}
        made["accepts_response_payload"] = self.kind != EVENT
        if self.kind == EVENT:
            made |= {"retry_attempt": retry.number, "retry_reason": retry.reason or ""}
        return made

    def __str__(self) -> str:
        inner = self.payload.get("event") or self.payload
        return f"{self.kind} {inner.get('type') or inner.get('command')} {self.id}"


@dataclass(eq=False)
class Socket:
    """One connection of the app."""

    ws: web.WebSocketResponse
    number: int
    transport: asyncio.Transport | None
    said_goodbye: bool = False
    pongs: int = 0
    acked: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Answer:
    """What the app's HTTP endpoint answered, and what it had been sent."""

    url: str
    sent: bytes
    headers: dict[str, str]
    status: int
    text: str
    seconds: float

    def json(self) -> Any:
        return json.loads(self.text) if self.text else None


class Mail:
    """Brings deliveries to the app and keeps those that it has not got."""

    def __init__(self, fake: FakeSlack) -> None:
        self.fake = fake
        self.sockets: list[Socket] = []
        self.tickets: set[str] = set()
        self.deliveries: dict[str, Delivery] = {}
        self._connected = 0
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    # Both ways

    async def send(self, kind: str, payload: Json) -> Delivery:
        made = Delivery(self.fake, kind, payload, self.fake.world.new_id("E").lower(), self.fake.now())
        self.deliveries[made.id] = made
        await self._try(made, 0, None)
        return made

    async def retry(self, delivery: Delivery, reason: str | None = None) -> None:
        """Send an event again, as Slack does when it was not acknowledged."""
        assert delivery.kind == EVENT, "Slack retries events only"
        default = "http_timeout" if self.fake.request_url else "timeout"
        number = delivery.tries[-1].number + 1 if delivery.tries else 1
        await self._try(delivery, number, reason or delivery.trouble or default)

    async def retry_due(self) -> None:
        """What has not been acknowledged in time: events again, the rest fails."""
        for delivery in list(self.deliveries.values()):
            if delivery.acked or delivery.failed:
                continue
            number = delivery.tries[-1].number if delivery.tries else 0
            waited = self.fake.now() - (delivery.tries[-1].at if delivery.tries else delivery.asked_at)
            if delivery.kind != EVENT:
                delivery.failed = "operation_timeout" if waited > ACK_WITHIN else None
            elif number >= len(RETRY_AFTER):
                delivery.failed = "given_up" if waited > ACK_WITHIN else None
            elif waited >= RETRY_AFTER[number] and (self.open() or self.fake.request_url):
                await self.retry(delivery)
            elif self.fake.now() - delivery.asked_at > sum(RETRY_AFTER):
                delivery.failed = "given_up"
        self.fake.changed()

    async def _try(self, delivery: Delivery, number: int, reason: str | None) -> None:
        attempt = Try(self.fake.now(), number, reason)
        if self.fake.request_url:
            delivery.tries.append(attempt)
            self.spawn(self._post(delivery, attempt))
        elif (socket := self._next()) is not None:
            delivery.tries.append(attempt)
            try:
                await socket.ws.send_str(json.dumps(delivery.envelope(attempt)))
            except (ConnectionError, RuntimeError):
                socket.said_goodbye = True  # the app is gone: a retry finds another socket
        elif delivery.kind != EVENT:
            delivery.failed = "dispatch_failed"  # "/ask failed because the app did not respond"
        self.fake.changed()

    def _take(self, delivery: Delivery, response: Any) -> None:
        """An acknowledgement has come."""
        delivery.acked_at, delivery.response = self.fake.now(), response
        if delivery.kind != EVENT and delivery.seconds > ACK_WITHIN:
            delivery.failed = "operation_timeout"  # Slack has stopped listening
        else:
            self.fake.responded(delivery, response)
        self.fake.changed()

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fake.violate(f"the fake itself failed: {error!r}")

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self.sockets:
            await socket.ws.close(code=WSCloseCode.GOING_AWAY)
        if self._session is not None:
            await self._session.close()

    # Socket Mode

    def open(self) -> list[Socket]:
        return [s for s in self.sockets if not s.said_goodbye and not s.ws.closed]

    def _next(self) -> Socket | None:
        """Slack sends each envelope to one of the app's sockets."""
        candidates = self.open()
        self._turn += 1
        return candidates[self._turn % len(candidates)] if candidates else None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One socket, as long as it lasts."""
        if request.query.get("ticket") not in self.tickets:
            return web.Response(status=404, text="no such ticket")
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        self._connected += 1
        socket = Socket(ws, self._connected, request.transport)
        if len(self.open()) >= MOST_SOCKETS:
            await self._part(socket, "too_many_websockets")
            return ws
        self.sockets.append(socket)
        await ws.send_str(json.dumps(self._hello()))
        self.fake.changed()
        try:
            await self._flush()
            async for message in ws:
                await self._receive(socket, message)
        finally:
            self.sockets.remove(socket)
            self.fake.changed()
        return ws

    def _hello(self) -> Json:
        debug = {"host": "applink-1", "build_number": 1, "approximate_connection_time": 18060}
        info = {"app_id": self.fake.app_id}
        return {"type": "hello", "num_connections": len(self.open()), "debug_info": debug, "connection_info": info}

    async def _flush(self) -> None:
        """What nobody was there for comes as the retry that is due by now."""
        for delivery in list(self.deliveries.values()):
            if delivery.kind != EVENT or delivery.tries or delivery.failed:
                continue
            waited = self.fake.now() - delivery.asked_at
            number = next((n for n in (1, 2, 3) if waited <= sum(RETRY_AFTER[:n])), None)
            if number is None:
                delivery.failed = "given_up"
            else:
                await self._try(delivery, number, "timeout")

    async def _receive(self, socket: Socket, message: aiohttp.WSMessage) -> None:
        if message.type == WSMsgType.PING and self.fake.answers_pings:
            await socket.ws.pong(message.data)
        elif message.type == WSMsgType.PONG:
            socket.pongs += 1
            self.fake.changed()
        elif message.type == WSMsgType.TEXT:
            self._acknowledge(socket, message.data)

    def _acknowledge(self, socket: Socket, text: str) -> None:
        try:
            told = json.loads(text)
            delivery = self.deliveries[told["envelope_id"]]
        except (ValueError, KeyError, TypeError):
            self.fake.violate(f"Socket Mode: not the acknowledgement of an envelope: {text[:200]}")
            return
        socket.acked.append(delivery.id)
        if socket.acked.count(delivery.id) > delivery.attempts:
            self.fake.violate(f"Socket Mode: acknowledged twice: {delivery}")
        if delivery.kind == EVENT and told.get("payload"):
            self.fake.violate(f"Socket Mode: an event takes no response payload: {delivery}")
        if not isinstance(told.get("payload", {}), dict):
            self.fake.violate(f"Socket Mode: a response payload is an object: {delivery}: {told['payload']!r}"[:300])
        elif not delivery.acked:
            self._take(delivery, told.get("payload"))

    async def _part(self, socket: Socket, reason: str) -> None:
        debug = {"host": "applink-1"}
        socket.said_goodbye = True
        await socket.ws.send_str(json.dumps({"type": "disconnect", "reason": reason, "debug_info": debug}))
        if reason != "warning":
            await socket.ws.close()

    async def disconnect(self, reason: str, socket: Socket | None = None) -> None:
        """Ask one socket (or all) to go: after a warning it stays open, but gets nothing more."""
        for each in [socket] if socket else self.open():
            await self._part(each, reason)

    async def drop(self, socket: Socket | None = None) -> None:
        """Cut the line without a word."""
        for each in [socket] if socket else list(self.sockets):
            each.said_goodbye = True
            if each.transport is not None:
                each.transport.abort()
        self.fake.changed()

    async def ping(self) -> None:
        for socket in self.open():
            await socket.ws.ping(b"Ping from applink-1")

    # HTTP

    async def _post(self, delivery: Delivery, attempt: Try) -> None:
        retry = (attempt.number, attempt.reason or "http_timeout") if attempt.number else None
        try:
            delivery.answer = await self.post(str(self.fake.request_url), delivery.payload, delivery.kind, retry=retry)
        except aiohttp.ClientError:
            delivery.trouble = "connection_failed"
            if delivery.kind != EVENT:
                delivery.failed = "dispatch_failed"
            self.fake.changed()
            return
        delivery.trouble = None if delivery.answer.status == 200 else "http_error"
        if delivery.answer.status == 200 and not delivery.acked:
            self._take(delivery, _body(delivery.answer))
        elif delivery.kind != EVENT and not delivery.acked:
            delivery.failed = "dispatch_failed"
        self.fake.changed()

    async def post(
        self,
        url: str,
        payload: Json,
        kind: str = EVENT,
        *,
        retry: tuple[int, str] | None = None,
        secret: str | None = None,
        timestamp: float | None = None,
    ) -> Answer:
        """Send one request, signed as Slack signs it; `secret` and `timestamp` make it wrong or old."""
        if kind == EVENT:
            body, content = json.dumps(payload), "application/json"
        else:
            form = payload if kind == COMMAND else {"payload": json.dumps(payload)}
            body, content = urlencode(form), "application/x-www-form-urlencoded"
        stamp = str(int(self.fake.clock() if timestamp is None else timestamp))
        key = (self.fake.signing_secret if secret is None else secret).encode()
        digest = hmac.new(key, f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
        headers = {"Content-Type": content, "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}
        headers["User-Agent"] = "Slackbot 1.0 (+https://api.slack.com/robots)"
        if retry is not None:
            headers |= {"X-Slack-Retry-Num": str(retry[0]), "X-Slack-Retry-Reason": retry[1]}
        return await self._request(url, body.encode(), headers)

    async def replay(self, answer: Answer) -> Answer:
        """The same bytes and headers once more."""
        return await self._request(answer.url, answer.sent, answer.headers)

    async def _request(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        begun = self.fake.now()
        async with self._session.post(url, data=body, headers=headers) as answer:
            text = await answer.text()
        return Answer(url, body, headers, answer.status, text, self.fake.now() - begun)


def _body(answer: Answer) -> Any:
    """The response payload that an HTTP answer carries."""
    if not answer.text:
        return None
    try:
        made = json.loads(answer.text)
    except ValueError:
        made = None
    return made if isinstance(made, dict) else {"text": answer.text}
