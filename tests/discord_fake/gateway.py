"""The gateway at the wire: HELLO, IDENTIFY, RESUME, heartbeats, compression, close codes; sessions outlive connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from tests.discord_fake.world import Guild, Json, User

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE, RESUME, RECONNECT, MEMBERS, INVALID, HELLO, ACK = (
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
    10,
    11,
)
GUILDS, GUILD_MEMBERS, PRESENCES, GUILD_MESSAGES = 1 << 0, 1 << 1, 1 << 8, 1 << 9
DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 12, 1 << 15
SENDS_PER_MINUTE = 120
PRIVILEGED = {"members": GUILD_MEMBERS, "presences": PRESENCES, "message_content": MESSAGE_CONTENT}
_ALL_INTENTS = (1 << 26) - 1
_FIELDS = {
    IDENTIFY: {"token", "properties", "compress", "large_threshold", "shard", "presence", "intents"},
    RESUME: {"token", "session_id", "seq"},
}


class _Plain:
    def __call__(self, text: str) -> str | bytes:
        return text


class _Zlib:
    """zlib-stream: one context for the whole connection, each message ends in a sync flush."""

    def __init__(self) -> None:
        self._context = zlib.compressobj()

    def __call__(self, text: str) -> str | bytes:
        return self._context.compress(text.encode()) + self._context.flush(zlib.Z_SYNC_FLUSH)


class _Zstd:
    """zstd-stream: what discord.py asks for where the zstandard package is installed."""

    def __init__(self) -> None:
        import zstandard

        self._block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._context = zstandard.ZstdCompressor().compressobj()

    def __call__(self, text: str) -> str | bytes:
        return self._context.compress(text.encode()) + self._context.flush(self._block)


_COMPRESSIONS: dict[str | None, type[_Plain | _Zlib | _Zstd]] = {
    None: _Plain,
    "zlib-stream": _Zlib,
    "zstd-stream": _Zstd,
}


@dataclass(eq=False)
class Session:
    """What a RESUME goes on with: every event since READY, sent or not."""

    id: str
    intents: int
    shard: tuple[int, int]
    events: list[Json] = field(default_factory=list)
    connection: Connection | None = None

    def sees(self, guild: Guild | None) -> bool:
        """Direct conversations are shard 0's."""
        number, count = self.shard
        return (int(guild.id) >> 22) % count == number if guild else number == 0

    async def dispatch(self, name: str, data: Json) -> None:
        event = {"op": DISPATCH, "t": name, "s": len(self.events) + 1, "d": data}
        self.events.append(event)
        if self.connection is not None:
            await self.connection.send(event)


@dataclass(eq=False)
class Connection:
    request: web.Request
    socket: web.WebSocketResponse
    compress: Callable[[str], str | bytes]
    session: Session | None = None
    ended: bool = False  # by the server
    received: deque[float] = field(default_factory=lambda: deque(maxlen=SENDS_PER_MINUTE + 1))

    def hurried(self) -> bool:
        """Whether the client has sent more in a minute than it may."""
        self.received.append(time.monotonic())
        return len(self.received) > SENDS_PER_MINUTE and self.received[-1] - self.received[0] < 60

    async def send(self, payload: Json) -> None:
        packed = self.compress(json.dumps(payload))
        with contextlib.suppress(ConnectionError):  # it is gone; the session keeps the event
            await (self.socket.send_bytes(packed) if isinstance(packed, bytes) else self.socket.send_str(packed))

    async def close(self, code: int | None) -> None:
        """With a close code, or None: the line is cut."""
        self.ended = True
        if code is not None:
            await self.socket.close(code=code)
        elif self.request.transport is not None:
            self.request.transport.abort()


class Owner(Protocol):
    """What the gateway asks of the fake."""

    token: str
    bot: User
    heartbeat_interval: float
    ack_heartbeats: bool
    privileged: int

    @property
    def gateway_url(self) -> str: ...
    def guilds_of_bot(self) -> list[Guild]: ...
    def application(self) -> Json: ...
    def changed(self) -> None: ...


class Gateway:
    """All connections and sessions. `identifies`, `resumes` and `heartbeats` hold what clients sent."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.sessions: dict[str, Session] = {}
        self.connections: list[Connection] = []
        self.identifies: list[Json] = []
        self.resumes: list[Json] = []
        self.heartbeats: list[int | None] = []
        self.resumed = 0
        self.refusals = 0  # RESUMEs to refuse

    @property
    def ready(self) -> list[Session]:
        """Sessions with a line to their client."""
        return [s for s in self.sessions.values() if s.connection is not None]

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One connection, from HELLO to its end."""
        socket = web.WebSocketResponse(max_msg_size=0, timeout=1.0, compress=False)
        await socket.prepare(request)
        version, encoding = request.query.get("v"), request.query.get("encoding", "json")
        compression = _COMPRESSIONS.get(request.query.get("compress"))
        if version != "10" or encoding != "json" or compression is None:
            await socket.close(code=4012 if version != "10" else 4002)
            return socket
        connection = Connection(request, socket, compression())
        self.connections.append(connection)
        try:
            await connection.send(
                {"op": HELLO, "d": {"heartbeat_interval": int(self._owner.heartbeat_interval * 1000)}}
            )
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(connection, message.data)
                    self._owner.changed()
        finally:
            self.connections.remove(connection)
            session = connection.session
            if session is not None and session.connection is connection:
                session.connection = None
                if not connection.ended and socket.close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY):  # it is done
                    self.sessions.pop(session.id, None)
            self._owner.changed()
        return socket

    async def _receive(self, connection: Connection, text: str) -> None:
        try:
            payload = json.loads(text)
            op, data = payload["op"], payload.get("d")
        except (ValueError, KeyError, TypeError):
            return await connection.close(4002)
        if len(text.encode()) > 4096:
            return await connection.close(4002)
        if connection.hurried():
            return await connection.close(4008)
        if op == HEARTBEAT:
            self.heartbeats.append(data)
            if self._owner.ack_heartbeats:
                await connection.send({"op": ACK})
            return None
        handlers: dict[int, Callable[[Connection, Any], Awaitable[None]]] = {
            IDENTIFY: self._identify,
            RESUME: self._resume,
        }
        if op in handlers:
            if connection.session is not None:
                return await connection.close(4005)
            if not isinstance(data, dict) or not set(data) <= _FIELDS[op]:
                return await connection.close(4002)
            return await handlers[op](connection, data)
        if connection.session is None:
            return await connection.close(4003)
        if op == MEMBERS:
            return await self._members(connection.session, data)
        return None if op in (PRESENCE, VOICE) else await connection.close(4001)

    async def _identify(self, connection: Connection, data: Json) -> None:
        self.identifies.append(data)
        intents, shard = data.get("intents"), tuple(data.get("shard") or (0, 1))
        problem = None
        if data.get("token") != self._owner.token:
            problem = 4004
        elif len(shard) != 2 or not 0 <= shard[0] < shard[1]:
            problem = 4010
        elif not isinstance(intents, int) or intents & ~_ALL_INTENTS:
            problem = 4013
        elif any(intents & bit and not self._owner.privileged & bit for bit in PRIVILEGED.values()):
            problem = 4014
        if problem is not None:
            return await connection.close(problem)
        assert isinstance(intents, int)
        session = Session(secrets.token_hex(16), intents, (shard[0], shard[1]), connection=connection)
        self.sessions[session.id] = connection.session = session
        guilds = [g for g in self._owner.guilds_of_bot() if session.sees(g)]
        ready = {
            "v": 10,
            "user": {**self._owner.bot.json(), "verified": True, "mfa_enabled": False, "email": None},
            "guilds": [{"id": guild.id, "unavailable": True} for guild in guilds],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": self._owner.gateway_url,
            "shard": list(shard),
            "application": {"id": self._owner.application()["id"], "flags": self._owner.application()["flags"]},
            "private_channels": [],
            "relationships": [],
            "presences": [],
            "_trace": ["fake"],
        }
        await session.dispatch("READY", ready)
        if intents & GUILDS:
            for guild in guilds:
                await session.dispatch("GUILD_CREATE", guild.json(self._owner.bot))
        return None

    async def _resume(self, connection: Connection, data: Json) -> None:
        self.resumes.append(data)
        if data.get("token") != self._owner.token:
            return await connection.close(4004)
        session = self.sessions.get(str(data.get("session_id")))
        if self.refusals or session is None:
            self.refusals = max(0, self.refusals - 1)
            if session is not None:
                del self.sessions[session.id]
            return await connection.send({"op": INVALID, "d": False})
        seen = data.get("seq")
        if not isinstance(seen, int) or seen > len(session.events):
            return await connection.close(4007)
        old, session.connection, connection.session = session.connection, None, session
        if old is not None:
            await old.close(None)
        while seen < len(session.events):  # what happens meanwhile is queued behind
            seen += 1
            await connection.send(session.events[seen - 1])
        session.connection = connection
        self.resumed += 1
        await session.dispatch("RESUMED", {"_trace": ["fake"]})
        return None

    async def _members(self, session: Session, data: Json) -> None:
        guild = next((g for g in self._owner.guilds_of_bot() if g.id == str(data.get("guild_id"))), None)
        if guild is None:
            return
        named, query = {str(u) for u in data.get("user_ids") or []}, data.get("query")
        users = [m.user for m in guild.members.values()]
        found = {u.id for u in users if u.id in named or (query is not None and u.name.startswith(query))}
        chosen = [m for m in guild.members.values() if m.user.id in found]
        chunk = {"guild_id": guild.id, "members": [m.json() for m in chosen], "chunk_index": 0, "chunk_count": 1}
        await session.dispatch("GUILD_MEMBERS_CHUNK", {**chunk, "not_found": [], "nonce": data.get("nonce")})

    async def dispatch(self, name: str, data: Callable[[Session], Json], guild: Guild | None, intent: int = 0) -> None:
        """To every session whose shard and intents have it."""
        for session in list(self.sessions.values()):
            if session.sees(guild) and (not intent or session.intents & intent):
                await session.dispatch(name, data(session))

    async def end(self) -> None:
        """Every connection, as a server that goes down."""
        async with asyncio.timeout(5):
            await asyncio.gather(*(c.close(1001) for c in list(self.connections)))
